"""How far rounding can carry a program's value: a running forward error bound.

Beside every value runs a bound `e` on its error and a bound `m` on its size. With unit
roundoff `u` and `gamma_k = k u / (1 - k u)`, an affine equation of `k` terms gives

    m' = |A| m + |b|        e' = |A| e + gamma_k (|A| m + |b|)

whatever the order of summation, fused or not; products in a lower precision `p` add
`(2 p + p^2) |A| m`. Piecewise linear gates take the largest `e` of their operands:
they are 1-Lipschitz in the largest difference.

*Valid for every frozen form.* A tangent of a piecewise linear gate returns one of the
gate's operands, up to sign. So at an opened gate `e` and `m` are the largest of all the
operands', whichever of them a pattern selects; from there on no computed value is
used, only `m`. The bound at `x` thus holds for the program and for every component,
witness and refuter of these gates, at any pattern, evaluated by jit, vmap or neither.

A tangent of a smooth gate is as steep and as high as its anchor makes it: for these the
bound is that of one pattern, `bound(x, frozen)`. A smooth gate behind another opened
one is bounded frozen only; the function as it is, `opened=()`, has a bound of its own.
What has no rule is refused.

Products are bounded by the textbook algorithm: a fast convolution (Winograd, FFT), as
some GPU libraries choose for float32, is outside the model. Constants are taken as the
program evaluates them; subnormal numbers may be flushed to zero.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
SIAM 2002, sections 3.1, 3.3 and 3.5.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ecg_jax.errors import NoGateError, UnsupportedPrimitiveError
from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import outermost
from ecg_jax.program.program import Program, run, scanned
from ecg_jax.program.roles import Body, Equation, Refused
from ecg_jax.proof.rounding_frozen import (
    RoundingRules,
    floating,
    frozen_bounds,
    size_of,
)
from ecg_jax.proof.rounding_rules import (
    PIECEWISE_ROUNDING,
    Bounded,
    Operation,
    RoundingRule,
)
from ecg_jax.proof.rounding_smooth import SMOOTH_ROUNDING, of_gate

ROUNDING_RULES: Mapping[Any, RoundingRule] = MappingProxyType(
    {**PIECEWISE_ROUNDING, **SMOOTH_ROUNDING}
)

PRODUCT_ROUNDOFF: Mapping[str, float] = MappingProxyType(
    {"highest": 0.0, "tf32": 2.0**-10, "bf16": 2.0**-7}
)
"""Relative error of one factor of a float32 product; truncation is allowed for."""


def rounding_bound(
    program: Program,
    *,
    opened: Sequence[Equation] | None = None,
    precision: str | None = None,
    rules: RoundingRules = ROUNDING_RULES,
) -> Callable[..., Float[Array, ""]]:
    """A bound on `|fl(program(x)) - program(x)|`, as a function of `x`.

    Args:
      program: the traced program.
      opened: gates that may be frozen to any tangents; the bound then holds for every
        component, witness and refuter of them. Default: the outermost gates.
      precision: how float32 products that ask for no precision are computed:
        "highest", "tf32" or "bf16"; default: as on this backend, see
        `product_precision`.
      rules: table from primitives, or names of gates, to rounding rules.

    Returns:
      A pure function `bound(x, frozen=None)` of one example, to which jit and vmap
      apply; `frozen` holds the pattern of every opened gate and is needed where one
      of them is smooth. It is infinite where the arithmetic promises nothing.

    Raises:
      UnsupportedPrimitiveError: an operation has no rounding rule.

    Example:
      >>> import jax.numpy as jnp, ecg_jax as ej
      >>> from ecg_jax.program.trace import trace
      >>> program = trace(lambda x: x.sum(), jnp.zeros(3, jnp.float32), ej.RULES)
      >>> float(rounding_bound(program)(jnp.ones(3, jnp.float32))) < 2e-6
      True
    """
    gates = opened_gates(program) if opened is None else tuple(opened)
    walk = Walk(program, gates, precision, rules)

    def bound(x: Any, frozen: Sequence[Any] | None = None) -> Array:
        leaves = program.check_input(x)
        bounded = [Bounded(leaf, jnp.abs(leaf)) for leaf in leaves]
        env = dict(zip(program.inputs, bounded, strict=True))
        return walk.bound(program.equations, env, frozen)

    return bound


def tail_bound(
    program: Program,
    opened: Sequence[Equation],
    *,
    precision: str | None = None,
    rules: RoundingRules = ROUNDING_RULES,
    live: bool = False,
) -> Callable[..., Float[Array, ""]]:
    """The same, counting only what is rounded from the opened gates on.

    Two values that start from the same numbers at the cut (see `cut`), such as a
    component and the function itself, differ by no more than the sum of their tails'
    rounding errors, however deep the program below.

    Args:
      program: the traced program.
      opened: the gates where the tail begins, frozen to any tangents.
      precision: as above.
      rules: as above.
      live: the bound is that of the gates as they are, none of them frozen.

    Returns:
      A pure function `bound(values, frozen=None)` of the values at the cut, in the
      order that `cut` gives.
    """
    numbers, tail = cut(program, opened)
    walk = Walk(program, () if live else tuple(opened), precision, rules)

    def bound(values: Sequence[Array], frozen: Sequence[Any] | None = None) -> Array:
        bounded = [Bounded(value, size_of(value)) for value in values]
        env = dict(zip(numbers, bounded, strict=True))
        return walk.bound(tail, env, frozen)

    return bound


def values_at_cut(
    program: Program, opened: Sequence[Equation]
) -> Callable[[Any], list[Array]]:
    """The values that enter the tail, in the order of `cut`, as a function of `x`."""
    numbers, _ = cut(program, opened)

    def at_cut(x: Any) -> list[Array]:
        leaves = program.check_input(x)
        env = {**program.constants, **dict(zip(program.inputs, leaves, strict=True))}
        run(program.equations, env)
        return [jnp.asarray(env[number]) for number in numbers]

    return at_cut


def opened_gates(program: Program) -> tuple[Equation, ...]:
    """The outermost gates; none for an atom."""
    with suppress(NoGateError):
        return outermost(program)
    return ()


def cut(
    program: Program, opened: Sequence[Equation]
) -> tuple[tuple[int, ...], tuple[Equation, ...]]:
    """Where the tail begins: the values that enter it, and its equations.

    The tail is the opened gates and all that sees their outputs; the values that enter
    it are the gates' operands and whatever reaches the output by other paths.
    """
    first = {id(eqn) for eqn in opened}
    made: set[int] = set()
    tail, entering = [], {}
    for eqn in program.equations:
        if id(eqn) in first or made.intersection(eqn.inputs):
            tail.append(eqn)
            entering.update(dict.fromkeys(n for n in eqn.inputs if n not in made))
            made.update(eqn.outputs)
    return tuple(n for n in entering if n in program.live), tuple(tail)


def product_precision() -> str:
    """How this backend computes float32 products that ask for no precision.

    The setting `jax_default_matmul_precision` counts; else a CPU computes in float32,
    a GPU may use TF32, and anything else bfloat16.
    """
    setting = str(getattr(jax.config, "jax_default_matmul_precision", "")).lower()
    if setting in ("highest", "float32"):
        return "highest"
    backend = jax.default_backend()
    return {"cpu": "highest", "gpu": "tf32", "cuda": "tf32"}.get(backend, "bf16")


class Walk:
    """Carries bounds through the equations of a program."""

    def __init__(
        self,
        program: Program | Body,
        opened: tuple[Equation, ...],
        precision: str | None = None,
        rules: RoundingRules = ROUNDING_RULES,
        evaluations: float = 1.0,
    ):
        precision = product_precision() if precision is None else precision
        if precision not in PRODUCT_ROUNDOFF:
            raise ValueError(
                f"precision is {precision!r}; known are {sorted(PRODUCT_ROUNDOFF)}."
            )
        self.program, self.rules = program, rules
        self.precision, self.evaluations = precision, evaluations
        self.opened = {id(eqn): i for i, eqn in enumerate(opened)}
        self.product = PRODUCT_ROUNDOFF[precision]
        self.made = {n: eqn for eqn in program.equations for n in eqn.outputs}
        self.drift = 0.0
        self.constants = self._constants()

    def _constants(self) -> dict[int, Bounded]:
        """Constants with the errors of those that the program computes.

        The program's own evaluation counts as exact, so another one is off by twice
        the error of either. Operations without a rule (random bits, loops) are taken
        to be repeated faithfully.
        """
        env = {n: Bounded(v, size_of(v)) for n, v in self.program.constants.items()}
        if isinstance(self.program, Body):  # the others differ from step to step
            return env
        for eqn in self.program.equations:
            if eqn.role is None:
                env.update(zip(eqn.outputs, self._constant(eqn, env), strict=True))
        return {
            n: b if b.error is None else replace(b, error=2 * b.error)
            for n, b in env.items()
        }

    def _constant(self, eqn: Equation, env: dict[int, Bounded]) -> list[Bounded]:
        """What an operation makes of constants."""
        inner = {n: env[n].value for n in eqn.inputs}
        run([eqn], inner)
        values = [inner[n] for n in eqn.outputs]
        exact = [Bounded(v, size_of(v)) for v in values]
        if not any(map(floating, values)):
            return exact
        try:
            bounds = self.step(eqn, env)
        except UnsupportedPrimitiveError:
            return exact
        found = []
        for value, plain, bounded in zip(values, exact, bounds, strict=True):
            error = bounded.error
            none = error is None or (_jax.is_concrete(error) and not np.any(error))
            found.append(plain if none else Bounded(value, bounded.size, error))
        return found

    def bound(
        self,
        equations: Sequence[Equation],
        env: dict[int, Bounded],
        frozen: Sequence[Any] | None,
    ) -> Array:
        """The bound of the output, from those of what the equations read."""
        assert isinstance(self.program, Program)
        env = {**self.constants, **env}
        self.drift = 0.0
        for eqn in equations:
            if eqn.role is not None:
                env.update(zip(eqn.outputs, self.step(eqn, env, frozen), strict=True))
        out = env[self.program.output]
        # The bound is itself a sum of rounded positive terms.
        total = out.slack * (1.0 + 1 / 64 + 2 * self.drift)
        return jnp.where(jnp.isnan(total), jnp.inf, total)

    def step(
        self,
        eqn: Equation,
        env: dict[int, Bounded],
        frozen: Sequence[Any] | None = None,
    ) -> list[Bounded]:
        """The bounds of an equation's outputs."""
        args = tuple(env[n] for n in eqn.inputs)
        if eqn.body is not None:
            return self._loop(eqn, eqn.body, args, self.evaluations)
        op = self._operation(eqn, args, lambda number: self._where(number, env))
        role = eqn.role
        straight = not isinstance(role, Gate) or role.straight
        if not op.opened or (straight and eqn.primitive in PIECEWISE_ROUNDING):
            sizes, errors = self._rule(op)(op)
        elif frozen is None:
            raise op.refuse("its tangents depend on the anchor: bound(x, frozen)")
        else:
            entry = frozen[self.opened[id(eqn)]]
            sizes, errors = frozen_bounds(op, entry, self.rules)
            if all(arg.value is not None for arg in op.args):
                live = self._rule(op)(op)
                sizes = list(map(jnp.maximum, sizes, live[0]))
                errors = list(map(jnp.maximum, errors, live[1]))
        self.drift += sum(op.gammas)
        values: Sequence[Any] = [None] * len(eqn.outputs)
        if not op.opened and all(arg.value is not None for arg in op.args):
            values = op.apply(*(arg.value for arg in op.args))
            sizes = [
                size_of(v) if e is None or not floating(v) else size_of(v) + 2 * e
                for v, e in zip(values, errors, strict=True)
            ]
        return list(map(Bounded, values, sizes, errors))

    def _loop(
        self,
        eqn: Equation,
        body: Body,
        args: Sequence[Bounded],
        evaluations: float,
    ) -> list[Bounded]:
        """The bounds of a loop's outputs: those of a step, carried from step to step.

        Constants are bounded likewise: a loop's own evaluation is not taken as exact.
        """
        inner = Walk(body, (), self.precision, self.rules, evaluations)
        valued = all(arg.value is not None for arg in args)

        def packed(
            number: int, bounded: Bounded, rows: bool = False
        ) -> tuple[Any, Any, Any]:
            """A bound in one form for all steps, as is what has an entry for each."""
            aval, size = body.avals[number], bounded.size
            shape = (*[eqn.params["length"]] * rows, *aval.shape)
            if not jnp.issubdtype(aval.dtype, jnp.inexact):
                if number in body.live:
                    raise self._operation(eqn, tuple(args)).refuse(
                        f"it carries {aval.dtype} values that depend on the input"
                    )
                return size, size, None
            real = jnp.finfo(aval.dtype).dtype
            value = bounded.value if valued or number not in body.live else None
            size, error = (
                jnp.broadcast_to(jnp.asarray(v, real), shape)
                for v in (size, bounded.slack)
            )
            return value, size, error

        def step(entries: Sequence[Any]) -> list[Any]:
            inner.drift = 0.0
            pairs = zip(body.inputs, entries, strict=True)
            env = {**inner.constants, **{n: Bounded(*entry) for n, entry in pairs}}
            for own in body.equations:
                follow = inner._constant if own.role is None else inner.step
                env.update(zip(own.outputs, follow(own, env), strict=True))
            return [packed(n, env[n]) for n in body.outputs]

        num_consts, num_carry = _jax.scan_split(eqn.params)
        given = []
        for i, (number, arg) in enumerate(zip(body.inputs, args, strict=True)):
            rows = i >= num_consts + num_carry
            given.append(packed(number, arg, rows=rows))
        outs = scanned(eqn.params, step, given)
        self.drift += eqn.params["length"] * inner.drift
        return [Bounded(*out) for out in outs]

    def errors(
        self, eqn: Equation, args: tuple[Bounded, ...], evaluations: float
    ) -> Sequence[Any]:
        """The errors of an affine equation's outputs, rounded some times over.

        Args:
          eqn: the equation.
          args: its operands: sizes and errors.
          evaluations: how many roundings like that of the program are counted.
        """
        if eqn.body is not None:
            return [b.slack for b in self._loop(eqn, eqn.body, args, evaluations)]
        op = replace(self._operation(eqn, args), evaluations=evaluations)
        _, errors = self._rule(op)(op)
        self.drift += sum(op.gammas)
        return [0.0 if error is None else error for error in errors]

    def _operation(
        self,
        eqn: Equation,
        args: tuple[Bounded, ...],
        where: Callable[[int], Any] = lambda number: None,
    ) -> Operation:
        return Operation(
            equation=eqn,
            args=args,
            opened=id(eqn) in self.opened,
            dtypes=tuple(self.program.avals[n].dtype for n in eqn.outputs),
            shapes=tuple(self.program.avals[n].shape for n in eqn.outputs),
            product=self.product,
            where=where,
            evaluations=self.evaluations,
        )

    def _rule(self, op: Operation) -> RoundingRule:
        rule, role = self.rules.get(op.equation.primitive), op.equation.role
        if rule is None and isinstance(role, Gate):
            return of_gate
        if rule is None:
            raise op.refuse("its primitive is not in the table of rounding rules")
        if lawless(op.equation) and rule is ROUNDING_RULES.get(op.equation.primitive):
            raise op.refuse("it jumps: a small error may become a large one")
        return rule

    def _where(
        self, number: int, env: dict[int, Bounded]
    ) -> tuple[Equation, tuple[Bounded, ...]] | None:
        eqn = self.made.get(number)
        return None if eqn is None else (eqn, tuple(env[n] for n in eqn.inputs))


_CONTINUOUS = (
    lax.mul_p,
    lax.div_p,
    lax.conv_general_dilated_p,
    _jax.primitives.dot_general_p,
    *SMOOTH_ROUNDING,
)
"""What the rounding rules hold for, whether the factorization has a rule or not."""


def lawless(eqn: Equation) -> bool:
    """A jump, an index that sees the input, ...: small errors may become large ones."""
    if eqn.body is not None:
        return any(map(lawless, eqn.body.equations))
    return isinstance(eqn.role, Refused) and eqn.primitive not in _CONTINUOUS
