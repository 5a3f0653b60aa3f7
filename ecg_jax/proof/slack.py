"""Slack, what a bound must exceed to count as proof: all rounding from input to claim.

An answer is proven only if every evaluation of the function gives it, and the component
too. With `b` the bound on the rounding of the whole program (see `rounding`), of the
function and of its components alike, two evaluations differ by `2 b` at most, and a
function and a component that are evaluated apart by twice that.

A gap starts from the same numbers at the cut below the opened gates. With `t` the bound
of the tail from there on, a gap adds up at most three terms a unit where `f` has one,
each at most twice as large, with weights that are rounded like a tail of their own:
`6 t + 2 t`, and `t` for `f`. Together `9 t + 4 b`.

Where an operation that jumps lies below the opened gates no bound holds from the input
on, and `9 t` is what is left: claims are then about the program from the jump on. A
loop whose steps are not all written out is bounded step by step.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jax import lax

from ecg_jax.lattice.descent import Descent
from ecg_jax.program.roles import Loop
from ecg_jax.proof.rounding import ROUNDING_RULES, lawless
from ecg_jax.proof.rounding_rules import Bounds, Operation, selection

TAIL, WHOLE = 9, 4


def counts_all(descent: Descent) -> bool:
    """Whether rounding is counted from the input on, not only from the opened gates."""
    if descent.end is None:
        return True
    loop = isinstance(descent.end.role, Loop)
    return loop and not any(map(lawless, descent.program.equations))


def opened_selection(op: Operation) -> Bounds:
    """An opened `select(t > 0, A, B)`, perhaps behind others: `e' = 4 (e_A + e_B)`.

    A pattern picks one case. The gate itself may pick the wrong one where
    `|t| <= 2 e_t`; there `|A - B| = |k t|` is at most twice the error of `A - B`.
    """
    if not op.opened:
        return selection(op)
    _, a, b = op.args
    return [jnp.maximum(a.size, b.size)], [4 * (a.slack + b.slack)]


FROZEN_RULES: Mapping[Any, Any] = MappingProxyType(
    {**ROUNDING_RULES, lax.select_n_p: opened_selection}
)
"""Rounding rules that hold where opened gates feed one another."""
