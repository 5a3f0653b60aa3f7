"""Ways to choose the components of a side: for coverage, for purity, for both.

All but `choose` freeze every unit and look at one thing only; they are what a cover of
prototypes is held against, and "boundary" is how the source chose.

Source of "boundary": C. Snyder, S. Vishwanath, Interpretable Factorization for Neural
Network ECG Models, 2020 (arXiv:2006.15189).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Bool, Float, Int, UInt8

from ecg_jax.errors import CoverError
from ecg_jax.progress import Progress, silent
from ecg_jax.statistics.cluster import Cells, kmeans, take_turns
from ecg_jax.tree.cover import (
    Cover,
    CoverConfig,
    Samples,
    check_count,
    choose,
    coefficients,
    proven_by_others,
)
from ecg_jax.tree.kernels import Side, decides, squared_distances
from ecg_jax.tree.setcover import greedy, pack

CANDIDATES = 1000  # distinct patterns that a greedy cover picks from
STREAMED = 8192  # samples in one block of the table of candidates by samples
NEAR = 0.1  # of the samples, those with the smallest margins, are near the boundary

Anchors = Int[np.ndarray, " k"]
Way = Callable[[Side, Samples, int, int], Anchors]


def frequent(side: Side, samples: Samples, num: int, seed: int = 0) -> Anchors:
    """Rows with the most frequent patterns, the most frequent first."""
    del side, seed
    _, first, count = _patterns(samples, slice(None))
    return first[np.argsort(-count, kind="stable")[:num]]


def boundary(side: Side, samples: Samples, num: int, seed: int = 0) -> Anchors:
    """Rows with distinct patterns and the smallest margins, the smallest first."""
    del side, seed
    near = np.flatnonzero(samples.room <= np.quantile(samples.room, NEAR))
    near = near[np.argsort(samples.room[near], kind="stable")]
    _, first, _ = _patterns(samples, near)
    return near[np.sort(first)[:num]]


def medoids(side: Side, samples: Samples, num: int, seed: int = 0) -> Anchors:
    """Rows nearest to the centres of k-means: what each looks like, nothing else."""
    del side
    centres = kmeans(samples.vectors, num, seed=seed)
    away = squared_distances(jnp.asarray(samples.vectors), jnp.asarray(centres))
    return np.unique(np.argmin(np.asarray(away), axis=0))


def covering(side: Side, samples: Samples, num: int, seed: int = 0) -> Anchors:
    """Rows that together prove most samples: a greedy cover by frequent patterns."""
    candidates = frequent(side, samples, CANDIDATES, seed)
    return candidates[greedy(proofs(side, samples, candidates), num)]


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "frequent": frequent,
        "boundary": boundary,
        "medoids": medoids,
        "greedy": covering,
    }
)
"""How the anchors of components are chosen, besides "prototypes"."""

SELECT = ("prototypes", *WAYS)


def select(
    way: str,
    side: Side,
    samples: Samples,
    num: int,
    config: CoverConfig,
    localize: float | None = None,
    progress: Progress = silent,
) -> Cover:
    """Chooses up to `num` components for one side.

    Args:
      way: "prototypes" (coverage and purity together, by `cover.choose`), "medoids",
        "frequent", "boundary" or "greedy".
      side: the side of the equation.
      samples: of this side.
      num: how many components, at most.
      config: how to choose.
      localize: what a squared distance costs; see `kernels.decides`.
      progress: told of every step of "prototypes".

    Returns:
      The components; all units of the side are frozen but for "prototypes".

    Raises:
      CoverError: there is no such way, or fewer samples than components.
    """
    if way == "prototypes":
        return choose(side, samples, num, config, localize, progress)
    if way not in WAYS:
        raise CoverError(
            f"no way to choose components is called {way!r}.\n"
            f"  try: one of {', '.join(SELECT)}"
        )
    check_count(samples, num)
    anchors = WAYS[way](side, samples, num, config.seed)
    frozen, rows = _whole(side, samples, anchors)
    gap, vectors = samples.features @ rows.T, jnp.asarray(samples.vectors)

    proven = proven_by_others(samples, gap, anchors)

    def pick(
        centres: np.ndarray, _: Cells, told: Progress
    ) -> tuple[float, Cells, Cover]:
        away = squared_distances(vectors, jnp.asarray(centres))
        cells = np.asarray(decides(gap, samples.room, away, localize))
        return proven, cells, Cover(anchors, frozen, centres, proven, cells)

    turns = [silent] * (config.rounds + 1)
    return take_turns(samples.vectors, samples.vectors[anchors], pick, turns)


def proofs(
    side: Side, samples: Samples, anchors: Anchors
) -> UInt8[np.ndarray, "k bytes"]:
    """Which samples each anchor's component proves, as bits; see `setcover.pack`.

    The table of gaps is made block by block and never held as a whole.
    """
    _, rows = _whole(side, samples, anchors)
    blocks = []
    for start in range(0, len(samples), STREAMED):
        part = slice(start, start + STREAMED)
        gap = samples.features[part] @ rows.T
        blocks.append(pack(gap < samples.room[part, None]))
    return np.concatenate(blocks, axis=1)


def _whole(
    side: Side, samples: Samples, anchors: Anchors
) -> tuple[Bool[np.ndarray, "k u"], Float[np.ndarray, "k d"]]:
    """Flags that freeze every unit, and the coefficients of such components."""
    frozen = np.ones((len(anchors), side.num_units), bool)
    return frozen, coefficients(side, samples.patterns, anchors, frozen)


def _patterns(
    samples: Samples, rows: Int[np.ndarray, " r"] | slice
) -> tuple[np.ndarray, Anchors, Int[np.ndarray, " k"]]:
    """Distinct patterns among rows, where each occurs first, and how often."""
    leaves = [np.asarray(v)[rows] for v in tree_util.tree_leaves(samples.patterns)]
    whole = np.concatenate([v.reshape(len(v), -1) for v in leaves], axis=1)
    return np.unique(whole, axis=0, return_index=True, return_counts=True)
