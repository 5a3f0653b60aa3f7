"""How smooth functions carry rounding errors, and how their tangents do.

Curved and monotone functions need no derivative: chords at the ends of an interval
bound every change within it. A tangent's slopes are those of the tangent itself.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util

from ecg_jax.program.gates import ULPS, Gate
from ecg_jax.proof.rounding_rules import Bounded, Bounds, Operation, RoundingRule


def monotone(op: Operation) -> Bounds:
    """Of two evaluations within `2 e`: `|phi(z + 2 e) - phi(z - 2 e)|`."""
    low, high = _at(op, -2), _at(op, 2)
    return _rounded(op, jnp.abs(high - low), _larger(low, high))


def sigmoidal(op: Operation) -> Bounds:
    """Rising (or falling) and steepest at 0, alike on both sides, such as tanh.

    Any evaluation of `z` is within `e` of the exact one, which is within `e` of this
    one: of all chords of length `e` about points within `1.5 e` the steepest is that
    about the point nearest to 0.
    """
    z = _operand(op)
    low, high = _at(op, -2), _at(op, 2)
    slack = z.slack * (1 + op.gamma(4))
    # The ends of the chord are rounded.
    length = jnp.where(slack > 0, slack + 8 * op.unit * z.size + op.tiny, 0)
    middle = jnp.sign(z.value) * jnp.maximum(jnp.abs(z.value) - 1.5 * length, 0)
    ends = (_of(op, middle + sign * length / 2) for sign in (-1, 1))
    chord = jnp.abs(jnp.subtract(*ends))
    error = jnp.minimum(chord, jnp.abs(high - low))
    error = jnp.where(jnp.isfinite(slack), error, jnp.abs(high - low))
    return _rounded(op, error, _larger(low, high))


def curved(op: Operation) -> Bounds:
    """Convex or concave `phi`: the steepest chords of length `e` are the outermost."""
    low, high = _at(op, -2), _at(op, 2)
    error = jnp.maximum(jnp.abs(high - _at(op, 1)), jnp.abs(_at(op, -1) - low))
    return _rounded(op, error, _larger(low, high))


def of_gate(op: Operation) -> Bounds:
    """Any gate: what its errors are measured by times its Lipschitz constant.

    Without a constant it is convex or concave, unit by unit: `curved`, and the rounding
    of `z` too.
    """
    gate = op.equation.role
    assert isinstance(gate, Gate)
    if gate.lipschitz is not None:
        return _lipschitz(op, gate, gate.lipschitz)
    z = _operand(op)
    if not gate.elementwise or np.shape(z.size) != np.shape(_at(op, 0)):
        raise op.refuse("its gate sees several values and has no rule of its own")
    (size,), (error,) = curved(op)
    return [size], [error + 6 * ULPS * op.unit * z.size]


def _lipschitz(op: Operation, gate: Gate, constant: float) -> Bounds:
    """`|phi(z') - phi(z)| <= L |e|`, and what the gate itself rounds."""
    own = [index in gate.operands for index in range(len(op.args))]
    seen = [(arg, live) for arg, live in zip(op.args, own, strict=True) if arg.floating]
    zs = [z for z, _ in seen]
    if any(z.value is None for z in zs):
        raise op.refuse("its operand lies behind an opened gate")
    out = jnp.abs(jnp.asarray(gate.apply(*gate.live([a.value for a in op.args]))))
    if gate.errors == "own":
        error = sum(_of_unit(z.slack, out, live) for z, live in seen)
        sizes = sum(_of_unit(z.size, out, live) for z, live in seen)
        terms = 1
    else:
        whole = jnp.concatenate([jnp.ravel(z.slack) for z in zs])
        sizes = jnp.concatenate([jnp.ravel(z.size) for z in zs])
        norm = gate.errors == "norm"
        error = jnp.sqrt(jnp.sum(whole**2)) if norm else jnp.max(whole)
        sizes = jnp.sqrt(jnp.sum(sizes**2)) if norm else jnp.max(sizes)
        terms = int(np.size(whole))
    size, summed = out + constant * error, constant * sizes
    if gate.size is not None and gate.elementwise:
        values = gate.live([a.value for a in op.args])
        summed = summed + gate.size(gate.pattern(*values), *values)
    rounded = 6 * (ULPS * op.unit + op.gamma(terms)) * (size + summed)
    error = jnp.broadcast_to(constant * error + rounded + op.tiny, out.shape)
    return [size], [error]


def _of_unit(bound: Any, out: Any, live: bool) -> Any:
    """A bound for each unit: of constants that all units see (knots), the largest."""
    whole = not live and np.shape(bound) not in ((), out.shape)
    return jnp.broadcast_to(jnp.max(bound) if whole else bound, out.shape)


def power(op: Operation) -> Bounds:
    """`z^n`: convex for even `n >= 0`, else where the sign is certain."""
    n = op.equation.params["y"]
    if n >= 0:
        return (curved if n % 2 == 0 else monotone)(op)
    sizes, (error,) = curved(op)
    (z,) = op.args
    return sizes, [jnp.where(jnp.abs(z.value) > 2 * z.slack, error, jnp.inf)]


def tangent(op: Operation, entry: Any) -> Bounds:
    """A gate frozen as `entry` says: `e' = |s| e + c u (|phi(a)| + |s| |z - a|)`.

    `s` are its slopes and `phi(a)` its value at the anchor. Holds for gates that act
    unit by unit and for those of all values to one. Behind an opened gate, where no
    value is known, `|z - a| <= |z| + |a|`. Of a difference of convex functions the two
    anchors may differ; then what their slopes differ by counts for both.
    """
    gate = op.equation.role
    assert isinstance(gate, Gate)
    zs = gate.live(op.args)
    if gate.split is not None and gate.split.moves is not None:
        return _moved(op, gate, entry, gate.split.moves, zs)
    pattern, *others = entry if gate.split is not None else (entry,)
    anchors = tree_util.tree_leaves(pattern)
    if not all(jnp.issubdtype(jnp.result_type(a), jnp.floating) for a in anchors):
        anchors = [jnp.zeros_like(z.size) for z in zs]
        others = []
    value, back = jax.vjp(lambda *z: gate.frozen(entry, *z), *anchors)
    slopes = [jnp.abs(slope) for slope in back(jnp.ones_like(value))]
    error, length = jnp.zeros_like(value), jnp.abs(gate.apply(*anchors))
    if gate.size is not None and gate.elementwise:
        length = length + gate.size(pattern, *anchors)
    for other in others:
        own, back = jax.vjp(lambda *z: gate.tangent(pattern, *z), *anchors)
        more = [jnp.abs(slope) for slope in back(jnp.ones_like(own))]
        slopes = [s + 2 * m for s, m in zip(slopes, more, strict=True)]
        far = sum(
            jnp.abs(a) + jnp.abs(b) for a, b in zip(anchors, [other], strict=True)
        )
        length = length + jnp.abs(value) + slopes[0] * far
    if gate.split is not None and all(z.value is not None for z in zs):
        values = [z.value for z in zs]
        length = length + sum(gate.split.size(p, *values) for p in entry)
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


def _moved(
    op: Operation,
    gate: Gate,
    entry: Any,
    moves: Callable[..., Any],
    zs: Sequence[Bounded],
) -> Bounds:
    """A selected entry, and the entries that two anchors' sums differ by."""

    def both(*e: Any) -> Any:
        return gate.tangent(entry[0], *e) + moves(*entry, *e)

    size, error = both(*(z.size for z in zs)), both(*(z.slack for z in zs))
    terms = max(np.size(z.size) for z in zs)
    return [size], [error + op.gamma(terms) * size + op.tiny]


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
    z = _operand(op)
    return _of(op, z.value + errors * z.slack * (1 + op.gamma(2)))


def _of(op: Operation, value: Any) -> Any:
    """`phi` of a value in place of its operand."""
    role = op.equation.role
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


_SIGMOIDAL = (
    lax.tanh_p,
    lax.logistic_p,
    lax.erf_p,
    lax.erfc_p,
    lax.atan_p,
    lax.asinh_p,
)
_MONOTONE = (lax.cbrt_p, lax.sinh_p)
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
        **dict.fromkeys(_SIGMOIDAL, sigmoidal),
        **dict.fromkeys(_MONOTONE, monotone),
        **dict.fromkeys(_CURVED, curved),
        lax.integer_pow_p: power,
    }
)
