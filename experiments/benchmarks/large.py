"""How long, and in how much memory, a large network on few recordings is grown.

    python experiments/benchmarks/large.py [--recordings 64]

A ResNet1d-34 (basic blocks 3, 4, 6, 3 of 64 to 512 channels, kernel 7, random weights,
float32) on 12 leads x 5,000 samples of noise. Prints one JSON object: seconds of
`vmap(fn)` in blocks of 8, of `grow` to depth 1 (cold, compilation included) and of
`decide` on 8 recordings, cold and warm, and the peak memory of the process.
"""

import argparse
import json
import os
import resource
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

import ecg_jax as ej
from ecg_jax.storage.versions import versions

LEADS, SAMPLES = 12, 5000
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))


def network(rng):
    def weight(*shape):
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return jnp.asarray(rng.normal(size=shape) * scale, jnp.float32)

    def norm(channels):
        return 1 + weight(channels, 1) / 4, weight(channels, 1) / 4

    blocks, have = [], STAGES[0][0]
    stem = weight(have, LEADS, 15), norm(have)
    for stage, (channels, count) in enumerate(STAGES):
        for k in range(count):
            stride = 2 if stage and not k else 1
            skip = weight(channels, have, 1) if channels != have else None
            first = weight(channels, have, 7), norm(channels)
            second = weight(channels, channels, 7) / 3, norm(channels)
            blocks.append((first, second, skip, stride))
            have = channels
    head = weight(have)

    def conv(x, w, stride=1):
        dims = ("NCH", "OIH", "NCH")
        return lax.conv_general_dilated(
            x[None], w, (stride,), "SAME", dimension_numbers=dims
        )[0]

    def normed(x, w, scale, shift, stride=1):
        return conv(x, w, stride) * scale + shift

    def logit(x):
        x = nn.relu(normed(x, stem[0], *stem[1], stride=2))
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3), (1, 2), "SAME")
        for (w, one), (v, two), skip, stride in blocks:
            y = normed(nn.relu(normed(x, w, *one, stride=stride)), v, *two)
            x = nn.relu(y + (x if skip is None else conv(x, skip, stride)))
        return head @ x.mean(axis=1)

    return logit


def seconds(work):
    before = time.perf_counter()
    out = work()
    return round(time.perf_counter() - before, 2), out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=64)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    logit = network(rng)
    data = rng.normal(size=(args.recordings, LEADS, SAMPLES)).astype(np.float32)
    run = jax.jit(jax.vmap(logit))

    def forward():
        parts = [data[i : i + 8] for i in range(0, len(data), 8)]
        return np.concatenate([np.asarray(run(part)) for part in parts])

    middle = float(np.median(forward()))
    warm, _ = seconds(forward)
    grown, tree = seconds(lambda: ej.grow(lambda x: logit(x) - middle, data, budget=8))
    cold, _ = seconds(lambda: ej.decide(tree, data[:8]))
    again, decision = seconds(lambda: ej.decide(tree, data[:8]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "recordings": len(data),
                "forward_seconds": warm,
                "grow_seconds": grown,
                "decide_8_seconds": [cold, again],
                "components": len(tree.nodes) - 1,
                "proven_of_8": int(np.sum(decision.prover >= 0)),
                "largest_slack": float(decision.slack.max()),
                "peak_gib": round(peak, 2),
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "versions": versions(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
