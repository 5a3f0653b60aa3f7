"""The sweep: cells that are not done are computed, those that are done stay.

`config.json` holds what all cells of a folder have in common, `cells/` a table for each
that is done, `failed/` the error of each that failed, `networks/` those that are kept,
and trainings that were killed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ecg_jax.errors import SweepError
from ecg_jax.progress import silent
from ecg_jax.runs.pipeline import Begin, Say
from ecg_jax.runs.run_folder import begin as begin_folder
from ecg_jax.storage.files import write_json
from ecg_jax.sweeps.cell import (
    Figures,
    Result,
    Task,
    beats_of,
    compute,
    read_cell,
    table_path,
)
from ecg_jax.sweeps.config import CHOSEN_ON, Cell, SweepConfig
from ecg_jax.sweeps.drivers import Driver, loop
from ecg_jax.sweeps.search import rounds

FORMAT = "ecg_jax.sweep/1"


@dataclass(frozen=True)
class Swept:
    """What a call of `sweep` did.

    Attributes:
      cells: in all.
      computed: how many of them this call computed.
      failed: the error of each that failed, by its name.
    """

    cells: int
    computed: int
    failed: dict[str, str]


def sweep(
    config: SweepConfig,
    out: Path,
    driver: Driver | None = None,
    *,
    say: Say = print,
    begin: Begin | None = None,
) -> Swept:
    """Computes the cells of a sweep that are not done.

    A cell is done when its table is there. So a sweep that was killed goes on with the
    same call, cells that failed are tried again, and a grid may grow. One driver works
    in a folder at a time.

    Args:
      config: what to compute.
      out: the folder; made if it is not there.
      driver: what computes; default: a loop in this process.
      say: told of every cell that ends, with the time that remains.
      begin: told that cells begin; gives what is told how many are done.

    Returns:
      What was done.

    Raises:
      RunInUseError: another sweep is working in the folder.
      RunError: the folder is of another configuration or version.
      RunExistsError: the folder holds something else.
      DriverError: what computes went away; cells that are done stay.
      EcgJaxError: the data are not there.
    """
    for cell in [] if config.search else config.cells():
        _ = cell.config.recordings
    fixed = {"format": FORMAT, "ecg_jax": version("ecg_jax"), **config.fixed}
    beats_of.cache_clear()
    with begin_folder(fixed, out, True, again="the same command"):
        return _Sweep(config, out, say, begin).by(driver or loop())


def raise_if_failed(swept: Swept) -> None:
    """Raises `SweepError`, which names the cells that failed, if some did."""
    if swept.failed:
        lines = [f"  {name}: {error}\n" for name, error in swept.failed.items()]
        raise SweepError(
            f"{len(lines)} of {swept.cells} cells failed:\n{''.join(lines)}"
            "  try: the same command again, which tries them again; failed/ has more"
        )


class _Sweep:
    """A sweep in its folder, and how far it is."""

    def __init__(self, config: SweepConfig, out: Path, say: Say, begin: Begin | None):
        self.config, self.out, self.say = config, out, say
        self.total, self.there = config.num_cells, 0
        self.tell = begin(f"sweep: {self.total} cells") if begin else silent
        self.failed: dict[str, str] = {}
        self.computed = 0
        self.start = time.monotonic()

    def by(self, driver: Driver) -> Swept:
        """Has a driver compute what is not done."""
        with driver as drive:
            for cells in self._rounds():
                new = {c.name: self._task(c) for c in cells if not self._done(c)}
                todo = sorted(new.values(), key=_beats)
                self.there += len(cells) - len(todo)
                self.tell(self.there, self.total)
                for task, result in drive(compute, todo) if todo else ():
                    self._ended(task.cell, result)
        return Swept(self.total, self.computed, self.failed)

    def _rounds(self) -> Iterator[list[Cell]]:
        if self.config.search is None:
            yield self.config.cells()
        else:
            yield from rounds(self.config, self.out, self._objective)

    def _task(self, cell: Cell) -> Task:
        config = self.config
        return Task(
            cell, self.out.resolve(), config.equation, config.resamples, config.networks
        )

    def _done(self, cell: Cell) -> bool:
        done = table_path(self.out, cell).exists()
        if done:  # by a worker that was lost after it, perhaps
            self._failure(cell).unlink(missing_ok=True)
        return done

    def _failure(self, cell: Cell) -> Path:
        return self.out / "failed" / f"{cell.name}.json"

    def _objective(self, cell: Cell) -> float | None:
        """The figure that a search makes large; None of a cell that failed."""
        if not self._done(cell):
            return None
        return objective(read_cell(table_path(self.out, cell)), self.config)

    def _ended(self, cell: Cell, result: Result) -> None:
        """Notes a cell that is done, or why it failed."""
        path = self._failure(cell)
        if isinstance(result, str):
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"cell": cell.name, "error": result.strip()})
            last = [line for line in result.splitlines() if line[:1].strip()][-1]
            self.failed[cell.name] = last
            what = f"failed: {last}"
        else:
            path.unlink(missing_ok=True)
            self.computed += 1
            what = f"{self.config.objective} {objective(result, self.config):.4f}"
        self.there += 1
        self.say(f"  {self.there} of {self.total}{self._left()}: {cell.name}: {what}")
        self.tell(self.there, self.total)

    def _left(self) -> str:
        """About how much time remains, from the cells of this call."""
        ended = self.computed + len(self.failed)
        left = (time.monotonic() - self.start) / ended * (self.total - self.there)
        return f", about {left:.0f} s left" if left else ""


def _beats(task: Task) -> str:
    """Cells of the same beats come one after the other."""
    return repr((task.cell.config.data, task.cell.config.beats))


def objective(figures: Figures, config: SweepConfig) -> float:
    """The figure of a cell that a sweep is about.

    Raises:
      SweepError: cells have no such figure.
    """
    if config.objective not in figures:
        have = [name for name in figures if name.startswith(CHOSEN_ON)]
        raise SweepError(
            f"cells have no {config.objective!r}.\n  try: one of {', '.join(have)}"
        )
    return float(figures[config.objective])
