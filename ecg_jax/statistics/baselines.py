"""Trivial answers that a network has to beat. NumPy only."""

import numpy as np
from jaxtyping import Bool, Float, Int, Real

from ecg_jax.errors import DataError


def majority(is_normal: Bool[np.ndarray, " beat"], num: int) -> Float[np.ndarray, " n"]:
    """The same margin for everyone: the logit of the training share of normal.

    Args:
        is_normal: labels of the training beats.
        num: margins wanted.

    Returns:
        `num` equal margins.

    Example:
        >>> majority(np.array([True, True, True, False]), 2).round(3).tolist()
        [1.099, 1.099]
    """
    share = np.clip(np.mean(is_normal), 1e-6, 1 - 1e-6)
    return np.full(num, np.log(share / (1 - share)))


def fit_logistic(
    features: Float[np.ndarray, "beat feature"],
    is_normal: Bool[np.ndarray, " beat"] | Real[np.ndarray, " beat"],
    weight: Float[np.ndarray, " beat"] | None = None,
    *,
    ridge: float = 1.0,
    num_steps: int = 25,
) -> tuple[Float[np.ndarray, " feature"], float]:
    """Logistic regression by Newton's method, with a ridge on standardised features.

    Minimises `sum_i w_i (softplus(f_i) - y_i f_i) + ridge |v|^2 / 2`,
    `f_i = <v, z_i> + b`, where `z` are the features with mean 0 and deviation 1.

    Args:
        features: one row a beat.
        is_normal: 1 for normal, 0 for not.
        weight: of each beat.
        ridge: strength of the ridge.
        num_steps: Newton steps at most.

    Returns:
        Weights and offset for the features as given: `f = features @ w + b`.

    Raises:
        DataError: a feature is not finite, or all labels are equal.
    """
    x = np.asarray(features, np.float64)
    y = np.asarray(is_normal, np.float64)
    if not np.isfinite(x).all():
        raise DataError(
            "a feature is NaN or infinite: leave such beats out of the regression"
        )
    if y.min() == y.max():
        raise DataError("all labels are equal: a regression needs both classes")
    w = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
    mean, scale = x.mean(0), x.std(0)
    scale[scale == 0] = 1.0
    z = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    penalty = np.diag(np.r_[np.full(x.shape[1], ridge), 0.0])
    v = np.zeros(z.shape[1])
    for _ in range(num_steps):
        p = 0.5 * (1.0 + np.tanh(0.5 * (z @ v)))
        gradient = z.T @ (w * (p - y)) + penalty @ v
        hessian = (z * (w * np.maximum(p * (1 - p), 1e-9))[:, None]).T @ z + penalty
        step = np.linalg.solve(hessian, gradient)
        v -= step
        if np.abs(step).max() < 1e-8:
            break
    coefficients = v[:-1] / scale
    return coefficients, float(v[-1] - mean @ coefficients)


def rr_irregularity(
    rr_before_s: Float[np.ndarray, " beat"],
    rr_after_s: Float[np.ndarray, " beat"],
    record: Int[np.ndarray, " beat"],
) -> Float[np.ndarray, " beat"]:
    """`-|log(rr_before / rr_after)|`: higher is more regular, so more normal.

    Args:
        rr_before_s: seconds since the beat before; nan at a recording's start.
        rr_after_s: seconds to the next beat; nan at a recording's end.
        record: recording of each beat; where an interval is missing, the recording's
            mean takes its place, and 0 where the recording has none.

    Returns:
        A score a beat.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        score = -np.abs(np.log(rr_before_s / rr_after_s)).astype(np.float64)
    known = np.isfinite(score)
    size = int(record.max()) + 1
    total = np.bincount(record[known], score[known], size)
    count = np.bincount(record[known], minlength=size)
    mean = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    return np.where(known, score, mean[record])
