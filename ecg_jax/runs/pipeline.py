"""The main job: recordings to beats, network, equation, partition, report.

Each stage leaves its result in the run folder and is skipped when the result is there,
so a run that was killed goes on with `resume` and ends with the same files.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ecg_jax.ecg.beats import Beats
from ecg_jax.ecg.classes import in_words
from ecg_jax.ecg.data_words import lead_words, missed_words
from ecg_jax.errors import DataError
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.saved import Network, load_network, save_network
from ecg_jax.networks.train import train
from ecg_jax.progress import Progress, silent
from ecg_jax.runs.config import RunConfig
from ecg_jax.runs.model import Model, check_windows
from ecg_jax.runs.run_folder import (
    METRICS,
    TIMING,
    begin,
    read_json,
    shown_path,
)
from ecg_jax.runs.saved_evaluation import (
    EVALUATION,
    load_evaluation,
    save_evaluation,
)
from ecg_jax.runs.source import need_split
from ecg_jax.storage.files import write_json
from ecg_jax.storage.manifest import MANIFEST
from ecg_jax.storage.versions import versions
from ecg_jax.tree.grow import grow
from ecg_jax.tree.store import load, save
from ecg_jax.tree.tree import Tree
from ecg_jax.views.evaluation import Evaluation, evaluate
from ecg_jax.views.frame import seen

if TYPE_CHECKING:
    from ecg_jax.views.report_data import About

MOST_NAMED = 10
Say = Callable[[str], None]
Begin = Callable[[str], Progress]


class Run:
    """A run folder, and the stages that fill it."""

    stages = (
        "beats",
        "train",
        "factor",
        "evaluate",
        "ranges",
        "sketches",
        "figures",
        "report",
    )

    def __init__(
        self, folder: Path, config: RunConfig, say: Say, begin: Begin | None = None
    ):
        self.folder, self.config, self.say = folder, config, say
        self.begin = begin or self._said

    @property
    def trains(self) -> bool:
        """Whether a network is trained."""
        return "train" in self.stages

    def beats(self) -> Beats:
        """Stage 1: recordings cut into beats, from the cache where they are there."""
        source = self.config.recordings
        self.say(f"data: {source.title}")
        found = self._timed(
            "beats", lambda tell: source.beats(self.config.beats, progress=tell)
        )
        if self.trains:
            need_split(found)
        if found.given is not None:
            self.say(str(found))
            return found
        self.say(
            f"beats: {len(found):,} of {len(found.records):,} recordings, "
            f"{len(found.excluded)} left out"
        )
        self.say(f"  labels: {found.label_words}")
        for words in filter(None, (lead_words(found), missed_words(found))):
            self.say(f"  {words}")
        for name, reason in found.excluded[:MOST_NAMED]:
            self.say(f"  {name}: {reason.splitlines()[0]}")
        if len(found.excluded) > MOST_NAMED:
            self.say("  ...; the report names them all")
        return found

    def network(self, beats: Beats) -> Model:
        """Stage 2: a trained network."""
        folder = self.folder / "model"
        if (folder / MANIFEST).exists():
            self.say("train: there already")
            return load_network(folder)
        shape = beats.millivolts.shape
        config = replace(self.config.network, num_leads=shape[1], num_samples=shape[2])
        rows = training_rows(beats)
        variables = self._timed(
            "train",
            lambda tell: train(
                config,
                self.config.training,
                beats.inputs(rows["train"]),
                beats.is_normal[rows["train"]].astype(np.float32),
                beats.record[rows["train"]],
                beats.inputs(rows["validation"]),
                beats.is_normal[rows["validation"]].astype(np.float32),
                beats.record[rows["validation"]],
                folder,
                lambda _, figures: self._epoch(figures, tell),
            ),
        )
        card = self.card(config, beats)
        save_network(folder, Network(config, variables, card), replace=True)
        return load_network(folder)

    def card(self, config: NetworkConfig, beats: Beats) -> ModelCard:
        """What is known of a network that was trained on the beats."""
        name, sides = Path(self.config.data).name, beats.records.split
        return ModelCard(
            title=f"{config.kind} on {name}",
            data=name,
            citation=self.config.recordings.citation,
            split=", ".join(f"{int(np.sum(sides == s))} {s}" for s in np.unique(sides)),
            input=seen(beats),
            training=asdict(self.config.training),
            versions=versions(),
        )

    def tree(self, network: Model, beats: Beats) -> Tree:
        """Stage 3: the equation, grown on all training beats, in float64."""
        folder = self.folder / "equation"
        if folder.exists():
            self.say("factor: there already")
            with jax.enable_x64(True):
                return load(folder)
        rows = beats.reference
        inputs = beats.inputs(rows)
        options = self.config.grown
        with jax.enable_x64(True):
            exact = network.cast(np.float64).margin
            tree = self._timed(
                "factor",
                lambda tell: grow(
                    exact,
                    inputs.astype(np.float64),
                    **asdict(options),
                    records=beats.record[rows] if beats.is_recorded else None,
                    cover=self.config.cover,
                    progress=tell,
                ),
            )
            save(tree, folder)
        self.say(f"equation: {len(tree.nodes) - 1} components")
        return tree

    def evaluation(self, network: Model, tree: Tree, beats: Beats) -> Evaluation:
        """Stage 4: exactness on every beat, figures on held-out recordings."""
        if (self.folder / EVALUATION).exists():
            self.say("evaluate: there already")
        else:
            found = self._timed(
                "evaluate", lambda _: evaluate(network.margin, tree, beats)
            )
            save_evaluation(found, self.folder)
        return load_evaluation(self.folder, tree, beats)

    def report(self, network: Model, found: Evaluation) -> None:
        """Stage 5: metrics, figures, and the page."""
        from ecg_jax.views.report import write_all

        about = self.about(network, found)

        def timed(stage: str, work: Callable[[Progress], Any]) -> Any:
            result = self._timed(stage, work)
            if stage == self.stages[-2]:
                self._begins(self.stages[-1])
            return result

        write_all(found, self.folder, about, timed, self.timing)

    def about(self, network: Model, found: Evaluation) -> "About":
        """What the page says that an evaluation does not know."""
        from ecg_jax.views.report_data import About

        del found
        source = self.config.recordings
        return About(
            title=network.card.title,
            kind=network.kind,
            data=source.title,
            citation=source.citation,
            config=self.config.to_json(),
            command=self.config.command(shown_path(self.folder)),
        )

    def timing(self) -> dict[str, float]:
        """Seconds of every stage, those of interrupted runs included."""
        path = self.folder / TIMING
        return read_json(path) if path.exists() else {}

    def _said(self, title: str) -> Progress:
        """Names a stage, where nobody shows how far it is."""
        self.say(title)
        return silent

    def _begins(self, stage: str) -> Progress:
        """Names a stage that begins."""
        number = 1 + self.stages.index(stage)
        return self.begin(f"{number} of {len(self.stages)}: {stage}")

    def _timed(self, stage: str, work: Callable[[Progress], Any]) -> Any:
        tell, start = self._begins(stage), time.perf_counter()
        result = work(tell)
        timing = self.timing()
        timing[stage] = timing.get(stage, 0.0) + time.perf_counter() - start
        write_json(self.folder / TIMING, timing)
        self.say(f"{stage}: {timing[stage]:.1f} s")
        return result

    def _epoch(self, figures: dict[str, float], tell: Progress) -> None:
        tell(int(figures["epoch"]), self.config.training.num_epochs)
        whole = figures.get("record_auc")
        more = "" if whole is None else f", {whole:.4f} by recording"
        self.say(
            f"  epoch {figures['epoch']:.0f}: loss {figures['loss']:.4f}, validation "
            f"AUC {figures['beat_auc']:.4f} by beat{more}"
        )


def run(
    config: RunConfig,
    out: Path,
    *,
    resume: bool = False,
    say: Say = print,
    begin: Begin | None = None,
) -> dict[str, Any]:
    """The main job, from recordings to the report.

    Args:
      config: everything that decides the result.
      out: the run folder; made if it is not there.
      resume: go on with a run that was interrupted, skipping finished stages.
      say: told of progress, a line at a time.
      begin: told of every stage that begins; gives what is told how far it is.
        Default: `say` names the stage.

    Returns:
      The contents of `metrics.json`.

    Raises:
      RunInUseError: another process is working in the folder.
      RunExistsError: the folder holds a run and `resume` is not set.
      RunError: the run to resume has another configuration.
      EcgJaxError: of any stage.
    """
    return complete(Run(out, config, say, begin), resume=resume)


def complete(job: Run, *, resume: bool) -> dict[str, Any]:
    """Runs the stages of a job that are not finished; see `run`."""
    from ecg_jax.views.report import COMPONENTS, FIGURES, PAGE

    config, out = job.config, job.folder
    # a wrong name, of data or of a lead, leaves no folder behind
    job.config = replace(config, beats=config.recordings.settled(config.beats))
    with begin(job.config.to_json(), out, resume):
        parts = (METRICS, PAGE, COMPONENTS, FIGURES)
        if all((out / part).exists() for part in parts):
            job.say(f"{out} is complete")
            return read_json(out / METRICS)
        beats = job.beats()
        network = job.network(beats)
        check_windows(network, beats)
        tree = job.tree(network, beats)
        job.report(network, job.evaluation(network, tree, beats))
        job.say(f"report: {out / PAGE}")
        return read_json(out / METRICS)


def training_rows(beats: Beats) -> dict[str, np.ndarray]:
    """The labelled beats of the training and the validation recordings.

    Raises:
      DataError: a side has no beats of one of the classes.
    """
    labelled = beats.is_labelled
    if not labelled.any():
        raise DataError(
            "no recording has a label, and none of its beats: a network cannot learn.\n"
            "  try: --labels labels.csv, a table with the columns recording,label"
        )
    if not beats.is_normal.any():
        some = next(iter(beats.label_counts))
        raise DataError(
            f"none of the labels counts as normal; beats by label: "
            f"{in_words(beats.label_counts)}.\n  try: --labels NAME=N with the name "
            f"of the normal ones, such as --labels {some}=N"
        )
    sides = {s: beats.rows(s) for s in ("train", "validation")}
    rows = {side: index[labelled[index]] for side, index in sides.items()}
    for side, index in rows.items():
        normal = beats.is_normal[index]
        if not len(index) or normal.all() or not normal.any():
            raise DataError(
                f"the {side} recordings hold {len(index)} labelled beats, "
                f"{int(normal.sum())} of them normal: a network needs both "
                "classes.\n  try: more recordings, or another data set"
            )
    return rows
