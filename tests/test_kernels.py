"""Components over a data set: products and distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from small_trees import function, quarters

from ecg_jax.lattice.factor import factor
from ecg_jax.tree.kernels import METRICS, Side, gaps, shape_of, squared_distances

CASES = {
    "relu": lambda w: lambda x: w @ jax.nn.relu(x),
    "overlapping pool": lambda w: (
        lambda x: w @ lax.reduce_window(x, -jnp.inf, lax.max, (2,), (1,), "SAME")
    ),
    "running max": lambda w: lambda x: w @ lax.cummax(x),
    "max of two": lambda w: lambda x: w @ jnp.maximum(x, 0.5 * x[::-1] - 1),
    "reduce_max": lambda w: lambda x: w[0] * jnp.max(x) - w[1] * jnp.min(x),
    "leaky": lambda w: lambda x: w @ jax.nn.leaky_relu(x - 1, 0.25) + x[0],
    "two gates": lambda w: lambda x: w @ jnp.abs(x) - jnp.clip(x, -1, 1) @ w[::-1],
}


@pytest.mark.parametrize("name", CASES)
def test_a_gap_is_a_product(name):
    """`f - <c_a, s(x)>` is the witness, also where units share operands."""
    weights = jnp.asarray([1.0, -2.0, 0.5, 0.0, -1.5, 3.0])
    eq = factor(CASES[name](weights), jnp.zeros(6))
    x, rng = quarters(5, 12), np.random.default_rng(0)
    for sign, bound in ((1, eq.witness), (-1, eq.refuter)):
        side = Side(eq, sign)
        frozen = [rng.random(m.shape) < 0.7 for m in side.masks]

        product, direct, by_unit = _tables(eq, side, bound, frozen, x)
        assert np.array_equal(product, direct)
        assert np.array_equal(by_unit, direct)
        assert np.all(direct >= 0)


def _tables(eq, side, bound, frozen, x):
    """The gap of every anchor at every input, in three ways."""

    def direct(p, a):
        return side.sign * (eq(a) - bound(p, frozen)(a))

    def by_unit(p, a):
        flags = [f[m] for f, m in zip(frozen, side.masks, strict=True)]
        return side.unit_gaps(p, eq.operands(a)) @ np.concatenate(flags).astype(float)

    @jax.jit
    def tables(x):
        mine = jax.vmap(lambda a: eq.pattern(a)[0 if side.sign > 0 else 1])(x)
        features = jax.vmap(side.features)(x)[1]
        rows = jax.vmap(side.coefficients, (0, None))(mine, frozen)
        pairs = (jax.vmap(jax.vmap(f, (None, 0)), (0, None)) for f in (direct, by_unit))
        return gaps(features, rows).T, *(table(mine, x) for table in pairs)

    return tables(x)


def test_the_units_of_a_side():
    eq = factor(lambda x: jnp.asarray([1.0, -2.0, 0.0]) @ jnp.abs(x), jnp.zeros(3))
    above, below = Side(eq, 1), Side(eq, -1)
    assert (above.num_units, below.num_units) == (1, 1)
    assert above.split([True])[0].tolist() == [True, False, False]
    assert below.split([False])[0].tolist() == [False, False, False]
    assert below.split(np.array([1]))[0].tolist() == [False, True, False]


def test_distances():
    x, a = quarters(1, 9), quarters(2, 4)
    exact = ((x[:, None] - a[None]) ** 2).sum(-1)
    assert np.array_equal(squared_distances(x, a), exact)
    close = np.float32([[1000.1, 0.3]])
    assert np.asarray(squared_distances(close, close)).item() >= 0


def test_metrics():
    x = {"a": jnp.asarray([1.0, 3.0]), "b": jnp.asarray([[5.0], [7.0]])}
    eq = factor(lambda x: jax.nn.relu(x["a"][0] - 2.0) + jnp.abs(x["b"][1, 0]), x)
    vectors = {name: metric(x, eq) for name, metric in METRICS.items()}
    assert vectors["euclidean"].tolist() == [1, 3, 5, 7]
    assert sorted(vectors["cut"].tolist()) == [-1, 7]
    shape = np.asarray(vectors["shape"])
    assert abs(shape.mean()) < 1e-12 and abs((shape**2).mean() - 1) < 1e-9
    moved = jax.tree.map(lambda v: 4 * v + 2, x)
    assert np.allclose(shape_of(moved), shape)
    assert np.all(np.isfinite(shape_of(jnp.zeros(3))))


def test_features_carry_f():
    fn, x = function("mlp"), quarters(3, 10)
    side = Side(factor(fn, x[0]), 1)
    value, features = jax.jit(jax.vmap(side.features))(x)
    assert np.array_equal(value, jax.vmap(fn)(x))
    assert np.all(features[:, -1] == 1)
