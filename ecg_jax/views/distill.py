"""A network of a few templates that answers as another network does."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import DataError, ExampleError, NonFiniteError
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network
from ecg_jax.networks.train import train
from ecg_jax.percent import share as percent
from ecg_jax.program.blocks import blocks
from ecg_jax.program.describe import form_of
from ecg_jax.progress import Shown, told
from ecg_jax.statistics.scores import probability
from ecg_jax.storage.versions import versions
from ecg_jax.views.frame import need_beats, seen

STUDENT = NetworkConfig(kind="templates", templates=32)
"""The network that learns another's answers, unless told otherwise."""

VALIDATION = 5
"""One recording in so many chooses the epoch, where nobody has split the beats."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How often a student answers as its teacher does.

    Attributes:
      num: beats that were asked.
      share: of them that both answer alike.
      constant: share that the teacher's more frequent answer gets right.
      kinds: the share of beats of each label, of each answer of the teacher, and of
        recordings with a good signal and others, of each cell of the student.
    """

    num: int
    share: float
    constant: float
    kinds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Agreement on {self.num:,} beats: {percent(self.share)} "
            f"(one answer for all: {percent(self.constant)})"
        )


def distill(
    fn: Callable[[Any], Any],
    beats: Beats,
    *,
    network: NetworkConfig | None = None,
    training: TrainingConfig | None = None,
    share: float = 1.0,
    folder: Path | str | None = None,
    progress: Shown = None,
) -> Network:
    """Trains a small network, of templates by default, to answer as `fn` does.

    The target of a beat is `share logistic(fn(x)) + (1 - share) y` with `y` its label,
    1 for normal; without a label, `logistic(fn(x))`. Training recordings train,
    validation recordings choose the epoch; beats that nobody has split are split by
    recording.

    Args:
      fn: the teacher: a margin of what `beats.inputs()` holds of one beat, such as a
        network's, a tree, or `ecg_jax.margin` of an ONNX file's function.
      beats: the beats to learn from.
      network: shape of the student, default: 32 templates; leads and samples follow
        from the beats.
      training: how it is trained; default: as networks of templates are in a run.
      share: what share of the target is the teacher's; 1 needs no labels.
      folder: where checkpoints go, from which an interrupted call goes on.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      The student, an ordinary network: `.margin`, `.margins`, `save_network`, `grow`.

    Raises:
      ExampleError: the teacher takes no such beats.
      DataError: `share` is no number from 0 to 1, or beats of one answer only.
      ModelError: the student cannot be built.
      NonFiniteError: the teacher, or the training, gives NaN or infinity.

    Example:
      >>> import numpy as np, ecg_jax as ej
      >>> from ecg_jax.networks.config import NetworkConfig
      >>> x = np.random.default_rng(0).normal(size=(600, 20)).astype(np.float32)
      >>> beats = ej.beats(x, sample_rate_hz=50, r_peak_s=0.2)
      >>> few = NetworkConfig(kind="templates", templates=2)
      >>> student = ej.distill(lambda x: x[3] - x[7], beats, network=few)
      >>> student.config.templates
      2

    Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural
    Network, 2015 (arXiv:1503.02531).
    """
    need_beats(beats)
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share <= 1:
        raise DataError(f"share is {share!r}.\n  try: a number from 0 to 1")
    shape = beats.millivolts.shape[1:]
    network = replace(network or STUDENT, num_leads=shape[0], num_samples=shape[1])
    training = training or TrainingConfig()
    sides = []
    for rows in _sides(beats):
        inputs = beats.inputs(rows)
        taught = probability(teacher_margins(fn, inputs))
        own = np.where(beats.is_labelled[rows], share, 1.0)
        y = own * taught + (1 - own) * beats.is_normal[rows]
        windows = inputs.reshape(-1, *shape).astype(np.float32)
        sides.append((windows, y.astype(np.float32), beats.record[rows]))
    (x, y, record), (valid_x, valid_y, valid_record) = sides
    with (
        told(progress, "distill") as tell,
        tempfile.TemporaryDirectory() as elsewhere,
    ):
        variables = train(
            network,
            training,
            x,
            y,
            record,
            valid_x,
            valid_y,
            valid_record,
            folder or elsewhere,
            lambda _, found: tell(int(found["epoch"]), training.num_epochs),
        )
    name = getattr(fn, "__name__", type(fn).__name__)
    card = ModelCard(
        title=f"{network.kind}, distilled from {name}",
        input=seen(beats),
        training=asdict(training),
        versions=versions(),
        notes=(f"{percent(share)} of its target are the answers of {name}",),
    )
    return Network(network, variables, card)


def teacher_margins(
    fn: Callable[[Any], Any], inputs: np.ndarray
) -> Float[np.ndarray, " beat"]:
    """A teacher's margins of many beats.

    Raises:
      ExampleError: it takes no such beats, or gives no single number of one.
      NonFiniteError: a margin is NaN or infinite.
    """
    one = jax.ShapeDtypeStruct(inputs.shape[1:], inputs.dtype)
    try:
        out = jax.eval_shape(fn, one)
    except Exception as error:  # whatever a foreign function raises of a shape
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ExampleError(
            f"the teacher takes no beat of shape {list(one.shape)}: {reason}\n"
            "  try: beats cut as it was trained"
        ) from error
    if getattr(out, "shape", None) != ():
        raise ExampleError(
            f"the teacher gives {form_of(out)} of one beat, not one number.\n"
            "  try: ecg_jax.margin(fn, k) of a vector of logits"
        )
    values = blocks(fn, inputs)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise NonFiniteError(
            f"the teacher gives {values[row]} of beat {row} of {len(values)}.\n"
            "  try: leave such beats out (beats.take)"
        )
    return values


def agreement(
    teacher: Float[np.ndarray, " row"],
    student: Float[np.ndarray, " row"],
    beats: Beats,
    rows: Int[np.ndarray, " row"],
    cells: Sequence[str] = (),
) -> Agreement:
    """How often two networks answer alike, of all beats asked and of kinds of them.

    Args:
      teacher: margins of the beats asked.
      student: margins of the same beats.
      beats: all beats.
      rows: the beats asked.
      cells: the component of the student that each of them falls to, by name.
    """
    normal, alike = teacher >= 0, (teacher >= 0) == (student >= 0)
    label, quality = beats.label[rows], beats.records.bsqi[beats.record[rows]]
    cell = np.asarray(cells)
    kinds = {f"label {name or 'none'}": label == name for name in np.unique(label)}
    kinds |= {"teacher: normal": normal, "teacher: not normal": ~normal}
    if np.isfinite(quality).any():
        kinds |= {"bSQI of .9 and more": quality >= 0.9, "bSQI below .9": quality < 0.9}
    kinds |= {f"component {name}": cell == name for name in np.unique(cell)}
    return Agreement(
        num=len(rows),
        share=float(alike.mean()),
        constant=float(max(normal.mean(), 1 - normal.mean())),
        kinds={
            name: float(alike[own].mean()) for name, own in kinds.items() if own.any()
        },
    )


def _sides(beats: Beats) -> tuple[np.ndarray, np.ndarray]:
    """Beats that train and beats that choose, of different recordings."""
    if beats.is_split:
        return beats.rows("train"), beats.rows("validation")
    records = np.unique(beats.record)
    if len(records) < VALIDATION:  # too few recordings: beats
        choosing = np.arange(len(beats)) % VALIDATION == 0
    else:
        shuffled = np.random.default_rng(0).permutation(records)
        choosing = np.isin(beats.record, shuffled[::VALIDATION])
    return np.flatnonzero(~choosing), np.flatnonzero(choosing)
