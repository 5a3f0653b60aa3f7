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
    Rewrite,
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
    if _alike(application):
        return Same(1)
    if application.avals[0].dtype != bool:
        return _one_by_one(application) or _BY_NUMBER
    sign, comparison = comparison_of(application, application.inputs[0])
    floating = jnp.issubdtype(application.avals[-1].dtype, jnp.floating)
    if comparison is None or len(application.inputs) != 3 or not floating:
        return _refused(application)
    order = _Order(application, comparison, sign)
    on, off = application.inputs[2], application.inputs[1]
    with np.errstate(all="ignore"):
        is_max = order.above(on, off, +1) & order.above(off, on, -1)
        is_min = order.above(off, on, +1) & order.above(on, off, -1)
    if not np.all(is_max | is_min):
        return in_pieces(application, comparison, sign) or _refused(application)
    return _gate(application, np.subtract(is_max, is_min, dtype=np.int8))


def _alike(application: Application) -> bool:
    """Whether all cases are one value, or constants that are equal."""
    if len(set(application.inputs[1:])) == 1:
        return True
    if not all(application.known[1:]):
        return False
    cases = [application.constant(i) for i in range(1, len(application.inputs))]
    if not all(map(_jax.is_concrete, cases)):
        return False
    return all(np.array_equal(cases[0], case) for case in cases[1:])


def _refused(application: Application) -> Refused:
    """Why: that one of the cases or the condition jumps by itself, if it does."""
    for number in (*application.inputs[1:], application.inputs[0]):
        eqn = application.definition(number)
        if eqn is not None and isinstance(eqn.role, Refused):
            return Refused(eqn.role.why, eqn.role.try_, eqn.role.try_onnx)
    return _REFUSED


def _one_by_one(application: Application) -> Rewrite | None:
    """`jnp.select`, `jnp.piecewise`: one selection of two for each condition.

    The number of the case is the first condition that holds (`argmax`), or the last one
    (`argmax` of their `cumsum`); 0, the default, where none does.
    """
    eqn, last = _unclipped(application, application.inputs[0]), False
    if eqn is None or eqn.primitive is not lax.argmax_p or eqn.params["axes"] != (0,):
        return None
    (number,) = eqn.inputs
    counted = application.definition(number)
    if counted is not None and counted.primitive is lax.cumsum_p:
        forward = counted.params["axis"] == 0 and not counted.params["reverse"]
        whole = application.definition(counted.inputs[0])
        if not forward or whole is None or len(whole.inputs) != 1:
            return None
        (number,), last = whole.inputs, True
    rows, cases = _rows(application, number), application.inputs[1:]
    if rows is None or len(rows) != len(cases) or not _is_false(application, rows[0]):
        return None

    def chosen(*operands: Any) -> Any:
        conditions, values = operands[: len(cases)], operands[len(cases) :]
        order = range(1, len(cases)) if last else range(len(cases) - 1, 0, -1)
        value = values[0]
        for i in order:
            value = lax.select_n(conditions[i], value, values[i])
        return value

    return Rewrite(chosen, (*rows, *cases))


def _unclipped(application: Application, number: int) -> Equation | None:
    """What made the number of a case, before it was clipped to those that there are."""
    idle = {lax.max_p: 0, lax.min_p: len(application.inputs) - 2}
    while (eqn := application.definition(number)) is not None:
        if eqn.primitive in idle:
            bounds = [application.constant_of(n) for n in eqn.inputs]
            live = bounds.index(None) if None in bounds else 0
            if not np.all(np.equal(bounds[1 - live], idle[eqn.primitive])):
                return None
            number = eqn.inputs[live]
        elif eqn.primitive is lax.convert_element_type_p:
            (number,) = eqn.inputs
        else:
            return eqn
    return None


def _rows(application: Application, number: int) -> list[int] | None:
    """The values that are stacked to an array along its first axis, if they are."""
    eqn = application.definition(number)
    if eqn is None or application.builder.avals[number].dtype != bool:
        return None
    inputs, params = list(eqn.inputs), eqn.params
    if eqn.primitive in _STACKS and params["axis"] == 0:
        return inputs
    if eqn.primitive is lax.concatenate_p and params["dimension"] == 0:
        parts = [_rows(application, n) for n in inputs]
        return None if None in parts else [n for part in parts for n in part or ()]
    shape = application.builder.avals[number].shape
    own = tuple(range(1, len(shape)))
    if eqn.primitive is lax.broadcast_in_dim_p and shape[0] == 1:
        kept = application.builder.avals[inputs[0]].shape in (shape[1:], ())
        return inputs if kept and params["broadcast_dimensions"] in (own, ()) else None
    return None


def _is_false(application: Application, number: int) -> bool:
    value = application.constant_of(number)
    return value is not None and _jax.is_concrete(value) and not np.any(value)


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


_STACKS = _jax.optional_primitives("stack_p")


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
