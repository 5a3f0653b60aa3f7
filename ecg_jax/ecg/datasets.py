"""Data sets by name, and the side of each recording: train, validation, held out."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from ecg_jax.ecg._listing import FAST, SLOW
from ecg_jax.ecg.labels import Told
from ecg_jax.ecg.records import Folder, open_folder
from ecg_jax.errors import DataError, MissingFileError, RecordingError
from ecg_jax.storage.cache import cache_home

SPLITS = ("train", "validation", "heldout")
"""Sides of a split: to fit, to choose, to report."""

NAMES = ("synthetic", "challenge-2017", "mitdb", "ptb-xl")
"""Data sets known by name."""

_PATTERN = ("train", "heldout", "validation", "train", "train")
"""60/20/20; three recordings are enough to have one on each side."""


def open_dataset(
    data: str | Path,
    data_dir: str | Path | None = None,
    *,
    labels: Told | None = None,
) -> Folder:
    """Open a data set by name, or a folder of recordings.

    Args:
        data: One of `NAMES`, or the path of a folder in WFDB layout.
        data_dir: Where a named one is; default where `fetch` put it.
        labels: Of recordings; see `open_folder`.

    Raises:
        MissingFileError: It is not there; the message says how to get it.
        EmptyFolderError: The folder holds no recordings.
        DataError: Labels for synthetic recordings, or of other ones; see
            `open_folder`.
    """
    if data == "synthetic":
        if labels is not None:
            raise DataError(
                "synthetic recordings have labels of their own.\n"
                "  try: without a table of labels"
            )
        from ecg_jax.ecg.synth import SyntheticFolder

        return cast(Folder, SyntheticFolder())  # its names are cached properties
    if str(data) not in NAMES:
        if not Path(data).is_dir():
            raise MissingFileError(
                f"{data} is not a folder.\n"
                f"  try: one of {', '.join(NAMES)}, the folder that holds RECORDS, or "
                "a file of beats (.npz, .csv, .parquet)"
            )
        return open_folder(data, labels=labels)
    folder = default_folder(str(data)) if data_dir is None else Path(data_dir)
    if not any((folder / p).exists() for p in ("RECORDS", "training", FAST, SLOW)):
        folder = folder / str(data) if (folder / str(data)).is_dir() else folder
    if not folder.is_dir():
        raise MissingFileError(
            f"{data} is not at {folder}.\n"
            f"  try: `ecg-jax fetch {data} --out DIR`, or --data-dir with the folder "
            "that holds it"
        )
    return open_folder(folder, labels=labels)


def default_folder(name: str) -> Path:
    """Where `fetch` last put a data set, or would put it."""
    try:
        known = json.loads((cache_home() / "datasets.json").read_text("utf-8"))
        return Path(known[name])
    except (OSError, ValueError, KeyError, TypeError):
        return cache_home() / "data" / name


def split_recordings(folder: Folder) -> dict[str, str]:
    """Side of every recording of a folder: "train", "validation" or "heldout".

    A split that the data set gives is used as it is: `strat_fold` of PTB-XL, or folds
    in a user's table of labels; a recording without one is held out. Else a list of
    names in `splits/` decides where it knows at least half of the folder's
    recordings; those it does not know are held out, so that nobody trains on them.
    Other folders are split 60/20/20 within each label, in the order of a hash of the
    name: the same folder always gives the same split. Recordings with identical
    signals are on one side.
    """
    if given := getattr(folder, "sides", None):
        return {name: given.get(name, "heldout") for name in folder.names}
    for listed in map(load_split, ("challenge-2017", "mitdb")):
        known = sum(name in listed for name in folder.names)
        if known and 2 * known >= len(folder.names):
            return {name: listed.get(name, "heldout") for name in folder.names}
    return stratified(folder.names, folder.labels, duplicates(folder))


def load_split(name: str) -> dict[str, str]:
    """A versioned split: side of each recording."""
    from importlib.resources import files

    text = (files("ecg_jax.ecg") / "splits" / f"{name}.json").read_text("utf-8")
    sides = json.loads(text)
    return {record: side for side in SPLITS for record in sides[side]}


def stratified(
    names: tuple[str, ...],
    labels: Mapping[str, str | None],
    same: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Split names 60/20/20 within each label, in the order of a hash of the name.

    Args:
        names: Of the recordings.
        labels: Of each, or None.
        same: For a recording that repeats another, that other one.
    """
    same = same or {}
    order = sorted(
        (name for name in names if name not in same),
        key=lambda name: (
            labels.get(name) or "",
            hashlib.sha256(name.encode()).hexdigest(),
        ),
    )
    sides = {name: _PATTERN[i % len(_PATTERN)] for i, name in enumerate(order)}
    sides.update({name: sides[first] for name, first in same.items()})
    return {name: sides[name] for name in names}


def duplicates(folder: Folder) -> dict[str, str]:
    """Recordings whose signal repeats an earlier one's, with the earlier one's name."""
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    for name in folder.names:
        try:
            signal = folder.read(name).signal
        except (RecordingError, OSError):
            continue
        digest = hashlib.sha256(np.ascontiguousarray(signal).tobytes()).digest()
        if first.setdefault(digest, name) != name:
            same[name] = first[digest]
    return same


__all__ = [
    "NAMES",
    "SPLITS",
    "default_folder",
    "duplicates",
    "load_split",
    "open_dataset",
    "split_recordings",
    "stratified",
]
