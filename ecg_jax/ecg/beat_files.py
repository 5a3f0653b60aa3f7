"""Files of beats: .npz, .csv, .parquet. Never pickle."""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ecg_jax.errors import DataError, MissingFileError, RunError
from ecg_jax.storage.table import read_parquet

LABEL, RECORD, RATE = "label", "record", "sample_rate_hz"
NAMES = {LABEL: "labels", RECORD: "records", RATE: RATE}
KEYS = ("beats", "sample_rate_hz", "leads", "labels", "records", "r_peak_s")


def read_beats(path: Path) -> dict[str, Any]:
    """What a file of beats holds: `beats`, and what else of `KEYS` it says.

    Raises:
      MissingFileError: it is not there.
      DataError: it is no such file, or has no beats.
    """
    reader = SUFFIXES.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path} is no file of beats.\n  try: {', '.join(SUFFIXES)}, or a folder "
            "of recordings in WFDB layout"
        )
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file.\n  try: the path of a file of beats"
        )
    return reader(path)


def _npz(path: Path) -> dict[str, Any]:
    """Arrays by name."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {key: file[key] for key in KEYS if key in file}
            names = file.files
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}.\n"
            "  try: np.savez(path, beats=x, sample_rate_hz=100); no arrays of objects"
        ) from error
    if "beats" not in held:
        raise DataError(
            f"{path} has no array 'beats'; it has {', '.join(names) or 'none'}.\n"
            "  try: np.savez(path, beats=x, sample_rate_hz=100)"
        )
    return held


def _csv(path: Path) -> dict[str, Any]:
    """A row for each beat; in columns that a header calls so, what else is known."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise DataError(f"{path} is empty.\n  try: a row for each beat")
    header = [] if _are_numbers(rows[0]) else [name.strip() for name in rows[0]]
    body = rows[1:] if header else rows
    width = len(rows[0])
    named = {i: NAMES[name] for i, name in enumerate(header) if name in NAMES}
    samples = [i for i in range(width) if i not in named]
    for number, row in enumerate(body, start=1 + bool(header)):
        if len(row) != width or not _are_numbers([row[i] for i in samples]):
            raise DataError(
                f"{path}, line {number}: {len(row)} cells, or samples that are no "
                f"numbers; the first line has {width}.\n"
                "  try: a row for each beat, its samples in mV; a header with "
                "'label', 'record' and 'sample_rate_hz' where there are such columns"
            )
    held: dict[str, Any] = {
        "beats": np.array([[float(row[i]) for i in samples] for row in body]).reshape(
            len(body), len(samples)
        )
    }
    held["beats"] = held["beats"].astype(np.float32)
    for i, name in named.items():
        held[name] = np.array([row[i] for row in body], dtype=np.str_)
    return _with_one_rate(path, held)


def _are_numbers(cells: list[str]) -> bool:
    try:
        return all(isinstance(float(cell), float) for cell in cells)
    except ValueError:
        return False


def _parquet(path: Path) -> dict[str, Any]:
    """A column `beat` of lists, and columns of what else is known."""
    try:
        columns = read_parquet(path)
    except RunError as error:
        raise DataError(
            f"{path} cannot be read as Parquet.\n  try: a column 'beat' of lists"
        ) from error
    if "beat" not in columns:
        raise DataError(
            f"{path} has no column 'beat'; it has {', '.join(columns) or 'none'}.\n"
            "  try: a column 'beat' of lists of samples in mV"
        )
    lists = columns["beat"].tolist()
    lengths = {np.size(row) for row in lists}
    if len(lengths) != 1 or any(row is None for row in lists):
        raise DataError(
            f"{path}: the beats have {len(lengths)} different lengths.\n"
            "  try: windows of one length"
        )
    held: dict[str, Any] = {"beats": np.stack([np.asarray(row) for row in lists])}
    held |= {NAMES[k]: columns[k] for k in NAMES if k in columns}
    return _with_one_rate(path, held)


def _with_one_rate(path: Path, held: dict[str, Any]) -> dict[str, Any]:
    """The same, with a number for the column of rates."""
    if RATE not in held:
        return held
    try:
        (rate,) = {float(value) for value in held[RATE].tolist()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: the column 'sample_rate_hz' holds no number, or more than one.\n"
            "  try: the rate of all beats, in every row"
        ) from error
    return held | {RATE: np.float64(rate)}


SUFFIXES: dict[str, Callable[[Path], dict[str, Any]]] = {
    ".npz": _npz,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""What reads a file of beats, by its suffix."""
