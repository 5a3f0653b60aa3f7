"""What people write in networks, in their own words: to atoms, and as they wrote it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.lattice.descent import descend

WEIGHTS = np.random.default_rng(0).normal(size=(8, 4)) / 2
HEAD = np.asarray([1.0, -1.0, 0.5, -2.0])


def dense(x):
    return x @ WEIGHTS.astype(x.dtype)


def shares(x):
    return jax.nn.softmax(dense(x))


def linear_attention(x):
    q, k = jax.nn.elu(dense(x)) + 1, jax.nn.elu(dense(-x)) + 1
    return (q @ (k.T @ dense(x))) / (q @ k.sum(0))[:, None]


IDIOMS = {
    "select": lambda x: jnp.select(
        [dense(x) > 1, dense(x) < -1], [1.0, -1.0], dense(x)
    ),
    "select, three slopes": lambda x: jnp.select(
        [dense(x) > 1, dense(x) > 0], [2 * dense(x) - 1, dense(x)], 0.1 * dense(x)
    ),
    "piecewise": lambda x: jnp.piecewise(
        dense(x), [dense(x) < -1, dense(x) > 1], [-1.0, 1.0, lambda z: z]
    ),
    "NaN in the input": lambda x: jnp.abs(dense(jnp.where(jnp.isnan(x), 0, x))),
    "NaN between layers": lambda x: jnp.tanh(
        jnp.where(jnp.isfinite(jax.nn.relu(dense(x))), dense(x), 0.0)
    ),
    "nan_to_num of a norm": lambda x: dense(
        jnp.nan_to_num((x - x.mean()) / (x.std() + 1e-3))
    ),
    "nan_to_num of logarithms": lambda x: dense(jnp.nan_to_num(jnp.log1p(jnp.abs(x)))),
    "from 0 to 1": lambda x: dense((x - x.min()) / (jnp.ptp(x) + 1e-3)),
    "from 0 to 1, by row": lambda x: dense(
        (x - x.min(-1, keepdims=True))
        / (x.max(-1, keepdims=True) - x.min(-1, keepdims=True) + 1e-3)
    ),
    "entropy": lambda x: -shares(x) * jnp.log(shares(x) + 1e-9),
    "linear attention": linear_attention,
    "any of them": lambda x: 1 - jnp.prod(1 - jax.nn.sigmoid(dense(x)), 0),
    "survival": lambda x: jnp.cumprod(jax.nn.sigmoid(dense(x)), -1),
    "robust scale": lambda x: dense(
        x / (jnp.median(jnp.abs(x - jnp.median(x))) + 1e-3)
    ),
    "log cosh": lambda x: jnp.log(jnp.cosh(dense(x))),
    "an angle": lambda x: jnp.arctan2(dense(x), jax.nn.softplus(dense(-x))),
    "weighted logsumexp": lambda x: jax.nn.logsumexp(dense(x), 0, b=2.0),
}


@pytest.mark.parametrize("name", IDIOMS)
@jax.numpy_dtype_promotion("standard")
@jax.numpy_rank_promotion("allow")
def test_an_idiom_goes_down_to_atoms(name):
    def fn(x):
        return jnp.sum(IDIOMS[name](x) @ HEAD.astype(x.dtype))

    data = np.random.default_rng(1).normal(size=(12, 2, 8)).astype(np.float32)
    descent = descend(fn, data[0])
    assert descent.refusal == ""
    eq = ej.factor(fn, data[0])
    assert [eq(x) for x in data[:2]] == [fn(x) for x in data[:2]]
    value = np.asarray(jax.jit(jax.vmap(fn))(data), np.float64)
    near = 1e3 * float(jnp.finfo(np.float32).eps) * (1 + np.abs(value))

    @jax.jit
    @jax.vmap
    def below(a, x):
        found = []
        for sign in (1, -1):
            anchor = descent.patterns(a, descent.num_levels)
            found.append(descent.gap(anchor, x, sign)[1])
            found.append(descent.bound(descent.patterns(x, 1), x, sign))
        return jnp.stack(found)

    lost, at_x, added, above_x = np.asarray(below(np.roll(data, 1, 0), data)).T
    assert np.all(lost >= -near) and np.all(added >= -near)
    assert np.all(np.abs([at_x - value, above_x - value]) <= near)


def test_nothing_is_proven_where_a_guarded_value_overflows():
    def fn(x):
        z = jnp.exp(x[0])
        return jnp.where(jnp.isfinite(z), z, 0) - 1 + 0 * x[1]

    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    far = np.asarray([[1000, 0], [1, 0]], np.float32)
    tree = ej.grow(fn, x, depth=1, budget=2, min_count=5)
    found = ej.decide(tree, far)
    assert tree.eq(far[0]) == fn(far[0]) == -1
    assert found.proven.tolist() == [False, True] and found.wrongly_proven == 0
