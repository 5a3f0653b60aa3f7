"""The hierarchical equation on a data set: few components, and the rest.

The complete tree is implicit (a sample's path through it is read off); what is stored
is what was chosen for showing. The root is `f`; its children are witnesses `P1, P2,
...` that prove "normal" and refuters `Q1, Q2, ...` that prove "not normal"; a node
further down freezes one level of gates more, at a prototype of its own. Every node
bounds `f` itself, on every input, and `f` stays as the child *rest*:

    f(x) = max(max_k W_k(x), rest(x)) = min(min_k R_k(x), rest(x)),    rest = f
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from html import escape
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Bool, Float, Int

from ecg_jax.errors import PatternError
from ecg_jax.lattice.concavity import is_concave
from ecg_jax.lattice.descent import Descent, descent_of
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.percent import share
from ecg_jax.program.blocks import blocks
from ecg_jax.program.describe import counted, form_of, name_of, short
from ecg_jax.program.gates import on
from ecg_jax.program.memo import Immutable, once
from ecg_jax.program.program import Program
from ecg_jax.shown import polyline, table
from ecg_jax.tree.kernels import METRICS, Side, gaps
from ecg_jax.tree.slack import slack_of

MOST_NAMED = 8
SIDES = {1: "normal", -1: "not normal"}


@dataclass(frozen=True, eq=False)
class Node:
    """A component of the tree.

    Attributes:
      id: position in `tree.nodes`; the root is 0.
      parent: id of the parent; -1 for the root.
      name: "f", "P3" (proves normal), "Q7" (proves not normal), "P3.1" (deeper).
      side: "normal" or "not normal"; "" for the root.
      kind: "root", "witness" or "refuter".
      depth: how many levels of gates it freezes; below the root 1, or the first that
        has units on this side.
      anchor: the prototype, an input.
      frozen: for each gate it opens, which units are frozen.
      share_frozen: share of the units on its side at its anchor that it freezes, at
        the first level where this side has units.
      centre: of its cell, as a vector of the tree's metric.
      count: how many samples it was grown on it decides.
    """

    id: int
    parent: int
    name: str
    side: str
    kind: str
    depth: int
    anchor: Any
    frozen: tuple[Any, ...]
    share_frozen: float
    centre: Any
    count: int

    def __repr__(self) -> str:
        side = f" ({self.side})" if self.side else ""
        return f"Node {short(self.name)}{side}: {self.words}"

    @property
    def words(self) -> str:
        """What it freezes, and how many samples it was grown on it decides."""
        samples = counted(self.count, "sample")
        if not self.sign:
            return f"the function itself; {samples}"
        return (
            f"freezes {share(self.share_frozen)} of its units, "
            f"{counted(self.depth, 'level')} of gates; {samples}"
        )

    @property
    def sign(self) -> int:
        """+1 for a witness, -1 for a refuter, 0 for the root."""
        return {"witness": 1, "refuter": -1}.get(self.kind, 0)


@dataclass(frozen=True, eq=False)
class Decision:
    """What the tree says of each sample, and what of it is proven.

    Attributes:
      value: `f(x)`; `>= 0` means normal.
      path: the node of every depth, -1 where there is none; 0, the root, in the first
        column where no component of that depth is on this side.
      cell: the leaf whose component decides.
      proven: whether the leaf's own component proves the answer.
      prover: the first component (leaf, its ancestors, any other of the first level,
        any other at all) that proves the answer, as a node; -1 where none does.
      lower: the largest of the witnesses below the root and those on the path; where
        none of these nor of the refuters proves the answer, of all.
      upper: the smallest of the refuters, likewise.
      slack: what a bound must exceed to count as proof: how far rounding may carry
        the function and its bound apart.
    """

    value: Float[np.ndarray, " n"]
    path: Int[np.ndarray, "n depth"]
    cell: Int[np.ndarray, " n"]
    proven: Bool[np.ndarray, " n"]
    prover: Int[np.ndarray, " n"]
    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]
    slack: Float[np.ndarray, " n"]

    def __repr__(self) -> str:
        normal = int(self.normal.sum())
        proven = np.mean(self.prover >= 0) if len(self.value) else np.nan
        return (
            f"Decision on {counted(len(self.value), 'sample')}: {normal:,} normal, "
            f"{len(self.value) - normal:,} not normal\n"
            f"  proven: {share(float(proven))}; wrongly proven: {self.wrongly_proven:,}"
        )

    def _repr_html_(self) -> str:
        """Answers and proofs of either side as a table. No script."""
        proven, rows = self.prover >= 0, []
        for side, mine in (("normal", self.normal), ("not normal", ~self.normal)):
            part = float(np.mean(proven[mine])) if mine.any() else np.nan
            rows.append((side, f"{int(mine.sum()):,}", share(part)))
        return table(("answer", "samples", "proven"), rows, title=repr(self))

    @property
    def normal(self) -> Bool[np.ndarray, " n"]:
        """The answer: `f(x) >= 0`."""
        return self.value >= 0

    @property
    def first(self) -> Int[np.ndarray, " n"]:
        """The component below the root that each sample falls to; 0 or less: none."""
        column = np.argmax(self.path > 0, axis=1)
        return np.take_along_axis(self.path, column[:, None], 1)[:, 0]

    @property
    def wrongly_proven(self) -> int:
        """Answers that a bound contradicts by more than rounding. Must be 0."""
        low = self.lower > self.value + self.slack
        return int(np.sum(low | (self.upper < self.value - self.slack)))


@dataclass(frozen=True, eq=False)
class Tree(Immutable):
    """The hierarchical equation: see the module.

    Attributes:
      program: the traced function.
      nodes: the root, then the components.
      example: an input, for its structure.
      seen: hashes of the patterns that occur in the data it was grown on.
      metric: name of what distances to centres are taken of; see `METRICS`.
      localize: how much margin a squared distance costs where a component is to decide;
        None: the nearest proof decides. See `kernels.decides`.
      fn: the function that it was grown from.
    """

    program: Program
    nodes: tuple[Node, ...]
    example: Any
    seen: Any
    metric: str = "euclidean"
    localize: float | None = None
    fn: Callable[[Any], Array] | None = None

    def __repr__(self) -> str:
        high, low = (sum(n.sign == sign for n in self.nodes) for sign in SIDES)
        names = [short(n.name, 24) for n in self.nodes[1:]]
        more = [f"and {len(names) - MOST_NAMED} more"] * (len(names) > MOST_NAMED)
        return (
            f"Tree of {name_of(self.fn)}: {high} witness{'es' * (high != 1)}, "
            f"{counted(low, 'refuter')}, depth {self.depth}\n"
            f"  input: {form_of(self.example)}\n"
            f"  components: {', '.join([*names[:MOST_NAMED], *more]) or 'none'}"
        )

    def _repr_html_(self) -> str:
        """The components as a nested list, each with its prototype. No script."""
        return f"<div>{escape(repr(self).splitlines()[0])}{self._list(0)}</div>"

    def _list(self, parent: int) -> str:
        """The components below one, as an HTML list."""
        rows = []
        for node in (self.nodes[i] for i in self.children(parent)):
            name, words = escape(node.name), escape(f"{node.side}; {node.words}")
            below = self._list(node.id)
            rows.append(
                f"<li>{polyline(node.anchor)} <b>{name}</b>: {words}{below}</li>"
            )
        return f"<ul>{''.join(rows)}</ul>" if rows else ""

    @property
    def function(self) -> Callable[[Any], Array]:
        """The user's function; that of the program where the tree was loaded."""
        return self.program.evaluate if self.fn is None else self.fn

    @cached_property
    def alone(self) -> Callable[[Any], Array]:
        """The function by itself: compiled beside others its rounding may differ."""
        return lambda x: self.function(self.program.as_example(x))

    @cached_property
    def eq(self) -> MaxMin:
        """The equation of the outermost level."""
        with jax.ensure_compile_time_eval():
            return open_gates(self.program, self.function, self.example)

    @cached_property
    def descent(self) -> Descent:
        """All levels of gates."""
        return descent_of(self.program)

    @cached_property
    def slack(self) -> Callable[[Any], Array]:
        """What a bound must exceed at a sample to count as proof; see `tree.slack`."""
        return slack_of(self)

    def vector(self, x: Any) -> Float[Array, " t"]:
        """What distances to the centres of cells are taken of."""
        return METRICS[self.metric](self.program.as_example(x), self.eq)

    def __call__(self, x: Any) -> Float[Array, ""]:
        """`f(x)`: the largest of the chosen witnesses and the rest, which is `f`."""
        lower, upper = self.bounds(x)
        return jnp.clip(self.function(self.program.as_example(x)), lower, upper)

    def bounds(self, x: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The sandwich of the chosen components: `lower <= f(x) <= upper`.

        Sound for every input, seen or not; `-inf`, `inf` where a side has none. A gap
        is never negative; where rounding makes it so, it counts as 0.
        """
        value, gap = self.gaps(x)
        gap = jnp.maximum(gap, 0)
        signs = np.array([node.sign for node in self.nodes])
        lower = jnp.max(jnp.where(signs > 0, value - gap, -jnp.inf))
        return lower, jnp.min(jnp.where(signs < 0, value + gap, jnp.inf))

    def values(self, data: Any) -> Float[np.ndarray, "n nodes"]:
        """Every node's function at every sample: `f`, witnesses, refuters."""
        self.program.check_data(data)
        return blocks(self._values, data)

    @cached_property
    def _values(self) -> Callable[[Any], Array]:
        signs = np.array([node.sign for node in self.nodes])

        def values(x: Any) -> Array:
            value, gap = self.gaps(x)
            return value - jnp.asarray(signs, gap.dtype) * gap

        return values

    def component(self, name: str) -> Callable[[Any], Array]:
        """The function of a node: `f`, a witness or a refuter, pure.

        Those that freeze one level can be factored again.

        Args:
          name: such as "P3".

        Raises:
          PatternError: the tree has no such component.
        """
        if name == self.nodes[0].name:
            return self.program.evaluate
        node = self.nodes[self.find(name)]
        frozen, depth = list(node.frozen), node.depth
        if depth == 1:
            bound = self.eq.witness if node.sign > 0 else self.eq.refuter
            return bound(node.anchor, frozen)
        patterns = self.descent.patterns(node.anchor, depth)
        return lambda x: self.descent.bound(patterns, x, node.sign, frozen, depth)

    def is_concave(self, name: str) -> bool:
        """Whether a witness is known to be concave, a refuter convex, everywhere.

        What such a component proves of some examples it proves of every mixture of
        them. One that freezes several levels reads sides at the example and is neither.

        Args:
          name: such as "P3".

        Raises:
          PatternError: the tree has no such component.
        """
        fn, node = self.component(name), self.nodes[0]
        if name != node.name:
            node = self.nodes[self.find(name)]
        sign = node.sign or 1
        return node.depth <= 1 and is_concave(
            fn, self.example, self.program.rules, sign=sign
        )

    def find(self, name: str) -> int:
        """The id of a component by its name.

        Raises:
          PatternError: the tree has no such component.
        """
        for node in self.nodes[1:]:
            if node.name == name:
                return node.id
        known = ", ".join(node.name for node in self.nodes[1:])
        cure = f"one of {known}" if known else "f, the function: it has no components"
        raise PatternError(f"no component is called {name!r}.\n  try: {cure}")

    def children(self, node: int) -> list[int]:
        """Ids of a node's children."""
        return [other.id for other in self.nodes if other.parent == node]

    def leaves(self) -> list[int]:
        """Ids of the components without children."""
        parents = {node.parent for node in self.nodes}
        return [n.id for n in self.nodes if n.id and n.id not in parents]

    @property
    def depth(self) -> int:
        """The largest number of levels that a node freezes."""
        return max(node.depth for node in self.nodes)

    def stacked(self, ids: Sequence[int]) -> "Stack":
        """Nodes of one depth as arrays with a common first axis. Traceable."""
        nodes = [self.nodes[i] for i in ids]
        depth = nodes[0].depth
        anchors = tree_util.tree_map(
            lambda *leaves: jnp.asarray(np.stack(leaves)), *(n.anchor for n in nodes)
        )
        return Stack(
            ids=np.array(ids),
            centres=jnp.asarray(np.stack([n.centre for n in nodes])),
            patterns=_patterns(self, depth)(anchors),
            frozen=[np.stack(m) for m in zip(*(n.frozen for n in nodes), strict=True)],
        )

    def keeping(self, nodes: Sequence[Node], count: Mapping[int, int]) -> "Tree":
        """The tree with some of its nodes, numbered anew; counts go by the old id."""
        number = {node.id: i for i, node in enumerate(nodes)} | {-1: -1}
        kept = (
            replace(
                node,
                id=number[node.id],
                parent=number[node.parent],
                count=count.get(node.id, node.count),
            )
            for node in nodes
        )
        return replace(self, nodes=tuple(kept))

    def frozen_on_side(self, ids: Sequence[int]) -> "Stack":
        """Nodes of one depth, their masks without units that they cannot freeze.

        Those are known of the outermost gates only, which are the first: below, a
        unit's side depends on the sample.
        """
        nodes, sign = self.stacked(ids), self.nodes[ids[0]].sign
        masks = list(nodes.frozen)
        for i, side in enumerate(self.eq.sides):
            masks[i] = masks[i] & np.asarray(on(side, sign))
        return replace(nodes, frozen=masks)

    def lost(self, sign: Any, depth: int, x: Any, pattern: Any, frozen: Any) -> Array:
        """What freezing units to a pattern takes from `f` (adds, for a refuter)."""
        return self.descent.gap(pattern, x, sign, frozen, depth)[1]

    def gaps(self, x: Any) -> tuple[Float[Array, ""], Float[Array, " nodes"]]:
        """`f(x)`, and what every node takes from it (adds to it, for a refuter)."""
        value = self.program.evaluate(x)
        gap = jnp.zeros((len(self.nodes),), value.dtype)
        for ids in self.families():
            nodes, first = self.stacked(ids), self.nodes[ids[0]]
            lost_to = partial(self.lost, first.sign, first.depth, x)
            lost = jax.vmap(lost_to)(nodes.patterns, nodes.frozen)
            gap = gap.at[np.array(ids)].set(lost)
        return value, gap

    def families(self) -> list[list[int]]:
        """Ids of the components, those of one depth and side together."""
        kinds = [(n.depth, n.sign) for n in self.nodes if n.sign]
        return [
            [n.id for n in self.nodes if (n.depth, n.sign) == kind]
            for kind in dict.fromkeys(kinds)
        ]


@dataclass(frozen=True, eq=False)
class Stack:
    """Several components of one depth as arrays: what the kernels work on."""

    ids: np.ndarray
    centres: Float[Array, "k t"]
    patterns: list[Any]
    frozen: list[Any]


@dataclass(frozen=True, eq=False)
class FirstLevel:
    """The components below the root on one side; all freeze as many levels of gates.

    Attributes:
      nodes: the components.
      depth: how many levels they freeze: 1, or the first that has units on this side.
      gaps: what each takes from `f` at one example; a matrix product at depth 1.
    """

    nodes: Stack
    depth: int
    gaps: Callable[[Any], Float[Array, " k"]]


def first_level(tree: Tree, sign: int) -> FirstLevel | None:
    """The components below the root on one side; None where there are none."""
    ids = [i for i in tree.children(0) if tree.nodes[i].sign == sign]
    if not ids:
        return None
    nodes, depth = tree.stacked(ids), tree.nodes[ids[0]].depth
    side = Side(tree.eq, sign)
    if depth > 1 or not side.straight:

        def below(x: Any) -> Array:
            lost_to = partial(tree.lost, sign, depth, x)
            return jax.vmap(lost_to)(nodes.patterns, nodes.frozen)

        return FirstLevel(nodes, depth, below)
    table = _coefficients(tree, sign)(nodes.patterns, nodes.frozen)
    return FirstLevel(nodes, depth, lambda x: gaps(side.features(x)[1][None], table)[0])


@once
def _patterns(tree: Tree, depth: int) -> Callable[[Any], list[Any]]:
    return jax.jit(jax.vmap(lambda anchor: tree.descent.patterns(anchor, depth)))


@once
def _coefficients(tree: Tree, sign: int) -> Callable[..., Any]:
    return jax.jit(jax.vmap(Side(tree.eq, sign).coefficients))
