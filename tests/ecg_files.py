"""Small recordings and folders for the tests of `ecg_jax.ecg`."""

from pathlib import Path

import numpy as np


def ecg(duration_s=10.0, rate=300.0, *, rr_s=0.8, sign=1.0, seed=0):
    """A plain ECG in mV (P, QRS, T, some noise) and its R peaks in samples."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * rate)) / rate
    beats = np.arange(0.5, duration_s - 0.5, rr_s) + rng.uniform(-0.02, 0.02)
    peaks = np.rint(beats * rate).astype(int)
    signal = 0.01 * rng.standard_normal(len(time))
    for centre, height, width in (
        (-0.17, 0.12, 0.02),
        (-0.025, -0.15, 0.008),
        (0.0, 1.1, 0.011),
        (0.03, -0.25, 0.01),
        (0.25, 0.25, 0.04),
    ):
        for peak in peaks / rate:
            signal += (
                sign * height * np.exp(-((time - peak - centre) ** 2) / 2 / width**2)
            )
    return signal, peaks


def mat4(samples, kind=30, name=b"val\0"):
    """Bytes of a level-4 .mat with one row a lead."""
    dtype = {0: "<f8", 30: "<i2"}[kind]
    samples = np.atleast_2d(samples).astype(dtype)
    head = np.array([kind, *samples.shape, 0, len(name)], "<i4").tobytes()
    return head + name + samples.T.tobytes()


def write_mat(folder: Path, name: str, millivolts, *, header=True, rate=300):
    """One recording as CinC 2017 has it."""
    units = np.rint(np.asarray(millivolts) * 1000).astype("<i2")
    file = folder / f"{name}.mat"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(mat4(units))
    if header:
        checksum = int(units.sum(dtype=np.int64).astype(np.int16))
        short = name.rsplit("/", 1)[-1]
        file.with_suffix(".hea").write_text(
            f"{short} 1 {rate} {units.size}\n"
            f"{short}.mat 16+24 1000/mV 16 0 {units[0]} {checksum} 0 ECG\n"
        )
    return file


def write_challenge(folder: Path, labels, *, header=True, duration_s=10.0):
    """A folder in the layout of CinC 2017; `labels` is a string such as "NNAO~"."""
    names = [f"R{i:03d}" for i in range(len(labels))]
    for i, name in enumerate(names):
        signal, _ = ecg(duration_s, rr_s=0.7 + 0.05 * (i % 5), seed=i)
        write_mat(folder / "training", f"A00/{name}", signal, header=header)
    lines = "".join(f"A00/{name}\n" for name in names)
    (folder / "training" / "RECORDS").write_text(lines)
    rows = "".join(f"{n},{x}\n" for n, x in zip(names, labels, strict=True))
    (folder / "REFERENCE-v3.csv").write_text(rows)
    return names


def write_212(file: Path, samples):
    """Two leads in format 212."""
    flat = np.asarray(samples, np.int64).T.ravel() & 0xFFF
    first, second = flat[0::2], flat[1::2]
    triples = np.stack(
        [first & 0xFF, first >> 8 | (second >> 8) << 4, second & 0xFF], axis=1
    )
    file.write_bytes(triples.astype(np.uint8).tobytes())
