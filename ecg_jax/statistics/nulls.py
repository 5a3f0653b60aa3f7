"""Partitions to hold a partition against: the same parents, the same cell sizes.

Any geometric cut makes cells purer, so purity means nothing by itself. The floor is
dealing whole recordings at random, the fair opponent is cutting by random hyperplanes,
the ceiling is k-means. Each returns cells for *all* beats; what is fitted (cuts,
centres) is fitted on the rows of `train` alone.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from ecg_jax.errors import DataError
from ecg_jax.statistics.cluster import kmeans, nearest


def cell_sizes(
    cells: Int[np.ndarray, " beat"],
    parents: Int[np.ndarray, " beat"] | None = None,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> Int[np.ndarray, "parent cell"]:
    """How many (training) beats of each parent lie in each cell.

    Without `parents` there is one, the whole set, and the table has one row.
    """
    if parents is None:
        parents = np.zeros_like(cells)
    num_parents, num_cells = int(parents.max()) + 1, int(cells.max()) + 1
    key = parents.astype(np.int64) * num_cells + cells
    if train is not None:
        key = key[train]
    table = np.bincount(key, minlength=num_parents * num_cells)
    return table.reshape(num_parents, num_cells)


def random_hyperplanes(
    beats: Float[np.ndarray, "beat time"],
    sizes: Int[np.ndarray, "*parent cell"],
    seed: int,
    *,
    parents: Int[np.ndarray, " beat"] | None = None,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> Int[np.ndarray, " beat"]:
    """Cells of the given sizes, cut by random hyperplanes.

    A parent's cells are halved in number again and again; at each halving the beats
    are projected on a direction drawn evenly from the sphere and cut where the training
    beats split in the sizes asked for (exactly, but for ties).

    Args:
        beats: Waveforms, flattened.
        sizes: `cell_sizes(cells, parents, train)`, or a vector without parents.
        seed: Of the directions and of the order of the cells.
        parents: The parent of each beat.
        train: Which beats fix the cuts; default all.

    Raises:
        DataError: The sizes do not add up to the beats.
    """
    sizes, parents, train = _checked(len(beats), sizes, parents, train)
    rng = np.random.default_rng(seed)
    num_cuts = int(np.maximum((sizes > 0).sum(1) - 1, 0).sum())
    directions = rng.standard_normal((num_cuts, beats.shape[1])).astype(beats.dtype)
    heights = _heights(beats, directions)
    cells = np.zeros(len(beats), np.int32)
    for parent, row in enumerate(sizes):
        rows = np.flatnonzero(parents == parent)
        todo = [(rows, rng.permutation(np.flatnonzero(row)))] if row.any() else []
        while todo:
            rows, left = todo.pop()
            if len(left) == 1:
                cells[rows] = left[0]
                continue
            low, high = np.array_split(left, 2)
            height = next(heights)[rows]
            fixing = height[train[rows]]
            cut = int(row[low].sum())
            around = np.partition(fixing, (cut - 1, cut))[cut - 1 : cut + 1]
            below = height <= around[0] + (around[1] - around[0]) / 2
            todo += [(rows[below], low), (rows[~below], high)]
    return cells


def _heights(beats: np.ndarray, directions: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(directions), 32):
        yield from directions[start : start + 32] @ beats.T


def random_records(
    records: Shaped[np.ndarray, " beat"],
    sizes: Int[np.ndarray, "*parent cell"],
    seed: int,
    *,
    parents: Int[np.ndarray, " beat"] | None = None,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> Int[np.ndarray, " beat"]:
    """Cells of about the given sizes, dealt to whole recordings at random.

    What a recording has in one parent stays together, so a size is met to within one
    recording. Training and other beats are dealt apart, in the same proportions.

    Raises:
        DataError: The sizes do not add up to the beats.
    """
    sizes, parents, train = _checked(len(records), sizes, parents, train)
    _, record = np.unique(records, return_inverse=True)
    key = (parents.astype(np.int64) * (record.max() + 1) + record) * 2 + train
    keys, atom, count = np.unique(key, return_inverse=True, return_counts=True)
    parent = keys // 2 // (record.max() + 1)
    side = keys % 2 == 1
    return next(deal(count, parent, side, sizes, seed))[atom]


def deal(
    counts: Int[np.ndarray, " atom"],
    parents: Int[np.ndarray, " atom"],
    side: Bool[np.ndarray, " atom"],
    sizes: Int[np.ndarray, "parent cell"],
    seed: int,
) -> Iterator[Int[np.ndarray, " atom"]]:
    """Endless random dealings of atoms (groups of beats) into cells.

    Within each parent and each side the atoms are shuffled, laid end to end, and cut
    in the proportions of `sizes`; an atom goes where its middle lies.
    """
    rng = np.random.default_rng(seed)
    stretches = []
    for parent, row in enumerate(sizes):
        ends = np.cumsum(row) / max(int(row.sum()), 1)
        for one in (False, True):
            members = np.flatnonzero((parents == parent) & (side == one))
            if len(members):
                stretches.append((members, ends, int(np.flatnonzero(row)[-1])))
    while True:
        cells = np.zeros(len(counts), np.int32)
        for members, ends, last in stretches:
            order = rng.permutation(members)
            count = counts[order]
            middle = (np.cumsum(count) - count / 2) / count.sum()
            cells[order] = np.minimum(np.searchsorted(ends, middle, "right"), last)
        yield cells


def kmeans_cells(
    beats: Float[np.ndarray, "beat time"],
    sizes: Int[np.ndarray, "*parent cell"],
    seed: int,
    *,
    parents: Int[np.ndarray, " beat"] | None = None,
    train: Bool[np.ndarray, " beat"] | None = None,
) -> Int[np.ndarray, " beat"]:
    """The ceiling: k-means in each parent, with as many cells (not their sizes).

    Raises:
        DataError: The sizes do not add up to the beats.
    """
    sizes, parents, train = _checked(len(beats), sizes, parents, train)
    cells = np.zeros(len(beats), np.int32)
    for parent, row in enumerate(sizes):
        names = np.flatnonzero(row)
        rows = np.flatnonzero(parents == parent)
        if len(names) == 0 or len(rows) == 0:
            continue
        centres = kmeans(beats[rows[train[rows]]], len(names), seed=seed + parent)
        cells[rows] = names[nearest(beats[rows], centres)]
    return cells


def adjusted_mutual_information(
    a: Shaped[np.ndarray, " beat"], b: Shaped[np.ndarray, " beat"]
) -> float:
    """What two partitions tell about each other, beyond chance: 0 none, 1 all.

    AMI = (I - E[I]) / ((H(a) + H(b)) / 2 - E[I]), the expectation over all tables with
    the same margins (hypergeometric).

    Source: Vinh, Epps, Bailey, Information theoretic measures for clusterings
    comparison, JMLR 11, 2010.

    Example:
        >>> adjusted_mutual_information(np.array([0, 0, 1, 1]), np.array([3, 3, 7, 7]))
        1.0
    """
    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    num_a, num_b, num = int(a.max()) + 1, int(b.max()) + 1, len(a)
    if num_a == num_b == 1 or num_a == num_b == num:
        return 1.0
    table = np.bincount(a * num_b + b, minlength=num_a * num_b).reshape(num_a, num_b)
    rows, columns = table.sum(1), table.sum(0)
    share = table / num
    product = np.outer(rows / num, columns / num)
    some = share > 0
    information = float(np.sum(share[some] * np.log(share[some] / product[some])))
    expected = _expected_information(rows, columns)
    entropy = [-np.sum(p / num * np.log(p / num)) for p in (rows, columns)]
    spare = float(np.mean(entropy)) - expected
    return (information - expected) / spare if abs(spare) > 1e-15 else 0.0


def _expected_information(rows: np.ndarray, columns: np.ndarray) -> float:
    from scipy.special import gammaln

    num = int(rows.sum())
    ways = gammaln(np.arange(num + 2))  # ways[n + 1] = log n!
    total = 0.0
    a_values, a_times = np.unique(rows, return_counts=True)
    b_values, b_times = np.unique(columns, return_counts=True)
    for a, a_time in zip(a_values.tolist(), a_times.tolist(), strict=True):
        for b, b_time in zip(b_values.tolist(), b_times.tolist(), strict=True):
            mean = a * b / num
            reach = 40 * np.sqrt(mean) + 40  # beyond it the probability underflows
            low = max(1, a + b - num, int(mean - reach))
            n = np.arange(low, min(a, b, int(mean + reach)) + 1)
            log_p = (
                ways[a + 1]
                + ways[b + 1]
                + ways[num - a + 1]
                + ways[num - b + 1]
                - ways[num + 1]
                - ways[n + 1]
                - ways[a - n + 1]
                - ways[b - n + 1]
                - ways[num - a - b + n + 1]
            )
            term = n / num * np.log(num * n / (a * b)) * np.exp(log_p)
            total += a_time * b_time * float(term.sum())
    return total


def _checked(
    num: int,
    sizes: np.ndarray,
    parents: np.ndarray | None,
    train: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = np.atleast_2d(sizes)
    parents = np.zeros(num, np.int64) if parents is None else parents
    train = np.ones(num, bool) if train is None else train
    there = np.bincount(parents[train], minlength=len(sizes))
    if len(there) != len(sizes) or (there != sizes.sum(1)).any():
        raise DataError(
            f"cell sizes add up to {sizes.sum(1).tolist()}, but the training beats of "
            f"the parents are {there.tolist()}.\n"
            "  try: cell_sizes(cells, parents, train)"
        )
    if (np.bincount(parents, minlength=len(sizes))[there == 0] > 0).any():
        raise DataError(
            "a parent has beats but no training beats, so nothing can be fitted in "
            "it.\n  try: leave it out, or merge it with its sibling"
        )
    return sizes, parents, train
