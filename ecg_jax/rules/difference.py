"""Functions that are neither convex nor concave: a difference of convex ones.

`phi = (phi + h) - h` with `h` and `phi + h` convex, so each is frozen to its tangents
and every unit stands on both sides. Values are always those of `phi` itself: `h` serves
gaps alone, for in `(phi + h) - h` a large `h` would leave nothing of `phi`.

    bounded curvature    h(z) = c z^2 / 2                    c >= sup of -phi''
    an S, bending at 0   h(z) = phi(0) + phi'(0) z+ - phi(z+)      z+ = max(z, 0)

The second (for `phi` convex below 0 and concave above) grows like `z`, so that inputs
far away cost less. A sign that is proven makes such a `phi` convex or concave.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program.gates import Gate, Split
from ecg_jax.program.roles import Application, Refused, Rewrite, Role, Rule, Rules
from ecg_jax.rules.affine import PRODUCT, product
from ecg_jax.rules.forms import Form, Forms
from ecg_jax.rules.intervals import interval
from ecg_jax.rules.smooth import tangent_gate, with_slope

Interval = tuple[float, float]

CURVATURES: Mapping[str, float] = MappingProxyType(
    {
        "gelu": 0.10799,  # 2 / sqrt(2 pi e^4) = .107982, at |z| = 2
        "gelu_tanh": 0.10799,  # .107914
        "silu": 0.03692,  # .036914
        "mish": 0.05904,  # .059033
        "sin": 1.0,
        "cos": 1.0,
    }
)
"""For each function, a bound on `-phi''`, rounded up."""


@jax.jit
def exact_gelu(z: Array) -> Array:
    """`z (1 + erf(z / sqrt 2)) / 2`; named, so that traces tell it from the other."""
    return jax.nn.gelu(z, approximate=False)


@jax.jit
def tanh_gelu(z: Array) -> Array:
    """Its approximation by tanh; named likewise."""
    return jax.nn.gelu(z)


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "gelu": exact_gelu,
        "gelu_tanh": tanh_gelu,
        "silu": jax.nn.silu,
        "mish": jax.nn.mish,
        "sin": lax.sin,
        "cos": lax.cos,
    }
)


def _gelu_tanh_slope(z: Array) -> Array:
    """`(1 + tanh t) / 2 + z t' / (2 cosh(t)^2)`, `t = r (z + k z^3)`."""
    r, k = math.sqrt(2 / math.pi), 0.044715
    near = jnp.clip(z, -20, 20)  # beyond, 1 / cosh(t) is 0
    t = r * (near + k * near**3)
    steep = r * (1 + 3 * k * near**2) * lax.square(1 / lax.cosh(t))
    return lax.logistic(2 * t) + near / 2 * steep


def _silu_slope(z: Array) -> Array:
    """`s (1 + z (1 - s))`, `s = logistic(z)`."""
    return lax.logistic(z) * (1 + z * lax.logistic(-z))


def _mish_slope(z: Array) -> Array:
    """`tanh(p) + z logistic(z) / cosh(p)^2`, `p = softplus(z)`."""
    p = jax.nn.softplus(z)
    return lax.tanh(p) + z * lax.logistic(z) * lax.square(1 / lax.cosh(p))


SLOPES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"gelu_tanh": _gelu_tanh_slope, "silu": _silu_slope, "mish": _mish_slope}
)
"""Derivatives where JAX's own have lost their digits far away, as `1 - tanh(t)^2`.

A tangent multiplies them by a distance: there it needs them all.
"""


def quadratic(c: float) -> Split:
    """`h(z) = c z^2 / 2`, whose gap is `c (z - a)^2 / 2`: nothing cancels."""
    return Split(
        gap=lambda a, z: c / 2 * lax.square(z - a),
        shift=lambda p, q, z: c * (p - q) * (z - (p + q) / 2),
        value=lambda z: c / 2 * lax.square(z),
        size=lambda a, z: c / 2 * lax.square(z - a),
    )


def bend(phi: Callable[[Array], Array], slope: float, above: int) -> Split:
    """`h` of an S that bends at 0: `h(z) = |phi(0) + phi'(0) u - phi(u)|`.

    Args:
      phi: the function.
      slope: `phi'(0)`, in exact arithmetic or rounded up in size.
      above: -1 where `phi` is concave above 0, then `u = max(z, 0)`; +1 where it is
        convex there, then `u = min(z, 0)`.
    """

    def part(z: Array) -> Array:
        return jnp.maximum(z, 0) if above < 0 else jnp.minimum(z, 0)

    def line(z: Array) -> Array:
        """The tangent of `phi` at 0."""
        return phi(jnp.zeros_like(z)) + slope * z

    def bent(a: Array) -> Array:
        """Whether `h` is not 0 around `a`."""
        return a > 0 if above < 0 else a < 0

    def tangent(a: Array, z: Array) -> tuple[Array, Array]:
        """The two terms of the tangent of `phi` at `a`, where `h` is not 0."""
        at, steep = jax.jvp(phi, (part(a),), (jnp.ones_like(a),))
        return at, steep * (z - part(a))

    def value(z: Array) -> Array:
        return line(part(z)) - phi(part(z))

    def gap(a: Array, z: Array) -> Array:
        """Lines through 0 are cancelled by hand: far out they leave nothing else."""
        at, rest = tangent(a, z)
        inside = at + rest - phi(part(z)) - slope * (z - part(z))
        return jnp.where(bent(a), inside, value(z))

    def shift(p: Array, q: Array, z: Array) -> Array:
        one, other = (sum(tangent(a, z)) for a in (p, q))
        first = jnp.where(bent(q), other, line(z)) - one
        return jnp.where(bent(p), first, jnp.where(bent(q), other - line(z), 0))

    def size(a: Array, z: Array) -> Array:
        at, rest = map(jnp.abs, tangent(a, z))
        inside = at + rest + abs(slope) * jnp.abs(z - part(z))
        outside = jnp.abs(phi(jnp.zeros_like(z))) + abs(slope) * jnp.abs(part(z))
        return jnp.where(bent(a), inside, outside) + jnp.abs(phi(part(z)))

    return Split(gap=gap, shift=shift, value=value, size=size)


def curved(name: str, lipschitz: float, bounds: Interval = (-np.inf, np.inf)) -> Rule:
    """The rule of a function whose curvature is bounded."""
    fn, split = FUNCTIONS[name], quadratic(CURVATURES[name])
    hidden = 0.5 if name in ("gelu", "gelu_tanh") else 0.0  # z / 2 + z tanh(t) / 2
    if name in SLOPES:
        fn = with_slope(fn, SLOPES[name])

    def rule(application: Application) -> Role:
        if len(application.inputs) != 1:
            return Refused(f"{name} with parameters of its own")
        return difference_gate(name, fn, split, lipschitz, bounds, hidden)

    return rule


def bending(
    name: str,
    fn: Callable[[Array], Array],
    slope: float,
    bounds: Interval = (-np.inf, np.inf),
    above: int = -1,
    steep: Callable[[Array], Array] | None = None,
) -> Rule:
    """The rule of an S; convex or concave where a sign is proven.

    `steep` is its derivative, where JAX's own is not accurate: see `SLOPES`.
    """
    fn = fn if steep is None else with_slope(fn, steep)
    split = bend(fn, slope, above)

    def rule(application: Application) -> Role:
        if len(application.inputs) != 1:
            return Refused(f"{name} with parameters of its own")
        low, high = interval(application, application.inputs[0])
        if low >= 0 or high <= 0:
            curvature = above if low >= 0 else -above
            return tangent_gate(name, fn, curvature, bounds=bounds)
        return difference_gate(name, fn, split, abs(slope), bounds)

    return rule


def difference_gate(
    name: str,
    fn: Callable[[Array], Array],
    split: Split,
    lipschitz: float,
    bounds: Interval,
    hidden: float = 0.0,
    level: float = 0.0,
) -> Gate:
    """A difference of convex functions, entry by entry: see `tangent_gate`."""
    fields = {"bounds": bounds, "split": split, "lipschitz": lipschitz}
    return tangent_gate(name, fn, 1, hidden=hidden, level=level, **fields)


def gated_product(application: Application) -> Role:
    """`z g(z)` of one value: gelu and silu as they are written out.

    `z logistic(s z) = silu(s z) / s`, `z (1 + erf(s z)) = 2 gelu(r z) / r` with
    `r = sqrt(2) s`, and the tanh form of gelu; any other product is refused.
    """
    role = product(application)
    if not isinstance(role, Refused) or role.why != PRODUCT[0]:
        return role
    for factor in (0, 1):
        for base in _bases(application, application.inputs[factor]):
            found = _Gated(application, base).match(factor)
            if found is not None:
                return Rewrite(_rewritten(*found, factor))
    return role


def _bases(application: Application, number: int) -> Iterator[int]:
    """A value, and what it is a multiple of."""
    yield number
    eqn = application.definition(number)
    if eqn is not None and eqn.primitive in (lax.mul_p, lax.div_p, lax.neg_p):
        live = [n for n in eqn.inputs if application.constant_of(n) is None]
        if len(live) == 1:
            yield from _bases(application, live[0])


class _Gated:
    """Reads a product as `a z * (b g(s z) + d)`, numbers `a`, `b`, `d`, `s`."""

    def __init__(self, application: Application, base: int):
        self.application = application
        self.forms = Forms(application, [base])
        self.tolerance = 8 * float(jnp.finfo(application.avals[0].dtype).eps)

    def match(self, factor: int) -> tuple[str, float, float] | None:
        """`name, scale, rate`: the product is `scale * phi(rate * factor)`; or None."""
        inputs = self.application.inputs
        own = _single(self.forms.of(inputs[factor]))
        split_up = self._split(self.forms.of(inputs[1 - factor]))
        if own is None or split_up is None:
            return None
        (z, a), (name, operand, b, d) = own, split_up
        inner = self.forms.of(operand)
        if name == "tanh" and d == b and self._is_gelu_argument(inner, z):
            return "gelu_tanh", 2 * a * b, 1 / a
        if (found := _single(inner)) is None or found[0] != z:
            return None
        s = found[1]
        if name == "logistic" and d == 0:
            return "silu", a * b / s, self._snapped(s / a)
        if name == "erf" and abs(d) == abs(b):
            r = math.sqrt(2) * s * d / b
            return "gelu", 2 * a * d / r, self._snapped(r / a)
        return None

    def _split(self, form: Form) -> tuple[str, int, float, float] | None:
        """`g, z, b, d` of the form `b g(z) + d`."""
        terms = {key: _number(c) for key, c in form.items() if np.any(c)}
        d = terms.pop(None, 0.0)
        if len(terms) != 1 or d is None:
            return None
        ((number, b),) = terms.items()
        eqn = self.application.definition(number) if number is not None else None
        name = _FACTORS.get(eqn.primitive) if eqn is not None else None
        if eqn is None or name is None or b is None or not isinstance(eqn.role, Gate):
            return None
        if eqn.primitive is lax.erfc_p:  # 1 - erf
            b, d = -b, d + b
        return name, eqn.inputs[0], b, d

    def _is_gelu_argument(self, inner: Form, z: int) -> bool:
        """`sqrt(2 / pi) (z + .044715 z^3)`, the cube split at zero."""
        terms = {key: _number(c) for key, c in inner.items() if np.any(c)}
        k = terms.pop(z, None)
        if k is None or len(terms) != 2 or not self._close(k, np.sqrt(2 / np.pi)):
            return False
        return all(
            self._is_half_cube(n, z) and self._close(c, k * 0.044715)
            for n, c in terms.items()
        )

    def _is_half_cube(self, number: int | None, z: int) -> bool:
        cube = self.application.definition(number) if number is not None else None
        if cube is None or cube.params.get("y") != 3:
            return False
        half = self.application.definition(cube.inputs[0])
        return half is not None and z in half.inputs

    def _close(self, value: float | None, wanted: float) -> bool:
        if value is None:
            return False
        return bool(abs(value - wanted) <= self.tolerance * abs(wanted))

    def _snapped(self, rate: float) -> float:
        return 1.0 if self._close(rate, 1.0) else rate


def _single(form: Form) -> tuple[int, float] | None:
    """`(base, coefficient)` of a form that is a number times one base."""
    terms = [(key, _number(c)) for key, c in form.items() if np.any(c)]
    if len(terms) != 1 or terms[0][0] is None or terms[0][1] is None:
        return None
    return terms[0][0], terms[0][1]


def _number(c: Any) -> float | None:
    """A coefficient that is the same for all entries."""
    values = np.unique(c)
    return float(values[0]) if len(values) == 1 and np.isfinite(values[0]) else None


def _rewritten(
    name: str, scale: float, rate: float, factor: int
) -> Callable[..., Array]:
    def rewritten(*factors: Array) -> Array:
        z = factors[factor]
        value = FUNCTIONS[name](z if rate == 1 else rate * z)
        return value if scale == 1 else scale * value

    return rewritten


def hard_silu(application: Application) -> Role:
    """`z clip(z / 6 + 1/2, 0, 1)`: a parabola between two kinks.

    Its parabola between -3 and 3, continued by its tangents, is convex; the kinks are
    `h(z) = (max(-z - 3, 0) + max(z - 3, 0)) / 2`.
    """

    def value(z: Array) -> Array:
        return (jnp.maximum(-z - 3, 0) + jnp.maximum(z - 3, 0)) / 2

    def line(a: Array, z: Array) -> Array:
        # At a kink the derivative is that of the constant, or of z: so is this one's.
        return (jnp.where(a <= -3, -z - 3, 0) + jnp.where(a >= 3, z - 3, 0)) / 2

    kinks = Split(
        gap=lambda a, z: value(z) - line(a, z),
        shift=lambda p, q, z: line(p, z) - line(q, z),
        value=value,
        size=lambda a, z: jnp.abs(z) + 3,
    )
    if len(application.inputs) != 1:
        return Refused("hard_silu with parameters of its own")
    return difference_gate(
        "hard_silu", jax.nn.hard_silu, kinks, 1.5, (-0.5, np.inf), 0.5
    )


_FACTORS: Mapping[Any, str] = MappingProxyType(
    {
        lax.logistic_p: "logistic",
        lax.erf_p: "erf",
        lax.erfc_p: "erf",
        lax.tanh_p: "tanh",
    }
)
_ERF = 2 / math.sqrt(math.pi)

DIFFERENCE_RULES: Rules = MappingProxyType(
    {
        exact_gelu: curved("gelu", 1.129, (-0.17, np.inf)),
        tanh_gelu: curved("gelu_tanh", 1.129, (-0.1701, np.inf)),
        jax.nn.silu: curved("silu", 1.1, (-0.2785, np.inf)),
        jax.nn.mish: curved("mish", 1.089, (-0.309, np.inf)),
        lax.sin_p: curved("sin", 1.0, (-1.0, 1.0)),
        lax.cos_p: curved("cos", 1.0, (-1.0, 1.0)),
        lax.logistic_p: bending(
            "logistic",
            lax.logistic,
            0.25,
            (0.0, 1.0),
            steep=lambda z: lax.square(0.5 / lax.cosh(z / 2)),
        ),
        lax.tanh_p: bending(
            "tanh",
            lax.tanh,
            1.0,
            (-1.0, 1.0),
            steep=lambda z: lax.square(1 / lax.cosh(z)),
        ),
        lax.erf_p: bending("erf", lax.erf, _ERF, (-1.0, 1.0)),
        lax.erfc_p: bending("erfc", lax.erfc, -_ERF, (0.0, 2.0), above=1),
        lax.atan_p: bending("atan", lax.atan, 1.0, (-1.5708, 1.5708)),
        lax.asinh_p: bending("asinh", lax.asinh, 1.0),
        jax.nn.soft_sign: bending(
            "soft_sign",
            jax.nn.soft_sign,
            1.0,
            (-1.0, 1.0),
            steep=lambda z: lax.square(1 / (1 + jnp.abs(z))),
        ),
        jax.nn.hard_silu: hard_silu,
    }
)
