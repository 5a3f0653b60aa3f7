"""Two margins of the same beats: where the answers differ, and which is right.

Intervals resample recordings, of both margins at once. NumPy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ecg_jax.errors import DataError
from ecg_jax.statistics.quality import Interval, intervals
from ecg_jax.statistics.scores import Auc

ANSWERS = ("normal", "not normal")


@dataclass(frozen=True)
class Labelled:
    """How two margins do against labels.

    Attributes:
        num_beats: beats with a label.
        became_right: the first was wrong, the second is right.
        became_wrong: the first was right, the second is wrong.
        accuracy: of the first and of the second.
        accuracy_change: that of the second less that of the first.
        auc: of the first and of the second.
        auc_change: that of the second less that of the first.
    """

    num_beats: int
    became_right: int
    became_wrong: int
    accuracy: tuple[Interval, Interval]
    accuracy_change: Interval
    auc: tuple[Interval, Interval]
    auc_change: Interval


@dataclass(frozen=True)
class Paired:
    """How two margins answer the same beats.

    Attributes:
        num_beats: beats.
        num_records: recordings they are of.
        answers: beats by the answer of the first, then of the second.
        agreement: share with the same answer.
        by_chance: that share, if the answers of the second were dealt out anew.
        labelled: against labels; None unless both classes are labelled.
    """

    num_beats: int
    num_records: int
    answers: Mapping[str, Mapping[str, int]]
    agreement: Interval
    by_chance: float
    labelled: Labelled | None


def paired(
    first: Float[np.ndarray, " beat"],
    second: Float[np.ndarray, " beat"],
    record: Shaped[np.ndarray, " beat"],
    is_normal: Bool[np.ndarray, " beat"],
    is_labelled: Bool[np.ndarray, " beat"],
    *,
    num_resamples: int = 1000,
) -> Paired:
    """Compares two margins of the same beats.

    The share that agrees by chance is `p q + (1 - p)(1 - q)`, of the shares `p`, `q`
    of normal answers (Cohen, A Coefficient of Agreement for Nominal Scales, 1960).
    What became right and what became wrong are the counts that McNemar's test
    compares (Note on the Sampling Error of the Difference Between Correlated
    Proportions or Percentages, 1947); the interval of their difference resamples
    recordings instead, for the beats of one are not independent.

    Args:
        first: a margin of each beat; `>= 0` answers normal.
        second: another margin of each.
        record: name or number of the recording of each beat.
        is_normal: the label.
        is_labelled: whether it is known.
        num_resamples: resamples of the bootstrap; 0 gives intervals without width.

    Returns:
        The figures.

    Raises:
        DataError: there are no beats.
    """
    if not len(first):
        raise DataError("two margins of no beats are to be compared")
    one, two = first >= 0, second >= 0
    ids, inverse = np.unique(record, return_inverse=True)
    sizes = np.bincount(inverse)
    same = np.bincount(inverse, one == two)
    (agreement,) = intervals(
        lambda weight: [float(weight @ same / (weight @ sizes))],
        len(ids),
        num_resamples=num_resamples,
    )
    counts = {
        a: {b: int(np.sum((one == x) & (two == y))) for b, y in _sides()}
        for a, x in _sides()
    }
    p, q = float(one.mean()), float(two.mean())
    told, classes = None, is_normal[is_labelled]
    if len(classes) and classes.any() and not classes.all():
        told = _labelled(
            first[is_labelled],
            second[is_labelled],
            record[is_labelled],
            classes,
            num_resamples,
        )
    chance = p * q + (1 - p) * (1 - q)
    return Paired(len(first), len(ids), counts, agreement, chance, told)


def _sides() -> tuple[tuple[str, bool], ...]:
    return tuple(zip(ANSWERS, (True, False), strict=True))


def _labelled(
    first: np.ndarray,
    second: np.ndarray,
    record: np.ndarray,
    is_normal: np.ndarray,
    num_resamples: int,
) -> Labelled:
    ids, inverse = np.unique(record, return_inverse=True)
    right = [(margin >= 0) == is_normal for margin in (first, second)]
    sizes = np.bincount(inverse)
    hits = [np.bincount(inverse, one) for one in right]
    areas = [Auc(margin, is_normal) for margin in (first, second)]

    def figures(weight: np.ndarray) -> list[float]:
        a, b = (float(weight @ one / (weight @ sizes)) for one in hits)
        c, d = (area(weight[inverse]) for area in areas)
        return [a, b, b - a, c, d, d - c]

    a, b, change, c, d, gain = intervals(figures, len(ids), num_resamples=num_resamples)
    return Labelled(
        num_beats=len(first),
        became_right=int(np.sum(~right[0] & right[1])),
        became_wrong=int(np.sum(right[0] & ~right[1])),
        accuracy=(a, b),
        accuracy_change=change,
        auc=(c, d),
        auc_change=gain,
    )
