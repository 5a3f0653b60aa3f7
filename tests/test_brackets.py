"""Certified brackets of the first flip of smooth functions, against dense grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecg_jax.proof.brackets import LEAST, Bracketer
from ecg_jax.rules import RULES

DIM, NUM, LIMIT = 16, 40, 1.5


def along(params, t):
    x, v = params
    return x + t * v


@pytest.mark.parametrize("act", [jax.nn.gelu, jax.nn.softplus])
def test_a_bracket_has_no_flip_before_it(act):
    rng = np.random.default_rng(0)
    w = [rng.normal(size=(DIM, 20)) / 3, rng.normal(size=20)]
    x, v = rng.normal(size=(2, NUM, DIM))
    middle = float(jnp.median(jax.vmap(lambda x: act(x @ w[0]) @ w[1])(x)))

    def fn(x):
        return act(x @ w[0]) @ w[1] - middle

    params = [np.repeat(x, 2, axis=0), np.repeat(v, 2, axis=0)]
    limits = np.tile([-LIMIT, LIMIT], NUM)
    bracketer = Bracketer(fn, along, [x[0], v[0]], RULES)
    found = bracketer.flips(params, limits, max_pieces=1000)
    each = jax.jit(jax.vmap(lambda x, v, t: fn(along((x, v), t)) >= 0))
    first = np.asarray(each(*params, np.zeros(2 * NUM)))
    for t in np.linspace(0, LIMIT, 301):
        inside = t <= np.abs(found.time)
        same = np.asarray(each(*params, np.sign(limits) * t)) == first
        assert same[inside].all()
    flips = np.isfinite(found.time)
    assert 0.1 < flips.mean() < 0.9 and not np.isnan(found.time).any()
    width = np.abs(found.beyond - found.time)[flips]
    assert np.median(width) < 2 * LEAST * LIMIT and width.max() < 1e-4
    part, t = [param[flips] for param in params], found.beyond[flips]
    over = t * (1 + 1e-9)
    assert (np.asarray(each(*part, over)) != first[flips]).mean() > 0.9


def test_a_known_flip():
    params = [np.zeros((2, 1)), np.ones((2, 1))]
    bracketer = Bracketer(
        lambda x: 2 - jnp.exp(x[0]), along, [param[0] for param in params], RULES
    )
    found = bracketer.flips(params, np.array([1.0, -1.0]), max_pieces=1000)
    assert found.time[0] <= np.log(2) <= found.beyond[0] + 1e-15
    assert found.beyond[0] == pytest.approx(np.log(2), abs=1e-6)
    assert found.time[1] == -np.inf


def test_too_few_steps_leave_it_open():
    params = [np.zeros((1, 1)), np.ones((1, 1))]
    bracketer = Bracketer(
        lambda x: 2 - jnp.exp(x[0]), along, [param[0] for param in params], RULES
    )
    found = bracketer.flips(params, np.array([1.0]), max_pieces=1)
    assert np.isnan(found.time[0]) and np.isnan(found.beyond[0])
