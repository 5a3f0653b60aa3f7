"""k-means: where prototypes start, and the ceiling that purity is held against."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float, Int

from ecg_jax.progress import Progress, silent

_BLOCK = 8192  # samples whose distances are held at once

Chosen = TypeVar("Chosen")
Cells = Int[np.ndarray, " n"]


def kmeans(
    x: Float[np.ndarray, "n t"],
    num: int,
    *,
    seed: int = 0,
    steps: int = 30,
    progress: Progress = silent,
) -> Float[np.ndarray, "k t"]:
    """Lloyd's algorithm from a k-means++ start.

    Args:
      x: samples as vectors.
      num: how many centres, at most `n`.
      seed: of the start, which looks at 20,000 samples.
      steps: Lloyd iterations; fewer where the cells no longer change.
      progress: told of every iteration.

    Returns:
      The centres; an empty cell keeps its centre.

    Example:
      >>> import numpy as np
      >>> sorted(kmeans(np.array([[0.0], [0.2], [5.0]]), 2)[:, 0].round(1).tolist())
      [0.1, 5.0]

    Source: Arthur & Vassilvitskii, k-means++: The advantages of careful seeding, 2007.
    """
    rng = np.random.default_rng(seed)
    sample = x if len(x) <= 20_000 else x[rng.choice(len(x), 20_000, replace=False)]
    data = np.asarray(x, np.float32)
    centres = _plus_plus(np.asarray(sample, np.float32), num, rng)
    cells = nearest(data, centres)
    for step in range(steps):
        progress(step, steps)
        centres = means(data, cells, centres)
        before, cells = cells, nearest(data, centres)
        if np.array_equal(before, cells):
            break
    return centres.astype(x.dtype)


def nearest(
    x: Float[np.ndarray, "n t"], centres: Float[np.ndarray, "k t"]
) -> Int[np.ndarray, " n"]:
    """The index of the nearest centre of every sample; the first one at a tie."""
    cells = np.empty(len(x), np.int64)
    square = np.sum(centres * centres, axis=1)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK]
        cells[start : start + _BLOCK] = np.argmin(
            square - 2 * block @ centres.T, axis=1
        )
    return cells


def means(
    x: Float[np.ndarray, "n t"],
    cells: Int[np.ndarray, " n"],
    otherwise: Float[np.ndarray, "k t"],
) -> Float[np.ndarray, "k t"]:
    """The mean of every cell; where a cell is empty, the row of `otherwise`."""
    order = np.argsort(cells, kind="stable")
    filled, starts = np.unique(cells[order], return_index=True)
    sums = np.add.reduceat(x[order], starts, axis=0)
    counts = np.diff([*starts, len(x)])
    out = np.array(otherwise, x.dtype)
    out[filled] = sums / counts[:, None]
    return out


def take_turns(
    x: Float[np.ndarray, "n t"],
    centres: Float[np.ndarray, "k t"],
    pick: Callable[[np.ndarray, Cells, Progress], tuple[Any, Cells, Chosen]],
    rounds: Sequence[Progress],
) -> Chosen:
    """Prototypes and cells take turns, from the cells that are nearest to centres.

    Args:
      x: samples as vectors.
      centres: where the cells begin; those of later turns are the cells' means.
      pick: `pick(centres, cells, progress)`: the merit of a choice, the cells that it
        makes, and the choice.
      rounds: what each turn tells its progress to; one at least.

    Returns:
      The choice with the largest merit, the last one at a tie.
    """
    cells = nearest(x, centres)
    best: tuple[Any, Chosen] | None = None
    for progress in rounds:
        merit, cells, chosen = pick(centres, cells, progress)
        if best is None or merit >= best[0]:
            best = merit, chosen
        centres = means(x, cells, centres)
    assert best is not None
    return best[1]


def _plus_plus(
    x: Float[np.ndarray, "n t"], num: int, rng: np.random.Generator
) -> Float[np.ndarray, "k t"]:
    centres = [x[rng.integers(len(x))]]
    distance = np.sum((x - centres[0]) ** 2, axis=1, dtype=np.float64)
    for _ in range(num - 1):
        total = distance.sum()
        share = distance / total if total > 0 else np.full(len(x), 1 / len(x))
        centres.append(x[rng.choice(len(x), p=share)])
        away = np.sum((x - centres[-1]) ** 2, axis=1, dtype=np.float64)
        distance = np.minimum(distance, away)
    return np.stack(centres)
