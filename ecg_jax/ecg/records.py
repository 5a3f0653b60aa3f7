"""Recordings: read one, or any folder in WFDB layout.

Some layouts are known by heart. CinC 2017: `RECORDS` (there or in `training/`),
`REFERENCE*.csv`, one level-4 `.mat` a recording, with or without `.hea`. MIT-BIH:
`.dat`, `.hea` and beat annotations in `.atr`. PTB-XL: `records500/`, `records100/` and
`ptbxl_database.csv`. The 2020 and 2021 Challenges: folders in folders, `#Dx:` lines in
the headers. CPSC 2018: MATLAB 5 files and `REFERENCE.csv`. LUDB: an annotation file for
each lead, see `borders`. Signals come in millivolts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from ecg_jax.ecg._listing import SUFFIXES, listed
from ecg_jax.ecg._wfdb import Signal, lead_names, read_annotation, read_signal
from ecg_jax.ecg.known import MITDB, MITDB_PACED, known
from ecg_jax.ecg.labels import Told, read_labels
from ecg_jax.errors import HeaderError, MissingFileError, SignalError

RECORDING_LABELS = ("N", "A", "O", "~")
"""Rhythm of a recording in CinC 2017: normal, atrial fibrillation, other, too noisy to
tell."""

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


@dataclass(frozen=True, eq=False)
class Recording:
    """One ECG recording.

    Attributes:
        name: Unique in its folder.
        signal: Millivolts; NaN where the recording has no value.
        sample_rate_hz: Samples a second.
        label: By the name that the data set gives it; None where nobody has said.
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
        sides: Side of each in a split that the data set gives; empty without one.
    """

    root: Path
    title: str
    citation: str
    names: tuple[str, ...]
    labels: Mapping[str, str | None]
    excluded: Mapping[str, str]
    paths: Mapping[str, str] = field(repr=False)
    leads: tuple[str, ...] = ()
    sides: Mapping[str, str] = field(default_factory=dict)

    def read(self, name: str) -> Recording:
        """Read one recording.

        Raises:
            RecordingError: It cannot be used; the message names the file.
        """
        if name not in self.paths:
            raise MissingFileError(
                f"{self.root} has no recording {name!r}.\n"
                f"  try: one of {len(self.names)} names such as {self.names[0]!r}"
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


def open_folder(
    path: str | Path,
    *,
    leads: tuple[str, ...] = (),
    labels: Told | None = None,
) -> RecordingFolder:
    """Open a folder in WFDB layout.

    Args:
        path: Holds `RECORDS`, or `training/RECORDS`; without it, the recordings that
            lie in `training/`, or else in the folder itself, are taken, or else those
            in folders below. Of PTB-XL those in `records500/` where they are there;
            `records100/` may be opened by itself. Beat classes come from `.atr` files.
        leads: Which to read: all of these, in this order; ("all",) reads every lead;
            none named: one lead, MLII or II where there is one, see `_leads.choose`.
        labels: Of recordings: the path of a table, labels by recording, or one for
            each. Default: what the folder says; see `labels`.

    Returns:
        The folder; no recording has been read yet.

    Raises:
        MissingFileError: There is no such folder, or table.
        EmptyFolderError: It holds no recordings.
        DataError: The table has other columns, or is of other recordings.
    """
    root = Path(path)
    if not root.is_dir():
        raise MissingFileError(
            f"{root} is not a folder.\n"
            "  try: the folder that holds RECORDS, or `ecg-jax fetch challenge-2017 "
            "--out DIR`"
        )
    paths = listed(root)
    found = read_labels(root, paths, labels)
    excluded = dict(found.excluded)
    title, citation = known(root, paths, paths.values(), found.source)
    if (title, citation) == MITDB:
        for name in sorted(MITDB_PACED.intersection(paths)):
            excluded[name] = f"{name}: paced beats; AAMI EC57 leaves it out"
    names = tuple(name for name in paths if name not in excluded)
    return RecordingFolder(
        root=root,
        title=title,
        citation=citation,
        names=names,
        labels=MappingProxyType({name: found.labels[name] for name in names}),
        excluded=MappingProxyType(excluded),
        paths=MappingProxyType({name: paths[name] for name in names}),
        leads=leads,
        sides=MappingProxyType(dict(found.sides)),
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
                    f"{read.file} has {signal.shape[1]}.\n"
                    "  try: fetch both again"
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
            f"{file}: {names[int(still.argmax())]} is a flat line, no signal.\n"
            f"  try: {cure}leave the recording out, or check that an electrode was "
            "connected"
        )
    if lost.all():
        raise SignalError(
            f"{file}: every sample of {', '.join(names)} is marked as missing.\n"
            f"  try: {cure}leave the recording out"
        )
    top = np.fmax(-low, high)
    if np.fmax.reduce(top) > HIGHEST_MV:
        raise SignalError(
            f"{file}: {names[int(np.nanargmax(top))]} reaches {np.nanmax(top):,.0f} "
            f"mV, and no ECG is beyond {HIGHEST_MV:,.0f}.\n"
            "  try: correct gain or unit in the header, or leave the recording out"
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
