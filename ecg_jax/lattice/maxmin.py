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
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core, tree_util
from jaxtyping import Array, Float

from ecg_jax.errors import ExampleError, FreezeError, PatternError
from ecg_jax.program.describe import counted, form_of, name_of, short
from ecg_jax.program.gates import Gate, on
from ecg_jax.program.memo import Immutable
from ecg_jax.shown import table

MOST_SHOWN = 3
Pattern = list[Any]

Hook = Callable[[int, tuple[Any, ...]], Array]


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
      evaluate: the function itself, where `run` has other operations than it (calls and
        steps of loops, written out); None: `run` has them.
    """

    fn: Callable[[Any], Array]
    gates: tuple[Gate, ...]
    weights: tuple[Any, ...]
    sides: tuple[Any, ...]
    run: Callable[[Any, Hook], Array]
    example: Any
    program: Any = None
    evaluate: Callable[[Any], Array] | None = None

    def __repr__(self) -> str:
        gates = [
            f"  {short(gate.name, 24)}: {_sides(side)}"
            for gate, side in zip(self.gates, self.sides, strict=True)
        ]
        shown = gates if len(gates) <= MOST_SHOWN else gates[: MOST_SHOWN - 1]
        more = len(gates) - len(shown)
        shown += [f"  and {counted(more, 'gate')} more"] * bool(more)
        head = f"MaxMin of {name_of(self.fn)}: {counted(self.num_gates, 'gate')} opened"
        return "\n".join([head, *shown, f"  input: {form_of(self.example)}"])

    def _repr_html_(self) -> str:
        """The opened gates and their sides as a table. No script."""
        rows = [
            (gate.name, _sides(side))
            for gate, side in zip(self.gates, self.sides, strict=True)
        ]
        return table(("gate", "units"), rows, title=repr(self).splitlines()[0])

    def __call__(self, x: Any) -> Float[Array, ""]:
        """`f(x)`, by the function itself: outside of `jit` JAX compiles its calls."""
        if self.evaluate is not None:
            return self.evaluate(x)
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


def _sides(side: Any) -> str:
    """How many units of a gate are on each side, in words."""
    if isinstance(side, core.Tracer):
        return f"{counted(side.size, 'unit')}, their sides by the weights"
    high, low = (int(np.sum(np.asarray(on(side, sign)))) for sign in (1, -1))
    return f"{counted(high, 'unit')} on the max side, {low:,} on the min side"
