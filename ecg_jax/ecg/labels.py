"""What recordings are labelled as, and on which side of a split a data set puts them.

The first of these that there is decides, for all recordings of a folder:

1. What the user says: a table with the columns `recording,label` and, if folds are
   given, `fold` or `split`; or a name for each recording.
2. `REFERENCE*.csv`, the newest, without a header: name, label. That of CPSC 2018 has
   one, `Recording,First_label,...`, and numbers; the first label counts, "Normal" only
   where it is alone.
3. `ptbxl_database.csv` of PTB-XL: superclasses and `strat_fold`, see `_ptb_xl`.
4. `#Dx:` lines in headers, of the 2020 and 2021 Challenges, see `_snomed`.

Labels keep the names that they have there. Which of them count as normal is decided
apart, by `classes`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_jax.ecg import _ptb_xl
from ecg_jax.ecg._label_table import LabelTable, Row, column_rows, csv_rows
from ecg_jax.ecg._snomed import label_in_header
from ecg_jax.errors import DataError, LabelError, MissingFileError

Told = str | Path | Mapping[str, Any] | Sequence[Any]
"""What a user says: the path of a table, labels by recording, or one for each."""

COLUMNS = ("recording", "label")
FOLDS = ("fold", "split")
SIDES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "heldout": "heldout",
    "held-out": "heldout",
    "test": "heldout",
}
"""The side that a word in a column `fold` or `split` stands for."""

FEWEST_FOLDS = 3
CPSC_HEADER = ("Recording", "First_label")
CPSC_LABELS = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
"""Of CPSC 2018, whose numbers begin at 1."""

PARTS = ("training", "records100", "records500")
"""Folders of recordings whose tables lie one above."""


@dataclass(frozen=True)
class Labels:
    """The labels of a folder.

    Attributes:
        labels: Of each recording, None where nobody has said.
        sides: Side of each, "train", "validation" or "heldout"; empty where the data
            set gives none.
        excluded: Recordings that cannot be used for their labels, with the reason.
        source: What said it: "", "told", "reference", "ptb-xl" or "dx".
    """

    labels: Mapping[str, str | None]
    sides: Mapping[str, str]
    excluded: Mapping[str, str]
    source: str = ""


def read_labels(
    root: Path, paths: Mapping[str, str], told: Told | None = None
) -> Labels:
    """The label of every recording of a folder; see the head of this module.

    Args:
        root: The folder.
        paths: File of each recording, without suffix, relative to `root`, by name.
        told: What the user says.

    Raises:
        DataError: A table has other columns, or none of its rows is of the folder.
        MissingFileError: It is not there.
    """
    if told is not None:
        table = _table_of(told, paths)
        return _looked_up(table, paths, "told", others=_others(table, root, paths))
    if path := _reference(root):
        return _looked_up(_read_reference(path), paths, "reference")
    if path := _beside(root, _ptb_xl.DATABASE):
        return _looked_up(_ptb_xl.read_database(path[-1]), paths, "ptb-xl")
    labels: dict[str, str | None] = dict.fromkeys(paths)
    excluded: dict[str, str] = {}
    for name, stem in paths.items():
        try:
            labels[name] = label_in_header(root / f"{stem}.hea")
        except LabelError as error:
            excluded[name] = str(error)
    found = excluded or any(label is not None for label in labels.values())
    return Labels(labels, {}, excluded, "dx" if found else "")


def label_of(path: Path, record: Path) -> str | None:
    """What a user's table says of one recording.

    Args:
        path: The table, with the columns `recording,label`.
        record: Path of the recording, or its name; the table may hold its last parts.

    Returns:
        The label; None where the table is gone or says none.
    """
    if not path.is_file():
        return None
    names = [
        "/".join(own.parts[k:])
        for own in (record, record.with_suffix(""))
        for k in range(len(own.parts))
    ]
    try:
        return _read_own(path).find(names).label
    except LabelError:
        return None


def _looked_up(
    table: LabelTable,
    paths: Mapping[str, str],
    source: str,
    others: Mapping[str, str] | None = None,
) -> Labels:
    """What a table says of the recordings of a folder."""
    labels, sides, excluded = {}, {}, {}
    for name, stem in paths.items():
        try:
            row = table.find(_names(name, stem))
        except LabelError as error:
            excluded[name] = str(error)
            continue
        labels[name] = row.label
        if row.side:
            sides[name] = row.side
    return Labels(labels, sides, {**excluded, **(others or {})}, source)


def _names(name: str, stem: str) -> tuple[str, ...]:
    """The names that a table may call a recording by."""
    return (name, stem, stem.removeprefix("training/"), stem.rsplit("/", 1)[-1])


def _others(
    table: LabelTable, root: Path, paths: Mapping[str, str]
) -> Mapping[str, str]:
    """A word on the rows of a user's table that are of no recording."""
    known = {key for name, stem in paths.items() for key in _names(name, stem)}
    strangers = [name for name in table.rows if name not in known]
    if not strangers:
        return {}
    first, row = strangers[0], table.rows[strangers[0]]
    line = f", line {row.line}" if isinstance(row, Row) and row.line else ""
    if len(strangers) == len(table.rows):
        raise DataError(
            f"{table.source}{line}: {first!r} is no recording of {root}, and neither "
            f"is any other that is named; {next(iter(paths))!r} is one.\n"
            "  try: the names of the files, without suffix"
        )
    more = f", nor are {len(strangers) - 1} others" if strangers[1:] else ""
    return {
        first: (
            f"{table.source}{line}: {first!r} is no recording of {root}{more}.\n"
            "  try: the names of the files without suffix, such as "
            f"{next(iter(paths))!r}"
        )
    }


def _table_of(told: Told, paths: Mapping[str, str]) -> LabelTable:
    """What the user says, as a table."""
    if isinstance(told, str | Path):
        return _read_own(Path(told))
    if not isinstance(told, Mapping):
        if len(told) != len(paths):
            raise DataError(
                f"{len(told)} labels, and the folder holds {len(paths)} recordings.\n"
                "  try: one label for each recording, in the order of RECORDS; or "
                "{name: label}; or the path of a table"
            )
        told = dict(zip(paths, told, strict=True))
    table = LabelTable("the labels given")
    for name, label in told.items():
        empty = label is None or label != label or label == ""
        table.add(str(name), Row(0, None if empty else str(label)))
    return table


def _read_own(path: Path) -> LabelTable:
    """A table of the user's own: recording, label and, maybe, fold."""
    if not path.is_file():
        raise MissingFileError(
            f"{path} is not there, to take labels from.\n"
            "  try: a table with the columns recording,label; or NAME=CLASS"
        )
    line, header = next(csv_rows(path), (1, []))
    unknown = [name for name in header if name not in (*COLUMNS, *FOLDS)]
    if unknown or header.count("fold") + header.count("split") > 1:
        what = f"unknown column {unknown[0]!r}" if unknown else "both fold and split"
        raise DataError(
            f"{path}, line {line}: {what}.\n"
            "  try: the columns recording,label and, if folds are given, fold"
        )
    rows = list(column_rows(path, COLUMNS))
    column = next((name for name in FOLDS if name in header), None)
    sides = _sides([row[column] for _, row in rows]) if column else {}
    table = LabelTable(str(path))
    for line, row in rows:
        name, side = row["recording"], ""
        if column and not (side := sides.get(row[column], "")):
            table.add(
                name,
                f"{path}, line {line}: the {column} of {name} is {row[column]!r}.\n"
                "  try: train, validation or heldout; or numbers, of which the highest "
                "is held out and the next validates",
            )
            continue
        table.add(name, Row(line, row["label"] or None, side))
    if not table.rows:
        raise DataError(
            f"{path} has a header, and no row.\n  try: a row for each recording"
        )
    return table


def _sides(cells: Sequence[str]) -> dict[str, str]:
    """The side of each word; of numbers the highest is held out, the next validates."""
    words = {cell: SIDES[cell.lower()] for cell in cells if cell.lower() in SIDES}
    folds = sorted({int(cell) for cell in cells if re.fullmatch(r"\d+", cell)})
    if words or len(folds) < FEWEST_FOLDS:
        return words
    last = {folds[-1]: "heldout", folds[-2]: "validation"}
    return {
        cell: last.get(int(cell), "train")
        for cell in cells
        if re.fullmatch(r"\d+", cell)
    }


def _beside(root: Path, pattern: str) -> list[Path]:
    """Files of that name in the folder, in `training/`, or above a part."""
    above = (root.parent,) if root.name in PARTS else ()
    for folder in (root, root / "training", *above):
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _reference(root: Path) -> Path | None:
    """The newest of `REFERENCE.csv`, `REFERENCE-v1.csv`, ..."""

    def version(path: Path) -> tuple[int, str]:
        found = re.search(r"v(\d+)", path.stem)
        return (int(found[1]) if found else -1, path.name)

    return max(_beside(root, "REFERENCE*.csv"), key=version, default=None)


def _read_reference(path: Path) -> LabelTable:
    """Rows of name and label; of CPSC 2018 of name and up to three numbers."""
    rows = list(csv_rows(path))
    is_cpsc = bool(rows) and tuple(rows[0][1][:2]) == CPSC_HEADER
    table = LabelTable(str(path))
    for line, (name, *cells) in rows[is_cpsc:]:
        said: Row | str = Row(line, (cells[0] if cells else "") or None)
        if is_cpsc:
            said = _cpsc(path, line, name, list(filter(None, cells[:3])))
        table.add(name, said)
        table.rows.setdefault(name.rsplit("/", 1)[-1], said)
    return table


def _cpsc(path: Path, line: int, name: str, cells: Sequence[str]) -> Row | str:
    """The first label that is not normal, or else that."""
    numbers = [str(1 + at) for at in range(len(CPSC_LABELS))]
    if unknown := [cell for cell in cells if cell not in numbers]:
        return (
            f"{path}, line {line}: {unknown[0]!r} is no label of {name}.\n"
            f"  try: a number from 1 ({CPSC_LABELS[0]}) to 9 ({CPSC_LABELS[-1]})"
        )
    named = [CPSC_LABELS[int(cell) - 1] for cell in cells]
    others = [label for label in named if label != CPSC_LABELS[0]]
    return Row(line, next(iter(others or named), None))


__all__ = ["Labels", "Told", "read_labels"]
