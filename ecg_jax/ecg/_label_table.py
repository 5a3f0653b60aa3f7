"""Rows of a table of labels, by the name of the recording, and what is wrong with some.

The line of each row is kept, so that a message can name it.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ecg_jax.errors import DataError, LabelError


@dataclass(frozen=True)
class Row:
    """What a table says of one recording.

    Attributes:
        line: Of the file, from 1.
        label: A name; None where the table has none.
        side: "train", "validation" or "heldout"; "" where the table does not say.
    """

    line: int
    label: str | None
    side: str = ""


@dataclass(frozen=True)
class LabelTable:
    """What is said of recordings.

    Attributes:
        source: The file, in words.
        rows: By the name of a recording or its path; a text says why a row is of no
            use.
    """

    source: str
    rows: dict[str, Row | str] = field(default_factory=dict)

    def add(self, name: str, row: Row | str) -> None:
        """One more row; of two rows that contradict each other none counts."""
        there = self.rows.get(name)
        if isinstance(there, Row) and isinstance(row, Row):
            if (there.label, there.side) != (row.label, row.side):
                self.rows[name] = (
                    f"{self.source}, lines {there.line} and {row.line}: {name} has two "
                    f"labels, {there.label} and {row.label}, or two folds.\n"
                    "  try: delete one of the lines"
                )
        elif there is None:
            self.rows[name] = row

    def find(self, names: Sequence[str]) -> Row:
        """The row of a recording by the first of its names that there is.

        Raises:
            LabelError: There is none, or it is of no use.
        """
        for name in names:
            if name in self.rows:
                row = self.rows[name]
                if isinstance(row, str):
                    raise LabelError(row)
                return row
        raise LabelError(
            f"no row for {names[0]} in {self.source}.\n"
            f"  try: add one with the recording and its label, such as `{names[0]},N`"
        )


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file that are not empty, with their lines.

    Raises:
        DataError: It is no table.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            reader = csv.reader(file)
            for cells in reader:
                if any(stripped := [cell.strip() for cell in cells]):
                    yield reader.line_num, stripped
    except (OSError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}.\n  try: a text file with commas between "
            "the columns"
        ) from error


def column_rows(
    path: Path, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file by its header; cells that a row lacks are empty.

    Raises:
        DataError: It is no table, or lacks a column.
    """
    rows = csv_rows(path)
    line, header = next(rows, (1, []))
    if missing := [name for name in needed if name not in header]:
        raise DataError(
            f"{path}, line {line}: no column {missing[0]!r}; the columns are "
            f"{', '.join(header[:9]) or 'none'}.\n"
            f"  try: a header with {', '.join(needed)}"
        )
    for at, cells in rows:
        yield at, dict.fromkeys(header, "") | dict(zip(header, cells, strict=False))
