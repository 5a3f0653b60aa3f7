"""What `truth.py`, `sanity.py` and `simulate.py` share."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecg_jax.cells.change_paths import Waves
from ecg_jax.cells.morphology import measure, segments
from ecg_jax.ecg.beats import Beats
from ecg_jax.networks.models import NetworkConfig
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network
from ecg_jax.networks.train import train
from ecg_jax.runs.pipeline import training_rows
from ecg_jax.views.ranges import Ranges

MEASURED = (
    "ST level",
    "T amplitude",
    "P-PR level",
    "QRS amplitude",
    "gain",
    "offset",
    "wander sine",
    "wander cosine",
    "mains cosine",
)
"""Changes whose amount can be measured on one beat: all but the shift."""


def measurements(
    shapes: np.ndarray, sample_rate_hz: float, before_s: float
) -> np.ndarray:
    """How much of each of `MEASURED` is in some beats of one lead, in its unit.

    ST level, T and QRS amplitude as `cells.morphology` measures them, the P-PR level as
    the mean of that part; offset, wander and hum as projections of the beat. What
    changes by a fraction is given as a logarithm, so that differences are fractions.

    Args:
      shapes: beats in mV, upright, `[beat, time]`.
      sample_rate_hz: samples a second.
      before_s: seconds before the R peak at which a beat starts.

    Returns:
      `[beat, change]`, NaN where there is no such wave.
    """
    time_s = np.arange(shapes.shape[1]) / sample_rate_hz - before_s
    waves, phase = Waves(), 2 * np.pi * time_s
    lines = (
        np.ones_like(time_s),
        np.sin(waves.wander_hz * phase),
        np.cos(waves.wander_hz * phase),
        np.cos(waves.mains_hz * phase),
    )
    out = np.full((len(shapes), len(MEASURED)), np.nan)
    for i, beat in enumerate(np.asarray(shapes, np.float64)):
        shape = measure(beat, sample_rate_hz, before_s)
        found = {part.name: part for part in segments(shape, time_s) if part.measured}
        own = [np.nan if v is None else v for v in (shape.st_mv, shape.t_mv)]
        before = found.get("P-PR")
        own.append(np.nan if before is None else beat[before.holds(time_s)].mean())
        own.append(np.nan if shape.r_mv is None else np.log(abs(shape.r_mv)))
        own.append(np.log(max(beat.std(), 1e-6)))
        out[i] = (*own, *(float(beat @ line / (line @ line)) for line in lines))
    return out


def measured(beats: Beats, rows: np.ndarray | None = None) -> np.ndarray:
    """`measurements` of some beats."""
    shapes = beats.upright(slice(None) if rows is None else rows)[:, 0]
    return measurements(shapes, beats.config.sample_rate_hz, beats.config.before_s)


def trained(
    beats: Beats,
    network: NetworkConfig,
    training: TrainingConfig,
    folder: Path,
    progress: Callable[[int, dict[str, float]], None] | None = None,
    *,
    shuffle: int | None = None,
) -> Network:
    """A network trained as a run trains it, or on labels dealt to other recordings.

    Args:
      beats: beats of training and validation recordings.
      network: the network's shape; leads and samples follow from the beats.
      training: how to train it.
      folder: where its checkpoint goes.
      progress: as of `train`.
      shuffle: seed by which labels are permuted among the labelled recordings of each
        side; None leaves them.
    """
    shape = beats.millivolts.shape
    config = replace(network, num_leads=shape[1], num_samples=shape[2])
    rng, sides = np.random.default_rng(shuffle), []
    for own in training_rows(beats).values():
        normal, record = beats.is_normal[own], beats.record[own]
        if shuffle is not None:
            _, first, at = np.unique(record, return_index=True, return_inverse=True)
            normal = rng.permutation(normal[first])[at]
        sides += [beats.inputs(own), normal.astype(np.float32), record]
    return Network(config, train(config, training, *sides, folder, progress))


def nearest_flip(found: Ranges, limits: Mapping[str, float]) -> np.ndarray:
    """How far the nearer flip of each change is: `[beat, change]`.

    The limit where there is none within it, NaN where the change is not offered.
    """
    most = np.array([limits[name] for name in found.names])
    return np.minimum(np.minimum(-found.low, found.high), most)


def interval(
    figure: Callable[[np.ndarray], float],
    record: np.ndarray,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[float]:
    """A figure of beats, and its 95% interval by a bootstrap over recordings.

    Args:
      figure: of the weight of each beat.
      record: of each beat.
      num_resamples: resamples.
      seed: of the resamples.

    Returns:
      The figure, the lower and the upper end, NaN where resamples are infinite.
    """
    names, at = np.unique(record, return_inverse=True)
    rng, draws = np.random.default_rng(seed), []
    for _ in range(num_resamples):
        drawn = rng.integers(0, len(names), len(names))
        draws.append(figure(np.bincount(drawn, minlength=len(names))[at].astype(float)))
    with np.errstate(invalid="ignore"):
        ends = np.nanpercentile(draws, [2.5, 97.5])
    return [float(figure(np.ones(len(record)))), *map(float, ends)]
