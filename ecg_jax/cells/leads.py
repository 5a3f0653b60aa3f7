"""The leads of an ECG: where each stands on paper, and which to show where few fit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

FEW = 3
"""Leads that stand below one another; more stand in columns, as in a print."""

STANDARD = (
    ("I", "aVR", "V1", "V4"),
    ("II", "aVL", "V2", "V5"),
    ("III", "aVF", "V3", "V6"),
)
"""The twelve leads as they are printed: limb leads left, chest leads right."""

CHEST = ("V1", "V2", "V3", "V4", "V5", "V6")


def lead_names(num: int) -> tuple[str, ...]:
    """Names of leads that nobody has named: "" of one, "lead 1", "lead 2" of more."""
    return ("",) if num == 1 else tuple(f"lead {k + 1}" for k in range(num))


def rows_of(names: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Which leads stand beside one another, row by row from the top.

    Up to three leads: one a row. The twelve standard leads, in whatever order they
    are given: the usual three rows of four. Others: three rows, column by column.

    Example:
        >>> rows_of(("MLII", "V1"))
        ((0,), (1,))
        >>> rows_of(("I", "II", "V1", "V2", "V5"))
        ((0, 3), (1, 4), (2,))
    """
    num = len(names)
    if num <= FEW:
        return tuple((k,) for k in range(num))
    at = {name.upper(): k for k, name in enumerate(names)}
    if num == len(at) and at.keys() == {n.upper() for row in STANDARD for n in row}:
        return tuple(tuple(at[name.upper()] for name in row) for row in STANDARD)
    return tuple(tuple(range(row, num, FEW)) for row in range(FEW))


def telling(
    waves: Sequence[Float[np.ndarray, "lead time"]], most: int = FEW
) -> tuple[int, ...]:
    """The leads in which some waves differ most from one another, in their order.

    By the variance over the waves, summed over the time.

    Args:
        waves: Of the same leads, at least one.
        most: Leads to choose.

    Example:
        >>> flat, tall = np.zeros((4, 5)), np.zeros((4, 5))
        >>> tall[2] = 1.0
        >>> telling([flat, tall], most=1)
        (2,)
    """
    apart = np.var(np.stack(waves), axis=0).sum(axis=-1)
    chosen = np.argsort(-apart, kind="stable")[:most]
    return tuple(sorted(chosen.tolist()))


def listed(names: Sequence[str]) -> str:
    """Names of leads in words, neighbours on the chest from the first to the last.

    Example:
        >>> listed(("aVR", "V1", "V2", "V3", "V5"))
        'aVR, V1 to V3, V5'
    """
    out: list[list[str]] = []
    for name in names:
        last = out[-1][-1] if out else ""
        if name in CHEST[1:] and last == CHEST[CHEST.index(name) - 1]:
            out[-1].append(name)
        else:
            out.append([name])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in out
    )
