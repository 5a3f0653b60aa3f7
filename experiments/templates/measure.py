"""Measure the chosen networks of templates on held-out recordings, once.

    python experiments/templates/measure.py --data-dir DIR --cache DIR --mlp MODEL
        [--rows a,b] [--distill] [--seeds a,b,c]

Without `--rows` those that the rule chooses from the validation figures in `results/`:
see `chosen`. MODEL is the folder of the default MLP, as `ecg-jax run` trains it.
"""

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from run import HERE, NETWORK, TRAINING, auc_of, beats_of, num_templates, parsed
from scipy.optimize import linear_sum_assignment

import ecg_jax as ej
from ecg_jax.ecg.beats import Beats
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network, load_network
from ecg_jax.networks.templates import SIDES
from ecg_jax.program.blocks import blocks
from ecg_jax.statistics import purity
from ecg_jax.statistics.baselines import fit_logistic, majority
from ecg_jax.statistics.scores import Auc, record_scores
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions
from ecg_jax.tree.tree import Tree
from ecg_jax.views.distill import agreement
from ecg_jax.views.partition import coverage, partition, proves
from ecg_jax.views.what_changes import FAMILY

RESAMPLES = 1000
FAMILIES = 10_000
"""Held-out beats whose families are proven."""

MEMBERS = 100
"""Random members of each proven family."""

MIXTURES = 1_000_000
DECIDES = 0.02
"""A component decides much from this share of the answers of its side on."""


def main() -> None:
    """Measure what is asked for."""
    parser = parsed()
    parser.add_argument("--mlp", type=Path, required=True)
    parser.add_argument("--distill", action="store_true")
    parser.add_argument("--seeds", default="", help="rows that differ by their seed")
    args = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    beats = beats_of(args)
    mlp = load_network(args.mlp)
    if args.distill:
        write_json(HERE / "results/distilled.json", distilled(beats, mlp, args))
        return
    if args.seeds:
        names = args.seeds.split(",")
        write_json(HERE / "results/seeds.json", seeds(beats, names, args.cache))
        return
    names = (
        args.rows.split(",") if args.rows else list(dict.fromkeys(chosen().values()))
    )
    networks = {n: load_network(args.cache / "templates" / n / "model") for n in names}
    write_json(HERE / "results/heldout.json", quality(beats, mlp, networks))
    for name, network in networks.items():
        path = HERE / f"results/components/{name}.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_json(path, components(beats, network))


def chosen() -> dict[str, str]:
    """The rule: the row with the largest mean of validation AUC by beat and recording.

    Of all rows with at most 64 templates, of those with at most 16, of prototypes, of
    metrics, the first by name of equals; seeds other than 0 do not compete.
    """
    rows = [
        json.loads(path.read_text())
        for path in sorted((HERE / "results").glob("*.json"))
    ]
    rows = [r for r in rows if "row" in r and r["training"]["seed"] == 0]
    of = {
        "at most 64": [r for r in rows if r["templates"] <= 64],
        "at most 16": [r for r in rows if r["templates"] <= 16],
        "prototypes": [r for r in rows if r["network"]["form"] == "prototypes"],
        "metric": [r for r in rows if r["network"]["form"] == "metric"],
    }

    def score(row: dict) -> float:
        return round(row["validation"]["beat"] + row["validation"]["record"], 4)

    return {kind: max(some, key=score)["row"] for kind, some in of.items()}


def quality(beats: Beats, mlp: Network, networks: dict[str, Network]) -> dict:
    """AUC of all, and of the differences to the MLP, recordings resampled."""
    rows, known = beats.rows("heldout"), beats.rows("train")
    x, y = beats.inputs(known)[:, 0], beats.is_normal[known].astype(float)
    w, b = fit_logistic(x, y, ridge=100.0)
    asked = beats.inputs(rows)
    margins = {
        "default MLP": mlp.margins(asked),
        "logistic regression": asked[:, 0] @ w + b,
        "majority": majority(y > 0, len(rows)),
        **{name: network.margins(asked) for name, network in networks.items()},
    }
    ids, inverse = np.unique(beats.record[rows], return_inverse=True)
    whole = beats.records.label[ids] == "N"
    aucs = {
        name: (
            Auc(m, beats.is_normal[rows]),
            Auc(record_scores(m, beats.record[rows])[1], whole),
        )
        for name, m in margins.items()
    }
    draws = np.empty((RESAMPLES + 1, len(aucs), 2))
    for i in range(len(draws)):
        weight = np.ones(len(ids))
        if i:
            rng = np.random.default_rng([0, i])
            weight = np.bincount(rng.integers(0, len(ids), len(ids)), None, len(ids))
        for k, (beat, record) in enumerate(aucs.values()):
            draws[i, k] = beat(weight[inverse]), record(weight.astype(float))
    away = draws - draws[:, :1]
    return {
        "chosen": chosen(),
        "rows": {
            name: {
                "beat": interval(draws[:, k, 0]),
                "record": interval(draws[:, k, 1]),
                "beat, less the MLP's": interval(away[:, k, 0]),
                "record, less the MLP's": interval(away[:, k, 1]),
            }
            for k, name in enumerate(aucs)
        },
        "versions": versions(),
    }


def interval(values: np.ndarray) -> list[float]:
    """The first value, and the 95% interval of the others."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return [round(float(v), 4) for v in (values[0], low, high)]


def components(beats: Beats, network: Network) -> dict:
    """The plain equation of a network: who decides, what is pure, what is proven."""
    fn = network.cast(np.float64).margin
    start = time.perf_counter()
    tree = ej.grow(
        fn,
        beats.inputs(beats.rows("train")).astype(np.float64),
        depth=1,
        budget=max(network.config.templates, network.config.group),
        select="frequent",
        localize=0.0,
    )
    grown = time.perf_counter() - start
    print(f"grown in {grown:.0f} s", flush=True)
    rng = np.random.default_rng(0)
    held = beats.take(beats.rows("heldout"))
    return {
        "templates": num_templates(vars(network.config)),
        "seconds to grow": round(grown, 1),
        "sides": sides(tree, beats),
        "families": families(fn, held, rng),
        "mixtures": mixtures(tree, held, rng),
        "versions": versions(),
    }


def sides(tree: Tree, beats: Beats) -> dict:
    """Of either side coverage with its controls, and the purity of the cells."""
    some = np.concatenate([beats.rows(split) for split in ("train", "heldout")])
    part = partition(tree, beats.take(some), None)
    train = part.beats.records.split[part.beats.record] == "train"
    found = coverage(part, np.flatnonzero(~train))
    out = {}
    for one, sign in zip(found, (1, -1), strict=True):
        mine = part.decision.normal == (sign > 0)
        ids, cells = np.unique(part.decision.cell[mine], return_inverse=True)
        measured = purity.measure(
            part.beats.inputs(mine)[:, 0],
            cells,
            part.beats.record[mine],
            train=train[mine],
            parents=np.zeros(int(mine.sum()), int),
            num_hyperplanes=10,
            num_permutations=9,
            num_bootstraps=200,
        ).row()
        shares = np.bincount(cells[~train[mine]], None, len(ids)) / one.num_answers
        out[one.side] = {
            "coverage": vars(one),
            "wrongly proven": int(part.decision.wrongly_proven),
            "concave": all(tree.is_concave(tree.nodes[i].name) for i in ids if i),
            "deciding 2% and more": int((shares >= DECIDES).sum()),
            "largest shares": np.sort(shares)[::-1][:8].round(3).tolist(),
            "cells": measured["cells"],
            "variance explained": measured["variance_explained"],
        }
        print(one.side, out[one.side], flush=True)
    return out


def families(fn, held: Beats, rng) -> dict:
    """Several changes at once: what is proven, and whether members contradict it."""
    beats = held.take(np.sort(rng.permutation(len(held))[:FAMILIES]))
    changes = ej.changes(beats)
    whole = ej.prove(fn, beats, changes, FAMILY, max_boxes=1)
    ej.prove(fn, beats, changes, FAMILY)
    start = time.perf_counter()
    proof = ej.prove(fn, beats, changes, FAMILY)
    seconds = time.perf_counter() - start
    rows = np.flatnonzero(proof.offered)
    x = beats.inputs(rows).astype(np.float64)
    v = np.stack([changes.directions[n][rows] for n in FAMILY], 1).astype(np.float64)
    first = blocks(fn, x) >= 0
    proven = proof.status[rows] == "proven"
    unsound = 0
    for _ in range(MEMBERS):
        t = np.array(list(FAMILY.values())) * rng.uniform(-1, 1, v.shape[:2])
        member = x + np.einsum("bk,bk...->b...", t, v)
        unsound += int(np.sum(proven & ((blocks(fn, member) >= 0) != first)))
    status = proof.status[rows]
    found = {
        "offered": len(rows),
        **{w: float(np.mean(status == w)) for w in ("proven", "broken", "open")},
        "proven in one part": float(np.mean(whole.status[rows] == "proven")),
        "parts a beat": float(proof.boxes[rows].mean()),
        "beats a second": len(rows) / seconds,
        "members of proven families": int(proven.sum()) * MEMBERS,
        "unsound": unsound,
    }
    print(found, flush=True)
    return found


def mixtures(tree: Tree, held: Beats, rng) -> dict:
    """Random mixtures of beats that one component proves: how many it does not prove.

    Two to five beats each, with weights uniform on the simplex.
    """
    x = held.inputs().astype(np.float64)
    out = {}
    for sign, side in ((1, "normal"), (-1, "not normal")):
        ids, table = proves(tree, x, sign)
        counts = table.sum(axis=0)
        share = counts / counts.sum()
        num = failed = 0
        for k, amount in enumerate(rng.multinomial(MIXTURES // 2, share)):
            own = np.flatnonzero(table[:, k])
            for size in np.diff(np.r_[0:amount:50_000, amount]):
                weight = rng.exponential(size=(size, 5))
                weight *= np.arange(5) < rng.integers(2, 6, size)[:, None]
                weight /= weight.sum(axis=1, keepdims=True)
                picks = x[own[rng.integers(0, len(own), (size, 5))]]
                mixed = np.einsum("nk,nk...->n...", weight, picks)
                failed += int(np.sum(~proves(tree, mixed, sign)[1][:, k]))
                num += int(size)
        out[side] = {"components": len(ids), "mixtures": num, "not proven": failed}
    print(out, flush=True)
    return out


def seeds(beats: Beats, names: list[str], cache: Path) -> dict:
    """How far the AUC of seeds differs, and how alike their templates are.

    Templates are taken less the mean of all of a seed, which cancels from the margin.
    Those of the first seed are matched one to one with those of each other by
    correlation; `most` are the fewest that decide half of a side's beats.
    """
    networks = [load_network(cache / "templates" / n / "model") for n in names]
    rows = beats.rows("heldout")
    asked = beats.inputs(rows)
    found = [auc_of(n.margins(asked), beats, rows) for n in networks]
    alike = {}
    for side in SIDES:
        templates = [waveforms(n, side) for n in networks]
        decides = deciding(networks[0], side, asked)
        order = np.argsort(-decides)
        half = np.searchsorted(np.cumsum(decides[order]), 0.5) + 1
        match = []
        for other in templates[1:]:
            found_r = np.corrcoef(templates[0], other)[: len(order), len(order) :]
            match.append(found_r[linear_sum_assignment(-found_r)])
        best = np.mean(match, axis=0)
        alike[side] = {
            "mean": float(best.mean()),
            "by beats that they decide": float(np.average(best, None, decides)),
            "most": [round(float(r), 3) for r in best[order[:half]]],
        }
    sd = {k: float(np.std([f[k] for f in found], ddof=1)) for k in found[0]}
    out = {"rows": names, "heldout": found, "sd": sd, "correlation": alike}
    print(out, flush=True)
    return out | {"versions": versions()}


def waveforms(network: Network, side: str) -> np.ndarray:
    """Templates `[template, time]` of a side, in what of them does not cancel."""
    params = network.variables["params"]
    both = [np.asarray(params[f"{s}_templates"])[:, 0] for s in SIDES]
    return both[SIDES.index(side)] - np.concatenate(both).mean(axis=0)


def deciding(network: Network, side: str, x: np.ndarray) -> np.ndarray:
    """The share of the beats of an answer that each template of its side decides."""
    params = network.variables["params"]
    values = [
        x[:, 0] @ np.asarray(params[f"{s}_templates"])[:, 0].T
        + np.asarray(params[f"{s}_offsets"])
        for s in SIDES
    ]
    best = [v.max(axis=1) for v in values]
    k = SIDES.index(side)
    mine = values[k][best[k] >= best[1 - k]]
    return np.bincount(mine.argmax(axis=1), None, mine.shape[1]) / len(mine)


def distilled(beats: Beats, mlp: Network, args: argparse.Namespace) -> dict:
    """Students that have the teacher's answers only, and how often they agree."""
    teachers = {"default MLP": mlp}
    resnet = args.cache / "templates" / "resnet" / "model"
    if resnet.exists():
        teachers["wide-resnet"] = load_network(resnet)
    rows, out = beats.rows("heldout"), {}
    network = from_json(NetworkConfig, NETWORK | {"templates": 32})
    training = from_json(TrainingConfig, TRAINING)
    for name, one in teachers.items():
        start = time.perf_counter()
        student = ej.distill(one.margin, beats, network=network, training=training)
        seconds = time.perf_counter() - start
        asked = beats.inputs(rows)
        found = agreement(one.margins(asked), student.margins(asked), beats, rows)
        out[name] = {
            "agreement": found.share,
            "one answer for all": found.constant,
            "kinds": dict(found.kinds),
            "seconds": round(seconds, 1),
        }
        print(name, out[name], flush=True)
    return out | {"versions": versions()}


if __name__ == "__main__":
    main()
