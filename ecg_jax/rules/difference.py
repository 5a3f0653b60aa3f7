"""Smooth functions that are neither convex nor concave: a difference of convex ones.

`phi(z) = (phi(z) + c z^2 / 2) - c z^2 / 2` with `c >= sup of -phi''`: both parts are
convex, so each is frozen to its tangents and every unit stands on both sides. The
convex part is a named function, which a component's own trace finds again.
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

from ecg_jax.maxmin import Gate
from ecg_jax.program import Application, Equation, Refused, Rewrite, Role, Rule, Rules
from ecg_jax.rules.affine import PRODUCT, product
from ecg_jax.rules.forms import Form, Forms
from ecg_jax.rules.smooth import named

CURVATURES: Mapping[str, float] = MappingProxyType(
    {
        "gelu": 0.10799,  # 2 / sqrt(2 pi e^4) = .107982, at |z| = 2
        "gelu_tanh": 0.10799,  # .107914
        "silu": 0.03692,  # .036914
        "mish": 0.05904,  # .059033
        "soft_sign": 2.0,
        "logistic": 0.09623,  # 1 / (6 sqrt 3) = .096225
        "tanh": 0.76981,  # 4 / (3 sqrt 3) = .769800
        "erf": 0.96789,  # 2 sqrt(2 / (pi e)) = .967883
        "atan": 0.64952,  # 3 sqrt(3) / 8 = .649519
        "asinh": 0.38491,  # 2 / (3 sqrt 3) = .384900
        "sin": 1.0,
        "cos": 1.0,
    }
)
"""For each function, a bound on `-phi''`, rounded up."""


_PREFIX = "convex_part_of_"


def _gelu(z: Array) -> Array:
    return jax.nn.gelu(z, approximate=False)


FUNCTIONS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "gelu": _gelu,
        "gelu_tanh": jax.nn.gelu,
        "silu": jax.nn.silu,
        "mish": jax.nn.mish,
        "soft_sign": jax.nn.soft_sign,
        "logistic": lax.logistic,
        "tanh": lax.tanh,
        "erf": lax.erf,
        "atan": lax.atan,
        "asinh": lax.asinh,
        "sin": lax.sin,
        "cos": lax.cos,
    }
)


def _convex_part(name: str) -> Any:
    """`phi(z) + c z^2 / 2` as a named function, jitted so that traces keep its name."""
    phi, half = FUNCTIONS[name], CURVATURES[name] / 2

    def convex_part(z: Array) -> Array:
        return phi(z) + half * lax.square(z)

    convex_part.__name__ = _PREFIX + name
    return jax.jit(convex_part)


CONVEX_PARTS: Mapping[str, Any] = MappingProxyType(
    {name: _convex_part(name) for name in FUNCTIONS}
)


def split(name: str, z: Array) -> Array:
    """`phi(z)` as the difference of its convex part and the quadratic."""
    return CONVEX_PARTS[name](z) - CURVATURES[name] / 2 * lax.square(z)


def difference(name: str) -> Rule:
    """The rule that rewrites a function as a difference of convex ones."""

    def rule(application: Application) -> Role:
        if len(application.inputs) != 1:
            return Refused(f"{name} with parameters of its own")
        return Rewrite(lambda z: split(name, z))

    return rule


def complementary(application: Application) -> Role:
    """`erfc(z) = 1 - erf(z)`."""
    return Rewrite(lambda z: 1 - lax.erf(z))


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
        """`g, z, b, d` of the form `b (convex part of g (z) - c z^2 / 2) + d`."""
        terms = {key: _number(c) for key, c in form.items() if np.any(c)}
        d = terms.pop(None, 0.0)
        made = {n: self.application.definition(n) for n in terms if n is not None}
        if len(made) != 2 or d is None:
            return None
        for number, eqn in made.items():
            other = next(n for n in made if n != number)
            name = convex_part_name(eqn)
            twin, b, rest = made[other], terms[number], terms[other]
            if name is None or twin is None or b is None or rest is None or not eqn:
                continue
            quadratic = twin.primitive is lax.square_p and twin.inputs == eqn.inputs
            if quadratic and self._close(rest, -b * CURVATURES[name] / 2):
                return name, eqn.inputs[0], b, d
        return None

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
        return value is not None and abs(value - wanted) <= self.tolerance * abs(wanted)

    def _snapped(self, rate: float) -> float:
        return 1.0 if self._close(rate, 1.0) else rate


def convex_part_name(eqn: Equation | None) -> str | None:
    """The function whose convex part an equation is, by the name of its gate."""
    if eqn is None or not isinstance(eqn.role, Gate):
        return None
    name = eqn.role.name.removeprefix(_PREFIX)
    return name if name in CURVATURES and name != eqn.role.name else None


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
        value = split(name, z if rate == 1 else rate * z)
        return value if scale == 1 else scale * value

    return rewritten


def hard_silu(application: Application) -> Role:
    """`z clip(z / 6 + 1/2, 0, 1)`: a convex part and two concave kinks.

    Its parabola between -3 and 3, continued by its tangents, is convex; the kinks are
    `- max(-z - 3, 0) / 2 - max(z - 3, 0) / 2`.
    """
    return Rewrite(
        lambda z: (
            convex_part_of_hard_silu(z)
            - (jnp.maximum(-z - 3, 0) + jnp.maximum(z - 3, 0)) / 2
        )
    )


@jax.jit
def convex_part_of_hard_silu(z: Array) -> Array:
    """`u (u + 3) / 6 + (2 u + 3) (z - u) / 6` with `u = clip(z, -3, 3)`."""
    u = jnp.clip(z, -3.0, 3.0)
    return (u * (u + 3) + (2 * u + 3) * (z - u)) / 6


DIFFERENCE_RULES: Rules = MappingProxyType(
    {
        lax.mul_p: gated_product,
        jax.nn.silu: difference("silu"),
        jax.nn.mish: difference("mish"),
        jax.nn.soft_sign: difference("soft_sign"),
        lax.logistic_p: difference("logistic"),
        lax.tanh_p: difference("tanh"),
        lax.erf_p: difference("erf"),
        lax.erfc_p: complementary,
        lax.atan_p: difference("atan"),
        lax.asinh_p: difference("asinh"),
        lax.sin_p: difference("sin"),
        lax.cos_p: difference("cos"),
        jax.nn.hard_silu: hard_silu,
        **{part: named(part, +1) for part in CONVEX_PARTS.values()},
        convex_part_of_hard_silu: named(convex_part_of_hard_silu, +1),
    }
)
