"""Piecewise linear gates: max, min, abs, clamp, select on its own sign.

Each stores masks or winners; a tangent selects with a constant mask, so it is affine.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.maxmin import Gate
from ecg_jax.program import (
    Affine,
    Application,
    Equation,
    Known,
    Predicate,
    Refused,
    Rewrite,
    Role,
    Rules,
)

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
    bind = lax.max if sign > 0 else lax.min
    if application.inputs[0] == application.inputs[1]:
        return Rewrite(lambda z, _: z)
    if all(application.live):
        return Gate(
            name="max" if sign > 0 else "min",
            operands=(0, 1),
            curvature=sign,
            apply=bind,
            pattern=lambda y, z: y >= z if sign > 0 else y <= z,
            tangent=jnp.where,
        )
    live = application.live.index(True)
    c = application.constant(1 - live)
    return Gate(
        name="max" if sign > 0 else "min",
        operands=(live,),
        curvature=sign,
        apply=lambda z: bind(z, c),
        pattern=lambda z: jnp.broadcast_to(
            z > c if sign > 0 else z < c, jnp.broadcast_shapes(z.shape, np.shape(c))
        ),
        tangent=lambda p, z: jnp.where(p, z, c),
    )


def absolute(application: Application) -> Role:
    """`|z| = max(z, -z)`: convex; the mask is `[z > 0]`."""
    return Gate(
        name="abs",
        operands=(0,),
        curvature=1,
        apply=lax.abs,
        pattern=lambda z: z > 0,
        tangent=lambda p, z: jnp.where(p, z, -z),
    )


def clamp(application: Application) -> Role:
    """`clamp(lo, z, hi) = min(max(z, lo), hi)`: two gates, one after the other."""
    if application.live[0] or application.live[2]:
        return Refused("a clamp with a bound that depends on the input")
    return Rewrite(lambda lo, z, hi: lax.min(lax.max(z, lo), hi))


def comparison(application: Application) -> Role:
    """`y > z`: a truth value; `select_n` may read it."""
    return Predicate()


def equality(application: Application) -> Role:
    """`z != z` is False (no NaN), and `|z| == inf` too, for every finite input."""
    unequal = application.primitive is lax.ne_p
    if application.inputs[0] == application.inputs[1]:
        return _known(application, not unequal)
    for index in (0, 1):
        if not application.live[index]:
            if np.all(~np.isfinite(np.asarray(application.constant(index)))):
                return _known(application, unequal)
    return Refused(f"an equality {_JUMP}")


def finite(application: Application) -> Role:
    """`is_finite(z)` is True: the equation is claimed for finite values."""
    return _known(application, True)


def _known(application: Application, value: bool) -> Known:
    return Known(np.full(application.avals[0].shape, value))


def logical(application: Application) -> Role:
    """`not p`: a truth value still; other connectives of live values are refused."""
    if len(application.inputs) == 1:
        return Predicate()
    return Refused(
        "a connective of conditions on the input is not one sign",
        "write it with jnp.maximum and jnp.minimum",
    )


def jump(application: Application) -> Role:
    """Steps: no gate can be tangent to a jump."""
    return Refused(
        f"`{application.primitive}` {_JUMP}",
        "factor the network up to here, or replace the step by a continuous function",
    )


def select_on_own_sign(application: Application) -> Role:
    """`select_n(p > q, B, A)`, a gate where `A - B = k (p - q)` with `k` constant.

    Then it is `max(A, B)` for `k > 0`, convex, and `min(A, B)` for `k < 0`, concave,
    unit by unit: ReLU, leaky ReLU, PReLU, hard tanh and their like.
    """
    if not application.live[0]:
        return Affine()
    refused = Refused(
        "the condition is not the sign of the difference of the two cases, so the "
        "selection may jump",
        "write it with jnp.maximum, jnp.minimum or jnp.where(x > 0, x, slope * x)",
    )
    sign, comparison = _comparison(application, application.inputs[0])
    if comparison is None or len(application.inputs) != 3:
        return refused
    form = _Form(application)
    p, q = comparison.inputs
    on, off = application.inputs[2], application.inputs[1]
    k = _ratio(form.difference(on, off), form.difference(p, q))
    if k is None:
        return refused
    curvature = np.sign(sign * k)
    cases = [i for i in (1, 2) if application.live[i]]
    constants = {i: application.constant(i) for i in (1, 2) if i not in cases}

    def choose(p: Any, values: tuple[Any, ...]) -> Any:
        case = {**constants, **dict(zip(cases, values, strict=True))}
        return jnp.where(p, case[2], case[1])

    return Gate(
        name="select",
        operands=(0, *cases),
        curvature=curvature,
        apply=lambda p, *z: choose(p, z),
        pattern=lambda p, *z: p,
        tangent=lambda p, _, *z: choose(p, z),
    )


def _comparison(application: Application, number: int) -> tuple[int, Equation | None]:
    """The comparison behind a truth value, +1 if it is `p > q`, -1 if `p < q`."""
    eqn = application.definition(number)
    if eqn is None:
        return 0, None
    if eqn.primitive is lax.not_p:
        sign, inner = _comparison(application, eqn.inputs[0])
        return -sign, inner
    if eqn.primitive in (lax.gt_p, lax.ge_p):
        return +1, eqn
    if eqn.primitive in (lax.lt_p, lax.le_p):
        return -1, eqn
    return 0, None


class _Form:
    """Values as `sum_i c_i * base_i + c`, entry by entry, with constant `c`."""

    def __init__(self, application: Application):
        self.application = application

    def difference(self, one: int, other: int) -> dict[int | None, Any]:
        a, b = self.of(one), self.of(other)
        return {key: a.get(key, 0.0) - b.get(key, 0.0) for key in {*a, *b}}

    def of(self, number: int) -> dict[int | None, Any]:
        value = self.application.constant_of(number)
        if value is not None:
            return {None: np.asarray(value, np.float64)}
        eqn = self.application.definition(number)
        if eqn is not None and isinstance(eqn.role, Affine):
            if eqn.primitive in (lax.add_p, lax.sub_p):
                sign = 1.0 if eqn.primitive is lax.add_p else -1.0
                a, b = map(self.of, eqn.inputs)
                return {k: a.get(k, 0.0) + sign * b.get(k, 0.0) for k in {*a, *b}}
            if eqn.primitive is lax.neg_p:
                return {k: -c for k, c in self.of(eqn.inputs[0]).items()}
            if eqn.primitive in (lax.mul_p, lax.div_p):
                return self._scaled(eqn)
        return {number: np.float64(1.0)}

    def _scaled(self, eqn: Equation) -> dict[int | None, Any]:
        values = [self.application.constant_of(n) for n in eqn.inputs]
        live = 0 if values[0] is None else 1
        factor = np.asarray(values[1 - live], np.float64)
        form = self.of(eqn.inputs[live])
        if eqn.primitive is lax.div_p:
            return {k: c / factor for k, c in form.items()}
        return {k: c * factor for k, c in form.items()}


def _ratio(
    numerator: Mapping[int | None, Any], denominator: Mapping[int | None, Any]
) -> Any:
    """`k` with `numerator == k * denominator`, entry by entry; None if there is none.

    The two forms were added up in float64 from the program's own constants, so they
    may differ by rounding: a few units in the last place of float32.
    """
    keys = [*{*numerator, *denominator}]
    shape = np.broadcast_shapes(
        *(np.shape(v) for v in (*numerator.values(), *denominator.values()))
    )
    top, bottom = (
        np.stack([np.broadcast_to(form.get(key, 0.0), shape) for key in keys])
        for form in (numerator, denominator)
    )
    live = np.array([key is not None for key in keys]).reshape(
        (-1,) + (1,) * len(shape)
    )
    if not np.all(np.any(live & (bottom != 0), axis=0)):
        return None
    best = np.argmax(np.abs(bottom) * live, axis=0)[None]
    k = np.take_along_axis(top, best, 0) / np.take_along_axis(bottom, best, 0)
    scale = np.abs(top) + np.abs(k * bottom)
    if np.all(np.abs(top - k * bottom) <= 8 * np.finfo(np.float32).eps * scale):
        return k[0]
    return None


_COMPARISONS = (lax.gt_p, lax.ge_p, lax.lt_p, lax.le_p)
_JUMPS = (
    lax.sign_p,
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
        lax.select_n_p: select_on_own_sign,
        lax.eq_p: equality,
        lax.ne_p: equality,
        lax.is_finite_p: finite,
        lax.not_p: logical,
        lax.and_p: logical,
        lax.or_p: logical,
        **dict.fromkeys(_COMPARISONS, comparison),
        **dict.fromkeys(_JUMPS, jump),
    }
)
