"""A function over a data set, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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
