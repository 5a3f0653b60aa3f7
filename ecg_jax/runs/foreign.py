"""Models from elsewhere, factored on data: a saved network, a run, an ONNX file."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ecg_jax.ecg.beats import BeatConfig, Beats
from ecg_jax.ecg.datasets import NAMES
from ecg_jax.errors import EcgJaxError, ModelError
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.released import known, place
from ecg_jax.networks.saved import (
    Network,
    load_card,
    load_network,
    save_network,
    sha256_of,
)
from ecg_jax.runs.config import (
    NETWORK,
    TRAINING,
    RunConfig,
    TreeConfig,
    beat_config,
    options,
)
from ecg_jax.runs.model import Model, check_cut, check_windows
from ecg_jax.runs.onnx_model import (
    CARD,
    ONNX,
    OnnxModel,
    check_logits,
    load_onnx,
    save_onnx,
)
from ecg_jax.runs.pipeline import Begin, Run, Say, complete
from ecg_jax.runs.source import is_beats_file
from ecg_jax.storage.manifest import MANIFEST
from ecg_jax.storage.versions import versions
from ecg_jax.tree.cover import CoverConfig
from ecg_jax.views.frame import seen


@dataclass(frozen=True)
class FactorConfig(RunConfig):
    """Everything that decides what `factor_model` gives.

    Attributes:
      model: file or folder name of the model.
      sha256: of its variables, or of the ONNX file.
      normal_class: which logit stands for "normal", for an ONNX file.
      output: the name of the value that an ONNX file is asked for.
    """

    model: str = ""
    sha256: str = ""
    normal_class: int | None = None
    output: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object; nothing is trained, so there is no `training`."""
        left_out = ("network", "training")
        return {k: v for k, v in super().to_json().items() if k not in left_out}

    def command(self, out: str) -> str:
        """The command line that repeats it."""
        words = [f"ecg-jax factor {shlex.quote(self.model)} {self.source()}"]
        words.append(f"--out {shlex.quote(out)}")
        if self.normal_class:
            words.append(f"--normal-class {self.normal_class}")
        if self.output is not None:
            words.append(f"--output {shlex.quote(self.output)}")
        kept = ("--beats.", "--tree.", "--cover.")
        return " ".join([*words, *(o for o in options(self) if o.startswith(kept))])


class FactorRun(Run):
    """A run whose network is there already."""

    stages = tuple(stage for stage in Run.stages if stage != "train")

    def __init__(
        self,
        folder: Path,
        config: FactorConfig,
        say: Say,
        model: "Found",
        begin: Begin | None = None,
    ):
        super().__init__(folder, config, say, begin)
        self.model = model

    def network(self, beats: Beats) -> Model:
        """Stage 2: the model is copied, with what an evaluation needs of it."""
        folder = self.folder / "model"
        if isinstance(self.model.what, Network):
            check_windows(self.model.what, beats)
            if not (folder / MANIFEST).exists():
                save_network(folder, self.model.what, replace=True)
            return load_network(folder)
        if not (folder / CARD).exists():
            leads, samples = beats.millivolts.shape[1:]
            onnx = replace(
                self.model.what,
                window=(leads, samples),
                card=replace(
                    self.model.what.card,
                    input=seen(beats),
                    versions=versions(),
                ),
            )
            _ = onnx.margin  # refused here if it does not take these windows
            save_onnx(folder, onnx)
        return load_onnx(folder)


@dataclass(frozen=True, eq=False)
class Found:
    """A model, and what it is known by.

    Attributes:
      what: the model.
      name: of its file or folder.
      sha256: of its content.
    """

    what: Network | OnnxModel
    name: str
    sha256: str


def factor_model(
    model: Path,
    data: str,
    data_dir: Path | None,
    out: Path,
    normal_class: int = 0,
    beats: BeatConfig | None = None,
    tree: TreeConfig | None = None,
    say: Say = print,
    *,
    output: str | None = None,
    cover: CoverConfig | None = None,
    labels: str = "",
    resume: bool = False,
    begin: Begin | None = None,
) -> dict[str, Any]:
    """Factors an existing model on a data set: a run without training.

    Args:
      model: a folder that `save_network` wrote, a run folder, the name of a released
        network, or an ONNX file.
      data: as for `run`.
      data_dir: where the recordings of a named data set are.
      out: the folder to make; holds what a run folder holds.
      normal_class: which logit of an ONNX model stands for "normal".
      beats: how beats are cut; default: as the model's card says.
      tree: how the equation is grown.
      say: told of progress, a line at a time.
      output: the name of the value to take of an ONNX file, instead of its output.
      cover: how the components of the first level are chosen.
      labels: as for `run`.
      resume: go on where an interrupted call stopped.
      begin: told of every stage that begins; see `run`.

    Returns:
      The contents of `metrics.json`.

    Raises:
      ModelError: there is no model, or it takes other windows than the beats.
      EcgJaxError: as `run`.
    """
    found = find_model(model, normal_class, output)
    config = RunConfig(
        data=data,
        data_dir=data_dir,
        labels=labels,
        beats=beats or beat_config(found.what.card),
        tree=tree or TreeConfig(),
        cover=cover or CoverConfig(),
    )
    return _factored(found, config, out, say, resume, begin)


def run_model(
    model: Path,
    config: RunConfig,
    out: Path,
    say: Say = print,
    *,
    resume: bool = False,
    begin: Begin | None = None,
) -> dict[str, Any]:
    """The main job with an existing model in place of training.

    Args:
      model: as for `factor_model`.
      config: everything else that decides the result; see `config_of`.
      out: the run folder.
      say: told of progress, a line at a time.
      resume: go on with a run that was interrupted.
      begin: told of every stage that begins; see `run`.

    Returns:
      The contents of `metrics.json`.

    Raises:
      ModelError: there is no model; it takes other windows than the beats; or the
        configuration says how a network is trained.
      EcgJaxError: as `run`.
    """
    found = find_model(model)
    untrained = replace(config, network=NETWORK, training=TRAINING)
    if ignored := sorted(set(options(config)) - set(options(untrained))):
        raise ModelError(
            f"{model} is trained already, so {', '.join(ignored)} would change nothing."
            "\n  try: without; or without --model, to train a network"
        )
    if not config.data:
        raise ModelError(
            f"{model} does not name the recordings that it was trained on.\n"
            "  try: --data, such as challenge-2017 or a folder in WFDB layout"
        )
    if not is_beats_file(config.data):  # before any recording is read
        check_cut(found.what, config.beats)
    return _factored(found, config, out, say, resume, begin)


def config_of(model: Path) -> RunConfig:
    """What a run of a model starts from: the recordings and the beats of its card.

    Raises:
      ModelError: there is no model.
    """
    card = _card_of(model)
    data = card.data if card.data in NAMES else ""
    return RunConfig(data=data, beats=beat_config(card))


def _factored(
    found: "Found",
    config: RunConfig,
    out: Path,
    say: Say,
    resume: bool,
    begin: Begin | None,
) -> dict[str, Any]:
    told = {item.name: getattr(config, item.name) for item in fields(RunConfig)}
    told["network"] = getattr(found.what, "config", NETWORK)
    config = FactorConfig(
        **told,
        model=found.name,
        sha256=found.sha256,
        normal_class=getattr(found.what, "normal_class", None),
        output=getattr(found.what, "output", None),
    )
    return complete(FactorRun(out, config, say, found, begin), resume=resume)


def find_model(path: Path, normal_class: int = 0, output: str | None = None) -> Found:
    """The model that a path names.

    Args:
      path: of a folder, or of an ONNX file; or a released network's name.
      normal_class: which logit of an ONNX file stands for "normal".
      output: the name of the value to take of an ONNX file, instead of its output.

    Raises:
      ModelError: it names none, or an output of what is no ONNX file.
      EcgJaxError: an ONNX file cannot be read; see `from_onnx`.
    """
    folder = place(path)
    if folder.is_dir():
        if output is not None:
            raise ModelError(
                f"{path} is no ONNX file, so no value of it can be named.\n"
                "  try: leave --output out"
            )
        if (folder / ONNX).exists():
            onnx = load_onnx(folder)
            return Found(onnx, path.name, onnx.sha256)
        return Found(load_network(folder), path.name, sha256_of(folder))
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is no model: files end in .onnx.\n  try: a folder with a saved "
            "network, a run folder, or a file model.onnx"
        )
    check_logits(path, output)  # refused before any recording is read
    onnx = OnnxModel(path, (0, 0), normal_class, ModelCard(title=path.name), output)
    return Found(onnx, path.name, onnx.sha256)


def _card_of(path: Path) -> ModelCard:
    """What is known of the model that a path names, before it is read and checked."""
    folder = place(path)
    if folder.is_dir() and not (folder / ONNX).exists():
        return load_card(folder)
    return find_model(path).what.card


def beats_of_first(args: Sequence[str]) -> BeatConfig:
    """The beats of the first model that a command line names, or the default."""
    names = known()
    for before, word in zip(["", *args], args, strict=False):
        is_option = word.startswith("-") or before == "--data"
        if not is_option and (word in names or Path(word).exists()):
            try:
                return beat_config(_card_of(Path(word)))
            except EcgJaxError:
                continue
    return RunConfig().beats
