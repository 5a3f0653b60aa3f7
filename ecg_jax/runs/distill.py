"""A network of templates that answers as another does: trained, factored, reported."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ecg_jax.ecg.beats import Beats
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.saved import load_network, save_network
from ecg_jax.runs.config import RunConfig, options
from ecg_jax.runs.foreign import Found, find_model
from ecg_jax.runs.model import Model, check_windows
from ecg_jax.runs.onnx_model import OnnxModel
from ecg_jax.runs.pipeline import Begin, Run, Say, complete
from ecg_jax.storage.manifest import MANIFEST
from ecg_jax.views.distill import STUDENT, agreement, distill, teacher_margins
from ecg_jax.views.evaluation import Evaluation
from ecg_jax.views.partition import arithmetic
from ecg_jax.views.report_data import About


@dataclass(frozen=True)
class DistillConfig(RunConfig):
    """Everything that decides what `distill_model` gives.

    Attributes:
      network: the student's shape.
      teacher: file or folder name of the teacher.
      sha256: of its variables, or of the ONNX file.
      share: what share of the target is the teacher's answer; the rest is the label.
      normal_class: which logit of an ONNX teacher stands for "normal".
      output: the name of the value to take of an ONNX teacher, not the file's output.
    """

    network: NetworkConfig = STUDENT
    teacher: str = ""
    sha256: str = ""
    share: float = 1.0
    normal_class: int = 0
    output: str | None = None

    def command(self, out: str) -> str:
        """The command line that repeats it."""
        words = [f"ecg-jax distill {shlex.quote(self.teacher)} {self.source()}"]
        words.append(f"--out {shlex.quote(out)}")
        for name in ("share", "normal_class", "output"):
            value = getattr(self, name)
            if value != getattr(DistillConfig(), name):
                words.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
        return " ".join([*words, *options(self, DistillConfig())])


class DistillRun(Run):
    """A run whose network learns another's answers."""

    def __init__(
        self,
        folder: Path,
        config: DistillConfig,
        say: Say,
        teacher: Found,
        begin: Begin | None = None,
    ):
        super().__init__(folder, config, say, begin)
        self.teacher, self.share = teacher, config.share

    def network(self, beats: Beats) -> Model:
        """Stage 2: the student, trained."""
        folder = self.folder / "model"
        if not (folder / MANIFEST).exists():
            fn = self._teacher(beats)
            student = self._timed(
                "train",
                lambda tell: distill(
                    fn,
                    beats,
                    network=self.config.network,
                    training=self.config.training,
                    share=self.share,
                    folder=folder,
                    progress=tell,
                ),
            )
            student = replace(student, card=self.card(student.config, beats))
            save_network(folder, student, replace=True)
        return load_network(folder)

    def about(self, network: Model, found: Evaluation) -> About:
        """What the page says of the student, with how often it answers alike."""
        part, rows = found.part, found.rows
        with arithmetic(part.tree):
            said = agreement(
                teacher_margins(self._teacher(part.beats), part.beats.inputs(rows)),
                part.decision.value[rows],
                part.beats,
                rows,
                [part.tree.nodes[i].name for i in part.decision.cell[rows]],
            )
        self.say(repr(said))
        return replace(super().about(network, found), agreement=said)

    def card(self, config: NetworkConfig, beats: Beats) -> ModelCard:
        """What is known of the student, its teacher included."""
        card = super().card(config, beats)
        return replace(card, title=f"{card.title}, distilled from {self.teacher.name}")

    def _teacher(self, beats: Beats) -> Callable[[Any], Any]:
        """The teacher's margin of one of the beats.

        Raises:
          ModelError: it takes other windows.
        """
        what, window = self.teacher.what, beats.millivolts.shape[1:]
        if isinstance(what, OnnxModel):
            return replace(what, window=window).margin
        check_windows(what, beats)
        return what.margin


def distill_model(
    teacher: Path,
    config: DistillConfig,
    out: Path,
    say: Say = print,
    *,
    resume: bool = False,
    begin: Begin | None = None,
) -> dict[str, Any]:
    """Trains a network to answer as another does; then factors and reports it.

    Args:
      teacher: the model, as for `factor_model`.
      config: everything else that decides the result.
      out: the run folder to make.
      say: told of progress, a line at a time.
      resume: go on where an interrupted call stopped.
      begin: told of every stage that begins; see `run`.

    Returns:
      The contents of `metrics.json`; `distillation` holds the agreement with the
      teacher on held-out recordings.

    Raises:
      ModelError: there is no teacher, or it takes other windows than the beats.
      EcgJaxError: as `run`.
    """
    found = find_model(teacher, config.normal_class, config.output)
    config = replace(config, teacher=found.name, sha256=found.sha256)
    return complete(DistillRun(out, config, say, found, begin), resume=resume)
