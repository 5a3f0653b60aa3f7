"""What wfdb reads of a folder of records, and what `read_recording` makes of it."""

import argparse
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from ecg_jax.ecg import _wfdb
from ecg_jax.ecg._leads import MILLIVOLTS
from ecg_jax.ecg.records import AAMI_OF_SYMBOL, read_recording
from ecg_jax.errors import RecordingError

ANNOTATORS = ("atr", "qrs", "wqrs", "sqrs", "gqrsh", "gqrsl", "wabp", "anI")


def compare(stem, wfdb):
    """Kind of result and, in words, why; for one record."""
    try:
        truth = wfdb.rdrecord(str(stem), smooth_frames=False)
    except FileNotFoundError as error:
        return "a file is absent", Path(error.filename).name
    except Exception as error:
        return "wfdb cannot read it", f"{error}; ours: {refusal(stem)}"
    units = [unit or "mV" for unit in getattr(truth, "units", None) or ()]
    names = [name or f"signal {k + 1}" for k, name in enumerate(truth.sig_name)]
    volts = [k for k, unit in enumerate(units) if unit.casefold() in MILLIVOLTS]
    if not volts:
        return "no voltage", refusal(stem)
    equal, told = [], []
    try:
        chosen = read_recording(stem).leads[0]
    except RecordingError as error:
        return "refused", str(error).replace(f"{stem.parent}/", "")
    for k in volts:
        name = names[k]
        try:
            ours = read_recording(stem, leads=(name,))
        except RecordingError as error:
            told.append(f"{name} refused: {str(error).split(': ', 1)[-1]}")
            continue
        if ours.leads != (name,):
            told.append(f"{name} is no lead")
            continue
        scale = MILLIVOLTS[units[k].casefold()]
        theirs = (truth.e_p_signal[k] * scale).astype(np.float32)
        rate = truth.fs * truth.samps_per_frame[k]
        if ours.sample_rate_hz == rate and np.array_equal(
            ours.signal[0], theirs, equal_nan=True
        ):
            equal.append(name)
        else:
            return "different", name
    return "equal", "; ".join([f"{', '.join(equal)} (read: {chosen})", *told])


def refusal(stem):
    """The first sentence of why a record is not read."""
    try:
        read_recording(stem)
    except RecordingError as error:
        return str(error).replace(f"{stem.parent}/", "").split("\n  try:")[0]
    return "read"


def beats(file, wfdb):
    """Beats of an annotation file that are equal, and all; at two rates of a signal."""
    theirs = wfdb.rdann(str(file.with_suffix("")), file.suffix[1:])
    is_beat = np.array([s in AAMI_OF_SYMBOL for s in theirs.symbol], bool)
    equal = []
    for rate in (theirs.fs or 250, 500):
        samples, symbols = _wfdb.read_annotation(file, rate)
        scaled = np.rint(theirs.sample * (rate / theirs.fs if theirs.fs else 1))
        same = [str(a) == str(b) for a, b in zip(symbols, theirs.symbol, strict=True)]
        equal.append(int((is_beat & (samples == scaled) & same).sum()))
    return min(equal), int(is_beat.sum()), theirs.fs


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    import wfdb

    counts = Counter()
    for path in sorted(folder.rglob("*.hea")):
        kind, why = compare(path.with_suffix(""), wfdb)
        counts[kind] += 1
        print(f"| {path.stem} | {kind} | {why} |")
    print(", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    for path in sorted(folder.rglob("*")):
        if path.suffix[1:] in ANNOTATORS:
            equal, total, rate = beats(path, wfdb)
            print(f"| {path.name} | {rate} Hz | {equal} of {total} beats equal |")


if __name__ == "__main__":
    main()
