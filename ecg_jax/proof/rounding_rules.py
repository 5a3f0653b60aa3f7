"""How each primitive carries rounding errors: affine and piecewise linear ones.

One rule a primitive and no default. A rule gets bounds on the size and on the error of
its operands and answers with those of its outputs. The formulas hold for any two
evaluations of the same mathematics.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax import _jax
from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program import Equation


@dataclass(frozen=True)
class Bounded:
    """A value `v` as computed, and what holds of it in exact arithmetic too.

    Attributes:
      value: as this evaluation computes it; None behind an opened gate.
      size: bound on `|v|`, computed or exact; for integers and booleans, the value.
      error: bound on `|computed - exact|`; None where there is no error.
    """

    value: Any
    size: Any
    error: Any = None

    @property
    def floating(self) -> bool:
        """Whether the value is a real number, not an index or a truth value."""
        return bool(jnp.issubdtype(jnp.result_type(self.size), jnp.floating))

    @property
    def slack(self) -> Any:
        """The error as an array."""
        return jnp.zeros_like(self.size) if self.error is None else self.error


@dataclass(frozen=True)
class Operation:
    """One equation about to be bounded.

    Attributes:
      equation: what is applied.
      args: its operands.
      opened: whether the equation is a gate that may be frozen to any tangent.
      dtypes: the dtypes of its outputs.
      product: relative error of a factor of a float32 product.
      where: `where(number)`, the equation that made a value, and its operands.
      gammas: every `gamma_k` that was asked for: the bound is rounded likewise.
    """

    equation: Equation
    args: tuple[Bounded, ...]
    opened: bool
    dtypes: tuple[Any, ...]
    product: float
    where: Callable[[int], tuple[Equation, tuple[Bounded, ...]] | None]
    gammas: list[float] = field(default_factory=list)

    @property
    def unit(self) -> float:
        """Unit roundoff of the result's dtype."""
        return float(jnp.finfo(self.dtypes[0]).eps) / 2

    @property
    def tiny(self) -> float:
        """The smallest normal number: what an underflow may lose."""
        return float(jnp.finfo(self.dtypes[0]).tiny)

    def gamma(self, terms: int) -> float:
        """`gamma_k` for `k = terms`, and one rounding more; 0 for no term."""
        ku = (terms + 1) * self.unit if terms else 0.0
        gamma = ku / (1 - ku) if ku < 1 else math.inf
        self.gammas.append(gamma)
        return gamma

    def apply(self, *arrays: Any, primitive: Any = None, **params: Any) -> list[Any]:
        """The primitive, or another one, with the equation's parameters."""
        eqn = self.equation
        return _jax.bind(primitive or eqn.primitive, {**eqn.params, **params}, arrays)

    def refuse(self, why: str) -> UnsupportedPrimitiveError:
        """The error to raise where no bound is known."""
        return UnsupportedPrimitiveError(
            f"cannot bound the rounding of `{self.equation.primitive}` at "
            f"{self.equation.source}.\n  why:     {why}\n  try:     pass a rule: "
            "rounding_bound(program, rules={**ROUNDING_RULES, primitive: rule})"
        )


Bounds = tuple[Sequence[Any], Sequence[Any]]
RoundingRule = Callable[[Operation], Bounds]
Terms = Callable[[Operation], int]


def linear(terms: Terms) -> RoundingRule:
    """Sums of `k` operands with coefficients +-1: `e' = sum (e + gamma_k m)`."""

    def rule(op: Operation) -> Bounds:
        k = terms(op)
        primitive = lax.add_p if op.equation.primitive is lax.sub_p else None
        sizes = op.apply(*(a.size for a in op.args), primitive=primitive)
        if k == 0 and all(a.error is None for a in op.args):
            return sizes, [None] * len(sizes)
        gamma = op.gamma(k)
        errors = op.apply(
            *(a.slack + gamma * a.size if a.floating else a.size for a in op.args),
            primitive=primitive,
        )
        return sizes, [e + k * op.tiny if k else e for e in errors]

    return rule


def same(op: Operation) -> Bounds:
    """`|-z|`, `||z||`: size and error of `z`."""
    return [op.args[0].size], [op.args[0].error]


def bilinear(terms: Terms) -> RoundingRule:
    """Products: `e' = |a| e_b + e_a |b| + (gamma_k + 2 p + p^2) |a| |b|`."""

    def rule(op: Operation) -> Bounds:
        a, b = op.args
        params, k, p = {}, terms(op), 0.0
        if "precision" in op.equation.params:
            params["precision"] = lax.Precision.HIGHEST
            p = op.product if op.dtypes[0] != jnp.float64 else 0.0
        # Matrix units may truncate where they add up products of lower precision.
        gamma = op.gamma(4 * k if p else k)
        g = gamma + (2 * p + p * p) * (1 + gamma)

        def times(x: Any, y: Any) -> Any:
            return op.apply(x, y, **params)[0]

        if b.error is None:
            error = times(a.slack + g * a.size, b.size)
        else:
            error = times(a.size, b.slack + g * b.size)
            if a.error is not None:
                error = error + times(a.slack, b.size)
        return [times(a.size, b.size)], [error + k * op.tiny]

    return rule


def division(op: Operation) -> Bounds:
    """`z / c` with `|c| >= l`: `e' = (e_z + (m_z / l) e_c) / l + gamma_2 m_z / l`."""
    z, c = op.args
    if c.value is None:
        raise op.refuse("its denominator lies behind an opened gate")
    low = jnp.maximum(jnp.abs(c.value) - 2 * c.slack, jnp.zeros_like(c.slack))
    size = z.size / low
    error = (z.slack + size * c.slack) / low + op.gamma(2) * size + op.tiny
    return [size], [error]


def convert(op: Operation) -> Bounds:
    """Between float dtypes: one rounding where the new one is narrower."""
    (z,), dtype = op.args, op.dtypes[0]
    if not z.floating:
        return op.apply(z.size), [None]
    size, slack = op.apply(z.size)[0], op.apply(z.slack)[0]
    if jnp.finfo(dtype).eps <= jnp.finfo(jnp.result_type(z.size)).eps:
        return [size], [None if z.error is None else slack]
    return [size], [slack + op.gamma(1) * size + op.tiny]


def extremum(op: Operation) -> Bounds:
    """`max(y, z)`: the larger error; that of the winner where it is certain."""
    y, z = op.args
    shape = np.broadcast_shapes(np.shape(y.size), np.shape(z.size))
    sizes, slack = [jnp.maximum(y.size, z.size)], jnp.maximum(y.slack, z.slack)
    if op.opened or y.value is None or z.value is None:
        return sizes, [jnp.broadcast_to(slack, shape)]
    sign = 1 if op.equation.primitive is lax.max_p else -1
    lead = sign * (y.value - z.value)
    doubt = 2 * (y.slack + z.slack) + op.gamma(1) * jnp.abs(lead)
    slack = jnp.where(lead > doubt, y.slack, jnp.where(-lead > doubt, z.slack, slack))
    return sizes, [slack]


def over(primitive: Any, **more: Any) -> RoundingRule:
    """Max-pool and its like: the largest error among the values compared."""

    def rule(op: Operation) -> Bounds:
        def largest(x: Any) -> Any:
            return op.apply(x, primitive=primitive, **more)[0]

        (z,) = op.args
        return [largest(z.size)], [None if z.error is None else largest(z.error)]

    return rule


def selection(op: Operation) -> Bounds:
    """`select(p > q, A, B)`: where `p - q` is in doubt, the two cases' difference."""
    predicate, *cases = op.args
    choose = lambda *x: op.apply(predicate.value, *x)[0]  # noqa: E731
    if predicate.error is None:
        exact = all(c.error is None for c in cases)
        error = None if exact else choose(*(c.slack for c in cases))
        return [choose(*(c.size for c in cases))], [error]
    made = op.where(op.equation.inputs[0])
    while made is not None and made[0].primitive is lax.not_p:
        made = op.where(made[0].inputs[0])
    if made is None or made[0].primitive not in _COMPARISONS or len(cases) != 2:
        raise op.refuse("its condition is no comparison of two values")
    (p, q), (a, b) = made[1], cases
    if any(v.value is None for v in (p, q, a, b)):
        raise op.refuse("its condition lies behind an opened gate")
    doubt = jnp.abs(p.value - q.value) * (1 + op.gamma(1))
    doubt = doubt <= 2 * (p.slack + q.slack)
    jump = jnp.abs(a.value - b.value) * (1 + op.gamma(1)) + 2 * (a.slack + b.slack)
    either = jnp.maximum(a.slack, b.slack)
    error = either if op.opened else choose(a.slack, b.slack)
    size = jnp.maximum(a.size, b.size)
    return [size], [jnp.where(doubt, jnp.maximum(either, jump), error)]


def condition(op: Operation) -> Bounds:
    """A truth value: right or wrong, so its error counts where it is read."""
    return [jnp.ones(op.args[0].size.shape, bool)], [0.0]


def _reduced(op: Operation) -> int:
    shape = np.shape(op.args[0].size)
    return math.prod(shape[axis] for axis in op.equation.params["axes"])


def _window(op: Operation) -> int:
    return math.prod(op.equation.params["window_dimensions"])


def _contracted(op: Operation) -> int:
    axes = op.equation.params["dimension_numbers"][0][0]
    return math.prod(np.shape(op.args[0].size)[axis] for axis in axes)


def _kernel(op: Operation) -> int:
    out = op.equation.params["dimension_numbers"].rhs_spec[0]
    shape = np.shape(op.args[1].size)
    return math.prod(shape) // max(1, shape[out])


_COMPARISONS = (lax.gt_p, lax.ge_p, lax.lt_p, lax.le_p)
_MOVES = (
    lax.reshape_p,
    lax.squeeze_p,
    lax.transpose_p,
    lax.broadcast_in_dim_p,
    lax.concatenate_p,
    lax.pad_p,
    lax.slice_p,
    lax.rev_p,
    lax.split_p,
    lax.copy_p,
    lax.stop_gradient_p,
    lax.dynamic_slice_p,
    lax.dynamic_update_slice_p,
    lax.gather_p,
    lax.scatter_p,
)
_SUMS = (lax.add_p, lax.sub_p, _jax.primitives.add_jaxvals_p)
PIECEWISE_ROUNDING: Mapping[Any, RoundingRule] = MappingProxyType(
    {
        **dict.fromkeys(_MOVES, linear(lambda op: 0)),
        **dict.fromkeys(_SUMS, linear(lambda op: 1)),
        lax.reduce_sum_p: linear(_reduced),
        lax.reduce_window_sum_p: linear(_window),
        lax.cumsum_p: linear(lambda op: np.size(op.args[0].size)),
        lax.scatter_add_p: linear(lambda op: np.size(op.args[2].size)),
        lax.neg_p: same,
        lax.abs_p: same,
        lax.mul_p: bilinear(lambda op: 1),
        _jax.primitives.dot_general_p: bilinear(_contracted),
        lax.conv_general_dilated_p: bilinear(_kernel),
        lax.div_p: division,
        lax.convert_element_type_p: convert,
        lax.max_p: extremum,
        lax.min_p: extremum,
        lax.reduce_max_p: over(lax.reduce_max_p),
        lax.reduce_min_p: over(lax.reduce_max_p),
        lax.reduce_window_max_p: over(lax.reduce_window_max_p),
        lax.reduce_window_min_p: over(lax.reduce_window_max_p),
        lax.cummax_p: over(lax.cummax_p),
        lax.cummin_p: over(lax.cummax_p),
        lax.select_n_p: selection,
        **dict.fromkeys((*_COMPARISONS, lax.not_p), condition),
    }
)
