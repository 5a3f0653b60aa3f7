"""Inputs and anchors to check an equation at: the data, and points chosen to break it.

Beside the examples: examples far away (scaled, mirrored), noise, the origin, and points
on the boundaries of gates, found by bisection between two examples.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util
from jaxtyping import Array, Int

from ecg_jax.errors import NonFiniteError
from ecg_jax.lattice.maxmin import MaxMin

_SCALES = (-1.0, 8.0, 0.125, -64.0)


class Pool:
    """Examples by number: first those of the data, then the adversarial ones.

    Args:
      eq: the equation; its patterns give the boundaries.
      data: pytree of arrays, examples along the first axis (memory maps too).
      num_adversarial: about how many points to add.
      rng: source of choices.

    Raises:
      ExampleError: there are no examples, or of another form than the equation's.
      NonFiniteError: one of them is NaN or infinite.
    """

    def __init__(
        self, eq: MaxMin, data: Any, num_adversarial: int, rng: np.random.Generator
    ):
        self.num_data = eq.program.check_data(data)
        self.data, self.tree = tree_util.tree_flatten(data)
        example = tree_util.tree_leaves(eq.example)
        rows = [np.shape(leaf) for leaf in example]
        self.dtypes = [jnp.result_type(leaf) for leaf in example]
        self.names: list[str] = []
        self.extra = [np.zeros((0, *row)) for row in rows]
        if num_adversarial:
            self._add_adversaries(eq, max(1, num_adversarial // 7), rng)

    def __len__(self) -> int:
        return self.num_data + len(self.names)

    def name(self, index: int) -> str:
        """How a message calls an input."""
        if index < self.num_data:
            return f"data[{index}]"
        return self.names[index - self.num_data]

    def take(self, indices: np.ndarray) -> Any:
        """A batch of examples, in the program's own dtype.

        Raises:
          NonFiniteError: an example of the data is NaN or infinite.
        """
        own = indices < self.num_data
        batch = []
        for leaf, extra, dtype in zip(self.data, self.extra, self.dtypes, strict=True):
            rows = np.empty((len(indices), *np.shape(leaf)[1:]), dtype)
            rows[own] = np.asarray(leaf[indices[own]])
            rows[~own] = extra[indices[~own] - self.num_data]
            finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
            if not finite.all():
                raise NonFiniteError(
                    f"{self.name(int(indices[~finite][0]))} holds NaN or infinite "
                    "numbers.\n  try: leave such examples out"
                )
            batch.append(rows)
        return self.tree.unflatten(batch)

    def one(self, index: int) -> Any:
        """One example."""
        batch = self.take(np.asarray([index]))
        return tree_util.tree_map(lambda leaf: leaf[0], batch)

    def between(self, x: Any, a: Any, way: np.ndarray) -> Any:
        """The points that lie the given part of the way from `x` to `a`."""

        def mix(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            t = way.reshape(-1, *[1] * (u.ndim - 1))
            return np.where(t == 1, v, u + t * (v - u)).astype(u.dtype)

        return tree_util.tree_map(mix, x, a)

    def _add_adversaries(self, eq: MaxMin, num: int, rng: np.random.Generator) -> None:
        chosen, others = rng.integers(self.num_data, size=(2, num))
        base, goal = self.take(chosen), self.take(others)
        leaves = tree_util.tree_leaves(base)
        parts = [[scale * leaf for leaf in leaves] for scale in _SCALES]
        names = [f"{s:g} * data[{i}]" for s in _SCALES for i in chosen]
        parts.append([4 * leaf.std() * rng.normal(size=leaf.shape) for leaf in leaves])
        names += [f"noise {i}" for i in range(num)]
        near = jax.jit(jax.vmap(lambda a, b: _boundary(eq, a, b)))(base, goal)
        parts.append([np.asarray(leaf) for leaf in tree_util.tree_leaves(near)])
        names += [
            f"the boundary from data[{i}] to data[{j}]"
            for i, j in zip(chosen, others, strict=True)
        ]
        parts.append([np.zeros_like(leaf[:1]) for leaf in leaves])
        self.names = [*names, "the origin"]
        self.extra = [
            np.concatenate([part[i] for part in parts]).astype(dtype)
            for i, dtype in enumerate(self.dtypes)
        ]


def _boundary(eq: MaxMin, a: Any, b: Any) -> Any:
    """The last point on the way from `a` to `b` with the pattern of `a`, bisected."""
    home = eq.pattern(a)

    def at(t: Any) -> Any:
        return tree_util.tree_map(lambda u, v: u + t.astype(u.dtype) * (v - u), a, b)

    def step(_: Int[Array, ""], ends: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = ends
        middle = (low + high) / 2
        equal = tree_util.tree_map(
            lambda p, q: jnp.all(p == q), home, eq.pattern(at(middle))
        )
        same = jnp.stack(tree_util.tree_leaves(equal)).all()
        return jnp.where(same, middle, low), jnp.where(same, high, middle)

    low, _ = lax.fori_loop(0, 40, step, (jnp.zeros(()), jnp.ones(())))
    return at(low)
