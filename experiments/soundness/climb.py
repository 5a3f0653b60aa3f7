"""The worst pairs that hill climbing finds where products of live values are gates.

    python experiments/soundness/climb.py SECONDS "glu,softmax,gram"

For each network of products.py, in float32 and float64, 128 pairs of an anchor and an
input climb for SECONDS at each of the scales .01, 1 and 100: one of the two is moved,
scaled, mixed with another pair's, brought next to the other, or has an entry set to 0
or multiplied by up to 100; what is worse stays. Worse is the largest of

    W - f and f - R           over the slack,
    |f - f in float64|        over its bound,
    (f - gap) - W in float64, R in float64 - (f + gap)      over the slack.

Anything above 1 is a bug.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random, tree_util
from products import NETWORKS, SCALES, SIZE

import ecg_jax as ej
from ecg_jax.program.levels import outermost
from ecg_jax.program.trace import trace
from ecg_jax.proof.rounding import rounding_bound, tail_bound, values_at_cut
from ecg_jax.proof.slack import TAIL, WHOLE

PAIRS, STEPS = 128, 20


def wide(tree):
    return tree_util.tree_map(
        lambda v: v.astype(float) if v.dtype == np.float32 else v, tree
    )


def parts_of(fn, dtype):
    """The three parts of their bounds, as a function of an anchor and an input."""
    example = jnp.ones(SIZE, dtype)
    eq, exact = ej.factor(fn, example), ej.factor(fn, np.ones(SIZE))
    program = trace(fn, example, ej.RULES)
    opened = outermost(program)
    frozen, live = rounding_bound(program), rounding_bound(program, opened=())
    tail, own_tail = (tail_bound(program, opened, live=own) for own in (False, True))
    at_cut = values_at_cut(program, opened)

    def gap(pattern, x, sign):
        total = 0.0
        for gate, weight, p, z in zip(
            eq.gates, eq.weights, pattern, eq.operands(x), strict=True
        ):
            lost = gate.gap(p, sign * weight, gate.apply(*z), *z)
            total += jnp.sum(jnp.abs(weight) * lost)
        return total

    def parts(anchor, x):
        (mu, tau), (at_mu, at_tau) = eq.pattern(anchor), eq.pattern(x)
        f, values = fn(x), at_cut(x)
        ways = eq.frozen(mu, at_tau), eq.frozen(at_mu, tau)
        slack = TAIL * own_tail(values) + WHOLE * live(x)
        slack += sum(TAIL * tail(values, w) + WHOLE * frozen(x, w) for w in ways)
        above = jnp.maximum(eq.witness(mu)(x) - f, f - eq.refuter(tau)(x))
        low, high = f - gap(mu, x, 1), f + gap(tau, x, -1)
        x, low, high, slack = wide((x, low, high, slack))
        hidden = jnp.maximum(
            low - exact.witness(wide(mu))(x), exact.refuter(wide(tau))(x) - high
        )
        off = jnp.abs(f - fn(x)) / wide(live(x.astype(dtype)))
        found = jnp.stack([above / slack, off, hidden / slack])
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    return parts


def moved(key, a, x, scale):
    """One of each pair, changed in one of six ways."""
    keys = random.split(key, 9)
    one_of = (PAIRS, 1)
    far = 10.0 ** random.uniform(keys[0], one_of, minval=-7.0, maxval=0.3)
    times = 10.0 ** random.uniform(keys[1], one_of, minval=-2.0, maxval=2.0)
    times *= random.rademacher(keys[2], one_of)
    which, way = (
        random.bernoulli(keys[3], 0.5, one_of),
        random.randint(keys[4], one_of, 0, 6),
    )
    noise = random.normal(keys[5], a.shape)
    entry = jnp.arange(SIZE) == random.randint(keys[6], one_of, 0, SIZE)
    other = random.permutation(keys[7], PAIRS)
    v, w = wide((jnp.where(which, a, x), jnp.where(which, x, a)))
    ways = jnp.stack(
        [
            v + far * scale * noise,
            v * (1 + far * noise),
            jnp.where(entry, v * times, v),
            jnp.where(entry, 0, v),
            w * (1 + far * noise),
            jnp.where(random.bernoulli(keys[8], 0.3, v.shape), v[other], v),
        ]
    )
    new = jnp.take_along_axis(ways, way[None], 0)[0]
    new = jnp.clip(new, -1e4 * scale, 1e4 * scale).astype(a.dtype)
    return jnp.where(which, new, a), jnp.where(which, x, new)


def climber(parts):
    """`STEPS` steps of all pairs."""

    def step(state, key):
        a, x, best, scale = state
        b, y = moved(key, a, x, scale)
        worst = jnp.max(jax.vmap(parts)(b, y), axis=1)
        up = worst > best
        a, x = (jnp.where(up[:, None], *v) for v in ((b, a), (y, x)))
        return (a, x, jnp.where(up, worst, best), scale), None

    return jax.jit(lambda state, keys: lax.scan(step, state, keys)[0])


def main():
    jax.config.update("jax_enable_x64", True)
    seconds, names = float(sys.argv[1]), sys.argv[2:] or [",".join(NETWORKS)]
    for name in names[0].split(","):
        for dtype in (np.float32, np.float64):
            parts = parts_of(NETWORKS[name], dtype)
            climb, each = climber(parts), jax.jit(jax.vmap(parts))
            for scale in SCALES:
                points = scale * np.random.default_rng(0).normal(size=(2, PAIRS, SIZE))
                state = (*points.astype(dtype), np.full(PAIRS, -np.inf), scale)
                key, steps, start = random.key(1), 0, None
                while start is None or time.monotonic() - start < seconds:
                    key, now = random.split(key)
                    state = jax.block_until_ready(
                        climb(state, random.split(now, STEPS))
                    )
                    start, steps = start or time.monotonic(), steps + STEPS
                found = np.asarray(each(*state[:2])).max(0)
                print(name, np.dtype(dtype), f"{scale:g}", f"{steps} steps", end=" ")
                print("bounds, f, gaps:", *(f"{v:.2g}" for v in found), flush=True)


if __name__ == "__main__":
    main()
