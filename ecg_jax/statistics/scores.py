"""Scores of a margin against labels: AUC, ROC, confusion, calibration. NumPy only.

Positive is "normal", the answer that a margin `>= 0` gives: *sensitivity* is the share
of normal cases that are called normal, *specificity* the share of not normal ones that
are called not normal.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ecg_jax.errors import DataError

Mean = Literal["margin", "probability"]


@dataclass(frozen=True)
class Confusion:
    """Counts of answers against labels; a margin `>= 0` answers normal."""

    normal_called_normal: int
    normal_called_not_normal: int
    not_normal_called_normal: int
    not_normal_called_not_normal: int

    @property
    def total(self) -> int:
        """Number of cases."""
        return (
            self.normal_called_normal
            + self.normal_called_not_normal
            + self.not_normal_called_normal
            + self.not_normal_called_not_normal
        )

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        right = self.normal_called_normal + self.not_normal_called_not_normal
        return _share(right, self.total)

    @property
    def sensitivity(self) -> float:
        """Share of the normal ones that are called normal; nan without any."""
        normal = self.normal_called_normal + self.normal_called_not_normal
        return _share(self.normal_called_normal, normal)

    @property
    def specificity(self) -> float:
        """Share of the not normal ones that are called not normal; nan without any."""
        other = self.not_normal_called_normal + self.not_normal_called_not_normal
        return _share(self.not_normal_called_not_normal, other)

    @property
    def f1_normal(self) -> float:
        """`2 hits / (row + column)` of the normal class, as CinC 2017 counts it."""
        hits = 2 * self.normal_called_normal
        wrong = self.normal_called_not_normal + self.not_normal_called_normal
        return _share(hits, hits + wrong)


@dataclass(frozen=True)
class Roc:
    """Points of a receiver operating characteristic, from (0, 0) to (1, 1)."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


@dataclass(frozen=True)
class Calibration:
    """Predicted against observed share of normal, in bins of equal width.

    `ece` is the expected calibration error, `sum_b n_b / n |predicted_b - observed_b|`.
    """

    predicted: tuple[float, ...]
    observed: tuple[float, ...]
    count: tuple[int, ...]
    ece: float


def auc(
    score: Float[np.ndarray, " case"],
    is_normal: Bool[np.ndarray, " case"],
    weight: Float[np.ndarray, " case"] | None = None,
) -> float:
    """Area under the ROC curve by ranks: `P(s_n > s_o) + P(s_n = s_o) / 2`.

    Args:
        score: higher means normal.
        is_normal: the label.
        weight: of each case, such as a number of repeats.

    Returns:
        A share in [0, 1].

    Raises:
        DataError: one class has no weight.

    Example:
        >>> auc(np.array([1.0, 2.0, 2.0]), np.array([False, True, False]))
        0.75
    """
    return float(Auc(score, is_normal)(weight))


class Auc:
    """The AUC of one set of scores, sorted once, under many weights."""

    def __init__(self, score: np.ndarray, is_normal: np.ndarray) -> None:
        self.order = np.argsort(score, kind="stable")
        ordered = np.asarray(score)[self.order]
        self.normal = np.asarray(is_normal, bool)[self.order]
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def __call__(self, weight: np.ndarray | None = None) -> float:
        """The AUC with one weight a case; DataError if a class has none."""
        ones = np.ones(len(self.order))
        w = ones if weight is None else np.asarray(weight, float)[self.order]
        normal = np.add.reduceat(w * self.normal, self.starts)
        other = np.add.reduceat(w * ~self.normal, self.starts)
        below = np.cumsum(other) - other
        total = normal.sum() * other.sum()
        if total <= 0:
            raise DataError("an AUC needs cases that are normal and some that are not")
        return float((normal * (below + 0.5 * other)).sum() / total)


def roc(
    score: Float[np.ndarray, " case"],
    is_normal: Bool[np.ndarray, " case"],
    num_points: int = 201,
) -> Roc:
    """The ROC curve, at no more than `num_points` thresholds.

    Args:
        score: higher means normal.
        is_normal: the label.
        num_points: points at most.

    Returns:
        The curve.
    """
    order = np.argsort(-np.asarray(score), kind="stable")
    ordered, normal = np.asarray(score)[order], np.asarray(is_normal, bool)[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = np.r_[0, np.cumsum(normal)[ends]] / max(1, normal.sum())
    false = np.r_[0, np.cumsum(~normal)[ends]] / max(1, (~normal).sum())
    keep = np.unique(np.linspace(0, len(hits) - 1, num_points).round().astype(int))
    return Roc(tuple(false[keep].tolist()), tuple(hits[keep].tolist()))


def confusion(
    margin: Float[np.ndarray, " case"], is_normal: Bool[np.ndarray, " case"]
) -> Confusion:
    """Counts of answers against labels.

    Args:
        margin: `>= 0` answers normal.
        is_normal: the label.

    Returns:
        The four counts.
    """
    says, normal = np.asarray(margin) >= 0, np.asarray(is_normal, bool)
    return Confusion(
        int((normal & says).sum()),
        int((normal & ~says).sum()),
        int((~normal & says).sum()),
        int((~normal & ~says).sum()),
    )


def calibration(
    margin: Float[np.ndarray, " case"],
    is_normal: Bool[np.ndarray, " case"],
    num_bins: int = 15,
) -> Calibration:
    """Reliability of the probability `1 / (1 + exp(-margin))`.

    Args:
        margin: logits of normal.
        is_normal: the label.
        num_bins: bins of equal width; empty ones are left out.

    Returns:
        The curve and its expected calibration error.
    """
    predicted = probability(margin)
    place = np.minimum((predicted * num_bins).astype(int), num_bins - 1)
    count = np.bincount(place, minlength=num_bins)
    full = count > 0
    normal = np.asarray(is_normal, float)
    mean = np.bincount(place, predicted, num_bins)[full] / count[full]
    seen = np.bincount(place, normal, num_bins)[full] / count[full]
    ece = float((count[full] * np.abs(mean - seen)).sum() / count.sum())
    return Calibration(
        tuple(mean.tolist()), tuple(seen.tolist()), tuple(count[full].tolist()), ece
    )


def probability(margin: Float[np.ndarray, " case"]) -> Float[np.ndarray, " case"]:
    """`1 / (1 + exp(-margin))` without overflow, in float64.

    Args:
        margin: logits.

    Returns:
        Probabilities.
    """
    half = 0.5 * np.asarray(margin, np.float64)
    return 0.5 * (1.0 + np.tanh(half))


def record_scores(
    margin: Float[np.ndarray, " beat"],
    record: Int[np.ndarray, " beat"],
    mean: Mean = "margin",
    weight: Float[np.ndarray, " beat"] | None = None,
) -> tuple[Int[np.ndarray, " record"], Float[np.ndarray, " record"]]:
    """One score a recording: the mean over its beats.

    Args:
        margin: one a beat.
        record: recording of each beat.
        mean: `margin` averages margins; `probability` averages probabilities, less
            one half, so that `>= 0` still means normal.
        weight: of each beat.

    Returns:
        The recordings that occur, ascending, and their scores.

    Example:
        >>> record_scores(np.array([1.0, 3.0, -1.0]), np.array([4, 4, 7]))
        (array([4, 7]), array([ 2., -1.]))
    """
    value = np.asarray(margin, np.float64)
    value = probability(value) - 0.5 if mean == "probability" else value
    weight = np.ones(len(value)) if weight is None else np.asarray(weight, float)
    ids, inverse = np.unique(record, return_inverse=True)
    # Around one of the values, so that recordings of equal beats tie exactly.
    middle = value[0] if len(value) else 0.0
    total = np.bincount(inverse, weight * (value - middle), len(ids))
    return ids, middle + total / np.bincount(inverse, weight, len(ids))


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
