"""Functions written in two pieces that meet: by a selection, or times a step.

    where(z > c, A(z), B(z)) = A(max(z, c)) + B(min(z, c))      A(c) = B(c) = 0
    y step(z) = where(z > c, on y, off y)                       y = 0 where z = c

Values stay those of the user's own operations, bit for bit: of the two terms one is
always 0. So `z * (z > 0)`, `sign(z) * log1p(|z|)` and elu written out have exact rules;
a Huber loss is one convex gate.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import (
    Application,
    Equation,
    Refused,
    Rewrite,
    Role,
    Rules,
)
from ecg_jax.rules.forms import Forms, line
from ecg_jax.rules.intervals import NONNEGATIVE
from ecg_jax.rules.smooth import tangent_gate, with_slope


def in_pieces(application: Application, comparison: Equation, sign: int) -> Role | None:
    """`where(z > c, A(z), B(z))` of one value, or None where that is not proven."""
    threshold = _threshold(application, comparison)
    if threshold is None:
        return None
    z, c = threshold
    predicate, off, on = application.inputs
    pieces = [_function(application, number, z) for number in (on, off)]
    if application.avals[1].shape != application.builder.avals[z].shape:
        return None
    if None not in pieces and all(_is_zero(application, f, z, c) for f in pieces):
        return _added(pieces, predicate, z, c)
    inside, outside = (off, on) if sign > 0 else (on, off)
    eqn = application.definition(z)
    if eqn is None or eqn.primitive is not lax.abs_p or np.any(c <= 0):
        return None
    (of,) = eqn.inputs
    return _shrunk(application, of, c, inside, outside) or _huber(
        application, of, z, c, inside, outside
    )


def _added(pieces: list[Any], predicate: int, z: int, c: Any) -> Rewrite:
    """`A(max(z, c)) + B(min(z, c))`, told apart by the user's own condition."""
    above, below = pieces

    def added(p: Array, z: Array) -> Array:
        level = jnp.broadcast_to(jnp.asarray(c, z.dtype), z.shape)
        return above(jnp.where(p, z, level)) + below(jnp.where(p, level, z))

    return Rewrite(added, (predicate, z))


def _shrunk(
    application: Application, z: int, d: Any, inside: int, outside: int
) -> Rewrite | None:
    """`where(|z| <= d, A(z), B(z))`, both 0 at `d` and `-d`: three terms likewise."""
    pieces = [_function(application, number, z) for number in (inside, outside)]
    if None in pieces or not all(
        _is_zero(application, f, z, c) for f in pieces for c in (d, -d)
    ):
        return None
    within, beyond = pieces

    def added(z: Array) -> Array:
        level = jnp.broadcast_to(jnp.asarray(d, z.dtype), z.shape)
        middle = within(lax.max(lax.min(z, level), -level))
        return beyond(lax.max(z, level)) + beyond(lax.min(z, -level)) + middle

    return Rewrite(added, (z,))


def _threshold(application: Application, comparison: Equation) -> Any:
    """`z` and `c` of a comparison of a value that sees the input with a constant."""
    known = [application.constant_of(n) for n in comparison.inputs]
    for index in (0, 1):
        c, z = known[index], comparison.inputs[1 - index]
        if c is not None and _jax.is_concrete(c) and known[1 - index] is None:
            floating = jnp.issubdtype(application.builder.avals[z].dtype, jnp.floating)
            return (z, np.asarray(c)) if floating else None
    return None


def _function(application: Application, number: int, z: int) -> Any:
    """A value as a function of another one, entry by entry; None where it is not."""
    avals, constants = application.builder.avals, {}
    steps: dict[int, Equation] = {}
    waiting, seen = [number], set()
    while waiting:
        n = waiting.pop()
        if n == z or n in seen:
            continue
        seen.add(n)
        if not application.builder.live[n]:
            constants[n] = application.constant_of(n)
            if constants[n] is None or not _jax.is_concrete(constants[n]):
                return None
            continue
        eqn = application.definition(n)
        if eqn is None or not _is_elementwise(eqn) or avals[n].shape != avals[z].shape:
            return None
        steps[n] = eqn
        waiting += eqn.inputs

    def function(value: Array) -> Array:
        env = {**constants, z: value}
        for n in sorted(steps):  # numbers grow along the program
            args = [env[i] for i in steps[n].inputs]
            (env[n],) = _jax.bind(steps[n].primitive, steps[n].params, args)
        return jnp.broadcast_to(jnp.asarray(env[number], value.dtype), value.shape)

    return function


def _is_elementwise(eqn: Equation) -> bool:
    if len(eqn.outputs) > 1:
        return False
    if isinstance(eqn.role, Gate):
        return eqn.role.elementwise
    return eqn.primitive in _ELEMENTWISE


def _is_zero(application: Application, fn: Any, z: int, c: Any) -> bool:
    """Whether a function of `z` is exactly 0 at `c`."""
    aval = application.builder.avals[z]
    with jax.ensure_compile_time_eval():
        value = fn(jnp.broadcast_to(jnp.asarray(c, aval.dtype), aval.shape))
        return bool(np.all(np.asarray(value) == 0))


@dataclass(frozen=True)
class Step:
    """A value that is `on` where a condition holds, and `off` elsewhere.

    Attributes:
      operands: the values that the condition is a function of.
      condition: of these, a truth value.
      compared: the value whose sign it is, less `level`.
      level: a constant.
      on: a constant.
      off: a constant.
    """

    operands: tuple[int, ...]
    condition: Callable[[Any], Any]
    compared: int
    level: Any
    on: Any
    off: Any


def stepped(application: Application) -> Rewrite | None:
    """`y step(z)`, with `y = 0` wherever the step is; None where that is not proven."""
    for index in (0, 1):
        step = _step(application, application.inputs[index])
        y = application.inputs[1 - index]
        if step is None or not _vanishes(application, y, step):
            continue

        def cases(condition: Any, y: Array, step: Step = step) -> Array:
            on, off = (jnp.asarray(v, y.dtype) * y for v in (step.on, step.off))
            return jnp.where(step.condition(condition), on, off)

        return Rewrite(cases, (*step.operands, y))
    return None


def _step(application: Application, number: int, depth: int = 8) -> Step | None:
    """How a value is a step, if it is."""
    eqn = application.definition(number)
    if eqn is None or depth == 0:
        return None
    if eqn.primitive is lax.sign_p:  # 0 at 0, and so is what it multiplies
        (z,) = eqn.inputs
        return Step((z,), lambda z: z > 0, z, 0.0, 1.0, -1.0)
    of_truth = application.builder.avals[eqn.inputs[0]].dtype == bool
    if eqn.primitive is lax.convert_element_type_p and of_truth:
        return _of_condition(application, eqn.inputs[0], 1.0, 0.0)
    if eqn.primitive is lax.select_n_p and len(eqn.inputs) == 3:
        off, on = (application.constant_of(n) for n in eqn.inputs[1:])
        if off is not None and on is not None:
            return _of_condition(application, eqn.inputs[0], on, off)
    return _of_step(application, eqn, depth) if eqn.primitive in _ARITHMETIC else None


def _of_condition(
    application: Application, predicate: int, on: Any, off: Any
) -> Step | None:
    _, comparison = comparison_of(application, predicate)
    threshold = comparison and _threshold(application, comparison)
    if not threshold or not all(map(_jax.is_concrete, (on, off))):
        return None
    z, level = threshold
    return Step((predicate,), lambda p: p, z, level, on, off)


def _of_step(application: Application, eqn: Equation, depth: int) -> Step | None:
    """`1 - step`, `2 step`: what the operation makes of either value."""
    constants = [application.constant_of(n) for n in eqn.inputs]
    live = [i for i, c in enumerate(constants) if c is None]
    if len(live) != 1:
        return None
    step = _step(application, eqn.inputs[live[0]], depth - 1)
    others = [c for c in constants if c is not None]
    if step is None or not all(map(_jax.is_concrete, others)):
        return None
    dtype = application.builder.avals[eqn.inputs[live[0]]].dtype

    def made(value: Any) -> Any:
        shape = np.broadcast_shapes(np.shape(value), *map(np.shape, others))
        args = [value if c is None else c for c in constants]
        args = [jnp.broadcast_to(jnp.asarray(v, dtype), shape) for v in args]
        with jax.ensure_compile_time_eval():
            return np.asarray(_jax.bind(eqn.primitive, eqn.params, args)[0])

    return replace(step, on=made(step.on), off=made(step.off))


def _vanishes(application: Application, y: int, step: Step) -> bool:
    """Whether `y` is 0 wherever the value that the step looks at crosses its level."""
    fn = _function(application, y, step.compared)
    return fn is not None and _is_zero(application, fn, step.compared, step.level)


def comparison_of(application: Application, number: int) -> tuple[int, Equation | None]:
    """The comparison behind a truth value, +1 if it is `p > q`, -1 if `p < q`."""
    eqn = application.definition(number)
    if eqn is None:
        return 0, None
    if eqn.primitive is lax.not_p:
        sign, inner = comparison_of(application, eqn.inputs[0])
        return -sign, inner
    return _SIGNS.get(eqn.primitive, 0), eqn if eqn.primitive in _SIGNS else None


@jax.jit
def huber(z: Array, d: Array) -> Array:
    """`z^2 / 2` for `|z| <= d`, else `d (|z| - d / 2)`."""
    near = jnp.minimum(jnp.abs(z), d)
    return lax.square(near) / 2 + d * (jnp.abs(z) - near)


def huber_loss(application: Application) -> Role:
    """Huber's function: convex, its slope `clip(z, -d, d)`."""
    if not application.known[1]:
        return Refused("a Huber function whose threshold depends on the input")
    d = jnp.asarray(application.constant(1))
    fn = with_slope(lambda z: huber(z, d), lambda z: jnp.clip(z, -d, d))
    steepest = float(np.max(np.abs(np.asarray(d)), initial=0.0))
    return tangent_gate("huber", fn, 1, bounds=NONNEGATIVE, lipschitz=steepest)


def _huber(
    application: Application, z: int, size: int, d: Any, inside: int, outside: int
) -> Rewrite | None:
    """`where(|z| <= d, a z^2, b |z| + c)`, `b = 2 a d`, `c = -a d^2`; or None."""
    forms, dtype = Forms(application, [z, size]), application.builder.avals[z].dtype
    a, d = _of_square(application, forms, inside, z), np.asarray(d, np.float64)
    if a is None or not np.all(a > 0):
        return None
    wanted = {size: 2 * a * d, None: -a * d**2}
    k, offset, fits = line(forms.of(outside), wanted, dtype)
    tolerance = 8 * float(jnp.finfo(dtype).eps)
    close = np.maximum(np.abs(k - 1), np.abs(offset) / (a * d**2)) <= tolerance
    if not np.all(fits & close):
        return None

    def rewritten(z: Array) -> Array:
        value = huber(z, jnp.broadcast_to(jnp.asarray(d, z.dtype), z.shape))
        return value if np.all(a == 0.5) else jnp.asarray(2 * a, z.dtype) * value

    return Rewrite(rewritten, (z,))


def _of_square(application: Application, forms: Forms, number: int, z: int) -> Any:
    """`a` of a value `a z^2`; None where it is none."""
    terms = [(n, c) for n, c in forms.of(number).items() if np.any(c)]
    if len(terms) != 1 or (made := terms[0][0]) is None:
        return None
    eqn, a = application.definition(made), np.asarray(terms[0][1])
    if eqn is None:
        return None
    power = eqn.primitive is lax.integer_pow_p and eqn.params["y"] == 2
    if not power and eqn.primitive not in (lax.square_p, lax.mul_p):
        return None
    factors = [forms.of(n) for n in (*eqn.inputs, *eqn.inputs)[:2]]
    if any({n for n, c in factor.items() if np.any(c)} != {z} for factor in factors):
        return None
    return a * factors[0][z] * factors[1][z]


_SIGNS: Mapping[Any, int] = MappingProxyType(
    {lax.gt_p: +1, lax.ge_p: +1, lax.lt_p: -1, lax.le_p: -1}
)
_ARITHMETIC = frozenset(
    {lax.add_p, lax.sub_p, lax.mul_p, lax.neg_p, lax.convert_element_type_p}
)
_ELEMENTWISE = frozenset(
    {
        *_SIGNS,
        *_ARITHMETIC,
        *(lax.div_p, lax.abs_p, lax.sign_p, lax.not_p, lax.select_n_p),
        *(lax.log_p, lax.log1p_p, lax.sqrt_p, lax.rsqrt_p, lax.cbrt_p),
        *(lax.integer_pow_p, lax.pow_p),
    }
)
"""What acts entry by entry, besides the gates that say so themselves."""

PIECE_RULES: Rules = MappingProxyType({huber: huber_loss})
