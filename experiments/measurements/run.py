"""How far are our own measurements from borders that are known?

python experiments/measurements/run.py [--ludb FOLDER] [--lead ii] [--recordings N]
    [--seed N] [--out FILE]

QRS width and T peak as `ecg_jax` measures them, on single beats (what `ej.changes`
does) and on the median beat of each recording (what a cell's sketch does), against
synthetic recordings, whose waves are known; with `--ludb` against the borders that
cardiologists marked. Beside each figure a constant, the median over other recordings:
constants are chosen on every second recording, and all figures are of the others.
"""

import argparse
import math
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from ecg_jax.cells.morphology import measure
from ecg_jax.ecg import waveforms
from ecg_jax.ecg.beats import BeatConfig, Beats, extract_beats
from ecg_jax.ecg.borders import read_borders
from ecg_jax.ecg.mcsharry import blocks
from ecg_jax.ecg.records import open_folder
from ecg_jax.ecg.synth import SyntheticFolder, synthesize
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions

BEATS = BeatConfig(before_s=0.5, after_s=0.75)
"""Windows of a default run, band-passed 0.5 to 40 Hz."""

KINDS = ("normal", "af", "pvc", "lbbb", "rbbb", "st_elevation", "inverted_t")
QRS, T = slice(1, 5), slice(7, 9)
"""Waves of `waveforms`: Q, R, S, R'; the two of the T."""

VISIBLE_MV = 0.02
"""A QRS begins and ends where its own waves, without noise and without P, ST and T,
reach 20 microvolts: the least amplitude that is a wave in the recommendations of the
CSE Working Party, European Heart Journal 6, 1985."""

NEAR_S = 0.1
"""A beat is a marked one if their R are so near."""

LONGEST_QT_S = 0.6
FEWEST = 5
"""Beats that a median beat is taken of."""


@dataclass(frozen=True)
class Marks:
    """Beats of a recording that are marked, in seconds; NaN where one is not."""

    r_s: np.ndarray
    onset_s: np.ndarray
    end_s: np.ndarray
    t_s: np.ndarray
    kind: np.ndarray


def main() -> None:
    args = parsed()
    found = {"synthetic": synthetic(args.recordings, args.seed)}
    if args.ludb is not None:
        found["ludb"] = ludb(args.ludb, args.lead)
    told = {
        "command": " ".join(["python experiments/measurements/run.py", *sys.argv[1:]]),
        "recordings": args.recordings,
        "seed": args.seed,
        "figures": found,
        "versions": versions(),
        "hardware": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    write_json(args.out or Path(__file__).parent / "results" / "results.json", told)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--lead", default="ii")
    parser.add_argument("--recordings", type=int, default=420)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def synthetic(recordings, seed):
    """Figures on synthetic recordings."""
    folder = SyntheticFolder(seed=seed, num_recordings=recordings, mixture=KINDS)
    beats = extract_beats(folder, BEATS, cache_dir=None)
    return figures(beats, synthetic_marks(folder))


def ludb(root, lead):
    """Figures on the recordings of LUDB, in one lead."""
    folder = open_folder(root, leads=(lead,))
    beats = extract_beats(folder, BEATS, cache_dir=None)
    marks = {}
    for name in beats.records.name.tolist():
        stem = folder.root / folder.paths[name]
        marks[name] = ludb_marks(stem, lead, folder.read(name).sample_rate_hz)
    return figures(beats, marks)


def synthetic_marks(folder):
    """Borders of every beat, from the waves that the recordings were made of."""
    data = synthesize(
        folder.seed,
        folder.num_recordings,
        duration_s=folder.duration_s,
        sample_rate_hz=folder.sample_rate_hz,
        mixture=folder.mixture,
    )
    codes = np.array([waveforms.KINDS.index(kind) for kind in data.kinds], np.int32)
    every = [
        np.asarray(column)
        for column in waves_of(
            np.uint32(folder.seed),
            np.arange(len(codes), dtype=np.uint32),
            codes,
            num_samples=data.signal.shape[1],
            sample_rate_hz=data.sample_rate_hz,
        )
    ]
    marks = {}
    for row, name in enumerate(folder.names):
        r_s, centre, width, height = (column[row] for column in every)
        last = np.rint(data.sample_rate_hz * (r_s + centre[:, -1])).astype(int)
        inside = (data.t[row] >= 0) & (data.r[row] >= 0)
        assert np.array_equal(last[inside], data.t[row][inside])
        here = np.flatnonzero(data.r[row] >= 0)
        own = [borders(*(x[k] for x in (centre, width, height))) for k in here]
        onset, end, top = np.array(own).T
        kind = [waveforms.KINDS[k] for k in data.beat_kind[row][here]]
        at = r_s[here].astype(float)
        marks[name] = Marks(at, at + onset, at + end, at + top, np.array(kind))
    return marks


def waves_of(seed, index, kind, *, num_samples, sample_rate_hz):
    """The Gaussian waves of recordings, as `waveforms.synthesize_one` draws them."""
    starts, steps = blocks(num_samples, sample_rate_hz)
    least = waveforms._MIN_RR_S
    num_beats = math.ceil(num_samples / sample_rate_hz / least) + 6

    def one(index, kind):
        key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), 1)
        key = jax.random.fold_in(key, index)
        d = waveforms._draw(key, num_beats, (len(starts), len(steps)))
        breathing_hz = waveforms._between(d.unit[20], 0.18, 0.33)
        r, qt_rr, pvc = waveforms._rhythm(d, kind, breathing_hz)
        breath = jnp.sin(2 * math.pi * breathing_hz * r + d.phase[0])
        return waveforms._morphology(d, kind, r, qt_rr, pvc, breath)

    return jax.jit(jax.vmap(one))(index, kind)


def borders(centre, width, height):
    """Onset and end of the QRS and peak of the T, in seconds from R."""
    time = np.arange(-0.3, 0.8, 0.001)

    def wave(part):
        away = (time[:, None] - centre[part]) / width[part]
        return (height[part] * np.exp(-0.5 * away**2)).sum(1)

    seen = np.flatnonzero(np.abs(wave(QRS)) >= VISIBLE_MV)
    return time[seen[0]], time[seen[-1]], time[np.argmax(np.abs(wave(T)))]


def ludb_marks(stem, lead, rate_hz):
    """Borders that cardiologists marked; the T is the first after the QRS."""
    waves = read_borders(stem, lead, rate_hz)
    rows = []
    for k, wave in enumerate(waves):
        if wave.kind != "QRS":
            continue
        after = waves[k + 1] if k + 1 < len(waves) else None
        is_t = after is not None and after.kind == "T"
        near = is_t and after.peak_s - wave.peak_s < LONGEST_QT_S
        borders_s = [np.nan if x is None else x for x in (wave.onset_s, wave.end_s)]
        rows.append([wave.peak_s, *borders_s, after.peak_s if near else np.nan])
    columns = np.array(rows).reshape(-1, 4).T
    return Marks(*columns, np.full(len(rows), "all"))


def figures(beats: Beats, marks):
    """Errors of single beats and of median beats, all and by kind."""
    single, median = [], []
    for row, name in enumerate(beats.records.name.tolist()):
        own = np.flatnonzero(beats.record == row)
        at = beats.r_time_s[own].astype(float)
        truth = marks[name]
        if not len(truth.r_s):
            continue
        nearest = np.abs(at[:, None] - truth.r_s).argmin(1)
        close = np.abs(at - truth.r_s[nearest]) <= NEAR_S
        own, at, nearest = own[close], at[close], nearest[close]
        fields = (truth.onset_s, truth.end_s, truth.t_s)
        marked = np.array([field[nearest] - at for field in fields]).T
        kind = truth.kind[nearest]
        x = np.asarray(beats.millivolts[own, 0], np.float64)
        for beat, true, what in zip(x, marked, kind, strict=True):
            single.append((row, what, *true, *measured(beat)))
        for what in np.unique(kind):
            same = kind == what
            known = ~np.isnan(marked[same]).all(0)
            if same.sum() >= FEWEST:
                true = np.full(3, np.nan)
                true[known] = np.nanmedian(marked[same][:, known], 0)
                beat = np.median(x[same], 0)
                median.append((row, what, *true, *measured(beat)))
    return {
        "single beats": by_kind(single),
        "median beats": by_kind(median),
    }


def measured(beat):
    """Onset and end of the QRS and T peak, in seconds from R; is the width told?"""
    shape = measure(beat, BEATS.sample_rate_hz, BEATS.before_s)
    found = (shape.onset_s, shape.offset_s, shape.t_s)
    return (*(np.nan if x is None else x for x in found), shape.clear)


def by_kind(rows):
    """Figures of all rows, and of each kind if there are several."""
    kinds = sorted({row[1] for row in rows})
    found = {"all": summary(rows)}
    if kinds[1:]:
        found |= {kind: summary([r for r in rows if r[1] == kind]) for kind in kinds}
    return found


def summary(rows):
    """Errors in ms beside those of constants, on every second recording."""
    record = np.array([row[0] for row in rows])
    onset, end, t, onset_, end_, t_, clear = np.array([row[2:] for row in rows]).T
    asked = record % 2 == 1
    told = np.where(clear == 1, end_ - onset_, np.nan)
    out = {"rows": int(asked.sum()), "recordings": len(np.unique(record[asked]))}
    for name, true, ours in (
        ("QRS width", end - onset, told),
        ("QRS width, unclear ones too", end - onset, end_ - onset_),
        ("QRS onset", onset, onset_),
        ("QRS end", end, end_),
        ("T peak", t, t_),
    ):
        known = ~np.isnan(true)
        got = known & asked & ~np.isnan(ours)
        out[name] = {
            "marked": int((known & asked).sum()),
            "not measured": round(1 - got.sum() / max(1, (known & asked).sum()), 4),
        }
        if (known & ~asked).any() and got.any():
            constant = np.median(true[known & ~asked])
            out[name] |= errors(true[got], ours[got], constant)
    return out


def errors(true, ours, constant):
    """How far measurements and a constant are from the truth, and which way."""
    own, trivial = 1000 * np.abs(ours - true), 1000 * np.abs(constant - true)
    return {
        "median error ms": round(float(np.median(own)), 1),
        "90% within ms": round(float(np.quantile(own, 0.9)), 1),
        "median signed ms": round(1000 * float(np.median(ours - true)), 1),
        "rank correlation": round(float(spearmanr(true, ours).statistic), 3),
        "constant ms": round(1000 * float(constant), 1),
        "constant: median error ms": round(float(np.median(trivial)), 1),
        "constant: 90% within ms": round(float(np.quantile(trivial, 0.9)), 1),
    }


if __name__ == "__main__":
    main()
