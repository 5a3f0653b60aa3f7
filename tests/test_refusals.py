"""What a refusal says: the operation, its layer and line, and a cure that works."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import ecg_jax as ej
from ecg_jax.lattice.descent import descend

X = jnp.asarray([0.5, -1.0, 2.0, 0.25])
W = jnp.asarray([1.0, -2.0, 0.5, 4.0])


def quantized(z):
    whole = jnp.clip(jnp.round(z / 0.1), -128, 127).astype(jnp.int8)
    return jnp.dot(whole.astype(jnp.int32), jnp.arange(4)).astype(z.dtype) * 0.1


# what is refused, what the message says, what it says to write instead
REFUSED = {
    "argsort": (
        lambda z: z[jnp.argsort(z)],
        ("`gather` (indexing, x[i])", "`sort` (sort, argsort or top_k) at", "jnp.sort"),
        lambda z: jnp.sort(z),
    ),
    "indices of top_k": (
        lambda z: W[lax.top_k(z, 2)[1]],
        ("(indexing, x[i])", "(sort, argsort or top_k)", "lax.top_k(z, k)[0]"),
        lambda z: lax.top_k(z, 2)[0],
    ),
    "argmax": (
        lambda z: W[jnp.argmax(z)],
        ("an index depends on the input", "`argmax` at", "jax.nn.softmax(z) @ w"),
        lambda z: jax.nn.softmax(z) @ W,
    ),
    "a computed index": (
        lambda z: W[jnp.floor(z[0]).astype(int)],
        ("(indexing, x[i])", "`convert_element_type` (astype) at", "jnp.max(z)"),
        lambda z: jnp.max(z),
    ),
    "one-hot of a class": (
        lambda z: jax.nn.one_hot(jnp.argmax(z), 4) @ W,
        (
            "makes a number of one that jumps",
            "`argmax` at",
            "ecg_jax.margin(logits, k)",
        ),
        ej.margin(lambda z: z, 0),
    ),
    "a count": (
        lambda z: jnp.sum(z > 0).astype(z.dtype),
        ("conversion from int", "`gt` at", "jnp.clip(k * z, 0, 1)"),
        lambda z: jnp.sum(jnp.clip(8 * z, 0, 1)),
    ),
    "a quantized network": (
        quantized,
        ("conversion from int", "(astype) at", "in float32, without quantization"),
        lambda z: jnp.arange(-1, 3, dtype=jnp.int8).astype(jnp.float32) * 0.5 * abs(z),
    ),
    "rounding": (
        lambda z: jnp.round(4 * z) / 4,
        ("`round` at", "leave the rounding out"),
        lambda z: jnp.abs(z),
    ),
    "floor": (
        lambda z: jnp.floor(z),
        ("`floor` at", "is discontinuous", "leave the rounding out"),
        lambda z: jnp.abs(z),
    ),
    "bfloat16": (
        lambda z: (z.astype(jnp.bfloat16) * 2).astype(z.dtype),
        ("what bfloat16 holds is rounded to few bits", "dtype=jnp.float32"),
        lambda z: jnp.abs(z.astype(jnp.float32) * 2),
    ),
    "a loop that ends by the data": (
        lambda z: lax.while_loop(lambda v: jnp.max(v) > 1, lambda v: v / 2, z),
        ("`while` (a loop)", "whose end depends on the input", "lax.fori_loop(0, n"),
        lambda z: lax.fori_loop(0, 3, lambda i, v: jax.nn.relu(v / 2), z),
    ),
    "a product of unproven sign": (
        lambda z: jnp.log(z[0] * z[1]),
        ("made by `mul` (a product) at", "jnp.maximum(z, eps)"),
        lambda z: jnp.log(jnp.maximum(z[0] * z[1], 1e-3)),
    ),
    "sign": (
        lambda z: jnp.sign(z),
        ("`sign` at", "jnp.clip(k * z, -1, 1)", "sign(z) * g(z)"),
        lambda z: jnp.clip(8 * z, -1, 1) + jnp.sign(z) * jnp.sqrt(1 + z**2 - 1),
    ),
    "a step": (
        lambda z: (z > 0).astype(z.dtype),
        ("conversion from bool", "`gt` at", "z * (z > 0)"),
        lambda z: z * (z > 0),
    ),
    "a hard threshold": (
        lambda z: jnp.where(z > 1, z, 0.0),
        ("`select_n` (jnp.where)", "may jump", "jnp.where(x > 0, x, slope * x)"),
        lambda z: jnp.where(z > 0, z, 0.25 * z),
    ),
    "jnp.select": (
        lambda z: jnp.select([z < -1, z > 1], [-1.0 + 0 * z, 2.0 + 0 * z], z),
        ("(jnp.where)", "may jump", "jnp.clip"),
        lambda z: jnp.select([z < -1, z > 1], [-1.0 + 0 * z, 1.0 + 0 * z], z),
    ),
    "a selection by an argmax": (
        lambda z: lax.select_n((jnp.argmax(z) % 2).astype(jnp.int32), z, 2 * z),
        ("(jnp.where)", "by a number that depends on the input", "nest selections"),
        lambda z: jnp.where(z > 1, 1.0, jnp.where(z < -1, -1.0, z)),
    ),
    "a remainder": (
        lambda z: z % 1.0,
        ("`rem` is discontinuous in the input", "jnp.sin(z) and jnp.cos(z)"),
        lambda z: jnp.sin(z) + jnp.cos(z),
    ),
    "a guard against a constant signal": (
        lambda z: jnp.nan_to_num(z / z.std()),
        ("that the value is always finite is not proven", "(z.std() + eps)"),
        lambda z: jnp.nan_to_num(z / (z.std() + 1e-3)),
    ),
    "a width of 0 replaced": (
        lambda z: jnp.where(jnp.ptp(z) == 0, 1.0, jnp.ptp(z)),
        ("an equality is discontinuous", "s + eps for jnp.where(s == 0, 1, s)"),
        lambda z: jnp.ptp(z) + 1e-3,
    ),
    "a phase": (
        lambda z: jnp.angle(jnp.fft.rfft(z)),
        ("`atan2` at", "use the amplitude, jnp.abs(z)"),
        lambda z: jnp.abs(jnp.fft.rfft(z)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@jax.numpy_dtype_promotion("standard")
def test_a_refusal_names_what_was_written_and_its_cure_works(name):
    refused, parts, cure = REFUSED[name]
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(lambda z: jnp.sum(refused(z)), X)
    said = str(caught.value)
    assert [part for part in parts if part not in said] == []
    assert "at test_refusals.py:" in said.splitlines()[0]
    assert descend(lambda z: jnp.sum(cure(z)), X).refusal == ""


class Ranking(nn.Module):
    @nn.compact
    def __call__(self, x):
        y = nn.Dense(3)(x)
        return y[jnp.argsort(y)]


class Plain:
    def __call__(self, x):
        return jnp.floor(x)


@jax.numpy_dtype_promotion("standard")
def test_a_refusal_names_the_layer():
    ranking, norm = Ranking(), nn.LayerNorm(dtype=jnp.bfloat16)
    weights = [net.init(jax.random.key(0), X) for net in (ranking, norm)]
    for layer, fn in {
        "Ranking": lambda x: ranking.apply(weights[0], x)[0],
        "Plain": lambda x: Plain()(x)[0],
        "LayerNorm": lambda x: norm.apply(weights[1], x)[0].astype(x.dtype),
    }.items():
        with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
            descend(fn, X).opened(99)
        assert f" in the layer `{layer}` at test_refusals.py:" in str(caught.value)


def standardized(z):
    return jax.nn.relu((z - z.mean()) / z.std()).sum()


def guarded(z):
    return jax.nn.relu((z - z.mean()) / (z.std() + 1e-3)).sum()


def test_a_norm_of_a_constant_signal_is_named():
    data = np.random.default_rng(0).normal(size=(8, 4))
    data[3] = 1.0
    line = standardized.__code__.co_firstlineno + 1
    for verb in (
        lambda fn: ej.certify(ej.factor(fn, data[0]), data, num_pairs=8),
        lambda fn: ej.grow(fn, data, depth=1, budget=1),
    ):
        with pytest.raises(ej.errors.NonFiniteError) as caught:
            verb(standardized)
        said = str(caught.value).splitlines()
        assert said[:2] == [
            "the function is NaN or infinite at 1 of 8 examples: data[3].",
            f"  first: the result of `div` (a quotient) at test_refusals.py:{line}",
        ]
        assert "(z - z.mean()) / (z.std() + eps)" in said[2]
    tree = ej.grow(guarded, data, depth=1, budget=1)
    assert ej.decide(tree, data).wrongly_proven == 0
