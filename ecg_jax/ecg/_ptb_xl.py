"""Labels and folds of PTB-XL: superclasses of its `scp_codes`, and its `strat_fold`.

A recording has several statements, each with a likelihood (0: unknown), and
`scp_statements.csv` says of which superclass a diagnostic one is: NORM, MI, STTC, CD,
HYP. One label is chosen: NORM where no other superclass is named; else the other one of
the highest likelihood, of equal ones the first in the order MI, STTC, CD, HYP. With
statements of form and rhythm alone there is no label. Folds 1 to 8 are trained on, 9
validates and 10 is held out, as the authors recommend; people are on one side.

Source: Wagner et al., *PTB-XL, a large publicly available electrocardiography dataset*,
Scientific Data 7:154, 2020.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from ecg_jax.ecg._label_table import LabelTable, Row, column_rows
from ecg_jax.errors import LabelError, MissingFileError

DATABASE, STATEMENTS = "ptbxl_database.csv", "scp_statements.csv"
FILES = ("filename_hr", "filename_lr")
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
SIDE_OF_FOLD = {
    **{str(fold): "train" for fold in range(1, 9)},
    "9": "validation",
    "10": "heldout",
}

_PAIR = r"""\s*(?:'([^'"]+)'|"([^'"]+)")\s*:\s*(\d+(?:\.\d*)?)\s*"""
_DICT = re.compile(rf"\s*\{{(?:{_PAIR}(?:,{_PAIR})*,?)?\s*\}}\s*")


def read_codes(text: str) -> dict[str, float]:
    """Statements and their likelihoods, out of a dict that is written as text.

    Raises:
        ValueError: It is none.

    Example:
        >>> read_codes("{'NORM': 100.0, 'SR': 0.0}")
        {'NORM': 100.0, 'SR': 0.0}
    """
    if not _DICT.fullmatch(text):
        raise ValueError(text)
    return {one or two: float(value) for one, two, value in re.findall(_PAIR, text)}


def superclass(codes: Mapping[str, float], classes: Mapping[str, str]) -> str | None:
    """The one label of a recording; see the head of this module.

    Args:
        codes: Statements and their likelihoods.
        classes: The superclass of each diagnostic statement.
    """
    likelihood: dict[str, float] = {}
    for code, value in codes.items():
        if name := classes.get(code):
            likelihood[name] = max(value, likelihood.get(name, 0.0))
    normal, *others = SUPERCLASSES
    if named := [name for name in others if name in likelihood]:
        return max(named, key=lambda name: likelihood[name])
    return normal if normal in likelihood else None


def read_database(path: Path) -> LabelTable:
    """Label and side of each recording, by its file names.

    Raises:
        MissingFileError: `scp_statements.csv` is not beside it.
        DataError: A column is missing.
    """
    beside = path.with_name(STATEMENTS)
    if not beside.is_file():
        raise MissingFileError(
            f"{path} is there, but not {STATEMENTS} beside it, which says what its "
            "codes mean.\n"
            "  try: `ecg-jax fetch ptb-xl --out DIR`"
        )
    needed = ("diagnostic", "diagnostic_class")
    classes = {
        next(iter(row.values())): row["diagnostic_class"]
        for _, row in column_rows(beside, needed)
        if row["diagnostic"] in ("1", "1.0")
    }
    table = LabelTable(str(path))
    for line, row in column_rows(path, ("scp_codes", "strat_fold", *FILES)):
        for name in filter(None, (row[column] for column in FILES)):
            try:
                said = _row(path, line, row, name, classes)
            except LabelError as error:
                said = str(error)
            for key in (name, name.rsplit("/", 1)[-1]):
                table.add(key, said)
    return table


def _row(
    path: Path, line: int, row: Mapping[str, str], name: str, classes: Mapping[str, str]
) -> Row:
    """What a line says.

    Raises:
        LabelError: Codes or fold make no sense.
    """
    try:
        codes = read_codes(row["scp_codes"])
    except ValueError:
        raise LabelError(
            f"{path}, line {line}: the scp_codes of {name}, {row['scp_codes'][:60]!r}, "
            "are no codes with likelihoods.\n"
            "  try: {'NORM': 100.0, 'SR': 0.0}"
        ) from None
    fold = row["strat_fold"].removesuffix(".0")
    if fold not in SIDE_OF_FOLD:
        raise LabelError(
            f"{path}, line {line}: the strat_fold of {name} is {fold!r}.\n"
            "  try: a number from 1 to 10"
        )
    return Row(line, superclass(codes, classes), SIDE_OF_FOLD[fold])
