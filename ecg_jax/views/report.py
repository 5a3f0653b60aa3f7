"""`report`: the page of a tree and the beats that it decides, with what lies beside it.

A run writes its own page through the same door, `write_all`.
"""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import RunError, RunExistsError
from ecg_jax.pages import build
from ecg_jax.progress import Progress, silent
from ecg_jax.storage.files import plain, write_json, write_text
from ecg_jax.storage.table import write_parquet
from ecg_jax.storage.versions import versions
from ecg_jax.tree.tree import Tree
from ecg_jax.views.components import component_json, components, write_figures
from ecg_jax.views.composites import Composite, composite_metrics, composites
from ecg_jax.views.evaluation import Evaluation, evaluate
from ecg_jax.views.frame import check_beats, name_of
from ecg_jax.views.partition import TABLE
from ecg_jax.views.report_data import About, report_data
from ecg_jax.views.what_changes import TABLE as RANGES
from ecg_jax.views.what_changes import WhatChanges, what_changes

PAGE, COMPONENTS, FIGURES = "report.html", "components.json", "figures"
METRICS = "metrics.json"
Timed = Callable[[str, Callable[[Progress], Any]], Any]


def report(
    tree: Tree,
    beats: Beats,
    out: str | Path,
    *,
    title: str = "",
    citation: str = "",
    replace: bool = False,
) -> Path:
    """Writes what a tree says of beats: one page that opens without a network.

    Args:
      tree: from `ecg_jax.grow`, of any function of one beat.
      beats: from `ecg_jax.beats`; without labels, the sections that need them say so.
      out: a folder, which gets `report.html`, `components.json`, `metrics.json`,
        `partition.parquet`, `ranges.parquet` and `figures/`; or a file whose name ends
        in `.html`, the page alone.
      title: of the page; default: the name of the function.
      citation: how to cite the beats.
      replace: write over a report that is there already.

    Returns:
      The path of the page.

    Raises:
      ExampleError: the tree's function takes no such beats.
      RunExistsError: there is a report already, and `replace` is not set.
      RunError: nothing can be written there.

    Example:
      >>> import jax, numpy as np, ecg_jax as ej
      >>> x = np.sin(np.linspace(0, 6, 40)) * np.linspace(0.5, 1, 80)[:, None]
      >>> beats = ej.beats(x.astype(np.float32), sample_rate_hz=50, r_peak_s=0.2)
      >>> f = lambda x: jax.nn.relu(x[10] - 0.7) - jax.nn.relu(0.7 - x[12])
      >>> tree = ej.grow(f, beats, depth=1, budget=2)
      >>> ej.report(tree, beats, "report").name  # doctest: +SKIP
      'report.html'
    """
    check_beats(tree, beats)
    page = _free(Path(out), replace)
    name = name_of(tree)
    about = About(
        title=title or name,
        subject=f"The function {name}" if name != "your function" else "Your function",
        data="The beats" if beats.given is not None else "Recordings",
        citation=citation,
    )
    found = evaluate(None, tree, beats, None)
    if page == Path(out):
        changed, asked = what_changes(found), composites(found)
        shown = components(found, changed, asked)
        metrics = all_metrics(found, changed, asked)
        metrics = plain({**metrics, "versions": versions()})
        built = build(report_data(found, shown, metrics, about, changed))
        return write_text(page, built)
    write_parquet(found.part.columns(), page.parent / TABLE)
    return write_all(found, page.parent, about)


def write_all(
    found: Evaluation,
    folder: Path,
    about: About,
    timed: Timed = lambda stage, work: work(silent),
    timing: Callable[[], Mapping[str, float]] = dict,
) -> Path:
    """Writes figures, page and metrics of an evaluation, in this order.

    Args:
      found: the evaluation.
      folder: where to; it is there.
      about: what the evaluation does not know.
      timed: does a stage's work, which tells how far it is, and keeps how long it took.
      timing: seconds of every stage so far.

    Returns:
      The path of the page.
    """
    changed = timed("ranges", lambda tell: what_changes(found, tell))
    if columns := changed.columns():
        write_parquet(columns, folder / RANGES)
    asked = composites(found)
    shown = timed("sketches", lambda tell: components(found, changed, asked))
    timed("figures", lambda tell: write_figures(shown, folder / FIGURES))
    write_json(folder / COMPONENTS, [component_json(component) for component in shown])
    metrics = {
        **all_metrics(found, changed, asked),
        **({"distillation": asdict(about.agreement)} if about.agreement else {}),
        "timing": timing(),
        "versions": versions(),
    }
    page = report_data(found, shown, plain(metrics), about, changed)
    path = write_text(folder / PAGE, build(page))
    write_json(folder / METRICS, metrics)
    return path


def all_metrics(
    found: Evaluation, changed: WhatChanges, asked: Mapping[int, Composite]
) -> dict[str, Any]:
    """The figures of an evaluation, of changes, and of composites."""
    return {
        **found.metrics(),
        "ranges": changed.metrics(),
        "composites": composite_metrics(asked, found.part.tree),
    }


def _free(out: Path, replace: bool) -> Path:
    """The path of the page, if it can be written there, before any work is done."""
    alone = out.suffix == ".html"
    folder = out.parent if alone else out
    page = out if alone else out / PAGE
    mine = [page] if alone else [page, folder / METRICS, folder / COMPONENTS]
    there = [path for path in mine if path.exists()]
    if there and (not replace or there[0].is_dir()):
        raise RunExistsError(
            f"{there[0]} is there already.\n  try: replace=True, or another place"
        )
    if folder.exists() and not folder.is_dir():
        raise RunError(
            f"{folder} is a file, not a folder.\n"
            "  try: a folder, or a name that ends in .html"
        )
    if not alone and (folder / "config.json").exists():
        raise RunExistsError(
            f"{folder} holds a run, which has a report of its own.\n"
            "  try: another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise RunError(
            f"{folder} cannot be written to: {reason}.\n  try: another folder"
        ) from error
    return page
