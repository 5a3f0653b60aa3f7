"""The cache of beats: chunks while they are cut, then memory-mapped arrays.

    <key>.partial/chunk-00012.npz   one a chunk of recordings: survives a kill
    <key>/millivolts.npy            mapped, not read
    <key>/columns.npz               everything else

Files and the final folder appear under their name only when they are complete.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.ecg.records import RecordingFolder
from ecg_jax.errors import DiskFullError, RecordingError
from ecg_jax.storage.lock import locked

FORMAT = 5
"""Version of the arrays and of what is found; another one is another key."""

Columns = dict[str, np.ndarray]
Excluded = list[tuple[str, str]]
Chunk = tuple[Columns, Excluded]
Cut = Callable[[int], Chunk]


def key(folder: Any, config: BeatConfig) -> str:
    """SHA-256 of the configuration, the input's identity and the format."""
    from importlib.metadata import version

    cutting = asdict(config)
    del cutting["polarity"], cutting["normalise"]  # applied by Beats.inputs
    text = json.dumps([FORMAT, version("sleepecg"), cutting, identity(folder)])
    return "beats-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def identity(folder: Any) -> Any:
    """What tells this input from another, without reading it where it is on disk."""
    if isinstance(folder, RecordingFolder):
        rows = []
        for name in folder.names:
            stats = [(path.suffix, path.stat()) for path in folder.files(name)]
            files = [
                (suffix, s.st_size, s.st_mtime_ns, s.st_mode) for suffix, s in stats
            ]
            rows.append((name, folder.labels[name], files))
        return [folder.leads, rows]
    if hasattr(folder, "identity"):
        return folder.identity
    digest = hashlib.sha256()
    for name in folder.names:
        try:
            recording = folder.read(name)
        except RecordingError as error:
            digest.update(f"{name}: {error}".encode())
            continue
        said = [
            name,
            recording.label,
            recording.sample_rate_hz,
            None
            if recording.beat_samples is None
            else np.asarray(recording.beat_samples).tolist(),
            recording.beat_labels,
            recording.beat_kinds,
        ]
        digest.update(json.dumps(said).encode())
        digest.update(np.ascontiguousarray(recording.signal).tobytes())
    return digest.hexdigest()


def cached(
    cache_dir: str | Path | None,
    name: str,
    sizes: Sequence[int],
    cut_chunk: Cut,
    progress: Callable[[int, int], None] | None,
) -> Chunk:
    """The merged columns and exclusions; `cut_chunk` computes what is missing."""
    tell = progress or (lambda done, total: None)
    if cache_dir is None:
        cut: list[Chunk] = []
        for index in range(len(sizes)):
            cut.append(cut_chunk(index))
            tell(sum(sizes[: index + 1]), sum(sizes))
        return _merge(cut, None)
    base = Path(cache_dir)
    final = base / name
    found = _load(final)
    if found is not None:
        tell(sum(sizes), sum(sizes))
        return found
    try:
        base.mkdir(parents=True, exist_ok=True)
        with locked(base / f"{name}.lock"):
            found = _load(final)
            return found or _fill(base, name, sizes, cut_chunk, tell)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space is left for the beats in {base}.\n"
                "  try: free some, or name another folder for the cache"
            ) from error
        raise


def _fill(
    base: Path,
    name: str,
    sizes: Sequence[int],
    cut_chunk: Cut,
    tell: Callable[[int, int], None],
) -> Chunk:
    """Cut the chunks that are missing, merge all, and put the result in its place."""
    partial, final = base / f"{name}.partial", base / name
    partial.mkdir(exist_ok=True)
    files = [partial / f"chunk-{i:05d}.npz" for i in range(len(sizes))]
    for index, file in enumerate(files):
        if not _readable(file):
            _save(file, cut_chunk(index))
        tell(sum(sizes[: index + 1]), sum(sizes))
    with tempfile.TemporaryDirectory(dir=base, prefix=f"{name}.") as scratch:
        ready = Path(scratch) / "ready"
        ready.mkdir()
        columns, excluded = _merge(map(_open, files), ready / "millivolts.npy")
        del columns["millivolts"]
        _save(ready / "columns.npz", (columns, excluded))
        if final.exists():  # damaged: `_load` could not read it
            shutil.rmtree(final)
        os.replace(ready, final)
    shutil.rmtree(partial, ignore_errors=True)
    merged = _load(final)
    if merged is None:
        raise OSError(errno.EIO, "the beats just written cannot be read", str(final))
    return merged


def _merge(chunks: Iterable[Chunk], file: Path | None) -> Chunk:
    """Join the columns of chunks; the windows go to `file` piece by piece."""
    parts: dict[str, list[np.ndarray]] = {}
    excluded: Excluded = []
    num_records = 0
    pieces: list[np.ndarray] = []
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(file.open("wb")) if file else None
        shape = None
        if out:
            out.write(bytes(_NPY_HEADER))
        for columns, left_out in chunks:
            excluded += left_out
            if not columns:
                continue
            values = columns.pop("millivolts")
            shape = (
                shape[0] + len(values) if shape else len(values),
                *values.shape[1:],
            )
            if out:
                out.write(np.ascontiguousarray(values, "<f4").data)
            else:
                pieces.append(values)
            counts = columns["records_num_beats"]
            rows = np.arange(num_records, num_records + len(counts), dtype=np.int32)
            columns["record"] = np.repeat(rows, counts)
            num_records += len(counts)
            for column, array in columns.items():
                parts.setdefault(column, []).append(array)
        if out:
            out.seek(0)
            out.write(_npy_header(shape or (0, 1, 1)))
    merged = {column: np.concatenate(arrays) for column, arrays in parts.items()}
    merged["millivolts"] = (
        np.load(file, mmap_mode="r")
        if file
        else np.concatenate(pieces)
        if pieces
        else np.zeros((0, 1, 1), np.float32)
    )
    return merged, excluded


_NPY_HEADER = 128


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The head of a version 1.0 `.npy` of float32, padded to `_NPY_HEADER` bytes."""
    said = repr({"descr": "<f4", "fortran_order": False, "shape": shape})
    text = said.encode("latin1").ljust(_NPY_HEADER - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _save(file: Path, chunk: Chunk) -> None:
    """Write columns and exclusions under a temporary name, then rename."""
    columns, excluded = chunk
    said = np.array(excluded, dtype=np.str_).reshape(len(excluded), 2)
    scratch = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as out:
            np.savez(out, allow_pickle=False, excluded=said, **columns)
        os.replace(scratch, file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _open(file: Path) -> Chunk:
    with file.open("rb") as data, np.load(data, allow_pickle=False) as stored:
        columns = {name: stored[name] for name in stored.files}
    excluded = [(str(a), str(b)) for a, b in columns.pop("excluded")]
    return columns, excluded


def _readable(file: Path) -> bool:
    """Whether a chunk is there and whole."""
    import zipfile

    try:
        with zipfile.ZipFile(file) as stored:
            return stored.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _load(final: Path) -> Chunk | None:
    """The merged arrays, or None if they are not there or damaged."""
    import zipfile

    try:
        columns, excluded = _open(final / "columns.npz")
        values = np.load(final / "millivolts.npy", mmap_mode="r", allow_pickle=False)
        if len(values) == len(columns.get("record", ())):
            return {**columns, "millivolts": values}, excluded
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass
    return None
