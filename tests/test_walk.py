"""Exact walks, against dense grids of the function itself."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program.trace import trace
from ecg_jax.proof.walk import Walker
from ecg_jax.rules import RULES

DIM = 24
LIMIT = 1.5


def weights(seed, *shape):
    rng = np.random.default_rng([seed, *shape])
    return rng.normal(size=shape) * np.sqrt(2 / shape[0])


def along(params, t):
    x, v = params
    return x + t * v


def dense(act):
    def fn(x):
        h = act(x @ weights(1, DIM, 32).astype(x.dtype))
        h = act(h @ weights(2, 32, 16).astype(x.dtype) + h[:16] * x.dtype.type(0.5))
        return h @ weights(3, 16).astype(x.dtype)

    return fn


def conv(x):
    h = x.reshape(1, 1, DIM)
    for seed, (ins, outs) in enumerate(((1, 4), (4, 4)), start=4):
        kernel = weights(seed, 5, ins, outs).transpose(2, 1, 0)
        h = lax.conv_general_dilated(h, kernel.astype(h.dtype), (1,), "SAME")
        h = jax.nn.relu(h - h.dtype.type(0.1))
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 1, 3), (1, 1, 2), "SAME")
    return h.ravel() @ weights(7, h.size).astype(h.dtype)


def classes(x):
    h = jax.nn.relu(x @ weights(8, DIM, 20).astype(x.dtype))
    logits = h @ weights(9, 20, 4).astype(x.dtype)
    return logits[1] - jnp.max(logits[jnp.array([0, 2, 3])])


def running(x):
    h = lax.cummax(x @ weights(10, DIM, 9).astype(x.dtype)) - lax.cummin(x[:9])
    return h @ weights(11, 9).astype(x.dtype)


def two_sided(x):
    h = jnp.clip(x @ weights(12, DIM, 30).astype(x.dtype), -0.5, 0.5)
    h = jnp.minimum(jnp.abs(h[:15]), h[15:])
    return h @ weights(13, 15).astype(x.dtype) - jnp.min(x)


NETS = {
    "relu": dense(jax.nn.relu),
    "leaky relu": dense(lambda h: jax.nn.leaky_relu(h, 0.1)),
    "steep": dense(lambda h: jnp.where(h > 0, h, 2 * h)),
    "conv": conv,
    "classes": classes,
    "running": running,
    "clip": two_sided,
}


QUICK = {("relu", np.float32), ("conv", np.float64), ("clip", np.float32)}
QUICK |= {("classes", np.float64), ("running", np.float64)}
CASES = some_slow(itertools.product(NETS, (np.float32, np.float64)), QUICK)


def rows(num, dtype):
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, num, DIM)).astype(dtype)
    return [x, v]


def walk(fn, params, limits):
    program = trace(fn, params[0][0], RULES)
    walker = Walker(fn, program, along, [param[0] for param in params])
    return walker.flips(params, limits)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_walk_ends_where_a_grid_says(name, dtype):
    net, num = NETS[name], 40
    params = [np.repeat(param, 2, axis=0) for param in rows(num, dtype)]
    middle = jnp.median(jax.vmap(net)(params[0]))

    def fn(x):
        return net(x) - middle

    found = walk(fn, params, np.tile([-LIMIT, LIMIT], num))
    each = jax.jit(jax.vmap(lambda x, v, t: fn(along((x, v), t)) >= 0))
    start = each(*params, np.zeros(2 * num, dtype))
    grid = np.linspace(0, LIMIT, 801, dtype=dtype)
    sign = np.tile([-1, 1], num).astype(dtype)
    values = np.stack([each(*params, sign * t) for t in grid], axis=1)
    ranges = np.abs(found.time)
    inside = grid <= ranges[:, None]
    assert not np.any(inside & (values != np.asarray(start)[:, None]))
    flips = np.isfinite(found.time)
    assert 0.1 < flips.mean() < 0.95 and (np.sign(found.time) == sign).all()
    first = np.where(values != np.asarray(start)[:, None], grid, np.inf).min(axis=1)
    assert (first >= ranges).all()
    at, beyond = (v[flips].astype(dtype) for v in (found.time, found.beyond))
    assert (np.nextafter(at, sign[flips] * dtype(np.inf)) == beyond).all()
    # other compilations of `fn` round otherwise: a few units in the last place
    part, room = [param[flips] for param in params], 2e3 * np.finfo(dtype).eps
    assert (each(*part, at * dtype(1 - room)) == start[flips]).all()
    assert (each(*part, beyond * dtype(1 + room)) != start[flips]).all()
    assert found.pieces.min() >= 1 and not np.isnan(found.time).any()


def test_dyadic_flips_are_exact():
    def fn(x):
        return 1 - jnp.sum(jax.nn.relu(x - jnp.array([0.25, 0.5, 0.75])))

    # 1 - (t - 1/4)+ - (t - 1/2)+ - (t - 3/4)+ is zero at 5/6, beyond all knots
    params = [np.zeros((2, 3)), np.ones((2, 3))]
    found = walk(fn, params, np.array([2.0, -2.0]))
    assert found.time[0] == pytest.approx(5 / 6, abs=2e-16)
    assert found.time[1] == -np.inf and found.pieces.tolist() == [4, 1]


def test_a_tie_takes_the_steeper_piece():
    def fn(x):  # at t = 0 all pieces are tied, and gates that cross together flip
        return 1 - jnp.max(jnp.stack([x[0], 2 * x[0], -3 * x[0]])) - jnp.abs(x[1])

    params = [np.zeros((2, 2)), np.ones((2, 2))]
    found = walk(fn, params, np.array([4.0, -4.0]))
    assert found.time.tolist() == pytest.approx([1 / 3, -1 / 4], abs=2e-16)


def test_zero_is_normal():
    params = [np.zeros((3, 1)), np.ones((3, 1))]
    params[0][:, 0] = [1.0, 1.0, -1.0]
    found = walk(lambda x: jnp.maximum(x[0], -8.0), params, np.array([2.0, -2.0, 2.0]))
    assert found.time[0] == np.inf
    assert found.time[1] == -1.0 and found.beyond[1] == np.nextafter(-1.0, -2)
    assert found.beyond[2] == 1.0 and found.time[2] == np.nextafter(1.0, 0)


def test_a_walk_that_touches_zero_goes_on():
    def fn(x):  # zero at t = 1, never below; below zero from t = 2 on
        return jnp.minimum(jnp.abs(x[0] - 1), 2 - x[0])

    found = walk(fn, [np.zeros((1, 1)), np.ones((1, 1))], np.array([4.0]))
    assert found.time[0] == 2.0


def test_a_walk_that_is_too_long_is_open():
    fn, params = NETS["relu"], rows(6, np.float64)
    program = trace(fn, params[0][0], RULES)
    walker = Walker(fn, program, along, [param[0] for param in params])
    limits = np.full(6, 50.0)
    whole = walker.flips(params, limits)
    short = walker.flips(params, limits, max_pieces=16)
    far = whole.pieces > 16
    assert far.any() and np.isnan(short.time[far]).all()
    assert (short.time[~far] == whole.time[~far]).all()


def test_a_walk_that_touches_zero_too_often_is_open():
    def fn(x):
        return jnp.min(jnp.abs(x[0] - jnp.arange(1.0, 21.0)))

    params = [np.zeros((1, 1)), np.ones((1, 1))]
    walker = Walker(fn, trace(fn, params[0][0], RULES), along, [p[0] for p in params])
    whole = walker.flips(params, np.array([25.0]))
    assert whole.time[0] == np.inf and whole.touches[0] == 20
    short = walker.flips(params, np.array([25.0]), max_pieces=8)
    assert np.isnan(short.time[0]) and 0 < short.touches[0] < 20


def test_a_smooth_gate_is_refused():
    def fn(x):
        return jnp.sum(jax.nn.softplus(x))

    with pytest.raises(UnsupportedPrimitiveError, match="cannot walk along"):
        walk(fn, rows(1, np.float64), np.ones(1))
