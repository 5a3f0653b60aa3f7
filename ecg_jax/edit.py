"""Editing a model by its components: leave one out, or put another function there.

In the cell of a component the network's answer is replaced, elsewhere it stays:

    without(P3):     g(x) = max_{k != 3} W_k(x)   in the cell of P3, else f(x)
    replace(P3, h):  g(x) = h(x)                  in the cell of P3, else f(x)

(for a refuter the smallest of the other `R_k`). So without P3 a beat of its cell counts
as normal only if another component proves it. `g` is a pure function again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ecg_jax.errors import PatternError
from ecg_jax.kernels import METRICS, blocks, nearest_proof, squared_distances
from ecg_jax.tree import Tree


@dataclass(frozen=True, eq=False)
class Edited:
    """A tree with the function in one component's cell replaced.

    Attributes:
      tree: the tree as it was.
      node: id of the component.
      fn: what stands in its cell.
    """

    tree: Tree
    node: int
    fn: Callable[[Any], Array]

    def __call__(self, x: Any) -> Float[Array, ""]:
        """The edited model at one example: pure, jit and vmap apply."""
        inside = jnp.any(path(self.tree, x) == self.node)
        return jnp.where(inside, self.fn(x), self.tree.program.evaluate(x))

    def changes(self, data: Any, record: Int[np.ndarray, " n"]) -> "Changes":
        """What the edit changes on a data set.

        Args:
          data: examples with a leading axis.
          record: the recording of each.
        """
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


def without(tree: Tree, name: str) -> Edited:
    """The model without a component: its siblings' bounds decide in its cell.

    Args:
      tree: a grown tree.
      name: of a component, such as "P3".

    Returns:
      The edited model. Where no sibling is left, the bound is infinite: no answer of
      this cell is proven.

    Raises:
      PatternError: the tree has no such component.
    """
    node = find(tree, name)
    sign = tree.nodes[node].sign
    gone = {node, *descendants(tree, node)}
    others = [n.id for n in tree.nodes if n.sign == sign and n.id not in gone]

    def bound(x: Any) -> Array:
        value, gap = tree.gaps(x)
        kept = gap[np.array(others, int)]
        return value - jnp.asarray(sign, value.dtype) * jnp.min(kept, initial=jnp.inf)

    return Edited(tree, node, bound)


def replace(tree: Tree, name: str, fn: Callable[[Any], Array]) -> Edited:
    """The model with another function in a component's cell.

    Args:
      tree: a grown tree.
      name: of a component, such as "P3".
      fn: pure function of one example to a scalar, hand-written or trained.

    Raises:
      PatternError: the tree has no such component.
    """
    return Edited(tree, find(tree, name), fn)


def find(tree: Tree, name: str) -> int:
    """The id of a component by its name."""
    for node in tree.nodes[1:]:
        if node.name == name:
            return node.id
    known = ", ".join(node.name for node in tree.nodes[1:])
    raise PatternError(f"no component is called {name!r}.\n  try: one of {known}")


def descendants(tree: Tree, node: int) -> list[int]:
    """All components below one."""
    below = tree.children(node)
    return below + [deeper for child in below for deeper in descendants(tree, child)]


def path(tree: Tree, x: Any) -> Int[Array, " depth"]:
    """Ids of the components that decide at one example, by depth.

    Traceable; `tree.decide` gives the same for a data set, faster.
    """
    value, gap = tree.gaps(x)
    nodes = tree.nodes[1:]
    sign = np.array([n.sign for n in nodes])
    parent = np.array([n.parent for n in nodes])
    depths = np.array([n.depth for n in nodes])
    centres = jnp.asarray(np.stack([n.centre for n in nodes]))
    away = squared_distances(METRICS[tree.metric](x)[None], centres)[0]
    room = jnp.abs(value) - tree.slack(x)
    side = jnp.where(value >= 0, 1, -1)
    current, steps = jnp.zeros((), int), []
    for depth in range(1, tree.depth + 1):
        children = (parent == current) & (sign == side) & (depths == depth)
        own = jnp.where(children, gap[1:], jnp.inf)
        best = 1 + nearest_proof(own, room, jnp.where(children, away, jnp.inf))
        nothing = 0 if depth == 1 else -1
        steps.append(jnp.where(jnp.any(children), best, nothing))
        current = jnp.where(jnp.any(children), best, current)
    return jnp.stack(steps)
