"""Do witnesses ever exceed, or refuters undercut, the function they bound?

    python experiments/soundness/run.py [INPUTS]

For each network: INPUTS (default 1,000,000) random inputs, each against an anchor of
its own, and as many adversarial ones: points that climb the gradient of the violation.
In float32, against the bound from the arithmetic. Writes results/results.json.
"""

import itertools
import json
import os
import platform
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej
from ecg_jax.program.trace import trace
from ecg_jax.proof.rounding import rounding_bound

HERE = Path(__file__).parent
BLOCK = 2048
STEPS = 16


def dense(activation, sizes=(180, 64, 32, 16, 1)):
    rng = np.random.default_rng(0)
    layers = [
        (
            jnp.asarray(rng.normal(size=(m, n)) * np.sqrt(2 / n), jnp.float32),
            jnp.asarray(rng.normal(size=m) / 4, jnp.float32),
        )
        for n, m in itertools.pairwise(sizes)
    ]

    def fn(x):
        for w, b in layers[:-1]:
            x = activation(w @ x + b)
        w, b = layers[-1]
        return (w @ x + b)[0]

    return fn, sizes[0]


def residual(size=60):
    """Convolutions, a skip connection, max-pool, leaky ReLU, clip, three classes."""
    rng = np.random.default_rng(1)

    def weights(*shape):
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return jnp.asarray(rng.normal(size=shape) * scale, jnp.float32)

    kernels = weights(8, 1, 5), weights(8, 8, 5), weights(8, 8, 3)
    head = weights(3, 8)

    def conv(h, kernel):
        return jax.lax.conv_general_dilated(h[None], kernel, (1,), "SAME")[0]

    def logits(x):
        h = jax.nn.relu(conv(x[None], kernels[0]))
        y = jax.nn.leaky_relu(conv(h, kernels[1]), 0.1)
        h = jnp.clip(h + conv(y, kernels[2]), -1.0, 6.0)
        h = jax.lax.reduce_window(
            h, -jnp.inf, jax.lax.max, (1, 3), (1, 2), ((0, 0), (1, 1))
        )
        return head @ jnp.max(h, axis=1)

    return ej.margin(logits, 0), size


NETWORKS = {
    "dense ReLU 180-64-32-16-1": lambda: dense(jax.nn.relu),
    "residual convnet, three classes": residual,
    "dense GELU 180-64-32-16-1": lambda: dense(jax.nn.gelu),
    "dense softplus 180-64-32-16-1": lambda: dense(jax.nn.softplus),
}


def violations(fn, size, inputs):
    example = jnp.zeros(size, jnp.float32)
    eq = ej.factor(fn, example)
    bound = rounding_bound(trace(fn, example, ej.RULES))

    def one(anchor, x, scale):
        """How far W and R are on the wrong side of f, and what rounding allows."""
        mu, tau = eq.pattern(anchor * scale)
        frozen = eq.frozen(mu, tau)
        f = eq(x)
        worst = jnp.maximum(eq.witness(mu)(x) - f, f - eq.refuter(tau)(x))
        return worst, 2 * bound(x, frozen)

    def climb(anchor, x, scale, rate):
        gradient = jax.grad(lambda a: one(anchor, a, scale)[0])(x)
        return x + rate * gradient / (jnp.linalg.norm(gradient) + 1e-12)

    check = jax.jit(jax.vmap(one))
    step = jax.jit(jax.vmap(climb, (0, 0, 0, None)))
    keys = iter(jax.random.split(jax.random.key(0), 10**6))

    def draw():
        scale = jnp.exp(jax.random.uniform(next(keys), (BLOCK, 1), minval=-3, maxval=3))
        x = scale * jax.random.normal(next(keys), (BLOCK, size))
        anchor = jax.random.normal(next(keys), (BLOCK, size))
        spread = jnp.exp(jax.random.normal(next(keys), (BLOCK,)))
        return anchor, x, spread

    totals = {}
    for kind in ("random", "adversarial"):
        seen, worst, ratio, above = 0, -np.inf, -np.inf, 0
        while seen < inputs:
            anchor, x, scale = draw()
            for i in range(1 if kind == "random" else STEPS):
                value, allowed = map(np.asarray, check(anchor, x, scale))
                seen += BLOCK
                worst = max(worst, float(value.max()))
                ratio = max(ratio, float((value / allowed).max()))
                above += int((value > allowed).sum())
                if kind == "adversarial":
                    x = step(anchor, x, scale, 2.0 ** (2 - i / 2))
                if seen >= inputs:
                    break
        totals[kind] = {
            "inputs": seen,
            "largest_excess": worst,
            "largest_share_of_bound": ratio,
            "beyond_bound": above,
        }
    return totals


def main():
    inputs = int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000
    result = {name: violations(*make(), inputs) for name, make in NETWORKS.items()}
    result["versions"] = {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }
    path = HERE / "results" / "results.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
