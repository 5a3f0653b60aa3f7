"""How each primitive carries rounding errors: affine and piecewise linear ones.

One rule a primitive and no default. A rule gets bounds on the size and on the error of
its operands and answers with those of its outputs. The formulas hold for any two
evaluations of the same mathematics.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program import _jax
from ecg_jax.program.roles import Equation


@dataclass(frozen=True)
class Bounded:
    """A value `v` as computed, and what holds of it in exact arithmetic too.

    Attributes:
      value: as this evaluation computes it; None behind an opened gate.
      size: bound on `|v|`, computed or exact, of a complex value on its modulus; for
        integers and booleans, the value.
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
      shapes: the shapes of its outputs.
      product: relative error of a factor of a float32 product.
      where: `where(number)`, the equation that made a value, and its operands.
      evaluations: how many roundings like that of the program are counted.
      gammas: every `gamma_k` that was asked for: the bound is rounded likewise.
    """

    equation: Equation
    args: tuple[Bounded, ...]
    opened: bool
    dtypes: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...]
    product: float
    where: Callable[[int], tuple[Equation, tuple[Bounded, ...]] | None]
    evaluations: float = 1.0
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
        gamma = self.evaluations * ku / (1 - ku) if ku < 1 else math.inf
        self.gammas.append(gamma)
        return gamma

    def apply(self, *arrays: Any, primitive: Any = None, **params: Any) -> list[Any]:
        """The primitive, or another one, with the equation's parameters."""
        eqn = self.equation
        return _jax.bind(primitive or eqn.primitive, {**eqn.params, **params}, arrays)

    def of_sizes(self, *arrays: Any, primitive: Any = None, **params: Any) -> list[Any]:
        """The same of bounds: moduli are real, so no dtype in it is complex."""
        real = {
            key: _real(value)
            for key, value in self.equation.params.items()
            if key in ("preferred_element_type", "new_dtype") and value is not None
        }
        if primitive is not None and "update_jaxpr" in self.equation.params:
            real |= {"update_jaxpr": None}
        return self.apply(*arrays, primitive=primitive, **{**real, **params})

    @property
    def complex(self) -> bool:
        """Whether the result is complex: its arithmetic takes several roundings."""
        return bool(jnp.issubdtype(self.dtypes[0], jnp.complexfloating))

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
        primitive = _POSITIVE.get(op.equation.primitive)
        fill = op.equation.params.get("fill_value")  # of `gather`: exact
        large = {} if fill is None else {"fill_value": abs(fill)}
        exact = dict.fromkeys(large, 0)
        sizes = op.of_sizes(*(a.size for a in op.args), primitive=primitive, **large)
        if k == 0 and all(a.error is None for a in op.args):
            return sizes, [None] * len(sizes)
        gamma = op.gamma(k)
        errors = op.of_sizes(
            *(a.slack + gamma * a.size if a.floating else a.size for a in op.args),
            primitive=primitive,
            **exact,
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
            wide = op.dtypes[0] in (jnp.float64, jnp.complex128)
            p = 0.0 if wide else op.product
        if op.complex:  # four products and two sums, or three and five
            k, p = 8 * k, 4 * p
        # Matrix units may truncate where they add up products of lower precision.
        gamma = op.gamma(4 * k if p else k)
        g = gamma + (2 * p + p * p) * (1 + gamma)

        def times(x: Any, y: Any) -> Any:
            return op.of_sizes(x, y, **params)[0]

        if b.error is None:
            error = times(a.slack + g * a.size, b.size)
        else:
            error = times(a.size, b.slack + g * b.size)
            if a.error is not None:
                error = error + times(a.slack, b.size)
        return [times(a.size, b.size)], [error + k * op.tiny]

    return rule


def scaled(op: Operation) -> Bounds:
    """`z[i] *= c`, `c` constant: products of up to all the factors."""
    z, where, factors = op.args
    if factors.error is not None:
        raise op.refuse("its factors are rounded themselves")
    k = np.size(factors.size)
    gamma = op.gamma(8 * k if op.complex else k)

    def times(v: Any) -> Any:
        return op.of_sizes(v, where.size, factors.size)[0]

    return [times(z.size)], [times(z.slack + gamma * z.size) + k * op.tiny]


def division(op: Operation) -> Bounds:
    """`z / c` with `|c| >= l`: `e' = (e_z + (m_z / l) e_c) / l + gamma_2 m_z / l`."""
    z, c = op.args
    if c.value is None:
        raise op.refuse("its denominator lies behind an opened gate")
    low = jnp.maximum(jnp.abs(c.value) - 2 * c.slack, jnp.zeros_like(c.slack))
    size = z.size / low
    terms = 16 if op.complex else 2
    error = (z.slack + size * c.slack) / low + op.gamma(terms) * size + op.tiny
    return [size], [error]


def convert(op: Operation) -> Bounds:
    """Between float dtypes: one rounding where the new one is narrower."""
    (z,), dtype = op.args, op.dtypes[0]
    if not z.floating:
        return op.apply(z.size), [None]
    size, slack = op.of_sizes(z.size)[0], op.of_sizes(z.slack)[0]
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
    if predicate.error is None and op.opened:  # frozen to either case
        error = functools.reduce(jnp.maximum, (c.slack for c in cases))
        return [functools.reduce(jnp.maximum, (c.size for c in cases))], [error]
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


def both(op: Operation) -> Bounds:
    """`re + i im`: no longer than the sum of both, nor is its error."""
    re, im = op.args
    exact = re.error is None and im.error is None
    return [re.size + im.size], [None if exact else re.slack + im.slack]


def spectrum(op: Operation) -> Bounds:
    """Fourier transforms: `e' = sum e + gamma_k sqrt(n) |m|_2`, `k ~ log2 n`.

    Any fast transform of length `n` is that accurate in norm (Higham, section 24.1);
    the largest prime factor of `n` counts too, for a factor may be summed directly.
    """
    (z,), lengths = op.args, op.equation.params["fft_lengths"]
    kind = op.equation.params["fft_type"].name
    axes, n = tuple(range(-len(lengths), 0)), math.prod(lengths)
    scale = (2.0 if kind == "IRFFT" else 1.0) / (n if kind.startswith("I") else 1)
    (out,) = op.shapes
    k = sum(16 * length.bit_length() + _largest_prime(length) for length in lengths)

    def spread(v: Any) -> Any:
        return jnp.broadcast_to(jnp.asarray(scale * v, jnp.result_type(z.size)), out)

    size = jnp.sum(z.size, axes, keepdims=True)
    norm = jnp.sqrt(n * jnp.sum(jnp.square(z.size), axes, keepdims=True))
    # Squares may underflow; the sum of sizes is no smaller than their root.
    norm = jnp.minimum(jnp.maximum(norm, size), math.sqrt(n) * size)
    error = jnp.sum(z.slack, axes, keepdims=True) + 2 * op.gamma(k) * norm
    return [spread(size)], [spread(error) + k * op.tiny]


def _largest_prime(n: int) -> int:
    factor, largest = 2, 1
    while factor * factor <= n:
        while n % factor == 0:
            n, largest = n // factor, factor
        factor += 1
    return max(n, largest)


def substitution(op: Operation) -> Bounds:
    """`T^-1 z`: `e' = M(T)^-1 (e + gamma_k |T| m')`, `m' = M(T)^-1 m`.

    `M(T)` has `|t_ii|` on the diagonal and `-|t_ij|` elsewhere; its inverse is no
    smaller than `|T^-1|`, entry by entry (Higham, section 8.3).
    """
    matrix, z = op.args
    if matrix.error is not None:
        raise op.refuse("its matrix is rounded itself")
    size = matrix.size
    n = size.shape[-1]
    diagonal = np.eye(n, dtype=bool)
    comparison = jnp.where(diagonal, size, -size)
    k = 8 * n if op.complex else n
    off = jnp.where(diagonal, jnp.maximum(size, 1), size)

    def solve(v: Any) -> Any:
        return op.of_sizes(comparison, v)[0]

    largest = jnp.abs(solve(z.size))
    left = op.equation.params["left_side"]
    rows = jnp.sum(jnp.abs(off), axis=(-2, -1))[..., None, None]
    total = jnp.max(largest, axis=-2 if left else -1, keepdims=True)
    residual = op.gamma(2 * k) * rows * total
    error = solve(z.slack + residual)
    return [largest * (1 + op.gamma(2 * k))], [jnp.abs(error) + k * op.tiny]


def _real(dtype: Any) -> Any:
    """The dtype of the modulus of values of a dtype."""
    return (
        np.dtype(jnp.finfo(dtype).dtype)
        if jnp.issubdtype(dtype, jnp.inexact)
        else dtype
    )


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
    *_jax.optional_primitives("tile_p", "stack_p", "unstack_p"),
)
_ADDED = (lax.scatter_add_p, *_jax.optional_primitives("scatter_sub_p"))
_POSITIVE: Mapping[Any, Any] = MappingProxyType(
    {
        lax.sub_p: lax.add_p,
        **dict.fromkeys(_jax.optional_primitives("scatter_sub_p"), lax.scatter_add_p),
    }
)
"""What adds up sizes where an operation subtracts."""
_SUMS = (lax.add_p, lax.sub_p, _jax.primitives.add_jaxvals_p)
PIECEWISE_ROUNDING: Mapping[Any, RoundingRule] = MappingProxyType(
    {
        **dict.fromkeys(_MOVES, linear(lambda op: 0)),
        **dict.fromkeys(_SUMS, linear(lambda op: 1)),
        lax.reduce_sum_p: linear(_reduced),
        lax.reduce_window_sum_p: linear(_window),
        lax.cumsum_p: linear(lambda op: np.size(op.args[0].size)),
        **dict.fromkeys(_ADDED, linear(lambda op: np.size(op.args[2].size))),
        lax.scatter_mul_p: scaled,
        lax.fft_p: spectrum,
        lax.complex_p: both,
        **dict.fromkeys((lax.real_p, lax.imag_p, lax.conj_p), same),
        lax.linalg.triangular_solve_p: substitution,
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
