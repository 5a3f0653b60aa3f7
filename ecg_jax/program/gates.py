"""Gates: convex functions, their tangents, and what freezing to these takes away.

What a gate means is said by its functions and fields, never by its name.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jax import core, tree_util
from jaxtyping import Array

from ecg_jax.errors import FreezeError
from ecg_jax.program.describe import counted, short


@runtime_checkable
class Units(Protocol):
    """A function to an array over the units of a gate, or to a pattern of them."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Of operands, or a pattern, or both."""
        ...


BOTH = 2
"""The side of a unit that is on both: of a difference of convex functions."""

ULPS = 8
"""Units in the last place that an elementary function may be off (XLA: up to 4)."""


def on(side: Any, sign: Any) -> Any:
    """Whether units are on the max side (`sign` +1) or on the min side (-1)."""
    return (sign * side > 0) | (side == BOTH)


@dataclass(frozen=True, eq=False)
class Split:
    """The convex `h` of a difference `phi = g - h` of convex functions, `g = phi + h`.

    Attributes:
      gap: `gap(a, *z) = h(z) - h(a) - <h'(a), z - a>`, never negative; to be factored
        again, as a function of `z`.
      shift: `shift(p, q, *z) = gap(q, z) - gap(p, z)`, affine in `z`, 0 for `p = q`.
      value: `value(*z) = h(z)`.
      size: `size(a, *z)`, how large the terms are that a gap adds up.
      moves: `moves(p, q, *e)`, as `shift`, its slopes without their signs, at errors or
        sizes `e`; None for gates that act unit by unit.
      of_sum: `of_sum(a, *z)`, the gap of `g` where it is told by itself, as accurate as
        `size` says; None: what `phi` and its tangent differ by, and the gap of `h`.
      tangent: `tangent(a, *z)` of `h`; None: what value and gap differ by.
    """

    gap: Callable[..., Array]
    shift: Callable[..., Array]
    value: Callable[..., Array]
    size: Callable[..., Array]
    moves: Callable[..., Array] | None = None
    of_sum: Callable[..., Array] | None = None
    tangent: Callable[..., Array] | None = None

    def line(self, pattern: Any, *z: Any) -> Array:
        """The tangent of `h`."""
        if self.tangent is not None:
            return self.tangent(pattern, *z)
        return self.value(*z) - self.gap(pattern, *z)


@dataclass(frozen=True, eq=False)
class Gate:
    """A convex (or concave) function of operands, and its tangents.

    For an anchor with pattern `p`, `tangent(p, z) <= apply(z)` for all `z` where the
    gate is convex (`>=` where it is concave), with equality at the anchor.

    What a gate means is said by its functions and fields, never by its name.

    Attributes:
      name: how texts call it, e.g. "max"; it decides nothing.
      operands: which operands of its equation it is a function of, in order: those
        that see the input, and constants whose values are given later.
      curvature: +1 where the gate is convex, -1 where it is concave; a number, or an
        array that broadcasts over the units (the entries of the output). With `split`
        the sign of what `h` is taken from, +1.
      apply: `apply(*z)`, the units' values.
      pattern: `pattern(*z)`, what a tangent needs to know of the anchor: a mask, the
        winners, or the anchor itself; an array or a tuple of arrays.
      tangent: `tangent(p, *z)`, affine in `z`.
      fill: the canonical pattern of a unit that is not frozen; a number.
      defined: `defined(p)`, which units have a finite tangent at `p`; None: all.
      spread: `spread(mask, leaf)`, a mask over units brought to the shape of a leaf of
        the pattern; None where every unit has one entry.
      elementwise: a unit sees its own entry of every operand, no other.
      straight: piecewise linear, its tangents are its own pieces.
      bounds: what every unit lies between, for any input.
      split: for a difference of convex functions, what it is a difference of.
      size: `size(p, *z)`, how large the terms of a tangent are that are added up;
        None: as large as the tangent.
      lipschitz: how much a unit changes at most per change of its operands, measured
        by `errors`; None where only its curvature bounds that.
      errors: of the operands, what a unit's change is measured by: of a unit's own
        entries ("own"), the largest ("largest"), or their norm ("norm").
      pieces: `pieces(*z)`, along a new first axis the values, affine in `z`, that every
        unit is the largest of where it is convex, the smallest where it is concave;
        an infinite one never wins. None for gates that are not straight.
    """

    name: str
    operands: tuple[int, ...]
    curvature: Any
    apply: Units
    pattern: Units
    tangent: Units
    fill: Any = False
    defined: Units | None = None
    spread: Units | None = None
    elementwise: bool = False
    straight: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)
    split: Split | None = None
    size: Units | None = None
    lipschitz: float | None = None
    errors: str = "own"
    pieces: Units | None = None

    def __post_init__(self) -> None:
        if self.split is not None and (self.straight or np.any(self.curvature != 1)):
            raise FreezeError(
                f"the gate `{self.name}` is a difference of convex functions with "
                f"curvature {self.curvature}, straight {self.straight}.\n"
                "  try: curvature=1, straight=False: `split` says what is taken away"
            )

    def __repr__(self) -> str:
        return f"Gate `{short(self.name)}`: {self._curved}{self._seen}"

    @property
    def _curved(self) -> str:
        """Its curvature in words."""
        kind = "piecewise linear" if self.straight else "smooth"
        if self.split is not None:
            return f"{kind}, a difference of convex functions"
        if isinstance(self.curvature, core.Tracer):
            return f"{kind}, convex or concave by the weights"
        signs = set(np.ravel(self.curvature).tolist())
        words = [
            word for sign, word in ((1, "convex"), (-1, "concave")) if sign in signs
        ]
        return f"{kind}, {' or '.join(words)}"

    @property
    def _seen(self) -> str:
        count = counted(len(self.operands), "operand")
        return f", of {count}{', entry by entry' * self.elementwise}"

    def sides(self, weight: Any) -> Any:
        """The side of each unit with these weights: see `MaxMin.sides`."""
        xp = np if isinstance(weight, np.ndarray) else jnp
        if self.split is not None:
            return xp.where(weight != 0, BOTH, 0).astype(np.int8)
        return xp.sign(weight) * np.asarray(self.curvature, weight.dtype)

    def freeze(self, one: Any, other: Any, side: Any, weight: Any) -> Any:
        """What is frozen, of the patterns of either side: an argument of `frozen`.

        Args:
          one: pattern of the max side.
          other: pattern of the min side.
          side: of the units.
          weight: of the units, or its sign.
        """
        if self.split is None:
            return self.select(on(side, 1), one, other)
        above = weight > 0
        return self.select(above, one, other), self.select(above, other, one)

    def own(self, pattern: Any) -> Any:
        """Frozen to one pattern on either side: an argument of `frozen`."""
        return pattern if self.split is None else (pattern, pattern)

    def frozen(self, entry: Any, *z: Any) -> Array:
        """The units frozen as `freeze` or `own` says: affine in `z`.

        Of a difference `g - h` with `g` frozen at `p` and `h` at `q`: the tangent of
        `phi` at `p`, and what the tangents of `h` at `p` and `q` differ by.
        """
        if self.split is None:
            return self.tangent(entry, *z)
        p, q = entry
        return self.tangent(p, *z) + self.split.shift(p, q, *z)

    def half_frozen(self, pattern: Any, weight: Any, *z: Any) -> Array:
        """The units with only what is on the max side frozen to a pattern.

        Of a difference `g - h` that is `g` where `weight > 0`, and `-h` elsewhere.
        """
        tangent = self.tangent(pattern, *z)
        if self.split is None:
            return tangent
        gap = self.split.gap(pattern, *z)
        return jnp.where(weight > 0, tangent - gap, self.apply(*z) + gap)

    def gap(self, pattern: Any, weight: Any, value: Array, *z: Any) -> Array:
        """What freezing to a pattern takes from `w phi` on the max side, over `|w|`.

        A Bregman gap, `>= 0`, and on top what rounding may have hidden of it; for
        weights below 0 what it adds on the min side of `|w| phi`. Of `w (g - h)` it is
        the gap of `g` where `w > 0`, that of `h` elsewhere.

        Args:
          pattern: of the anchor.
          weight: of the units, or its sign.
          value: `apply(*z)`, as the program has it.
          *z: the operands.
        """
        tangent = self.tangent(pattern, *z)
        gap = (value - tangent) * jnp.asarray(self.curvature, value.dtype)
        if self.straight:  # the difference of two operands, no term is rounded
            return jnp.where(gap < 0, 0, gap)  # `f - gap` has the tangent's slope
        if self.split is not None:
            other, whole = self.split.gap(pattern, *z), self.split.of_sum
            above = gap + other if whole is None else whole(pattern, *z)
            gap = jnp.where(weight > 0, above, other)
        return jnp.maximum(gap, 0) + self.padding(pattern, value, *z)

    def padding(self, pattern: Any, value: Array, *z: Any) -> Array:
        """What rounding may have hidden of a gap: some ulps of each term it adds up."""
        if self.straight:
            return jnp.zeros_like(value)
        size = jnp.zeros_like(value)
        if self.split is None or self.split.of_sum is None:
            size = jnp.abs(value)
            if self.size is None:
                size = size + jnp.abs(self.tangent(pattern, *z))
            else:
                size = size + self.size(pattern, *z)
        if self.split is not None:
            size = size + self.split.size(pattern, *z)
        unit = float(jnp.finfo(value.dtype).eps) / 2
        return jnp.asarray(ULPS * unit, value.dtype) * size

    def live(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """The operands that it is a function of, out of all of the equation."""
        return tuple(args[index] for index in self.operands)

    def select(self, mask: Any, one: Any, other: Any) -> Any:
        """The pattern of `one` for the units in `mask`, of `other` elsewhere."""
        return tree_util.tree_map(
            lambda a, b: jnp.where(self._over(mask, a), a, b), one, other
        )

    def _over(self, mask: Any, leaf: Any) -> Any:
        """A mask over units, for a leaf of the pattern."""
        return mask if self.spread is None else self.spread(mask, leaf)

    def keep(self, mask: Any, pattern: Any) -> Any:
        """The pattern with the canonical fill for the units outside `mask`."""
        return tree_util.tree_map(
            lambda p: jnp.where(
                self._over(mask, p), p, jnp.asarray(self.fill, jnp.result_type(p))
            ),
            pattern,
        )
