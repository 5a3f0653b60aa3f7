"""The results of a sweep as a table, over its files, and as a figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_jax.draw import spread
from ecg_jax.errors import SweepError
from ecg_jax.sweeps.cell import table_path
from ecg_jax.sweeps.config import SweepConfig
from ecg_jax.sweeps.keys import SEED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED_AXES = (SEED, "training.seed")
Table = tuple[list[str], list[tuple[Any, ...]]]


def results(config: SweepConfig, folder: Path) -> Table:
    """The figures of all cells that are done, the best objective first.

    Where seeds are an axis, cells that differ in the seed only are one line: how many
    they are, the mean of every figure, and the standard deviation of the objective;
    intervals, which have no mean, are left out.

    Args:
      config: of the sweep.
      folder: where its results are.

    Returns:
      Names of columns, and rows.

    Raises:
      SweepError: there are no results, or they cannot be read.
    """
    import duckdb

    with duckdb.connect() as connection:
        try:
            cells = connection.read_parquet(_files(config, folder), union_by_name=True)
            connection.register("cells", cells)
            found = connection.sql(_query(config, cells.columns))
            return found.columns, found.fetchall()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise SweepError(f"{folder} cannot be read: {reason}") from error


def as_text(table: Table) -> str:
    """A table in columns of equal width.

    Example:
      >>> print(as_text((["row", "auc"], [("wide", 0.75), ("narrow", 0.5)])))
      row      auc
      wide    .750
      narrow  .500
    """
    names, rows = table
    lines = [names, *([_word(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [
        any(isinstance(value, str) for value in column)
        for column in zip(*rows, strict=True)
    ]
    return "\n".join(
        "  ".join(
            word.ljust(width) if text else word.rjust(width)
            for word, width, text in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def counted(config: SweepConfig, folder: Path) -> str:
    """How many cells are done, and what there would be without a network."""
    done = len(_files(config, folder))
    return f"{done} of {config.num_cells} cells; the AUC of chance is .5"


def figure(config: SweepConfig, folder: Path) -> "Figure":
    """The objective of every cell that is done, over each axis.

    Raises:
      SweepError: there are no results.
    """
    import duckdb

    axes = _columns_of(config)
    with duckdb.connect() as connection:
        cells = connection.read_parquet(_files(config, folder), union_by_name=True)
        names = ", ".join(f'"{name}"' for name in [*axes, config.objective])
        rows = cells.select(names).fetchall()
    values = [row[-1] for row in rows]
    return spread(
        {axis: [row[at] for row in rows] for at, axis in enumerate(axes)},
        values,
        y_label=config.objective,
    )


def _columns_of(config: SweepConfig) -> list[str]:
    """The columns that tell cells apart."""
    return [*(["row"] if config.rows else []), *config.axes]


def _files(config: SweepConfig, folder: Path) -> list[str]:
    """Tables of the cells that are done: of a search all, else those of the grid."""
    if config.search:
        found: Sequence[Path] = sorted(folder.glob("cells/*.parquet"))
    else:
        found = [table_path(folder, cell) for cell in config.cells()]
    done = [str(path) for path in found if path.exists()]
    if not done:
        raise SweepError(
            f"{folder} holds no results of this sweep.\n  try: without --show first"
        )
    return done


def _query(config: SweepConfig, columns: list[str]) -> str:
    """The SQL of a table: options, then figures."""
    axes = _columns_of(config)
    known = {"cell", "row", "ecg_jax", "jax", "device", *axes}
    figures = [name for name in columns if name not in known]
    if config.objective not in figures:
        raise SweepError(
            f"cells have no {config.objective!r}.\n  try: one of {', '.join(figures)}"
        )
    figures.sort(key=lambda name: name != config.objective)
    keys = [f'"{axis}"' for axis in axes if axis not in SEED_AXES]
    if len(keys) == len(axes):
        chosen = [*keys, *(f'"{name}"' for name in figures)]
        return f'SELECT {", ".join(chosen)} FROM cells ORDER BY "{figures[0]}" DESC'
    deviation = f'stddev_samp("{figures[0]}") AS "sd over seeds"'
    averaged = [name for name in figures if not name.endswith((".low", ".high"))]
    means = [f'avg("{name}") AS "{name}"' for name in averaged]
    chosen = [*keys, "count(*) AS cells", means[0], deviation, *means[1:]]
    return (
        f"SELECT {', '.join(chosen)} FROM cells GROUP BY ALL "
        f'ORDER BY "{figures[0]}" DESC'
    )


def _word(value: Any) -> str:
    """A figure with three decimals, or three digits where it is above 1."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if abs(value) >= 1000:
        return f"{value:.0f}"
    if 0.001 <= abs(value) <= 1:
        return f"{value:.3f}".replace("0.", ".", 1)
    return f"{value:.3g}"
