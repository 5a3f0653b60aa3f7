"""A folder of files under a manifest of SHA-256 sums: there whole, or not at all."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from ecg_jax.errors import ChecksumError, StoreError
from ecg_jax.storage.files import beside, write_atomic
from ecg_jax.storage.lock import locked_beside

MANIFEST = "manifest.json"
Value = TypeVar("Value")


def seal(
    path: Path,
    files: Mapping[str, bytes],
    *,
    format: str,
    kind: str,
    replace: bool = True,
) -> None:
    """Writes files and their manifest to a folder beside `path`, then moves it there.

    One at a time, threads and processes alike: the last to come stays.

    Args:
      path: the folder.
      files: content by name.
      format: name and version of the format.
      kind: what the folder holds.
      replace: write over what is there, if it is of this format.

    Raises:
      StoreError: `path` is not free, see `check_free`; or no folder can be made there.
      DiskFullError: no space is left; nothing has changed.
    """
    manifest = {
        "format": format,
        "kind": kind,
        "versions": {name: version(name) for name in ("ecg_jax", "jax", "numpy")},
        "files": {
            name: {"sha256": _sha256(data), "bytes": len(data)}
            for name, data in sorted(files.items())
        },
    }
    text = (json.dumps(manifest, indent=1) + "\n").encode()
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_beside(path))
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made: {error.strerror}.\n  try: another folder"
            ) from error
        _recover(path)
        _check_free(path, format, replace)
        _write(path, {**files, MANIFEST: text})


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    """Makes a folder of files in the place of another, under the lock."""
    temporary, old = beside(path, "tmp"), beside(path, "old")
    temporary.mkdir()
    try:
        for name, data in files.items():
            write_atomic(temporary / name, data)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
    except OSError:
        if old.exists() and not path.exists():
            old.replace(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _recover(path: Path) -> None:
    """Puts back a folder whose replacement was killed between its two moves."""
    if not path.exists():
        name = re.compile(rf"\.{re.escape(path.name)}\.\d+\.\d+\.old")
        left = [
            old
            for old in path.parent.iterdir()
            if name.fullmatch(old.name) and (old / MANIFEST).exists()
        ]
        if left:
            max(left, key=lambda old: old.stat().st_mtime).replace(path)


def unseal(path: Path, format: str) -> tuple[str, dict[str, bytes]]:
    """The kind of a folder and its files, each as it was sealed.

    Raises:
      ChecksumError: a file is not the one that was saved.
      StoreError: the folder holds nothing of this format, or a file cannot be read.
    """
    return _settled(path, lambda: _unseal(path, format))


def _unseal(path: Path, format: str) -> tuple[str, dict[str, bytes]]:
    manifest = _read_manifest(path, format)
    try:
        sums = {name: entry["sha256"] for name, entry in manifest["files"].items()}
        kind = str(manifest["kind"])
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path / MANIFEST} lacks {error}: save it again.") from error
    if any(Path(name).name != name for name in sums):
        raise StoreError(f"{path / MANIFEST} names files outside of its folder.")
    return kind, {name: _checked(path / name, sha256) for name, sha256 in sums.items()}


def check_free(path: Path, format: str, replace: bool) -> None:
    """Raises `StoreError` unless `path` may be written: nothing is lost by surprise.

    A folder that exists must be empty or, with `replace`, hold this format, of whatever
    version.
    """
    _settled(path, lambda: _check_free(path, format, replace))


def _check_free(path: Path, format: str, replace: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not replace:
        raise StoreError(
            f"{path} exists already.\n  try: another folder, or save(..., replace=True)"
        )
    _read_manifest(path, format, any_version=True)


def _settled(path: Path, read: Callable[[], Value]) -> Value:
    """What is read at a path; where that fails, again while nobody writes there."""
    try:
        return read()
    except (StoreError, OSError) as error:
        with ExitStack() as stack:
            try:
                stack.enter_context(locked_beside(path))
                _recover(path)
            except OSError:  # a folder that cannot be written to
                raise error from None
            return read()


def _read_manifest(path: Path, format: str, any_version: bool = False) -> dict:
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{path} holds no equation ({MANIFEST} is missing).\n"
            "  try: a folder that ecg_jax.save wrote, such as RUN/equation"
        ) from error
    except (ValueError, OSError) as error:
        raise StoreError(f"{path / MANIFEST} cannot be read: {error}.") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    same = str(found).rpartition("/")[0] == format.rpartition("/")[0]
    if found != format and not (any_version and same):
        raise StoreError(
            f"{path} is of format {found!r}, this version of ecg_jax reads {format!r}."
            "\n  try: save it again with this version, from the function that it was "
            "made of"
        )
    return manifest


def _checked(path: Path, sha256: str) -> bytes:
    """A file's bytes, if they are those that were saved."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
    found = _sha256(data)
    if found != sha256:
        raise ChecksumError(
            f"{path} is damaged or was exchanged:\n"
            f"  SHA-256 found:    {found}\n"
            f"  SHA-256 expected: {sha256}\n"
            "  try: copy the folder again, or save the equation again"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
