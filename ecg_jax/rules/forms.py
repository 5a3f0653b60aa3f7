"""What is known of a value while a program grows: its affine form and its interval.

A **form** writes a value as `sum_i c_i * base_i + c`, entry by entry, with constant
coefficients: it tells whether two cases of a selection meet where their condition
changes. An **interval** bounds all entries of a value: it proves a sign.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from jax import lax

from ecg_jax import _jax
from ecg_jax.maxmin import Gate
from ecg_jax.program import Affine, Application, Equation

Form = Mapping[int | None, Any]
Interval = tuple[float, float]

_MAX_DEPTH = 32
ANYTHING: Interval = (-np.inf, np.inf)
NONNEGATIVE: Interval = (0.0, np.inf)


class Forms:
    """Values as `sum_i c_i * base_i + c`; the constant's key is None."""

    def __init__(self, application: Application):
        self.application = application
        self._known: dict[int, Form] = {}

    def difference(self, one: int, other: int) -> Form:
        """The form of `one - other`."""
        return _added(self.of(one), self.of(other), -1.0)

    def of(self, number: int, depth: int = _MAX_DEPTH) -> Form:
        """The form of a value; a value that is no sum or multiple is its own base."""
        if number not in self._known:
            self._known[number] = self._form(number, depth)
        return self._known[number]

    def _form(self, number: int, depth: int) -> Form:
        value = _concrete(self.application, number)
        if value is not None:
            return {None: value}
        eqn = self.application.definition(number)
        if depth and eqn is not None and isinstance(eqn.role, Affine):
            if eqn.primitive in (lax.add_p, lax.sub_p):
                sign = 1.0 if eqn.primitive is lax.add_p else -1.0
                one, other = (self.of(n, depth - 1) for n in eqn.inputs)
                return _added(one, other, sign)
            if eqn.primitive is lax.neg_p:
                return _scaled(self.of(eqn.inputs[0], depth - 1), -1.0)
            if eqn.primitive in (lax.mul_p, lax.div_p):
                return self._product(eqn, depth) or {number: np.float64(1.0)}
            if eqn.primitive is lax.select_n_p and len(eqn.inputs) == 3:
                return self._selected(eqn, depth) or {number: np.float64(1.0)}
        return {number: np.float64(1.0)}

    def _product(self, eqn: Equation, depth: int) -> Form | None:
        for live, other in ((0, 1), (1, 0)):
            factor = _concrete(self.application, eqn.inputs[other])
            if factor is not None:
                form = self.of(eqn.inputs[live], depth - 1)
                if eqn.primitive is lax.div_p:
                    return {k: c / factor for k, c in form.items()}
                return _scaled(form, factor)
        return None

    def _selected(self, eqn: Equation, depth: int) -> Form | None:
        mask = self.application.constant_of(eqn.inputs[0])
        if mask is None or not _jax.is_concrete(mask):
            return None
        off, on = (self.of(n, depth - 1) for n in eqn.inputs[1:])
        return {k: np.where(mask, on.get(k, 0.0), off.get(k, 0.0)) for k in {*on, *off}}


def _concrete(application: Application, number: int) -> Any:
    """The constant value, in float64; None if it sees the input or is traced."""
    value = application.constant_of(number)
    if value is None or not _jax.is_concrete(value):
        return None
    return np.asarray(value, np.float64)


def _added(one: Form, other: Form, sign: float) -> Form:
    return {k: one.get(k, 0.0) + sign * other.get(k, 0.0) for k in {*one, *other}}


def _scaled(form: Form, factor: Any) -> Form:
    return {k: c * factor for k, c in form.items()}


def line(form: Form, test: Form, dtype: Any) -> tuple[Any, Any, Any]:
    """`k, c` with `form == k * test + c`, and for which entries there are such.

    Both were added up in float64 from constants of the program, which were rounded
    to `dtype`: coefficients may differ by a few units in its last place. Where the
    test does not see the input, `k` is 0.
    """
    bases = [key for key in {*form, *test} if key is not None]
    shape = np.broadcast_shapes(*map(np.shape, (*form.values(), *test.values())))

    def stack(f: Form, keys: list[int | None]) -> Any:
        return np.stack([np.broadcast_to(f.get(key, 0.0), shape) for key in keys])

    top, bottom = stack(form, [None, *bases])[1:], stack(test, [None, *bases])[1:]
    k = np.zeros((1, *shape))
    if bases:
        best = np.argmax(np.abs(bottom), axis=0)[None]
        divisor = np.take_along_axis(bottom, best, 0)
        safe = np.where(divisor == 0, 1, divisor)
        k = np.where(divisor == 0, 0, np.take_along_axis(top, best, 0) / safe)
    tolerance = 8 * float(np.finfo(dtype).eps)
    size = np.abs(top) + np.abs(k * bottom)
    fits = np.all(np.abs(top - k * bottom) <= tolerance * size, axis=0)
    offset = stack(form, [None])
    c = offset - k * stack(test, [None])
    c = np.where(np.abs(c) <= tolerance * np.abs(offset), 0.0, c)
    return k[0], c[0], fits


def interval(
    application: Application, number: int, depth: int = _MAX_DEPTH
) -> Interval:
    """Bounds on all entries of a value, for every input."""
    key = (interval, number)
    if key not in application.notes:
        application.notes[key] = _interval(application, number, depth)
    return application.notes[key]


def _interval(application: Application, number: int, depth: int) -> Interval:
    if application.constant_of(number) is not None:
        value = _concrete(application, number)
        if value is None or not value.size or np.isnan(value).any():
            return ANYTHING
        return float(value.min()), float(value.max())
    eqn = application.definition(number)
    if eqn is None or depth == 0:
        return ANYTHING
    if isinstance(eqn.role, Gate) and eqn.role.name in _NAMED:
        return _NAMED[eqn.role.name]
    if eqn.primitive not in _INTERVALS:
        return ANYTHING
    of = [interval(application, n, depth - 1) for n in eqn.inputs]
    low, high = _INTERVALS[eqn.primitive](of, eqn)
    return (low, high) if low <= high else ANYTHING


def is_nonnegative(application: Application, number: int) -> bool:
    """Whether a value is proven `>= 0` for every input."""
    return interval(application, number)[0] >= 0


def is_nonpositive(application: Application, number: int) -> bool:
    """Whether a value is proven `<= 0` for every input."""
    return interval(application, number)[1] <= 0


_Bounds = Callable[[list[Interval], Equation], Interval]


def _hull(of: list[Interval], eqn: Equation) -> Interval:
    return min(low for low, _ in of), max(high for _, high in of)


def _first(of: list[Interval], eqn: Equation) -> Interval:
    return of[0]


def _cases(of: list[Interval], eqn: Equation) -> Interval:
    return _hull(of[1:], eqn)


def _times(a: float, b: float) -> float:
    return 0.0 if 0.0 in (a, b) else a * b


def _product(of: list[Interval], eqn: Equation) -> Interval:
    if eqn.inputs[0] == eqn.inputs[1]:
        return _square(of, eqn)
    corners = [_times(a, b) for a in of[0] for b in of[1]]
    return min(corners), max(corners)


def _quotient(of: list[Interval], eqn: Equation) -> Interval:
    if of[1][0] <= 0 <= of[1][1]:
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


def _within(low: float, high: float) -> _Bounds:
    return lambda of, eqn: (low, high)


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
        **dict.fromkeys((lax.concatenate_p, lax.pad_p), _hull),
        lax.select_n_p: _cases,
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
        lax.exp_p: _monotone(np.exp),
        lax.exp2_p: _monotone(np.exp2),
        lax.expm1_p: _monotone(np.expm1),
        lax.log_p: _monotone(np.log),
        lax.log1p_p: _monotone(np.log1p),
        lax.sqrt_p: _monotone(np.sqrt),
        lax.rsqrt_p: _within(*NONNEGATIVE),
    }
)
_NAMED: Mapping[str, Interval] = MappingProxyType(
    dict.fromkeys(("softplus", "squareplus", "sparse_plus", "norm"), NONNEGATIVE)
)
