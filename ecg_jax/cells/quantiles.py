"""Quantiles of beats that do not all count the same."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def weights_of(
    index: Int[np.ndarray, " beat"], weighting: str
) -> Float[np.ndarray, " beat"]:
    """What each beat counts: 1, or 1 / beats of its recording.

    Args:
        index: The recording of each beat, as a number.
        weighting: "beat" or "recording".

    Raises:
        ValueError: It is neither.
    """
    if weighting == "recording":
        return 1.0 / np.bincount(index)[index]
    if weighting == "beat":
        return np.ones(len(index))
    raise ValueError(
        f"composite: weighting is {weighting!r}\n  try:  'beat' or 'recording'"
    )


def quantiles(
    values: np.ndarray, weight: Float[np.ndarray, " beat"], levels: Sequence[float]
) -> np.ndarray:
    """Quantiles over axis 0: Hazen's, with weights.

    Example:
        >>> quantiles(np.arange(5.0), np.ones(5), [0.5]).tolist()
        [2.0]
    """
    if np.all(weight == weight[0]):
        return np.quantile(values, levels, axis=0, method="hazen").astype(values.dtype)
    columns = values.reshape(len(values), -1).T
    out = np.empty((len(levels), len(columns)), values.dtype)
    total = weight.sum()
    for at, column in enumerate(columns):
        order = np.argsort(column)
        mass = weight[order]
        place = (np.cumsum(mass) - mass / 2) / total
        out[:, at] = np.interp(levels, place, column[order])
    return out.reshape(len(levels), *values.shape[1:])


def finite_quantiles(
    values: np.ndarray | None, weight: Float[np.ndarray, " beat"]
) -> tuple[float, float, float] | None:
    """The 10, 50 and 90 per cent quantiles of what is finite; None of nothing."""
    if values is None or not np.isfinite(values).any():
        return None
    keep = np.isfinite(values)
    low, middle, high = quantiles(values[keep], weight[keep], (0.1, 0.5, 0.9))
    return float(low), float(middle), float(high)
