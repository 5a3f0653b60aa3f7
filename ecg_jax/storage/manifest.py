"""Manifests: what a folder holds, file by file, with its SHA-256; written last."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_jax.errors import ChecksumError, EcgJaxError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Form:
    """What a folder under a manifest holds, and how messages speak of it.

    Attributes:
      format: name and version, such as "ecg_jax.network/1".
      noun: what it holds, in a word.
      folder: a folder of this form, as one would be named.
      again: how to have it again where it is damaged.
      error: what is raised where it cannot be read.
    """

    format: str
    noun: str
    folder: str
    again: str
    error: type[EcgJaxError]


def sha256(data: bytes | Path) -> str:
    """The digest of bytes, or of a file.

    Example:
      >>> sha256(b"")[:8]
      'e3b0c442'
    """
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()
    with data.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest(form: Form, files: Mapping[str, bytes], **more: Any) -> bytes:
    """The text of a manifest: format, files, and whatever else there is to say."""
    sums = {
        name: {"sha256": sha256(data), "bytes": len(data)}
        for name, data in sorted(files.items())
    }
    document = {"format": form.format, **more, "files": sums}
    return (json.dumps(document, indent=1) + "\n").encode()


def read_manifest(
    folder: Path, form: Form, *, any_version: bool = False
) -> dict[str, Any]:
    """The manifest of a folder.

    Raises:
      `form.error`: there is none, it cannot be read, or it is of another format, or,
        without `any_version`, of another version of it.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise form.error(
            f"{folder} holds no {form.noun} ({MANIFEST} is missing).\n"
            f"  try: {form.folder}"
        ) from error
    except (ValueError, OSError) as error:
        raise form.error(
            f"{path} cannot be read: {error}.\n  try: {form.again}"
        ) from error
    format = found.get("format") if isinstance(found, dict) else None
    same = str(format).rpartition("/")[0] == form.format.rpartition("/")[0]
    if format != form.format and not (any_version and same):
        raise form.error(
            f"{folder} is of format {format!r}, this version of ecg_jax reads "
            f"{form.format!r}.\n  try: save it again with this version, from what it "
            "was made of"
        )
    return found


def read_files(folder: Path, found: Mapping[str, Any], form: Form) -> dict[str, bytes]:
    """The files of a manifest, each as it was saved.

    Raises:
      ChecksumError: a file is not the one that was saved.
      `form.error`: a file cannot be read, or the manifest names none.
    """
    try:
        sums = {str(name): entry["sha256"] for name, entry in found["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise lacking(folder, form, error) from error
    if any(Path(name).name != name for name in sums):
        raise form.error(f"{folder / MANIFEST} names files outside of its folder.")
    files = {}
    for name, expected in sums.items():
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise form.error(
                f"{folder / name} cannot be read: {error.strerror}.\n"
                f"  try: copy the whole folder, or {form.again}"
            ) from error
        check_sha256(folder / name, sha256(files[name]), expected, form.again)
    return files


def lacking(folder: Path, form: Form, error: Exception) -> EcgJaxError:
    """The error for a manifest without a part."""
    return form.error(f"{folder / MANIFEST} lacks {error}.\n  try: {form.again}")


def check_sha256(path: Path, found: str, expected: str, again: str) -> None:
    """Raises `ChecksumError` unless a file has the digest that it should have."""
    if found != expected:
        raise ChecksumError(
            f"{path} is damaged or was exchanged:\n"
            f"  SHA-256 found:    {found}\n"
            f"  SHA-256 expected: {expected}\n"
            f"  try: copy it again, or {again}"
        )
