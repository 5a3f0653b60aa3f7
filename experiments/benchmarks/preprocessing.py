"""How long 7,000 recordings take to become beats, cold and from the cache.

    python experiments/benchmarks/preprocessing.py DATA

DATA holds `challenge-2017/` (and `mitdb/`, for the F1 of the R peaks); without it,
synthetic recordings are used. Prints one JSON object.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from ecg_jax.ecg import detect
from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import open_dataset


def timed(function):
    """Seconds and result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def preprocessing(name, data_dir):
    with tempfile.TemporaryDirectory() as cache:

        def run():
            return extract_beats(open_dataset(name, data_dir), cache_dir=cache)

        cold_s, beats = timed(run)
        warm_s, again = timed(run)
        assert np.array_equal(beats.millivolts, again.millivolts)
    table = beats.records
    return {
        "data": name,
        "recordings": len(table),
        "excluded": len(beats.excluded),
        "beats": len(beats),
        "beats_cut": int(table.num_cut.sum()),
        "cold_s": round(cold_s, 2),
        "warm_s": round(warm_s, 2),
        "negative_polarity": round(float((table.polarity < 0).mean()), 3),
        "xqrs_taken": round(float((table.detector == "xqrs").mean()), 3),
    }


def peaks_f1(data_dir):
    """F1 of the R peaks against the annotations of MIT-BIH, at 150 ms."""
    folder = open_dataset("mitdb", data_dir)
    hits = total = 0
    for name in folder.names:
        recording = folder.read(name)
        rate, signal = recording.sample_rate_hz, recording.signal[0]
        sharp = detect.band_pass(signal, rate, detect.SHARP_HZ)
        peaks = detect.detect(signal, sharp, rate).peaks
        hits += len(detect.match(peaks, recording.beat_samples, 0.15 * rate)[0])
        total += len(peaks) + len(recording.beat_samples)
    return round(2 * hits / total, 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    data = parser.parse_args().data
    name = "synthetic" if data is None else "challenge-2017"
    result = preprocessing(name, data)
    if data and (data / "mitdb").is_dir():
        result["mitdb_f1_150_ms"] = peaks_f1(data)
    used = resource.getrusage(resource.RUSAGE_SELF)
    result |= {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
