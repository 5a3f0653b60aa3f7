"""Where the beats of a run come from: recordings that are cut, or a file of beats."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np

from ecg_jax.ecg import classes, own_beats
from ecg_jax.ecg.beat_files import SUFFIXES
from ecg_jax.ecg.beats import Beats, extract_beats
from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.ecg.datasets import open_dataset, stratified
from ecg_jax.ecg.lead_choice import settled
from ecg_jax.ecg.records import Folder
from ecg_jax.errors import DataError, MissingFileError
from ecg_jax.progress import Progress, silent
from ecg_jax.storage.cache import cache_home

FEWEST = 3
"""So many recordings there are at least where each side has one."""


@runtime_checkable
class Source(Protocol):
    """A data set: its beats, what it is called, and what to cite."""

    @property
    def title(self) -> str:
        """What the data set is called."""
        ...

    @property
    def citation(self) -> str:
        """What to cite."""
        ...

    def settled(self, config: BeatConfig) -> BeatConfig:
        """How its beats are cut, with the names of the leads that are asked for."""
        ...

    def beats(
        self,
        config: BeatConfig,
        *,
        heldout: bool = False,
        progress: Progress = silent,
    ) -> Beats:
        """Its beats; all of them held out, or split by recordings."""
        ...


class _Named(Folder, Protocol):
    @property
    def title(self) -> str: ...
    @property
    def citation(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings, out of which beats are cut; from the cache where they are there.

    Attributes:
      folder: of the recordings.
      classes: of their labels, where the user says them.
    """

    folder: _Named
    classes: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the data set is called."""
        return self.folder.title

    @property
    def citation(self) -> str:
        """What to cite."""
        return self.folder.citation

    def settled(self, config: BeatConfig) -> BeatConfig:
        """How its beats are cut, with the names of the leads that are asked for."""
        return settled(self.folder, config)

    def beats(
        self,
        config: BeatConfig,
        *,
        heldout: bool = False,
        progress: Progress = silent,
    ) -> Beats:
        """Its beats, cut as `config` says; told of the recordings that are done."""
        splits = dict.fromkeys(self.folder.names, "heldout") if heldout else None
        cache = cache_home() / "beats"
        return extract_beats(
            self.folder,
            config,
            cache_dir=cache,
            splits=splits,
            classes=self.classes,
            progress=progress,
        )


@dataclass(frozen=True)
class BeatsFile:
    """A file of beats, for `ecg_jax.beats`."""

    path: Path
    classes: Mapping[str, str] = field(default_factory=dict)
    citation: str = ""

    @property
    def title(self) -> str:
        """The name of the file."""
        return self.path.name

    def settled(self, config: BeatConfig) -> BeatConfig:
        """As it is: leads cannot be chosen.

        Raises:
          DataError: leads are asked for.
        """
        if config.leads:
            raise DataError(
                f"{self.path} is a file of beats, whose leads are those that it holds, "
                f"not {', '.join(config.leads)} by choice.\n"
                "  try: without --beats.leads; or a file of these leads"
            )
        return config

    def beats(
        self,
        config: BeatConfig,
        *,
        heldout: bool = False,
        progress: Progress = silent,
    ) -> Beats:
        """Its beats `[beat, lead, time]`, split where three recordings are known."""
        del config, progress  # they are cut already
        found = own_beats.beats(self.path)
        if self.classes:
            found = found.classed(self.classes)
        found = replace(found, given=found.millivolts)
        records = found.records
        if heldout:
            sides = np.full(len(records), "heldout")
        elif found.is_recorded and len(records) >= FEWEST:
            names = tuple(records.name.tolist())
            split = stratified(names, _labels(found))
            sides = np.array([split[name] for name in names])
        else:
            return found
        return replace(found, records=replace(records, split=sides))


def is_beats_file(data: str) -> bool:
    """Whether a data set is named by a file of beats."""
    return Path(data).suffix.lower() in SUFFIXES and not Path(data).is_dir()


def source_of(data: str, data_dir: Path | None = None, labels: str = "") -> Source:
    """The data set that a name or a path stands for.

    Args:
      data: the name or the path.
      data_dir: where a named one is.
      labels: classes of labels, and a table of them; see `classes.parse`.

    Raises:
      MissingFileError: there is none.
      EmptyFolderError: the folder holds no recordings.
      DataError: the labels make no sense.
    """
    told, table = classes.parse(labels)
    if not is_beats_file(data):
        folder = open_dataset(data, data_dir, labels=table)
        return Recordings(cast("_Named", folder), told)
    if table is not None:
        raise DataError(
            f"{data} is a file of beats, which says their labels itself; {table} is "
            "for a folder of recordings.\n  try: --labels NAME=CLASS"
        )
    if not Path(data).is_file():
        raise MissingFileError(
            f"{data}: no such file.\n  try: the path of a file of beats"
        )
    return BeatsFile(Path(data), told)


def need_split(beats: Beats) -> None:
    """Raises `DataError` unless there are recordings to train on, and others."""
    if not beats.is_split:
        known = f"{len(beats.records):,}" if beats.is_recorded else "no"
        raise DataError(
            f"the file names {known} recordings that its beats are from; to train, "
            f"{FEWEST} at least are needed: beats of one must not be on two sides.\n"
            "  try: 'records' in the file; or ecg-jax factor, with a trained network"
        )


def _labels(beats: Beats) -> dict[str, str | None]:
    """The label that most beats of each recording have."""
    counts: dict[str, Counter[str]] = {}
    names = beats.records.name[beats.record].tolist()
    for name, label in zip(names, beats.label.tolist(), strict=True):
        counts.setdefault(name, Counter())[label] += 1
    return {name: count.most_common(1)[0][0] for name, count in counts.items()}
