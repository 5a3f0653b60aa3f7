"""Tables of columns as Parquet files."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ecg_jax.errors import RunError
from ecg_jax.storage.files import replacing


def write_parquet(columns: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes columns of equal length to one Parquet file, atomically.

    Raises:
      DiskFullError: no space is left.
    """
    import duckdb

    with replacing(path) as temporary, duckdb.connect() as connection:
        connection.register("columns", dict(columns))
        quoted = str(temporary).replace("'", "''")
        try:
            connection.execute(
                f"COPY (SELECT * FROM columns) TO '{quoted}' (FORMAT parquet)"
            )
        except duckdb.IOException as error:
            full = "No space left" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error


def read_parquet(path: Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file.

    Raises:
      RunError: it cannot be read.
    """
    import duckdb

    try:
        with duckdb.connect() as connection:
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            return {k: _filled(v) for k, v in found.fetchnumpy().items()}
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{path} cannot be read: {reason}\n  try: run again with another --out"
        ) from error


def _filled(column: Any) -> np.ndarray:
    """A column as it was written: NaN is stored as null."""
    if np.issubdtype(column.dtype, np.floating):
        return np.ma.filled(column, np.nan)
    return np.asarray(column)
