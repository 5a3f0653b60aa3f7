"""Slack, what a bound must exceed to count as proof, for every component of a tree."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program.gates import Gate
from ecg_jax.proof.rounding import rounding_bound, tail_bound, values_at_cut
from ecg_jax.proof.slack import FROZEN_RULES, TAIL, WHOLE, counts_all


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
    whole = counts_all(descent)
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
