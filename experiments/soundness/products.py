"""Do witnesses stay below, refuters above, where products of live values are gates?

    python experiments/soundness/products.py [PAIRS ["lstm,glu"]]

For each network: PAIRS (default 100,000) random pairs of an anchor and an input, in
float32 and float64, at the scales .01, 1 and 100 of both; in a third of them the anchor
is near the input, in another third one entry is 100 times as large. Every violation is
compared with the bound from the arithmetic. Writes results/products.json; of some
networks only, prints.
"""

import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import ecg_jax as ej
from ecg_jax.program.trace import trace
from ecg_jax.proof.rounding import rounding_bound

HERE = Path(__file__).parent
BLOCK, SIZE, WIDTH = 1000, 24, 16
SCALES = (0.01, 1.0, 100.0)


def weights(seed, *shape):
    rng = np.random.default_rng([seed, *shape])
    return rng.normal(size=shape) / np.sqrt(shape[-1])


IN, GATE, DEEP = weights(0, WIDTH, SIZE), weights(1, WIDTH, SIZE), weights(2, 16, 16)
HEAD = weights(3, WIDTH)


def like(array, x):
    return jnp.asarray(array, x.dtype)


def normed(z):
    """Layer norm with fast variance, as flax computes it."""
    mean = jnp.mean(z)
    return (z - mean) * lax.rsqrt(jnp.maximum(0, jnp.mean(z**2) - mean**2) + 1e-6)


def layer_norm(x):
    h = jax.nn.relu(like(DEEP, x) @ normed(like(IN, x) @ x))
    return like(HEAD, x) @ h


def layer_norm_last(x):
    return like(HEAD, x) @ normed(like(IN, x) @ x)


def z_score(x):
    z = (x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-3)
    return like(HEAD, x) @ jax.nn.relu(like(IN, x) @ z)


def z_score_last(x):
    return like(IN[0], x) @ ((x - jnp.mean(x)) / jnp.sqrt(jnp.var(x) + 1e-3))


def squeeze_excitation(x):
    h = jax.nn.relu(like(IN, x) @ x).reshape(4, 4)
    s = jax.nn.sigmoid(like(DEEP[:4, :4], x) @ jnp.mean(h, 1))
    return like(HEAD, x) @ jnp.ravel(h * s[:, None])


def glu(x):
    return like(HEAD, x) @ ((like(IN, x) @ x) * jax.nn.sigmoid(like(GATE, x) @ x))


def wavenet(x):
    h = jnp.tanh(like(IN, x) @ x) * jax.nn.sigmoid(like(GATE, x) @ x)
    return like(HEAD, x) @ h


def softmax(x):
    return like(HEAD, x) @ jax.nn.softmax(like(IN, x) @ x)


def attention_pooling(x):
    h = x.reshape(6, 4) @ like(DEEP[:4], x)
    return like(HEAD, x) @ (jax.nn.softmax(h @ like(DEEP[5], x)) @ h)


def self_attention(x):
    h = x.reshape(6, 4)
    q, k, v = (h @ like(DEEP[4 * i : 4 * i + 4], x) for i in range(3))
    return like(HEAD, x) @ jnp.mean(jax.nn.softmax(q @ k.T / 4) @ v, 0)


def gram(x):
    h = x.reshape(6, 4)
    return jnp.sum(like(DEEP[:6, :6], x) * (h @ h.T))


def lstm(x):
    def step(carry, v):
        h, c = carry
        z = like(GATE[:, :6], x) @ v + like(DEEP[:, :4], x) @ h
        i, f, g, o = jnp.split(z, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros(4, x.dtype)
    (h, _), _ = lax.scan(step, (start, start), x.reshape(4, 6))
    return like(HEAD[:4], x) @ h


def lstm_of_24_steps(x):
    def step(carry, v):
        h, c = carry
        i, f, g, o = jnp.split(like(GATE[:, :1], x) @ v + like(DEEP[:, :4], x) @ h, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    start = jnp.zeros(4, x.dtype)
    (h, _), _ = lax.scan(step, (start, start), x.reshape(24, 1))
    return like(HEAD[:4], x) @ h


def gru_of_24_steps(x):
    def step(h, v):
        z, r, n, m = jnp.split(like(GATE[:, :1], x) @ v + like(DEEP[:, :4], x) @ h, 4)
        z, r = jax.nn.sigmoid(z), jax.nn.sigmoid(r)
        return (1 - z) * jnp.tanh(n + r * m) + z * h, h

    states = lax.scan(step, jnp.zeros(4, x.dtype), x.reshape(24, 1))[1]
    return like(HEAD[:4], x) @ jnp.mean(states, 0)


NETWORKS = {
    fn.__name__.replace("_", " "): fn
    for fn in (
        layer_norm,
        layer_norm_last,
        z_score,
        z_score_last,
        squeeze_excitation,
        glu,
        wavenet,
        softmax,
        attention_pooling,
        self_attention,
        gram,
        lstm,
        lstm_of_24_steps,
        gru_of_24_steps,
    )
}


def violations(fn, dtype, pairs):
    """For each scale: how many pairs are beyond the bound, and the nearest to it."""
    example = jnp.zeros(SIZE, dtype)
    eq = ej.factor(fn, example)
    bound = rounding_bound(trace(fn, example, ej.RULES))

    def one(anchor, x):
        (mu, tau), (at_mu, at_tau) = eq.pattern(anchor), eq.pattern(x)
        f = fn(x)
        worst = jnp.maximum(eq.witness(mu)(x) - f, f - eq.refuter(tau)(x))
        ways = (mu, at_tau), (at_mu, tau), (at_mu, at_tau)
        return worst, 2 * sum(bound(x, eq.frozen(*way)) for way in ways), f

    check, rng, out = jax.jit(jax.vmap(one)), np.random.default_rng(0), {}
    for scale in SCALES:
        beyond, share, vacuous = 0, -np.inf, []
        for _ in range(0, pairs, BLOCK):
            x = scale * rng.normal(size=(BLOCK, SIZE))
            anchor = scale * rng.normal(size=x.shape)
            near = 10.0 ** rng.uniform(-6, 0, (BLOCK // 3, 1))
            anchor[: len(near)] = x[: len(near)] + near * anchor[: len(near)]
            x[-len(near) :, 0] *= 100
            worst, allowed, f = (
                np.asarray(v, float)
                for v in check(anchor.astype(dtype), x.astype(dtype))
            )
            beyond += int(np.sum(~(worst <= allowed)))
            share = max(share, float(np.max(worst / allowed)))
            vacuous.append(np.mean(~(allowed < np.abs(f))))
        out[f"{scale:g}"] = {
            "beyond": beyond,
            "largest_share_of_bound": share,
            "bound_above_f": float(np.mean(vacuous)),
        }
    return out


def main():
    jax.config.update("jax_enable_x64", True)
    pairs = int(float(sys.argv[1])) if len(sys.argv) > 1 else 100_000
    result = {"pairs": pairs, "jax": jax.__version__, "cores": os.cpu_count()}
    path = HERE / "results" / "products.json"
    names = sys.argv[2].split(",") if len(sys.argv) > 2 else list(NETWORKS)
    for name in names:
        fn = NETWORKS[name]
        result[name] = {
            np.dtype(dtype).name: violations(fn, dtype, pairs)
            for dtype in (np.float32, np.float64)
        }
        print(name, json.dumps(result[name]), flush=True)
        if names == list(NETWORKS):
            path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
