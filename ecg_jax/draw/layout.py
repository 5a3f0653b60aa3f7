"""Where the leads of a beat lie on one sheet of ECG paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.leads import rows_of
from ecg_jax.draw.paper import (
    EDGE_MV,
    INK,
    PAPER,
    Limits,
    calibration_mark,
    squares,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM_S = 0.12
"""Left of the first column, for the mark of 1 mV."""
GAP_S = 0.06
"""Between columns, at least: they are whole large squares apart."""


@dataclass(frozen=True)
class Layout:
    """Leads on one sheet: each is moved right and up by whole large squares.

    Attributes:
        names: Of the leads; "" of a single one that nobody has named.
        places: How far each is moved right, in seconds, and up, in mV.
        span: Seconds of the sheet, without room for the mark of 1 mV.
        limits: Millivolts of the sheet.
        tops: Of each lead the upper edge of its row, where it lies on the sheet.
        feet: The lower edge, likewise.
        rows: How far each row is moved up.
    """

    names: tuple[str, ...]
    places: tuple[tuple[float, float], ...]
    span: Limits
    limits: Limits
    tops: tuple[float, ...]
    feet: tuple[float, ...]
    rows: tuple[float, ...]

    @property
    def num_columns(self) -> int:
        """Leads that stand beside one another."""
        return len({right for right, _ in self.places})


def layout(
    names: Sequence[str],
    time_s: Float[np.ndarray, " time"],
    limits: Sequence[Limits],
) -> Layout:
    """Lay leads out: one to three below one another, more in rows as in a print.

    Args:
        names: Of the leads.
        time_s: Times of a beat's samples, in seconds from R.
        limits: Of each lead the millivolts to show, in whole large squares; those of a
            row are shown of all its leads.

    Returns:
        The layout. A single lead lies where it is.
    """
    start, stop = float(time_s[0]), float(time_s[-1])
    step = 0.2 * float(np.ceil((stop - start + GAP_S) / 0.2 - 1e-9))
    places, tops, feet, rows = {}, {}, {}, []
    foot = high = 0.0
    for row in rows_of(names):
        low = min(limits[k][0] for k in row)
        top = max(limits[k][1] for k in row)
        up = foot - top if rows else 0.0
        high = high if rows else top
        for column, k in enumerate(row):
            places[k] = (column * step, up)
            tops[k], feet[k] = up + top, up + low
        rows.append(up)
        foot = up + low
    num = len(names)
    last = max(right for right, _ in places.values())
    return Layout(
        names=tuple(names),
        places=tuple(places[k] for k in range(num)),
        span=(start, last + stop),
        limits=(foot, high),
        tops=tuple(tops[k] for k in range(num)),
        feet=tuple(feet[k] for k in range(num)),
        rows=tuple(rows),
    )


def holding(
    names: Sequence[str],
    time_s: Float[np.ndarray, " time"],
    *waves: Float[np.ndarray, "... lead time"] | None,
    edge_mv: float = EDGE_MV,
) -> Layout:
    """A layout that holds some beats, whole large squares around them."""
    shown = [wave for wave in waves if wave is not None]
    limits = []
    for k in range(len(names)):
        low = min((float(wave[..., k, :].min()) for wave in shown), default=0.0)
        high = max((float(wave[..., k, :].max()) for wave in shown), default=0.0)
        limits.append(squares(low - edge_mv, high + edge_mv))
    return layout(names, time_s, limits)


def mark_leads(
    axes: "Axes", laid: Layout, *, marks: bool = True, size: float = 7.0
) -> None:
    """Write the names of several leads, and at each row the mark of 1 mV."""
    if marks:
        for up in laid.rows:
            calibration_mark(axes, laid.span[0] - 0.1, 0.08, up)
    if len(laid.names) == 1:
        return
    for name, (right, _), top in zip(laid.names, laid.places, laid.tops, strict=True):
        axes.text(
            laid.span[0] + right + 0.03,
            top - 0.08,
            name,
            va="top",
            fontsize=size,
            weight="bold",
            color=INK,
            zorder=8,
            parse_math=False,
            bbox={"fc": PAPER, "ec": "none", "alpha": 0.8, "pad": 0.6},
        )
