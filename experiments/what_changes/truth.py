"""Do ranges tell what a network was taught? ST elevation of known size and threshold.

python experiments/what_changes/truth.py level|waves [--recordings N] [--beats N]
    [--kinds mlp] [--seed N]

Synthetic recordings get an ST segment that is raised by a level drawn for each
recording; "normal" is what lies below a threshold. Amplitudes, rate, baseline, noise
and the T wave vary by themselves. A network learns the labels; held-out beats then
tell, by `ej.ranges`, how far the ST level goes before the answer flips.

The segment is raised in one of two ways: as "ST level" of `ej.changes` is defined (a
level from the end of the QRS to the T), or by the two waves of the synthetic
"st_elevation", which reach under the T. Beats are walked along "ST level", and along
the very shape that was added, at its usual place.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
from shared import MEASURED, interval, measured, nearest_flip, trained

import ecg_jax as ej
from ecg_jax.cells.change_paths import RAMP_S, SHIFT
from ecg_jax.ecg.beats import BeatConfig, Beats, extract_beats
from ecg_jax.ecg.records import Recording
from ecg_jax.ecg.synth import Synthetic, synthesize
from ecg_jax.networks.models import NetworkConfig, init_variables
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network
from ecg_jax.statistics.scores import auc
from ecg_jax.storage.files import plain, write_json
from ecg_jax.storage.versions import versions

THRESHOLD_MV = 0.15
LEVELS_MV = (-0.10, 0.40)
"""Drawn evenly: half of the recordings are normal."""

BEATS = BeatConfig(before_s=0.5, after_s=0.75, normalise="none")
"""Windows of a default run, in mV: a threshold in mV is none of scaled beats."""

TRAINING = TrainingConfig(noise=0.02, wander=0.02, scale=0.0)
"""Noise and drift of a default run, where a unit is about .2 mV; no random gain, which
would move beats across the threshold."""

J_S, T_S = 0.05, 0.29
"""End of the QRS and peak of the T after R, at an interval of 1 s."""

REST_MV = 0.025
"""Beats of a level so near to 0 have the threshold itself before them."""

OWN = "what was added"
ST = "ST level"


def main() -> None:
    args = parsed()
    jax.config.update("jax_enable_x64", True)
    folder = StFolder(args.recordings, args.seed, args.way)
    beats = extract_beats(folder, BEATS, cache_dir=None)
    rng = np.random.default_rng(args.seed)
    training = np.sort(rng.permutation(beats.rows("train"))[:4000])
    spread = spreads(beats, folder, training)
    rows = np.sort(rng.permutation(beats.rows("heldout"))[: args.beats])
    moves = changes(beats.take(rows), args.way)
    found = {}
    for name, network in networks(beats, args):
        found[name] = of_network(network, beats, moves, folder, spread)
        print(f"{time.process_time():.0f} CPU s: {name}", flush=True)
    told = {
        "way": args.way,
        "threshold": THRESHOLD_MV,
        "levels": LEVELS_MV,
        "recordings": args.recordings,
        "beats": {s: len(beats.rows(s)) for s in ("train", "validation", "heldout")},
        "held-out beats walked": args.beats,
        "spread": spread,
        "networks": found,
        "versions": versions(),
    }
    out = args.out or Path(__file__).parent / "results" / f"truth-{args.way}.json"
    write_json(out, told)
    print(json.dumps(plain(told), indent=1))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=("level", "waves"))
    parser.add_argument("--recordings", type=int, default=1500)
    parser.add_argument("--beats", type=int, default=1000)
    parser.add_argument("--kinds", nargs="+", default=["mlp"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


@dataclass(frozen=True)
class StFolder:
    """Synthetic normal recordings with a raised ST, behind the interface of `Folder`.

    Attributes:
      num_recordings: how many.
      seed: of the recordings and their levels.
      way: "level" or "waves": the shape of what is added.
    """

    num_recordings: int
    seed: int
    way: str

    @property
    def excluded(self) -> Mapping[str, str]:
        return {}

    @cached_property
    def data(self) -> Synthetic:
        return synthesize(self.seed, self.num_recordings, mixture=("normal",))

    @cached_property
    def level_mv(self) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        return rng.uniform(*LEVELS_MV, self.num_recordings)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(f"S{i:05d}" for i in range(self.num_recordings))

    @cached_property
    def labels(self) -> Mapping[str, str | None]:
        normal = self.level_mv < THRESHOLD_MV
        return dict(zip(self.names, np.where(normal, "N", "O").tolist(), strict=True))

    def read(self, name: str) -> Recording:
        i, data = int(name[1:]), self.data
        rate, there = data.sample_rate_hz, data.r[i] >= 0
        signal = data.signal[i].astype(np.float64)
        time_s = np.arange(len(signal)) / rate
        sign = -1 if data.inverted[i] else 1
        t_s = (data.t[i] - data.r[i])[there & (data.t[i] >= 0)] / rate
        for r in data.r[i, there] / rate:
            added = SHAPES[self.way](time_s - r, float(np.median(t_s)))
            signal += sign * self.level_mv[i] * added
        return Recording(name, signal[None].astype(np.float32), rate, self.labels[name])


def level(time_s: np.ndarray, t_s: float) -> np.ndarray:
    """The shape of "ST level": 1 from the end of the QRS to 100 ms before T, ramps."""
    rise = (time_s - (J_S - RAMP_S)) / RAMP_S
    fall = (t_s - 0.1 + RAMP_S - time_s) / RAMP_S
    return np.clip(np.minimum(rise, fall), 0, 1)


def waves(time_s: np.ndarray, t_s: float) -> np.ndarray:
    """The ST of "st_elevation" in `ecg.waveforms`, 1 at its highest."""
    slow = t_s / T_S
    first = (0.080 * (1 + 0.5 * (slow - 1)), 0.036 * (1 + 0.5 * (slow - 1)), 0.17)
    parts = (first, (0.150 * slow, 0.052 * slow, 0.19))

    def at(t: np.ndarray) -> np.ndarray:
        return sum(h * np.exp(-0.5 * ((t - c) / s) ** 2) for c, s, h in parts)

    return at(time_s) / at(np.linspace(0, T_S, 300)).max()


SHAPES = MappingProxyType({"level": level, "waves": waves})


def changes(beats: Beats, way: str) -> ej.Changes:
    """Those of `ej.changes`, and the simulated shape as one more direction."""
    moves = ej.changes(beats)
    added = SHAPES[way](beats.config.time_s, T_S).astype(np.float32)
    return replace(
        moves,
        names=(*moves.names, OWN),
        units={**moves.units, OWN: "mV"},
        directions={**moves.directions, OWN: np.tile(added, (len(beats), 1, 1))},
        reasons={**moves.reasons, OWN: np.full(len(beats), "", object)},
    )


def spreads(beats: Beats, folder: StFolder, rows: np.ndarray) -> dict[str, float]:
    """Standard deviation of each changed quantity over training beats."""
    found = dict(zip(MEASURED, np.nanstd(measured(beats, rows), 0), strict=True))
    away = []
    for row in rows:
        i = int(str(beats.records.name[beats.record[row]])[1:])
        true = folder.data.r[i] / folder.data.sample_rate_hz
        away.append(
            beats.r_time_s[row] - true[np.abs(true - beats.r_time_s[row]).argmin()]
        )
    return {**found, SHIFT: float(np.std(away)), OWN: found[ST]}


def networks(beats: Beats, args: argparse.Namespace):
    """The trained networks, and those that were taught nothing."""
    for kind in args.kinds:
        config = NetworkConfig(kind=kind)
        for name, shuffle in (("trained", None), ("shuffled labels", args.seed)):
            with tempfile.TemporaryDirectory() as folder:
                yield (
                    f"{kind}, {name}",
                    trained(beats, config, TRAINING, Path(folder), shuffle=shuffle),
                )
        shape = beats.millivolts.shape
        config = replace(config, num_leads=shape[1], num_samples=shape[2])
        fresh = init_variables(config, jax.random.key(args.seed))
        yield f"{kind}, random weights", Network(config, fresh)


def of_network(
    network: Network,
    beats: Beats,
    moves: ej.Changes,
    folder: StFolder,
    spread: Mapping[str, float],
) -> dict:
    """Ranges of held-out beats against the levels that were simulated."""
    own = moves.beats
    asked = beats.rows("heldout")
    margin, normal = network.margins(beats.inputs(asked)), beats.is_normal[asked]
    fn = network.cast(np.float64).margin
    found = ej.ranges(fn, own, moves)
    answer = np.asarray(jax.vmap(fn)(own.inputs().astype(np.float64))) >= 0
    names = own.records.name[own.record]
    level_mv = folder.level_mv[[int(str(name)[1:]) for name in names]]
    near = nearest_flip(found, found.limits)
    flips = np.isfinite(found.low) | np.isfinite(found.high)
    far = np.where(flips, near, np.where(np.isnan(near), np.nan, np.inf))
    scaled = {
        name: far[:, at] / spread[name]
        for at, name in enumerate(found.names)
        if name in spread and name != OWN and not np.isnan(far[:, at]).all()
    }
    known = ~np.isnan(scaled[ST])
    table = np.stack(list(scaled.values()), 1)[known]
    first = np.nanargmin(table, axis=1)[np.isfinite(np.nanmin(table, axis=1))]
    return {
        "beat AUC": auc(margin, normal),
        "beat accuracy": float(np.mean((margin >= 0) == normal)),
        "answered normal": float(answer.mean()),
        "ranges": {
            name: against_truth(found, name, answer, level_mv, own.record)
            for name in (ST, OWN)
        },
        "in units of the spread": {
            name: {
                "offered": float(np.mean(~np.isnan(value))),
                "flips": float(np.mean(np.isfinite(value[~np.isnan(value)]))),
                "median": float(np.nanmedian(value)),
                "nearest of all": float(np.sum(first == at) / known.sum()),
            }
            for at, (name, value) in enumerate(scaled.items())
        },
    }


def against_truth(found, name, answer, level_mv, record) -> dict:
    """The flip of each beat, on the side that its answer leaves, against the truth."""
    at = found.names.index(name)
    flip = np.where(answer, found.high[:, at], found.low[:, at])
    true = THRESHOLD_MV - level_mv
    other = np.where(answer, -found.low[:, at], found.high[:, at])
    right = answer == (true > 0)
    offered = ~np.isnan(flip)
    some = offered & right
    if not some.any():
        return {"offered": float(offered.mean()), "right": 0.0}

    def ratio(rows: np.ndarray):
        def figure(weight: np.ndarray) -> float:
            each = np.repeat(np.flatnonzero(rows), weight[rows].astype(int))
            return float(np.median(np.abs(flip[each])) / np.median(np.abs(true[each])))

        return figure

    flips = offered & np.isfinite(flip)
    away = np.abs(np.abs(flip[some]) - np.abs(true[some]))
    rests = some & answer & (np.abs(level_mv) <= REST_MV)
    line = np.polyfit(true[flips], flip[flips], 1) if flips.sum() > 2 else (np.nan,) * 2
    return {
        "offered": float(offered.mean()),
        "right": float(right[offered].mean()),
        "flips": float(flips[some].mean()),
        "median range": float(np.median(np.abs(flip[some]))),
        "median distance": float(np.median(np.abs(true[some]))),
        "ratio of medians": interval(ratio(some), record, 500),
        "ratio of medians, wrong answers too": interval(ratio(offered), record, 500),
        "within 20% of the distance": float(np.mean(away <= 0.2 * np.abs(true[some]))),
        "within 20% of the threshold": float(np.mean(away <= 0.2 * THRESHOLD_MV)),
        "slope": float(line[0]),
        "intercept": float(line[1]),
        "correlation": float(np.corrcoef(true[flips], flip[flips])[0, 1])
        if flips.sum() > 2
        else np.nan,
        "threshold by the flips, quartiles": np.percentile(
            (level_mv + flip)[flips], [25, 50, 75]
        )
        if flips.any()
        else None,
        "beats of level 0": int(rests.sum()),
        "median range of level 0": float(np.median(flip[rests]))
        if rests.any()
        else np.nan,
        "flips the other way first": float(np.mean((other < np.abs(flip))[some])),
    }


if __name__ == "__main__":
    main()
