"""Composite ECG of a cell: what the beats of one component look like.

A cell holds the beats that one component answers for. Its sketch is, in each lead, the
pointwise median of the aligned beats with the bands between their quantiles,

    q_p(t) = inf {v : sum of weights of the beats with value <= v at t  >=  p},

(interpolated between the beats), a few of the beats themselves, how many beats and
how many *recordings* stand behind it, and what can be measured on the median beat of
each lead. All leads of a beat are aligned at the same R peak. A label belongs to a
recording; its beats inherit it.

Arrays in, arrays out: nothing here reads a file or draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Num, Shaped

from ecg_jax.cells.leads import lead_names
from ecg_jax.cells.morphology import Morphology, agrees, measure
from ecg_jax.cells.quantiles import finite_quantiles, quantiles, weights_of
from ecg_jax.errors import DataError, ExampleError, NonFiniteError

LABEL_ORDER = ("N", "A", "O", "~", "S", "V", "F", "Q")
UNLABELLED = "?"

QUANTILES = (0.10, 0.25, 0.75, 0.90)
LEAST_QUALITY, MIXED_SHARE = 0.8, 0.5
NUM_MEASURED = 60
NUM_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Group:
    """The beats of a cell on one side of the margin."""

    num_beats: int
    num_records: int
    label_share: Mapping[str, float]
    median: Float[np.ndarray, "lead time"]
    quantiles: Float[np.ndarray, "quantile lead time"]

    def take(self, leads: Sequence[int]) -> "Group":
        """The same beats in some of the leads."""
        own = list(leads)
        median, quantiles = self.median[own], self.quantiles[:, own]
        return replace(self, median=median, quantiles=quantiles)


@dataclass(frozen=True, eq=False)
class Sketch:
    """Composite ECG of a cell.

    Attributes:
        leads: Names of the leads; "" of a single one that nobody has named.
        time_s: Seconds from the R peak.
        median: Pointwise median beat, in mV.
        quantiles: Pointwise 10, 25, 75 and 90 per cent quantiles, in mV.
        samples: A few beats, spread over the recordings, in mV.
        sample_rows: Their rows in the arrays given to `composite`.
        sample_margin: Their margins.
        num_beats: Beats in the cell.
        num_records: Recordings they come from; 0 where nobody has said.
        main_record: The recording with most of the beats.
        main_share: Its share of the beats.
        label_share: Share of each label (beats inherit that of their recording).
        label_records: Recordings of each label.
        normal: The beats with margin >= 0, if any.
        not_normal: The beats with margin < 0, if any.
        shapes: Measured on the median beat, lead by lead; not `clear` where single
            beats do not agree, and nothing where they differ too much.
        rr_before_s: Median RR interval before the beat, in seconds.
        rr_after_s: Median RR interval after the beat, in seconds.
        rr_band_s: 10 and 90 per cent quantiles of the RR interval before the beat.
        rr_usual_s: Median of the RR intervals around the beats, see `usual_rr`.
        before_to_usual: Median of the RR interval before over that around the beat.
        after_to_usual: The same of the interval after.
        spreads_mv: Mean distance between the 10 and 90 per cent quantiles, in mV, lead
            by lead.
        share_flipped: Share of beats turned upside down for showing.
        weighting: "beat", or "recording" (a beat counts 1 / beats of its recording).
        quality: Median over the beats of the agreement of two R peak detectors on
            their recording, 0 to 1.
    """

    leads: tuple[str, ...]
    time_s: Float[np.ndarray, " time"]
    median: Float[np.ndarray, "lead time"]
    quantiles: Float[np.ndarray, "quantile lead time"]
    samples: Float[np.ndarray, "sample lead time"]
    sample_rows: Int[np.ndarray, " sample"]
    sample_margin: Float[np.ndarray, " sample"]
    num_beats: int
    num_records: int
    main_record: str
    main_share: float
    label_share: Mapping[str, float]
    label_records: Mapping[str, int]
    normal: Group | None
    not_normal: Group | None
    shapes: tuple[Morphology, ...]
    rr_before_s: float | None
    rr_after_s: float | None
    rr_band_s: tuple[float, float] | None
    spreads_mv: tuple[float, ...]
    share_flipped: float
    weighting: Literal["beat", "recording"]
    quality: float | None = None
    rr_usual_s: float | None = None
    before_to_usual: float | None = None
    after_to_usual: float | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether its beats differ too much, in every lead, for the median to be told.

        So where the band of the middle 80% of the beats is on average wider than half
        the height of the median beat; a quarter, where the detectors agree on less
        than 80% of the R peaks. (By itself that may come of unusual beats.)
        """
        most = MIXED_SHARE / 2 if self.is_unsure else MIXED_SHARE
        return all(
            spread > float(np.ptp(median)) * most
            for spread, median in zip(self.spreads_mv, self.median, strict=True)
        )

    def take(self, leads: Sequence[int]) -> "Sketch":
        """The same beats in some of the leads."""
        own = list(leads)
        sides = [
            None if group is None else group.take(own)
            for group in (self.normal, self.not_normal)
        ]
        return replace(
            self,
            leads=tuple(self.leads[k] for k in own),
            median=self.median[own],
            quantiles=self.quantiles[:, own],
            samples=self.samples[:, own],
            normal=sides[0],
            not_normal=sides[1],
            shapes=tuple(self.shapes[k] for k in own),
            spreads_mv=tuple(self.spreads_mv[k] for k in own),
        )

    @property
    def each_lead(self) -> tuple["Sketch", ...]:
        """A sketch for each lead."""
        return tuple(self.take([k]) for k in range(len(self.leads)))

    @property
    def is_unsure(self) -> bool:
        """Whether the detectors agree on less than 80% of the R peaks."""
        return self.quality is not None and self.quality < LEAST_QUALITY


def usual_rr(
    record: Shaped[np.ndarray, " beat"],
    rr_before_s: Float[np.ndarray, " beat"],
    rows: Int[np.ndarray, " row"],
) -> Float[np.ndarray, " row"]:
    """The RR interval that is usual around some beats of their recordings.

    Args:
        record: What recording each beat is from, all beats in order of time.
        rr_before_s: RR interval before each beat, in seconds; NaN where unknown.
        rows: The beats asked for.

    Returns:
        Median of the intervals before the five beats to either side, in seconds; NaN
        where there are none.

    Example:
        >>> usual_rr(np.zeros(5), np.array([.8, .8, .5, 1.1, .8]), np.array([2]))
        array([0.8])
    """
    away = np.arange(-NUM_NEIGHBOURS, NUM_NEIGHBOURS + 1)
    at = rows[:, None] + away[away != 0]
    inside = (at >= 0) & (at < len(record))
    at = np.where(inside, at, 0)
    known = inside & (record[at] == record[rows][:, None])
    around = np.ma.masked_invalid(np.where(known, rr_before_s[at], np.nan))
    return np.ma.filled(np.ma.median(around, axis=1), np.nan)


def composite(
    millivolts: Float[np.ndarray, "beat lead time"],
    record: Shaped[np.ndarray, " beat"] | None,
    label: Sequence[str | None] | Shaped[np.ndarray, " beat"],
    margin: Float[np.ndarray, " beat"],
    *,
    sample_rate_hz: float,
    before_s: float,
    rr_before_s: Float[np.ndarray, " beat"] | None = None,
    rr_after_s: Float[np.ndarray, " beat"] | None = None,
    rr_usual_s: Float[np.ndarray, " beat"] | None = None,
    polarity: Num[np.ndarray, " beat"] | None = None,
    quality: Float[np.ndarray, " beat"] | None = None,
    weighting: Literal["beat", "recording"] = "beat",
    num_samples: int = 60,
    leads: Sequence[str] = (),
    seed: int = 0,
) -> Sketch:
    """Draw up the composite ECG of a cell.

    Args:
        millivolts: Beats aligned at their R peak, in mV.
        record: What recording each beat is from (row or name); `None` where nobody
            has said: then `num_records` is 0, and every beat counts by itself.
        label: Label of each beat, or of its recording.
        margin: Margin of the network on each beat; >= 0 means normal.
        sample_rate_hz: Samples a second.
        before_s: Seconds before the R peak at which a beat starts.
        rr_before_s: RR interval before each beat, in seconds; NaN where unknown.
        rr_after_s: RR interval after each beat, in seconds; NaN where unknown.
        rr_usual_s: RR interval that is usual around each beat, from `usual_rr`, in
            seconds; without it no beat is called early.
        polarity: +1, or -1 for the beats to turn upside down, so that an inverted
            lead does not blur the sketch; the share turned is kept.
        quality: Agreement of two R peak detectors on each beat's recording (bSQI);
            NaN where unknown.
        weighting: "beat": every beat counts 1. "recording": every recording counts 1.
        num_samples: Individual beats to keep, at most.
        leads: Names of the leads; by default "" of one, "lead 1", "lead 2" of several.
        seed: Of the choice of individual beats.

    Returns:
        The sketch.

    Raises:
        DataError: The cell is empty.
        ExampleError: Two arrays differ in their number of beats, or names are missing.
        NonFiniteError: A beat or a margin is NaN or infinite.

    Example:
        >>> t = np.arange(65) / 100 - .25
        >>> beat = np.exp(-.5 * (t / .015) ** 2)[None]
        >>> sketch = composite(np.stack([beat, 2 * beat]), np.array([0, 1]), "NO",
        ...     np.array([1., -1.]), sample_rate_hz=100., before_s=.25)
        >>> sketch.num_records, dict(sketch.label_share)
        (2, {'N': 0.5, 'O': 0.5})
    """
    beats = np.asarray(millivolts)
    if beats.ndim != 3:
        raise ExampleError(
            f"composite: millivolts has shape {beats.shape}\n"
            "  why:  beats are expected as [beat, lead, time]\n"
            "  try:  millivolts[:, None, :] for a single lead"
        )
    num, num_leads = beats.shape[:2]
    names = tuple(leads) or lead_names(num_leads)
    if len(names) != num_leads:
        raise ExampleError(
            f"composite: {num_leads} leads, and names of {len(names)}\n"
            "  try:  a name for each lead, in their order"
        )
    columns: dict[str, np.ndarray] = {
        "record": np.arange(num) if record is None else np.asarray(record),
        "label": _labels(label),
        "margin": np.asarray(margin),
    }
    for name, column in (
        ("rr_before_s", rr_before_s),
        ("rr_after_s", rr_after_s),
        ("rr_usual_s", rr_usual_s),
        ("polarity", polarity),
        ("quality", quality),
    ):
        if column is not None:
            columns[name] = np.asarray(column)
    wrong = {k: v.shape for k, v in columns.items() if v.shape != (num,)}
    if wrong:
        raise ExampleError(
            f"composite: {num} beats, but "
            + ", ".join(f"{k} has shape {v}" for k, v in wrong.items())
            + "\n  try:  one entry a beat in every column"
        )
    if num == 0:
        raise DataError(
            "composite: the cell is empty\n"
            "  why:  no beat was given\n"
            "  try:  leave cells without beats out of the sketches"
        )
    _check_finite(beats, "millivolts")
    _check_finite(columns["margin"], "margin")

    flipped = columns["polarity"] < 0 if "polarity" in columns else np.zeros(num, bool)
    if flipped.any():
        beats = np.where(flipped[:, None, None], -beats, beats)
    index = _record_index(columns["record"])
    weight = weights_of(index, weighting)
    time_s = np.arange(beats.shape[-1]) / sample_rate_hz - before_s
    levels = quantiles(beats, weight, (*QUANTILES[:2], 0.5, *QUANTILES[2:]))
    median, bands = levels[2], levels[[0, 1, 3, 4]]
    rows = _spread_sample(index, num_samples, seed)
    is_normal = columns["margin"] >= 0
    groups = {
        side: _group(
            beats[keep],
            index[keep] if record is not None else None,
            columns["label"][keep],
            weight[keep],
        )
        for side, keep in (("normal", is_normal), ("not normal", ~is_normal))
        if keep.any()
    }
    before = finite_quantiles(columns.get("rr_before_s"), weight)
    after = finite_quantiles(columns.get("rr_after_s"), weight)
    agreement = finite_quantiles(columns.get("quality"), weight)
    usual = columns.get("rr_usual_s")
    ratios = [
        None if rr is None or usual is None else finite_quantiles(rr / usual, weight)
        for rr in (columns.get("rr_before_s"), columns.get("rr_after_s"))
    ]
    around = finite_quantiles(usual, weight)
    some = np.random.default_rng(seed).permutation(num)[:NUM_MEASURED]
    shapes = []
    for k in range(num_leads):
        shape = measure(median[k], sample_rate_hz, before_s)
        alike = agrees(shape, beats[some, k], sample_rate_hz, before_s)
        shapes.append(replace(shape, clear=shape.clear and alike))
    records, counts = np.unique(columns["record"], return_counts=True)
    known = record is not None
    sketch = Sketch(
        leads=names,
        time_s=time_s,
        median=median,
        quantiles=bands,
        samples=beats[rows],
        sample_rows=rows,
        sample_margin=columns["margin"][rows],
        num_beats=num,
        num_records=len(records) if known else 0,
        main_record=str(records[counts.argmax()]) if known else "",
        main_share=float(counts.max() / num) if known else 0.0,
        label_share=_label_share(columns["label"], weight),
        label_records=_label_records(columns["label"], index) if known else {},
        normal=groups.get("normal"),
        not_normal=groups.get("not normal"),
        shapes=tuple(shapes),
        rr_before_s=None if before is None else before[1],
        rr_after_s=None if after is None else after[1],
        rr_band_s=None if before is None else (before[0], before[2]),
        spreads_mv=tuple(np.mean(bands[3] - bands[0], axis=-1).tolist()),
        share_flipped=float(np.average(flipped, weights=weight)),
        weighting=weighting,
        quality=None if agreement is None else agreement[1],
        rr_usual_s=None if around is None else around[1],
        before_to_usual=None if ratios[0] is None else ratios[0][1],
        after_to_usual=None if ratios[1] is None else ratios[1][1],
    )
    measured = [
        Morphology() if one.is_mixed else one.shapes[0] for one in sketch.each_lead
    ]
    return replace(sketch, shapes=tuple(measured))


def _labels(label: Sequence[str | None] | np.ndarray) -> np.ndarray:
    return np.asarray([UNLABELLED if v is None else str(v) for v in label], np.str_)


def _check_finite(values: np.ndarray, name: str) -> None:
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        raise NonFiniteError(
            f"composite: {name} is NaN or infinite in beat {int(np.argmax(bad))}\n"
            f"  where: {int(bad.sum())} of {len(values)} beats\n"
            "  try:  leave these beats out"
        )


def _record_index(record: np.ndarray) -> Int[np.ndarray, " beat"]:
    return np.unique(record, return_inverse=True)[1].reshape(-1)


def _spread_sample(
    index: Int[np.ndarray, " beat"], num: int, seed: int
) -> Int[np.ndarray, " sample"]:
    """Up to `num` rows: one of every recording before a second of any."""
    shuffled = np.random.default_rng(seed).permutation(len(index))
    by_record = shuffled[np.argsort(index[shuffled], kind="stable")]
    counts = np.bincount(index)
    turn = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    priority = np.random.default_rng(seed + 1).permutation(len(counts))
    order = np.lexsort((priority[index[by_record]], turn))
    return np.sort(by_record[order[:num]])


def _group(
    beats: np.ndarray, index: np.ndarray | None, label: np.ndarray, weight: np.ndarray
) -> Group:
    levels = quantiles(beats, weight, (*QUANTILES[:2], 0.5, *QUANTILES[2:]))
    return Group(
        num_beats=len(beats),
        num_records=0 if index is None else len(np.unique(index)),
        label_share=_label_share(label, weight),
        median=levels[2],
        quantiles=levels[[0, 1, 3, 4]],
    )


def _ordered(names: np.ndarray) -> list[str]:
    known = [name for name in LABEL_ORDER if name in names]
    return known + sorted(str(name) for name in names if name not in LABEL_ORDER)


def _label_share(label: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    names = _ordered(np.unique(label))
    return {k: float(weight[label == k].sum() / weight.sum()) for k in names}


def _label_records(label: np.ndarray, index: np.ndarray) -> dict[str, int]:
    return {k: len(np.unique(index[label == k])) for k in _ordered(np.unique(label))}
