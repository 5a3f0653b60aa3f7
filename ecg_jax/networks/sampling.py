"""What a training step sees: which beats, how heavy, how disturbed.

Everything is a pure function of counters (seed, epoch, step).
"""

import math
import sys
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from ecg_jax.errors import TrainingError


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; the defaults were chosen in experiments/networks.

    Attributes:
        seed: seed of weights, order, dropout and augmentation.
        num_epochs: epochs at most; the schedule ends there.
        patience: epochs without a better validation score before training stops.
        batch_size: beats a step.
        learning_rate: peak of the schedule (linear warm-up, then half a cosine to 0).
        warmup: share of the steps that warm up.
        weight_decay: of AdamW, on kernels only.
        clip: largest global norm of a gradient.
        average: decay a step of the averaged weights that are evaluated and returned.
        label_smoothing: share of the label that is spread over both classes.
        weighting: `record` lets every recording of an epoch weigh the same in the
            loss, `beat` every beat.
        beats_per_record: beats at most that an epoch draws from a recording (0: all).
        monitor: what selects the epoch on the validation recordings: the AUC of
            `beat`s, of `record`ings (mean margin), or the mean of `both`; that of
            beats wherever a recording holds beats of both labels.
        noise: standard deviation of white noise, in units of the input.
        wander: standard deviation of a random slow drift, in units of the input.
        scale: standard deviation of the logarithm of a random gain.
        shift: samples at most by which a window moves.
        flip: probability that a window changes sign.

    Raises:
        TrainingError: an option is out of its range.
    """

    seed: int = 0
    num_epochs: int = 18
    patience: int = 40
    batch_size: int = 512
    learning_rate: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 1e-2
    clip: float = 1.0
    average: float = 0.998
    label_smoothing: float = 0.0
    weighting: Literal["record", "beat"] = "record"
    beats_per_record: int = 0
    monitor: Literal["beat", "record", "both"] = "both"
    noise: float = 0.1
    wander: float = 0.1
    scale: float = 0.1
    shift: int = 1
    flip: float = 0.0

    def __post_init__(self) -> None:
        """Refuse options that no training has."""
        wrong = []
        for name, (low, high) in _COUNTS.items():
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                limits = f"{low} up" if high == math.inf else f"{low} to {high}"
                wrong.append(f"  {name}: {value!r} is no whole number from {limits}")
        for name, (low, high) in _NUMBERS.items():
            value = getattr(self, name)
            if type(value) not in (int, float) or not low <= value <= high:
                limits = f"from {low} to {high}" if high == 1 else "finite, 0 or more"
                wrong.append(f"  {name}: {value!r} is not {limits}")
            elif value == 0 and name in _POSITIVE:
                wrong.append(f"  {name}: {value!r} is not above 0")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                wrong.append(
                    f"  {name}: {getattr(self, name)!r} is none of {', '.join(known)}"
                )
        if wrong:
            raise TrainingError("no network can be trained so:\n" + "\n".join(wrong))


_COUNTS = MappingProxyType(
    {
        "seed": (0, 2**32 - 1),
        "num_epochs": (1, math.inf),
        "patience": (0, math.inf),
        "batch_size": (1, math.inf),
        "beats_per_record": (0, math.inf),
        "shift": (0, math.inf),
    }
)
_NUMBERS = MappingProxyType(
    {
        **dict.fromkeys(("warmup", "average", "label_smoothing", "flip"), (0, 1)),
        **dict.fromkeys(
            ("learning_rate", "weight_decay", "clip", "noise", "wander", "scale"),
            (0, sys.float_info.max),
        ),
    }
)
_POSITIVE = ("learning_rate", "clip")
_CHOICES = MappingProxyType(
    {"weighting": ("record", "beat"), "monitor": ("beat", "record", "both")}
)


def epoch_rows(
    record: Int[np.ndarray, " beat"], training: TrainingConfig, epoch: int
) -> Int[np.ndarray, "step batch"]:
    """Rows of each batch of an epoch: a pure function of seed and epoch.

    Args:
        record: recording of each beat.
        training: `seed`, `batch_size`, `beats_per_record`.
        epoch: counted from 0.

    Returns:
        Row numbers; a last incomplete batch is left out, and an epoch smaller than a
        batch is filled up by repeating rows.

    Example:
        >>> training = TrainingConfig(batch_size=2, beats_per_record=1)
        >>> rows = epoch_rows(np.array([0, 0, 0, 1, 2, 3]), training, 0)
        >>> rows.shape, sorted(np.maximum(rows.ravel() - 2, 0).tolist())
        ((2, 2), [0, 1, 2, 3])
    """
    bits = np.random.Philox(key=[training.seed, epoch])
    rows = np.random.Generator(bits).permutation(len(record))
    if training.beats_per_record:
        order = rows[np.argsort(record[rows], kind="stable")]
        starts = np.r_[True, np.diff(record[order]) != 0]
        first = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        chosen = np.zeros(len(record), bool)
        chosen[order[np.arange(len(order)) - first < training.beats_per_record]] = True
        rows = rows[chosen[rows]]
    size = training.batch_size
    if len(rows) < size:
        rows = np.resize(rows, size)
    return rows[: len(rows) // size * size].reshape(-1, size).astype(np.int32)


def beat_weights(
    record: Int[np.ndarray, " beat"], training: TrainingConfig
) -> Float[np.ndarray, " beat"]:
    """Weight of each beat in the loss, 1 on average over an epoch.

    With `weighting="record"`, `w_i = c / min(n_r, k)`, where `n_r` is the number of
    beats of the recording and `k` the number an epoch draws from it.

    Args:
        record: recording of each beat.
        training: `weighting`, `beats_per_record`.

    Returns:
        One weight a beat.
    """
    if training.weighting == "beat":
        return np.ones(len(record), np.float32)
    _, inverse, counts = np.unique(record, return_inverse=True, return_counts=True)
    drawn = np.minimum(counts, training.beats_per_record or counts.max())
    return (drawn.sum() / len(counts) / drawn)[inverse].astype(np.float32)


def augment(
    x: Float[Array, "batch lead time"], key: Array, training: TrainingConfig
) -> Float[Array, "batch lead time"]:
    """Random shift, gain, sign, slow drift and noise of each window.

    Args:
        x: windows.
        key: a JAX random key.
        training: `shift`, `scale`, `flip`, `wander`, `noise`; 0 leaves one out.

    Returns:
        Windows of the same shape and dtype.
    """
    keys = jax.random.split(key, 5)
    each = (x.shape[0], 1, 1)
    if training.shift:
        edge = training.shift
        padded = jnp.pad(x, ((0, 0), (0, 0), (edge, edge)), mode="edge")
        start = jax.random.randint(keys[0], x.shape[:1], 0, 2 * edge + 1)
        x = jax.vmap(lambda w, s: lax.dynamic_slice_in_dim(w, s, x.shape[-1], -1))(
            padded, start
        )
    if training.scale:
        gain = jax.random.normal(keys[1], each, x.dtype) * training.scale
        x = x * jnp.exp(gain)
    if training.flip:
        x = jnp.where(jax.random.bernoulli(keys[2], training.flip, each), -x, x)
    if training.wander:
        time = jnp.linspace(-1.0, 1.0, x.shape[-1], dtype=x.dtype)
        shapes = jnp.stack([jnp.ones_like(time), time, 1.5 * time**2 - 0.5])
        size = jax.random.normal(keys[3], (*x.shape[:2], 3), x.dtype)
        x = x + training.wander * (size @ shapes)
    if training.noise:
        x = x + training.noise * jax.random.normal(keys[4], x.shape, x.dtype)
    return x
