"""Templates of cells, and how well each recording matches them.

Beats are summed once over groups that lie in one recording and one cell; both
statistics of `purity` then follow from these sums, with the recording as the unit.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from ecg_jax.errors import DataError


def record_weights(records: Shaped[np.ndarray, " beat"]) -> Float[np.ndarray, " beat"]:
    """Weights that give every recording the same say; they add up to 1."""
    _, record, count = np.unique(records, return_inverse=True, return_counts=True)
    return 1.0 / (count[record] * len(count))


def few_per_record(
    records: Shaped[np.ndarray, " beat"], most: int, seed: int = 0
) -> Int[np.ndarray, " kept"]:
    """Rows of at most `most` beats of each recording, drawn at random, in order.

    A recording's beats are so alike that a few tell nearly as much as all.
    """
    shuffled = np.random.default_rng(seed).permutation(len(records))
    _, record = np.unique(records[shuffled], return_inverse=True)
    order = np.argsort(record, kind="stable")
    start = np.searchsorted(record[order], record[order])
    return np.sort(shuffled[order[np.arange(len(order)) - start < most]])


class Match(NamedTuple):
    """Means over the beats of each measured recording.

    Attributes:
        within: Squared distance to the cell's template.
        total: Squared distance to the mean.
        alike: Correlation with the cell's template.
    """

    within: np.ndarray
    total: np.ndarray
    alike: np.ndarray

    def variance(self, draws: np.ndarray | None = None) -> Any:
        """Variance explained; of each resampling, if recordings are drawn so often."""
        draws = np.ones(len(self.total)) if draws is None else draws
        return 1 - (draws @ self.within) / (draws @ self.total)

    def correlation(self, draws: np.ndarray | None = None) -> Any:
        """Mean correlation; of each resampling, if recordings are drawn so often."""
        draws = np.ones(len(self.total)) if draws is None else draws
        return (draws @ self.alike) / draws.sum(-1)


class Atoms(NamedTuple):
    """Sums over groups of beats that lie in one recording and one cell.

    Attributes:
        record: Index of the recording.
        size: Number of beats.
        wave: Sum of the beats, relative to the mean of all.
        unit: Sum of the beats, each without its mean and of length 1.
        square: Sum of squared distances to the mean of all.
    """

    record: np.ndarray
    size: np.ndarray
    wave: np.ndarray
    unit: np.ndarray
    square: np.ndarray


class BeatSums:
    """The beats with what every partition of them needs."""

    def __init__(self, beats: np.ndarray, records: np.ndarray, train: Any) -> None:
        self.beats = beats
        self.fit, self.held = sides(len(beats), train)
        self.leave_out = train is None
        _, self.record = np.unique(records, return_inverse=True)
        self.count = np.bincount(self.record)
        if train is not None:
            both = np.bincount(self.record[train], minlength=len(self.count))
            if ((both > 0) & (both < self.count)).any():
                which = np.unique(records)[(both > 0) & (both < self.count)][0]
                raise DataError(
                    f"recording {which} is on both sides of the split.\n"
                    "  try: splitting by recording, not by beat"
                )
        self.is_fit = np.bincount(self.record, self.fit) > 0
        self.is_held = np.bincount(self.record, self.held) > 0
        self.mean = (record_weights(self.record[self.fit]) @ beats[self.fit]).astype(
            beats.dtype
        )
        centred = beats - beats.mean(1, keepdims=True)
        length = np.sqrt(np.square(centred).sum(1, keepdims=True))
        away = beats - self.mean
        square = np.square(away).sum(1, keepdims=True)
        unit = centred / np.maximum(length, 1e-30)
        self.columns = np.concatenate([away, unit, square], 1)

    def atoms(self, key: np.ndarray) -> tuple[Atoms, np.ndarray]:
        """Sums of the beats by recording and key; and the key of each sum."""
        joint = self.record.astype(np.int64) * (int(key.max()) + 1) + key
        keys, atom, count = np.unique(joint, return_inverse=True, return_counts=True)
        sums = sum_by(atom, self.columns, len(keys)).astype(np.float64)
        time = self.beats.shape[1]
        record, key = np.divmod(keys, int(key.max()) + 1)
        parts = sums[:, :time], sums[:, time : 2 * time], sums[:, -1]
        return Atoms(record, count, *parts), key

    def of(self, cells: np.ndarray) -> Match:
        """Both statistics of a partition, recording by recording."""
        return self.parts(*self.atoms(cells))

    def parts(self, atoms: Atoms, cells: np.ndarray) -> Match:
        """Both statistics, recording by recording, from atoms and their cells.

        Waves are relative to the mean `m`; with the record's `n`, the template
        `T = m_c - m` gives `|x - m_c|^2 = |x - m|^2 - 2 <x - m, T> + |T|^2`.
        """
        num = int(cells.max()) + 1
        per = 1.0 / self.count[atoms.record]
        weight = atoms.size * per
        fit, held = self.is_fit[atoms.record], self.is_held[atoms.record]
        share = per[:, None] * atoms.wave
        total_weight = np.bincount(cells[fit], weight[fit], num)
        total_wave = sum_by(cells[fit], share[fit], num)
        template = total_wave / np.maximum(total_weight, 1e-300)[:, None]
        mine = template[cells]
        dot = np.sum(atoms.wave * mine, 1)
        within = atoms.square - 2 * dot + atoms.size * np.square(mine).sum(1)
        there = total_weight[cells]
        if self.leave_out:
            there = there - weight
            there = np.where(there > 1e-9 * total_weight[cells], there, 0.0)
            left = total_wave[cells] - share
            mine = left / np.where(there > 0, there, 1.0)[:, None]
        mine = mine + self.mean
        mine = mine - mine.mean(1, keepdims=True)
        length = np.sqrt(np.square(mine).sum(1))
        alike = np.sum(atoms.unit * mine, 1) / np.maximum(length, 1e-30)
        alike = np.where(there > 0, alike, 0.0)

        def by_record(value: np.ndarray) -> np.ndarray:
            sums = np.bincount(atoms.record[held], (per * value)[held], len(self.count))
            return sums[self.is_held]

        return Match(by_record(within), by_record(atoms.square), by_record(alike))


def sides(num: int, train: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Which beats make templates and which are measured."""
    if train is None:
        return np.ones(num, bool), np.ones(num, bool)
    if not train.any() or train.all():
        raise DataError(
            f"{int(train.sum())} of {num} beats are for training: one side is empty.\n"
            "  try: train=None to measure on the beats themselves"
        )
    return train, ~train


def sum_by(index: np.ndarray, values: np.ndarray, num: int) -> np.ndarray:
    """Sums of the rows of `values` that have the same index."""
    from scipy.sparse import csr_array

    ones = np.ones(len(index), values.dtype)
    where = (index, np.arange(len(index)))
    return csr_array((ones, where), (num, len(index))) @ values
