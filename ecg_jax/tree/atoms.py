"""The affine functions that components are, beat by beat: templates.

A component `W` bounds `f`, with units frozen at its prototype. With the gates that
it leaves alive at their own tangents at `x`, it is affine,

    W(y) = <w, y> + b     for all y with the patterns of x,     w = grad W(x)

and `w` is its template there. The root's are the atoms of `f`. (Below the first level,
where a smooth gate is alive above a frozen one, its slope changes with `y`, and `w` is
the gradient of `W` only.)
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecg_jax.lattice.concavity import one_level
from ecg_jax.program.blocks import blocks
from ecg_jax.program.memo import once
from ecg_jax.tree.tree import Tree

BLOCK = 256


def templates(
    tree: Tree, data: Mapping[int, Any]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The affine functions that components are at some beats.

    Args:
        tree: a grown tree.
        data: examples with a leading axis, by id of the node.

    Returns:
        By node, templates `[beat, ...]` and values `[beat]`; the offset of a beat is
        its value less `<template, beat>`. The root's are the atoms of `f`.
    """
    out = {}
    for family in [[0], *tree.families()]:
        ids = [i for i in family if i in data]
        if not ids:
            continue
        first = tree.nodes[ids[0]]
        piece = _piece(tree, first.depth, first.sign)
        nodes = tree.stacked(ids) if first.sign else None
        for at, i in enumerate(ids):
            own: tuple[Any, ...] = ()
            if nodes is not None:
                pattern = jax.tree.map(lambda leaf, at=at: leaf[at], nodes.patterns)
                own = (pattern, [mask[at] for mask in nodes.frozen])
            value, template = blocks(piece, data[i], *own, block=BLOCK)
            out[i] = template, value
    return out


def own_templates(tree: Tree) -> dict[int, np.ndarray]:
    """The templates of a function that is one max of affine functions less another.

    Of `f = max_k a_k - max_j b_j` the component of `a_k` is `a_k - max_j b_j`, that of
    `b_j` is `max_k a_k - b_j`: what is its own is one affine function.

    Args:
        tree: a grown tree.

    Returns:
        By component the gradient of `a_k`, or of `-b_j`: what raises the margin is
        positive. Empty where the function is of another form.
    """
    eq, signs = tree.eq, [np.ravel(side).tolist() for side in tree.eq.sides]
    if sorted(signs) != [[-1], [1]] or not one_level(tree.program):
        return {}

    def part(x: Any, kept: int, anchor: Any) -> Any:
        """The function with one side frozen at the anchor, without the other."""
        pattern = eq.pattern(anchor)[0 if kept > 0 else 1]

        def hook(i: int, z: tuple[Any, ...]) -> Any:
            gate = eq.gates[i]
            if signs[i] != [kept]:
                return jnp.zeros_like(gate.apply(*z))
            return gate.half_frozen(pattern[i], kept * eq.weights[i], *z)

        return eq.run(x, hook)

    own = jax.jit(jax.grad(part), static_argnums=1)
    return {
        node.id: np.asarray(own(jnp.asarray(node.anchor), node.sign, node.anchor))
        for node in tree.nodes[1:]
        if node.depth == 1 and node.share_frozen == 1
    }


@once
def _piece(tree: Tree, depth: int, sign: int) -> Any:
    """Value and template of a component at an input; compiled once for its family."""

    def value(x: Any, *own: Any) -> Any:
        if not own:
            return tree.program.evaluate(x)
        f, gap = tree.descent.gap(own[0], x, sign, own[1], depth)
        return f - sign * gap

    return jax.value_and_grad(value)
