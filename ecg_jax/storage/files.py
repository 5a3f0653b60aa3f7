"""Files that appear whole or not at all, and JSON in them."""

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from ecg_jax.errors import DiskFullError


def beside(path: Path, ending: str) -> Path:
    """A hidden name in the same folder that no other thread or process takes."""
    return path.with_name(f".{path.name}.{os.getpid()}.{uuid4().int}.{ending}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside a file; what is written there takes its place.

    Its folder is made where there is none.

    Raises:
      DiskFullError: no space is left.
    """
    temporary = beside(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no space is left for {path}: free some, then continue with --resume"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name in its folder, then moves it into place.

    Raises:
      DiskFullError: no space is left.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> Path:
    """Writes a text file atomically, in UTF-8; gives its path back."""
    write_atomic(path, text.encode())
    return path


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_atomic(path, json.dumps(plain(value), indent=2, allow_nan=False).encode())


def plain(value: Any) -> Any:
    """A value as JSON has it; a number that is not finite becomes null."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | None) else str(value)
