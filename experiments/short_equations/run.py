"""How short and how readable an equation can be: coverage, purity and controls.

    python experiments/short_equations/run.py MODEL --data D [--data-dir DIR] --out FILE

MODEL is a saved network (the folder `model` of a run will do). Components are chosen on
training recordings; every figure is of held-out recordings.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej
from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.networks.models import init_variables
from ecg_jax.networks.saved import load_network
from ecg_jax.program.blocks import blocks
from ecg_jax.program.trace import trace
from ecg_jax.rules import RULES
from ecg_jax.runs.config import beat_config
from ecg_jax.statistics.cluster import kmeans, means, nearest
from ecg_jax.storage.cache import cache_home
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions
from ecg_jax.tree.anchors import WAYS
from ecg_jax.tree.circuit import circuit
from ecg_jax.tree.cover import CoverConfig, Samples, choose, coefficients
from ecg_jax.tree.grow import grow
from ecg_jax.tree.kernels import METRICS, Side, decides, gaps, squared_distances
from ecg_jax.tree.setcover import greedy, optimum, pack, share
from ecg_jax.tree.tree import Node, Tree

SIDES = {1: "normal", -1: "not normal"}
LARGEST = 2**28  # bytes of the features of the samples that take part in choosing
STRENGTHS = 10.0 ** np.arange(-4, 2.1, 0.5)


@dataclass(eq=False)
class Part:
    """The beats of one answer and one split, and what every component needs of them."""

    tree: Tree
    side: Side
    x: np.ndarray
    records: np.ndarray

    @cached_property
    def seen(self):
        """Margin, what a gap must stay below, features, operands, pattern, vector."""
        eq, sign = self.side.eq, self.side.sign

        def one(x):
            value, features = self.side.features(x)
            pattern = eq.pattern(x)[(1 - sign) // 2]
            vector = self.tree.vector(x).astype(jnp.float32)
            margin = sign * value
            room = margin - self.tree.slack(x)
            return margin, room, features, eq.operands(x), pattern, vector

        return blocks(one, self.x)

    margin = property(lambda self: self.seen[0])
    room = property(lambda self: self.seen[1])
    features = property(lambda self: self.seen[2])
    operands = property(lambda self: self.seen[3])
    patterns = property(lambda self: self.seen[4])
    vectors = property(lambda self: self.seen[5])

    def some(self, count, seed=0):
        """A sample of the beats."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(self.x), min(count, len(self.x)), replace=False)
        rows = np.sort(rows)
        part = replace(self, x=self.x[rows], records=self.records[rows])
        part.__dict__["seen"] = jax.tree.map(lambda v: v[rows], self.seen)
        return part

    @property
    def samples(self):
        return Samples(
            vectors=self.vectors,
            room=self.room,
            operands=self.operands,
            patterns=self.patterns,
            features=self.features,
            records=self.records,
        )

    def gaps(self, table):
        return np.asarray(gaps(self.features, table))

    def proven(self, table):
        return self.gaps(table) < self.room[:, None]


def parts(fn, train, held, metric):
    """Training and held-out beats of both answers.

    Args:
      fn: the margin.
      train: inputs, and the recording of each.
      held: the same.
      metric: what distances are taken of.
    """
    root = Node(0, -1, "f", "", "root", 0, None, (), 0.0, None, len(train[0]))
    program = trace(fn, jnp.asarray(train[0][0]), RULES)
    bare = Tree(program, (root,), train[0][0], None, metric)
    values = [blocks(fn, x) for x, _ in (train, held)]
    for sign in SIDES:
        on = [v >= 0 if sign > 0 else v < 0 for v in values]
        if on[0].sum() > 1000 and on[1].sum() > 100:
            side = Side(bare.eq, sign)
            yield tuple(
                Part(bare, side, x[rows], records[rows])
                for (x, records), rows in zip((train, held), on, strict=True)
            )


def strategies(train, held, num):
    """Few components without localization, chosen in several ways; all units frozen."""
    part = train.some(20_000)

    def table_of(anchors):
        whole = np.ones((len(anchors), part.side.num_units), bool)
        return coefficients(part.side, part.patterns, anchors, whole)

    rows = []
    for name, way in WAYS.items():
        anchors = way(part.side, part.samples, num)
        rows.append(
            {
                "row": "one level",
                "strategy": name,
                "components": len(anchors),
                "proven_any": float(held.proven(table_of(anchors)).any(1).mean()),
            }
        )
    found = chosen_cover(train, num, CoverConfig())
    rows.append(
        {
            "row": "one level",
            "strategy": "prototypes",
            "components": num,
            "share_frozen": float(found["frozen"].mean()),
            "proven_any": float(held.proven(found["table"]).any(1).mean()),
        }
    )
    often = WAYS["frequent"](part.side, part.samples, 60)
    small_table = part.some(2_000).proven(table_of(often))
    best, is_optimal = optimum(small_table, min(num, 8), seconds=20)
    rows.append(
        {
            "row": "optimum",
            "greedy": share(small_table, greedy(pack(small_table), min(num, 8))),
            "optimum": share(small_table, best),
            "optimum_is_proven": is_optimal,
        }
    )
    for needed in (0.99, 0.999):
        rows[-1][f"greedy_needs_{needed}"] = needs(small_table, needed, best=False)
        rows[-1][f"optimum_needs_{needed}"] = needs(small_table, needed, best=True)
    return rows


def needs(table, wanted, best):
    """How few components prove a share of what all of them prove."""
    wanted = wanted * table.any(1).mean()
    for num in range(1, 33):
        rows = optimum(table, num, seconds=20)[0] if best else greedy(pack(table), num)
        if share(table, rows) >= wanted:
            return num
    return None


def chosen_cover(train, num, config):
    """The components of one side, with the coefficients that evaluate them."""
    width = train.features.shape[1] * 8
    start = time.perf_counter()
    part = train.some(min(config.sample, LARGEST // width), config.seed)
    found = choose(part.side, part.samples, num, config)
    table = coefficients(part.side, part.patterns, found.anchors, found.frozen)
    seconds = time.perf_counter() - start
    return {
        "table": table,
        "anchors": found.anchors,
        "frozen": found.frozen,
        "centres": found.centres,
        "seconds": seconds,
    }


def localized(train, held, num, config):
    """Cells with partial patterns, and their controls; then the strengths tried."""
    found = chosen_cover(train, num, config)
    table, centres = found["table"], found["centres"]
    gap, room = held.gaps(table), held.room
    away = np.asarray(squared_distances(held.vectors, centres))
    own = np.asarray(decides(gap, room, away))
    away_train = np.asarray(squared_distances(train.vectors, centres))
    gap_train = train.gaps(table)
    own_train = np.asarray(decides(gap_train, train.room, away_train))
    proven = gap < room[:, None]
    each, rng = np.arange(len(own)), np.random.default_rng(config.seed)
    deals = [rng.permutation(num) for _ in range(10)]
    close = np.argmin(away, axis=1)
    ceiling = kmeans(train.vectors, num)
    top = explained(
        train, nearest(train.vectors, ceiling), held, nearest(held.vectors, ceiling)
    )
    measured = explained(train, own_train, held, own)
    row = {
        "row": "localized",
        "components": num,
        "distinct_functions": len(np.unique(table.round(9), axis=0)),
        "share_frozen": float(found["frozen"].mean()),
        "least_frozen": float(found["frozen"].mean(1).min()),
        "proven_own": float(proven[each, own].mean()),
        "proven_by_the_nearest": float(proven[each, close].mean()),
        "one_everywhere": float(proven.mean(0).max()),
        "shuffled": float(np.mean([proven[each, d[own]].mean() for d in deals])),
        "variance_explained": measured,
        "kmeans": top,
        "share_of_kmeans": measured / top,
        "nearest_centre": explained(train, np.argmin(away_train, axis=1), held, close)
        / top,
        "seconds": found["seconds"],
    }
    frontier = []
    scale = float(np.median(room)) / float(np.median(away.min(1)))
    for strength in STRENGTHS:
        cells = np.argmin(gap + strength * scale * away, axis=1)
        cells_train = np.argmin(gap_train + strength * scale * away_train, axis=1)
        frontier.append(
            {
                "strength": float(strength),
                "proven_own": float(proven[each, cells].mean()),
                "share_of_kmeans": explained(train, cells_train, held, cells) / top,
            }
        )
    return row, {"row": "frontier", "components": num, "by_strength": frontier}


def explained(train, cells_train, held, cells):
    """Variance of held-out beats explained by the training means of their cells."""
    middle = train.vectors.mean(0)
    num = max(cells.max(), cells_train.max()) + 1
    otherwise = np.tile(middle, (num, 1))
    templates = means(train.vectors, cells_train, otherwise)
    left = np.sum((held.vectors - templates[cells]) ** 2)
    return float(1 - left / np.sum((held.vectors - middle) ** 2))


def wrongly_proven(train, held, total, num=144):
    """Perturbed held-out beats whose answer a component contradicts, run as programs.

    Each beat meets the component that the matrix product says proves most; what counts
    is the witness or refuter itself, the traced function with its gates frozen.
    """
    part = train.some(20_000)
    found = chosen_cover(part, num, CoverConfig())
    side, slack = held.side, held.tree.slack
    at = found["anchors"]
    patterns = jax.tree.map(lambda v: v[at], part.patterns)
    masks = [np.stack(m) for m in zip(*map(side.split, found["frozen"]), strict=True)]

    def one(x, patterns, masks, table):
        value, features = side.features(x)
        best = jnp.argmin(gaps(features[None], table)[0])
        pattern, mask = jax.tree.map(lambda v: v[best], (patterns, masks))
        bound = side.eq.witness if side.sign > 0 else side.eq.refuter
        room = slack(x)
        above = side.sign * (bound(pattern, mask)(x) - value) > room
        answer = side.sign * bound(pattern, mask)(x) > room
        return above | (answer & (side.sign * value < 0)), answer

    rng, wrong, proven, done = np.random.default_rng(1), 0, 0, 0
    while done < total:
        rows = rng.integers(len(held.x), size=min(50_000, total - done))
        noise = rng.normal(size=(len(rows), *held.x.shape[1:]))
        size = 10.0 ** rng.uniform(-3, 1, (len(rows), *(1,) * (held.x.ndim - 1)))
        moved = held.x[rows] + size * noise
        bad, answered = blocks(one, moved, patterns, masks, jnp.asarray(found["table"]))
        wrong, proven, done = (
            wrong + bad.sum(),
            proven + answered.sum(),
            done + len(rows),
        )
    return {
        "row": "perturbed",
        "inputs": done,
        "proven": int(proven),
        "wrongly_proven": int(wrong),
    }


def read_as_logic(fn, train, held, metric):
    """The AND/OR circuit of a tree against the network, and the tree merged."""
    (train, records), (held, _) = train, held
    tree = grow(fn, train, depth=2, budget=36, metric=metric, records=records)
    logic, fewer = circuit(tree), ej.merged(tree)
    certificate = ej.certify(fewer, held)
    decisions = {"train": ej.decide(tree, train), "heldout": ej.decide(tree, held)}
    proven = {
        name: float(np.mean(decision.prover >= 0))
        for name, decision in (
            ("tree", decisions["heldout"]),
            ("merged", ej.decide(fewer, held)),
        )
    }
    differ = {
        name: int(np.sum(logic.evaluate(x) != decisions[name].normal))
        for name, x in (("train", train), ("heldout", held))
    }
    return {
        "components": len(tree.nodes) - 1,
        "merged_to": len(fewer.nodes) - 1,
        "proven": proven,
        "beats": {"train": len(train), "heldout": len(held)},
        "circuit_differs": differ,
        "wrongly_proven": certificate.wrongly_proven,
    }


def random_network(network):
    """The same shape with the weights it is initialised with."""
    variables = init_variables(network.config, jax.random.key(1))
    return replace(network, variables=variables).cast(np.float64).margin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--metric", default="shape", choices=sorted(METRICS))
    parser.add_argument("--components", type=int, nargs="+", default=[4, 12, 36, 144])
    parser.add_argument("--wanted", type=float, default=CoverConfig.wanted)
    parser.add_argument("--perturbed", type=int, default=1_000_000)
    parser.add_argument("--circuit", action="store_true", help="this row alone")
    parser.add_argument("--quick", action="store_true", help="localized rows only")
    args = parser.parse_args()
    network = load_network(args.model)
    source = open_dataset(args.data, args.data_dir)
    beats = extract_beats(
        source, beat_config(network.card), cache_dir=cache_home() / "beats"
    )
    config = CoverConfig(wanted=args.wanted)
    about = {"network": network.config.kind, "data": args.data, "metric": args.metric}
    rows = []

    def note(which, held, row):
        rows.append(
            {
                "weights": which,
                "side": SIDES[held.side.sign],
                "units": held.side.num_units,
                "answers": len(held.x),
                **row,
            }
        )
        if row["row"] != "frontier":
            print(json.dumps(rows[-1]), flush=True)

    with jax.enable_x64(True):
        train, held = (
            (beats.inputs(rows).astype(np.float64), beats.record[rows])
            for rows in (beats.rows("train"), beats.rows("heldout"))
        )
        if args.circuit:
            row = read_as_logic(
                network.cast(np.float64).margin, train, held, args.metric
            )
            print(json.dumps(row, indent=1))
            write_json(args.out, {**about, **row, "versions": versions()})
            return
        networks = {"own": network.cast(np.float64).margin}
        if not args.quick:
            networks["random"] = random_network(network)
        for which, fn in networks.items():
            for some, asked in parts(fn, train, held, args.metric):
                for num in args.components:
                    for row in localized(some, asked, num, config):
                        note(which, asked, row)
                if which == "own" and not args.quick:
                    for row in strategies(some, asked, 8 if some.side.sign > 0 else 16):
                        note(which, asked, row)
                    note(which, asked, wrongly_proven(some, asked, args.perturbed))
    write_json(args.out, {**about, "rows": rows, "versions": versions()})


if __name__ == "__main__":
    main()
