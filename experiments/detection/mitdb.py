"""Beats of MIT-BIH found, per recording, and each detector alone beside.

    python experiments/detection/mitdb.py DIR [--out FILE]

DIR holds the recordings (and `.atr`). F1 at 150 and at 50 ms over all annotated beats,
nothing left out. The script runs with older versions of the package too.
"""

import argparse
from pathlib import Path

import numpy as np
from known import TOLERANCE_S, detectors, f1, write

from ecg_jax.ecg import detect
from ecg_jax.ecg.records import open_folder

TOLERANCES_S = {"150 ms": 0.15, "50 ms": TOLERANCE_S}


def rows(folder):
    """One row a recording, then one for all."""
    names = [f"{key} {at}" for key in detectors() for at in TOLERANCES_S]
    total = {name: np.zeros(3, int) for name in names}
    for name in folder.names:
        recording = folder.read(name)
        rate_hz, truth = recording.sample_rate_hz, recording.beat_samples
        row = {"record": name, "beats": len(truth)}
        for key, find in detectors().items():
            found = find(recording.signal[0], rate_hz)
            for at, seconds in TOLERANCES_S.items():
                matched = len(detect.match(found, truth, seconds * rate_hz)[0])
                count = np.array([matched, len(found), len(truth)])
                total[f"{key} {at}"] += count
                row[f"{key} {at}"] = f1(count)
        yield row
    beats = int(next(iter(total.values()))[2])
    yield {"record": "all", "beats": beats} | {k: f1(v) for k, v in total.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results/mitdb.csv")
    options = parser.parse_args()
    write(rows(open_folder(options.folder)), options.out)


if __name__ == "__main__":
    main()
