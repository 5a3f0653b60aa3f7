"""A folder of files under a manifest of SHA-256 sums: there whole, or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from ecg_jax.errors import ChecksumError, StoreError
from ecg_jax.storage.files import write_atomic

MANIFEST = "manifest.json"


def seal(path: Path, files: Mapping[str, bytes], *, format: str, kind: str) -> None:
    """Writes files and their manifest to a folder beside `path`, then moves it there.

    Args:
      path: the folder; what is there is replaced: call `check_free` first.
      files: content by name.
      format: name and version of the format.
      kind: what the folder holds.

    Raises:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        for name, data in {**files, MANIFEST: text}.items():
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


def unseal(path: Path, format: str) -> tuple[str, dict[str, bytes]]:
    """The kind of a folder and its files, each as it was sealed.

    Raises:
      ChecksumError: a file is not the one that was saved.
      StoreError: the folder holds nothing of this format, or a file cannot be read.
    """
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

    A folder that exists must be empty or, with `replace`, hold this format.
    """
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not replace:
        raise StoreError(
            f"{path} exists already.\n  try: another folder, or save(..., replace=True)"
        )
    _read_manifest(path, format)


def _read_manifest(path: Path, format: str) -> dict:
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreError(
            f"{path} holds no equation ({MANIFEST} is missing).\n"
            "  try: a folder that tree.save wrote, such as RUN/equation"
        ) from error
    except (ValueError, OSError) as error:
        raise StoreError(f"{path / MANIFEST} cannot be read: {error}.") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != format:
        raise StoreError(
            f"{path} is of format {found!r}, this version of ecg_jax reads {format!r}."
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
