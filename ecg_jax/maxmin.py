"""The mathematics: a function as the max-min of components, witnesses and refuters.

`f(x) = <w, phi(z(x))> + r(x)` with convex gates `phi` splits by the sign of `w`; each
side is frozen to tangents, on the max side at an anchor `mu`, on the min side at
`tau`. Nothing here knows how the function was written: a `MaxMin` holds its gates,
their sides, and one callable that runs the function with the gates' outputs replaced.

Source: C. Snyder, S. Vishwanath, Interpretable Factorization for Neural Network ECG
Models, 2020 (arXiv:2006.15189).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import core, tree_util
from jaxtyping import Array, Float

from ecg_jax.errors import ExampleError, FreezeError, PatternError, PickleError

Pattern = list[Any]


def _itself(mask: Any, leaf: Any) -> Any:
    del leaf
    return mask


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
    """

    gap: Callable[..., Array]
    shift: Callable[..., Array]
    value: Callable[..., Array]
    size: Callable[..., Array]
    moves: Callable[..., Array] | None = None


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
        the pattern; the identity where every unit has one entry.
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
    """

    name: str
    operands: tuple[int, ...]
    curvature: Any
    apply: Callable[..., Array]
    pattern: Callable[..., Any]
    tangent: Callable[..., Array]
    fill: Any = False
    defined: Callable[[Any], Array] | None = None
    spread: Callable[[Any, Any], Any] = _itself
    elementwise: bool = False
    straight: bool = False
    bounds: tuple[float, float] = (-np.inf, np.inf)
    split: Split | None = None
    size: Callable[..., Array] | None = None
    lipschitz: float | None = None
    errors: str = "own"

    def __post_init__(self) -> None:
        if self.split is not None and (self.straight or np.any(self.curvature != 1)):
            raise FreezeError(
                f"the gate `{self.name}` is a difference of convex functions with "
                f"curvature {self.curvature}, straight {self.straight}.\n"
                "  try: curvature=1, straight=False: `split` says what is taken away"
            )

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
            other = self.split.gap(pattern, *z)
            gap = jnp.where(weight > 0, gap + other, other)
        return jnp.maximum(gap, 0) + self.padding(pattern, value, *z)

    def padding(self, pattern: Any, value: Array, *z: Any) -> Array:
        """What rounding may have hidden of a gap: some ulps of each term it adds up."""
        if self.straight:
            return jnp.zeros_like(value)
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
            lambda a, b: jnp.where(self.spread(mask, a), a, b), one, other
        )

    def keep(self, mask: Any, pattern: Any) -> Any:
        """The pattern with the canonical fill for the units outside `mask`."""
        return tree_util.tree_map(
            lambda p: jnp.where(
                self.spread(mask, p), p, jnp.asarray(self.fill, jnp.result_type(p))
            ),
            pattern,
        )


Hook = Callable[[int, tuple[Any, ...]], Array]


class Immutable:
    """What never changes is its own copy; it is saved as a folder, never pickled."""

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise PickleError(
            f"a {type(self).__name__} cannot be pickled.\n"
            "  why: reading a pickle runs whatever code is in it\n"
            "  try: save with save(path), and read that with ecg_jax.load(path)"
        )


@dataclass(frozen=True, eq=False)
class MaxMin(Immutable):
    """`f(x) = max_mu min_tau N[mu, tau](x)`: one level of a function's equation.

    Attributes:
      fn: the function itself.
      gates: the opened gates; they never feed one another.
      weights: for each gate, the constant weight `w` of its units in `f`.
      sides: for each gate's units, +1 on the max side, -1 on the min side, 0 neither:
        the sign of the weight times the gate's curvature; 2 (`BOTH`) on both sides.
      run: `run(x, hook)`, the function with gate `i`'s output `hook(i, operands)`.
      example: the example that the function was factored at.
      program: the traced program behind `run`; the certificate reads it.
    """

    fn: Callable[[Any], Array]
    gates: tuple[Gate, ...]
    weights: tuple[Any, ...]
    sides: tuple[Any, ...]
    run: Callable[[Any, Hook], Array]
    example: Any
    program: Any = None

    def __call__(self, x: Any) -> Float[Array, ""]:
        """`f(x)`, by the operations that the function itself is made of."""
        return self.run(x, lambda i, z: self.gates[i].apply(*z))

    @property
    def num_gates(self) -> int:
        """How many gates are opened at this level."""
        return len(self.gates)

    def operands(self, x: Any) -> list[tuple[Any, ...]]:
        """For each opened gate, the operands `z(x)` that it sees at `x`."""
        seen: list[tuple[Any, ...]] = [()] * len(self.gates)

        def record(i: int, z: tuple[Any, ...]) -> Array:
            seen[i] = z
            return self.gates[i].apply(*z)

        self.run(x, record)
        return seen

    def pattern(self, x: Any) -> tuple[Pattern, Pattern]:
        """What decides at `x`: `(mu, tau)`, one entry for each opened gate.

        A unit that is not on a side holds one canonical fill there, so equal patterns
        mean equal components. Traceable in `x`.

        Example:
          >>> import jax, jax.numpy as jnp, ecg_jax as ej
          >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
          >>> mu, tau = ej.factor(f, jnp.zeros(2)).pattern(jnp.array([1.0, 2.0]))
        """
        mu, tau = [], []
        for gate, side, z in zip(self.gates, self.sides, self.operands(x), strict=True):
            pattern = gate.pattern(*z)
            mu.append(gate.keep(on(side, 1), pattern))
            tau.append(gate.keep(on(side, -1), pattern))
        return mu, tau

    def component(self, mu: Any, tau: Any) -> Callable[[Any], Array]:
        """`N[mu, tau]`: the function with all opened gates frozen to tangents.

        Args:
          mu: pattern of the max side, as `pattern` gives it, or an input to read it at.
          tau: pattern of the min side, or an input.

        Returns:
          A pure function of one example; `factor` it to go on.

        Raises:
          PatternError: `mu` or `tau` is no pattern of these gates.
          FreezeError: a unit has no finite tangent there (concrete patterns only).
        """
        mu, tau = self._anchor(mu, 0), self._anchor(tau, 1)
        self._check_defined(mu, [on(side, 1) for side in self.sides])
        self._check_defined(tau, [on(side, -1) for side in self.sides])
        frozen = self.frozen(mu, tau)

        def component(x: Any) -> Array:
            return self.run(x, lambda i, z: self.gates[i].frozen(frozen[i], *z))

        return component

    def frozen(self, mu: Pattern, tau: Pattern) -> list[Any]:
        """For each gate the argument of `Gate.frozen` that two patterns make."""
        parts = (self.gates, mu, tau, self.sides, self.weights)
        return [gate.freeze(*own) for gate, *own in zip(*parts, strict=True)]

    def witness(self, mu: Any, frozen: Sequence[Any] | None = None) -> Callable:
        """`W[mu](x) = min_tau N[mu, tau](x) <= f(x)` for every `x`.

        Args:
          mu: pattern of the max side, or an input to read it at.
          frozen: for each gate a mask over its units, which of them to freeze; the
            default is all of the max side. Sound for any choice.

        Returns:
          A pure function: where it is `>= 0`, `f(x) >= 0` is proven.
        """
        return self._bound(self._anchor(mu, 0), frozen, +1)

    def refuter(self, tau: Any, frozen: Sequence[Any] | None = None) -> Callable:
        """`R[tau](x) = max_mu N[mu, tau](x) >= f(x)` for every `x`.

        The mirror image of `witness`: where it is `< 0`, `f(x) < 0` is proven.
        """
        return self._bound(self._anchor(tau, 1), frozen, -1)

    def certificate(self, data: Any, **options: Any) -> Any:
        """Checks the equation on data; see `ecg_jax.proof.certificate.certify`."""
        from ecg_jax.proof.certificate import certify

        return certify(self, data, **options)

    def to_text(self, depth: int = 1, x: Any = None) -> str:
        """The equation in words; see `ecg_jax.equation_text`."""
        from ecg_jax.equation_text import to_text

        return to_text(self, depth, x)

    def to_latex(self) -> str:
        """The equation in LaTeX; see `ecg_jax.equation_text`."""
        from ecg_jax.equation_text import to_latex

        return to_latex(self)

    def save(self, path: Any, *, replace: bool = False) -> None:
        """Writes the equation to a folder; see `ecg_jax.storage.store.save`."""
        from ecg_jax.storage.store import save

        save(self, path, replace=replace)

    def _bound(
        self, pattern: Pattern, frozen: Sequence[Any] | None, sign: int
    ) -> Callable[[Any], Array]:
        masks = [on(side, sign) for side in self.sides]
        if frozen is not None:
            masks = [m & f for m, f in zip(masks, self._masks(frozen), strict=True)]
        self._check_defined(pattern, masks)

        def hook(i: int, z: tuple[Any, ...]) -> Array:
            gate, mask, weight = self.gates[i], masks[i], self.weights[i]
            if isinstance(mask, np.ndarray) and not mask.any():
                return gate.apply(*z)
            frozen = gate.half_frozen(pattern[i], sign * weight, *z)
            if isinstance(mask, np.ndarray) and mask.all():
                return frozen
            return jnp.where(mask, frozen, gate.apply(*z))

        def bound(x: Any) -> Array:
            return self.run(x, hook)

        return bound

    def _anchor(self, anchor: Any, side: int) -> Pattern:
        """A pattern as it is, or read at an input."""
        if isinstance(anchor, list) and len(anchor) == len(self.gates):
            return self._checked(anchor)
        try:
            return self.pattern(anchor)[side]
        except ExampleError as error:
            raise PatternError(
                f"neither a pattern of the {len(self.gates)} opened gates nor an "
                f"input: {error}\n  try: mu, tau = eq.pattern(x)"
            ) from None

    def _check_defined(self, pattern: Pattern, masks: Sequence[Any]) -> None:
        for i, (gate, p, mask) in enumerate(
            zip(self.gates, pattern, masks, strict=True)
        ):
            leaves = tree_util.tree_leaves((p, mask))
            if gate.defined is None or any(isinstance(v, core.Tracer) for v in leaves):
                continue
            with jax.ensure_compile_time_eval():
                bad = np.asarray(mask & ~gate.defined(p))
            if bad.any():
                raise FreezeError(
                    f"cannot freeze gate {i}, `{gate.name}`: {bad.sum()} of its "
                    f"{bad.size} units have no finite tangent at this anchor.\n"
                    "  try: another anchor, or leave these units alive with "
                    "`frozen` masks in eq.witness and eq.refuter"
                )

    def _checked(self, pattern: Pattern) -> Pattern:
        mine = jax.eval_shape(lambda: self.pattern(self.example)[0])
        for i, (entry, like) in enumerate(zip(pattern, mine, strict=True)):
            shapes = [np.shape(leaf) for leaf in tree_util.tree_leaves(entry)]
            wanted = [leaf.shape for leaf in tree_util.tree_leaves(like)]
            if shapes != wanted:
                raise PatternError(
                    f"entry {i} of the pattern has the shapes {shapes}; gate "
                    f"`{self.gates[i].name}` needs {wanted}.\n"
                    "  try: mu, tau = eq.pattern(x)"
                )
        return pattern

    def _masks(self, frozen: Sequence[Any]) -> list[Any]:
        if len(frozen) != len(self.gates):
            raise PatternError(
                f"`frozen` has {len(frozen)} entries for {len(self.gates)} opened "
                "gates.\n  try: one boolean mask over the units of each gate"
            )
        for i, (mask, w) in enumerate(zip(frozen, self.weights, strict=True)):
            boolean = jnp.issubdtype(jnp.result_type(mask), jnp.bool_)
            if not boolean or np.shape(mask) not in ((), np.shape(w)):
                raise PatternError(
                    f"entry {i} of `frozen` is {jnp.result_type(mask)}"
                    f"{list(np.shape(mask))}; gate `{self.gates[i].name}` needs a "
                    f"boolean mask of shape {np.shape(w)}."
                )
        return list(frozen)
