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


TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
SEEN_FROM = {
    "I": (0.9, 0.0),
    "II": (1.0, 0.6),
    "III": (0.1, 0.6),
    "aVR": (-0.95, -0.3),
    "aVL": (0.4, -0.3),
    "aVF": (0.55, 0.6),
    "V1": (-0.5, 0.3),
    "V2": (-0.3, 0.9),
    "V3": (0.3, 0.9),
    "V4": (1.0, 0.8),
    "V5": (1.1, 0.6),
    "V6": (0.9, 0.4),
}
"""What each lead sees of the QRS and of the P and T waves."""


def leads_of(names, duration_s=10.0, rate=250.0, *, rr_s=0.8, t=1.0, seed=0):
    """Leads `[lead, time]` in mV of one heart, and its R peaks in samples.

    Args:
        names: Of the leads, of `SEEN_FROM`, `MLII` or others, which see what II does.
        duration_s: Length.
        rate: Samples a second.
        rr_s: Between beats.
        t: How high P and T are.
        seed: Of noise and of the place of the first beat.
    """
    whole, peaks = ecg(duration_s, rate, rr_s=rr_s, seed=seed)
    near = np.zeros(len(whole))
    for peak in peaks:
        near[max(peak - round(0.06 * rate), 0) : peak + round(0.08 * rate)] = 1
    qrs, waves = whole * near, whole * (1 - near)
    rng = np.random.default_rng(seed + 1000)
    rows = []
    for name in names:
        seen, slow = SEEN_FROM.get(name, SEEN_FROM["II"])
        noise = 0.01 * rng.standard_normal(len(whole))
        rows.append(seen * qrs + 2 * t * slow * waves + noise)
    return np.stack(rows), peaks


def write_wfdb(
    folder: Path, name: str, millivolts, leads, *, rate=250, gain=1000, num=None
):
    """One recording of several leads in format 16, at `gain` units a mV."""
    folder.mkdir(parents=True, exist_ok=True)
    units = np.rint(np.asarray(millivolts) * 1000).astype("<i2")
    (folder / f"{name}.dat").write_bytes(units.T.tobytes())
    sums = (units.sum(axis=1, dtype=np.int64) & 0xFFFF).tolist()
    lines = [
        f"{name}.dat 16 {gain}/mV 16 0 {row[0]} {total} 0 {lead}"
        for row, total, lead in zip(units, sums, leads, strict=True)
    ]
    head = f"{name} {len(lines)} {rate} {num or units.shape[1]}"
    (folder / f"{name}.hea").write_text("\n".join([head, *lines]) + "\n")


def write_leads(folder: Path, leads_by_name, *, rate=250, duration_s=10.0):
    """A folder of recordings with these leads: T upright in "N", inverted in "O"."""
    labels = []
    for k, (name, leads) in enumerate(leads_by_name.items()):
        label = "NO"[k % 2]
        made = {"rr_s": 0.7 + 0.03 * (k % 5), "t": 1.0 if label == "N" else -1.0}
        signal, _ = leads_of(leads, duration_s, rate, **made, seed=k)
        write_wfdb(folder, name, signal, leads, rate=rate)
        labels.append(f"{name},{label}")
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in leads_by_name))
    (folder / "REFERENCE.csv").write_text("\n".join(labels) + "\n")
