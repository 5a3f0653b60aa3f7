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
import numpy as np

from ecg_jax.program.blocks import blocks
from ecg_jax.program.kept import once
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


@once
def _piece(tree: Tree, depth: int, sign: int) -> Any:
    """Value and template of a component at an input; compiled once for its family."""

    def value(x: Any, *own: Any) -> Any:
        if not own:
            return tree.program.evaluate(x)
        f, gap = tree.descent.gap(own[0], x, sign, own[1], depth)
        return f - sign * gap

    return jax.value_and_grad(value)
