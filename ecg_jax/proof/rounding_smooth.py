"""How smooth functions carry rounding errors, and how their tangents do.

Curved and monotone functions need no derivative: chords at the ends of an interval
bound every change within it. A tangent's slopes are those of the tangent itself.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util

from ecg_jax.maxmin import Gate
from ecg_jax.proof.rounding_rules import Bounded, Bounds, Operation, RoundingRule

ULPS = 8
"""Units in the last place that elementary functions may be off (XLA on a CPU: 3.5)."""


def monotone(op: Operation) -> Bounds:
    """Of two evaluations within `2 e`: `|phi(z + 2 e) - phi(z - 2 e)|`."""
    low, high = _at(op, -2), _at(op, 2)
    return _rounded(op, jnp.abs(high - low), _larger(low, high))


def curved(op: Operation) -> Bounds:
    """Convex or concave `phi`: the steepest chords of length `e` are the outermost."""
    low, high = _at(op, -2), _at(op, 2)
    error = jnp.maximum(jnp.abs(high - _at(op, 1)), jnp.abs(_at(op, -1) - low))
    return _rounded(op, error, _larger(low, high))


def of_gate(op: Operation) -> Bounds:
    """Any gate of one value, unit by unit: `curved`, and the rounding of `z` too."""
    z = _operand(op)
    if np.shape(z.size) != np.shape(_at(op, 0)):
        raise op.refuse("its gate sees several values and has no rule of its own")
    (size,), (error,) = curved(op)
    return [size], [error + 6 * ULPS * op.unit * z.size]


def power(op: Operation) -> Bounds:
    """`z^n`: convex for even `n >= 0`, else where the sign is certain."""
    n = op.equation.params["y"]
    if n >= 0:
        return (curved if n % 2 == 0 else monotone)(op)
    sizes, (error,) = curved(op)
    (z,) = op.args
    return sizes, [jnp.where(jnp.abs(z.value) > 2 * z.slack, error, jnp.inf)]


def log_sum_exp(op: Operation) -> Bounds:
    """Softmax weights add up to 1: the largest error of all values."""
    zs = [arg for arg in op.args if arg.floating]
    if len(zs) == 1:
        error, size = jnp.max(zs[0].slack), jnp.max(zs[0].size)
        terms = np.size(zs[0].size)
    else:
        error = jnp.maximum(zs[0].slack, zs[1].slack)
        size, terms = jnp.maximum(zs[0].size, zs[1].size), 2
    size = size + math.log(terms) + 1
    return [size], [error + 6 * (ULPS * op.unit + op.gamma(terms)) * size]


def norm(op: Operation) -> Bounds:
    """`|z'| - |z|` is at most the norm of the errors."""
    (z,) = op.args
    size = jnp.sqrt(jnp.sum(jnp.square(z.size)))
    error = jnp.sqrt(jnp.sum(jnp.square(z.slack)))
    return [size], [error + 6 * (op.unit + op.gamma(np.size(z.size))) * size]


def modulus(op: Operation) -> Bounds:
    """`|re + i im|`: 1-Lipschitz in the pair, by the triangle inequality."""
    re, im = op.args
    size = re.size + im.size
    return [size], [re.slack + im.slack + 6 * ULPS * op.unit * size + op.tiny]


def tangent(op: Operation, pattern: Any) -> Bounds:
    """`T_a(z) = phi(a) + <s, z - a>`: `e' = |s| e + c u (|phi(a)| + |s| |z - a|)`.

    Holds for gates that act unit by unit and for those of all values to one. Behind an
    opened gate, where no value is known, `|z - a| <= |z| + |a|`.
    """
    gate = op.equation.role
    assert isinstance(gate, Gate)
    zs = gate.live(op.args)
    anchors = tree_util.tree_leaves(pattern)
    if not all(jnp.issubdtype(jnp.result_type(a), jnp.floating) for a in anchors):
        anchors = [jnp.zeros_like(z.size) for z in zs]
    value, back = jax.vjp(lambda *z: gate.tangent(pattern, *z), *anchors)
    slopes = [jnp.abs(slope) for slope in back(jnp.ones_like(value))]
    error, length = jnp.zeros_like(value), jnp.abs(gate.apply(*anchors))
    for z, slope, anchor in zip(zs, slopes, anchors, strict=True):
        if z.value is None:
            step = z.size + jnp.abs(anchor) + 2 * z.slack
        else:
            step = jnp.abs(z.value - anchor) + 2 * z.slack
        moved, far = slope * z.slack, slope * step * (1 + jnp.abs(anchor))
        if np.shape(z.size) != np.shape(value):
            if np.shape(value):
                raise op.refuse("its tangent is neither unit by unit nor of all values")
            moved, far = jnp.sum(moved), jnp.sum(far)
        error, length = error + moved, length + far
    terms = max(np.size(z.size) for z in zs) if np.shape(value) == () else 1
    error = error + 6 * (ULPS * op.unit + op.gamma(terms)) * length + op.tiny
    return [length], [jnp.where(jnp.isnan(error), jnp.inf, error)]


def _operand(op: Operation) -> Bounded:
    role = op.equation.role
    zs = role.live(op.args) if isinstance(role, Gate) else op.args
    if len(zs) != 1:
        raise op.refuse("it sees several values and has no rule of its own")
    if zs[0].value is None:
        raise op.refuse("its operand lies behind an opened gate")
    return zs[0]


def _at(op: Operation, errors: int) -> Any:
    """`phi` so many errors away."""
    z, role = _operand(op), op.equation.role
    value = z.value + errors * z.slack * (1 + op.gamma(2))
    return role.apply(value) if isinstance(role, Gate) else op.apply(value)[0]


def _larger(low: Any, high: Any) -> Any:
    return jnp.maximum(jnp.abs(low), jnp.abs(high))


def _rounded(op: Operation, error: Any, size: Any) -> Bounds:
    """Adds what three evaluations may be off; NaN, out of the domain: infinite."""
    ulps = 1 if op.equation.primitive in _ACCURATE else ULPS
    powers = op.equation.params.get("y", 1)
    ulps *= max(1, abs(powers)) if isinstance(powers, int) else 1
    error = error + 6 * ulps * op.unit * size + op.tiny
    return [size], [jnp.where(jnp.isnan(error), jnp.inf, error)]


_MONOTONE = (lax.tanh_p, lax.logistic_p, lax.erf_p, lax.cbrt_p, lax.sinh_p)
_CURVED = (
    lax.exp_p,
    lax.exp2_p,
    lax.expm1_p,
    lax.log_p,
    lax.log1p_p,
    lax.sqrt_p,
    lax.rsqrt_p,
    lax.square_p,
    lax.cosh_p,
)
_ACCURATE = (lax.sqrt_p, lax.square_p, lax.integer_pow_p)

SMOOTH_ROUNDING: Mapping[Any, RoundingRule] = MappingProxyType(
    {
        **dict.fromkeys(_MONOTONE, monotone),
        **dict.fromkeys(_CURVED, curved),
        lax.integer_pow_p: power,
        "softplus": curved,
        "elu": curved,
        "logaddexp": log_sum_exp,
        "logsumexp": log_sum_exp,
        "norm": norm,
        "modulus": modulus,
    }
)
"""By primitive; gates that are named functions by the name of the gate."""
