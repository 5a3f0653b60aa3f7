"""Selections that are gates: `select_n` on the sign of its own operand.

`where(x > 0, x, slope * x)` and its like are the larger, or the smaller, of their two
cases, provided the cases change places exactly where the condition does. That is
proven from the program's own constants, or the selection is refused.
"""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import (
    Affine,
    Application,
    Equation,
    Refused,
    Role,
    Rules,
    Same,
)
from ecg_jax.rules.forms import Form, Forms, line
from ecg_jax.rules.intervals import interval
from ecg_jax.rules.pieces import comparison_of, in_pieces

_REFUSED = Refused(
    "the condition is not the sign of the difference of the two cases, so the "
    "selection may jump",
    "write it with jnp.maximum, jnp.minimum, jnp.clip, or as two pieces of one value "
    "that meet where the condition changes: jnp.where(x > 0, x, slope * x)",
    "train and export with operations that do not jump: Relu, LeakyRelu, PRelu, Clip",
)
_BY_NUMBER = Refused(
    "a selection by a number that depends on the input (jnp.select, jnp.piecewise)",
    "nest selections of two: jnp.where(z > 1, 1.0, jnp.where(z < -1, -1.0, z))",
)


def select_on_own_sign(application: Application) -> Role:
    """`select_n(t > 0, B, A)` with `t = p - q`: a gate where A and B cross at `t = 0`.

    It is `max(A, B)`, convex, where `A >= B` for `t > 0` and `A <= B` for `t <= 0`;
    it is `min(A, B)`, concave, the other way round; unit by unit. Either is proven by
    `A - B = k t + c` with constants `k`, `c` (leaky ReLU: `A - B = (1 - slope) t`).
    A case may be a max or a min itself: hard tanh is `min(1, max(-1, z))`.
    """
    if not application.live[0]:
        return _by_constant(application)
    if application.avals[0].dtype != bool:
        return _BY_NUMBER
    sign, comparison = comparison_of(application, application.inputs[0])
    floating = jnp.issubdtype(application.avals[-1].dtype, jnp.floating)
    if comparison is None or len(application.inputs) != 3 or not floating:
        return _REFUSED
    order = _Order(application, comparison, sign)
    on, off = application.inputs[2], application.inputs[1]
    with np.errstate(all="ignore"):
        is_max = order.above(on, off, +1) & order.above(off, on, -1)
        is_min = order.above(off, on, +1) & order.above(on, off, -1)
    if not np.all(is_max | is_min):
        return in_pieces(application, comparison, sign) or _REFUSED
    return _gate(application, np.subtract(is_max, is_min, dtype=np.int8))


def _by_constant(application: Application) -> Role:
    """A selection by a constant: affine; one of the cases if all entries agree."""
    which = application.constant_of(application.inputs[0])
    if which is not None and _jax.is_concrete(which) and np.size(which):
        first = int(np.ravel(which)[0])
        if np.all(np.asarray(which) == first):
            return Same(1 + first)
    return Affine()


def _gate(application: Application, curvature: Any) -> Gate:
    operands, every = application.operands()

    def choose(p: Any, *z: Any) -> Any:
        _, off, on = every(*z)
        return jnp.where(p, on, off)

    return Gate(
        name="select",
        operands=operands,
        curvature=curvature,
        apply=lambda p, *z: choose(p, p, *z),
        pattern=lambda p, *z: p,
        tangent=choose,
        elementwise=True,
        straight=True,
        bounds=_bounds(application, curvature),
        pieces=lambda *z: jnp.stack(every(*z)[1:]),
    )


def _bounds(application: Application, curvature: Any) -> tuple[float, float]:
    """Of a larger case: above the larger of both lower bounds; the same of a smaller.

    Of units of either kind, both.
    """
    lows, highs = zip(
        *(interval(application, number) for number in application.inputs[1:]),
        strict=True,
    )
    low = max(lows) if np.all(curvature >= 0) else min(lows)
    high = min(highs) if np.all(curvature <= 0) else max(highs)
    return low, high


class _Order:
    """Which of two values is larger where a condition `t > 0` holds or fails."""

    def __init__(self, application: Application, comparison: Equation, sign: int):
        self.application = application
        self.forms = Forms(application)
        with np.errstate(all="ignore"):
            test = self.forms.difference(*comparison.inputs)
        self.test: Form = {key: sign * c for key, c in test.items()}

    def above(self, one: int, other: int, side: int) -> Any:
        """Whether `one >= other`, unit by unit, where the test has the sign `side`."""
        shape = self.application.avals[1].shape
        proofs = [
            self._all_above(a, b, side)
            for a in self._readings(one)
            for b in self._readings(other)
        ]
        return np.any([np.broadcast_to(proof, shape) for proof in proofs], axis=0)

    def _readings(self, number: int) -> list[tuple[str, tuple[int, ...]]]:
        """A value as itself and, where it is a max or a min of two, as these."""
        itself = ("max", (number,))
        eqn = self.application.definition(number)
        if eqn is None or not isinstance(eqn.role, Gate):
            return [itself]
        curvature = np.unique(eqn.role.curvature)
        of_two = eqn.primitive in (lax.max_p, lax.min_p, lax.select_n_p)
        if not of_two or len(curvature) != 1 or curvature[0] == 0:
            return [itself]
        kind = "max" if curvature[0] > 0 else "min"
        return [itself, (kind, tuple(eqn.inputs[-2:]))]

    def _all_above(
        self,
        one: tuple[str, tuple[int, ...]],
        other: tuple[str, tuple[int, ...]],
        side: int,
    ) -> Any:
        (kind, values), (other_kind, others) = one, other
        over = np.any if kind == "max" else np.all
        under = np.all if other_kind == "max" else np.any
        shape = self.application.avals[1].shape
        rows = [
            under([np.broadcast_to(self._above(a, b, side), shape) for b in others], 0)
            for a in values
        ]
        return over(rows, axis=0)

    def _above(self, a: int, b: int, side: int) -> Any:
        """`a - b = k t + c >= 0` for `side * t >= 0`: both `side * k` and `c` are.

        Nothing is to be proven of a unit whose test has the other sign for every input.
        """
        dtype = self.application.avals[1].dtype
        k, c, fits = line(self.forms.difference(a, b), self.test, dtype)
        return self._never(side) | (fits & (side * k >= 0) & (c >= 0))

    def _never(self, side: int) -> Any:
        sees = [np.asarray(c) != 0 for key, c in self.test.items() if key is not None]
        return ~np.any(np.broadcast_arrays(False, *sees), axis=0) & (
            side * np.asarray(self.test.get(None, 0.0)) < 0
        )


SELECT_RULES: Rules = MappingProxyType({lax.select_n_p: select_on_own_sign})
