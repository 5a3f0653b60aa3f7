"""How alike the beats of a cell look: statistics, intervals, scores against nulls.

The recording is the unit (its identity explains half of all beat variance): every
recording weighs the same, templates are of other recordings, and resampling draws
recordings. Two statistics, of beats `x_i` with cell `c`, recording `r`:

    variance explained   1 - sum w_i |x_i - m_c|^2 / sum w_i |x_i - m|^2
    correlation          sum w_i corr(x_i, m_c),   w_i = 1 / (num beats of r) / num r

with the template `m_c` the weighted mean of the cell in the training recordings (or,
without a split, in the *other* recordings for the correlation). A score places either
between random hyperplanes (0) and k-means (1), both with the same parents:

    s = (T - null) / (kmeans - null)

Silhouette and raw label purity are not here on purpose: the first falls with the number
of cells by itself, the second starts at the majority rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ecg_jax.statistics.cluster import kmeans, nearest
from ecg_jax.statistics.nulls import (
    adjusted_mutual_information,
    cell_sizes,
    deal,
    kmeans_cells,
    random_hyperplanes,
    random_records,
)
from ecg_jax.statistics.templates import (
    BeatSums,
    Match,
    few_per_record,
    record_weights,
    sides,
    sum_by,
)

__all__ = [
    "Purity",
    "Statistic",
    "adjusted_mutual_information",
    "cell_sizes",
    "few_per_record",
    "kmeans",
    "kmeans_cells",
    "measure",
    "nearest",
    "permutation_p",
    "random_hyperplanes",
    "random_records",
    "record_weights",
    "score",
    "template_correlation",
    "variance_explained",
]


def variance_explained(
    beats: Float[np.ndarray, "beat time"],
    cells: Int[np.ndarray, " beat"],
    weights: Float[np.ndarray, " beat"] | None = None,
    *,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> float:
    """`1 - sum w |x - m_c|^2 / sum w |x - m|^2`.

    Args:
        beats: Waveforms, flattened.
        cells: Cell of each beat.
        weights: Of each beat; default all alike. `record_weights(records)` makes
            recordings count alike.
        train: Beats whose means are the templates; measured on the others (so it can be
            negative). Default: templates and measure on all beats.

    Returns:
        At most 1. A cell without training beats has the mean of all as template.

    Example:
        >>> x = np.array([[0.0], [0.0], [2.0], [4.0]])
        >>> variance_explained(x, np.array([0, 0, 1, 1]))
        0.8181818181818181
    """
    fit, held = sides(len(beats), train)
    w = np.ones(len(beats)) if weights is None else np.asarray(weights, np.float64)
    num = int(cells.max()) + 1
    mean = w[fit] @ beats[fit] / w[fit].sum()
    weight = np.bincount(cells[fit], w[fit], num)
    template = sum_by(cells[fit], w[fit, None] * (beats[fit] - mean), num)
    template = template / np.maximum(weight, 1e-300)[:, None] + mean
    within = w[held] @ np.square(beats[held] - template[cells[held]]).sum(1)
    total = w[held] @ np.square(beats[held] - mean).sum(1)
    return float(1 - within / total)


def template_correlation(
    beats: Float[np.ndarray, "beat time"],
    cells: Int[np.ndarray, " beat"],
    records: Shaped[np.ndarray, " beat"],
    *,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> float:
    """Mean correlation of a beat to its cell's template, recordings weighing alike.

    Args:
        beats: Waveforms, flattened.
        cells: Cell of each beat.
        records: Recording of each beat.
        train: Beats whose means are the templates; measured on the others. Default:
            each beat against the mean of the *other* recordings in its cell.

    Returns:
        -1 to 1. A beat whose cell has no template counts as 0.

    Raises:
        DataError: A recording is on both sides.
    """
    return BeatSums(beats, records, train).of(cells).correlation()


def score(value: float, null: float, ceiling: float) -> float:
    """`(T - null) / (ceiling - null)`: 0 as good as the null, 1 as k-means."""
    return (value - null) / (ceiling - null) if ceiling != null else float("nan")


def permutation_p(value: float, null: Float[np.ndarray, " draw"]) -> float:
    """`(1 + #{null >= T}) / (1 + B)`: never 0.

    Source: Phipson & Smyth, Permutation p-values should never be zero, Stat Appl Genet
    Mol Biol 9(1), 2010.
    """
    return float((1 + np.sum(null >= value)) / (1 + len(null)))


@dataclass(frozen=True)
class Statistic:
    """One statistic of a partition and what it is held against.

    Attributes:
        value: Of the partition.
        interval: 95%, recordings resampled.
        parent: Of the parents' partition (0 variance explained without parents).
        records: Mean over dealings of whole recordings.
        hyperplanes: Mean over random hyperplanes.
        hyperplanes_sd: Standard deviation over them.
        kmeans: Of k-means with as many cells in each parent.
        score: `(value - hyperplanes) / (kmeans - hyperplanes)`.
        score_interval: 95%, recordings resampled.
        p_records: Permutation p over recordings.
        p_hyperplanes: The same against random hyperplanes.
    """

    value: float
    interval: tuple[float, float]
    parent: float
    records: float
    hyperplanes: float
    hyperplanes_sd: float
    kmeans: float
    score: float
    score_interval: tuple[float, float]
    p_records: float
    p_hyperplanes: float

    @property
    def gain(self) -> float:
        """What the cells add to their parents."""
        return self.value - self.parent


@dataclass(frozen=True)
class Purity:
    """How morphologically pure a partition is.

    Attributes:
        num_cells: Cells with training beats.
        num_beats: Beats measured.
        num_records: Recordings measured.
        variance_explained: See the module.
        correlation: See the module.
        nuisances: Adjusted mutual information of the cells with each nuisance, and its
            mean when the nuisance is dealt to other recordings.
    """

    num_cells: int
    num_beats: int
    num_records: int
    variance_explained: Statistic
    correlation: Statistic
    nuisances: Mapping[str, tuple[float, float]]

    def row(self) -> dict[str, Any]:
        """Plain numbers, for `metrics.json`."""

        def plain(one: Statistic) -> dict[str, Any]:
            return {
                "value": one.value,
                "interval": list(one.interval),
                "gain": one.gain,
                "null_records": one.records,
                "null_hyperplanes": one.hyperplanes,
                "null_hyperplanes_sd": one.hyperplanes_sd,
                "kmeans": one.kmeans,
                "score": one.score,
                "score_interval": list(one.score_interval),
                "p_records": one.p_records,
                "p_hyperplanes": one.p_hyperplanes,
            }

        return {
            "cells": self.num_cells,
            "beats": self.num_beats,
            "records": self.num_records,
            "variance_explained": plain(self.variance_explained),
            "correlation": plain(self.correlation),
            "nuisances": {
                name: {"ami": ami, "ami_records_dealt": dealt}
                for name, (ami, dealt) in self.nuisances.items()
            },
        }


def measure(
    beats: Float[np.ndarray, "beat time"],
    cells: Int[np.ndarray, " beat"],
    records: Shaped[np.ndarray, " beat"],
    *,
    train: Bool[np.ndarray, " beat"] | None = None,
    parents: Int[np.ndarray, " beat"] | None = None,
    nuisances: Mapping[str, Shaped[np.ndarray, " beat"]] | None = None,
    seed: int = 0,
    num_hyperplanes: int = 20,
    num_permutations: int = 999,
    num_bootstraps: int = 2000,
) -> Purity:
    """Purity of a partition, with its nulls, ceiling, p-values and intervals.

    Args:
        beats: Waveforms, flattened (the network's input, or mV).
        cells: Cell of each beat, 0, 1, ...
        records: Recording of each beat.
        train: Beats that make templates, cuts and centres; the others are measured.
            Default: all beats do both (and then the correlation leaves the beat's own
            recording out).
        parents: Cell of each beat one level up; nulls and k-means divide these.
        nuisances: Things of recordings that a partition might merely sort by (polarity,
            rate tertile, ...), one value a beat.
        seed: Of all draws.
        num_hyperplanes: Random hyperplane partitions.
        num_permutations: Dealings of whole recordings.
        num_bootstraps: Resamplings of recordings.

    With 200,000 beats, 36 cells and 7,000 recordings: some 15 CPU seconds, half of it
    k-means. `few_per_record` makes it cheaper.

    Raises:
        DataError: A recording is on both sides of the split, or a side is empty.
    """
    data = BeatSums(np.asarray(beats, np.float32), records, train)
    fit = data.fit if train is not None else None
    sizes = cell_sizes(cells, parents, fit)
    same: dict[str, Any] = {"parents": parents, "train": fit}
    own = data.of(cells)
    above = data.of(np.zeros_like(cells) if parents is None else parents)
    ceiling = data.of(kmeans_cells(data.beats, sizes, seed, **same))
    planes = [
        data.of(random_hyperplanes(data.beats, sizes, seed + i, **same))
        for i in range(num_hyperplanes)
    ]
    dealt = _dealings(data, sizes, parents, seed, num_permutations)
    rng = np.random.default_rng(seed)
    num = len(own.total)
    draws = rng.multinomial(num, np.full(num, 1 / num), num_bootstraps)
    held = data.held
    return Purity(
        num_cells=int((sizes.sum(0) > 0).sum()),
        num_beats=int(held.sum()),
        num_records=num,
        variance_explained=_statistic(
            "variance", own, above, ceiling, planes, dealt, draws
        ),
        correlation=_statistic(
            "correlation", own, above, ceiling, planes, dealt, draws
        ),
        nuisances={
            name: _nuisance(cells[held], values[held], records[held], seed)
            for name, values in (nuisances or {}).items()
        },
    )


def _statistic(
    name: str,
    own: Match,
    above: Match,
    ceiling: Match,
    planes: list[Match],
    dealt: Mapping[str, np.ndarray],
    draws: np.ndarray,
) -> Statistic:
    """Both are means over recordings, so those of the null can be averaged first."""
    null = Match(*(np.mean(part, 0) for part in zip(*planes, strict=True)))
    value, floor, top = (float(getattr(p, name)()) for p in (own, null, ceiling))
    each = np.array([getattr(plane, name)() for plane in planes])
    a, b, c = (getattr(parts, name)(draws) for parts in (own, null, ceiling))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = (a - b) / (c - b)
    return Statistic(
        value=value,
        interval=_interval(a),
        parent=float(getattr(above, name)()),
        records=float(dealt[name].mean()),
        hyperplanes=floor,
        hyperplanes_sd=float(each.std(ddof=1)) if len(each) > 1 else float("nan"),
        kmeans=top,
        score=score(value, floor, top),
        score_interval=_interval(scores),
        p_records=permutation_p(value, dealt[name]),
        p_hyperplanes=permutation_p(value, each),
    )


def _dealings(
    data: BeatSums, sizes: np.ndarray, parents: Any, seed: int, num: int
) -> dict[str, np.ndarray]:
    """Both statistics over dealings of whole recordings, from sums by recording."""
    key = np.zeros(len(data.beats), np.int64) if parents is None else parents
    atoms, parent = data.atoms(key)
    side = data.is_fit[atoms.record]
    drawn = islice(deal(atoms.size, parent, side, sizes, seed), num)
    parts = [data.parts(atoms, cells) for cells in drawn]
    return {
        "variance": np.array([p.variance() for p in parts]),
        "correlation": np.array([p.correlation() for p in parts]),
    }


def _nuisance(
    cells: np.ndarray, values: np.ndarray, records: np.ndarray, seed: int
) -> tuple[float, float]:
    """AMI, and its mean when recordings swap their beats' values at random.

    Beats of a recording share its nuisance, so AMI alone (which takes beats as
    independent) exceeds 0 by chance.
    """
    rng = np.random.default_rng(seed)
    _, first, record = np.unique(records, return_index=True, return_inverse=True)
    own = values[first]
    swapped = [
        adjusted_mutual_information(cells, rng.permutation(own)[record])
        for _ in range(20)
    ]
    return adjusted_mutual_information(cells, values), float(np.mean(swapped))


def _interval(values: np.ndarray) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):  # too few recordings for a score
        return np.nan, np.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
