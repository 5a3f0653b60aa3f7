"""Ranges and families of a run's held-out beats, checked by plain evaluations of `fn`.

python experiments/what_changes/run.py RUN [--beats N] [--data-dir DIR]

RUN needs its network only: a run that was stopped after training will do.
The checks know nothing of walks and boxes: they change beats by `changes.path`, and
evaluate the network, jitted and vmapped.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej
from ecg_jax.runs.config import beat_config
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import load_model
from ecg_jax.runs.source import source_of
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions
from ecg_jax.views.what_changes import FAMILY

GRID = 2001
"""Points of the grid that a walk is timed against, and that contradicts none."""

NUM_CHANGES = 10
"""So many changes share the grid points."""

BLOCK, SMALL = 256, 512
"""Beats at once; smaller batches are filled up: XLA multiplies those in another order,
and at a flip the value is a few units in the last place."""


def main() -> None:
    args = parsed()
    jax.config.update("jax_enable_x64", True)
    network = load_model(args.run / "model")
    config = beat_config(network.card)
    data = read_json(args.run / "config.json")["data"]
    beats = source_of(data, args.data_dir).beats(config)
    rows = beats.rows("heldout")
    rng = np.random.default_rng(0)
    if args.beats:
        rows = np.sort(rng.permutation(rows)[: args.beats])
    beats = beats.take(rows)
    fn = network.cast(np.float64).margin
    print(f"{len(beats):,} held-out beats", flush=True)
    start = time.perf_counter()
    changes = ej.changes(beats)
    measured = time.perf_counter() - start
    found = {
        "beats": len(beats),
        "seconds to measure each beat": measured / len(beats),
        "offered": {n: float(np.mean(changes.reasons[n] == "")) for n in changes.names},
        "ranges": of_ranges(fn, beats, changes, rng, args),
        "families": of_families(fn, beats, changes, rng, args),
        "versions": versions(),
    }
    write_json(args.out, found)
    print(json.dumps(found, indent=1, default=float))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--beats", type=int, default=0)
    parser.add_argument("--members", type=int, default=10_000_000)
    parser.add_argument("--changes", nargs="*", help="the default is all of them")
    parser.add_argument("--scale", type=float, default=1.0, help="of the family")
    default = Path(__file__).parent / "results" / "results.json"
    parser.add_argument("--out", type=Path, default=default)
    return parser.parse_args()


def of_ranges(fn, beats, changes, rng, args):
    """Each change by itself: speed, flips, what a grid says of them."""
    out = {}
    for name in args.changes or changes.names:
        if not (changes.reasons[name] == "").any():
            continue
        one = replace(changes, names=(name,))
        start = time.perf_counter()
        found = ej.ranges(fn, beats, one)
        seconds = time.perf_counter() - start
        known = np.flatnonzero(~np.isnan(found.low[:, 0]))
        flips = np.isfinite(found.low[known, 0]), np.isfinite(found.high[known, 0])
        row = {
            "beats a second, compilation included": len(known) / seconds,
            "flips": [float(np.mean(side)) for side in flips],
            "pieces": float(found.pieces[known].mean()),
            "most pieces": int(found.pieces.max()),
            "open": int(np.isnan(found.low[:, 0]).sum() - (len(beats) - len(known))),
            "touches": int(found.touches.sum()),
        }
        row |= against_grid(fn, found, name, known, rng, args)
        out[name] = row
        print(name, row, flush=True)
    return out


def against_grid(fn, found, name, known, rng, args):
    """Do the answers of a grid contradict a range, and do flips flip?"""
    limit, low, high = found.limits[name], found.low[:, 0], found.high[:, 0]
    some = rng.permutation(known)[: max(1, args.members // (GRID * NUM_CHANGES))]
    path, params = found.changes.path(name, some, limit, np.float64)
    times = np.linspace(-limit, limit, GRID)

    @jax.jit
    def answers(part):
        return jax.vmap(lambda *p: jax.vmap(lambda t: fn(path(p, t)) >= 0)(times))(
            *part
        )

    first = np.asarray(jax.jit(jax.vmap(fn))(params[0])) >= 0
    bad = points = 0
    answers([p[:BLOCK] for p in params])
    start = time.perf_counter()
    for at in range(0, len(some), BLOCK):
        part = [p[at : at + BLOCK] for p in params]
        same = np.asarray(answers(part)) == first[at : at + BLOCK, None]
        rows = some[at : at + BLOCK]
        inside = (times >= low[rows, None]) & (times <= high[rows, None])
        bad += int((inside & ~same).sum())
        points += inside.size
    seconds = time.perf_counter() - start
    valid = []
    path, params = found.changes.path(name, known, limit, np.float64)
    own = jax.jit(jax.vmap(lambda p, t: fn(path(p, t)) >= 0))
    first = np.asarray(jax.jit(jax.vmap(fn))(params[0])) >= 0
    for last, away in ((low, -np.inf), (high, np.inf)):
        at = np.flatnonzero(np.isfinite(last[known]))
        if not len(at):
            continue
        t = last[known][at]
        many = np.resize(np.arange(len(at)), max(len(at), SMALL))
        part, t = [p[at][many] for p in params], t[many]
        inner, outer = own(part, t), own(part, np.nextafter(t, away))
        same = np.asarray(inner) == first[at][many]
        valid.append((same & (np.asarray(outer) != first[at][many]))[: len(at)])
    return {
        "grid points": points,
        "contradictions": bad,
        "a grid, beats a second": len(some) / seconds,
        "flips between neighbours, other batches": float(np.mean(np.concatenate(valid)))
        if valid
        else None,
        "median": [float(np.median(np.abs(v[known]))) for v in (low, high)],
    }


def of_families(fn, beats, changes, rng, args):
    """Several changes at once: what is proven, and whether members contradict it."""
    family = {name: args.scale * most for name, most in FAMILY.items()}
    start = time.perf_counter()
    few = beats.take(np.arange(8))
    ej.prove(fn, few, ej.changes(few), family)
    compiling = time.perf_counter() - start
    start = time.perf_counter()
    proof = ej.prove(fn, beats, changes, family)
    seconds = time.perf_counter() - start
    rows = np.flatnonzero(proof.offered)
    x = beats.inputs(rows).astype(np.float64)
    v = np.stack([changes.directions[n][rows] for n in family], 1).astype(np.float64)
    most = np.array(list(family.values()))
    first = np.asarray(jax.jit(jax.vmap(fn))(x)) >= 0

    @jax.jit
    def answers(x, v, t):
        one = jax.vmap(lambda x, v, t: fn(x + jnp.tensordot(t, v, 1)), (None, None, 0))
        return jax.vmap(one)(x, v, t) >= 0

    each = max(16, args.members // max(1, len(rows)))
    unsound = members = 0
    for at in range(0, len(rows), BLOCK):
        part = slice(at, at + BLOCK)
        t = most * rng.uniform(-1, 1, (len(x[part]), each, len(family)))
        t[:, : each // 2] = most * np.sign(t[:, : each // 2])
        other = np.asarray(answers(x[part], v[part], t)) != first[part, None]
        proven = proof.status[rows[part]] == "proven"
        unsound += int(other[proven].sum())
        members += int(proven.sum()) * each
    offered = proof.status[rows]
    return {
        "within": dict(family),
        "offered": len(rows) / len(beats),
        **{w: float(np.mean(offered == w)) for w in ("proven", "broken", "open")},
        "not offered": float(1 - len(rows) / len(beats)),
        "boxes a family": float(proof.boxes[rows].mean()),
        "beats a second, compilation included": len(rows) / seconds,
        "seconds of compilation": compiling,
        "members": members,
        "unsound": unsound,
    }


if __name__ == "__main__":
    main()
