"""Smooth gates: convex or concave functions, frozen to their tangents.

`T_a(z) = phi(a) + phi'(a) (z - a)` lies below a convex `phi` and above a concave one,
and meets it at the anchor `a`, which is the pattern. The derivative is JAX's own of
the very function that is applied, so value and slope cannot disagree.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import (
    Affine,
    Application,
    Refused,
    Rewrite,
    Role,
    Rule,
    Rules,
)
from ecg_jax.rules.intervals import NONNEGATIVE, interval
from ecg_jax.rules.why_refused import of_sign


def tangent_gate(
    name: str,
    fn: Callable[..., Array],
    curvature: Any,
    operands: tuple[int, ...] = (0,),
    fill: float = 0.0,
    hidden: float = 0.0,
    level: float = 0.0,
    **fields: Any,
) -> Gate:
    """A convex (`curvature` +1) or concave (-1) function as a gate.

    Args:
      name: how texts call it.
      fn: the function of the operands that see the input; convex or concave in all of
        them together, where `jax.jvp` gives a subgradient.
      curvature: +1 or -1; a number, or an array over the units.
      operands: which operands of the equation see the input.
      fill: a safe anchor for units that are not frozen.
      hidden: `fn` adds up terms as large as `hidden |z|`, which may leave less.
      level: `fn` adds up numbers as large as this, which may leave less.
      **fields: further fields of the gate.

    Returns:
      The gate; its pattern is the anchor's operand, a tuple of several.
    """

    def pattern(*z: Array) -> Any:
        return z if len(z) > 1 else next(iter(z))

    def line(anchor: Any, steps: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Any:
        at = anchor if isinstance(anchor, tuple) else (anchor,)
        at = tuple(map(jnp.asarray, at))
        return jax.jvp(fn, at, steps(at))

    def terms(anchor: Any, *z: Array) -> Any:
        return line(anchor, lambda at: tuple(map(lax.sub, z, at)))

    def tangent(anchor: Any, *z: Array) -> Array:
        value, change = terms(anchor, *z)
        return value + change

    def size(anchor: Any, *z: Array) -> Array:
        value, change = terms(anchor, *z)
        size = jnp.abs(value) + jnp.abs(change) + level
        return size + hidden * (jnp.abs(z[0]) + jnp.abs(anchor)) if hidden else size

    def defined(anchor: Any) -> Array:
        value, slope = line(anchor, lambda at: tuple(map(jnp.ones_like, at)))
        return jnp.isfinite(value) & jnp.isfinite(slope)

    return Gate(
        name=name,
        operands=operands,
        curvature=curvature,
        apply=fn,
        pattern=pattern,
        tangent=tangent,
        fill=fill,
        defined=defined,
        size=size,
        **{"elementwise": True, **fields},
    )


def with_slope(
    fn: Callable[[Array], Array], slope: Callable[[Array], Array]
) -> Callable[[Array], Array]:
    """The same function with another derivative."""
    own = jax.custom_jvp(fn)
    own.defjvps(lambda step, _, z: slope(z) * step)
    return own


def smooth(
    curvature: int,
    fill: float = 0.0,
    slope: Callable[[Array], Array] | None = None,
    **fields: Any,
) -> Rule:
    """The rule of a primitive that is convex (+1) or concave (-1) everywhere.

    `slope` is its derivative, where JAX's own has lost digits.
    """

    def rule(application: Application) -> Role:
        fn = _bound(application)
        fn = fn if slope is None else with_slope(fn, slope)
        return tangent_gate(
            str(application.primitive), fn, curvature, fill=fill, **fields
        )

    return rule


def named(
    fn: Callable[[Any], Any], curvature: int, fill: float = 0.0, **fields: Any
) -> Rule:
    """The rule of a named function of one operand, convex or concave everywhere."""

    def rule(application: Application) -> Role:
        if application.live != (True,):
            return Refused("a parameter that is an operand of its own")
        return tangent_gate(fn.__name__, fn, curvature, fill=fill, **fields)

    return rule


def _bound(application: Application) -> Callable[[Array], Array]:
    """The primitive with its parameters, as a function."""
    return lambda z: application.primitive.bind(z, **application.params)


def on_positive(curvature: int, below: int = 0, smooth_at_0: bool = True) -> Rule:
    """The rule of a primitive with one curvature for `z >= 0`.

    Args:
      curvature: for `z >= 0`, +1 convex or -1 concave.
      below: for `z <= 0`; 0 where the function is not defined there.
      smooth_at_0: `phi(0) = 0` with a finite slope there; then, without a proven
        sign, `phi(z) = phi(max(z, 0)) + phi(min(z, 0))`.
    """

    def rule(application: Application) -> Role:
        low, high = interval(application, application.inputs[0])
        name, apply = str(application.primitive), _bound(application)
        if low >= 0:
            return tangent_gate(name, apply, curvature, fill=1.0)
        if high <= 0 and below:
            return tangent_gate(name, apply, below, fill=-1.0)
        if below and smooth_at_0:
            return Rewrite(lambda z: apply(_positive(z)) + apply(_negative(z)))
        return of_sign(application)

    return rule


def logarithm1p(application: Application) -> Role:
    """`log(1 + z)`: concave where `z >= -1` is proven."""
    if interval(application, application.inputs[0])[0] < -1:
        return of_sign(application)
    return tangent_gate("log1p", lax.log1p, -1)


def _positive(z: Array) -> Array:
    return jnp.maximum(z, 0)


def _negative(z: Array) -> Array:
    return jnp.minimum(z, 0)


def integer_power(application: Application) -> Role:
    """`z^n`: convex for even `n >= 2`; odd powers are split at zero.

    `z^3 = max(z, 0)^3 + min(z, 0)^3`; negative powers need a sign that is proven.
    """
    n = application.params["y"]
    if n == 1:
        return Affine()
    if n == 0:
        return Rewrite(jnp.ones_like)

    def apply(z: Array) -> Array:
        return lax.integer_pow(z, n)

    even = n % 2 == 0
    if n > 0 and even:
        return tangent_gate("integer_pow", apply, 1)
    low, high = interval(application, application.inputs[0])
    if low >= 0:
        return tangent_gate("integer_pow", apply, 1, fill=1.0)
    if high <= 0:
        return tangent_gate("integer_pow", apply, 1 if even else -1, fill=-1.0)
    if n < 0:
        return of_sign(application)
    return Rewrite(lambda z: apply(_positive(z)) + apply(_negative(z)))


def power(application: Application) -> Role:
    """`z^p`, `p` constant: convex for `p >= 1` and `p <= 0`, else concave; `z >= 0`.

    `c^z` is convex for a constant `c > 0`.
    """
    if all(application.live):
        return Refused("a power whose base and exponent both depend on the input")
    index = application.live.index(True)
    low, high = interval(application, application.inputs[1 - index])
    constant = application.constant(1 - index)

    def apply(z: Array) -> Array:
        return lax.pow(z, constant) if index == 0 else lax.pow(constant, z)

    if index == 1:
        if low <= 0:
            return Refused("a power of a base that is not positive")
        return tangent_gate("pow", apply, 1, (1,))
    if low == high == 1:
        return Rewrite(lambda z, p: z)
    if low == high and low == int(low) and abs(low) < 2**31:
        return Rewrite(lambda z, p: lax.integer_pow(z, int(low)))
    if interval(application, application.inputs[0])[0] < 0:
        return of_sign(application)
    if low >= 1 or high <= 0:
        return tangent_gate("pow", apply, 1, fill=1.0)
    if low >= 0 and high <= 1:
        return tangent_gate("pow", apply, -1, fill=1.0)
    return Refused("a power with exponents on both sides of 1")


def log_add_exp(application: Application) -> Role:
    """`log(e^y + e^z)`: convex in both together; slopes are their softmax weights."""
    if not any(application.known):
        shapes = {aval.shape for aval in application.avals}
        if len(shapes) > 1:
            return Refused("operands of several shapes")
        return tangent_gate(
            "logaddexp",
            jnp.logaddexp,
            1,
            (0, 1),
            lipschitz=1.0,
            errors="largest",
        )
    live = application.live.index(True)
    other = np.asarray(application.constant(1 - live), application.avals[live].dtype)
    if np.shape(other) not in ((), application.avals[live].shape):
        return Refused("operands of several shapes")
    return tangent_gate("logaddexp", lambda z: jnp.logaddexp(z, other), 1, (live,))


def log_sum_exp(application: Application) -> Role:
    """`log sum_i e^{z_i}` over all axes: convex; slopes are the softmax weights."""
    return _of_all(
        "logsumexp", _log_sum_exp, application, lipschitz=1.0, errors="largest"
    )


def norm(application: Application) -> Role:
    """`|z|_2` over all axes: convex; at 0 it has no tangent here."""
    return _of_all(
        "norm",
        jnp.linalg.norm,
        application,
        fill=1.0,
        lipschitz=1.0,
        errors="norm",
        bounds=NONNEGATIVE,
    )


def _of_all(
    name: str,
    fn: Callable[[Any], Any],
    application: Application,
    fill: float = 0.0,
    **fields: Any,
) -> Role:
    if len(application.inputs) != 1:
        return Refused("only over all axes and without weights")
    return tangent_gate(name, fn, 1, fill=fill, elementwise=False, **fields)


def _elu(fn: Callable[[Array], Array], alpha: Any) -> Gate:
    def slope(z: Array) -> Array:
        return jnp.where(z > 0, 1, alpha * jnp.exp(_negative(z)))

    lowest = -float(np.max(alpha, initial=0.0))
    return tangent_gate("elu", with_slope(fn, slope), 1, bounds=(lowest, np.inf))


def elu(application: Application) -> Role:
    """`z` for `z > 0`, else `alpha (e^z - 1)`: convex for `0 <= alpha <= 1`.

    For a larger alpha, `max(z, 0) + alpha (e^min(z, 0) - 1)`: three gates.
    """
    if len(application.inputs) == 1:
        return _elu(lambda z: jax.nn.elu(z), 1.0)
    if application.live != (True, False):
        return Refused("an elu whose alpha depends on the input")
    low, high = interval(application, application.inputs[1])
    if 0 <= low and high <= 1 and application.known[1]:
        alpha = np.asarray(application.constant(1), application.avals[0].dtype)
        return _elu(lambda z: jax.nn.elu(z, alpha), alpha)

    def split(z: Array, alpha: Array) -> Array:
        alpha = lax.convert_element_type(alpha, z.dtype)
        return _positive(z) + alpha * lax.expm1(_negative(z))

    return Rewrite(split)


_log_sum_exp = jax.jit(jax.nn.logsumexp)

SMOOTH_RULES: Rules = MappingProxyType(
    {
        lax.exp_p: smooth(+1),
        lax.exp2_p: smooth(+1),
        lax.expm1_p: smooth(+1, slope=lax.exp),
        lax.square_p: smooth(+1),
        lax.cosh_p: smooth(+1),
        jax.nn.softplus: named(jax.nn.softplus, +1, bounds=NONNEGATIVE),
        jax.nn.squareplus: named(jax.nn.squareplus, +1, hidden=1.0, bounds=NONNEGATIVE),
        jax.nn.sparse_plus: named(jax.nn.sparse_plus, +1, bounds=NONNEGATIVE),
        lax.log_p: on_positive(-1),
        lax.log1p_p: logarithm1p,
        lax.sqrt_p: on_positive(-1),
        lax.rsqrt_p: on_positive(+1),
        lax.cbrt_p: on_positive(-1, +1, smooth_at_0=False),
        lax.sinh_p: on_positive(+1, -1),
        lax.integer_pow_p: integer_power,
        lax.pow_p: power,
        jnp.logaddexp: log_add_exp,
        jax.nn.logsumexp: log_sum_exp,
        jnp.linalg.norm: norm,
        jax.nn.elu: elu,
    }
)
