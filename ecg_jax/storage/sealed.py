"""A folder of files under a manifest of SHA-256 sums: there whole, or not at all."""

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from ecg_jax.errors import StoreError
from ecg_jax.storage.files import beside, write_atomic
from ecg_jax.storage.lock import locked_beside
from ecg_jax.storage.manifest import (
    MANIFEST,
    Form,
    lacking,
    manifest,
    read_files,
    read_manifest,
)

Value = TypeVar("Value")


def seal(
    path: Path,
    files: Mapping[str, bytes],
    *,
    form: Form,
    kind: str,
    replace: bool = True,
) -> None:
    """Writes files and their manifest to a folder beside `path`, then moves it there.

    One at a time, threads and processes alike: the last to come stays.

    Args:
      path: the folder.
      files: content by name.
      form: what the folder holds.
      kind: of which kind that is.
      replace: write over what is there, if it is of this format.

    Raises:
      StoreError: `path` is not free, see `check_free`; or no folder can be made there.
      DiskFullError: no space is left; nothing has changed.
    """
    versions = {name: version(name) for name in ("ecg_jax", "jax", "numpy")}
    text = manifest(form, files, kind=kind, versions=versions)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_beside(path))
        except OSError as error:
            raise StoreError(
                f"{path} cannot be made: {error.strerror}.\n  try: another folder"
            ) from error
        _recover(path)
        _check_free(path, form, replace)
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


def unseal(path: Path, form: Form) -> tuple[str, dict[str, bytes]]:
    """The kind of a folder and its files, each as it was sealed.

    Raises:
      ChecksumError: a file is not the one that was saved.
      StoreError: the folder holds nothing of this format, or a file cannot be read.
    """
    return _settled(path, lambda: _unseal(path, form))


def _unseal(path: Path, form: Form) -> tuple[str, dict[str, bytes]]:
    found = read_manifest(path, form)
    if "kind" not in found:
        raise lacking(path, form, KeyError("kind"))
    return str(found["kind"]), read_files(path, found, form)


def check_free(path: Path, form: Form, replace: bool) -> None:
    """Raises `StoreError` unless `path` may be written: nothing is lost by surprise.

    A folder that exists must be empty or, with `replace`, hold this format, of whatever
    version.
    """
    _settled(path, lambda: _check_free(path, form, replace))


def _check_free(path: Path, form: Form, replace: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not replace:
        raise StoreError(
            f"{path} exists already.\n  try: another folder, or save(..., replace=True)"
        )
    read_manifest(path, form, any_version=True)


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
