"""One cell of a sweep: a network trained and measured, and a table with its figures."""

import shutil
import time
import traceback
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax.ecg.beats import BeatConfig, Beats
from ecg_jax.networks.saved import Network
from ecg_jax.networks.train import read_history
from ecg_jax.runs.pipeline import Run
from ecg_jax.runs.source import need_split, source_of
from ecg_jax.statistics.quality import Interval, measure
from ecg_jax.storage.lock import locked_beside
from ecg_jax.storage.table import read_parquet, write_parquet
from ecg_jax.sweeps.config import Cell, short
from ecg_jax.views.evaluation import measured_rows
from ecg_jax.views.partition import arithmetic, coverage

SIDES = ("validation", "heldout")
HAD_BY = ("ecg_jax", "jax", "device")
Figures = dict[str, Any]
Result = Figures | str
"""Figures of a cell; or why there are none."""


@dataclass(frozen=True)
class Task:
    """A cell to be computed, and where its table goes.

    Attributes:
      cell: which.
      folder: of the sweep, on a disk that the driver sees too.
      equation: also grow and evaluate the equation.
      resamples: of held-out recordings, for intervals.
      networks: keep the network.
    """

    cell: Cell
    folder: Path
    equation: bool = False
    resamples: int = 0
    networks: bool = False

    @property
    def table(self) -> Path:
        """The table of the cell: there when the cell is done."""
        return table_path(self.folder, self.cell)


def table_path(folder: Path, cell: Cell) -> Path:
    """Where the table of a cell is, in the folder of a sweep."""
    return folder / "cells" / f"{cell.name}.parquet"


def compute(task: Task) -> Result:
    """Computes a cell, unless its table is there, and writes the table.

    A training that was killed goes on from its last epoch.

    Args:
      task: the cell.

    Returns:
      Its figures; or the traceback, if it raised an error.
    """
    work = task.folder / "networks" / task.cell.name
    try:
        work.parent.mkdir(parents=True, exist_ok=True)
        task.table.parent.mkdir(exist_ok=True)
        with locked_beside(work):
            if task.table.exists():
                return read_cell(task.table)
            figures = _figures(task, work)
            write_parquet(_columns(figures, task.cell), task.table)
            if not task.networks:
                shutil.rmtree(work)
            return figures
    except Exception:
        return traceback.format_exc()


def read_cell(table: Path) -> Figures:
    """What the table of a cell says.

    Raises:
      RunError: it cannot be read.
    """
    return {name: column[0] for name, column in read_parquet(table).items()}


@lru_cache(maxsize=1)
def beats_of(
    data: str, data_dir: Path | None, labels: str, config: BeatConfig
) -> Beats:
    """The beats of a data set, kept for the next cell."""
    beats = source_of(data, data_dir, labels).beats(config)
    need_split(beats)
    return beats


def _figures(task: Task, work: Path) -> Figures:
    """What is known of a cell's network."""
    config, start = task.cell.config, time.perf_counter()
    beats = beats_of(config.data, config.data_dir, config.labels, config.beats)
    work.mkdir(exist_ok=True)
    run = Run(work, config, _nobody)
    network = run.network(beats)
    assert isinstance(network, Network)
    history = read_history(work / "model")
    scores = [epoch["score"] for epoch in history]
    found: Figures = {}
    for side in SIDES:
        resamples = task.resamples if side == "heldout" else 0
        found |= _quality(network, beats, side, resamples)
    found |= {
        "weights": sum(a.size for a in jax.tree.leaves(network.variables["params"])),
        "epochs": len(history),
        "best_epoch": int(np.argmax(scores)) + 1,
    }
    if task.equation:
        found |= _equation(run, network, beats)
    seconds = {f"seconds.{k}": v for k, v in run.timing().items()}
    seconds["seconds.cell"] = time.perf_counter() - start
    return found | seconds | {key: network.card.versions[key] for key in HAD_BY}


def _quality(network: Network, beats: Beats, side: str, resamples: int) -> Figures:
    """AUC and accuracy on the recordings of one side."""
    rows = measured_rows(beats, side)
    rows = rows[beats.is_labelled[rows]]
    whole = beats.is_normal_record if beats.labelled == "recordings" else None
    measured = measure(
        network.margins(beats.inputs(rows)),
        beats.is_normal[rows],
        beats.record[rows],
        whole,
        num_resamples=resamples,
    )
    found: Figures = {}
    names = ("beat_auc", "beat_accuracy", "record_auc", "record_accuracy")
    for name in names if whole is not None else names[:2]:
        figure: Interval = getattr(measured, name)
        found[f"{side}.{name}"] = figure.value
        if resamples:
            found[f"{side}.{name}.low"] = figure.low
            found[f"{side}.{name}.high"] = figure.high
    return found


def _equation(run: Run, network: Network, beats: Beats) -> Figures:
    """Answers proven and purity of the cells, as `ecg-jax run` has them."""
    tree = run.tree(network, beats)
    evaluation = run.evaluation(network, tree, beats)
    found: Figures = {
        "components": len(tree.nodes) - 1,
        "exactness.decision_agreement": evaluation.certificate.decision_agreement,
        "wrongly_proven": sum(evaluation.contradictions.values()),
    }
    with arithmetic(tree):
        chosen = coverage(evaluation.part, measured_rows(beats, "validation"))
    for side, sides in zip(SIDES, (chosen, evaluation.coverage), strict=True):
        for row in sides:
            of = row.side.replace(" ", "_")
            found[f"{side}.proven_{of}"] = row.proven_any
            found[f"{side}.one_everywhere_{of}"] = row.one_everywhere
    for row in evaluation.purity:
        depth = f"heldout.purity.depth{row['depth']}"
        found[depth] = row["variance_explained"]["score"]
    return found


def _columns(figures: Figures, cell: Cell) -> dict[str, np.ndarray]:
    """A table of one row: which cell, its options, its figures.

    A list among the options is a text, such as "256-64-16".
    """
    options = {
        key: short(value) if isinstance(value, tuple | Path) else value
        for key, value in cell.options.items()
    }
    row = {"cell": cell.name, "row": cell.row, **options, **figures}
    return {
        name: np.array([value], object if isinstance(value, str) else None)
        for name, value in row.items()
    }


def _nobody(line: str) -> None:
    del line
