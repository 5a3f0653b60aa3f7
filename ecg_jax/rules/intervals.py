"""Bounds on values while a program grows: they prove a sign.

A logarithm is concave, and a reciprocal convex, only where the operand is known to be
positive; a comparison with a bound that holds for every input is no condition at all.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Application, Equation

Interval = tuple[float, float]

ANYTHING: Interval = (-np.inf, np.inf)
NONNEGATIVE: Interval = (0.0, np.inf)
_MAX_DEPTH = 32


def interval(
    application: Application, number: int, depth: int = _MAX_DEPTH
) -> Interval:
    """Bounds on all entries of a value, for every input."""
    key = (interval, number)
    if key not in application.notes:
        application.notes[key] = _interval(application, number, depth)
    return application.notes[key]


def _interval(application: Application, number: int, depth: int) -> Interval:
    if (value := application.constant_of(number)) is not None:
        return _range(value)
    if application.builder.avals[number].dtype == bool:
        return 0.0, 1.0
    eqn = application.definition(number)
    if eqn is None or depth == 0:
        return ANYTHING
    if isinstance(eqn.role, Gate) and eqn.role.bounds != ANYTHING:
        return eqn.role.bounds
    if eqn.body is not None and eqn.body.bounds:
        return eqn.body.bounds[eqn.outputs.index(number)]
    if eqn.primitive is lax.sub_p and _is_range(application, *eqn.inputs):
        return NONNEGATIVE
    if eqn.primitive not in _INTERVALS:
        return ANYTHING
    live = [n for n in eqn.inputs if application.constant_of(n) is None]
    known = {n: interval(application, n, depth - 1) for n in live}
    if eqn.primitive in _UNBOUNDED and ANYTHING in known.values():
        if eqn.primitive is not lax.mul_p or len(set(eqn.inputs)) > 1:
            return ANYTHING
    of = [known.get(n) or interval(application, n, depth - 1) for n in eqn.inputs]
    low, high = _INTERVALS[eqn.primitive](of, eqn)
    return (low, high) if low <= high else ANYTHING


def _is_range(application: Application, one: int, other: int) -> bool:
    """Whether two values are the largest and the smallest of the same entries."""
    while True:
        top, bottom = application.definition(one), application.definition(other)
        if top is None or bottom is None:
            return False
        if (top.primitive, bottom.primitive) == (lax.reduce_max_p, lax.reduce_min_p):
            alike = top.params["axes"] == bottom.params["axes"]
            return alike and top.inputs == bottom.inputs
        alike = top.primitive is bottom.primitive and top.params == bottom.params
        if not alike or top.primitive not in _SHAPED:
            return False
        one, other = top.inputs[0], bottom.inputs[0]


def _range(value: Any) -> Interval:
    if not _jax.is_concrete(value) or not np.size(value):
        return ANYTHING
    array = np.asarray(value)
    if array.dtype.kind == "c":
        return ANYTHING
    low, high = float(array.min()), float(array.max())
    return (low, high) if low <= high else ANYTHING


def widened(one: Interval, other: Interval) -> Interval:
    """Bounds on both; those of the first that do not hold are let go, by way of 0."""
    (low, high), (below, above) = one, other
    if below < low:
        low = 0.0 if below >= 0 else -np.inf
    if above > high:
        high = 0.0 if above <= 0 else np.inf
    return low, high


def is_nonnegative(application: Application, number: int) -> bool:
    """Whether a value is proven `>= 0` for every input."""
    return interval(application, number)[0] >= 0


def is_nonpositive(application: Application, number: int) -> bool:
    """Whether a value is proven `<= 0` for every input."""
    return interval(application, number)[1] <= 0


def is_finite(application: Application, number: int) -> bool:
    """Whether a value is finite for every finite input, short of overflow.

    No operation behind it divides by 0, or leaves the domain of a logarithm or a root.
    """
    builder, waiting, seen = application.builder, [number], set()
    while waiting:
        if (n := waiting.pop()) in seen:
            continue
        seen.add(n)
        if not jnp.issubdtype(builder.avals[n].dtype, jnp.floating):
            return False
        low, high = interval(application, n)
        if max(-low, high) < float(jnp.finfo(builder.avals[n].dtype).max) / 2:
            continue
        eqn = application.definition(n)
        if not builder.live[n]:
            value = application.constant_of(n)
            if value is None or not _jax.is_concrete(value):
                return False
            if not np.isfinite(np.asarray(value)).all():
                return False
        elif eqn is not None:
            if not _is_defined(application, eqn):
                return False
            waiting += _values(eqn)
    return True


def _values(eqn: Equation) -> tuple[int, ...]:
    """The operands that are values; the others say where, or which."""
    if eqn.primitive is lax.select_n_p:
        return eqn.inputs[1:]
    return eqn.inputs[:1] if eqn.primitive is lax.dynamic_slice_p else eqn.inputs


def _is_defined(application: Application, eqn: Equation) -> bool:
    """Whether an operation is defined at all values that its operands take."""
    if eqn.function is not None:
        return eqn.function.__module__.split(".")[0] in ("jax", "ecg_jax")
    if eqn.primitive not in _SOMEWHERE:
        return eqn.primitive in _EVERYWHERE
    of = eqn.inputs[-1 if eqn.primitive is lax.div_p else 0]
    low, high = interval(application, of)
    if eqn.primitive is lax.integer_pow_p and eqn.params["y"] >= 0:
        return True
    if eqn.primitive in (lax.div_p, lax.integer_pow_p):
        return low > 0 or high < 0
    if eqn.primitive is lax.sqrt_p:
        return low >= 0
    return low > (-1 if eqn.primitive is lax.log1p_p else 0)


_Bounds = Callable[[list[Interval], Equation], Interval]


def _hull(of: list[Interval], eqn: Equation) -> Interval:
    return min(low for low, _ in of), max(high for _, high in of)


def _first(of: list[Interval], eqn: Equation) -> Interval:
    return of[0]


def _cases(of: list[Interval], eqn: Equation) -> Interval:
    return _hull(of[1:], eqn)


def _taken(of: list[Interval], eqn: Equation) -> Interval:
    """Entries of an array; beyond its ends, what it is filled with, NaN by default."""
    fill = eqn.params.get("fill_value")
    return of[0] if fill is None else _hull([of[0], (fill, fill)], eqn)


def _times(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b


def _product(of: list[Interval], eqn: Equation) -> Interval:
    if eqn.inputs[0] == eqn.inputs[1]:
        return _square(of, eqn)
    corners = [_times(a, b) for a in of[0] for b in of[1]]
    return min(corners), max(corners)


def _quotient(of: list[Interval], eqn: Equation) -> Interval:
    if 0.0 in of[1]:
        return _contraction(of, eqn)
    if of[1][0] < 0 < of[1][1]:
        return ANYTHING
    inverse = (1 / of[1][1], 1 / of[1][0])
    corners = [_times(a, b) for a in of[0] for b in inverse]
    return min(corners), max(corners)


def _square(of: list[Interval], eqn: Equation) -> Interval:
    low, high = of[0]
    inner = 0.0 if low <= 0 <= high else min(low * low, high * high)
    return inner, max(low * low, high * high)


def _power(of: list[Interval], eqn: Equation) -> Interval:
    exponent = eqn.params["y"]
    if exponent % 2 == 0 or of[0][0] >= 0:
        return NONNEGATIVE
    return (-np.inf, 0.0) if of[0][1] <= 0 else ANYTHING


def _converted(of: list[Interval], eqn: Equation) -> Interval:
    """Rounding keeps the order."""
    dtype = eqn.params["new_dtype"]
    if not jnp.issubdtype(dtype, jnp.floating):
        return ANYTHING
    with np.errstate(all="ignore"):
        low, high = (float(np.asarray(bound).astype(dtype)) for bound in of[0])
    return low, high


def _total(of: list[Interval], eqn: Equation) -> Interval:
    """A sum of up to `n` entries; zeros may stand in the padding."""
    low, high = of[0]
    return (0.0 if low >= 0 else -np.inf), (0.0 if high <= 0 else np.inf)


def _contraction(of: list[Interval], eqn: Equation) -> Interval:
    signs = [1 if low >= 0 else -1 if high <= 0 else 0 for low, high in of[:2]]
    sign = signs[0] * signs[1]
    return (0.0, np.inf) if sign > 0 else (-np.inf, 0.0) if sign < 0 else ANYTHING


def _monotone(fn: Callable[[float], Any]) -> _Bounds:
    def bounds(of: list[Interval], eqn: Equation) -> Interval:
        with np.errstate(all="ignore"):
            low, high = (float(fn(v)) for v in of[0])
        return (
            -np.inf if np.isnan(low) else low,
            np.inf if np.isnan(high) else high,
        )

    return bounds


def _sign(of: list[Interval], eqn: Equation) -> Interval:
    return float(np.sign(of[0][0])), float(np.sign(of[0][1]))


def _root(of: list[Interval], eqn: Equation) -> Interval:
    low, high = (float(np.sqrt(max(v, 0.0))) for v in of[0])
    return low, high


def _within(low: float, high: float) -> _Bounds:
    return lambda of, eqn: (low, high)


_STACKS = _jax.optional_primitives("stack_p")
_INTERVALS: Mapping[Any, _Bounds] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                lax.reshape_p,
                lax.squeeze_p,
                lax.transpose_p,
                lax.broadcast_in_dim_p,
                lax.slice_p,
                lax.dynamic_slice_p,
                lax.rev_p,
                lax.reduce_max_p,
                lax.reduce_min_p,
                lax.reduce_window_max_p,
                lax.reduce_window_min_p,
                lax.cummax_p,
                lax.cummin_p,
                lax.split_p,
                lax.sort_p,
            ),
            _first,
        ),
        **dict.fromkeys((lax.concatenate_p, lax.pad_p, *_STACKS), _hull),
        lax.gather_p: _taken,
        lax.select_n_p: _cases,
        lax.convert_element_type_p: _converted,
        lax.neg_p: lambda of, eqn: (-of[0][1], -of[0][0]),
        lax.add_p: lambda of, eqn: (of[0][0] + of[1][0], of[0][1] + of[1][1]),
        lax.sub_p: lambda of, eqn: (of[0][0] - of[1][1], of[0][1] - of[1][0]),
        lax.mul_p: _product,
        lax.div_p: _quotient,
        lax.max_p: lambda of, eqn: (max(of[0][0], of[1][0]), max(of[0][1], of[1][1])),
        lax.min_p: lambda of, eqn: (min(of[0][0], of[1][0]), min(of[0][1], of[1][1])),
        lax.abs_p: _within(*NONNEGATIVE),
        lax.square_p: _square,
        lax.integer_pow_p: _power,
        lax.reduce_sum_p: _total,
        lax.reduce_window_sum_p: _total,
        lax.cumsum_p: _total,
        _jax.primitives.dot_general_p: _contraction,
        lax.conv_general_dilated_p: _contraction,
        lax.cosh_p: _within(1.0, np.inf),
        lax.exp_p: _monotone(np.exp),
        lax.exp2_p: _monotone(np.exp2),
        lax.expm1_p: _monotone(np.expm1),
        lax.log_p: _monotone(np.log),
        lax.log1p_p: _monotone(np.log1p),
        lax.sqrt_p: _root,
        lax.sign_p: _sign,
        lax.rsqrt_p: _within(*NONNEGATIVE),
    }
)
_SHAPED = (lax.reshape_p, lax.squeeze_p, lax.broadcast_in_dim_p)
_EVERYWHERE = frozenset(
    {
        *_SHAPED,
        *(lax.transpose_p, lax.slice_p, lax.dynamic_slice_p, lax.rev_p),
        *(lax.split_p, *_STACKS, lax.concatenate_p, lax.pad_p, lax.select_n_p),
        *(lax.add_p, lax.sub_p, lax.mul_p, lax.neg_p, lax.abs_p, lax.square_p),
        *(lax.max_p, lax.min_p, lax.reduce_max_p, lax.reduce_min_p, lax.sort_p),
        *(lax.cummax_p, lax.cummin_p, lax.cumsum_p, lax.reduce_sum_p),
        *(lax.reduce_window_max_p, lax.reduce_window_min_p, lax.reduce_window_sum_p),
        *(_jax.primitives.dot_general_p, lax.conv_general_dilated_p),
        *(lax.convert_element_type_p, lax.tanh_p, lax.logistic_p, lax.erf_p),
        *(lax.erfc_p, lax.sin_p, lax.cos_p, lax.atan_p, lax.asinh_p, lax.cbrt_p),
        *(lax.exp_p, lax.exp2_p, lax.expm1_p, lax.sinh_p, lax.cosh_p),
    }
)
"""What is finite wherever its operands are, or overflows."""
_SOMEWHERE = frozenset(
    {
        *(lax.div_p, lax.integer_pow_p, lax.rsqrt_p),
        *(lax.log_p, lax.log1p_p, lax.sqrt_p),
    }
)
"""What is so where the sign of an operand is proven."""
_UNBOUNDED = frozenset(
    {
        lax.add_p,
        lax.sub_p,
        lax.mul_p,
        lax.div_p,
        lax.conv_general_dilated_p,
        _jax.primitives.dot_general_p,
    }
)
