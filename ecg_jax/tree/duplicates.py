"""Which components of a tree are one and the same function."""

from collections.abc import Sequence

import jax
import numpy as np

from ecg_jax.program.gates import Gate
from ecg_jax.tree.tree import Tree


def same_functions(tree: Tree) -> dict[int, tuple[int, ...]]:
    """For each component the others that are the same function, on every input.

    Two components of one side and depth are the same function where they freeze the
    same units to the same tangents; then only their prototypes, and so their cells,
    differ. (Those that freeze different units may happen to be equal too; that is not
    looked for.)

    Args:
      tree: a grown tree.

    Returns:
      Ids of the others, in order, by the id of each component.
    """
    out: dict[int, tuple[int, ...]] = {}
    for ids in tree.families():
        groups: dict[bytes, list[int]] = {}
        for i, row in zip(ids, _frozen(tree, ids), strict=True):
            groups.setdefault(row.tobytes(), []).append(i)
        for group in groups.values():
            out |= {i: tuple(j for j in group if j != i) for i in group}
    return out


def _frozen(tree: Tree, ids: Sequence[int]) -> np.ndarray:
    """What components of one side and depth freeze, and to what: a row for each."""
    nodes = tree.frozen_on_side(ids)
    masks = nodes.frozen
    gates = [tree.descent.gates[i].role for i in range(len(masks))]
    tangents = [
        gate.keep(mask, pattern)
        for gate, mask, pattern in zip(gates, masks, nodes.patterns, strict=True)
        if isinstance(gate, Gate)
    ]
    rows = [
        np.asarray(leaf).reshape(len(ids), -1).astype(np.float64)
        for leaf in jax.tree_util.tree_leaves([tangents, masks])
    ]
    return np.concatenate(rows, axis=1) + 0.0  # no -0.0, whose bytes differ from 0.0
