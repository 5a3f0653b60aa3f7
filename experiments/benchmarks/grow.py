"""How long, and in how much memory, the equation of a network on a data set is grown.

    python experiments/benchmarks/grow.py MODEL [--data-dir DIR] [--beats 270000]

MODEL is a saved network (the folder `model` of a run will do); its beats are those of
challenge-2017, training recordings first. Prints one JSON object: seconds of `grow` to
depth 3 with 144 cells (72 components on each side), cold, compilation included, and
the peak memory of the whole process, beats included.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import jax
import numpy as np

from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.networks.saved import load_network
from ecg_jax.runs.config import beat_config
from ecg_jax.storage.cache import cache_home
from ecg_jax.storage.versions import versions
from ecg_jax.tree.grow import grow


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--beats", type=int, default=270_000)
    parser.add_argument("--cells", type=int, default=144)
    parser.add_argument("--depth", type=int, default=3)
    args = parser.parse_args()
    network = load_network(args.model)
    beats = extract_beats(
        open_dataset("challenge-2017", args.data_dir),
        beat_config(network.card),
        cache_dir=cache_home() / "beats",
    )
    order = np.concatenate([beats.rows(s) for s in ("train", "validation", "heldout")])
    with jax.enable_x64(True):
        rows = np.sort(order[: args.beats])
        data = beats.inputs(rows).astype(np.float64)
        before, cpu = time.perf_counter(), time.process_time()
        tree = grow(
            network.cast(np.float64).margin,
            data,
            depth=args.depth,
            budget=args.cells // 2,
            metric="shape",
            records=beats.record[rows],
        )
        seconds = time.perf_counter() - before
        cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "network": network.config.kind,
                "beats": len(data),
                "components": len(tree.nodes) - 1,
                "leaves": len(tree.leaves()),
                "depth": tree.depth,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu, 1),
                "peak_gib": round(peak, 2),
                "load": round(os.getloadavg()[0], 1),
                "versions": versions(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
