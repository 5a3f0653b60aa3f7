"""What a bound must exceed to count as proof: the rounding from the opened gates on.

A component and the function start from the same numbers at the cut below the opened
gates, so only what is rounded from there on can make a bound say more than is true,
however deep the program below. With `t` the rounding bound of that tail (see
`rounding`), `f` as computed is off by `t` at most. A gap adds up at most three terms a
unit where `f` has one, each at most twice as large, with weights that are rounded like
a tail of their own: `6 t + 2 t`. Together `9 t`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.maxmin import Gate
from ecg_jax.proof.rounding import ROUNDING_RULES, tail_bound, values_at_cut
from ecg_jax.proof.rounding_rules import Bounds, Operation, selection

FACTOR = 9


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


def slack_of(tree: Any) -> Callable[[Any], Array]:
    """A bound on the rounding of `f - gap`, for every component of a tree.

    Args:
      tree: its program, its nodes, and how deep they freeze.

    Returns:
      A pure function of one example.

    Raises:
      UnsupportedPrimitiveError: an operation of the tail has no rounding rule.
    """
    program, descent = tree.program, tree.descent
    depth = max(tree.depth, 1)
    opened = [descent.gates[i] for i in descent.opened(depth)]
    with jax.ensure_compile_time_eval():
        at_cut = values_at_cut(program, opened)
        tail = tail_bound(program, opened, rules=FROZEN_RULES)
        live = tail_bound(program, opened, live=True)

    def piecewise(x: Any) -> Array:
        return FACTOR * tail(at_cut(x))

    def smooth(x: Any) -> Array:
        values, own = at_cut(x), descent.patterns(x, depth)
        at_x = jnp.maximum(live(values), tail(values, own))
        worst = at_x
        for ids in tree.families():
            nodes = tree.stacked(ids)

            def of_node(pattern: Any, frozen: Any) -> Array:
                mixed = list(own)
                for i, (mine, mask) in enumerate(zip(pattern, frozen, strict=True)):
                    gate = opened[i].role
                    assert isinstance(gate, Gate)
                    mixed[i] = gate.select(mask, mine, own[i])
                return at_x + tail(values, mixed)

            bounds = jax.vmap(of_node)(nodes.patterns, nodes.frozen)
            worst = jnp.maximum(worst, jnp.max(bounds))
        return FACTOR * worst

    try:  # tangents of smooth gates are as large as their anchors make them
        jax.eval_shape(piecewise, tree.example)
    except UnsupportedPrimitiveError:
        return smooth
    return piecewise
