"""Editing a model by its components: leave one out, or put another function there.

In the cell of a component the network's answer is replaced, elsewhere it stays:

    without(P3):     g(x) = max_{k != 3} W_k(x)   in the cell of P3, else f(x)
    replace(P3, h):  g(x) = h(x)                  in the cell of P3, else f(x)

(for a refuter the smallest of the other `R_k`; the others of any depth, but for those
below P3). So without P3 a beat of its cell counts as normal only if another component
proves it. `g` is a pure function again.

`merged` changes no answer and no proof: of two components of the outermost level where
one freezes the units of the other to the same tangents, and more, the freer one proves
whatever the other does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Bool, Float, Int

from ecg_jax.errors import ExampleError
from ecg_jax.program.blocks import blocks
from ecg_jax.program.checks import check_output
from ecg_jax.tree.kernels import decides, squared_distances
from ecg_jax.tree.tree import Tree


@dataclass(frozen=True, eq=False)
class Edited:
    """A tree with the function in the cells of some components replaced.

    Attributes:
      tree: the tree as it was.
      nodes: ids of the components.
      fn: what stands in their cells.
    """

    tree: Tree
    nodes: tuple[int, ...]
    fn: Callable[[Any], Array]

    def __call__(self, x: Any) -> Float[Array, ""]:
        """The edited model at one example: pure, jit and vmap apply."""
        own = path(self.tree, x)
        inside = jnp.any(own[:, None] == jnp.array(self.nodes, own.dtype)[None])
        return jnp.where(inside, self.fn(x), self.tree.program.evaluate(x))

    def changes(self, data: Any, record: Sequence[Any] | np.ndarray) -> "Changes":
        """What the edit changes on a data set.

        Args:
          data: examples with a leading axis.
          record: the recording of each.

        Raises:
          ExampleError: there are not as many recordings as examples, or these are of
            another form.
          NonFiniteError: an example is NaN or infinite.
        """
        record, num = np.asarray(record), self.tree.program.check_data(data)
        if record.shape != (num,):
            raise ExampleError(
                f"records of shape {record.shape} for {num} examples.\n"
                "  try: the recording of each example"
            )
        before = blocks(self.tree.program.evaluate, data)
        after = blocks(self, data)
        changed = (before >= 0) != (after >= 0)
        return Changes(before, after, changed, np.unique(record[changed]))


@dataclass(frozen=True, eq=False)
class Changes:
    """Answers before and after an edit.

    Attributes:
      before: the margin of the network.
      after: the margin of the edited model.
      changed: whose answer changed.
      records: recordings with a changed beat.
    """

    before: Float[np.ndarray, " n"]
    after: Float[np.ndarray, " n"]
    changed: Bool[np.ndarray, " n"]
    records: np.ndarray


def without(tree: Tree, *names: str) -> Edited:
    """The model without some components: the others' bounds decide in their cells.

    Args:
      tree: a grown tree.
      names: of components, such as "P3".

    Returns:
      The edited model. Where no other component of a side is left, the bound is
      infinite: no answer of these cells is proven.

    Raises:
      PatternError: the tree has no such component.
    """
    nodes = tuple(tree.find(name) for name in names)
    gone = {i for node in nodes for i in (node, *descendants(tree, node))}
    signs = np.array([0 if n.id in gone else n.sign for n in tree.nodes])

    def bound(x: Any) -> Array:
        value, gap = tree.gaps(x)
        lower = jnp.max(jnp.where(signs > 0, value - gap, -jnp.inf))
        upper = jnp.min(jnp.where(signs < 0, value + gap, jnp.inf))
        return jnp.where(value >= 0, lower, upper)

    return Edited(tree, nodes, bound)


def replace(
    tree: Tree, names: str | Sequence[str], fn: Callable[[Any], Array]
) -> Edited:
    """The model with another function in the cells of some components.

    Args:
      tree: a grown tree.
      names: of a component, such as "P3", or of several.
      fn: pure function of one example to a scalar, hand-written or trained.

    Raises:
      PatternError: the tree has no such component.
      NotScalarError: `fn` returns something else than one real scalar.
    """
    check_output(jax.eval_shape(fn, tree.example))
    names = [names] if isinstance(names, str) else names
    return Edited(tree, tuple(tree.find(name) for name in names), fn)


def merged(tree: Tree) -> Tree:
    """The tree without components that a sibling makes needless, exactly.

    At the outermost level `b` makes `a` needless where `a` freezes all units that `b`
    does, to the same tangents: a gap is a sum over units, so `gap_b <= gap_a` on every
    input. (Deeper, what is frozen above decides the weights below.) Only components
    without children are left out; their samples are counted to `b`.
    """
    gone: dict[int, int] = {}
    leaves = set(tree.leaves())
    for ids in tree.families():
        own = [i for i in ids if i in leaves and tree.nodes[i].depth == 1]
        frozen, patterns = _frozen_patterns(tree, own)
        order = sorted(range(len(own)), key=lambda k: -tree.nodes[own[k]].count)
        for a in order[::-1]:
            for b in order:
                nodes = tree.nodes[own[a]], tree.nodes[own[b]]
                if a == b or own[b] in gone or nodes[0].parent != nodes[1].parent:
                    continue
                fewer = not np.any(frozen[b] & ~frozen[a])
                if fewer and np.array_equal(patterns(a, b), patterns(b, b)):
                    gone[own[a]] = own[b]
                    break
    count = {n.id: n.count for n in tree.nodes}
    for a, b in gone.items():
        count[b] += count[a]
    return tree.keeping([n for n in tree.nodes if n.id not in gone], count)


def _frozen_patterns(tree: Tree, ids: Sequence[int]) -> tuple[np.ndarray, Any]:
    """What components freeze, as flags, and their patterns where one of them does."""
    if not ids:
        return np.zeros((0, 0), bool), None
    nodes = tree.frozen_on_side(ids)
    masks = nodes.frozen

    def patterns(of: int, where: int) -> np.ndarray:
        kept = [
            gate.keep(mask[where], tree_util.tree_map(lambda v: v[of], pattern))
            for gate, mask, pattern in zip(
                tree.eq.gates, masks, nodes.patterns, strict=True
            )
        ]
        leaves = tree_util.tree_leaves(kept)
        return np.concatenate([np.ravel(np.asarray(v, np.float64)) for v in leaves])

    return np.concatenate([m.reshape(len(ids), -1) for m in masks], axis=1), patterns


def descendants(tree: Tree, node: int) -> list[int]:
    """All components below one."""
    below = tree.children(node)
    return below + [deeper for child in below for deeper in descendants(tree, child)]


def path(tree: Tree, x: Any) -> Int[Array, " depth"]:
    """Ids of the components that decide at one example, by depth.

    Traceable; `decide` gives the same for a data set, faster.
    """
    value, gap = tree.gaps(x)
    nodes = tree.nodes[1:]
    sign = np.array([n.sign for n in nodes])
    parent = np.array([n.parent for n in nodes])
    depths = np.array([n.depth for n in nodes])
    centres = jnp.asarray(np.stack([n.centre for n in nodes]))
    away = squared_distances(tree.vector(x)[None], centres)[0]
    room = jnp.abs(value) - tree.slack(x)
    side = jnp.where(value >= 0, 1, -1)
    current, steps = jnp.zeros((), int), []
    for depth in range(1, tree.depth + 1):
        children = (parent == current) & (sign == side) & (depths == depth)
        own = jnp.where(children, gap[1:], jnp.inf)
        near = jnp.where(children, away, jnp.finfo(away.dtype).max)
        best = 1 + decides(own, room, near, tree.localize)
        nothing = 0 if depth == 1 else -1
        steps.append(jnp.where(jnp.any(children), best, nothing))
        current = jnp.where(jnp.any(children), best, current)
    return jnp.stack(steps)
