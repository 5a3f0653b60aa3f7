"""`grow`: the hierarchical equation of a function on a data set.

The first level of each side is a cover by localized components; then the leaf whose
samples differ most is split, its children one level of gates deeper, until the budget
is spent, a cell would be too small, or no level is left. A side without units at the
outermost level (the max side, below a max of rivals) starts at the first that has any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax.cluster import kmeans, means, nearest
from ecg_jax.cover import CoverConfig, choose
from ecg_jax.decide import pattern_hashes
from ecg_jax.errors import CoverError
from ecg_jax.kernels import METRICS, Side, blocks, nearest_proof, squared_distances
from ecg_jax.program import Rules, trace
from ecg_jax.rules import RULES
from ecg_jax.tree import SIDES, Node, Tree

DEEP = 20_000  # samples that choose components below the outermost level
LARGEST = 2**25  # features of all samples that take part in choosing, as numbers
CANDIDATES, MEMBERS, AGREEMENT = 8, 256, 0.9  # for components below the first level


def grow(
    fn: Callable[[Any], Any],
    data: Any,
    *,
    depth: int = 3,
    budget: int = 8,
    min_count: int = 50,
    metric: str = "euclidean",
    cover: CoverConfig | None = None,
    rules: Rules = RULES,
) -> Tree:
    """Grows the equation `f = max_k W_k = min_k R_k`, with `f` itself as the rest.

    Args:
      fn: pure function of one example to a scalar margin.
      data: examples with a leading axis; they choose the components.
      depth: how many levels of gates a component may freeze; fewer where the function
        has fewer, or an operation without a rule ends them.
      budget: how many components (leaves) are shown on each side.
      min_count: no cell is split into halves of fewer samples (of those that choose).
      metric: what distances to the centres of cells are taken of: "euclidean", the
        example as it is, or "shape", the example scaled to mean 0 and variance 1.
      cover: how the first level is chosen.
      rules: table from primitives to rules.

    Returns:
      The tree; `tree(x) == fn(x)`, `tree.decide`, `tree.bounds`, `tree.certificate`.

    Raises:
      CoverError: the data are empty.
      UnsupportedPrimitiveError, NoGateError, ...: see `factor`.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> data = jax.random.normal(jax.random.key(0), (200, 2))
      >>> tree = ej.grow(f, data, depth=1, budget=2)
      >>> tree.certificate(data).wrongly_proven
      0
    """
    leaves = tree_util.tree_leaves(data)
    if not leaves or not len(leaves[0]):
        raise CoverError("no data to grow on.\n  try: examples with a leading axis")
    example = tree_util.tree_map(lambda v: jnp.asarray(v[0]), data)
    root = _root(len(leaves[0]))
    tree = Tree(trace(fn, example, rules), (root,), example, None, metric)
    values = blocks(tree.program.evaluate, data)
    config = cover or CoverConfig()
    nodes = list(tree.nodes)
    limits = _Limits(min(depth, tree.descent.num_levels), budget, min_count)
    for sign in SIDES:
        rows = np.flatnonzero(values >= 0 if sign > 0 else values < 0)
        nodes += _side(tree, data, values, rows, sign, limits, config, len(nodes))
    seen = np.unique(pattern_hashes(tree.eq, data))
    return _counted(Tree(tree.program, tuple(nodes), example, seen, metric), data)


@dataclass(frozen=True)
class _Limits:
    depth: int
    budget: int
    min_count: int


def _root(count: int) -> Node:
    return Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, count)


def _side(
    tree: Tree,
    data: Any,
    values: np.ndarray,
    rows: np.ndarray,
    sign: int,
    limits: _Limits,
    config: CoverConfig,
    first_id: int,
) -> list[Node]:
    """The components of one side."""
    if not len(rows):
        return []
    side, start = Side(tree.eq, sign), 1
    rng = np.random.default_rng(config.seed)
    width = jax.eval_shape(side.features, tree.example)[1].size
    most = min(config.sample, max(LARGEST // width, 1000), len(rows))
    if not side.num_units:  # no matrix product below the outermost level
        most = min(most, DEEP)
    rows = np.sort(rng.choice(rows, most, replace=False))
    part = tree_util.tree_map(lambda v: np.asarray(v[rows]), data)

    @jax.jit
    def seen(v: Any) -> Any:
        vector, pattern = METRICS[tree.metric](v), tree.eq.pattern(v)
        own = pattern[0 if sign > 0 else 1]
        return vector, tree.slack(v), tree.eq.operands(v), own, side.features(v)[1]

    x, slack, operands, patterns, features = blocks(seen, part)
    room = sign * values[rows] - slack
    if not side.num_units:
        start = _first_depth(tree, part, sign, limits.depth)
        if not start:
            return []
    width = limits.budget if limits.depth <= start else -(-limits.budget // 2)
    width = min(width, max(1, len(rows) // max(limits.min_count, 1)))
    splitter = _Splitter(tree, part, x, room, sign, start, limits, config.seed)
    if start == 1:
        chosen = choose(side, x, room, operands, patterns, features, width, config)
        frozen = [tuple(side.split(flags)) for flags in chosen.frozen]
        first = _First(chosen.anchors, frozen, chosen.centres, chosen.cells)
    else:
        first = splitter.first(width, config)
    letter, kind = ("P", "witness") if sign > 0 else ("Q", "refuter")
    nodes = [
        Node(
            id=first_id + k,
            parent=0,
            name=f"{letter}{k + 1}",
            side=SIDES[sign],
            kind=kind,
            depth=start,
            anchor=splitter.at(row),
            frozen=masks,
            share_frozen=splitter.share(row, masks),
            centre=centre,
            count=0,
        )
        for k, (row, masks, centre) in enumerate(
            zip(first.anchors, first.frozen, first.centres, strict=True)
        )
    ]
    return splitter.grow(nodes, first.cells)


def _first_depth(tree: Tree, part: Any, sign: int, depth: int) -> int:
    """The first depth where a sample has units on a side; 0 where none has."""

    def has_units(x: Any) -> Any:
        sides = tree.descent.sides(x, sign, depth)
        return jnp.stack([jnp.any(side) for side in sides])

    found = np.any(blocks(has_units, part), axis=0)
    levels = [tree.descent.level[i] for i in np.flatnonzero(found)]
    return 1 + min(levels, default=-1)


@dataclass(frozen=True, eq=False)
class _First:
    """Components below the root: rows of anchors, masks, and whose cell a row is in."""

    anchors: Sequence[int] | np.ndarray
    frozen: Sequence[tuple[np.ndarray, ...]]
    centres: np.ndarray
    cells: np.ndarray


@dataclass(eq=False)
class _Splitter:
    """Components at any depth, by prototypes of cells.

    Splits the leaf whose samples differ most, until the budget is spent.
    """

    tree: Tree
    part: Any
    x: np.ndarray
    room: np.ndarray
    sign: int
    start: int
    limits: _Limits
    seed: int

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.deep: dict[int, Any] = {}

    @cached_property
    def _sides(self) -> Any:
        """Jitted: the units on this side at an input."""
        descent, sign, start = self.tree.descent, self.sign, self.start
        return jax.jit(lambda a: descent.sides(a, sign, start))

    @cached_property
    def _lost(self) -> Any:
        """What components of the first depth take from `f` at an example."""
        descent, sign, start = self.tree.descent, self.sign, self.start

        def at(x: Any, anchors: Any, masks: Any) -> Any:
            def lost(anchor: Any, mask: Any) -> Any:
                pattern = descent.patterns(anchor, start)
                return descent.gap(pattern, x, sign, mask, start)[1]

            return jax.vmap(lost)(anchors, masks)

        return at

    def at(self, rows: Any) -> Any:
        """Samples by row."""
        return tree_util.tree_map(lambda v: v[rows], self.part)

    def share(self, row: int, masks: Sequence[np.ndarray]) -> float:
        """Which share a component freezes of the units on its side at its anchor."""
        sides, levels = self._sides(self.at(row)), self.tree.descent.level
        level = [i for i in range(len(sides)) if levels[i] == self.start - 1]
        flags = [masks[i][np.asarray(sides[i])] for i in level]
        whole = np.concatenate(flags)
        return float(whole.mean()) if whole.size else 0.0

    def first(self, num: int, config: CoverConfig) -> _First:
        """Components below the root, at a depth below the outermost level.

        Cells begin as those of k-means; prototypes and cells take turns.
        """
        centres = kmeans(self.x, num, seed=config.seed)
        cells, room = nearest(self.x, centres), jnp.asarray(self.room)
        best, most = None, -1.0
        for _ in range(config.rounds):
            inside = [np.flatnonzero(cells == k) for k in range(num)]
            everyone = np.arange(len(self.x))
            picked = [
                self.prototype(rows if len(rows) else everyone, self.start)
                for rows in inside
            ]
            anchors = np.array([row for row, _ in picked])
            frozen = [masks for _, masks in picked]
            masks = [np.stack(mask) for mask in zip(*frozen, strict=True)]
            lost = blocks(self._lost, self.part, self.at(anchors), masks)
            away = squared_distances(jnp.asarray(self.x), jnp.asarray(centres))
            cells = np.asarray(nearest_proof(lost, room, away))
            proven = float(np.mean(np.any(lost < self.room[:, None], axis=1)))
            if proven >= most:
                best, most = _First(anchors, frozen, centres, cells), proven
            centres = means(self.x, cells, centres)
        assert best is not None
        return best

    def grow(self, nodes: list[Node], cells: np.ndarray) -> list[Node]:
        """Adds children, two at a time, where the spread they remove is largest."""
        nodes, first = list(nodes), nodes[0].id
        cells = cells + first
        halves = {n.id: self._halves(cells == n.id, n) for n in nodes}
        leaves = len(nodes)
        while leaves < self.limits.budget:
            leaf = max(halves, key=lambda i: halves[i][0])
            gain, rows, half = halves.pop(leaf)
            if gain <= 0:
                break
            parent = nodes[leaf - first]
            for k in (0, 1):
                node = self._child(parent, first + len(nodes), k, rows[half == k])
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
        least = self.limits.min_count
        if node.depth >= self.limits.depth or len(rows) < 2 * least:
            return nothing
        x = self.x[rows]
        half = nearest(x, kmeans(x, 2, seed=self.seed, steps=10))
        if min(np.sum(half == 0), np.sum(half == 1)) < least:
            return nothing
        within = sum(np.sum((x[half == k] - x[half == k].mean(0)) ** 2) for k in (0, 1))
        return float(np.sum((x - x.mean(0)) ** 2) - within), rows, half

    def _child(self, parent: Node, node_id: int, k: int, rows: np.ndarray) -> Node:
        """The prototype of half a cell, one level deeper."""
        row, frozen = self.prototype(rows, parent.depth + 1)
        return replace(
            parent,
            id=node_id,
            parent=parent.id,
            name=f"{parent.name}.{k + 1}",
            depth=parent.depth + 1,
            anchor=self.at(row),
            centre=self.x[rows].mean(0),
            frozen=frozen,
            share_frozen=self.share(row, frozen),
        )

    def prototype(
        self, rows: np.ndarray, depth: int
    ) -> tuple[int, tuple[np.ndarray, ...]]:
        """The row, of some near the mean of a cell, that proves most of the cell.

        And the units, of each gate above a depth, that it freezes: those whose pattern
        most of the cell share.
        """
        away = np.sum((self.x[rows] - self.x[rows].mean(0)) ** 2, axis=1)
        candidates = np.resize(rows[np.argsort(away)[:CANDIDATES]], CANDIDATES)
        members = np.resize(self.rng.permutation(rows), MEMBERS)
        masks, lost = self._judge(depth)(self.at(candidates), self.at(members))
        room = self.room[members]
        winner = int(np.argmax(np.mean(np.asarray(lost) < room, axis=1)))
        frozen = tuple(np.asarray(mask[winner]) for mask in masks)
        return int(candidates[winner]), frozen

    def _judge(self, depth: int) -> Any:
        """Jitted: what candidates freeze where members agree, and their gaps."""
        if depth not in self.deep:
            descent, sign = self.tree.descent, self.sign

            def judge(candidates: Any, members: Any) -> Any:
                theirs = jax.vmap(lambda a: descent.patterns(a, depth))(candidates)
                others = jax.vmap(lambda a: descent.patterns(a, depth))(members)
                masks = [
                    _agreement(mine, all_, shape)
                    for mine, all_, shape in zip(
                        theirs, others, descent.unit_shapes(depth), strict=True
                    )
                ]

                def lost(candidate: Any) -> Any:
                    pattern, frozen = candidate

                    def one(x: Any) -> Any:
                        return descent.gap(pattern, x, sign, frozen, depth)[1]

                    return jax.vmap(one)(members)

                return masks, jax.lax.map(lost, (theirs, masks))

            self.deep[depth] = jax.jit(judge)
        return self.deep[depth]


def _agreement(mine: Any, others: Any, units: tuple[int, ...]) -> Any:
    """For each candidate, the units whose pattern most members share."""
    leaves = tree_util.tree_leaves(mine)
    if any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        return jnp.ones((len(leaves[0]), *units), bool)
    shape = (len(leaves[0]), *units)
    agreed = jnp.ones(shape, bool)
    for a, b in zip(leaves, tree_util.tree_leaves(others), strict=True):
        same = jnp.mean(a[:, None] == b[None], axis=1) >= AGREEMENT
        if same.ndim > len(shape):  # several entries of a pattern belong to a unit
            same = jnp.all(same.reshape(*shape, -1), axis=-1)
        agreed &= jnp.broadcast_to(same, shape)
    return agreed


def _counted(tree: Tree, data: Any) -> Tree:
    """Writes how many samples each node decides; drops components that decide none."""
    decision = tree.decide(data)
    ids, counts = np.unique(decision.path[decision.path > 0], return_counts=True)
    count = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    alive = [n for n in tree.nodes if n.id == 0 or count.get(n.id, 0)]
    return tree.keeping(alive, count)
