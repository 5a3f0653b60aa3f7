"""What a bound must exceed to count as proof: all that is rounded from input to claim.

An answer is proven only if every evaluation of the function gives it, and the component
too. With `b` the bound on the rounding of the whole program (see `rounding`), of the
function and of its components alike, two evaluations differ by `2 b` at most, and a
function and a component that are evaluated apart by twice that.

A gap starts from the same numbers at the cut below the opened gates. With `t` the bound
of the tail from there on, a gap adds up at most three terms a unit where `f` has one,
each at most twice as large, with weights that are rounded like a tail of their own:
`6 t + 2 t`, and `t` for `f`. Together `9 t + 4 b`.

Where an operation that jumps lies below the opened gates no bound holds from the input
on, and `9 t` is what is left: claims are then about the program from the jump on.
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
from ecg_jax.proof.rounding import (
    ROUNDING_RULES,
    rounding_bound,
    tail_bound,
    values_at_cut,
)
from ecg_jax.proof.rounding_rules import Bounds, Operation, selection

TAIL, WHOLE = 9, 4


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
    whole = descent.end is None
    with jax.ensure_compile_time_eval():
        at_cut = values_at_cut(program, opened)
        tail = tail_bound(program, opened, rules=FROZEN_RULES)
        live = tail_bound(program, opened, live=True)
        above = opened if whole else ()
        frozen_whole = rounding_bound(program, opened=above, rules=FROZEN_RULES)
        live_whole = rounding_bound(program, opened=())

    def of(x: Any, values: Any, entries: Any = None) -> Array:
        """Of the components frozen so, and of the function."""
        at = TAIL * tail(values, entries)
        return at + WHOLE * frozen_whole(x, entries) if whole else at

    def of_function(x: Any, values: Any) -> Array:
        at = TAIL * live(values)
        return at + WHOLE * live_whole(x) if whole else at

    def piecewise(x: Any) -> Array:
        return of(x, at_cut(x))

    def smooth(x: Any) -> Array:
        values, own = at_cut(x), descent.patterns(x, depth)
        at_x = jnp.maximum(of_function(x, values), of(x, values, descent.own(own)))
        worst = at_x
        for ids in tree.families():
            nodes = tree.stacked(ids)

            def of_node(pattern: Any, frozen: Any) -> Array:
                ways = [descent.own(own), descent.own(own)]
                for i, (mine, mask) in enumerate(zip(pattern, frozen, strict=True)):
                    gate = opened[i].role
                    assert isinstance(gate, Gate)
                    mixed = gate.select(mask, mine, own[i])
                    for way, sides in zip(
                        ways, ((mixed, own[i]), (own[i], mixed)), strict=True
                    ):
                        way[i] = mixed if gate.split is None else sides
                if not any(gate.role.split for gate in opened):  # one side is frozen
                    ways = ways[:1]
                return at_x + sum(of(x, values, way) for way in ways)

            bounds = jax.vmap(of_node)(nodes.patterns, nodes.frozen)
            worst = jnp.maximum(worst, jnp.max(bounds))
        return worst

    try:  # tangents of smooth gates are as large as their anchors make them
        jax.eval_shape(piecewise, tree.example)
    except UnsupportedPrimitiveError:
        return smooth
    return piecewise
