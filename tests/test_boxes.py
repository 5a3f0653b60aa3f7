"""Boxes of changes, against many of their points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_walk import CASES, DIM, NETS

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.proof.boxes import BROKEN, OPEN, PROVEN, Prover
from ecg_jax.rules import RULES

CHANGES = 3


def path(params, t):
    x, v = params
    return x + jnp.tensordot(t, v, 1)


def prover(fn, params):
    return Prover(fn, path, [param[0] for param in params], CHANGES, RULES)


def families(num, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num, DIM)).astype(dtype)
    v = rng.normal(size=(num, CHANGES, DIM)).astype(dtype)
    return [x, v], (0.1 * rng.uniform(0.2, 2, (num, CHANGES))).astype(dtype)


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_no_point_contradicts_a_proof(name, dtype):
    net, (params, radii) = NETS[name], families(50, dtype)
    middle = jnp.median(jax.vmap(net)(params[0]))

    def fn(x):
        return net(x) - middle

    found = prover(fn, params).prove(params, radii, max_boxes=256)
    assert (found.status == PROVEN).any() and (found.status == BROKEN).any()
    assert (found.status == OPEN).mean() <= 0.02
    one = jax.vmap(lambda x, v, t: fn(path((x, v), t)) >= 0, (None, None, 0))
    each = jax.jit(jax.vmap(one))
    points = np.random.default_rng(1).uniform(-1, 1, (50, 1000, CHANGES))
    points[:, :8] = np.array(list(np.ndindex(2, 2, 2))) * 2 - 1
    first = np.asarray(each(*params, np.zeros((50, 1, CHANGES), dtype)))
    flips = np.asarray(each(*params, points.astype(dtype) * radii[:, None])) != first
    assert not flips[found.status == PROVEN].any()
    broken = found.status == BROKEN
    part = [param[broken] for param in params]
    at = found.example[broken].astype(dtype)
    assert (np.abs(at) <= radii[broken] * (1 + 1e-6)).all()
    other = np.asarray(each(*part, at[:, None])) != first[broken]
    assert other.all() and np.isnan(found.example[~broken]).all()


def test_a_family_that_only_touches_zero_is_proven():
    def fn(x):  # zero is normal, and the arithmetic is exact
        return jnp.maximum(x[0], 0.0)

    params = [np.ones((1, 1)), np.tile(np.eye(1), (1, CHANGES, 1))]
    found = prover(fn, params).prove(params, np.full((1, CHANGES), 4.0), max_boxes=8)
    assert found.status.tolist() == [OPEN]  # rounding is counted: 0 is not above it
    params = [np.full((1, 1), 20.0), params[1]]
    found = prover(fn, params).prove(params, np.full((1, CHANGES), 4.0))
    assert found.status.tolist() == [PROVEN] and found.boxes.tolist() == [1]


def test_errors_that_cancel_are_not_added_up():
    def fn(x):  # h / 8 + 1 / 8; forwards 63 / 8 of the error of `h` would arrive
        h = jnp.maximum(x[0], 0.0)
        return 4.0 * h - 3.875 * h + 0.125

    params = [np.zeros((1, 1)), np.eye(CHANGES, 1)[None]]
    found = prover(fn, params).prove(params, np.ones((1, CHANGES)), max_boxes=1)
    assert found.status.tolist() == [PROVEN]


def test_rounding_keeps_a_family_open():
    """`fn` is 1e-9, a difference of numbers near 1e3: in float32 it may be below 0."""

    def fn(x):
        large = jnp.sum(x) * jnp.float32(1e3)
        return large - jnp.float32(1e3) * jnp.sum(x[::-1]) + jnp.float32(1e-9)

    rng = np.random.default_rng(0)
    params = [
        rng.normal(size=(4, DIM)).astype(np.float32),
        rng.normal(size=(4, CHANGES, DIM)).astype(np.float32),
    ]
    radii = np.full((4, CHANGES), 0.1, np.float32)
    found = prover(fn, params).prove(params, radii, max_boxes=16)
    assert not (found.status == PROVEN).any()


SMOOTH = {
    "softplus": jax.nn.softplus,
    "gelu": jax.nn.gelu,
    "tanh": jnp.tanh,
    "square": jnp.square,
    "concave": lambda h: -jax.nn.softplus(h),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_units_lie_in_their_boxes(name):
    rng, act = np.random.default_rng(3), SMOOTH[name]
    w = [rng.normal(size=(DIM, 20)) / 5, rng.normal(size=(20, 8)) / 4]
    weights = rng.normal(size=8)

    def fn(x):
        return act(act(x @ w[0]) @ w[1]) @ weights

    params, radii = families(40, np.float64)
    one = prover(fn, params)
    low, high, *_ = jax.vmap(one.enclose)(params, np.zeros_like(radii), radii)
    each = jax.jit(
        jax.vmap(jax.vmap(lambda x, v, t: fn(path((x, v), t)), (None, None, 0)))
    )
    points = rng.uniform(-1, 1, (40, 400, CHANGES)) * radii[:, None]
    values = np.asarray(each(*params, points))
    assert (values >= np.asarray(low)[:, None]).all()
    assert (values <= np.asarray(high)[:, None]).all()
    spread = values.max(axis=1) - values.min(axis=1)
    assert np.median((high - low) / spread) < 8


def test_a_smooth_gate_of_several_values_is_refused():
    params, _ = families(1, np.float64)
    with pytest.raises(UnsupportedPrimitiveError, match="over a box"):
        prover(lambda x: jnp.linalg.norm(x), params)


def test_corners_of_one_component_prove_a_box():
    """Of one level: a component that is positive at all corners; those of `fn` lie."""
    a = np.random.default_rng(0).normal(size=(8, DIM))

    def fn(x):
        v = jnp.asarray(a) @ x
        return jnp.max(v[:4]) - jnp.max(v[4:])

    params, radii = families(400, np.float64)
    with_corners = prover(fn, params)
    assert with_corners.has_corners
    found = with_corners.prove(params, radii)
    without = prover(fn, params)
    without.has_corners = False
    assert (found.status == without.prove(params, radii).status).all()
    one = [
        (p.prove(params, radii, max_boxes=1).status == PROVEN).sum()
        for p in (with_corners, without)
    ]
    assert one[0] > one[1]

    def dips(x):  # 1 at both ends, -1 in the middle: no component is positive at both
        return jnp.abs(x[0]) * 2 - 1.0

    params = [np.full((1, 1), 0.75), np.ones((1, 1, 1))]
    ends = Prover(dips, path, [p[0] for p in params], 1, RULES)
    assert ends.has_corners
    found = ends.prove(params, np.full((1, 1), 1.75))
    assert found.status.tolist() == [BROKEN]


def test_deeper_functions_have_no_corner_bounds():
    params, _ = families(1, np.float64)
    relu = jax.nn.relu
    assert not prover(lambda x: relu(relu(x[0]) - x[1]), params).has_corners
    assert not prover(lambda x: jax.nn.gelu(x[0]), params).has_corners
