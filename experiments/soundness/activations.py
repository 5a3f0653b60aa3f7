"""Is an answer that is called proven true, whatever the activation function?

    python experiments/soundness/activations.py [--quick] [--processes 2]
    python experiments/soundness/activations.py --shares OLD.csv

For each function phi two networks with random weights, phi below a ReLU and phi
outermost:

    below          w . relu(W phi(V x + b) + c) + d
    outermost      w . phi(V x + b) + d

The script knows only what a user sees: `grow`, `decide`, `factor`, `witness`,
`refuter`. What they claim is compared with the user's function, evaluated eagerly, by
jit, by vmap, and in higher precision: float32 functions in float64, float64 ones in
NumPy's longdouble, by implementations of their own. See README.md.
"""

import argparse
import csv
import itertools
import multiprocessing
import os
import platform
import sys
import time
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej

HERE = Path(__file__).parent
SIZE, UNITS, HEADS = 5, 6, 5  # inputs, operands of phi, units of the ReLU above
WIDE = np.longdouble
PAIRS = 10_000_000
GROWN = {  # first of its dtype, scale that a tree is grown at, scales it decides at
    "float32": ((True, 1.0, (1.0, 1e2)), (False, 1e4, (1e4, 1e6))),
    "float64": ((True, 1e2, (1.0, 1e2, 1e4, 1e6)),),
}
NEAREST = 96  # answers nearest to 0 that are evaluated one by one, eagerly


# The functions: in JAX, for one vector, and in longdouble, for a batch of vectors.


def pooled(window, reducer, start):
    def pool(z):
        first = np.asarray(start, z.dtype)
        return jax.lax.reduce_window(z, first, reducer, (window,), (1,), "VALID")

    return pool


def windows(z):
    return np.lib.stride_tricks.sliding_window_view(z, 3, axis=-1)


def hand_gelu(z):
    return z * (1 + jax.lax.erf(z / np.sqrt(2).astype(z.dtype))) / 2


def hand_tanh_gelu(z):
    inner = np.sqrt(2 / np.pi).astype(z.dtype) * (z + 0.044715 * z**3)
    return 0.5 * z * (1 + jnp.tanh(inner))


def huber(z):
    size = jnp.abs(z)
    small = jnp.minimum(size, 1)
    return small * small / 2 + (size - small)


def by_where(z):
    return jnp.where(z > 0, z, 0)


def log_sum_exp(z):
    return jnp.stack([jax.nn.logsumexp(z[:3]), jax.nn.logsumexp(z[3:])])


def log_sum_exp_of_axis(z):
    return jax.nn.logsumexp(z.reshape(2, 3), axis=-1)


def class_margin(z):
    return jnp.stack([z[0] - jax.nn.logsumexp(z[1:]), z[1] - jnp.max(z[2:])])


def norms(z):
    return jnp.stack([jnp.linalg.norm(z[:3]), jnp.linalg.norm(z[3:])])


def quantile(z):
    return jnp.stack([jnp.quantile(z, q) for q in (0.1, 0.7)])


def middle(z):
    return jnp.stack([jnp.median(z), jnp.median(z[:3])])


def wide_erf(z):
    """`2 / sqrt pi e^{-z^2} sum_n 2^n z^(2n+1) / (2n+1)!!`: no term cancels."""
    u = np.clip(z, -7, 7).astype(WIDE)
    term = total = u.copy()
    for n in range(1, 260):
        term = term * 2 * u * u / (2 * n + 1)
        total = total + term
    root = np.sqrt(WIDE("3.14159265358979323846264338327950288"))
    return 2 / root * np.exp(-u * u) * total


def wide_softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def wide_sigmoid(z):
    small = np.exp(-np.abs(z))
    return np.where(z > 0, 1, small) / (1 + small)


def wide_lse(z):
    top = z.max(-1, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(-1, keepdims=True)))[..., 0]


def wide_elu(z, alpha=1):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def wide_tanh_gelu(z):
    root = np.sqrt(2 / WIDE("3.14159265358979323846264338327950288"))
    return z / 2 * (1 + np.tanh(root * (z + WIDE("0.044715") * z**3)))


def wide_quantile(z):
    z = np.sort(z, -1)
    places = [WIDE(q) * (z.shape[-1] - 1) for q in ("0.1", "0.7")]

    def at(p):
        low = int(np.floor(p))
        return z[..., low] + (p - low) * (z[..., low + 1] - z[..., low])

    return np.stack([at(p) for p in places], -1)


def wide_huber(z):
    size = np.abs(z)
    return np.where(size < 1, z * z / 2, size - WIDE(0.5))


def wide_sparse_plus(z):
    return np.where(z <= -1, 0, np.where(z >= 1, z, (z + 1) ** 2 / 4))


def halves(fn):
    return lambda z: np.stack([fn(z[..., :3]), fn(z[..., 3:])], -1)


def wide_median(z):
    half = [np.sort(z, -1)[..., 2:4].mean(-1), np.sort(z[..., :3], -1)[..., 1]]
    return np.stack(half, -1)


def wide_margin(z):
    one = z[..., 0] - wide_lse(z[..., 1:])
    return np.stack([one, z[..., 1] - z[..., 2:].max(-1)], -1)


SELU = (
    WIDE("1.0507009873554804934193349852946"),
    WIDE("1.6732632423543772848170429916717"),
)


PHIS = {
    "relu": (jax.nn.relu, lambda z: np.maximum(z, 0)),
    "relu by where": (by_where, lambda z: np.maximum(z, 0)),
    "leaky_relu": (jax.nn.leaky_relu, lambda z: np.where(z > 0, z, WIDE("0.01") * z)),
    "relu6": (jax.nn.relu6, lambda z: np.clip(z, 0, 6)),
    "hard_tanh": (jax.nn.hard_tanh, lambda z: np.clip(z, -1, 1)),
    "hard_sigmoid": (jax.nn.hard_sigmoid, lambda z: np.clip(z + 3, 0, 6) / 6),
    "hard_silu": (jax.nn.hard_silu, lambda z: z * np.clip(z + 3, 0, 6) / 6),
    "abs": (jnp.abs, np.abs),
    "elu": (jax.nn.elu, wide_elu),
    "celu": (jax.nn.celu, wide_elu),
    "selu": (jax.nn.selu, lambda z: SELU[0] * wide_elu(z, SELU[1])),
    "softplus": (jax.nn.softplus, wide_softplus),
    "squareplus": (jax.nn.squareplus, lambda z: (z + np.sqrt(z * z + 4)) / 2),
    "sparse_plus": (jax.nn.sparse_plus, wide_sparse_plus),
    "silu": (jax.nn.silu, lambda z: z * wide_sigmoid(z)),
    "x * sigmoid(x)": (lambda z: z * jax.nn.sigmoid(z), lambda z: z * wide_sigmoid(z)),
    "gelu exact": (
        lambda z: jax.nn.gelu(z, approximate=False),
        lambda z: z / 2 * (1 + wide_erf(z / np.sqrt(WIDE(2)))),
    ),
    "gelu exact by hand": (
        hand_gelu,
        lambda z: z / 2 * (1 + wide_erf(z / np.sqrt(WIDE(2)))),
    ),
    "gelu tanh": (jax.nn.gelu, wide_tanh_gelu),
    "gelu tanh by hand": (hand_tanh_gelu, wide_tanh_gelu),
    "mish": (jax.nn.mish, lambda z: z * np.tanh(wide_softplus(z))),
    "tanh": (jnp.tanh, np.tanh),
    "sigmoid": (jax.nn.sigmoid, wide_sigmoid),
    "log_sigmoid": (jax.nn.log_sigmoid, lambda z: -wide_softplus(-z)),
    "erf": (jax.lax.erf, wide_erf),
    "erfc": (jax.lax.erfc, lambda z: 1 - wide_erf(z)),
    "sin": (jnp.sin, np.sin),
    "cos": (jnp.cos, np.cos),
    "atan": (jnp.arctan, np.arctan),
    "asinh": (jnp.arcsinh, np.arcsinh),
    "soft_sign": (jax.nn.soft_sign, lambda z: z / (1 + np.abs(z))),
    "square": (jnp.square, np.square),
    "exp(-x^2)": (lambda z: jnp.exp(-z * z), lambda z: np.exp(-z * z)),
    "huber": (huber, wide_huber),
    "logsumexp": (log_sum_exp, halves(wide_lse)),
    "logsumexp of an axis": (log_sum_exp_of_axis, halves(wide_lse)),
    "margins": (class_margin, wide_margin),
    "max-pool": (
        pooled(3, jax.lax.max, -np.inf),
        lambda z: windows(z).max(-1),
    ),
    "avg-pool of abs": (
        lambda z: pooled(3, jax.lax.add, 0)(jnp.abs(z)) / 3,
        lambda z: windows(np.abs(z)).sum(-1) / 3,
    ),
    "sort": (jnp.sort, lambda z: np.sort(z, -1)),
    "median": (middle, wide_median),
    "quantile": (quantile, wide_quantile),
    "min": (lambda z: jnp.min(z.reshape(2, 3), 1), halves(lambda z: z.min(-1))),
    "max": (lambda z: jnp.max(z.reshape(2, 3), 1), halves(lambda z: z.max(-1))),
    "cummax": (jax.lax.cummax, lambda z: np.maximum.accumulate(z, -1)),
    "cumsum of relu": (
        lambda z: jnp.cumsum(jax.nn.relu(z)),
        lambda z: np.cumsum(np.maximum(z, 0), -1),
    ),
    "norm": (norms, halves(lambda z: np.sqrt((z * z).sum(-1)))),
    "sum of abs": (
        lambda z: jnp.sum(jnp.abs(z).reshape(2, 3), 1),
        halves(lambda z: np.abs(z).sum(-1)),
    ),
}


# The networks: one set of weights, in the dtype that is asked for.


class Network:
    """`fn` in a dtype, and its twin in longdouble on the very same weights."""

    def __init__(self, name, kind, dtype):
        self.phi, self.wide_phi = PHIS[name]
        self.kind, self.dtype = kind, np.dtype(dtype)
        rng = np.random.default_rng(zlib.crc32(f"{name} {kind}".encode()))
        shape = jax.eval_shape(self.phi, np.zeros(UNITS, dtype)).shape[0]
        out = HEADS if kind == "below" else shape

        def weights(*size):
            return rng.normal(size=size).astype(dtype) / np.sqrt(size[-1]).astype(dtype)

        self.weights = {
            "V": weights(UNITS, SIZE),
            "b": weights(UNITS),
            "W": weights(HEADS, shape),
            "c": weights(HEADS),
            "w": 2 * weights(out),
            "d": np.zeros((), dtype),
        }

    def balance(self, data):
        """An offset that gives about half of the answers either sign."""
        with np.errstate(all="ignore"):
            middle = np.median(self.exact(data)).astype(self.dtype)
        self.weights["d"] = -middle

    def fn(self, dtype=None):
        """The function of one example; in another dtype on the same numbers."""
        made = {k: jnp.asarray(v, dtype or self.dtype) for k, v in self.weights.items()}
        phi, below = self.phi, self.kind == "below"

        def fn(x):
            y = phi(made["V"] @ x + made["b"])
            if below:
                y = jax.nn.relu(made["W"] @ y + made["c"])
            return made["w"] @ y + made["d"]

        return fn

    def exact(self, x):
        """A batch in higher precision."""
        if self.dtype == np.float32:
            fn = jax.jit(jax.vmap(self.fn(np.float64)))
            return np.asarray(fn(jnp.asarray(x, jnp.float64)))
        made = {k: v.astype(WIDE) for k, v in self.weights.items()}
        with np.errstate(over="ignore", under="ignore"):
            y = self.wide_phi(x.astype(WIDE) @ made["V"].T + made["b"])
        if self.kind == "below":
            y = np.maximum(y @ made["W"].T + made["c"], 0)
        return y @ made["w"] + made["d"]


# The inputs.


def bisected(values, x, rng, count):
    """Pairs of inputs of either sign, halved again and again: ever nearer to f = 0."""
    sign = values(x) >= 0
    if sign.all() or not sign.any():
        return x[:0]
    up, down = (x[rng.choice(np.flatnonzero(s), count)] for s in (sign, ~sign))
    kept = []
    for step in range(1, 61):
        half = (up / 2 + down / 2).astype(x.dtype)
        above = (values(half) >= 0)[:, None]
        up, down = np.where(above, half, up), np.where(above, down, half)
        if step in (4, 8, 12, 16, 20, 24, 40, 60):
            kept += [up, down]
    return np.concatenate(kept)


def attacks(values, anchors, scale, dtype, seed):
    """Random inputs, and those that a proof may fail at."""
    rng = np.random.default_rng([seed, 7])
    x = scale * rng.normal(size=(512, SIZE))
    mixed = x[:128] + rng.random((128, 1)) * (x[128:256] - x[:128])
    spikes = x[:128].copy()
    spikes[np.arange(128), rng.integers(SIZE, size=128)] *= 10.0 ** rng.integers(
        2, 5, 128
    )
    parts = [x, mixed, spikes]
    if len(anchors):
        near = np.asarray(anchors, np.float64)[rng.integers(len(anchors), size=256)]
        step = 10.0 ** -rng.integers(0, 9, (256, 1)) * np.abs(near).max(1)[:, None]
        parts.append(near + step * rng.normal(size=near.shape))
        parts.append(np.nextafter(near.astype(dtype), np.inf))
    whole = np.concatenate([part.astype(dtype) for part in parts])
    return np.concatenate([whole, bisected(values, whole, rng, 96)])


# What is counted.


def decided(tree, data):
    verb = getattr(ej, "decide", None)
    return verb(tree, data) if callable(verb) else ej.decide(tree, data)


def grown(network, data):
    return ej.grow(network.fn(), data, depth=1, budget=4, min_count=20)


def data_of(scale, dtype, num=512):
    return (scale * np.random.default_rng(3).normal(size=(num, SIZE))).astype(dtype)


def contradicted(network, tree, inputs):
    """Counts of answers: proven, wrongly so by each evaluation; decided wrongly."""
    fn = network.fn()
    single = jax.jit(fn)
    finite = np.isfinite(np.asarray(jax.vmap(fn)(inputs)))
    inputs = inputs[finite]
    d = decided(tree, inputs)
    normal, proven = np.asarray(d.value) >= 0, np.asarray(d.prover) >= 0
    exact = network.exact(inputs)
    signs = {
        "vmap": np.asarray(jax.vmap(fn)(inputs)) >= 0,
        "jit of vmap": np.asarray(jax.jit(jax.vmap(fn))(inputs)) >= 0,
        "jit": np.array([single(x) for x in inputs]) >= 0,
        "exact": exact >= 0,
    }
    order = np.argsort(np.where(proven, np.abs(d.value), np.inf))[:NEAREST]
    order = order[proven[order]]
    eager = np.array([bool(fn(jnp.asarray(x)) >= 0) for x in inputs[order]], bool)
    out = {
        f"wrong by {k}": int((proven & (s != normal)).sum()) for k, s in signs.items()
    }
    out["wrong by eager"] = int((eager != normal[order]).sum())
    own = [signs[k] for k in ("vmap", "jit of vmap", "jit")]
    same = np.all([s == own[0] for s in own], axis=0)
    out["wrong decisions"] = int((same & (normal != own[0])).sum())
    usual = np.sqrt(np.mean(np.square(exact, dtype=float)))
    decided_wrongly = np.abs(exact[same & (normal != own[0])]).astype(float)
    out["farthest decision, in u"] = float(
        np.max(decided_wrongly / usual, initial=0) / (np.finfo(network.dtype).eps / 2)
    )
    out["unlike evaluations"] = int((~same).sum())
    unlike_exact = same & (own[0] != signs["exact"])
    out["fn itself unlike exact"] = int(unlike_exact.sum())
    out |= {"answers": len(inputs), "proven": int(proven.sum())}
    worst = [k for k in out if k.startswith("wrong") and out[k]]
    if worst:
        bad = np.zeros(len(inputs), bool)
        for s in signs.values():
            bad |= proven & (s != normal)
        bad |= same & (normal != own[0])
        for i in np.flatnonzero(bad)[:3]:
            print(
                "  WRONG",
                network.kind,
                network.dtype,
                inputs[i].tolist(),
                "value",
                d.value[i],
                "exact",
                exact[i],
                "slack",
                d.slack[i],
                "lower",
                d.lower[i],
                "upper",
                d.upper[i],
                "prover",
                d.prover[i],
                flush=True,
            )
    return out


def pairs_of(network, count):
    """Pairs `(a, x)` at which `W[a](x) > f(x)` or `R[a](x) < f(x)` beyond rounding.

    Beyond what `rounding_bound` allows, and beyond `1e-9 (1 + max |x|)` in float64 or
    `1e-4` instead in float32: a tolerance that knows nothing of the package.
    """
    from ecg_jax.program.trace import trace
    from ecg_jax.proof.rounding import rounding_bound

    fn, dtype = network.fn(), network.dtype
    eq = ej.factor(fn, jnp.zeros(SIZE, dtype))
    bound = rounding_bound(trace(fn, jnp.zeros(SIZE, dtype), ej.RULES))

    def one(a, x):
        (mu, tau), (own_mu, own_tau) = eq.pattern(a), eq.pattern(x)
        ways = (mu, own_tau), (own_mu, tau), (own_mu, own_tau)
        allowed = sum(2 * bound(x, eq.frozen(*way)) for way in ways)
        return eq.witness(mu)(x), eq.refuter(tau)(x), allowed

    rng = np.random.default_rng(11)
    run = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    num = min(2048, count)
    tolerance = 1e-9 if dtype == np.float64 else 1e-4
    total = beyond = above = 0
    worst = -np.inf
    while total < count:
        scale = 10.0 ** rng.integers(0, 5)
        a, x = (
            (scale * 2.0 ** rng.normal(size=(n, 1)) * rng.normal(size=(n, SIZE)))
            for n in (16, num)
        )
        near = num // 4
        x[:near] = a[rng.integers(16, size=near)] + 10.0 ** -rng.integers(
            0, 8, (near, 1)
        ) * rng.normal(size=(near, SIZE))
        a, x = a.astype(dtype), x.astype(dtype)
        witness, refuter, allowed = map(np.asarray, run(a, x))
        f = np.asarray(network.exact(x), np.float64)
        excess = np.maximum(witness - f, f - refuter)
        known = np.isfinite(f) & np.isfinite(allowed)
        total += excess.size
        beyond += int((known & (excess > allowed)).sum())
        size = tolerance * (1 + np.abs(x).max(1) ** (2 if network.quadratic else 1))
        above += int((excess > size).sum())
        worst = max(worst, float(np.max((excess / allowed)[known], initial=-np.inf)))
    return {
        "pairs": total,
        "beyond the bound": beyond,
        "beyond the tolerance": above,
        "largest share of the bound": worst,
    }


def first_line(error):
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def share(name, kind, dtype=np.float32):
    """Share of fresh answers at scale 1 that are proven."""
    network = Network(name, kind, dtype)
    network.balance(data_of(1, dtype))
    tree = grown(network, data_of(1, dtype))
    fresh = np.random.default_rng(4).normal(size=(512, SIZE)).astype(dtype)
    return float(np.mean(np.asarray(decided(tree, fresh).prover) >= 0))


def shares_of(name):
    row = {"phi": name}
    for kind in ("below", "outermost"):
        try:
            row[kind] = f"{share(name, kind):.3f}"
        except Exception as error:
            row[kind] = first_line(error)
    return row


def measured(name, pairs, quick=False):
    """One row of the table."""
    row, counts = {"phi": name, "refused": ""}, {}
    dtypes = (np.float32,) if quick else (np.float32, np.float64)
    start = time.perf_counter()
    for kind, dtype in itertools.product(("below", "outermost"), dtypes):
        label = f"{kind} {np.dtype(dtype)}"
        for first, scale, others in GROWN[np.dtype(dtype).name][: 1 if quick else 2]:
            network = Network(name, kind, dtype)
            network.quadratic = name in ("square", "gelu tanh by hand")
            data = data_of(scale, dtype)
            try:
                network.balance(data)
                tree = grown(network, data)
                if first:
                    found = pairs_of(network, pairs // (2 * len(dtypes)))
                    for key, value in found.items():
                        join = max if "largest" in key else int.__add__
                        counts[key] = join(counts.get(key, type(value)(0)), value)
                fresh = np.random.default_rng(4).normal(size=(512, SIZE))
                d = decided(tree, (scale * fresh).astype(dtype))
                proven = float(np.mean(np.asarray(d.prover) >= 0))
                row[f"{label} {scale:g}"] = f"{proven:.3f}"
                run = jax.jit(jax.vmap(network.fn()))

                def values(x, run=run):
                    return np.asarray(run(x))

                anchors = [n.anchor for n in tree.nodes if n.sign]
                for other in others:
                    seed = zlib.crc32(f"{name} {label} {other}".encode())
                    inputs = attacks(values, anchors, other, dtype, seed)
                    found = contradicted(network, tree, inputs)
                    if any(v for k, v in found.items() if k.startswith("wrong by")):
                        print(f"WRONG {name} {label} {other:g}: {found}", flush=True)
                    for key, value in found.items():
                        join = max if "farthest" in key else int.__add__
                        counts[key] = join(counts.get(key, type(value)(0)), value)
            except Exception as error:
                row[f"{label} {scale:g}"] = "refused"
                if first_line(error) not in row["refused"]:
                    row["refused"] += f"{kind} {scale:g}: {first_line(error)}; "
    counts["seconds"] = round(time.perf_counter() - start, 1)
    return row | counts


def worker(job):
    jax.config.update("jax_enable_x64", True)
    kind, *arguments = job
    return {"shares": shares_of, "whole": measured}[kind](*arguments)


def table(rows, path):
    keys = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, keys, restval="", lineterminator="\n")
        out.writeheader()
        out.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="float32, scale 1, 1e5")
    parser.add_argument("--shares", metavar="CSV", help="only shares proven, scale 1")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--pairs", type=float, default=PAIRS)
    parser.add_argument("--phi", nargs="*", default=list(PHIS), choices=list(PHIS))
    parser.add_argument("--out", default=str(HERE / "results" / "activations.csv"))
    options = parser.parse_args()
    pairs = int(1e5 if options.quick else options.pairs) // len(options.phi)
    path = Path(options.shares or options.out)
    jobs = [
        ("shares", name) if options.shares else ("whole", name, pairs, options.quick)
        for name in options.phi
    ]
    rows, start = {}, time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(options.processes, maxtasksperchild=4) as pool:
        for row in pool.imap_unordered(worker, jobs):
            rows[row["phi"]] = row
            print(row, flush=True)
            table([rows[n] for n in options.phi if n in rows], path)
    wrong = sum(
        int(v) for r in rows.values() for k, v in r.items() if k.startswith("wrong by")
    )
    print(
        f"{len(rows)} functions, {wrong} wrong proofs, "
        f"{time.perf_counter() - start:.0f} s; "
        f"jax {jax.__version__}, Python {platform.python_version()}, "
        f"{os.cpu_count()} cores"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
