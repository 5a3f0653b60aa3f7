"""What decides a sweep: its configuration file, and the cells that it stands for."""

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ecg_jax.ecg.classes import parse
from ecg_jax.errors import EcgJaxError, SweepError
from ecg_jax.runs.config import RunConfig
from ecg_jax.runs.source import is_beats_file
from ecg_jax.storage.files import plain
from ecg_jax.storage.manifest import sha256
from ecg_jax.sweeps.keys import SEED, SEEDS, configured, flat, known, nearest, typed

Options = Mapping[str, Any]
CHOSEN_ON = "validation."
"""Figures of other recordings choose nothing."""


@dataclass(frozen=True)
class Cell:
    """One network of a sweep.

    Attributes:
      name: of its file; says which it is, and ends in a digest of all that decides it.
      options: what it differs from the others in, by dotted names.
      config: the whole configuration.
      row: the name of its row, if it is of one.
    """

    name: str
    options: Options
    config: RunConfig
    row: str = ""


@dataclass(frozen=True)
class Interval:
    """Values that a search may take.

    Attributes:
      low: the least.
      high: the largest.
      log: whether their logarithms are searched.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Search:
    """A search by Optuna's TPE sampler instead of a grid.

    Attributes:
      space: an `Interval`, or values to choose from, for each option.
      trials: cells in all.
      parallel: cells that are asked for at a time, none knowing of the others.
      seed: of the sampler.
    """

    space: Mapping[str, Any]
    trials: int = 20
    parallel: int = 1
    seed: int = 0


@dataclass(frozen=True)
class SweepConfig:
    """Everything that decides the results of a sweep, and how they are had.

    Attributes:
      base: options of every cell; the others are those of `ecg-jax run`.
      rows: options by the name of a row.
      grid: values by option; a cell for each row and each combination.
      search: instead of a grid.
      objective: the validation figure that a search makes large, and results are
        sorted by.
      equation: also grow and evaluate the equation, as `ecg-jax run` does.
      resamples: of held-out recordings, for intervals; 0: none.
      networks: keep the networks, in `networks/CELL/model`.
      submitit: parameters of `submitit.AutoExecutor`, such as `timeout_min`.
    """

    base: Options = field(default_factory=dict)
    rows: Mapping[str, Options] = field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    search: Search | None = None
    objective: str = "validation.beat_auc"
    equation: bool = False
    resamples: int = 0
    networks: bool = False
    submitit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fixed(self) -> dict[str, Any]:
        """What all cells have in common, as JSON: of a folder it never changes."""
        base = plain(asdict(configured(RunConfig(), self.base)))
        del base["data_dir"]
        return {
            "base": base,
            "equation": self.equation,
            "resamples": self.resamples,
            "networks": self.networks,
        }

    @property
    def axes(self) -> tuple[str, ...]:
        """The options that vary over a grid or a search."""
        return tuple(self.search.space if self.search else self.grid)

    @property
    def num_cells(self) -> int:
        """Cells in all."""
        return self.search.trials if self.search else len(self.cells())

    def cells(self) -> list[Cell]:
        """The cells of the grid.

        Raises:
          SweepError: one cannot be, or two are the same.
        """
        rows = self.rows or {"": {}}
        cells = [
            self.cell(row, dict(zip(self.grid, values, strict=True)))
            for row in rows
            for values in itertools.product(*self.grid.values())
        ]
        names = [cell.name for cell in cells]
        for name in names:
            if names.count(name) > 1:
                raise SweepError(f"grid: {name} is there twice.\n  try: it once")
        return cells

    def cell(self, row: str, options: Options) -> Cell:
        """The cell of a row and of values for the axes.

        Raises:
          SweepError: a part of the configuration refuses a value.
        """
        whole = {**self.base, **self.rows.get(row, {}), **options}
        words = [row] * bool(row) + [
            f"{key.rpartition('.')[2]}={short(value)}" for key, value in options.items()
        ]
        try:
            config = configured(RunConfig(), whole)
        except EcgJaxError as error:
            of = f" ({', '.join(words)})" if words else ""
            raise SweepError(f"a cell{of} cannot be: {error}") from error
        decides = plain(asdict(replace(config, data_dir=None)))
        decides |= {"equation": self.equation, "resamples": self.resamples}
        if is_beats_file(config.data) and (file := Path(config.data)).is_file():
            decides["sha256"] = _digest(config.data, file.stat().st_mtime_ns)
        if not config.labels:  # cells that are done keep their names
            del decides["labels"]
        elif (table := parse(config.labels)[1]) is not None and table.is_file():
            decides["labels_sha256"] = _digest(str(table), table.stat().st_mtime_ns)
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode())
        slug = re.sub(r"[^\w.=+-]+", "-", "_".join(words), flags=re.ASCII)
        slug = slug[:100].lstrip(".-")
        name = f"{slug or 'cell'}_{digest.hexdigest()[:8]}"
        return Cell(name, options, config, row)


def short(value: Any) -> str:
    """A value of an option in few letters."""
    if isinstance(value, tuple):
        return "-".join(map(str, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def read_config(path: Path, data_dir: Path | None = None) -> SweepConfig:
    """A sweep's configuration from a TOML or a JSON file.

    Args:
      path: the file.
      data_dir: where the recordings of a named data set are, on this machine.

    Raises:
      SweepError: it is missing, cannot be read, or says what no sweep has.
    """
    table = _read(path)
    names = [item.name for item in fields(SweepConfig)]
    for key in table:
        if key not in names:
            raise SweepError(
                f"{path}: there is no {key!r}.\n  try: {nearest(key, names)}"
            )
    if ("grid" in table or "rows" in table) and "search" in table:
        raise SweepError(f"{path}: both a grid and a search.\n  try: one of them")
    for key, value in table.items():
        if not _FITS.get(key, _is_table)(value):
            words = _TRY.get(key, f"[{key}]")
            raise SweepError(
                f"{path}: {key} = {value!r} is not of its type.\n  try: {words}"
            )
    rows = table.get("rows", {})
    config = SweepConfig(
        **{
            **table,
            "base": _options(table.get("base", {}), "base"),
            "rows": {name: _options(row, f"rows.{name}") for name, row in rows.items()},
            "grid": _axes(table.get("grid", {}), "grid"),
            "search": _search(table["search"]) if "search" in table else None,
        }
    )
    if data_dir is not None:
        config = replace(config, base={**config.base, "data-dir": data_dir})
    _check(config, path)
    return config


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


_FITS: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "rows": lambda v: _is_table(v) and all(map(_is_table, v.values())),
        "objective": lambda v: isinstance(v, str),
        "equation": lambda v: isinstance(v, bool),
        "networks": lambda v: isinstance(v, bool),
        "resamples": lambda v: type(v) is int and v >= 0,
    }
)
_TRY = MappingProxyType(
    {
        "rows": "a table for each row, [rows.NAME]",
        "objective": '"validation.beat_auc"',
        "equation": "true or false",
        "networks": "true or false",
        "resamples": "0, or 1000",
    }
)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SweepError(
            f"{path} cannot be read: {error.strerror}.\n  try: a .toml or .json file"
        ) from error
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise SweepError(f"{path} is no {kind}: {error}.") from error
    if not isinstance(found, Mapping):
        raise SweepError(f"{path} holds no JSON object.\n  try: {{'grid': ...}}")
    return found


def _options(table: Mapping[str, Any], where: str) -> Options:
    return {key: typed(key, value, where) for key, value in flat(table, where).items()}


def _axes(table: Mapping[str, Any], where: str) -> Mapping[str, tuple[Any, ...]]:
    found = {}
    for key, values in flat(table, where).items():
        if not isinstance(values, list) or not values:
            raise SweepError(
                f"{where}: {key} = {values!r} is no list of values.\n"
                f"  try: {key!r} = [...], or move it to base"
            )
        if key == "data-dir":
            raise SweepError(
                f"{where}: data-dir says where data lie, not which.\n"
                "  try: it in base, and 'data' here"
            )
        found[key] = tuple(typed(key, value, where) for value in values)
    return found


def _search(table: Mapping[str, Any]) -> Search:
    names = [item.name for item in fields(Search)]
    for key in table:
        if key not in names:
            raise SweepError(
                f"search: there is no {key!r}.\n  try: {nearest(key, names)}"
            )
    for key, least in (("trials", 1), ("parallel", 1), ("seed", 0)):
        value = table.get(key, least)
        if type(value) is not int or value < least:
            raise SweepError(
                f"search: {key} = {value!r} is no whole number from {least} up.\n"
                f"  try: {getattr(Search, key)}"
            )
    space = {}
    for key, values in flat(table.get("space", {}), "search.space").items():
        if isinstance(values, Mapping):
            space[key] = _interval(key, values)
        else:
            space |= _axes({key: values}, "search.space")
    if not space:
        raise SweepError("search: its space is empty.\n  try: space.'seed' = [0, 1]")
    return Search(**{**table, "space": space})


def _interval(key: str, table: Mapping[str, Any]) -> Interval:
    """An interval, its ends of the option's type.

    Raises:
      SweepError: the option is no number, or the ends are none of an interval.
    """
    cure = "a list of values; an interval is of numbers"
    if known()[key] in (int, float):
        cure = "{low = 0.001, high = 0.01, log = true}, low above 0"
        if set(table) <= {"low", "high", "log"} and {"low", "high"} <= set(table):
            low, high = (typed(key, table[end], "search.space") for end in _ENDS)
            log = table.get("log", False)
            if low < high and isinstance(log, bool) and (low > 0 or not log):
                return Interval(low, high, log)
    raise SweepError(
        f"search.space: {key} = {dict(table)!r} is no interval.\n  try: {cure}"
    )


_ENDS = ("low", "high")


def _check(config: SweepConfig, path: Path) -> None:
    """Refuses what would be said twice, or chosen by what only reports."""
    if not config.objective.startswith(CHOSEN_ON):
        raise SweepError(
            f"{path}: the objective {config.objective!r} is no validation figure; "
            "held-out recordings report, they choose nothing.\n"
            "  try: validation.beat_auc"
        )
    for row in config.rows.values() or [{}]:
        keys = [*config.base, *row, *config.axes]
        said = [name for key in keys for name in (SEEDS if key == SEED else (key,))]
        for name in said:
            if said.count(name) > 1:
                raise SweepError(
                    f"{path}: {name} is said twice, in base, in a row or on an axis.\n"
                    "  try: once (seed says training.seed and cover.seed)"
                )
    if config.search is None:
        config.cells()


@lru_cache
def _digest(path: str, changed: int) -> str:
    """The SHA-256 of a file that was changed at a time."""
    del changed
    return sha256(Path(path))
