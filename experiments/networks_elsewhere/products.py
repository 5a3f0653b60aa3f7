"""Networks with products and quotients of live values: exact, and what they prove.

    python experiments/networks_elsewhere/products.py [NAME ...]

Each network is trained for a few epochs on beats of the synthetic data set, in float64.
One level is opened; up to 1, 36 and 144 components a side are chosen on training beats
and decide the held-out ones. Writes results/products.json.
"""

import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import ecg_jax as ej
from ecg_jax.ecg.beats import BeatConfig, extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.lattice.descent import descend

HERE = Path(__file__).parent
BUDGETS = (1, 36, 144)
CHOOSING, DECIDED, STEPS, BATCH = 300, 300, 200, 64
WIDTH, PATCH = 16, 13


def patches(x):
    """A beat `[lead, time]` as steps of `PATCH` samples."""
    return x.reshape(-1, PATCH)


class Plain(nn.Module):
    """The baseline: dense layers and ReLU, no product."""

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(4 * WIDTH)(x.reshape(-1)))
        return nn.Dense(1)(nn.relu(nn.Dense(WIDTH)(h)))[0]


class LayerNormed(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.LayerNorm()(nn.Dense(4 * WIDTH)(x.reshape(-1))))
        return nn.Dense(1)(nn.relu(nn.LayerNorm()(nn.Dense(WIDTH)(h))))[0]


class GroupNormed(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.Conv(8, (5,), (2,))(x.reshape(-1, 1))
        h = nn.relu(nn.GroupNorm(num_groups=2)(h))
        h = nn.relu(nn.Conv(8, (5,), (2,))(h))
        return nn.Dense(1)(h.mean(0))[0]


class SqueezeExcited(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Conv(8, (5,), (2,))(x.reshape(-1, 1)))
        s = nn.sigmoid(nn.Dense(8)(nn.relu(nn.Dense(4)(h.mean(0)))))
        h = nn.relu(nn.Conv(8, (5,), (2,))(h * s))
        return nn.Dense(1)(h.mean(0))[0]


class GatedUnits(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(-1)
        h = nn.Dense(2 * WIDTH)(x) * nn.sigmoid(nn.Dense(2 * WIDTH)(x))
        return nn.Dense(1)(nn.relu(nn.Dense(WIDTH)(h)))[0]


class GatedUnitsLast(nn.Module):
    """The same gates before the head."""

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(4 * WIDTH)(x.reshape(-1)))
        return nn.Dense(1)(
            nn.tanh(nn.Dense(WIDTH)(h)) * nn.sigmoid(nn.Dense(WIDTH)(h))
        )[0]


class AttentionPooled(nn.Module):
    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(WIDTH)(patches(x)))
        weight = nn.softmax(nn.Dense(1)(h)[:, 0])
        return nn.Dense(1)(weight @ h)[0]


class Transformer(nn.Module):
    """One block: layer norm, two heads, layer norm, two dense layers; then the mean."""

    @nn.compact
    def __call__(self, x):
        h = nn.Dense(WIDTH)(patches(x))
        h = h + self.param("place", nn.initializers.normal(0.1), h.shape, h.dtype)
        h = h + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(h))
        h = h + nn.Dense(WIDTH)(nn.relu(nn.Dense(2 * WIDTH)(nn.LayerNorm()(h))))
        return nn.Dense(1)(h.mean(0))[0]


class Recurrent(nn.Module):
    """An LSTM over the patches, a scan that is written out."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(
            nn.RNN(nn.OptimizedLSTMCell(8, param_dtype=x.dtype))(patches(x))[-1]
        )[0]


class Gru(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.RNN(nn.GRUCell(8, param_dtype=x.dtype))(patches(x))[-1])[
            0
        ]


NETWORKS = {
    "dense ReLU (baseline)": Plain,
    "layer norm": LayerNormed,
    "group norm": GroupNormed,
    "squeeze-excitation": SqueezeExcited,
    "GLU": GatedUnits,
    "tanh * sigmoid before the head": GatedUnitsLast,
    "attention pooling": AttentionPooled,
    "transformer block": Transformer,
    "LSTM, 5 steps": Recurrent,
    "GRU, 5 steps": Gru,
}


def fitted(network, variables, x, normal, adam, steps, batch):
    """The variables after some steps, in their own dtype."""

    @jax.jit
    def step(variables, state, rows):
        def loss(variables):
            margin = jax.vmap(lambda a: network.apply(variables, a))(x[rows])
            return optax.sigmoid_binary_cross_entropy(margin, normal[rows]).mean()

        update, state = adam.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, update), state

    state, rng = adam.init(variables), np.random.default_rng(0)
    for _ in range(steps):
        variables, state = step(variables, state, rng.integers(len(x), size=batch))
    return variables


def trained(network, x, normal):
    """A margin: the network after some steps of Adam."""
    variables = network.init(jax.random.key(0), x[0])
    variables = jax.tree.map(lambda v: v.astype(jnp.float64), variables)
    adam = optax.adam(3e-3)
    variables = fitted(network, variables, x, normal, adam, STEPS, BATCH)
    return lambda a: network.apply(variables, a)


def proven(tree, data):
    """Shares of the answers of either side that are proven; how many wrongly."""
    found = ej.decide(tree, data)
    sides = {"normal": found.value >= 0, "not normal": found.value < 0}
    shares = {
        name: float(np.mean(found.prover[rows] >= 0)) if rows.any() else None
        for name, rows in sides.items()
    }
    return shares | {"wrongly": int(found.wrongly_proven)}


def check(name, x, normal, heldout, heldout_normal):
    fn = trained(NETWORKS[name](), jnp.asarray(x), jnp.asarray(normal, jnp.float64))
    chosen, data = x[:CHOOSING], heldout[:DECIDED]
    f = np.asarray(jax.jit(jax.vmap(fn))(data))
    started = time.process_time()
    eq = ej.factor(fn, x[0])
    factor_s = time.process_time() - started
    descent = descend(fn, x[0])
    certificate = ej.certify(eq, data[:64], num_pairs=512)
    accuracy = np.mean((f >= 0) == heldout_normal[:DECIDED])
    result = {
        "accuracy": float(accuracy),
        "majority": float(max(np.mean(heldout_normal), 1 - np.mean(heldout_normal))),
        "normal": int(np.sum(f >= 0)),
        "inputs": len(data),
        "opened": sorted({gate.name for gate in eq.gates}),
        "units": int(sum(np.size(w) for w in eq.weights)),
        "levels": descent.num_levels,
        "atoms": descent.end is None,
        "equal": bool(np.array_equal(jax.jit(jax.vmap(eq))(data), f)),
        "factor_cpu_s": round(factor_s, 2),
        "certificate": certificate.holds,
        "of_bound": certificate.ratio,
        "vacuous": certificate.vacuous,
    }
    for budget in BUDGETS:
        tree = ej.grow(fn, chosen, depth=1, budget=budget)
        result[f"proven by {budget}"] = proven(tree, data)
    return result


def split(beats):
    """Inputs and labels of training beats, then of held-out ones, shuffled."""
    rng, out = np.random.default_rng(0), []
    for name in ("train", "heldout"):
        rows = rng.permutation(beats.rows(name))
        out += [np.asarray(beats.inputs(rows), float), beats.is_normal[rows]]
    return out


def main():
    path = HERE / "results" / "products.json"
    done = json.loads(path.read_text()) if path.exists() else {}
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as cache:
        folder = open_dataset("synthetic")
        beats = extract_beats(folder, BeatConfig(), cache_dir=Path(cache))
        data = split(beats)
    for name in sys.argv[1:] or NETWORKS:
        done[name] = check(name, *data)
        done["versions"] = {"python": platform.python_version()} | {
            package: importlib.metadata.version(package) for package in ("jax", "flax")
        }
        done["cores"] = os.cpu_count()
        path.write_text(json.dumps(done, indent=2) + "\n")
        print(name, json.dumps(done[name]), flush=True)


if __name__ == "__main__":
    main()
