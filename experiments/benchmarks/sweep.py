"""What a sweep of 100 small cells costs beside its computing; seeds in one program.

    python experiments/benchmarks/sweep.py [CELLS]

Prints one JSON object. `overhead`: a driver trains and measures every network twice in
turn, by plain calls and as a cell; what the sweep takes less the plain calls, over
these, less 1. Whatever is compiled is compiled before. `seeds`: eight trainings that
are compiled one by one; the same with one program for all; an epoch of the eight, one
after the other, and by `vmap` in one call, compiled before.
"""

import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from ecg_jax.networks import train as trainer
from ecg_jax.networks.models import margins
from ecg_jax.networks.sampling import beat_weights, epoch_rows
from ecg_jax.runs.pipeline import training_rows
from ecg_jax.statistics.quality import measure
from ecg_jax.storage.versions import versions
from ecg_jax.sweeps.cell import SIDES, beats_of
from ecg_jax.sweeps.config import SweepConfig
from ecg_jax.sweeps.sweep import sweep

SEEDS = 8


def config(cells):
    """Networks of 64-32-16 on synthetic recordings, ten seeds a learning rate."""
    rates = tuple(round(0.001 * (i + 1), 4) for i in range(-(-cells // 10)))
    grid = {"training.learning-rate": rates, "seed": tuple(range(min(cells, 10)))}
    return SweepConfig({"network.widths": (64, 32, 16)}, grid=grid)


def plain(cell):
    """Trains and measures a network by plain calls; seconds."""
    start = time.perf_counter()
    beats = beats_of(cell.config.data, cell.config.data_dir, cell.config.beats)
    with tempfile.TemporaryDirectory() as folder:
        network, arrays = arguments(cell, beats)
        variables = trainer.train(network, cell.config.training, *arrays, folder)
    for side in SIDES:
        at = beats.rows(side)
        margin = margins(network, variables, beats.inputs(at))
        measure(margin, beats.is_normal[at], beats.record[at], num_resamples=0)
    return time.perf_counter() - start


def arguments(cell, beats):
    """What `train` takes: the network's shape, and arrays of both sides."""
    leads, samples = beats.millivolts.shape[1:]
    arrays = []
    for rows in training_rows(beats).values():
        normal = beats.is_normal[rows].astype(np.float32)
        arrays += [beats.inputs(rows), normal, beats.record[rows]]
    shape = replace(cell.config.network, num_leads=leads, num_samples=samples)
    return shape, arrays


def overhead(cells):
    """Seconds of a sweep's own, beside plain calls for the same networks."""
    taken, compiling = [], []

    @contextmanager
    def in_turn():
        def drive(compute, tasks):
            known = set()
            for task in tasks:
                if (rate := task.cell.config.training.learning_rate) not in known:
                    known.add(rate)
                    compiling.append(plain(task.cell))
                taken.append(plain(task.cell))
                yield task, compute(task)

        yield drive

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        sweep(config(cells), Path(folder) / "out", in_turn(), say=lambda line: None)
        seconds = time.perf_counter() - start - sum(compiling) - sum(taken)
    return {
        "cells": len(taken),
        "plain_s": round(sum(taken), 2),
        "sweep_s": round(seconds, 2),
        "overhead": round(seconds / sum(taken) - 1, 4),
        "overhead_ms_a_cell": round(1000 * (seconds - sum(taken)) / len(taken), 1),
    }


def seeds():
    """Seconds of eight seeds: compiled one by one, once for all, and by vmap."""
    cells = [replace_seed(config(1).cells()[0], seed) for seed in range(SEEDS)]
    training = cells[0].config.training
    beats = beats_of(cells[0].config.data, None, cells[0].config.beats)
    trainer._make_epoch.cache_clear()
    together = sum(plain(cell) for cell in cells)
    alone = 0.0
    for cell in cells:
        trainer._make_epoch.cache_clear()
        alone += plain(cell)
    shape, (x, y, record, *_) = arguments(cells[0], beats)
    each = [cell.config.training for cell in cells]
    orders = [epoch_rows(record, one, 0) for one in each]
    keys = [jax.random.fold_in(jax.random.key(one.seed), 1) for one in each]
    states = [trainer._initial_state(shape, one, x, y)["live"] for one in each]
    steps = len(orders[0]) * training.num_epochs
    epoch = trainer._make_epoch(shape, training, steps)
    arrays = tuple(map(jnp.asarray, (x, y, beat_weights(record, training))))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    batched = jax.jit(jax.vmap(epoch, in_axes=(0, 0, None, None, None, 0, None)))

    def in_turn():
        return [
            epoch(state, key, *arrays, order, 0)
            for state, key, order in zip(states, keys, orders, strict=True)
        ]

    def at_once():
        return batched(stacked, jnp.stack(keys), *arrays, np.stack(orders), 0)

    found = {"one_by_one_s": alone, "one_program_s": together}
    found |= {"epochs_in_turn_s": quickest(in_turn), "vmapped_s": quickest(at_once)}
    found["gain_of_one_program"] = alone / together
    found["gain_of_vmap"] = found["epochs_in_turn_s"] / found["vmapped_s"]
    return {name: round(value, 3) for name, value in found.items()}


def replace_seed(cell, seed):
    training = replace(cell.config.training, seed=seed)
    return replace(cell, config=replace(cell.config, training=training))


def quickest(call, repeats=5):
    """Seconds of the quickest call, after one that compiles."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def main():
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    found = {**overhead(cells), "seeds": seeds(), "cores": os.cpu_count()}
    print(json.dumps({**found, "versions": versions()}, indent=1))


if __name__ == "__main__":
    main()
