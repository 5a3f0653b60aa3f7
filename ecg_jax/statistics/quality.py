"""How good a margin is, by beat and by recording. NumPy only.

Intervals resample recordings, since the beats of a recording are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ecg_jax.errors import DataError
from ecg_jax.statistics.scores import (
    Auc,
    Calibration,
    Confusion,
    Mean,
    Roc,
    calibration,
    confusion,
    record_scores,
    roc,
)


@dataclass(frozen=True)
class Interval:
    """A figure with its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Disagreement:
    """A recording whose label and answer differ."""

    record: int
    is_normal: bool
    score: float
    num_beats: int
    share_agreeing: float


@dataclass(frozen=True)
class Quality:
    """All figures of a margin on a set of beats; recordings score by their mean."""

    num_beats: int
    num_records: int
    beat_auc: Interval
    beat_accuracy: Interval
    record_auc: Interval
    record_accuracy: Interval
    beats: Confusion
    records: Confusion
    roc_beats: Roc
    roc_records: Roc
    calibration: Calibration
    record_mean: Mean

    def to_json(self) -> dict[str, Any]:
        """Everything as a JSON object, rates of both confusions included."""
        out = asdict(self)
        for key, counts in (("beats", self.beats), ("records", self.records)):
            for name in ("accuracy", "sensitivity", "specificity", "f1_normal"):
                out[key][name] = getattr(counts, name)
        return out


def measure(
    margin: Float[np.ndarray, " beat"],
    is_normal: Bool[np.ndarray, " beat"],
    record: Int[np.ndarray, " beat"],
    record_is_normal: Bool[np.ndarray, " all"] | None = None,
    *,
    mean: Mean = "margin",
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Quality:
    """All figures of a margin, with bootstrap intervals over recordings.

    Args:
        margin: one a beat.
        is_normal: label of each beat.
        record: recording of each beat.
        record_is_normal: label of each recording, indexed by `record`; by default a
            recording is normal if all its beats are.
        mean: how beats become a recording's score.
        num_resamples: resamples of the bootstrap; 0 gives intervals without width.
        level: of the intervals.
        seed: of the bootstrap.

    Returns:
        The figures.

    Raises:
        DataError: there are no beats, or the beats are of one class only.
    """
    if not len(margin) == len(is_normal) == len(record) or len(margin) == 0:
        raise DataError(
            f"{len(margin)} margins, {len(is_normal)} labels, {len(record)} recordings"
            ": these need equal lengths above 0"
        )
    normal = np.asarray(is_normal, bool)
    ids, inverse = np.unique(record, return_inverse=True)
    _, score = record_scores(margin, record, mean)
    if record_is_normal is None:
        whole = np.bincount(inverse, ~normal, len(ids)) == 0
    else:
        whole = np.asarray(record_is_normal, bool)[ids]
    right = ((np.asarray(margin) >= 0) == normal).astype(float)
    whole_right = ((score >= 0) == whole).astype(float)
    beat_auc = Auc(margin, normal)
    one_class = whole.all() or not whole.any()
    record_auc = None if one_class else Auc(score, whole)
    totals = np.bincount(inverse, right, len(ids))
    sizes = np.bincount(inverse, minlength=len(ids))

    def figures(weight: np.ndarray) -> list[float]:
        return [
            beat_auc(weight[inverse]),
            float((weight * totals).sum() / (weight * sizes).sum()),
            record_auc(weight) if record_auc else float("nan"),
            float((weight * whole_right).sum() / weight.sum()),
        ]

    found = intervals(
        figures, len(ids), num_resamples=num_resamples, level=level, seed=seed
    )
    return Quality(
        num_beats=len(normal),
        num_records=len(ids),
        beat_auc=found[0],
        beat_accuracy=found[1],
        record_auc=found[2],
        record_accuracy=found[3],
        beats=confusion(margin, normal),
        records=confusion(score, whole),
        roc_beats=roc(margin, normal),
        roc_records=roc(score, whole),
        calibration=calibration(margin, normal),
        record_mean=mean,
    )


def intervals(
    figures: Callable[[np.ndarray], list[float]],
    num_records: int,
    *,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Figures with bootstrap intervals over recordings.

    Args:
        figures: gives the figures where every recording has a weight.
        num_records: recordings.
        num_resamples: resamples of the bootstrap; 0 gives intervals without width.
        level: of the intervals.
        seed: of the bootstrap.

    Returns:
        An interval for each figure.
    """
    value = figures(np.ones(num_records))
    draws = _bootstrap(figures, num_records, num_resamples, seed) or [value]
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.array(draws), [tail, 100.0 - tail], axis=0)
    return [
        Interval(float(v), float(a), float(b))
        for v, a, b in zip(value, low, high, strict=True)
    ]


def _bootstrap(figures: Any, num: int, num_resamples: int, seed: int) -> list[Any]:
    """The figures under multinomial weights; a resample of one class is left out."""
    draws = []
    for i in range(num_resamples):
        generator = np.random.Generator(np.random.Philox(key=[seed, i]))
        weight = np.bincount(generator.integers(0, num, num), minlength=num)
        try:
            draws.append(figures(weight.astype(float)))
        except DataError:
            continue
    return draws


def disagreements(
    margin: Float[np.ndarray, " beat"],
    is_normal: Bool[np.ndarray, " beat"],
    record: Int[np.ndarray, " beat"],
    num: int = 20,
    mean: Mean = "margin",
) -> Sequence[Disagreement]:
    """The recordings whose answer contradicts their label most strongly.

    Args:
        margin: one a beat.
        is_normal: label of each beat; a recording is normal if all its beats are.
        record: recording of each beat.
        num: recordings at most.
        mean: how beats become a recording's score.

    Returns:
        The recordings, the strongest contradiction first.
    """
    ids, score = record_scores(margin, record, mean)
    _, inverse = np.unique(record, return_inverse=True)
    count = np.bincount(inverse, minlength=len(ids))
    normal = np.asarray(is_normal, bool)
    whole = np.bincount(inverse, ~normal, len(ids)) == 0
    agree = np.bincount(inverse, (np.asarray(margin) >= 0) == whole[inverse], len(ids))
    wrong = np.flatnonzero((score >= 0) != whole)
    wrong = wrong[np.argsort(-np.abs(score[wrong]), kind="stable")][:num]
    return [
        Disagreement(
            int(ids[i]),
            bool(whole[i]),
            float(score[i]),
            int(count[i]),
            float(agree[i] / count[i]),
        )
        for i in wrong
    ]
