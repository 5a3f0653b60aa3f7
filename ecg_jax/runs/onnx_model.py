"""An ONNX file as the model of a run: its margin of a window, saved with a card."""

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecg_jax.errors import EcgJaxError, ModelError
from ecg_jax.lattice.factor import margin
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.onnx import from_onnx
from ecg_jax.program.program import Program
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.rules import RULES
from ecg_jax.runs.model import Model, window_text
from ecg_jax.runs.run_folder import read_json
from ecg_jax.storage.files import write_atomic, write_json
from ecg_jax.storage.manifest import check_sha256, sha256

ONNX, CARD = "model.onnx", "onnx.json"


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """An ONNX file as a function of one window.

    Attributes:
      path: the file.
      window: leads and samples of the windows that it takes.
      normal_class: which logit stands for "normal", where there are several.
      card: what is known of it.
      output: the name of the value that it gives; None: the file's output.
    """

    path: Path
    window: tuple[int, int]
    normal_class: int
    card: ModelCard
    output: str | None = None

    @property
    def data(self) -> bytes:
        """The file's content."""
        return self.path.read_bytes()

    @property
    def sha256(self) -> str:
        """Of the file's content."""
        return sha256(self.path)

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
        return to_margin(
            from_onnx(self.path, self.output), self.window, self.normal_class
        )

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


def check_logits(path: Path, output: str | None = None) -> None:
    """Probabilities are all positive, so as margins they would all say "normal"."""
    name = vars(from_onnx(path, output))["logits"]
    if name is not None:
        raise ModelError(
            f"{path} gives probabilities, not logits: it ends in a softmax or a "
            f"sigmoid.\n  try: --output {shlex.quote(name)} --normal-class K, which "
            "takes the logits of all classes; in Python "
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
        + "\n  try: --beats.leads, --beats.sample-rate-hz, --beats.before-s, "
        "--beats.after-s as the model was trained"
    )


def _check_size(takes: tuple[int, ...], window: tuple[int, int]) -> None:
    if np.prod(takes) != np.prod(window):
        raise ModelError(
            f"the model takes an input of shape {list(takes)}, the beats are "
            f"{window_text(window)}.\n  try: beats cut as the model was trained "
            "(--beats.leads, --beats.sample-rate-hz, --beats.before-s, --beats.after-s)"
        )


def save_onnx(folder: Path, model: OnnxModel) -> None:
    """Writes an ONNX model to a folder; what is known of it comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / ONNX, model.data)
    known = {
        "sha256": model.sha256,
        "window": model.window,
        "normal_class": model.normal_class,
        "output": model.output,
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
    again = "factor the model again, into another folder"
    check_sha256(folder / ONNX, sha256(folder / ONNX), known["sha256"], again)
    leads, samples = known["window"]
    card = from_json(ModelCard, known["card"])
    return OnnxModel(
        folder / ONNX,
        (leads, samples),
        known["normal_class"],
        card,
        known.get("output"),
    )


def _only(value: Any) -> Any:
    """The one output of a function."""
    leaves = jax.tree_util.tree_leaves(value)
    if len(leaves) != 1:
        raise ModelError(
            f"the model has {len(leaves)} outputs, a margin needs one.\n"
            "  try: export the logits only"
        )
    return leaves[0]
