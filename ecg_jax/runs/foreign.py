"""Models from elsewhere, factored on data: a saved network, a run, an ONNX file."""

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecg_jax.ecg.beats import BeatConfig, Beats
from ecg_jax.errors import ChecksumError, EcgJaxError, ModelError
from ecg_jax.lattice.factor import margin
from ecg_jax.networks.onnx import from_onnx
from ecg_jax.networks.saved import (
    MANIFEST,
    ModelCard,
    Network,
    from_json,
    load_network,
    save_network,
)
from ecg_jax.program.program import Program
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.rules import RULES
from ecg_jax.runs.model import Model
from ecg_jax.runs.pipeline import (
    Begin,
    Run,
    RunConfig,
    Say,
    TreeConfig,
    beat_config,
    check_windows,
    complete,
    options,
    window_text,
)
from ecg_jax.runs.run_folder import read_json
from ecg_jax.storage.files import write_atomic, write_json
from ecg_jax.storage.versions import versions
from ecg_jax.views.frame import seen

ONNX, CARD = "model.onnx", "onnx.json"


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """An ONNX file as a function of one window.

    Attributes:
      path: the file.
      window: leads and samples of the windows that it takes.
      normal_class: which logit stands for "normal", where there are several.
      card: what is known of it.
    """

    path: Path
    window: tuple[int, int]
    normal_class: int
    card: ModelCard

    @property
    def data(self) -> bytes:
        """The file's content."""
        return self.path.read_bytes()

    @property
    def kind(self) -> str:
        """The format."""
        return "onnx"

    @property
    def margin(self) -> Callable[[Any], Any]:
        """`[lead, time] -> scalar`; `>= 0` means normal."""
        return self._margin

    @cached_property
    def _margin(self) -> Callable[[Any], Any]:
        return to_margin(from_onnx(self.path), self.window, self.normal_class)

    def cast(self, dtype: Any) -> "Model":
        """The same function in float64, its weights as they are in the file."""
        if np.dtype(dtype) != np.float64:
            return self
        return Widened(self.margin, self.window, self.card)


@dataclass(frozen=True, eq=False)
class Widened:
    """A function of float32 windows, traced and run in float64."""

    narrow: Callable[[Any], Any]
    window: tuple[int, int]
    card: ModelCard

    @property
    def kind(self) -> str:
        """The format."""
        return "onnx"

    @cached_property
    def _program(self) -> Program:
        window = jnp.zeros(self.window, jnp.float32)
        return widen(trace(self.narrow, window, RULES))

    @property
    def margin(self) -> Callable[[Any], Any]:
        """`[lead, time] -> scalar` in float64."""
        return self._program.evaluate

    def cast(self, dtype: Any) -> "Model":
        """The same."""
        del dtype
        return self


@dataclass(frozen=True)
class FactorConfig(RunConfig):
    """Everything that decides what `factor_model` gives.

    Attributes:
      model: file or folder name of the model.
      sha256: of its variables, or of the ONNX file.
      normal_class: which logit stands for "normal", for an ONNX file.
    """

    model: str = ""
    sha256: str = ""
    normal_class: int | None = None

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
        kept = ("--beats.", "--tree.")
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
    resume: bool = False,
    begin: Begin | None = None,
) -> dict[str, Any]:
    """Factors an existing model on a data set: a run without training.

    Args:
      model: a folder that `save_network` wrote, a run folder, or an ONNX file.
      data: as for `run`.
      data_dir: where the recordings of a named data set are.
      out: the folder to make; holds what a run folder holds.
      normal_class: which logit of an ONNX model stands for "normal".
      beats: how beats are cut; default: as the model's card says.
      tree: how the equation is grown.
      say: told of progress, a line at a time.
      resume: go on where an interrupted call stopped.
      begin: told of every stage that begins; see `run`.

    Returns:
      The contents of `metrics.json`.

    Raises:
      ModelError: there is no model, or it takes other windows than the beats.
      EcgJaxError: as `run`.
    """
    found = find_model(model, normal_class)
    config = FactorConfig(
        data=data,
        data_dir=data_dir,
        beats=beats or beat_config(found.what.card),
        tree=tree or TreeConfig(),
        model=found.name,
        sha256=found.sha256,
        normal_class=getattr(found.what, "normal_class", None),
    )
    return complete(FactorRun(out, config, say, found, begin), resume=resume)


def find_model(path: Path, normal_class: int = 0) -> Found:
    """The model that a path names.

    Raises:
      ModelError: it names none.
      EcgJaxError: an ONNX file cannot be read; see `from_onnx`.
    """
    if path.is_dir():
        folder = path / "model" if (path / "model").is_dir() else path
        if (folder / ONNX).exists():
            onnx = load_onnx(folder)
            return Found(onnx, path.name, _sha256(onnx.data))
        network = load_network(folder)
        digests = read_json(folder / MANIFEST)["files"].values()
        return Found(network, path.name, next(iter(digests))["sha256"])
    if not path.is_file():
        raise ModelError(
            f"{path} is not there.\n  try: a folder with a saved network, a run "
            "folder, or a file model.onnx"
        )
    if path.suffix != ".onnx":
        raise ModelError(
            f"{path} is no model: files end in .onnx.\n  try: a folder with a saved "
            "network, a run folder, or a file model.onnx"
        )
    _check_logits(path)  # refused before any recording is read
    onnx = OnnxModel(path, (0, 0), normal_class, ModelCard(title=path.name))
    return Found(onnx, path.name, _sha256(onnx.data))


def beats_of_first(args: Sequence[str]) -> BeatConfig:
    """The beats of the first model that a command line names, or the default."""
    for word in args:
        if not word.startswith("-") and Path(word).exists():
            try:
                return beat_config(find_model(Path(word)).what.card)
            except EcgJaxError:
                continue
    return RunConfig().beats


def _check_logits(path: Path) -> None:
    """Probabilities are all positive, so as margins they would all say "normal"."""
    name = vars(from_onnx(path))["logits"]
    if name is not None:
        raise ModelError(
            f"{path} gives probabilities, not logits: it ends in a softmax or a "
            f"sigmoid.\n  try: export it without; its logits are the value {name!r}, "
            f"ecg_jax.from_onnx(path, output={name!r})"
        )


def to_margin(
    fn: Callable[[Any], Any], window: tuple[int, int], normal_class: int
) -> Callable[[Any], Any]:
    """A network's function as a margin of one window.

    Args:
      fn: takes the window in the shape of `fn.example`, if it has that; else in the
        first of the shapes `[lead, time]`, `[1, lead, time]`, `[1, lead * time]`,
        `[lead * time]`, `[1, time, lead]` that it takes. Gives one value, the margin
        itself, or several logits.
      window: leads and samples.
      normal_class: which of several logits stands for "normal".

    Returns:
      A pure function `[lead, time] -> scalar`.

    Raises:
      ModelError: it takes none of these shapes, or there is no such logit.
    """
    leads, samples = window
    shapes: list[tuple[int, ...]] = [
        (leads, samples),
        (1, leads, samples),
        (1, leads * samples),
        (leads * samples,),
        (1, samples, leads),
    ]
    example = getattr(fn, "example", None)
    if example is not None:
        _check_size(example.shape, window)
        shapes = [example.shape]
    refused = []
    for shape in dict.fromkeys(shapes):

        def logits(x: Any, shape: tuple[int, ...] = shape) -> Any:
            turned = x.T if shape[-2:] == (samples, leads) and leads > 1 else x
            return jnp.ravel(_only(fn(jnp.reshape(turned, shape))))

        try:
            out = jax.eval_shape(logits, jax.ShapeDtypeStruct(window, jnp.float32))
        except EcgJaxError:
            raise
        except Exception as error:  # whatever a foreign function raises of a shape
            reason = (str(error) or type(error).__name__).splitlines()[0]
            refused.append(f"  {list(shape)}: {reason}")
            continue
        if out.size == 1:
            return lambda x: jnp.reshape(logits(x), ())
        if not 0 <= normal_class < out.size:
            raise ModelError(
                f"the model has {out.size} logits, none is number {normal_class}.\n"
                f"  try: --normal-class 0 to {out.size - 1}"
            )
        return margin(logits, normal_class)
    raise ModelError(
        f"the model takes no window of {leads} leads, {samples} samples:\n"
        + "\n".join(refused)
        + "\n  try: --beats.sample-rate-hz, --beats.before-s, --beats.after-s as the "
        "model was trained"
    )


def _check_size(takes: tuple[int, ...], window: tuple[int, int]) -> None:
    if np.prod(takes) != np.prod(window):
        raise ModelError(
            f"the model takes an input of shape {list(takes)}, the beats are "
            f"{window_text(window)}.\n  try: beats cut as the model was trained "
            "(--beats.sample-rate-hz, --beats.before-s, --beats.after-s)"
        )


def save_onnx(folder: Path, model: OnnxModel) -> None:
    """Writes an ONNX model to a folder; what is known of it comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / ONNX, model.data)
    known = {
        "sha256": _sha256(model.data),
        "window": model.window,
        "normal_class": model.normal_class,
        "card": asdict(model.card),
    }
    write_json(folder / CARD, known)


def load_onnx(folder: Path) -> OnnxModel:
    """Reads what `save_onnx` wrote.

    Raises:
      RunError: a part is missing.
      ChecksumError: the file is not the one that was saved.
    """
    known = read_json(folder / CARD)
    found = _sha256((folder / ONNX).read_bytes())
    if found != known["sha256"]:
        raise ChecksumError(
            f"{folder / ONNX} is damaged or was exchanged:\n"
            f"  SHA-256 found:    {found}\n"
            f"  SHA-256 expected: {known['sha256']}\n"
            "  try: factor the model again, into another folder"
        )
    leads, samples = known["window"]
    card = from_json(ModelCard, known["card"])
    return OnnxModel(folder / ONNX, (leads, samples), known["normal_class"], card)


def _only(value: Any) -> Any:
    """The one output of a function."""
    leaves = jax.tree_util.tree_leaves(value)
    if len(leaves) != 1:
        raise ModelError(
            f"the model has {len(leaves)} outputs, a margin needs one.\n"
            "  try: export the logits only"
        )
    return leaves[0]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
