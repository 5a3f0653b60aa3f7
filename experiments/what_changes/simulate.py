"""Can a reader of a report foretell the network? Composites and ranges, no network.

pip install scikit-learn
python experiments/what_changes/simulate.py RUN --data-dir DIR

The simulated reader has what a report shows of each component: its composite (the
median of its beats), its answer, and how far each change goes, downwards and upwards,
until a quarter and half of its answers have changed. A beat gets the answer of the
nearest composite, unless what is measured on the beat lies beyond those ranges: then
the other. What the rule leaves open is chosen on validation beats. All is told on
training beats, and judged on held-out ones by how often it says what the network says.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import jax
import numpy as np
from shared import MEASURED, interval, measurements
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import ecg_jax as ej
from ecg_jax.cells.change_paths import SHIFT
from ecg_jax.ecg.beats import Beats
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import load_run
from ecg_jax.runs.source import source_of
from ecg_jax.statistics.cluster import kmeans, nearest
from ecg_jax.storage.files import write_json
from ecg_jax.storage.table import read_parquet
from ecg_jax.storage.versions import versions
from ecg_jax.views.changes import LIMITS
from ecg_jax.views.what_changes import BEATS_EACH

NAMES = (*MEASURED, SHIFT)
WAVES = ("ST level", "T amplitude", "P-PR level", "QRS amplitude")
SETS = {"all": NAMES, "all but the shift": MEASURED, "waves": WAVES}
BEYOND = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, np.inf)
"""How many times its range a beat lies from a composite; infinite: never flipped."""

QUARTILES = ("first", "median")
"""Of the ranges of a component, that a beat may lie beyond."""

MOST_MEDIAN = 2000
"""Beats that a composite is the median of, as in a report."""


def main() -> None:
    args = parsed()
    jax.config.update("jax_enable_x64", True)
    network, _, cut = load_run(args.run)
    data = read_json(args.run / "config.json")["data"]
    beats = source_of(data, args.data_dir).beats(cut)
    table = read_parquet(args.run / "partition.parquet")
    if not np.array_equal(table["r_time_s"], beats.r_time_s, equal_nan=True):
        raise SystemExit(f"{args.run} is of other beats.\n  try: its own --data-dir")
    rng = np.random.default_rng(0)
    sides = zip(("train", "validation", "heldout"), args.beats, strict=True)
    rows = {
        side: np.sort(rng.permutation(beats.rows(side))[:most]) for side, most in sides
    }
    cells = composites_of(network, beats, table, rng)
    sets = {side: seen_of(beats, table, own, cells) for side, own in rows.items()}
    print("measured", flush=True)
    ways = rules(cells) | controls(sets["train"], len(cells.answers))
    held, out = sets["heldout"], {}
    said = {}
    for name, candidates in ways.items():
        options = list(candidates)
        valid = sets["validation"]
        scores = [balanced(rule(valid), valid.answers) for _, rule in options]
        option, rule = options[int(np.argmax(scores))]
        said[name] = rule(held)
        out[name] = {"chosen": option, **judged(said[name], held)}
        if name.startswith("composites"):
            out[name]["unlike the nearest"] = float(
                np.mean(said[name] != said["composites"])
            )
        print(name, out[name], flush=True)
    found = {
        "composites": len(cells.answers),
        "beats": {side: len(own) for side, own in rows.items()},
        "answered normal": float(held.answers.mean()),
        "agreement": out,
        "balanced, more than": {
            other: gain(said[BEST], said[other], held) for other in said
        },
        "versions": versions(),
    }
    write_json(args.out, found)
    print(json.dumps(found, indent=1, default=float))


BEST = "composites and ranges"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument(
        "--beats", type=int, nargs=3, default=(20_000, 5_000, 10_000),
        help="of training, validation, held-out recordings",
    )  # fmt: skip
    default = Path(__file__).parent / "results" / "simulate.json"
    parser.add_argument("--out", type=Path, default=default)
    return parser.parse_args()


@dataclass(frozen=True)
class Composites:
    """What a report shows of components.

    Attributes:
      shapes: the composite of each, as the network sees beats, `[composite, time]`.
      answers: whether its beats are answered normal.
      amounts: what is measured on it, `[composite, change]`, in units of the input.
      low: how far each change goes down until a quarter, half of the answers have
        changed, `>= 0`, `[quartile, composite, change]`.
      high: likewise up.
      usual: the median training beat, which shifts are told from.
    """

    shapes: np.ndarray
    answers: np.ndarray
    amounts: np.ndarray
    low: np.ndarray
    high: np.ndarray
    usual: np.ndarray


@dataclass(frozen=True)
class Seen:
    """Some beats, what is measured on them, and what the network says.

    Attributes:
      shapes: as the network sees them, `[beat, time]`.
      amounts: `[beat, change]`, shifts from the usual beat.
      away: by what a beat differs from each composite, in the units of the changes,
        `[beat, composite, change]`.
      answers: whether the network says normal.
      record: of each beat.
    """

    shapes: np.ndarray
    amounts: np.ndarray
    away: np.ndarray
    answers: np.ndarray
    record: np.ndarray


def composites_of(network, beats: Beats, table, rng) -> Composites:
    """Composites of the training beats of each deciding component, and its ranges."""
    training = beats.rows("train")
    cell, normal = table["cell"][training], table["margin"][training] >= 0
    nodes = np.unique(cell)
    shapes, walked = [], []
    for node in nodes:
        own = rng.permutation(training[cell == node])
        shapes.append(np.median(beats.inputs(own[:MOST_MEDIAN])[:, 0], axis=0))
        walked.append(own[:BEATS_EACH])
    some = beats.take(np.concatenate(walked))
    found = ej.ranges(network.cast(np.float64).margin, some, ej.changes(some))
    low, high = np.full((2, len(QUARTILES), len(nodes), len(NAMES)), np.inf)
    ends = np.cumsum([len(own) for own in walked])
    for i, own in enumerate(np.split(np.arange(len(some)), ends[:-1])):
        for one in found.reaches(own):
            if one.name in NAMES:
                at = NAMES.index(one.name)
                low[:, i, at] = one.low.quartiles[:2]
                high[:, i, at] = one.high.quartiles[:2]
    usual = np.median(beats.inputs(rng.permutation(training)[:MOST_MEDIAN])[:, 0], 0)
    shapes = np.stack(shapes)
    return Composites(
        shapes,
        np.array([normal[cell == node].mean() >= 0.5 for node in nodes]),
        measurements(shapes, beats.config.sample_rate_hz, beats.config.before_s),
        low,
        high,
        usual,
    )


def seen_of(beats: Beats, table, rows: np.ndarray, cells: Composites) -> Seen:
    """What the reader sees of some beats, and what the network says of them."""
    config = beats.config
    shapes = beats.inputs(rows)[:, 0].astype(np.float64)
    amounts = measurements(shapes, config.sample_rate_hz, config.before_s)
    away = amounts[:, None] - cells.amounts
    unit_mv = beats.unit_mv(rows)[:, :1, None]
    scaled = np.array([name in ("QRS amplitude", "gain") for name in MEASURED])
    away = np.where(scaled, away, away * unit_mv)
    later = [lags(shapes, one, config.sample_rate_hz) for one in cells.shapes]
    usual = lags(shapes, cells.usual, config.sample_rate_hz)
    return Seen(
        shapes,
        np.concatenate([amounts, usual[:, None]], 1),
        np.concatenate([away, np.stack(later, 1)[:, :, None]], 2),
        table["margin"][rows] >= 0,
        beats.record[rows],
    )


def lags(shapes: np.ndarray, other: np.ndarray, rate: float) -> np.ndarray:
    """By how many seconds each beat is later than another, of whole samples."""
    most = round(LIMITS["s"] * rate)
    steps = np.arange(-most, most + 1)
    inner = shapes[:, most:-most] if most else shapes
    time = np.arange(len(other))[most : len(other) - most]
    moved = np.stack([other[time - step] for step in steps], 1)
    return steps[np.argmax(inner @ moved, axis=1)] / rate


Rule = Callable[[Seen], np.ndarray]


def rules(cells: Composites) -> dict[str, list[tuple[dict, Rule]]]:
    """What a reader of composites, and of ranges, says: candidates with their names."""

    def by(nearest_by: str, names: str, of: str, measure: str, beyond: float) -> Rule:
        def rule(seen: Seen) -> np.ndarray:
            far = beyond_ranges(seen, cells, SETS[names], of, measure)
            if nearest_by == "waveform":
                cell = nearest(seen.shapes, cells.shapes)
            else:
                cell = far.argmin(axis=1)
            own = far[np.arange(len(cell)), cell]
            return cells.answers[cell] ^ (own > beyond)

        return rule

    def options(*choices):
        words = ("nearest by", "changes", "quartile", "measure", "beyond")
        return [
            (dict(zip(words, one, strict=True)), by(*one)) for one in product(*choices)
        ]

    measures, both = ("largest", "root of squares"), ("waveform", "ranges")
    plain = ("waveform",), ("all",), ("median",), ("largest",)
    return {
        "composites": options(*plain, (np.inf,)),
        "composites and ranges, as given": options(*plain, (1.0,)),
        BEST: options(both, tuple(SETS), QUARTILES, measures, BEYOND),
    }


def beyond_ranges(
    seen: Seen, cells: Composites, names: tuple[str, ...], quartile: str, measure: str
) -> np.ndarray:
    """How many times its range a beat differs from each composite: `[beat, cell]`."""
    at = [NAMES.index(name) for name in names]
    away, of = np.nan_to_num(seen.away[:, :, at]), QUARTILES.index(quartile)
    room = np.where(away > 0, cells.high[of][:, at], cells.low[of][:, at])
    share = np.abs(away) / np.maximum(room, 1e-9)
    if measure == "largest":
        return share.max(axis=2)
    return np.sqrt(np.square(share).sum(axis=2))


def controls(train: Seen, num: int) -> dict[str, list[tuple[dict, Rule]]]:
    """k-means with as many cells, a shallow tree, logistic regression, the majority.

    k-means once of all beats, its cells answering as most of their beats are answered,
    and once of the beats of either answer: components are of one answer too.
    """

    def clustered(seed: int) -> Rule:
        centres = kmeans(train.shapes, num, seed=seed)
        cell = nearest(train.shapes, centres)
        says = np.array(
            [train.answers[cell == i].mean() >= 0.5 for i in range(len(centres))]
        )
        return lambda seen: says[nearest(seen.shapes, centres)]

    def clustered_by_answer(seed: int) -> Rule:
        half = num // 2
        sides = (train.answers, half), (~train.answers, num - half)
        centres = [kmeans(train.shapes[own], k, seed=seed) for own, k in sides]
        says = np.repeat([True, False], [half, num - half])
        return lambda seen: says[nearest(seen.shapes, np.concatenate(centres))]

    def fitted(model) -> Rule:
        model.fit(train.amounts, train.answers)
        return lambda seen: model.predict(seen.amounts)

    weights = (None, "balanced")
    return {
        "k-means": [({"seed": seed}, clustered(seed)) for seed in range(3)],
        "k-means of each answer": [
            ({"seed": seed}, clustered_by_answer(seed)) for seed in range(3)
        ],
        "tree of depth 4": [
            (
                {"class_weight": w},
                fitted(
                    DecisionTreeClassifier(
                        max_depth=4, min_samples_leaf=50, class_weight=w, random_state=0
                    )
                ),
            )
            for w in weights
        ],
        "logistic regression": [
            (
                {"class_weight": w},
                fitted(
                    make_pipeline(
                        SimpleImputer(strategy="median"),
                        StandardScaler(),
                        LogisticRegression(class_weight=w, max_iter=1000),
                    )
                ),
            )
            for w in weights
        ],
        "majority": [
            (
                {},
                lambda seen: np.full(len(seen.answers), train.answers.mean() >= 0.5),
            )
        ],
    }


def balanced(said: np.ndarray, answers: np.ndarray, weight=None) -> float:
    """Agreement with the network, both answers counting the same."""
    weight = np.ones(len(said)) if weight is None else weight
    sides = (answers, ~answers)
    return float(
        np.mean([np.average(said == answers, None, weight * s) for s in sides])
    )


def judged(said: np.ndarray, held: Seen) -> dict:
    """Agreement with the network on held-out beats, with intervals by recording."""
    same = said == held.answers
    return {
        "agreement": interval(lambda w: float(np.average(same, None, w)), held.record),
        "balanced": interval(lambda w: balanced(said, held.answers, w), held.record),
        "says normal": float(said.mean()),
    }


def gain(said: np.ndarray, other: np.ndarray, held: Seen) -> list[float]:
    """How much better balanced one is than another, on the same beats."""
    return interval(
        lambda w: balanced(said, held.answers, w) - balanced(other, held.answers, w),
        held.record,
    )


if __name__ == "__main__":
    main()
