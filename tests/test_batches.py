"""A function over a data set, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import function, grown, quarters

import ecg_jax as ej
from ecg_jax.program import _jax
from ecg_jax.program import blocks as batches
from ecg_jax.program.blocks import blocks


@pytest.mark.parametrize("count", [1, 7, 8, 20])
def test_blocks_are_vmap(count):
    data = {"x": np.arange(count * 2.0).reshape(count, 2), "k": np.arange(count)}

    def fn(sample, scale):
        return {"y": sample["x"].sum() * scale, "k": sample["k"]}

    out = blocks(fn, data, 3.0, block=8)
    assert np.array_equal(out["y"], data["x"].sum(1) * 3)
    assert np.array_equal(out["k"], data["k"])
    assert isinstance(out["y"], np.ndarray)


@pytest.mark.parametrize("count", [1, 7, 64])
def test_devices_share_a_block(count):
    data, fn = quarters(3, count), function("residual")

    alone = blocks(fn, data, block=8)
    with jax.default_device(None):
        assert batches.num_devices() == 2
        part = batches.block_rows(data, np.arange(count), 8)
        assert len(part.sharding.device_set) == 2
        assert batches.block_rows(data, np.arange(count), 7).shape == (7, 6)
        np.testing.assert_array_equal(blocks(fn, data, block=8), alone)
    assert batches.num_devices() == 1


def test_devices_decide_and_walk_alike():
    tree, data = grown("mlp"), quarters(4, 50)
    beats = ej.beats(data[:, :6], sample_rate_hz=50, r_peak_s=0.04)
    up = ej.changes(beats, {"up": lambda x, t: x + t})
    alone, walked = ej.decide(tree, data), ej.ranges(tree, beats, up)
    with jax.default_device(None):
        found, again = ej.decide(tree, data), ej.ranges(tree, beats, up)
    for name in ("value", "cell", "prover", "lower", "upper"):
        same = (getattr(found, name), getattr(alone, name))
        np.testing.assert_array_equal(*same, err_msg=name)
    np.testing.assert_array_equal(again.low, walked.low)
    np.testing.assert_array_equal(again.high, walked.high)


def test_a_function_is_compiled_once_for_all_blocks():
    traced = []

    def fn(x):
        traced.append(x.shape)
        return x * 2

    for count in (5, 17, 8):
        assert len(blocks(fn, np.ones((count, 2)), block=8)) == count
    assert traced == [(2,)]


@pytest.mark.parametrize(("count", "wide"), [(2, 2), (3, 4), (9, 16), (300, 512)])
def test_few_examples_cost_few_evaluations(count, wide):
    seen = []

    def fn(x):
        jax.debug.callback(lambda _: seen.append(1), x)
        return x

    blocks(fn, np.ones((count, 2)))
    assert len(seen) == wide


def test_a_block_fits_the_memory(monkeypatch):
    rows = []

    def fn(x):
        jax.debug.callback(lambda _: rows.append(1), x[0])
        return jnp.sum(jnp.abs(jnp.tile(x, 100)))

    monkeypatch.setattr(batches, "MEMORY", 70_000)  # 2 x 10 x 100 float32
    data = np.ones((30, 10), np.float32)
    assert np.array_equal(blocks(fn, data), [fn(x) for x in data])
    assert len(rows) - len(data) == 32, "blocks of 8"


def test_what_a_program_fills():
    def fn(x):
        y = jnp.outer(x, x)
        return jnp.sum(y), x

    trace = jax.jit(lambda x: jax.jit(fn)(x)).trace(np.ones(100, np.float32))
    assert 40_000 <= _jax.peak_bytes(trace.jaxpr) <= 90_000

    def loop(x):
        return jax.lax.fori_loop(0, 9, lambda _, v: v + fn(v)[0], x)

    trace = jax.jit(loop).trace(np.ones(100, np.float32))
    assert 40_000 <= _jax.peak_bytes(trace.jaxpr) <= 90_000
