"""Piecewise linear gates of one or two values: max, min, abs, clamp; truth values.

Each stores a mask; a tangent selects with a constant mask, so it is affine.
"""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import (
    Application,
    Known,
    Predicate,
    Refused,
    Rewrite,
    Role,
    Rules,
    Same,
)
from ecg_jax.rules.complex import of_complex, sees_complex
from ecg_jax.rules.intervals import interval, is_finite, is_nonnegative, is_nonpositive
from ecg_jax.rules.why_refused import JUMPS

_JUMP = "is discontinuous in the input"


def maximum(application: Application) -> Role:
    """`max(z, c)`, `max(y, z)`: convex; the mask says that the first wins.

    At a tie with a constant the constant wins (`[z > c]`); of two values that see the
    input, the first.
    """
    return _extremum(application, +1)


def minimum(application: Application) -> Role:
    """`min(y, z) = -max(-y, -z)`: concave."""
    return _extremum(application, -1)


def _extremum(application: Application, sign: int) -> Role:
    one, other = application.inputs
    if one == other:
        return Same(0)
    (low, high), (other_low, other_high) = (
        interval(application, n) for n in (one, other)
    )
    if low >= other_high if sign > 0 else high <= other_low:
        return _unchanged(application, 0)
    if other_low >= high if sign > 0 else other_high <= low:
        return _unchanged(application, 1)
    if all(application.live):
        return _of_two(sign)
    live = application.live.index(True)
    c = application.constant_of(application.inputs[1 - live])
    if c is not None and _jax.is_concrete(c) and np.isinf(np.asarray(c)).any():
        return _infinite(np.asarray(c), live, sign)
    return _with_constant(application, live, sign)


def _unchanged(application: Application, index: int) -> Role:
    """The operand that always wins, brought to the shape of the result."""
    shape = jnp.broadcast_shapes(*(aval.shape for aval in application.avals))
    if application.avals[index].shape == shape:
        return Same(index)
    return Rewrite(lambda *args: jnp.broadcast_to(args[index], shape))


def _of_two(sign: int) -> Gate:
    return Gate(
        name="max" if sign > 0 else "min",
        operands=(0, 1),
        curvature=sign,
        apply=lax.max if sign > 0 else lax.min,
        pattern=lambda y, z: y >= z if sign > 0 else y <= z,
        tangent=jnp.where,
        elementwise=True,
        straight=True,
        pieces=lambda y, z: jnp.stack([y, z]),
    )


def _with_constant(application: Application, live: int, sign: int) -> Gate:
    operands, every = application.operands()
    bind = lax.max if sign > 0 else lax.min

    def pair(*operands: Any) -> tuple[Any, Any]:
        both = every(*operands)
        return both[live], both[1 - live]

    def pattern(*operands: Any) -> Any:
        z, c = pair(*operands)
        return jnp.broadcast_to(
            z > c if sign > 0 else z < c, jnp.broadcast_shapes(z.shape, np.shape(c))
        )

    return Gate(
        name="max" if sign > 0 else "min",
        operands=operands,
        curvature=sign,
        apply=lambda *z: bind(*pair(*z)),
        pattern=pattern,
        tangent=lambda p, *z: jnp.where(p, *pair(*z)),
        elementwise=True,
        straight=True,
        pieces=lambda *z: jnp.stack(jnp.broadcast_arrays(*pair(*z))),
    )


def _infinite(c: np.ndarray, live: int, sign: int) -> Role:
    """`max(z, -inf) = z`: an infinite constant never wins, or always does."""
    if np.any(c == sign * np.inf):
        return Refused(
            "a constant that is infinite always wins",
            "use a large finite constant, or leave these entries out",
        )
    never = np.isinf(c)
    finite = np.where(never, 0, c).astype(c.dtype)
    bind = lax.max if sign > 0 else lax.min

    def rewritten(*args: Any) -> Any:
        return jnp.where(never, args[live], bind(args[live], jnp.asarray(finite)))

    return Rewrite(rewritten)


def absolute(application: Application) -> Role:
    """`|z| = max(z, -z)`: convex; the mask is `[z > 0]`; affine on a proven sign.

    Of a complex value it is a norm of two, see `modulus`.
    """
    if sees_complex(application):
        return Rewrite(of_complex)
    if is_nonnegative(application, application.inputs[0]):
        return Same(0)
    if is_nonpositive(application, application.inputs[0]):
        return Rewrite(lax.neg)
    return Gate(
        name="abs",
        operands=(0,),
        curvature=1,
        apply=lax.abs,
        pattern=lambda z: z > 0,
        tangent=lambda p, z: jnp.where(p, z, -z),
        elementwise=True,
        straight=True,
        bounds=(0.0, np.inf),
        pieces=lambda z: jnp.stack([z, -z]),
    )


def clamp(application: Application) -> Role:
    """`clamp(lo, z, hi) = min(max(z, lo), hi)`: two gates, one after the other."""
    shape = application.avals[1].shape

    def clamped(low: Any, z: Any, high: Any) -> Any:
        if any(application.live[::2]):
            low, high = (jnp.broadcast_to(bound, shape) for bound in (low, high))
        return lax.min(lax.max(z, low), high)

    return Rewrite(clamped)


def comparison(application: Application) -> Role:
    """`y > z`: a truth value; `select_n` may read it. Known where intervals tell."""
    one, other = (interval(application, n) for n in application.inputs)
    if application.primitive in (lax.lt_p, lax.le_p):
        one, other = other, one
    strict = application.primitive in (lax.gt_p, lax.lt_p)
    if np.inf in (one[0], -other[1]) or np.inf in (-one[1], other[0]):
        live = application.inputs[application.live.index(True)]
        return _guard(application, live, np.inf in (one[0], -other[1]))
    if one[0] > other[1] or (one[0] == other[1] and not strict):
        return _known(application, True)
    if one[1] < other[0] or (one[1] == other[0] and strict):
        return _known(application, False)
    return Predicate()


def equality(application: Application) -> Role:
    """`z != z` is False (no NaN), and `|z| == inf` too, where `z` is proven finite."""
    unequal = application.primitive is lax.ne_p
    if application.inputs[0] == application.inputs[1]:
        return _guard(application, application.inputs[0], not unequal)
    for index in (0, 1):
        if not application.live[index]:
            constant = application.constant_of(application.inputs[index])
            if constant is None or not _jax.is_concrete(constant):
                continue
            if not np.isfinite(constant).any():
                return _guard(application, application.inputs[1 - index], unequal)
    return Refused(
        f"an equality {_JUMP}",
        "write it without: jnp.maximum(s, eps) or s + eps for jnp.where(s == 0, 1, s)",
    )


def finite(application: Application) -> Role:
    """`is_finite(z)` is True where that is proven; elsewhere the guard is refused."""
    return _guard(application, application.inputs[0], True)


def _guard(application: Application, number: int, value: bool) -> Role:
    """A test for NaN and infinity of a value: known where the value is finite.

    So it is within functions such as `jax.nn.logsumexp`, which guard themselves. Where
    an input makes the value overflow, the bound on rounding is infinite: nothing is
    proven there.
    """
    if is_finite(application, number) or application.guarded():
        return _known(application, value)
    return Refused(
        "a guard against NaN and infinity: that the value is always finite is not "
        "proven, so the guard is part of the function, which jumps there",
        "make the value finite before, and the guard idle: (z - z.mean()) / (z.std() + "
        "eps), jnp.log(jnp.maximum(z, eps)); or guard the input itself",
    )


def _known(application: Application, value: bool) -> Known:
    return Known(np.full(application.avals[0].shape, value))


def logical(application: Application) -> Role:
    """`not p`, `p and True`: truth values still; of two live values, refused."""
    if len(application.inputs) == 1:
        return Predicate()
    if not all(application.live):
        live = application.live.index(True)
        neutral = application.primitive is lax.and_p
        constant = np.asarray(application.constant(1 - live))
        if np.all(constant == neutral):
            return Same(live)
        if np.all(constant != neutral):
            return _known(application, not neutral)
    return Refused(
        "a connective of conditions on the input is not one sign",
        "write it with jnp.maximum and jnp.minimum",
    )


def angle(application: Application) -> Role:
    """`atan2(y, x) = atan(y / x)` where `x >= 0` is proven; else it has a cut."""
    if interval(application, application.inputs[1])[0] >= 0:
        return Rewrite(lambda y, x: lax.atan(y / x))
    return jump(application)


def jump(application: Application) -> Role:
    """Steps: no gate can be tangent to a jump."""
    return Refused(f"`{application.primitive}` {_JUMP}", *JUMPS[application.primitive])


def sign(application: Application) -> Role:
    """`sign(z)`: known where a sign is proven; `sign(z) g(z)` may have a rule."""
    low, high = interval(application, application.inputs[0])
    if low > 0 or high < 0:
        aval = application.avals[0]
        return Known(np.full(aval.shape, 1 if low > 0 else -1, aval.dtype))
    return jump(application)


_COMPARISONS = (lax.gt_p, lax.ge_p, lax.lt_p, lax.le_p)
_JUMPS = (
    lax.floor_p,
    lax.ceil_p,
    lax.round_p,
    lax.argmax_p,
    lax.argmin_p,
    lax.rem_p,
)

GATE_RULES: Rules = MappingProxyType(
    {
        lax.max_p: maximum,
        lax.min_p: minimum,
        lax.abs_p: absolute,
        lax.clamp_p: clamp,
        lax.eq_p: equality,
        lax.ne_p: equality,
        lax.is_finite_p: finite,
        lax.sign_p: sign,
        lax.atan2_p: angle,
        lax.not_p: logical,
        lax.and_p: logical,
        lax.or_p: logical,
        **dict.fromkeys(_COMPARISONS, comparison),
        **dict.fromkeys(_JUMPS, jump),
    }
)
