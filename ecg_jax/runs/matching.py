"""The beats that two finished runs have in common, by recording and time of R."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ecg_jax.errors import RunError
from ecg_jax.runs.run_folder import CONFIG, METRICS, need_parts, read_json
from ecg_jax.storage.table import read_parquet
from ecg_jax.views.partition import TABLE
from ecg_jax.views.report import COMPONENTS

WITHIN_S = 0.15
"""R peaks of one beat in two runs are at most so far apart."""


@dataclass(frozen=True, eq=False)
class Finished:
    """What is read of a finished run.

    Attributes:
      folder: where it is.
      config: the contents of config.json.
      parts: the contents of components.json, the root first.
      rows: the columns of partition.parquet.
    """

    folder: Path
    config: Mapping[str, Any]
    parts: Sequence[Mapping[str, Any]]
    rows: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.rows["margin"])

    @cached_property
    def time_s(self) -> np.ndarray | None:
        """Times of a beat's samples, in seconds from R; None where nothing is weighed.

        The components say it: a configuration holds no window of given beats.
        """
        weighed = [part["weighing"] for part in self.parts if part["weighing"]]
        return np.array(weighed[0]["time_s"]) if weighed else None

    @property
    def step_s(self) -> float:
        """Seconds between samples; 0 where they are not known."""
        time = self.time_s
        return 0.0 if time is None else float(time[1] - time[0])

    @property
    def data(self) -> str:
        """What the data set is called."""
        return str(self.config.get("data", "unknown"))

    @cached_property
    def names(self) -> list[str]:
        """The name of every component, by its number."""
        return [part["name"] for part in self.parts]

    def depth(self, part: Mapping[str, Any]) -> int:
        """How many levels a component is below the root."""
        above = {one["id"]: one["parent"] for one in self.parts}
        at, levels = part["id"], 0
        while (at := above[at]) is not None:
            levels += 1
        return levels

    def inside(
        self, part: Mapping[str, Any], rows: Int[np.ndarray, " beat"]
    ) -> Bool[np.ndarray, " beat"]:
        """Which of some beats are in the cell of a component."""
        return self.rows[f"cell_depth{self.depth(part)}"][rows] == part["id"]


@dataclass(frozen=True, eq=False)
class Matched:
    """Beats that are in both runs.

    Attributes:
      first: rows of the first run.
      second: rows of the second, one for each of the first.
      is_same: whether the two R peaks are at the same sample.
      within_s: how far apart the two may be; None where rows were matched.
    """

    first: Int[np.ndarray, " pair"]
    second: Int[np.ndarray, " pair"]
    is_same: Bool[np.ndarray, " pair"]
    within_s: float | None

    def __len__(self) -> int:
        return len(self.first)

    def some(self, chosen: Bool[np.ndarray, " pair"]) -> "Matched":
        """Some of the pairs."""
        kept = self.first[chosen], self.second[chosen], self.is_same[chosen]
        return Matched(*kept, self.within_s)


def finished(folder: Path) -> Finished:
    """Reads a finished run.

    Raises:
      RunError: a part is missing or cannot be read.
    """
    need_parts(folder, CONFIG, TABLE, COMPONENTS, METRICS)
    return Finished(
        folder,
        read_json(folder / CONFIG),
        read_json(folder / COMPONENTS),
        read_parquet(folder / TABLE),
    )


def check_windows(one: Finished, two: Finished) -> None:
    """Raises `RunError` where two runs see other windows of a beat."""
    if one.time_s is None or two.time_s is None:
        return
    ends = [
        (float(time[0]), float(time[-1]) + run.step_s)
        for run, time in ((one, one.time_s), (two, two.time_s))
    ]
    apart = max(abs(a - b) for a, b in zip(*ends, strict=True))
    if apart > 0.5 * max(one.step_s, two.step_s) * (1 + 1e-3):
        told = [f"R {1000 * a:+.0f} ms to R {1000 * b:+.0f} ms" for a, b in ends]
        raise RunError(
            f"{one.folder} and {two.folder} see other windows of a beat.\n"
            f"  first:  {told[0]}\n  second: {told[1]}\n"
            "  try: two runs with the same --beats.before-s and --beats.after-s"
        )


def match(one: Finished, two: Finished) -> Matched:
    """The beats that are in both runs.

    Two beats of one recording are the same if each is the other's nearest in time and
    they are at most `WITHIN_S` apart. Beats of a file have no times: they are matched
    by row where both runs are of the same file.

    Raises:
      RunError: there are none.
    """
    digest = one.config.get("data_sha256")
    if digest is not None and digest == two.config.get("data_sha256"):
        rows = np.arange(len(one))
        return Matched(rows, rows, np.ones(len(one), bool), None)
    names = [set(run.rows["record"].astype(str).tolist()) for run in (one, two)]
    given = [np.isnan(run.rows["r_time_s"]).any() for run in (one, two)]
    shared = sorted(names[0] & names[1])
    if any(given) or not shared:
        why = "no recording is in both"
        if any(given):
            why = "beats of a file have no time, and the files differ"
        raise RunError(
            f"{one.folder} and {two.folder} are of other data: {why}.\n"
            f"  first:  {one.data}\n  second: {two.data}\n"
            "  try: two runs of the same --data"
        )
    times = [_on_one_line(run, shared) for run in (one, two)]
    nearest = [_nearest(times[0], times[1]), _nearest(times[1], times[0])]
    rows = np.flatnonzero(np.isfinite(times[0]))
    partner = nearest[0][rows]
    apart = np.abs(times[0][rows] - times[1][partner])
    kept = (nearest[1][partner] == rows) & (apart <= WITHIN_S)
    if not kept.any():
        raise RunError(
            f"{one.folder} and {two.folder} have {len(shared):,} recordings of the "
            f"same name, and no beat in common (R peaks within {1000 * WITHIN_S:.0f} "
            "ms).\n  try: two runs of the same --data"
        )
    half = 0.5 * max(one.step_s, two.step_s)
    is_same = apart[kept] <= half * (1 + 1e-3)
    return Matched(rows[kept], partner[kept], is_same, WITHIN_S)


def _on_one_line(run: Finished, shared: Sequence[str]) -> np.ndarray:
    """Times of R, recordings after one another, those of one run alone at infinity."""
    record = run.rows["record"].astype(str)
    place = np.searchsorted(shared, record).clip(max=len(shared) - 1)
    known = np.asarray(shared)[place] == record
    time = run.rows["r_time_s"].astype(np.float64)
    return np.where(known, place * 1e6 + time, np.inf)


def _nearest(time: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The row of the nearest among the others, for each."""
    order = np.argsort(other, kind="stable")
    ordered = other[order]
    right = np.searchsorted(ordered, time).clip(1, max(len(other) - 1, 1))
    left = right - 1
    right = right.clip(max=len(other) - 1)
    with np.errstate(invalid="ignore"):  # what has no recording is at infinity
        is_left = time - ordered[left] <= ordered[right] - time
    return order[np.where(is_left, left, right)]
