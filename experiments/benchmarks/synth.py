"""How many synthetic 30-second recordings a second, and against a numpy loop.

    python experiments/benchmarks/synth.py [--num 2000]

The loop evaluates the same sum of Gaussians, leak, f-waves and noise one recording at
a time, as a direct translation of the model into numpy would (parameters given).
"""

import argparse
import json
import os
import platform
import time
from importlib.metadata import version

import jax
import numpy as np

from ecg_jax.ecg.synth import SyntheticFolder, synthesize


def numpy_recording(rng: np.random.Generator, waves: np.ndarray, hz: float) -> float:
    """One recording from a [beat, wave, (centre, width, height)] table."""
    time_s = np.arange(round(30 * hz), dtype=np.float32) / np.float32(hz)
    total = np.zeros_like(time_s)
    for beat in waves:
        low, high = beat[:, 0].min() - 0.3, beat[:, 0].max() + 0.4
        here = slice(max(0, round(low * hz)), max(0, round(high * hz)))
        for centre, width, height in beat:
            away = (time_s[here] - centre) / width
            total[here] += height * np.exp(-0.5 * away * away)
    from scipy.signal import lfilter

    q = np.exp(-1 / hz)
    total = total - lfilter([1 - q], [1, -q], total)
    for frequency in rng.uniform(0.04, 0.5, 4):
        total = total + 0.05 * np.sin(2 * np.pi * frequency * time_s)
    for harmonic in (1, 2, 3):
        total = total + 0.05 / harmonic * np.sin(2 * np.pi * 6 * harmonic * time_s)
    total = total + 0.01 * rng.standard_normal(len(time_s))
    return float(total[0])


def fastest(call, repeats: int = 3) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(x.split(":")[1].strip() for x in file if "model name" in x)
    except (OSError, StopIteration):
        return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=2000)
    num = parser.parse_args().num
    start = time.perf_counter()
    synthesize(0, 1)
    compile_s = time.perf_counter() - start
    ours = num / fastest(lambda: synthesize(0, num))
    folder = SyntheticFolder()
    folder_s = fastest(lambda: [folder.read(name) for name in folder.names], 1)
    rng = np.random.default_rng(0)
    table = np.empty((37, 9, 3), np.float32)
    table[:, :, 0] = 0.8 * np.arange(37)[:, None] + np.linspace(-0.16, 0.29, 9)
    table[:, :, 1:] = 0.03, 0.2
    loop = 100 / fastest(lambda: [numpy_recording(rng, table, 300) for _ in range(100)])
    print(
        json.dumps(
            {
                "recordings_per_s": round(ours),
                "numpy_loop_recordings_per_s": round(loop),
                "ratio": round(ours / loop, 2),
                "first_call_s": round(compile_s, 2),
                "default_folder_300_recordings_s": round(folder_s, 2),
                "ecg_jax": version("ecg_jax"),
                "jax": jax.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
                "device": jax.devices()[0].device_kind,
                "cpu": cpu_name(),
                "cores": len(os.sched_getaffinity(0)),
                "load": os.getloadavg()[0],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
