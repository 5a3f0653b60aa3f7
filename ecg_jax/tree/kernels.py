"""Components over a whole data set: one matrix product, block by block.

What freezing one level at an anchor `a` takes from `f` is linear in features `s(x)` of
the opened gates (their operands, their values, and 1):

    W[a](x) = f(x) - <c_a, s(x)>,        R[a](x) = f(x) + <c_a, s(x)>

`s(x)` is computed once a sample, `c_a` once a component, and all components on all
samples are the product `[N, d] x [d, K]`, reduced block by block, so that the table of
N x K values need never exist. Products use the highest precision: they carry proof.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Float, Int

from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.program.gates import on

HIGHEST = jax.lax.Precision.HIGHEST
AnyArray = Array | np.ndarray


@dataclass(frozen=True, eq=False)
class Side:
    """One side of an equation as a matrix product.

    Attributes:
      eq: the equation.
      sign: +1 for the max side (witnesses), -1 for the min side (refuters).
    """

    eq: MaxMin
    sign: int

    @property
    def masks(self) -> list[np.ndarray]:
        """For each gate: which of its units are on this side."""
        return [np.asarray(on(side, self.sign)) for side in self.eq.sides]

    @property
    def straight(self) -> bool:
        """Whether its gates are piecewise linear: then features tell gaps faithfully.

        Elsewhere a gap is a small difference of large features. These serve to choose
        components; what is proven is told by `Gate.gap`.
        """
        gates = zip(self.eq.gates, self.masks, strict=True)
        return all(gate.straight for gate, mask in gates if mask.any())

    @property
    def num_units(self) -> int:
        """How many units this side has."""
        return int(sum(mask.sum() for mask in self.masks))

    def features(self, x: Any) -> tuple[Float[Array, ""], Float[Array, " d"]]:
        """`f(x)` and `s(x)`: values and operands of this side's units, and 1."""
        parts: list[Array] = []

        def hook(i: int, z: tuple[Any, ...]) -> Array:
            mask = self.masks[i]
            if mask.any():
                parts.append(self._part(i, *z)[mask])
                parts.extend(v[k] for v, k in self._entries(i, z))
            return self.eq.gates[i].apply(*z)

        value = self.eq.run(x, hook)
        return value, jnp.concatenate([*parts, jnp.ones_like(value)[None]])

    def coefficients(self, pattern: list[Any], frozen: list[Any]) -> Float[Array, " d"]:
        """`c_a`: the gap of a component is `<c_a, s(x)>`, never negative.

        Args:
          pattern: of the anchor, as `eq.pattern` gives it for this side.
          frozen: for each gate, which of its units are frozen.
        """
        parts, constant = [], 0.0
        operands = jax.eval_shape(lambda: self.eq.operands(self.eq.example))
        for i in range(self.eq.num_gates):
            if not self.masks[i].any():
                continue
            zeros = [jnp.zeros(v.shape, v.dtype) for v in operands[i]]
            weight = self.sign * jnp.asarray(self.eq.weights[i])
            weight = jnp.where(self.masks[i] & frozen[i], weight, 0)
            at_zero, slopes = _linear(self._line(i, pattern[i]), zeros, weight)
            parts.append(weight[self.masks[i]])
            entries = self._entries(i, slopes)
            parts.extend(-slope[k] for slope, k in entries)
            constant = constant - jnp.sum(weight * at_zero)
        return jnp.concatenate([*parts, jnp.reshape(constant, (1,))])

    def unit_gaps(self, pattern: list[Any], operands: list[Any]) -> Float[Array, " u"]:
        """For each unit of this side, what freezing it takes at a sample."""
        gaps = []
        for i, gate in enumerate(self.eq.gates):
            if self.masks[i].any():
                weight = self.sign * jnp.asarray(self.eq.weights[i])
                value = gate.apply(*operands[i])
                lost = gate.gap(pattern[i], weight, value, *operands[i])
                gaps.append((jnp.abs(weight) * lost)[self.masks[i]])
        return jnp.concatenate(gaps)

    def split(self, units: Any) -> list[np.ndarray]:
        """Flags over this side's units, as masks over each gate's units."""
        flags, masks, start = np.asarray(units, bool), [], 0
        for mask in self.masks:
            whole = np.zeros(mask.shape, bool)
            count = int(mask.sum())
            whole[mask] = flags[start : start + count]
            masks.append(whole)
            start += count
        return masks

    def _part(self, i: int, *z: Any) -> Array:
        """What of a gate is frozen on this side: itself, or `g` or `-h` of `g - h`."""
        gate = self.eq.gates[i]
        units = gate.apply(*z)
        if gate.split is None:
            return units
        other = gate.split.value(*z)
        above = self.sign * jnp.asarray(self.eq.weights[i]) > 0
        return jnp.where(above, units + other, -other)

    def _line(self, i: int, pattern: Any) -> Callable[..., Array]:
        """The tangent of that part."""
        gate = self.eq.gates[i]
        if gate.split is None:
            return lambda *z: gate.tangent(pattern, *z)
        split, above = gate.split, self.sign * jnp.asarray(self.eq.weights[i]) > 0

        def line(*z: Any) -> Array:
            other = split.line(pattern, *z)
            return jnp.where(above, gate.tangent(pattern, *z) + other, -other)

        return line

    def _entries(self, i: int, values: Any) -> list[tuple[Any, Any]]:
        """The real operands of a gate, and which of their entries this side needs.

        A unit of an elementwise gate needs its own entries; of a pool, any.
        """
        mask = self.masks[i]
        real = [v for v in values if jnp.issubdtype(v.dtype, jnp.floating)]
        everything = [np.ones(v.shape, bool) for v in real]
        own = self.eq.gates[i].elementwise
        same = [own and v.shape == mask.shape for v in real]
        return [
            (v, mask if s else e)
            for v, s, e in zip(real, same, everything, strict=True)
        ]


def _linear(
    line: Callable[..., Array], zeros: list[Any], weight: Any
) -> tuple[Any, list[Any]]:
    """An affine function at zero, and the weighted sum of its slopes by operand."""
    smooth = [jnp.issubdtype(v.dtype, jnp.floating) for v in zeros]

    def tangent(*floats: Any) -> Any:
        given = iter(floats)
        full = [next(given) if s else v for v, s in zip(zeros, smooth, strict=True)]
        return line(*full)

    floats = [v for v, s in zip(zeros, smooth, strict=True) if s]
    at_zero, pull = jax.vjp(tangent, *floats)
    slopes = iter(pull(weight.astype(at_zero.dtype)))
    return at_zero, [
        next(slopes) if s else v for v, s in zip(zeros, smooth, strict=True)
    ]


def gaps(
    features: Float[Array, "n d"], coefficients: Float[Array, "k d"]
) -> Float[Array, "n k"]:
    """What each component takes from `f` at each sample."""
    return jnp.matmul(features, coefficients.T, precision=HIGHEST)


def squared_distances(
    x: Float[AnyArray, "n t"], centres: Float[AnyArray, "k t"]
) -> Float[Array, "n k"]:
    """`|x - c|^2` for every sample and centre."""
    cross = jnp.matmul(x, centres.T, precision=HIGHEST)
    square = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(centres**2, axis=1)[None]
    return jnp.maximum(square - 2 * cross, 0)


def decides(
    gap: Float[AnyArray, "*n k"],
    room: Float[AnyArray, "*n"],
    away: Float[AnyArray, "*n k"],
    localize: float | None = None,
) -> Int[Array, "*n"]:
    """Which component decides a sample.

    Of those that prove it, the nearest; where none does, of all. With a number
    `localize`, instead the one whose localized bound is best:
    `argmin_k gap_k + localize * away_k`.

    Args:
      gap: what each component takes from `f`.
      room: what a gap must be smaller than to count as proof.
      away: squared distances to the centres of the cells.
      localize: how much margin a squared distance costs: at 0 the best bound decides,
        and the larger, the more the nearest. None: the nearest proof.
    """
    if localize is not None:
        return jnp.argmin(gap + localize * away, axis=-1)
    proves = gap < room[..., None]
    either = proves | ~jnp.any(proves, axis=-1, keepdims=True)
    return jnp.argmin(jnp.where(either, away, jnp.inf), axis=-1)


def flatten(x: Any) -> Float[Array, " t"]:
    """An example as one vector."""
    leaves = [jnp.asarray(leaf) for leaf in tree_util.tree_leaves(x)]
    floats = [v for v in leaves if jnp.issubdtype(v.dtype, jnp.floating)]
    return jnp.concatenate([jnp.ravel(v) for v in floats])


def shape_of(x: Any) -> Float[Array, " t"]:
    """An example as one vector of mean 0 and variance 1: its shape, not its size."""
    centred = flatten(x) - jnp.mean(flatten(x))
    return centred / jnp.sqrt(jnp.mean(centred**2) + 1e-12)


def at_cut(x: Any, eq: MaxMin) -> Float[Array, " t"]:
    """The values that cross into the opened gates, as one vector."""
    return flatten(eq.operands(x))


METRICS: Mapping[str, Callable[[Any, MaxMin], Array]] = MappingProxyType(
    {
        "euclidean": lambda x, eq: flatten(x),
        "shape": lambda x, eq: shape_of(x),
        "cut": at_cut,
    }
)
"""What the squared distance to the centre of a cell is taken of."""
