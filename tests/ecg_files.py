"""Small recordings and folders for the tests of `ecg_jax.ecg`."""

import warnings
from pathlib import Path

import numpy as np

from ecg_jax.ecg._header import library

TWELVE = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
OF_LEAD_II = (0.6, 1, 0.4, -0.8, 0.3, 0.7, -0.4, 0.2, 0.7, 1.1, 1.2, 0.9)
"""What share of lead II another lead shows here."""


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


SEEN_FROM = {
    "I": (0.9, 0.0),
    "II": (1.0, 0.6),
    "III": (0.1, 0.6),
    "AVR": (-0.95, -0.3),
    "AVL": (0.4, -0.3),
    "AVF": (0.55, 0.6),
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


def twelve(millivolts):
    """Twelve leads that are multiples of one."""
    return np.outer(OF_LEAD_II, millivolts)


def write_twelve(folder: Path, name, millivolts, *, rate, comments=(), mat=False):
    """Twelve leads in 16 bits: a .dat, or a .mat as the Challenges have it."""
    units = np.rint(np.asarray(millivolts) * 1000).astype("<i2")
    folder.mkdir(parents=True, exist_ok=True)
    file, form = (f"{name}.mat", "16+24") if mat else (f"{name}.dat", "16")
    (folder / file).write_bytes(mat4(units) if mat else units.T.tobytes())
    lines = [f"{name} {len(units)} {rate} {units.shape[1]}"]
    for lead, row in zip(TWELVE, units, strict=True):
        checksum = int(row.sum(dtype=np.int64).astype(np.int16))
        lines.append(f"{file} {form} 1000/mV 16 0 {row[0]} {checksum} 0 {lead}")
    lines += [f"#{comment}" for comment in comments]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class
NORM,normal ECG,1.0,,,NORM
IMI,inferior infarction,1.0,,,MI
LAFB,left anterior fascicular block,1.0,,,CD
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC
LVH,left ventricular hypertrophy,1.0,,,HYP
PVC,ventricular premature complex,,1.0,,
SR,sinus rhythm,,,1.0,
"""


def write_ptb_xl(root: Path, codes, *, rates=(100, 500), signals=None):
    """The layout of PTB-XL: folds 1 to 10 in turn; `codes` as text, one a recording."""
    folders = {100: ("records100", "lr"), 500: ("records500", "hr")}
    rows = ["ecg_id,patient_id,report,scp_codes,strat_fold,filename_lr,filename_hr"]
    listed = []
    for i, text in enumerate(codes):
        paths = {}
        for rate, (folder, suffix) in folders.items():
            path = paths[rate] = f"{folder}/00000/{i + 1:05d}_{suffix}"
            if rate in rates:
                signal = ecg(10.0, rate, seed=i)[0] if signals is None else signals[i]
                name = path.rsplit("/", 1)[-1]
                write_twelve(root / folder / "00000", name, twelve(signal), rate=rate)
                listed.append(path)
        said = f'"sinus, {i}","{text}",{i % 10 + 1}'
        rows.append(f"{i + 1},{i}.0,{said},{paths[100]},{paths[500]}")
    (root / "RECORDS").write_text("\n".join(sorted(listed)) + "\n")
    (root / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    (root / "scp_statements.csv").write_text(STATEMENTS)


def write_challenge_2021(root: Path, lines):
    """Parts in parts, each with RECORDS; `lines` are what stands behind "#"."""
    parts = [f"training/p{i % 2}/g1" for i in range(len(lines))]
    for i, (part, line) in enumerate(zip(parts, lines, strict=True)):
        signal = twelve(ecg(10.0, 500, seed=i)[0])
        comments = ["Age: 60", *([] if line is None else [line])]
        name = f"J{i:04d}"
        write_twelve(root / part, name, signal, rate=500, comments=comments, mat=True)
        with (root / part / "RECORDS").open("a") as file:
            file.write(f"{name}\n")
    listed = "".join(f"{part}/\n" for part in dict.fromkeys(parts))
    (root / "RECORDS").write_text(listed)


def write_cpsc(root: Path, labels):
    """CPSC 2018: MATLAB 5 files without headers; `labels` are up to three numbers."""
    from scipy.io import savemat

    root.mkdir(parents=True, exist_ok=True)
    rows = ["Recording,First_label,Second_label,Third_label"]
    for i, numbers in enumerate(labels):
        name, signal = f"A{i + 1:04d}", twelve(ecg(10.0, 500, seed=i)[0])
        savemat(
            root / f"{name}.mat", {"ECG": {"sex": "Male", "age": 60, "data": signal}}
        )
        rows.append(",".join([name, *map(str, numbers), *[""] * (3 - len(numbers))]))
    (root / "REFERENCE.csv").write_text("\n".join(rows) + "\n")


def write_ludb(root: Path, num=2):
    """LUDB: borders of P, QRS and T in a file a lead; gives the R peaks in samples."""
    peaks_of = []
    for i in range(num):
        signal, peaks = ecg(10.0, 500, seed=i)
        write_twelve(root / "data", str(i + 1), twelve(signal), rate=500)
        marks = []
        for peak in peaks:
            for symbol, centre, half in (("p", -85, 25), ("N", 0, 25), ("t", 125, 60)):
                marks += [(peak + centre - half, "("), (peak + centre, symbol)]
                marks.append((peak + centre + half, ")"))
        at, symbols = zip(*marks, strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about how wfdb uses it
            where = {"fs": 500, "write_dir": str(root / "data")}
            library().wrann(str(i + 1), "ii", np.array(at), list(symbols), **where)
        marked = (root / "data" / f"{i + 1}.ii").read_bytes()
        for lead in TWELVE:
            (root / "data" / f"{i + 1}.{lead.lower()}").write_bytes(marked)
        peaks_of.append(peaks)
    (root / "RECORDS").write_text("".join(f"data/{i + 1}\n" for i in range(num)))
    return peaks_of
