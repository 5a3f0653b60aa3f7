"""Layers that multiply or divide two values that both see the input."""

from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.lattice.descent import descend

STEPS, FEATURES = 3, 4
PAIR = np.ones(2, np.float32)


class Excited(nn.Module):
    @nn.compact
    def __call__(self, x):
        return x * nn.sigmoid(nn.Dense(FEATURES)(nn.relu(nn.Dense(2)(x.mean(0)))))


class Gated(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(FEATURES)(x)) * nn.sigmoid(nn.Dense(FEATURES)(x))


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.softmax(nn.Dense(1)(x)[:, 0]) @ x


def z_score(x):
    return (x - x.mean()) / jnp.sqrt(x.var() + 1e-3)


MODULES = {
    "layer norm": (nn.LayerNorm(), 4),
    "layer norm, accurate variance": (nn.LayerNorm(use_fast_variance=False), 3),
    "RMS norm": (nn.RMSNorm(), 3),
    "group norm": (nn.GroupNorm(num_groups=2), 4),
    "instance norm": (nn.InstanceNorm(), 4),
    "squeeze-excitation": (Excited(), 3),
    "gated unit": (Gated(), 2),
    "GLU": (nn.glu, 2),
    "z-score": (z_score, 3),
    "softmax": (nn.softmax, 3),
    "attention pooling": (Pooled(), 4),
    "self-attention": (nn.MultiHeadDotProductAttention(2), 5),
    "LSTM": (nn.RNN(nn.OptimizedLSTMCell(2)), 12),
    "GRU": (nn.RNN(nn.GRUCell(2)), 11),
}
QUICK = [("gated unit", np.float32)]
"""Certificates of the others take minutes to compile, so they are slow."""


def network(name, dtype):
    """`head . layer(W x)`, a function of `[STEPS, FEATURES]`."""
    layer, levels = MODULES[name]
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(STEPS, FEATURES)), dtype)
    if isinstance(layer, nn.Module):
        variables = jax.tree.map(
            lambda v: v.astype(dtype), layer.init(jax.random.key(0), x)
        )
        layer = lambda h, layer=layer: layer.apply(variables, h)  # noqa: E731
    mix = jnp.asarray(rng.normal(size=(FEATURES, FEATURES)), dtype)
    head = jnp.asarray(rng.normal(size=layer(x).shape), dtype)
    return (lambda x: jnp.sum(head * layer(x @ mix))), levels


@pytest.mark.parametrize(
    ("name", "dtype"), some_slow(product(MODULES, (np.float32, np.float64)), QUICK)
)
@jax.numpy_dtype_promotion("standard")
@jax.numpy_rank_promotion("allow")
def test_layers(name, dtype):
    fn, levels = network(name, dtype)
    x = np.random.default_rng(1).normal(size=(24, STEPS, FEATURES)).astype(dtype)
    descent = descend(fn, x[0])
    assert descent.end is None
    assert descent.num_levels == levels
    eq = ej.factor(fn, x[0])
    f = np.asarray(jax.jit(jax.vmap(fn))(x))
    assert np.array_equal(jax.jit(jax.vmap(eq))(x), f)
    template, offset = jax.jit(jax.vmap(descent.atom))(x)
    atoms = np.sum(np.asarray(template) * x, (1, 2)) + offset
    room = 1e4 * np.finfo(dtype).eps
    assert np.allclose(atoms, f, rtol=room, atol=room)
    found = ej.certify(eq, x, num_pairs=128, batch=64, num_adversarial=24)
    assert found.holds
    tree = ej.grow(fn, x, depth=1, budget=2)
    assert ej.decide(tree, x).wrongly_proven == 0


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_gaps_hide_nothing_where_factors_are_far_or_near(scale):
    """In float32 a gap is no smaller than the exact one, however near the anchor is."""
    eq = ej.factor(lambda x: x[0] * x[1] - x[2] * x[3], jnp.zeros(4, np.float32))
    (gate,) = {g.name: g for g in eq.gates}.values()
    rng = np.random.default_rng(2)
    a, b, dx, dy = scale * rng.normal(size=(4, 1000)).astype("f")
    near = 10.0 ** rng.uniform(-8, 0, 1000)
    x, y = (a + near * dx).astype("f"), (b + near * dy).astype("f")
    anchor = jnp.asarray(a), jnp.asarray(b)
    for sign in (1, -1):
        value, *z = map(jnp.asarray, (x * y, x, y))
        gap = np.asarray(gate.gap(anchor, sign, value, *z), float)
        exact = ((x.astype(float) - a) + sign * (y.astype(float) - b)) ** 2 / 4
        assert np.all(gap >= exact) and np.all(gap <= exact + 1e-5 * scale**2)


@pytest.mark.parametrize(
    ("scale", "divisor"), [(1e-6, 1e-6), (1, 1), (1e6, 1e6), (1e6, 1e-6), (1e10, 1e37)]
)
def test_gaps_of_quotients_hide_nothing(scale, divisor):
    """Also at anchors that are huge, or next to a pole, and at a factor of 0."""
    eq = ej.factor(lambda x: x[0] / (jnp.abs(x[1]) + x.dtype.type(1e-30)), PAIR)
    (gate,) = {g.name: g for g in eq.gates}.values()
    rng = np.random.default_rng(3)
    a, x = scale * rng.normal(size=(2, 4000))
    b, y = divisor * 10.0 ** rng.uniform(-6, 1.2, (2, 4000))
    near = 10.0 ** rng.uniform(-8, 0, 2000)
    x[:2000], y[:2000] = a[:2000] * (1 + near), b[:2000] * (1 + near[::-1])
    a[::5], x[::7] = 0, 0
    a, b, x, y = (v.astype("f") for v in (a, b, x, y))
    u, v, w, z = (v.astype(float) for v in (a, b, x, y))
    e, d = (w - u) - u / v * (z - v), (z - v) / v
    value, *operands = map(jnp.asarray, (x / y, x, y))
    anchor = jnp.asarray(a), jnp.asarray(b)
    for sign, square in ((1, (e - d) ** 2), (-1, e**2 + d**2)):
        gap = np.asarray(gate.gap(anchor, sign, value, *operands), float)
        assert np.all(gap >= square / (2 * z) - np.finfo("f").tiny)


def test_a_quotient_of_any_sign_says_what_to_write():
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(lambda x: x[0] / x[1], jnp.ones(2))
    assert str(caught.value).splitlines()[2:] == [
        "  why:     a quotient by a value whose sign is not proven, so it may have a "
        "pole",
        "  try:     make the sign visible: x / (jnp.abs(y) + eps), x / jnp.sqrt(v + "
        "eps), x / jnp.maximum(y, eps)",
    ]


def test_equal_operands_are_a_square_and_one_sided():
    eq = ej.factor(lambda x: jnp.sum(x * x), jnp.ones(2))
    assert [gate.name for gate in eq.gates] == ["square"]
    assert np.all(eq.sides[0] == 1)


def refusal(fn, x):
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(fn, x)
    return str(caught.value).splitlines()[2:]


def test_a_matrix_product_of_two_dtypes_is_one_of_the_wider():
    """An `np.sqrt(3)` in the scores makes them float64, the values stay float32."""

    def fn(x):
        return jnp.einsum("i,i->", x.astype(jnp.float64), x[::-1])

    with jax.numpy_dtype_promotion("standard"):
        eq = ej.factor(fn, PAIR)
        assert [gate.name for gate in eq.gates] == ["product"]
        x = jnp.asarray([3.0, 0.1], jnp.float32)
        assert eq(x) == fn(x) == eq.component(*eq.pattern(x))(x)


def test_a_matrix_product_in_a_narrower_dtype_says_what_to_write():
    def fn(x):
        x = x.astype(jnp.float64)
        return jnp.dot(x, x[::-1], preferred_element_type=jnp.float32)

    assert refusal(fn, PAIR) == [
        "  why:     a matrix product of live values in another dtype than theirs",
        "  try:     keep every value that sees the input in one dtype",
    ]


def test_a_matrix_product_of_too_many_terms_says_how_many():
    assert refusal(lambda x: jnp.sum(x @ x.T @ x), np.ones((1025, 1), np.float32)) == [
        "  why:     a matrix product of two values that both depend on the input, of "
        "1,050,625 terms (attention over many steps?); up to 1,048,576 have a rule",
        "  try:     attend over fewer steps (patches, pooling before), or factor the "
        "network up to here",
    ]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.sum(x * jnp.arange(2, dtype=x.dtype)),
        lambda x: jnp.sum(x * np.array([True, False])),
        lambda x: jnp.real(jnp.dot(x + 1j * x, np.ones(2, np.complex64))),
    ],
    ids=["integers", "truth values", "complex constants"],
)
@jax.numpy_dtype_promotion("standard")
def test_products_with_constants_stay_affine(fn):
    with pytest.raises(ej.NoGateError):
        ej.factor(fn, PAIR)
