"""Recordings: read one, or any folder in WFDB layout.

Two layouts are known by heart. CinC 2017: `RECORDS` (there or in `training/`),
`REFERENCE*.csv`, one level-4 `.mat` a recording, with or without `.hea`. MIT-BIH:
`.dat`, `.hea` and beat annotations in `.atr`. Signals come in millivolts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from ecg_jax.ecg._listing import SUFFIXES, listed
from ecg_jax.ecg._wfdb import Signal, lead_names, read_annotation, read_signal
from ecg_jax.errors import (
    HeaderError,
    LabelError,
    MissingFileError,
    SignalError,
)

RECORDING_LABELS = ("N", "A", "O", "~")
"""Rhythm of a recording: normal, atrial fibrillation, other, too noisy to tell."""

AAMI_CLASSES = ("N", "S", "V", "F", "Q")
"""Class of a beat (ANSI/AAMI EC57): normal, supraventricular, ventricular ectopic,
fusion, unknown or paced."""

AAMI_OF_SYMBOL: Mapping[str, str] = MappingProxyType(
    {
        symbol: aami
        for aami, symbols in {
            "N": "NLRBejn",
            "S": "AaJS",
            "V": "VEr",
            "F": "F",
            "Q": "/fQ?",
        }.items()
        for symbol in symbols
    }
)
"""Class of each symbol that PhysioNet lists as a beat. B, n and r go where WFDB's own
table (ecgmap.h) puts them; a beat of the learning phase (?) is unknown."""

HIGHEST_MV = 1000.0
"""No ECG is beyond it: gain or unit are wrong."""

MITDB_NAMES = frozenset(
    "100 101 102 103 104 105 106 107 108 109 111 112 113 114 115 116 117 118 119 121 "
    "122 123 124 200 201 202 203 205 207 208 209 210 212 213 214 215 217 219 220 221 "
    "222 223 228 230 231 232 233 234".split()
)
MITDB_PACED = frozenset({"102", "104", "107", "217"})

_GOLDBERGER = (
    "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation "
    "101(23), 2000"
)
CHALLENGE_2017_TITLE = "PhysioNet/CinC Challenge 2017"
CHALLENGE_2017_CITATION = (
    "Clifford et al., AF Classification from a Short Single Lead ECG Recording: the "
    "PhysioNet/Computing in Cardiology Challenge 2017, 2017, "
    f"doi:10.22489/CinC.2017.065-469; {_GOLDBERGER}"
)
MITDB_TITLE = "MIT-BIH Arrhythmia Database"
MITDB_CITATION = (
    "Moody & Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE Eng in Med and "
    f"Biol 20(3), 2001; {_GOLDBERGER}"
)


@dataclass(frozen=True, eq=False)
class Recording:
    """One ECG recording.

    Attributes:
        name: Unique in its folder.
        signal: Millivolts; NaN where the recording has no value.
        sample_rate_hz: Samples a second.
        label: One of `RECORDING_LABELS`, or None where nobody has said.
        beat_samples: Positions of annotated beats, in samples.
        beat_labels: AAMI class of each annotated beat.
        beat_kinds: True morphology of each beat (synthetic recordings only).
        leads: Names of the leads; empty where nobody has said.
        others: Names of leads that it has too, but that were not read.
    """

    name: str
    signal: Float32[np.ndarray, "lead time"]
    sample_rate_hz: float
    label: str | None = None
    beat_samples: Int[np.ndarray, " beat"] | None = None
    beat_labels: tuple[str, ...] | None = None
    beat_kinds: tuple[str, ...] | None = None
    leads: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.signal.shape[-1] / self.sample_rate_hz


@runtime_checkable
class Folder(Protocol):
    """What `extract_beats` needs: `RecordingFolder`, `SyntheticFolder`, your own."""

    @property
    def names(self) -> tuple[str, ...]:
        """Recordings that can be read."""
        ...

    @property
    def excluded(self) -> Mapping[str, str]:
        """Recordings left out on opening, with the reason."""
        ...

    @property
    def labels(self) -> Mapping[str, str | None]:
        """Label of each recording, or None."""
        ...

    def read(self, name: str) -> Recording:
        """Read one."""
        ...


@dataclass(frozen=True, eq=False)
class RecordingFolder:
    """The recordings of a folder; each is read when asked for.

    Attributes:
        root: The folder.
        title: What the data set is called.
        citation: What to cite, or "".
        names: Recordings that can be read, in the order of `RECORDS`.
        labels: Label of each, None where nobody has said.
        excluded: Recordings left out on opening, with the reason.
        paths: File name of each, without suffix, relative to `root`.
        leads: Leads to read of each; see `open_folder`.
    """

    root: Path
    title: str
    citation: str
    names: tuple[str, ...]
    labels: Mapping[str, str | None]
    excluded: Mapping[str, str]
    paths: Mapping[str, str] = field(repr=False)
    leads: tuple[str, ...] = ()

    def read(self, name: str) -> Recording:
        """Read one recording.

        Raises:
            RecordingError: It cannot be used; the message names the file.
        """
        if name not in self.paths:
            raise MissingFileError(
                f"{self.root} has no recording {name!r}. Try: one of "
                f"{len(self.names)} names such as {self.names[0]!r}."
            )
        return _read(self.root / self.paths[name], name, self.labels[name], self.leads)

    def leads_of(self, name: str) -> tuple[str, ...]:
        """Names of all leads that a recording has, read or not, by its header.

        Raises:
            RecordingError: It cannot be read.
        """
        return lead_names(self.root / self.paths[name])

    def files(self, name: str) -> tuple[Path, ...]:
        """The files of a recording that are there."""
        stem = self.root / self.paths[name]
        candidates = (stem.with_name(stem.name + s) for s in SUFFIXES)
        return tuple(path for path in candidates if path.is_file())


def open_folder(path: str | Path, *, leads: tuple[str, ...] = ()) -> RecordingFolder:
    """Open a folder in WFDB layout.

    Args:
        path: Holds `RECORDS`, or `training/RECORDS`; without it, the recordings that
            lie in `training/`, or else in the folder itself, are taken. Labels come
            from the newest `REFERENCE*.csv` beside it, beat classes from `.atr` files;
            neither need exist.
        leads: Which to read: all of these, in this order; ("all",) reads every lead;
            none named: one lead, MLII or II where there is one, see `_leads.choose`.

    Returns:
        The folder; no recording has been read yet.

    Raises:
        MissingFileError: There is no such folder.
        EmptyFolderError: It holds no recordings.
    """
    root = Path(path)
    if not root.is_dir():
        raise MissingFileError(
            f"{root} is not a folder. Try: the folder that holds RECORDS, or "
            "`ecg-jax fetch challenge-2017 --out DIR`."
        )
    paths, reference = listed(root), _reference(root)
    labels: dict[str, str | None] = dict.fromkeys(paths)
    excluded: dict[str, str] = {}
    if reference is not None:
        for name, stem in paths.items():
            try:
                labels[name] = _label(reference, name, stem)
            except LabelError as error:
                excluded[name] = str(error)
    title, citation = root.resolve().name, ""
    if all(re.fullmatch(r"A\d{5}", name) for name in paths) and reference is not None:
        title, citation = CHALLENGE_2017_TITLE, CHALLENGE_2017_CITATION
    elif MITDB_NAMES.issuperset(paths):
        title, citation = MITDB_TITLE, MITDB_CITATION
        for name in sorted(MITDB_PACED.intersection(paths)):
            excluded[name] = f"{name}: paced beats; AAMI EC57 leaves it out"
    return RecordingFolder(
        root=root,
        title=title,
        citation=citation,
        names=tuple(name for name in paths if name not in excluded),
        labels=MappingProxyType({n: labels[n] for n in paths if n not in excluded}),
        excluded=MappingProxyType(excluded),
        paths=MappingProxyType({n: p for n, p in paths.items() if n not in excluded}),
        leads=leads,
    )


def read_recording(
    path: str | Path,
    *,
    leads: tuple[str, ...] = (),
    annotator: str = "atr",
) -> Recording:
    """Read one recording by the path of its record, with or without a suffix.

    Args:
        path: Of the record.
        leads: To read, as `open_folder` takes them.
        annotator: Suffix of the annotation file, which need not exist.

    Raises:
        RecordingError: It cannot be used; the message names the file.
    """
    stem = Path(path)
    if stem.suffix in SUFFIXES:
        stem = stem.with_suffix("")
    return _read(stem, stem.name, None, leads, annotator)


@dataclass(frozen=True)
class _Reference:
    path: Path
    rows: Mapping[str, tuple[int, str]]


def _reference(root: Path) -> _Reference | None:
    """The newest of `REFERENCE.csv`, `REFERENCE-v1.csv`, ... and what it says."""

    def version(path: Path) -> tuple[int, str]:
        found = re.search(r"v(\d+)", path.stem)
        return (int(found[1]) if found else -1, path.name)

    above = (root.parent,) if root.name == "training" else ()
    for folder in (root, root / "training", *above):
        files = sorted(folder.glob("REFERENCE*.csv"), key=version)
        if files:
            break
    else:
        return None
    rows: dict[str, tuple[int, str]] = {}
    text = files[-1].read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) >= 2 and cells[0]:
            rows[cells[0]] = (number, cells[1])
            rows.setdefault(cells[0].rsplit("/", 1)[-1], (number, cells[1]))
    return _Reference(files[-1], rows)


def _label(reference: _Reference, name: str, stem: str) -> str:
    """Label of a recording, by its path or its name."""
    for key in (stem, stem.removeprefix("training/"), name, stem.rsplit("/", 1)[-1]):
        if key in reference.rows:
            break
    else:
        raise LabelError(
            f"{reference.path} has no row for {name}. Try: add `{name},N` (or A, O, ~)."
        )
    number, label = reference.rows[key]
    if label not in RECORDING_LABELS:
        raise LabelError(
            f"{reference.path}, line {number}: unknown label {label!r} of {name}. "
            f"Try: one of {', '.join(RECORDING_LABELS)}."
        )
    return label


def _read(
    stem: Path,
    name: str,
    label: str | None,
    leads: tuple[str, ...],
    annotator: str = "atr",
) -> Recording:
    """Read signal and annotations of one recording, and check them."""
    read = read_signal(stem, leads)
    _check(read)
    signal, rate = read.millivolts, read.sample_rate_hz
    samples = classes = None
    annotation = stem.with_name(f"{stem.name}.{annotator}")
    if annotation.is_file():
        found, symbols = read_annotation(annotation, rate)
        if beats := [k for k, symbol in enumerate(symbols) if symbol in AAMI_OF_SYMBOL]:
            samples = found[beats]
            classes = tuple(AAMI_OF_SYMBOL[symbols[k]] for k in beats)
            if not 0 <= samples[0] <= samples[-1] <= signal.shape[1]:
                outside = samples[0] if samples[0] < 0 else samples[-1]
                raise HeaderError(
                    f"{annotation}: a beat at sample {outside}, the signal of "
                    f"{read.file} has {signal.shape[1]}. Try: fetch both again."
                )
    return Recording(
        name,
        signal,
        rate,
        label,
        samples,
        classes,
        leads=read.names,
        others=read.others,
    )


def _check(read: Signal) -> None:
    """Refuse what holds no ECG."""
    signal, names, file = read.millivolts, read.names, read.file
    low = np.fmin.reduce(signal, axis=1, initial=np.nan)
    high = np.fmax.reduce(signal, axis=1, initial=np.nan)
    still, lost = (low == high) | (signal.shape[1] == 0), np.isnan(low)
    bad = {name for name, no in zip(names, still | lost, strict=True) if no}
    other = next((name for name in names + read.others if name not in bad), None)
    cure = f"read another lead, leads=({other!r},), or " if other else ""
    if still.any():
        raise SignalError(
            f"{file}: {names[int(still.argmax())]} is a flat line, no signal. Try: "
            f"{cure}leave the recording out, or check that an electrode was connected."
        )
    if lost.all():
        raise SignalError(
            f"{file}: every sample of {', '.join(names)} is marked as missing. Try: "
            f"{cure}leave the recording out."
        )
    top = np.fmax(-low, high)
    if np.fmax.reduce(top) > HIGHEST_MV:
        raise SignalError(
            f"{file}: {names[int(np.nanargmax(top))]} reaches {np.nanmax(top):,.0f} "
            f"mV, and no ECG is beyond {HIGHEST_MV:,.0f}. Try: correct gain or unit in "
            "the header, or leave the recording out."
        )


__all__ = [
    "AAMI_CLASSES",
    "AAMI_OF_SYMBOL",
    "RECORDING_LABELS",
    "Folder",
    "Recording",
    "RecordingFolder",
    "open_folder",
    "read_recording",
]
