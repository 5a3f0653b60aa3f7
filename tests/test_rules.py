"""Every rule of the table: exact where it answers, loud where it refuses."""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import ecg_jax as ej
from ecg_jax.lattice.descent import descend
from ecg_jax.program._jax import primitives
from ecg_jax.rules.complex import modulus
from ecg_jax.rules.difference import CURVATURES, FUNCTIONS, exact_gelu, tanh_gelu
from ecg_jax.rules.interpolation import _extrapolated, _interp
from ecg_jax.rules.pieces import huber

SHAPE = (3, 4)


@dataclass(frozen=True)
class Case:
    """A function [3, 4] -> array in which the rule of a primitive is asked.

    `tolerance` 0 asks for equality bit for bit; `refused` is a part of the message.
    """

    fn: Any
    tolerance: float = 0.0
    refused: str = ""


def smooth(fn):
    return Case(fn, tolerance=1e-12)


def affine(fn):
    """Applied below a ReLU and above one; the second alone would be an atom's tail."""
    return Case(lambda x: jax.nn.relu(fn(jnp.abs(x) - 1.0)))


def refused(fn, why):
    return Case(fn, refused=why)


C = jnp.asarray(np.random.default_rng(0).integers(-2, 3, SHAPE) / 2)
SQUARE = jnp.asarray(np.random.default_rng(1).integers(-1, 2, (4, 4)) / 1.0)
KERNEL = jnp.asarray(np.random.default_rng(2).integers(-1, 2, (6, 1, 2)) / 1.0)
WIDE = jnp.asarray(np.random.default_rng(3).integers(-1, 2, (2, 3, 2)) / 1.0)
TURN = lax.complex(1.0, -2.0)
ONE = jnp.ones(())
TRIANGLE = jnp.asarray([[2.0, 0, 0], [1, 1, 0], [-1, 2, 4]])
KNOTS = jnp.asarray([-1.5, -0.5, 0.25, 1.0])
TWICE = jnp.asarray([0, 2, 2])


def grouped_conv(x):
    return lax.conv_general_dilated(
        x[None], KERNEL, (2,), [(1, 2)], rhs_dilation=(2,), feature_group_count=3
    )


def transposed_conv(x):
    return lax.conv_general_dilated(x[None], WIDE, (1,), [(1, 1)], lhs_dilation=(2,))


def running_sum(x):
    return lax.scan(lambda c, row: (c + row, c - row), x[0], x, reverse=True)[1]


def sharded(x):
    mesh = jax.make_mesh((2,), ("time",), (jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec(None, "time")
    return lax.with_sharding_constraint(x, jax.sharding.NamedSharding(mesh, spec))


PRODUCT = "product of two values that both depend on the input"
JUMP = "is discontinuous in the input"
SIGN = "the sign of the operand is not proven"

AFFINE_CASES = {
    lax.add_p: affine(lambda x: x + x[::-1] + C),
    lax.sub_p: affine(lambda x: C - x),
    lax.neg_p: affine(lambda x: -x),
    primitives.add_jaxvals_p: affine(lambda x: primitives.add_jaxvals_p.bind(x, C)),
    lax.reduce_sum_p: affine(lambda x: jnp.sum(x, axis=1)),
    lax.reduce_window_sum_p: affine(
        lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 2), "SAME")
    ),
    lax.cumsum_p: affine(lambda x: lax.cumsum(x, axis=1, reverse=True)),
    lax.reshape_p: affine(lambda x: x.reshape(2, 6)),
    lax.squeeze_p: affine(lambda x: lax.squeeze(x[None], (0,))),
    lax.transpose_p: affine(lambda x: x.T),
    lax.broadcast_in_dim_p: affine(lambda x: lax.broadcast(x, (2,))),
    lax.concatenate_p: affine(lambda x: jnp.concatenate([x, C, 2 * x])),
    lax.pad_p: affine(lambda x: lax.pad(x, 0.5, [(1, -1, 0), (-1, 2, 1)])),
    lax.slice_p: affine(lambda x: lax.slice(x, (0, 1), (3, 4), (2, 2))),
    lax.rev_p: affine(lambda x: lax.rev(x, (1,))),
    lax.split_p: affine(lambda x: lax.split(x, (1, 3), axis=1)[1]),
    lax.mul_p: affine(lambda x: x * C),
    lax.div_p: affine(lambda x: x / 4),
    primitives.dot_general_p: affine(lambda x: x @ SQUARE),
    lax.conv_general_dilated_p: affine(
        lambda x: jnp.concatenate(
            [grouped_conv(x).reshape(-1), transposed_conv(x).reshape(-1)]
        )
    ),
    lax.dynamic_slice_p: affine(lambda x: lax.dynamic_slice(x, (2, 9), (2, 2))),
    lax.dynamic_update_slice_p: affine(
        lambda x: lax.dynamic_update_slice(x, 2 * x[:1, :2], (9, 1))
    ),
    lax.gather_p: affine(
        lambda x: x.at[jnp.asarray([0, 7, 2])].get(mode="fill", fill_value=0.5)
    ),
    lax.scatter_p: affine(lambda x: x.at[1, 2].set(x[0, 0])),
    lax.scatter_add_p: affine(lambda x: x.at[TWICE].add(x)),
    lax.copy_p: affine(lambda x: lax.copy_p.bind(x)),
    lax.stop_gradient_p: affine(lambda x: lax.stop_gradient(2 * x) + x),
    lax.sharding_constraint_p: affine(sharded),
    primitives.name_p: affine(lambda x: checkpoint_name(x, "here")),
    lax.optimization_barrier_p: affine(lambda x: lax.optimization_barrier((x, C))[0]),
    primitives.device_put_p: affine(lambda x: jax.device_put(x)),
    lax.convert_element_type_p: affine(
        lambda x: x.astype(jnp.float32).astype(jnp.float64)
    ),
    lax.reduce_precision_p: refused(
        lambda x: lax.reduce_precision(x, 5, 4), "rounding to fewer bits"
    ),
    lax.scan_p: affine(running_sum),
    lax.cond_p: affine(
        lambda x: lax.cond(jnp.sum(C) > 100, lambda a: a, lambda a: -a, x)
    ),
}
AFFINE_CASES |= {
    lax.fft_p: affine(lambda x: jnp.fft.fft(x).real),
    lax.real_p: affine(lambda x: lax.real(TURN * lax.complex(x, x))),
    lax.imag_p: affine(lambda x: lax.imag(TURN * lax.complex(x, x))),
    lax.conj_p: affine(lambda x: lax.imag(lax.conj(lax.complex(x, 2 * x)))),
    lax.complex_p: affine(lambda x: lax.real(TURN * lax.complex(x, C))),
    lax.scatter_mul_p: affine(lambda x: x.at[TWICE].multiply(C[0])),
    lax.while_p: affine(
        lambda x: lax.while_loop(
            lambda s: s[0] < 3, lambda s: (s[0] + 1, 2 * s[1] - C), (0, x)
        )[1]
    ),
    lax.reduce_p: affine(lambda x: lax.reduce(x, ONE, lax.add, (0,))),
    lax.reduce_window_p: affine(
        lambda x: lax.reduce_window(x, 0 * ONE, lax.add, (2, 2), (1, 2), "SAME")
    ),
    lax.linear_solve_p: affine(lambda x: jnp.linalg.solve(2 * jnp.eye(3), x)),
    lax.linalg.triangular_solve_p: affine(
        lambda x: lax.linalg.triangular_solve(TRIANGLE, x, left_side=True, lower=True)
    ),
}
for name, fn in {
    "tile_p": lambda x: jnp.tile(x, (1, 2)),
    "stack_p": lambda x: lax.stack_p.bind(x, C, axis=1),
    "unstack_p": lambda x: lax.unstack_p.bind(x, axis=0)[1],
    "scatter_sub_p": lambda x: x.at[TWICE].subtract(x),
}.items():
    if hasattr(lax, name):
        AFFINE_CASES[getattr(lax, name)] = affine(fn)

GATE_CASES = {
    lax.max_p: Case(lambda x: jnp.maximum(x, C) + jnp.maximum(x[0], x[1])[None]),
    lax.min_p: Case(lambda x: jnp.minimum(C, x) + jnp.minimum(x[0], x[1])[None]),
    lax.abs_p: Case(jnp.abs),
    lax.clamp_p: Case(lambda x: lax.clamp(-0.5, x, 1.0)),
    lax.select_n_p: Case(lambda x: jnp.where(x > 0.5, x, 2 * x - 0.5)),
    lax.eq_p: Case(lambda x: jnp.where(jnp.abs(x) == jnp.inf, 7.0, jnp.abs(x))),
    lax.ne_p: Case(lambda x: jnp.where(x != x, 7.0, jnp.abs(x))),
    lax.is_finite_p: Case(lambda x: jnp.where(jnp.isfinite(x), jnp.abs(x), 7.0)),
    lax.not_p: Case(lambda x: jnp.where(~(x > 0), 0.0, x)),
    lax.and_p: refused(
        lambda x: jnp.where((x > 0) & (x < 1), x, 0.0), "a connective of conditions"
    ),
    lax.or_p: Case(
        lambda x: jnp.where((x > 0) | jnp.zeros(SHAPE, bool), x, 0.0),
    ),
    lax.gt_p: Case(lambda x: jnp.where(x > 0, x, 0.25 * x)),
    lax.ge_p: Case(lambda x: jnp.where(2 * x >= 1, 3.0, x + 2.5)),
    lax.lt_p: Case(lambda x: jnp.where(x < 0, -x, 2 * x)),
    lax.le_p: Case(lambda x: jnp.where(x[::-1] <= x, x[::-1], x)),
    lax.sign_p: refused(jnp.sign, JUMP),
    lax.floor_p: refused(jnp.floor, JUMP),
    lax.ceil_p: refused(jnp.ceil, JUMP),
    lax.round_p: refused(jnp.round, JUMP),
    lax.rem_p: refused(lambda x: lax.rem(x, 2.0 + 0 * C), JUMP),
    lax.atan2_p: smooth(lambda x: jnp.arctan2(x, jnp.exp(x[::-1]))),
    lax.reduce_prod_p: smooth(lambda x: jnp.prod(x, 0) + jnp.prod(x, (0, 1))),
    lax.cumprod_p: smooth(lambda x: lax.cumprod(x, 1, reverse=True)),
    lax.argmax_p: refused(
        lambda x: jnp.argmax(x, axis=1).astype(float), "conversion from int"
    ),
    lax.argmin_p: refused(
        lambda x: x[:, jnp.argmin(x[0])], "an index depends on the input"
    ),
    lax.reduce_max_p: Case(lambda x: jnp.max(x, axis=(0,))),
    lax.reduce_min_p: Case(lambda x: jnp.min(x, axis=(0, 1))[None]),
    lax.reduce_window_max_p: Case(
        lambda x: lax.reduce_window(
            x, -jnp.inf, lax.max, (2, 2), (1, 2), ((1, 0), (0, 1)), None, (1, 2)
        )
    ),
    lax.reduce_window_min_p: Case(
        lambda x: lax.reduce_window(x, jnp.inf, lax.min, (1, 3), (1, 1), "SAME")
    ),
    lax.cummax_p: Case(lambda x: lax.cummax(x, axis=1, reverse=True)),
    lax.cummin_p: Case(lambda x: lax.cummin(x, axis=0)),
    lax.sort_p: Case(lambda x: jnp.sort(x, axis=0)),
    lax.top_k_p: Case(lambda x: lax.top_k(x, 2)[0]),
}

SMOOTH_CASES = {
    lax.exp_p: smooth(jnp.exp),
    lax.exp2_p: smooth(jnp.exp2),
    lax.expm1_p: smooth(jnp.expm1),
    lax.square_p: smooth(lax.square),
    lax.cosh_p: smooth(jnp.cosh),
    lax.sinh_p: smooth(jnp.sinh),
    lax.log_p: smooth(lambda x: jnp.log(jnp.sum(jnp.exp(x), axis=0))),
    lax.log1p_p: smooth(lambda x: jnp.log1p(jnp.exp(x) + jnp.abs(x))),
    lax.sqrt_p: smooth(lambda x: jnp.sqrt(jnp.sum(jnp.square(x), axis=0) + 0.25)),
    lax.rsqrt_p: smooth(lambda x: lax.rsqrt(jax.nn.relu(x) + 0.5)),
    lax.cbrt_p: smooth(lambda x: jnp.cbrt(jnp.abs(x) + 1) + jnp.cbrt(-1 - jnp.exp(x))),
    lax.integer_pow_p: smooth(lambda x: x**4 + x**3 + 1 / (1 + x**2)),
    lax.pow_p: smooth(lambda x: jnp.abs(x + 0.1) ** 1.5 + 2.0**x),
    jax.nn.softplus: smooth(jax.nn.softplus),
    jax.nn.squareplus: smooth(jax.nn.squareplus),
    jax.nn.sparse_plus: smooth(jax.nn.sparse_plus),
    jnp.logaddexp: smooth(lambda x: jnp.logaddexp(x, x[::-1]) + jnp.logaddexp(C, x)),
    jax.nn.logsumexp: smooth(lambda x: jax.jit(jax.nn.logsumexp)(x)[None]),
    jnp.linalg.norm: smooth(lambda x: jnp.linalg.norm(x + 0.1)[None]),
    jax.nn.elu: smooth(lambda x: jax.nn.elu(x) + jax.nn.elu(x, 0.5) + jax.nn.selu(x)),
    jax.nn.silu: smooth(jax.nn.silu),
    jax.nn.mish: smooth(jax.nn.mish),
    jax.nn.soft_sign: smooth(jax.nn.soft_sign),
    jax.nn.hard_silu: smooth(jax.nn.hard_silu),
    lax.logistic_p: smooth(jax.nn.sigmoid),
    lax.tanh_p: smooth(jnp.tanh),
    lax.erf_p: smooth(lax.erf),
    lax.erfc_p: smooth(lax.erfc),
    lax.atan_p: smooth(jnp.arctan),
    lax.asinh_p: smooth(jnp.arcsinh),
    lax.sin_p: smooth(jnp.sin),
    lax.cos_p: smooth(jnp.cos),
    modulus: smooth(lambda x: jnp.abs(TURN * lax.complex(x, C + x[::-1]))),
    huber: smooth(lambda x: jnp.where(jnp.abs(x) < 1.0, 0.5 * x**2, jnp.abs(x) - 0.5)),
    _interp: smooth(lambda x: jnp.interp(x, KNOTS, jnp.sin(3 * KNOTS))),
    _extrapolated: smooth(
        lambda x: jnp.interp(
            x, KNOTS, KNOTS**3, left="extrapolate", right="extrapolate"
        )
    ),
    exact_gelu: smooth(exact_gelu),
    tanh_gelu: smooth(tanh_gelu),
}

CASES = {**AFFINE_CASES, **GATE_CASES, **SMOOTH_CASES}

PRODUCT_CASES = {
    "product": smooth(lambda x: x * (x[::-1] + C)),
    "product with a number": smooth(lambda x: x * x[1, 1]),
    "quotient": smooth(lambda x: x / (1 + x[::-1] ** 2)),
    "quotient by a negative number": smooth(lambda x: x / -jnp.exp(x[1, 1])),
    "matrix product": smooth(lambda x: x @ (x + C).T),
    "matrix products in batches": smooth(
        lambda x: jnp.einsum(
            "ijk,ljk->kil", x.reshape(3, 2, 2), jnp.tanh(C * x + 1).reshape(3, 2, 2)
        )
    ),
    "inner product": smooth(lambda x: (x[0] @ x[1])[None]),
}
"""Products and quotients of live values: the rules of `mul`, `div`, `dot_general`."""


def name_of(key):
    return getattr(key, "name", None) or getattr(key, "__name__", str(key))


def scalar(fn):
    def f(x):
        out = fn(x)
        weights = np.resize([1.0, -1.0, 2.0, -0.5, 0.0, 0.25, -2.0], out.size)
        return jnp.sum(jnp.asarray(weights.reshape(out.shape), out.dtype) * out)

    return f


def inputs(count=5):
    x = np.random.default_rng(7).integers(-8, 9, (count, *SHAPE)) / 4
    x[0] = 0
    return jnp.asarray(x)


def spied(key):
    """The table with one rule replaced by itself and a record of its use."""
    asked = []

    def rule(application):
        asked.append(application)
        return ej.RULES[key](application)

    return {**ej.RULES, key: rule}, asked


def test_every_rule_has_a_case():
    assert {name_of(key) for key in CASES} == {name_of(key) for key in ej.RULES}
    assert set(CASES) == set(ej.RULES)


@pytest.mark.parametrize("key", CASES, ids=name_of)
def test_rule(key):
    case = CASES[key]
    f = scalar(case.fn)
    rules, asked = spied(key)
    x = inputs()
    if case.refused:
        with pytest.raises(ej.UnsupportedPrimitiveError, match=case.refused):
            factored_to_atoms(f, x, rules, case.tolerance)
    else:
        factored_to_atoms(f, x, rules, case.tolerance)
    assert asked, "the function does not reach the rule"


@pytest.mark.parametrize("name", PRODUCT_CASES)
def test_products_of_live_values(name):
    case = PRODUCT_CASES[name]
    factored_to_atoms(scalar(case.fn), inputs(), ej.RULES, case.tolerance)


def factored_to_atoms(f, x, rules, tolerance):
    """Own components equal f, bounds hold across pairs, at every level down."""
    while True:
        try:
            eq = ej.factor(f, x[0], rules=rules)
        except ej.NoGateError:
            return
        value, again, own, below, above = across(f, eq, x)
        room = tolerance * (1 + np.abs(value))
        assert np.all(np.abs(again - value) <= room)
        assert np.all(np.abs(own - value) <= room)
        assert np.all(below <= value + room)
        assert np.all(above >= value - room)
        f = eq.component(*eq.pattern(x[1]))


def across(f, eq, x):
    """The function, its equation and own components at `x`, and all bounds there."""

    @jax.jit
    def values(x):
        mu, tau = jax.vmap(eq.pattern)(x)
        own = jax.vmap(lambda m, t, a: eq.component(m, t)(a))(mu, tau, x)
        below = jax.vmap(lambda m: jax.vmap(eq.witness(m))(x))(mu)
        above = jax.vmap(lambda t: jax.vmap(eq.refuter(t))(x))(tau)
        return jax.vmap(f)(x), jax.vmap(eq)(x), own, below, above

    return map(np.asarray, values(x))


def test_an_unknown_primitive_is_refused_never_guessed():
    with pytest.raises(ej.UnsupportedPrimitiveError, match="no rule for `lgamma`"):
        ej.factor(lambda x: jnp.sum(lax.lgamma(x)), jnp.ones(3))


def test_a_rule_given_by_argument_is_used():
    from ecg_jax.rules.smooth import smooth as smooth_rule

    rules = {**ej.RULES, lax.lgamma_p: smooth_rule(+1, fill=1.0)}
    f = lambda x: jnp.sum(lax.lgamma(jnp.abs(x) + 1))  # noqa: E731
    eq = ej.factor(f, jnp.ones(3), rules=rules)
    x = jnp.asarray([0.5, -1.0, 2.0])
    assert np.allclose(eq.component(*eq.pattern(x))(x), f(x), rtol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_curvature_constants_bound_the_second_derivative(name):
    z = jnp.linspace(-12, 12, 240_001)
    second = jax.vmap(jax.grad(jax.grad(FUNCTIONS[name])))(z)
    worst = float(-jnp.nanmin(second))
    assert worst <= CURVATURES[name] <= worst + 2e-4


REFUSED = {
    "convolution of two live values": (
        lambda x: lax.conv_general_dilated(x[None], x[None, :, :2], (1,), "SAME"),
        PRODUCT,
    ),
    "quotient of any sign": (lambda x: x / x[::-1], "sign is not proven"),
    "large product of two live values": (
        lambda x: jnp.tile(x, (400, 1)) @ jnp.tile(x, (400, 1)).T,
        "5,760,000 terms",
    ),
    "product of complex values": (
        lambda x: lax.real(jnp.dot(lax.complex(x, C), lax.complex(C, x).T)),
        "complex values that depend on the input",
    ),
    "sign not proven": (lambda x: jnp.sqrt(x), SIGN),
    "reciprocal of any sign": (lambda x: 1 / x, SIGN),
    "jump in a selection": (
        lambda x: jnp.where(x > 0, x + 1e-9, x),
        "the condition is not the sign",
    ),
    "selection on another value": (
        lambda x: jnp.where(x[::-1] > 0, x, 0.0),
        "the condition is not the sign",
    ),
    "truth values summed": (
        lambda x: jnp.sum(x > 0, axis=0).astype(float),
        "conversion from int",
    ),
    "live index": (lambda x: x[jnp.argmax(x[:, 0])], "an index depends on the input"),
    "half precision": (
        lambda x: x.astype(jnp.float16).astype(jnp.float64),
        "conversion from float",
    ),
    "live branch": (
        lambda x: lax.cond(x[0, 0] > 0, lambda a: a, lambda a: 2 * a, x),
        "a branch that depends on the input",
    ),
    "window in the padding": (
        lambda x: lax.reduce_window(
            x, -jnp.inf, lax.max, (1, 1), (1, 1), ((0, 0), (1, 0))
        ),
        "a window lies in the padding alone",
    ),
    "power of two live values": (lambda x: jnp.abs(x) ** x, "base and exponent"),
    "infinite constant wins": (
        lambda x: jnp.maximum(x, jnp.where(C > 0, jnp.inf, 0.0)),
        "a constant that is infinite",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    fn, why = REFUSED[name]
    with pytest.raises(ej.UnsupportedPrimitiveError, match=why):
        ej.factor(scalar(fn), inputs()[1])


EXACT = {
    "hard tanh": jax.nn.hard_tanh,
    "relu6": jax.nn.relu6,
    "live bounds of a clamp": lambda x: lax.clamp(x[::-1], x, x[::-1] + 1),
    "live bounds of a clamp, one for all": lambda x: lax.clamp(x[0, 0], x, x[0, 0] + 1),
    "leaky slope above 1": lambda x: jax.nn.leaky_relu(x, 2.0),
    "prelu, slopes of either sign": lambda x: jnp.where(x > 0, x, C * x),
    "leaky of a relu": lambda x: jax.nn.leaky_relu(jax.nn.relu(x), 0.5),
    "three pieces": lambda x: jnp.where(x > 1, 2 * x - 1, jnp.maximum(x, 0)),
    "soft shrink": lambda x: jnp.where(
        x > 0.5, x - 0.5, jnp.where(x < -0.5, x + 0.5, 0.0)
    ),
    "max with -inf": lambda x: jnp.maximum(x, -jnp.inf) + jnp.abs(x),
    "max where, initial": lambda x: jnp.max(x, 0, where=C > 0, initial=-1.0),
    "masked then leaky": lambda x: jax.nn.leaky_relu(jnp.where(C > 0, x, 0.5), 0.5),
    "the same value twice": lambda x: jnp.maximum(x, x) + jnp.abs(x) - jnp.abs(x),
    "median": lambda x: jnp.median(x, axis=0, keepdims=True),
    "abs of a proven sign": lambda x: jnp.abs(jax.nn.relu(x)),
    "duplicate scatter": lambda x: jnp.abs(x.at[TWICE].set(2 * x)),
    "clipped gather": lambda x: jnp.abs(x.at[:, jnp.asarray([9])].get(mode="clip")),
    "no reduction axes": lambda x: jnp.abs(jnp.max(x, axis=())),
    "scalar condition": lambda x: jnp.where(x[0, 0] > 0, x[0, 0], 0.5 * x[0, 0])[None],
}


@pytest.mark.parametrize("name", EXACT)
def test_exact(name):
    factored_to_atoms(scalar(EXACT[name]), inputs(), ej.RULES, 0.0)


WRITTEN_OUT = {
    "gelu, erf form": lambda x: x * (1 + lax.erf(x / np.sqrt(2))) / 2,
    "gelu, erfc form": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu, tanh form": jax.nn.gelu,
    "silu as a product": lambda x: x * jax.nn.sigmoid(x),
    "swish with a rate": lambda x: jax.nn.sigmoid(1.702 * x) * (0.5 * x),
    "gelu of a sum, tanh form": lambda x: jax.nn.gelu(x + C),
    "gelu of a sum, erf form": lambda x: (
        (0.5 * (x + C)) * (1 + lax.erf((x + C) / np.sqrt(2)))
    ),
    "silu of a sum": lambda x: 2 * (x + C) * jax.nn.sigmoid(x + C),
    "variance": lambda x: jnp.var(x, axis=0),
    "standard deviation": lambda x: jnp.std(x + C, axis=0),
    "log softmax": lambda x: jax.nn.log_softmax(x, axis=0),
    "logsumexp": lambda x: jax.nn.logsumexp(x, axis=1),
    "log sigmoid": jax.nn.log_sigmoid,
    "celu": jax.nn.celu,
    "reciprocal": lambda x: 1 / (1 + jnp.exp(-x)),
    "float power": lambda x: jnp.abs(x) ** 2.0,
    "norm along an axis": lambda x: jnp.sqrt(jnp.sum(x * x, axis=0) + 1e-3),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_smooth_functions_as_users_write_them(name):
    factored_to_atoms(scalar(WRITTEN_OUT[name]), inputs(), ej.RULES, 1e-12)


@pytest.mark.parametrize("name", [*WRITTEN_OUT, "selu"])
@jax.numpy_dtype_promotion("standard")
def test_smooth_functions_of_float32_stay_float32(name):
    """Also where 64-bit numbers are on, and constants are wider than values."""
    fn = WRITTEN_OUT.get(name, jax.nn.selu)
    x = inputs().astype(jnp.float32)
    narrow = lambda x: scalar(lambda a: fn(a).astype(jnp.float32))(x)  # noqa: E731
    eq = ej.factor(narrow, x[1])
    component = eq.component(*eq.pattern(x[1]))
    assert component(x[1]).dtype == narrow(x[1]).dtype == jnp.float32
    assert np.allclose(component(x[1]), narrow(x[1]), rtol=1e-5, atol=1e-5)


LAYERS = {
    "gelu": 1,
    "silu": 1,
    "swish": 1,
    "softplus": 1,
    "elu": 1,
    "selu": 2,
    "celu": 2,
    "hard_swish": 1,
    "leaky_relu": 1,
    "relu6": 2,
    "hard_tanh": 2,
    "hard_sigmoid": 2,
    "log_sigmoid": 1,
    "sigmoid": 1,
    "tanh": 1,
    "soft_sign": 1,
    "PReLU": 1,
    "max_pool": 1,
    "avg_pool": 1,
    "BatchNorm": 1,
}


def layer(library, name):
    """A layer of flax linen or nnx as a function of [3, 4]; ReLU around linear ones."""
    if name.endswith("pool"):
        pool = getattr(library, name)
        return lambda x: pool(jax.nn.relu(x)[None], (3,), (2,), "SAME")[0]
    if name == "BatchNorm" and library is nn:
        module = nn.BatchNorm(use_running_average=True)
        variables = module.init(jax.random.key(0), inputs())
        return lambda x: jax.nn.relu(module.apply(variables, x) + C)
    if name == "BatchNorm":
        module = nnx.BatchNorm(4, use_running_average=True, rngs=nnx.Rngs(0))
        return lambda x: jax.nn.relu(module(x) + C)
    if name == "PReLU" and library is nn:
        variables = nn.PReLU().init(jax.random.key(0), C)
        return lambda x: nn.PReLU().apply(variables, x)
    return nnx.PReLU() if name == "PReLU" else getattr(library, name)


@pytest.mark.parametrize("library", [nn, nnx], ids=["linen", "nnx"])
@pytest.mark.parametrize("name", LAYERS)
@jax.numpy_dtype_promotion("standard")
def test_layers_of_flax(library, name):
    f = scalar(layer(library, name))
    levels = LAYERS[name] + (name == "max_pool")
    assert descend(f, inputs()[1]).num_levels == levels
    factored_to_atoms(f, inputs(), ej.RULES, 1e-6)


@jax.numpy_dtype_promotion("standard")
def test_a_slope_wider_than_its_value():
    """Float32 promoted to float64: the condition is still the sign of its operand."""
    f = scalar(lambda x: jnp.where(x > 0, x, C * x))
    x = inputs().astype(jnp.float32)
    assert [gate.name for gate in ej.factor(f, x[1]).gates] == ["select"]
    assert ej.certify(ej.factor(f, x[1]), np.asarray(x), num_pairs=64).holds


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh"])
def test_products_of_one_value_are_one_gate_on_both_sides(name):
    eq = ej.factor(scalar(FUNCTIONS[name]), inputs()[1])
    assert [gate.name for gate in eq.gates] == [name]
    mu, tau = eq.pattern(inputs()[1])
    assert np.any(mu[0] != 0) and np.any(tau[0] != 0)
