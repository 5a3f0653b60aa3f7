"""How much one level of an equation says of networks with products, on recordings.

    python experiments/networks_elsewhere/on_recordings.py --data-dir DIR [NAME ...]

Small networks of five families, each trained on the beats of the training recordings of
CinC 2017 in float32, then taken in float64. One level is opened. Up to 1, 36 and 144
components a side are chosen on beats of the validation recordings and decide beats of
the held-out ones. Writes results/on_recordings.json.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from products import WIDTH, Gru, Plain, Recurrent, Transformer, fitted, proven

import ecg_jax as ej
from ecg_jax.ecg.beats import BeatConfig, extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.statistics.scores import auc

HERE = Path(__file__).parent
BUDGETS = (1, 36, 144)
CHOOSING, DECIDED, STEPS, BATCH = 300, 2000, 1000, 128
MIN_COUNT = 50  # of `grow`: no more than some CHOOSING / MIN_COUNT components a side


class SEResNet(nn.Module):
    """Two residual blocks with squeeze-excitation; then the mean."""

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Conv(8, (5,), (2,))(x.reshape(-1, 1)))
        for _ in range(2):
            z = nn.Conv(8, (5,))(nn.relu(nn.Conv(8, (5,))(h)))
            s = nn.sigmoid(nn.Dense(8)(nn.relu(nn.Dense(4)(z.mean(0)))))
            h = nn.relu(h + s * z)
        return nn.Dense(1)(h.mean(0))[0]


class WaveNet(nn.Module):
    """Three dilated causal convolutions with gates; skips, a ReLU, the mean."""

    @nn.compact
    def __call__(self, x):
        h, skip = nn.Conv(8, (1,))(x.reshape(-1, 1)), 0
        for dilation in (1, 4, 16):
            wide = nn.Conv(16, (3,), kernel_dilation=(dilation,), padding="CAUSAL")(h)
            z = nn.tanh(wide[:, :8]) * nn.sigmoid(wide[:, 8:])
            h, skip = h + nn.Conv(8, (1,))(z), skip + nn.Conv(8, (1,))(z)
        return nn.Dense(1)(nn.relu(nn.Dense(WIDTH)(skip)).mean(0))[0]


NETWORKS = {
    "dense ReLU (no product)": Plain,
    "transformer": Transformer,
    "SE-ResNet": SEResNet,
    "WaveNet gates": WaveNet,
    "LSTM": Recurrent,
    "GRU": Gru,
}


def trained(network, x, normal):
    """A margin in float64, and the seconds of its training."""
    variables = network.init(jax.random.key(0), x[0])
    adam = optax.adam(optax.cosine_decay_schedule(5e-3, STEPS))
    started = time.perf_counter()
    variables = fitted(network, variables, x, normal, adam, STEPS, BATCH)
    jax.block_until_ready(variables)
    seconds = time.perf_counter() - started
    exact = jax.tree.map(lambda v: v.astype(jnp.float64), variables)
    return (lambda a: network.apply(exact, a)), seconds


def check(name, beats, splits):
    rows, some = splits["train"], splits["heldout"][:DECIDED]
    fn, seconds = trained(
        NETWORKS[name](),
        jnp.asarray(beats.inputs(rows), jnp.float32),
        jnp.asarray(beats.is_normal[rows], jnp.float32),
    )
    margins = jax.jit(jax.vmap(fn))
    chosen = np.asarray(beats.inputs(splits["validation"][:CHOOSING]), float)
    data = np.asarray(beats.inputs(some), float)
    f, is_normal = np.asarray(margins(data)), beats.is_normal
    eq = ej.factor(fn, data[0])
    certificate = ej.certify(eq, data[:64], num_pairs=256)
    result = {
        "auc": float(auc(f, is_normal[some])),
        "accuracy": float(np.mean((f >= 0) == is_normal[some])),
        "labelled normal": float(np.mean(is_normal[some])),
        "answered normal": float(np.mean(f >= 0)),
        "training_s": round(seconds, 1),
        "opened": sorted({gate.name for gate in eq.gates}),
        "units": int(sum(np.size(w) for w in eq.weights)),
        "equal": bool(np.array_equal(jax.jit(jax.vmap(eq))(data), f)),
        "certificate": certificate.holds,
    }
    for budget in BUDGETS:
        tree = ej.grow(fn, chosen, depth=1, budget=budget, min_count=MIN_COUNT)
        nodes = tree.nodes[1:]
        result[f"proven by {budget}"] = proven(tree, data) | {
            "components": [sum(n.sign == sign for n in nodes) for sign in (1, -1)],
            "share frozen": float(np.mean([n.share_frozen for n in nodes])),
        }
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=os.environ.get("ECG_JAX_CACHE"))
    args = parser.parse_args()
    path = HERE / "results" / "on_recordings.json"
    done = json.loads(path.read_text()) if path.exists() else {}
    jax.config.update("jax_enable_x64", True)
    folder = open_dataset("challenge-2017", args.data_dir)
    beats = extract_beats(folder, BeatConfig(), cache_dir=Path(args.cache))
    rng = np.random.default_rng(0)
    names = ("train", "validation", "heldout")
    splits = {name: rng.permutation(beats.rows(name)) for name in names}
    for name in args.names or NETWORKS:
        done[name] = check(name, beats, splits)
        done["beats"] = {name: len(rows) for name, rows in splits.items()}
        done["versions"] = {"python": platform.python_version()} | {
            package: importlib.metadata.version(package) for package in ("jax", "flax")
        }
        path.write_text(json.dumps(done, indent=2) + "\n")
        print(name, json.dumps(done[name]), flush=True)


if __name__ == "__main__":
    main()
