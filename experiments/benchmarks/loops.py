"""How long recurrent networks are factored, compiled and evaluated.

    python experiments/benchmarks/loops.py [STEPS ...]

Prints one row a network and number of steps (default 500 and 2,000): seconds of
`factor`; of compiling the component of the first level; its time to run over that of
the network, both jitted, best of 30 taken in turns; whether the equation equals the
network bit for bit, jitted and eager. `all` factors the same network with every step
written out, as all loops were before their last steps were peeled.
"""

import os
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import ecg_jax as ej
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program.trace import trace

UNITS = 16


def networks():
    """Of `[time, 1]` to a scalar, by name."""
    rng = np.random.default_rng(0)
    w = jnp.asarray(0.3 * rng.normal(size=(1 + UNITS, 4 * UNITS)), jnp.float32)
    u = jnp.asarray(0.2 * rng.normal(size=(UNITS, UNITS)), jnp.float32)
    head = jnp.asarray(rng.normal(size=UNITS), jnp.float32)
    zero = jnp.zeros(UNITS)

    def lstm(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ w, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(h, x):
        z, r, n, _ = jnp.split(jnp.concatenate([x, h]) @ w, 4)
        z, r = jax.nn.sigmoid(z), jax.nn.sigmoid(r)
        return (1 - z) * jnp.tanh(n + r * (u @ h)) + z * h, None

    def counted(x):
        def step(i, h):
            return jax.nn.relu(u @ h + w[0, :UNITS] * x[i, 0])

        return lax.fori_loop(0, len(x), step, zero)

    return {
        "LSTM": lambda x: lax.scan(lstm, (zero, zero), x)[0][0] @ head,
        "LSTM, mean over time": lambda x: (
            jnp.mean(lax.scan(lstm, (zero, zero), x)[1], 0) @ head
        ),
        "GRU": lambda x: lax.scan(gru, zero, x)[0] @ head,
        "ReLU in a fori_loop": lambda x: counted(x) @ head,
    }


def measured(fn, x, depth):
    started = time.perf_counter()
    eq = open_gates(trace(fn, x, ej.RULES, depth=depth), fn, x)
    factored = time.perf_counter() - started
    frozen = jax.jit(eq.pattern)(x)
    started = time.perf_counter()
    component = jax.jit(eq.component(*frozen)).lower(x).compile()
    compiled = time.perf_counter() - started
    network = jax.jit(fn)
    taken = {network: [], component: []}
    for _ in range(30):
        for call, seconds in taken.items():
            started = time.perf_counter()
            call(x).block_until_ready()
            seconds.append(time.perf_counter() - started)
    ratio = min(taken[component]) / min(taken[network])
    jitted = all(jax.jit(eq)(s * x) == network(s * x) for s in (0.1, 1.0, 3.0))
    eager = all(eq(s * x) == fn(s * x) for s in (0.1, 1.0, 3.0))
    size = len(eq.program.equations)
    return f"{factored:.2f} | {compiled:.2f} | {ratio:.2f} | {size} | {jitted}, {eager}"


def main():
    steps = [int(arg) for arg in sys.argv[1:] if arg != "all"] or [500, 2000]
    depths = [1, None] if "all" in sys.argv else [1]
    print(f"jax {jax.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]}")
    print("network | steps | written out | factor s | compile s | ratio | size | equal")
    for num in steps:
        x = jax.random.normal(jax.random.key(1), (num, 1))
        for name, fn in networks().items():
            for depth in depths:
                out = "all" if depth is None else "last"
                print(f"{name} | {num} | {out} | {measured(fn, x, depth)}", flush=True)


if __name__ == "__main__":
    main()
