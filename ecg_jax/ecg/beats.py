"""Beats: windows around R peaks, with their labels and intervals.

Cut from recordings here, or given as arrays (`ecg_jax.ecg.own_beats`). Amplitudes stay
in millivolts and upright or inverted as recorded; `Beats.inputs` gives what a network
sees. The *recording* is the unit of splitting and resampling.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from ecg_jax.ecg._leads import ALL
from ecg_jax.ecg.classes import NORMAL, classes_of, in_words, need_examples
from ecg_jax.ecg.cut import ANNOTATED, BeatConfig, Window, cut
from ecg_jax.ecg.datasets import split_recordings
from ecg_jax.ecg.lead_choice import read_as, settled
from ecg_jax.ecg.records import AAMI_CLASSES, Folder, Recording
from ecg_jax.errors import DataError, RecordingError, SignalError

CHUNK = 100
"""Recordings that are cut, and kept after a kill, together."""

SMALLEST_MV = 1e-3
"""No signal is divided by a spread below this."""

GIVEN = "given"
"""The side of beats that nobody has split into training and held-out ones."""

UNITS = {
    "record": "standard deviation of the recording",
    "beat": "standard deviation of the beat",
    "none": "mV",
}
MOST_SHOWN = 5


@dataclass(frozen=True, eq=False)
class RecordTable:
    """One row a recording that gave beats.

    Attributes:
        name: Of the recording.
        label: Of the recording, "" where nobody has said.
        split: "train", "validation" or "heldout"; "given" where nobody has split.
        duration_s: Length.
        bsqi: Agreement of two detectors, 0 to 1; NaN with one only. Of several leads
            that of the best, whose R peaks are those of all: `r_lead`.
        detector: Whose peaks were taken.
        polarity: -1 where most QRS complexes of that lead point down, else 1.
        polarity_confidence: Share of beats that point that way.
        rate_bpm: 60 over the median RR interval; NaN with one beat.
        scale_mv: Median over the beats of the standard deviation in the window.
        num_beats: Beats kept.
        num_cut: Beats left out because their window leaves the recording, or holds a
            missing sample.
        num_unmatched: Peaks that no annotation is near, where there are annotations:
            left out if these have labels, else kept.
        num_annotated: Annotated beats by class: a column for each of `cut.ANNOTATED`.
        num_without: Those of them that got no window: missed, or at an end.
        leads: Names of the leads that were read, with tabs between; "" where nobody
            has said.
        others: Names of the leads that were left out, likewise.
        r_lead: Index of the lead whose R peaks were taken.
    """

    name: np.ndarray
    label: np.ndarray
    split: np.ndarray
    duration_s: Float32[np.ndarray, " record"]
    bsqi: Float32[np.ndarray, " record"]
    detector: np.ndarray
    polarity: Int[np.ndarray, " record"]
    polarity_confidence: Float32[np.ndarray, " record"]
    rate_bpm: Float32[np.ndarray, " record"]
    scale_mv: Float32[np.ndarray, "record lead"]
    num_beats: Int32[np.ndarray, " record"]
    num_cut: Int32[np.ndarray, " record"]
    num_unmatched: Int32[np.ndarray, " record"]
    num_annotated: Int32[np.ndarray, "record class"]
    num_without: Int32[np.ndarray, "record class"]
    leads: np.ndarray
    others: np.ndarray
    r_lead: Int[np.ndarray, " record"]

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True, eq=False, repr=False)
class Beats:
    """The beats of a data set, recording by recording, in order of time.

    Attributes:
        config: How they were cut out; a `Window` where they were given as they are.
        millivolts: Band-passed where they were cut out, never inverted; a memory map
            when it comes from a cache.
        record: Row of `records` that each beat is from.
        r_time_s: Time of the R peak in its recording; NaN where unknown.
        rr_before_s: To the R peak before, NaN at the first.
        rr_after_s: To the R peak after, NaN at the last.
        label: AAMI class where the beat is annotated, else the recording's label,
            else ""; of given beats the name that it was given.
        kind: True morphology of synthetic beats ("" where no annotation is near);
            None for recordings of people.
        records: The recordings.
        excluded: Recordings that gave no beats: name and reason.
        leads: Names of the leads; empty where nobody has said, or where recordings
            differ (see `records.leads`).
        given: The beats as a function sees them, where they were given as an array;
            None where they were cut out.
        classes: The class of a label, such as {"NORM": "N"}, where it is not called as
            the label itself; labels of class "N" are normal.
        is_r_detected: Whether R was looked for in windows that were given.
        is_recorded: Whether it is known which beats are of one recording.
    """

    config: Window
    millivolts: Float32[np.ndarray, "beat lead time"]
    record: Int32[np.ndarray, " beat"]
    r_time_s: Float32[np.ndarray, " beat"]
    rr_before_s: Float32[np.ndarray, " beat"]
    rr_after_s: Float32[np.ndarray, " beat"]
    label: np.ndarray
    kind: np.ndarray | None
    records: RecordTable
    excluded: tuple[tuple[str, str], ...] = ()
    leads: tuple[str, ...] = ()
    given: Float[np.ndarray, "beat ..."] | None = None
    classes: dict[str, str] = field(default_factory=dict)
    is_r_detected: bool = False
    is_recorded: bool = True

    def __len__(self) -> int:
        return len(self.record)

    def __repr__(self) -> str:
        of = f" of {len(self.records):,} recordings" if self.is_recorded else ""
        sides = Counter(self.records.split[self.record].tolist())
        split = ", ".join(f"{name} {count:,}" for name, count in sides.items())
        lines = (
            f"Beats: {len(self):,}{of}, {self.window_words}",
            f"  labels: {self.label_words}",
            f"  split: {'none, ' if not self.is_split else ''}{split}",
        )
        return "\n".join(lines)

    @property
    def label_counts(self) -> Counter[str]:
        """How many beats have each label."""
        return Counter(self.label[self.is_labelled].tolist())

    @property
    def label_words(self) -> str:
        """The labels with their counts, and which of them are normal."""
        counts = self.label_counts
        if not counts:
            return "none"
        words = [in_words(counts, self.normal_names)]
        if missing := len(self) - counts.total():
            words.append(f"none {missing:,}")
        if not counts.keys() & set(self.normal_names):
            words.append(
                "none counts as normal, so quality is not measured: classes={label: "
                "'N'}"
            )
        return ", ".join(words)

    @property
    def window_words(self) -> str:
        """The window, R and the leads in words."""
        config = self.config
        found = " (R detected)" if self.is_r_detected else ""
        return (
            f"R - {config.before_s * 1000:.0f} ms to R + {config.after_s * 1000:.0f} "
            f"ms{found} at {config.sample_rate_hz:g} Hz, {self._lead_words}"
        )

    @property
    def _lead_words(self) -> str:
        """The leads; those of some recordings, where they differ."""
        num = self.millivolts.shape[1]
        lead = "lead" if num == 1 else f"{num} leads"
        if self.leads:
            return f"lead{'s' * (num > 1)} {', '.join(self.leads)[:60]}"
        read = Counter(self.records.leads.tolist()).most_common(MOST_SHOWN)
        differ = " or ".join(name.replace("\t", " ") for name, _ in read if name)
        return f"{lead} {differ[:60] or 'not named'}"

    @property
    def normal_names(self) -> tuple[str, ...]:
        """The labels that count as normal."""
        classes = {NORMAL: NORMAL, **self.classes}
        return tuple(name for name, kind in classes.items() if kind == NORMAL)

    @property
    def is_normal(self) -> Bool[np.ndarray, " beat"]:
        """Whether the label is normal. Unlabelled beats are not: see `is_labelled`."""
        return np.isin(self.label, self.normal_names)

    @property
    def is_normal_record(self) -> Bool[np.ndarray, " record"]:
        """Whether the label of the recording is normal."""
        return np.isin(self.records.label, self.normal_names)

    @property
    def is_labelled(self) -> Bool[np.ndarray, " beat"]:
        """Whether the beat or its recording has a label."""
        return self.label != ""

    @property
    def labelled(self) -> str:
        """What has a label of its own: "recordings" (beats inherit it) or "beats"."""
        own = np.any(self.label != "") and not np.any(self.records.label != "")
        return "beats" if own else "recordings"

    @property
    def annotated(self) -> dict[str, int]:
        """Annotated beats of each class, in the recordings that gave beats."""
        return _by_class(self.records.num_annotated)

    @property
    def num_unmatched(self) -> int:
        """Peaks that no annotation names, where there are annotations."""
        return int(self.records.num_unmatched.sum())

    @property
    def without_window(self) -> dict[str, int]:
        """Annotated beats that are not among these, by class: nobody judged them."""
        return _by_class(self.records.num_without)

    def rows(self, split: str) -> Int[np.ndarray, " row"]:
        """Indices of the beats of "train", "validation", "heldout" or "given"."""
        return np.flatnonzero((self.records.split == split)[self.record])

    @property
    def is_split(self) -> bool:
        """Whether there are sides: training, validation, held out."""
        return not np.any(self.records.split == GIVEN)

    @property
    def reference(self) -> Int[np.ndarray, " row"]:
        """What others are held against: training beats; all where nobody has split."""
        return self.rows("train" if self.is_split else GIVEN)

    @property
    def turn(self) -> Int[np.ndarray, " record"]:
        """-1 for recordings that `inputs` turns over and figures show upright, else 1.

        Beats that were given are shown as they are; so are beats of several leads.
        """
        config, polarity = self.config, self.records.polarity
        turned = isinstance(config, BeatConfig) and config.polarity == "correct"
        one = self.millivolts.shape[1] == 1
        return polarity if turned and one else np.ones_like(polarity)

    @property
    def lead_names(self) -> tuple[str, ...]:
        """A name for each lead: "lead 1", "lead 2" where nobody has said; "" of one."""
        num = self.millivolts.shape[1]
        if self.leads or num == 1:
            return self.leads or ("",)
        return tuple(f"lead {k + 1}" for k in range(num))

    @property
    def unit(self) -> str:
        """One unit of `inputs`, in words."""
        config = self.config
        return UNITS[config.normalise] if isinstance(config, BeatConfig) else "mV"

    def upright(
        self,
        index: slice | Int[np.ndarray, " n"] | Bool[np.ndarray, " beat"] = slice(None),
    ) -> Float32[np.ndarray, "n lead time"]:
        """Beats in mV as figures show them: those that `inputs` turns, turned over."""
        turn = self.turn[self.record[index], None, None]
        return np.array(self.millivolts[index], np.float32) * turn.astype(np.float32)

    def unit_mv(
        self,
        index: slice | Int[np.ndarray, " n"] | Bool[np.ndarray, " beat"] = slice(None),
    ) -> Float[np.ndarray, "n lead"]:
        """One unit of `inputs` in mV; 1 where windows are normalised one by one."""
        record = self.record[index]
        if self.unit == UNITS["record"]:
            return np.maximum(self.records.scale_mv, SMALLEST_MV)[record]
        return np.ones((len(record), self.millivolts.shape[1]))

    def classed(self, told: Mapping[str, str]) -> "Beats":
        """The same beats, with classes of labels as told, else by the usual names.

        Raises:
            DataError: Nothing has one of the labels.
        """
        counts = self.label_counts
        need_examples(told, counts)
        return replace(self, classes=classes_of(counts, told))

    def take(self, rows: Int[np.ndarray, " row"]) -> "Beats":
        """Some of the beats, of the same recordings."""
        per_beat = ("millivolts", "record", "r_time_s", "rr_before_s", "rr_after_s")
        parts = {f: getattr(self, f)[rows] for f in (*per_beat, "label")}
        for name in ("kind", "given"):
            whole = getattr(self, name)
            parts[name] = None if whole is None else whole[rows]
        return replace(self, **parts)

    def inputs(
        self,
        index: slice | Int[np.ndarray, " n"] | Bool[np.ndarray, " beat"] = slice(None),
    ) -> Float[np.ndarray, "n ..."]:
        """What the network sees: polarity and normalisation applied.

        Of beats that were given, these themselves: dtype and shape are kept.

        Args:
            index: Which beats: a slice, indices or a mask.
        """
        if self.given is not None:
            return self.given[index]
        x = self.upright(index)
        if self.unit == UNITS["record"]:
            x /= self.unit_mv(index)[:, :, None]
        elif self.unit == UNITS["beat"]:
            x -= x.mean(-1, keepdims=True)
            x /= np.maximum(x.std(-1, keepdims=True), SMALLEST_MV)
        return x

    def windows(
        self, index: slice | Int[np.ndarray, " n"] = slice(None)
    ) -> Float[np.ndarray, "n lead time"]:
        """`inputs`, with leads and time as axes of their own."""
        seen = self.inputs(index)
        return seen.reshape(len(seen), *self.millivolts.shape[1:])


def beats_of(recording: Recording, config: BeatConfig | None = None) -> Beats:
    """Cut one recording into beats; its split is "heldout".

    Raises:
        SignalError: It is too short, sampled too slowly, or has no beats.
    """
    config = config or BeatConfig()
    columns = cut(recording, config)
    columns["record"] = np.zeros(len(columns["label"]), np.int32)
    return _beats(columns, config, {recording.name: "heldout"}, ())


def extract_beats(
    folder: Folder,
    config: BeatConfig | None = None,
    *,
    cache_dir: str | Path | None,
    splits: Mapping[str, str] | None = None,
    classes: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Beats:
    """Cut all recordings of a folder into beats, or take them from the cache.

    A recording that cannot be used is listed in `Beats.excluded` with the reason; the
    others go on. The cache holds memory-mapped arrays under a key of the
    configuration and of the input (names, labels, sizes and times of the files), and
    is written at once or not at all; what a killed extraction had cut is kept.

    Args:
        folder: From `open_dataset` or `open_folder`.
        config: How to cut.
        cache_dir: Where the cache is, or None to keep everything in memory.
        splits: Side of each recording; default `split_recordings(folder)`.
        classes: Of labels, such as {"NORM": "N"}; see `Beats.classes`.
        progress: Called with recordings done and recordings in all.

    Raises:
        DataError: No recording gave a beat, or nothing has a label of `classes`.
        DiskFullError: There is no space for the cache.
    """
    from ecg_jax.ecg import _beat_store as store

    config, told = settled(folder, config or BeatConfig()), classes or {}
    folder = read_as(folder, config.leads)
    own = Counter(label for label in folder.labels.values() if label)
    if own.total() == len(folder.labels):  # else annotations of beats may have more
        need_examples((name for name in told if name not in AAMI_CLASSES), own)
    if splits is None:
        splits = split_recordings(folder)
    names = folder.names
    chunks = [names[i : i + CHUNK] for i in range(0, len(names), CHUNK)]
    num_leads = lru_cache(maxsize=1)(lambda: _num_leads(folder))
    columns, excluded = store.cached(
        cache_dir,
        store.key(folder, config),
        [len(chunk) for chunk in chunks],
        lambda index: _cut_chunk(folder, chunks[index], config, num_leads()),
        progress,
    )
    excluded = tuple(folder.excluded.items()) + tuple(excluded)
    if not len(columns.get("label", ())):
        raise DataError(
            f"no recording of {len(names)} gave a beat; the first reason: "
            f"{excluded[0][1] if excluded else 'there are none'}"
        )
    why = tuple((name, text.removeprefix(f"{name}: ")) for name, text in excluded)
    return _beats(columns, config, splits, why).classed(told)


def _cut_chunk(
    folder: Folder, names: Sequence[str], config: BeatConfig, num_leads: int | None
) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """Columns of some recordings, and those left out with the reason."""
    parts: list[dict[str, np.ndarray]] = []
    excluded: list[tuple[str, str]] = []
    for name in names:
        try:
            recording = folder.read(name)
            if num_leads not in (None, len(recording.signal)):
                raise SignalError(
                    f"{name}: {len(recording.signal)} leads, the first recording has "
                    f"{num_leads}.\n"
                    "  try: name the leads, such as --beats.leads II V1"
                )
            parts.append(cut(recording, config))
        except (RecordingError, OSError) as error:
            excluded.append((name, str(error)))
    if not parts:
        return {}, excluded
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}, excluded


def _num_leads(folder: Folder) -> int | None:
    """Leads of the first recording that can be read."""
    for name in folder.names:
        try:
            return len(folder.read(name).signal)
        except (RecordingError, OSError):
            continue
    return None


def _by_class(counts: Int32[np.ndarray, "record class"]) -> dict[str, int]:
    """Sums over the recordings, of the classes that occur."""
    sums = zip(ANNOTATED, counts.sum(0).tolist(), strict=True)
    return {name: count for name, count in sums if count}


def _beats(
    columns: dict[str, np.ndarray],
    config: BeatConfig,
    splits: Mapping[str, str],
    excluded: tuple[tuple[str, str], ...],
) -> Beats:
    """Join columns, configuration and splits."""
    records = {
        f.name: columns[f"records_{f.name}"]
        for f in fields(RecordTable)
        if f.name != "split"
    }
    side = np.array([splits[name] for name in records["name"].tolist()])
    names = [f.name for f in fields(Beats) if f.name in columns]
    own: dict[str, Any] = {name: columns[name] for name in names}
    kind = own.pop("kind")
    read = set(records["leads"].tolist())
    leads = tuple(read.pop().split("\t")) if len(read) == 1 and any(read) else ()
    asked = config.leads if config.leads != ALL else ()
    return Beats(
        config=config,
        kind=kind if (kind != "").any() else None,
        records=RecordTable(split=side, **records),
        excluded=excluded,
        leads=asked or leads,
        **own,
    )
