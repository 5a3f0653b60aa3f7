"""Beats found in signals whose beats are known, at many rates and heart rates.

    python experiments/detection/known.py [--seeds 3] [--out FOLDER]

Three CSV files: F1 at 50 ms by sampling rate, heart rate and disturbance for each
detector alone and for the package's choice; beats in flat parts; seconds against
length. FOLDER is `experiments/detection/results` where none is given.
"""

import argparse
import csv
import time
import warnings
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from ecg_jax.ecg import detect
from ecg_jax.ecg.synth import synthesize

RATES_HZ = (80, 100, 125, 128, 200, 250, 257, 300, 360, 500, 1000)
HEART_RATES_BPM = (40, 60, 90, 120, 150, 180, 220)
WAVES = (  # seconds after R, width in seconds, mV
    (-0.16, 0.020, 0.12),
    (-0.025, 0.008, -0.1),
    (0.0, 0.011, 1.0),
    (0.03, 0.010, -0.25),
    (0.28, 0.045, 0.25),
)
TOLERANCE_S = 0.05


def train(rate_hz, bpm, seed, seconds=60.0, narrow=1.0, sign=1):
    """Sinus rhythm without noise, in mV, and its R peaks in samples.

    T moves with the square root of RR; RR varies by 3%.
    """
    rng = np.random.default_rng(seed)
    rr = 60 / bpm * (1 + 0.03 * rng.standard_normal(int(seconds * bpm / 60) + 9))
    r = 0.5 * rr[0] + np.cumsum(rr) - rr[0]
    r = r[r < seconds - 0.2]
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    signal = np.zeros(len(time_s))
    stretch = min(1.0, np.sqrt(60 / bpm))
    for centre, width, height in WAVES:
        late = centre > 0.1
        centre, width = (x * (stretch if late else 1) for x in (centre, width))
        width *= 1 if late else narrow
        for peak in r + centre:
            here = slice(*np.searchsorted(time_s, (peak - 6 * width, peak + 6 * width)))
            away = (time_s[here] - peak) / width
            signal[here] += height * np.exp(-0.5 * away**2)
    return sign * signal, np.rint(r * rate_hz).astype(np.int64)


def clean(signal, rate_hz, rng):
    """5 uV of noise and as fine a resolution."""
    noisy = signal + 0.005 * rng.standard_normal(len(signal))
    return np.round(noisy / 0.005) * 0.005


def wander(signal, rate_hz, rng):
    """.5 mV of baseline at breathing rate."""
    time_s = np.arange(len(signal)) / rate_hz
    slow = 0.5 * np.sin(2 * np.pi * 0.3 * time_s + rng.uniform(0, 6))
    return clean(signal, rate_hz, rng) + slow


def noise(signal, rate_hz, rng, ratio_db=10.0):
    """White noise below 40 Hz at a ratio of powers."""
    white = detect.band_pass(rng.standard_normal(len(signal)), rate_hz, 0.5, 39.0)
    power = signal.var() / 10 ** (ratio_db / 10)
    return signal + white * np.sqrt(power / white.var())


def spikes(signal, rate_hz, rng):
    """Every 7 s or so a single sample of 3 mV."""
    out = clean(signal, rate_hz, rng)
    at = rng.integers(0, len(out), max(1, round(len(out) / rate_hz / 7)))
    out[at] += 3 * rng.choice([-1, 1], len(at))
    return out


def paced(signal, rate_hz, rng, peaks):
    """A pacemaker's 2 mV for 2 ms, .16 s before each R, as a sample averages it."""
    out, width = clean(signal, rate_hz, rng), 0.002 * rate_hz
    for k in range(ceil(width)):
        at = np.maximum(peaks - round(0.16 * rate_hz), 0) + k
        out[at] += 2 * min(1.0, width - k)
    return out


def drop(signal, rate_hz, rng):
    """A fifth as large from the middle on."""
    gain = np.where(np.arange(len(signal)) < len(signal) / 2, 1.0, 0.2)
    return clean(signal * gain, rate_hz, rng)


FLAT = {  # what a lead that is off shows, for t seconds since it fell
    "zero": lambda t, rng: np.zeros(len(t)),
    "rail": lambda t, rng: np.full(len(t), 5.0),
    "last value": lambda t, rng: np.full(len(t), np.nan),
    "slow drift": lambda t, rng: 5 - 4 * np.exp(-t / 8),
    "last bit": lambda t, rng: 0.005 * rng.integers(-1, 2, len(t)),
    "2 uV of noise": lambda t, rng: 0.002 * rng.standard_normal(len(t)),
    "jolts": lambda t, rng: np.where(t % 7 > 6.9, 1.0, 0.0),
    "rail with last bit": lambda t, rng: 5 + 0.005 * rng.integers(0, 2, len(t)),
    "toggling": lambda t, rng: 10 * rng.integers(0, 2, 6000)[(5 * t).astype(int)] - 5,
}
PLACES = {  # seconds of ECG before, of a lead off, of ECG after
    "first": (0, 60, 60),
    "middle": (30, 60, 30),
    "last": (60, 60, 0),
    "5 s": (30, 5, 30),
    "most": (20, 600, 20),
    "all": (0, 60, 0),
}


def lead_off(name, place, rate_hz, bpm, seed):
    """A signal with a flat part, its beats, and where the part begins and ends."""
    rng = np.random.default_rng(seed)
    before_s, off_s, after_s = PLACES[place]
    whole, peaks = train(rate_hz, bpm, seed, before_s + off_s + after_s)
    signal = clean(whole, rate_hz, rng)
    start, stop = (round(s * rate_hz) for s in (before_s, before_s + off_s))
    flat = FLAT[name](np.arange(stop - start) / rate_hz, rng)
    signal[start:stop] = np.where(np.isnan(flat), signal[start - 1], flat)
    return signal, peaks[(peaks < start) | (peaks >= stop)], start, stop


def detectors():
    """Functions of signal and rate that find beats, by name."""
    from ecg_jax.ecg.xqrs import xqrs

    def snapped(find, signal, rate_hz):
        sharp = detect.band_pass(signal, rate_hz, detect.SHARP_HZ)
        radius = round(0.06 * rate_hz)
        peaks = find(signal, rate_hz)
        sign, _ = detect.polarity(sharp, peaks, radius)
        peaks = detect.snap(sharp, peaks, radius, sign)
        return detect.drop_close(peaks, sharp, detect.MIN_RR_S * rate_hz)

    def ours(signal, rate_hz):
        sharp = detect.band_pass(signal, rate_hz, detect.SHARP_HZ)
        return detect.detect(signal, sharp, rate_hz).peaks

    return {
        "sleepecg": partial(snapped, detect.sleepecg_peaks),
        "xqrs": partial(snapped, xqrs),
        "ours": ours,
    }


def counts(found, truth, rate_hz):
    """Matched, found and true beats."""
    return np.array(
        [
            len(detect.match(found, truth, TOLERANCE_S * rate_hz)[0]),
            len(found),
            len(truth),
        ]
    )


def f1(total):
    """`2 matched / (found + true)`, 4 digits."""
    return round(2 * total[0] / max(1, total[1] + total[2]), 4)


def disturbed(kind, rate_hz, bpm, seed):
    """A known signal and its beats."""
    rng = np.random.default_rng(1000 + seed)
    narrow = 0.5 if kind == "narrow" else 1.0
    sign = -1 if kind == "inverted" else 1
    signal, peaks = train(rate_hz, bpm, seed, narrow=narrow, sign=sign)
    if kind == "paced":
        return paced(signal, rate_hz, rng, peaks), peaks
    if kind.endswith("dB"):
        return noise(signal, rate_hz, rng, float(kind.split()[0])), peaks
    change = {"wander": wander, "spikes": spikes, "drop": drop}.get(kind, clean)
    return change(signal, rate_hz, rng), peaks


KINDS = ("clean", "inverted", "narrow", "wander", "10 dB", "5 dB", "0 dB", "spikes")
KINDS += ("paced", "drop")
SYNTHETIC = ("normal", "af", "pvc", "lbbb", "noise")


def f1_rows(seeds):
    """F1 of trains of Gaussian waves, and of the package's synthetic recordings."""
    for rate_hz in RATES_HZ:
        for kind in KINDS:
            for bpm in HEART_RATES_BPM:
                totals = {name: np.zeros(3, int) for name in detectors()}
                for seed in range(seeds):
                    signal, truth = disturbed(kind, rate_hz, bpm, seed)
                    for name, find in detectors().items():
                        totals[name] += counts(find(signal, rate_hz), truth, rate_hz)
                scores = {name: f1(total) for name, total in totals.items()}
                yield {"kind": kind, "rate_hz": rate_hz, "bpm": bpm} | scores
        for kind in SYNTHETIC:
            data = synthesize(
                0, 5 * seeds, sample_rate_hz=rate_hz, mixture=(kind,), duration_s=60
            )
            totals = {name: np.zeros(3, int) for name in detectors()}
            for signal, r in zip(data.signal, data.r, strict=True):
                for name, find in detectors().items():
                    totals[name] += counts(find(signal, rate_hz), r[r >= 0], rate_hz)
            scores = {name: f1(total) for name, total in totals.items()}
            yield {"kind": f"ECGSYN {kind}", "rate_hz": rate_hz, "bpm": ""} | scores


def flat_rows(seeds):
    """Beats in flat parts (.1 s at each end left out) and F1 of the whole."""
    for name in FLAT:
        for place in PLACES:
            if name == "last value" and place in ("first", "all"):
                continue
            inside = dict.fromkeys(detectors(), 0)
            totals = {key: np.zeros(3, int) for key in detectors()}
            for rate_hz in (100, 250, 360, 1000):
                for seed in range(seeds):
                    signal, truth, start, stop = lead_off(
                        name, place, rate_hz, 50 + 30 * seed, seed
                    )
                    edge = round(0.1 * rate_hz)
                    for key, find in detectors().items():
                        found = find(signal, rate_hz)
                        off = (found >= start + edge) & (found < stop - edge)
                        inside[key] += int(off.sum())
                        totals[key] += counts(found, truth, rate_hz)
            row = {"lead": name, "place": place}
            for key in inside:
                row |= {f"{key} in flat": inside[key], f"{key} F1": f1(totals[key])}
            yield row


def long_signal(name, num):
    """Samples at 250 Hz, and what comes before them."""
    rng = np.random.default_rng(0)
    if name == "ECG":
        return clean(train(250, 70, 0, num / 250)[0], 250, rng)
    before = 20 * clean(train(250, 70, 0, 20)[0], 250, rng)
    after = {"noise": 1.0, "quiet": 1e-3, "flat": 0.0}[name.split()[-1]]
    after = after * rng.standard_normal(num)
    return np.concatenate([before, after]) if "then" in name else after


def xqrs_of_wfdb(signal, rate_hz):
    """As `wfdb.processing.xqrs_detect` finds them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wfdb.processing import xqrs_detect

        return xqrs_detect(np.asarray(signal, float), rate_hz, verbose=False)


def time_rows():
    """CPU seconds against length, 250 Hz; xqrs of wfdb for the shortest only."""
    for name in ("ECG", "noise", "flat", "ECG then quiet", "ECG then flat"):
        for minutes in (10, 30, 90):
            signal = long_signal(name, minutes * 60 * 250)
            row = {"signal": name, "minutes": minutes}
            finders = detectors() | {"xqrs of wfdb": xqrs_of_wfdb}
            for key, find in finders.items():
                if find is xqrs_of_wfdb and minutes > 10:
                    row[key] = ""
                    continue
                find(signal[:5000], 250.0)
                started = time.process_time()
                find(signal, 250.0)
                row[key] = round(time.process_time() - started, 2)
            yield row


def write(rows, file):
    """Rows as they come, to a file and the screen."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = None
        for row in rows:
            writer = writer or csv.DictWriter(out, row)
            if out.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
            out.flush()
            print(*row.values(), sep=",", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results", metavar="FOLDER"
    )
    options = parser.parse_args()
    write(flat_rows(options.seeds), options.out / "flat.csv")
    write(f1_rows(options.seeds), options.out / "f1.csv")
    write(time_rows(), options.out / "time.csv")


if __name__ == "__main__":
    main()
