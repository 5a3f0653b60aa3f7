"""How long, and in how much memory, a function is factored and its parts evaluated.

    python experiments/benchmarks/factor.py [REPEATS]

Prints one JSON object: wall and CPU seconds of `factor` for chains of layers and for a
network the size of ResNet-50, components against the network, the exact affine map of
every sample against `jit(vmap(grad))`, and the memory that `factor` takes. A number
that misses what was promised is listed under `missed`.
"""

import gc
import itertools
import json
import os
import platform
import sys
import time
from pathlib import Path

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej
from ecg_jax.program.trace import trace


class Bottleneck(nn.Module):
    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        def conv(y, features, kernel, stride=1):
            y = nn.Conv(features, (kernel,) * 2, (stride,) * 2, use_bias=False)(y)
            return nn.BatchNorm(use_running_average=True)(y)

        y = nn.relu(conv(x, self.features, 1))
        y = nn.relu(conv(y, self.features, 3, self.stride))
        y = conv(y, 4 * self.features, 1)
        if x.shape != y.shape:
            x = conv(x, 4 * self.features, 1, self.stride)
        return nn.relu(x + y)


class ResNet50(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(64, (7, 7), (2, 2), use_bias=False)(x[None])
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                stride = 2 if stage and block == 0 else 1
                x = Bottleneck(64 * 2**stage, stride)(x)
        return nn.Dense(1000)(x.mean((1, 2)))[0]


def dense(sizes, seed=0):
    """A dense ReLU network as a pure function, [sizes[0]] -> scalar."""
    rng = np.random.default_rng(seed)
    layers = [
        (
            jnp.asarray(rng.normal(size=(m, n)) / np.sqrt(n), jnp.float32),
            jnp.asarray(rng.normal(size=m) / 8, jnp.float32),
        )
        for n, m in itertools.pairwise(sizes)
    ]

    def fn(x):
        for w, b in layers[:-1]:
            x = jax.nn.relu(w @ x + b)
        w, b = layers[-1]
        return (w @ x + b)[0]

    return fn


def seconds(call, repeats):
    """Best wall and CPU seconds of a call, the first one apart."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        clocks = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - clocks[0])
        cpu.append(time.process_time() - clocks[1])
    return {
        "first_wall_s": round(wall[0], 4),
        "first_cpu_s": round(cpu[0], 4),
        "best_wall_s": round(min(wall[1:]), 4),
        "best_cpu_s": round(min(cpu[1:]), 4),
    }


def in_turns(calls, repeats):
    """Best wall time of each call, taken in turns so that noise hits all alike."""
    taken = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            jax.block_until_ready(call())
            taken[name].append(time.perf_counter() - started)
    best = {f"{name}_s": round(min(times), 5) for name, times in taken.items()}
    first, *others = taken
    ratios = {
        f"{name}_ratio": round(min(taken[name]) / min(taken[first]), 3)
        for name in others
    }
    return {**best, **ratios}


def layers(repeats):
    result = {}
    for depth in (10, 100, 1000):
        fn = dense([32] * (depth + 1) + [1])
        taken = seconds(lambda fn=fn: ej.factor(fn, jnp.zeros(32)), repeats)
        count = len(trace(fn, jnp.zeros(32), ej.RULES).equations)
        each = round(1e6 * taken["best_cpu_s"] / count, 1)
        result[str(depth)] = {**taken, "equations": count, "us_per_equation": each}
    return result


def resnet(repeats):
    network, x = ResNet50(), jnp.zeros((224, 224, 3))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    fn = ej.margin(lambda a: network.apply(variables, a), 3)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    before = reset_peak()
    first = seconds(lambda: ej.factor(fn, x), 1)
    extra = peak() - before
    eq = ej.factor(fn, x)
    x = jax.random.normal(jax.random.key(1), x.shape)
    component = eq.component(*jax.jit(eq.pattern)(x))
    run = {"network": jax.jit(fn), "component": jax.jit(component)}
    witness = eq.witness(x)
    run["witness"] = jax.jit(witness)
    turns = in_turns({k: (lambda f=f: f(x)) for k, f in run.items()}, 4 * repeats)
    return {
        "constants_mb": round(size / 1e6, 1),
        "equations": len(eq.program.equations),
        "factor": first,
        "evaluate": turns,
        "extra_memory_mb": round(extra / 1e6, 1),
        "memory_over_constants": round((size + extra) / size, 2),
    }


def small_network(repeats):
    """A component of the network of the contract, on 20,000 samples."""
    fn = dense([180, 64, 32, 16, 1])
    x = jax.random.normal(jax.random.key(0), (20_000, 180))
    eq = ej.factor(fn, x[0])
    mu, tau = eq.pattern(x[0])
    calls = {
        "network": jax.jit(jax.vmap(fn)),
        "component": jax.jit(jax.vmap(eq.component(mu, tau))),
        "witness": jax.jit(jax.vmap(eq.witness(mu))),
    }
    return in_turns({k: (lambda f=f: f(x)) for k, f in calls.items()}, repeats)


def affine_map(fn, example):
    """`x -> (template, offset)`: every gate frozen at x, level by level."""

    def at(x):
        node = fn
        while True:
            try:
                eq = ej.factor(node, example)
            except ej.NoGateError:
                return jax.grad(node)(x), node(jnp.zeros_like(x))
            node = eq.component(*eq.pattern(x))

    return at


def affine_maps(repeats):
    fn = dense([180, 64, 32, 16, 1])
    x = jax.random.normal(jax.random.key(0), (20_000, 180))
    gradients = jax.jit(jax.vmap(jax.grad(fn)))
    maps = jax.jit(jax.vmap(affine_map(fn, x[0])))
    template, offset = maps(x)
    value = jax.vmap(fn)(x)
    residual = jnp.abs(jnp.sum(template * x, axis=1) + offset - value)
    turns = in_turns(
        {"grad": lambda: gradients(x), "affine_map": lambda: maps(x)}, repeats
    )
    same = bool(jnp.array_equal(template, gradients(x)))
    return {**turns, "largest_residual": float(residual.max()), "templates_equal": same}


def reset_peak():
    """Forgets the peak resident size; returns the present one, in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def peak():
    return status("VmHWM")


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


def missed(result):
    found = {
        "factor of ResNet-50 takes more than 3 s (CPU)": max(
            result["resnet50"]["factor"][k] for k in ("first_cpu_s", "best_cpu_s")
        )
        > 3,
        "a component takes more than 1.1 x the network": max(
            result["resnet50"]["evaluate"]["component_ratio"],
            result["small"]["component_ratio"],
        )
        > 1.1,
        "affine maps take more than 1.5 x the gradients": result["affine_maps"][
            "affine_map_ratio"
        ]
        > 1.5,
        "factor takes more memory than its constants": result["resnet50"][
            "memory_over_constants"
        ]
        > 2,
        "an equation of 1,000 layers costs more than 1.5 x one of 100 (CPU)": result[
            "layers"
        ]["1000"]["us_per_equation"]
        > 1.5 * result["layers"]["100"]["us_per_equation"],
    }
    return [what for what, is_missed in found.items() if is_missed]


def main():
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    result = {
        "resnet50": resnet(repeats),
        "layers": layers(repeats),
        "small": small_network(4 * repeats),
        "affine_maps": affine_maps(4 * repeats),
        "repeats": repeats,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "machine": platform.machine(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "flax": flax.__version__,
    }
    print(json.dumps({**result, "missed": missed(result)}, indent=2))


if __name__ == "__main__":
    main()
