"""Splitting cells: components that freeze one level of gates more than their parent.

The leaf whose samples differ most is split in two, until the budget is spent, a cell
would be too small, or no level is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ecg_jax.program.blocks import blocks
from ecg_jax.progress import Progress, parts, silent
from ecg_jax.statistics.cluster import Cells, kmeans, nearest, take_turns
from ecg_jax.tree.cover import proven_by_others
from ecg_jax.tree.kernels import decides, squared_distances
from ecg_jax.tree.prototypes import Masks, Prototypes
from ecg_jax.tree.tree import Node


@dataclass(frozen=True, eq=False)
class First:
    """The components below the root on one side.

    Attributes:
      depth: how many levels of gates they freeze.
      anchors: rows of their prototypes.
      frozen: for each component and gate, what it freezes.
      centres: of their cells.
      cells: the component that decides each sample.
    """

    depth: int
    anchors: Int[np.ndarray, " k"]
    frozen: Sequence[Masks]
    centres: Float[np.ndarray, "k t"]
    cells: Int[np.ndarray, " n"]


def first_below(
    prototypes: Prototypes, num: int, depth: int, progress: Progress = silent
) -> First:
    """Components below the root, at a depth below the outermost level.

    Cells begin as those of k-means; prototypes and cells take turns.
    """
    tree, samples, config = prototypes.tree, prototypes.samples, prototypes.config
    x, everyone = samples.vectors, np.arange(len(samples))

    def lost(v: Any, anchors: Any, masks: Any) -> Any:
        def one(anchor: Any, mask: Any) -> Any:
            pattern = tree.descent.patterns(anchor, depth)
            return tree.lost(prototypes.sign, depth, v, pattern, mask)

        return jax.vmap(one)(anchors, masks)

    def pick(
        centres: np.ndarray, cells: Cells, progress: Progress
    ) -> tuple[float, Cells, First]:
        picked: list[tuple[int, Masks]] = []
        for k in range(num):
            progress(k, num)
            rows = np.flatnonzero(cells == k)
            picked.append(prototypes.pick(rows if len(rows) else everyone, depth))
        anchors = np.array([row for row, _ in picked])
        frozen = [masks for _, masks in picked]
        masks = [np.stack(mask) for mask in zip(*frozen, strict=True)]
        gap = blocks(lost, prototypes.part, prototypes.at(anchors), masks)
        away = squared_distances(jnp.asarray(x), jnp.asarray(centres))
        own = np.asarray(decides(gap, samples.room, away, tree.localize))
        proven = proven_by_others(samples, gap, anchors)
        return proven, own, First(depth, anchors, frozen, centres, own)

    centres = kmeans(x, num, seed=config.seed)
    return take_turns(x, centres, pick, parts(progress, *[1] * config.rounds))


@dataclass(frozen=True, eq=False)
class Splitter:
    """Adds children below components.

    Attributes:
      prototypes: for the cells of the side.
      depth: how many levels of gates a component may freeze.
      budget: how many leaves.
      min_count: no half of a cell has fewer samples.
    """

    prototypes: Prototypes
    depth: int
    budget: int
    min_count: int

    def grow(
        self,
        nodes: list[Node],
        cells: Int[np.ndarray, " n"],
        progress: Progress = silent,
    ) -> list[Node]:
        """Adds children, two at a time, where the spread they remove is largest.

        Args:
          nodes: the components below the root, with ids in order.
          cells: the position in `nodes` that each sample falls to.
          progress: told of the leaves there are, and of the budget.
        """
        nodes, first = list(nodes), nodes[0].id
        cells, top = cells + first, nodes[0].depth
        halves = {n.id: self._halves(cells == n.id, n) for n in nodes}
        leaves = len(nodes)
        while leaves < self.budget:
            progress(leaves, self.budget)
            leaf = max(halves, key=lambda i: halves[i][0])
            gain, rows, half = halves.pop(leaf)
            if gain <= 0:
                break
            parent = nodes[leaf - first]
            for k in (0, 1):
                node = self._child(parent, first + len(nodes), k, rows[half == k], top)
                nodes.append(node)
                cells[rows[half == k]] = node.id
                halves[node.id] = self._halves(cells == node.id, node)
            leaves += 1
        return nodes

    def _halves(
        self, inside: np.ndarray, node: Node
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """How much spread two halves of a cell remove, its rows, and their halves."""
        rows = np.flatnonzero(inside)
        nothing = (0.0, rows, np.zeros(len(rows), int))
        if node.depth >= self.depth or len(rows) < 2 * self.min_count:
            return nothing
        x = self.prototypes.samples.vectors[rows]
        half = nearest(x, kmeans(x, 2, seed=self.prototypes.config.seed, steps=10))
        if min(np.sum(half == 0), np.sum(half == 1)) < self.min_count:
            return nothing
        within = sum(np.sum((x[half == k] - x[half == k].mean(0)) ** 2) for k in (0, 1))
        return float(np.sum((x - x.mean(0)) ** 2) - within), rows, half

    def _child(
        self, parent: Node, node_id: int, k: int, rows: np.ndarray, top: int
    ) -> Node:
        """The prototype of half a cell, one level deeper."""
        depth = parent.depth + 1
        row, frozen = self.prototypes.pick(rows, depth)
        return replace(
            parent,
            id=node_id,
            parent=parent.id,
            name=f"{parent.name}.{k + 1}",
            depth=depth,
            anchor=self.prototypes.at(row),
            centre=self.prototypes.samples.vectors[rows].mean(0),
            frozen=frozen,
            share_frozen=self.prototypes.share(row, frozen, top),
        )
