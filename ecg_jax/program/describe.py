"""Functions and inputs in a few words, for what objects show of themselves."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import tree_util

MOST_ARRAYS, MOST_LETTERS = 3, 40


def name_of(fn: Any) -> str:
    """What a function is called; "f" where it has no name."""
    name = getattr(fn, "__name__", "")
    return "f" if name in ("", "<lambda>") else short(name)


def short(name: str, letters: int = MOST_LETTERS) -> str:
    """A name, cut where it is long."""
    return name if len(name) <= letters else f"{name[: letters - 3]}..."


def form_of(example: Any) -> str:
    """Dtype and shape of an input, array by array.

    Example:
      >>> form_of(np.zeros((1, 65))), form_of([np.zeros(2)] * 4)
      ('float64[1, 65]', '4 arrays: float64[2], float64[2], float64[2], ...')
    """
    return forms_of(tree_util.tree_leaves(example))


def forms_of(leaves: Sequence[Any]) -> str:
    """`form_of` the leaves of an input."""
    shown = [
        f"{getattr(v, 'dtype', jnp.result_type(v))}{list(np.shape(v))}"
        for v in leaves[:MOST_ARRAYS]
    ]
    if len(leaves) == 1:
        return short(shown[0])
    more = ["..."] if len(leaves) > MOST_ARRAYS else []
    listed = ", ".join(short(form) for form in shown + more)
    return f"{len(leaves)} arrays: {listed}"


def counted(num: int, what: str) -> str:
    """A count with its noun: "1 gate", "1,000 gates"."""
    return f"{num:,} {what}{'s' * (num != 1)}"
