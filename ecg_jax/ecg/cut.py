"""Cut one recording into beats: windows around its R peaks.

recording -> band-pass .5-40 Hz -> R peaks, polarity -> windows at a fixed rate
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from ecg_jax.ecg import detect, live
from ecg_jax.ecg._leads import ALL, choose, missing
from ecg_jax.ecg.records import AAMI_CLASSES, Recording
from ecg_jax.errors import DataError, SignalError

SHORTEST_S = 1.0
"""Shorter recordings give no beats: the detectors need this much."""

ANNOTATED = (*AAMI_CLASSES, "?")
"""Classes that annotated beats are counted by; "?" where the annotation names none."""


@dataclass(frozen=True)
class Window:
    """Where the samples of a beat lie around its R peak.

    Attributes:
        sample_rate_hz: Samples a second.
        before_s: From the start of a window to the R peak.
        after_s: From the R peak to its end. Longer windows hold several beats.
    """

    sample_rate_hz: float = 100.0
    before_s: float = 0.25
    after_s: float = 0.40

    @property
    def num_samples(self) -> int:
        """Samples of a window."""
        return round((self.before_s + self.after_s) * self.sample_rate_hz)

    @property
    def num_before(self) -> int:
        """Index of the R peak in a window."""
        return round(self.before_s * self.sample_rate_hz)

    @property
    def time_s(self) -> Float[np.ndarray, " time"]:
        """Time of a window's samples from the R peak."""
        return (np.arange(self.num_samples) - self.num_before) / self.sample_rate_hz


@dataclass(frozen=True)
class BeatConfig(Window):
    """How beats are cut out: a window around each R peak, at least `2 high_hz` fast.

    Attributes:
        leads: To read, in this order, such as `II V1 V5`; or `all`, those that most
            recordings have. None named: one lead, MLII or II where there is one.
        low_hz: Lower edge of the band-pass.
        high_hz: Upper edge.
        second_opinion: Run a second detector for bSQI.
        low_bsqi: Below it the second detector's peaks are taken.
        snap_s: How far a peak may move to the extremum.
        match_s: How near an annotation must be to be the beat's.
        polarity: "correct" turns recordings of one lead with mostly negative QRS over
            in `inputs`; "keep" leaves them. Of several leads none is turned: that they
            point apart is the ECG. Either way `records.polarity` says which they are.
        normalise: "record" divides by the recording's spread (the median over its
            beats of the standard deviation in the window), "beat" takes every window's
            mean and standard deviation out, "none" leaves millivolts.
    """

    leads: tuple[str, ...] = ()
    low_hz: float = 0.5
    high_hz: float = 40.0
    second_opinion: bool = True
    low_bsqi: float = 0.9
    snap_s: float = 0.06
    match_s: float = 0.15
    polarity: Literal["correct", "keep"] = "correct"
    normalise: Literal["record", "beat", "none"] = "record"

    def __post_init__(self):
        for name, high, usual in (
            ("sample_rate_hz", 1e6, 100),
            ("before_s", 1e3, 0.25),
            ("after_s", 1e3, 0.4),
            ("snap_s", 1e3, 0.06),
            ("match_s", 1e3, 0.15),
            ("low_bsqi", 1, 0.9),
        ):
            if not 0 <= (value := getattr(self, name)) <= high:
                raise DataError(
                    f"BeatConfig: {name}={value:g} is not from 0 to {high:g}.\n"
                    f"  try: {usual:g}"
                )
        if not 0 < self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise DataError(
                f"BeatConfig: windows at {self.sample_rate_hz:g} Hz cannot hold the "
                f"band {self.low_hz:g} to {self.high_hz:g} Hz.\n"
                f"  try: sample_rate_hz of {2 * self.high_hz:g} or more, or a lower "
                "high_hz"
            )
        if self.before_s < 0 or self.after_s < 0 or self.num_samples < 2:
            raise DataError(
                f"BeatConfig: a window from {self.before_s:g} s before the R peak to "
                f"{self.after_s:g} s after it is empty.\n"
                "  try: before_s=.25, after_s=.4"
            )
        for name, allowed in (
            ("polarity", ("correct", "keep")),
            ("normalise", ("record", "beat", "none")),
        ):
            if getattr(self, name) not in allowed:
                raise DataError(
                    f"BeatConfig: {name}={getattr(self, name)!r} is unknown.\n"
                    f"  try: one of {', '.join(allowed)}"
                )
        names = [name.casefold() for name in self.leads]
        if len(set(names)) < len(names) or (ALL[0] in names and self.leads != ALL):
            raise DataError(
                f"BeatConfig: the leads {', '.join(self.leads)} name one twice, or one "
                "beside all.\n"
                "  try: each once, or all alone"
            )


def cut(recording: Recording, config: BeatConfig) -> dict[str, np.ndarray]:
    """All columns of one recording; see `Beats` and `RecordTable`.

    The R peaks are those of one lead, see `best_lead`, for all leads.
    """
    recording = with_leads(recording, config.leads)
    name, rate = recording.name, recording.sample_rate_hz
    shortest = max(SHORTEST_S, config.before_s + config.after_s)
    if recording.duration_s < shortest:
        raise SignalError(
            f"{name}: {recording.duration_s:.2f} s are too short for a beat, which "
            f"needs {shortest:g} s.\n"
            "  try: leave it out, or cut shorter windows"
        )
    if rate < 2 * config.high_hz:
        raise SignalError(
            f"{name}: {rate:g} samples a second cannot hold {config.high_hz:g} Hz.\n"
            f"  try: high_hz of {rate / 2:g} or less in BeatConfig"
        )
    if np.isinf(recording.signal).any():
        lead, at = np.argwhere(np.isinf(recording.signal))[0].tolist()
        raise SignalError(
            f"{name}: sample {at} of lead {lead + 1} is infinite.\n"
            "  try: NaN for a value that is missing"
        )
    signal, missing = bridged(recording.signal)
    if missing.all():
        raise SignalError(
            f"{name}: a lead misses its sample at every time.\n"
            "  try: leave it out, or read other leads"
        )
    clean = detect.band_pass(signal, rate, config.low_hz, config.high_hz)
    try:
        each = [_detected(lead, rate, config) for lead in signal]
    except (ValueError, IndexError, ArithmeticError) as error:
        raise SignalError(
            f"{name}: the beat detectors fail on it ({error}).\n  try: leave it out"
        ) from error
    best = best_lead(each)
    found = each[best]
    peaks = found.peaks
    if not len(peaks):
        raise SignalError(
            f"{name}: no beat is found in {recording.duration_s:.2f} s. A lead that "
            f"moves by less than {live.SMALLEST_STEP_MV:g} mV in {live.STEP_S:g} s "
            "counts as off.\n"
            "  try: leave it out, or give the signal in mV"
        )
    values, keep = windows(clean, peaks, rate, config)
    lost = np.append(0, np.cumsum(missing))
    edges = peaks[:, None] + np.rint(config.time_s[[0, -1]] * rate).astype(int) + [0, 1]
    start, end = np.clip(edges, 0, len(missing)).T
    known = lost[start] == lost[end]
    values, keep = values[known[keep]], keep & known
    num_cut = int((~keep).sum())
    width = max(map(len, (recording.label or "", *(recording.beat_labels or ()))))
    labels = np.full(len(peaks), recording.label or "", f"U{max(width, 1)}")
    kinds = np.full(len(peaks), "", "U1")
    num_unmatched = 0
    if recording.beat_samples is not None:
        mine, theirs = detect.match(
            peaks, recording.beat_samples, config.match_s * rate
        )
        near = np.zeros(len(peaks), bool)
        near[mine] = True
        num_unmatched = int((keep & ~near).sum())
        if recording.beat_kinds is not None:
            true = np.array(recording.beat_kinds, dtype=np.str_)[theirs]
            kinds = kinds.astype(true.dtype)
            kinds[mine] = true
        if recording.beat_labels is not None:
            labels[mine] = np.array(recording.beat_labels, dtype=np.str_)[theirs]
            values = values[near[keep]]
            keep = keep & near
    if not keep.any():
        raise SignalError(
            f"{name}: none of {len(peaks)} R peaks has a whole window of "
            f"{config.before_s + config.after_s:g} s in {recording.duration_s:.2f} s.\n"
            "  try: leave it out, or cut shorter windows"
        )
    missed = without_window(recording, peaks[keep], config.match_s)
    rr = np.where(np.diff(lost[peaks]) > 0, np.nan, np.diff(peaks) / rate)
    before, after = np.append(np.nan, rr), np.append(rr, np.nan)
    return {
        "millivolts": values,
        "r_time_s": (peaks / rate)[keep].astype(np.float32),
        "rr_before_s": before[keep].astype(np.float32),
        "rr_after_s": after[keep].astype(np.float32),
        "label": labels[keep],
        "kind": kinds[keep],
        "records_name": np.array([name]),
        "records_label": np.array([recording.label or ""]),
        "records_duration_s": np.array([recording.duration_s], np.float32),
        "records_bsqi": np.array([found.bsqi], np.float32),
        "records_detector": np.array([found.detector]),
        "records_polarity": np.array([found.polarity], np.int8),
        "records_polarity_confidence": np.array([found.confidence], np.float32),
        "records_rate_bpm": np.array(
            [60 / np.nanmedian(rr) if np.isfinite(rr).any() else np.nan], np.float32
        ),
        "records_scale_mv": np.median(values.std(-1), axis=0)[None],
        "records_num_beats": np.array([len(values)], np.int32),
        "records_num_cut": np.array([num_cut], np.int32),
        "records_num_unmatched": np.array([num_unmatched], np.int32),
        "records_num_annotated": _by_class(recording, slice(None)),
        "records_num_without": _by_class(recording, missed),
        "records_leads": np.array(["\t".join(recording.leads)]),
        "records_others": np.array(["\t".join(recording.others)]),
        "records_r_lead": np.array([best], np.int32),
    }


def with_leads(recording: Recording, leads: tuple[str, ...]) -> Recording:
    """A recording of the leads asked for, in their order; none named: as it is.

    Raises:
        SignalError: One is missing.
    """
    names = recording.leads
    if not leads or leads == ALL:
        return recording
    if lost := missing(names, leads):
        raise SignalError(
            f"{recording.name}: no lead {' or '.join(lost)}; its leads are "
            f"{', '.join(names) or 'not named'}.\n"
            "  try: leave it out, or ask for leads that it has"
        )
    index = choose(names, ["mV"] * len(names), leads)
    others = tuple(name for k, name in enumerate(names) if k not in index)
    return replace(
        recording,
        signal=recording.signal[index],
        leads=tuple(names[k] for k in index),
        others=(*recording.others, *others),
    )


def _detected(
    lead: Float32[np.ndarray, " time"], rate: float, config: BeatConfig
) -> detect.Detection:
    """The R peaks of one lead."""
    return detect.detect(
        lead,
        detect.band_pass(lead, rate, detect.SHARP_HZ, config.high_hz),
        rate,
        second_opinion=config.second_opinion,
        low_bsqi=config.low_bsqi,
        snap_s=config.snap_s,
    )


def best_lead(found: Sequence[detect.Detection]) -> int:
    """The lead whose R peaks are taken: that of the highest bSQI, else the first.

    Only of leads in which at least half as many beats are found as in the middle one:
    two detectors agree on the few beats of a lead that is mostly off, too.

    Example:
        >>> few, many = np.arange(1), np.arange(9)
        >>> one = lambda peaks, bsqi: detect.Detection(peaks, bsqi, "xqrs", 1, 1.0)
        >>> best_lead([one(many, 0.8), one(few, 1.0), one(many, 0.9)])
        2
    """
    counts = np.array([len(one.peaks) for one in found])
    enough = 2 * counts >= np.median(counts)
    bsqi = np.nan_to_num([one.bsqi for one in found])
    return int(np.argmax(np.where(enough & (counts > 0), bsqi, -1)))


def bridged(
    signal: Float32[np.ndarray, "lead time"],
) -> tuple[Float32[np.ndarray, "lead time"], Bool[np.ndarray, " time"]]:
    """Straight lines over missing samples (NaN), and where any lead misses one."""
    missing = np.isnan(signal)
    if missing.any():
        signal, time = signal.copy(), np.arange(signal.shape[1])
        for lead, gap in zip(signal, missing, strict=True):
            lead[gap] = 0 if gap.all() else np.interp(time[gap], time[~gap], lead[~gap])
    return signal, np.any(missing, axis=0)


def without_window(
    recording: Recording, peaks: Int[np.ndarray, " beat"], match_s: float
) -> Int[np.ndarray, " missed"]:
    """Annotated beats that none of some R peaks belongs to.

    Args:
        recording: With or without annotations.
        peaks: Of the beats that were cut out, in samples.
        match_s: How near an annotation must be to be the beat's.

    Returns:
        Indices into `recording.beat_samples`.
    """
    if recording.beat_samples is None:
        return np.zeros(0, np.int64)
    tolerance = match_s * recording.sample_rate_hz
    _, found = detect.match(peaks, recording.beat_samples, tolerance)
    return np.setdiff1d(np.arange(len(recording.beat_samples)), found)


def _by_class(
    recording: Recording, index: slice | Int[np.ndarray, " n"]
) -> Int[np.ndarray, "1 class"]:
    """How many of some annotated beats are of each of the classes `ANNOTATED`."""
    if recording.beat_samples is None:
        return np.zeros((1, len(ANNOTATED)), np.int32)
    named = recording.beat_labels or ("?",) * len(recording.beat_samples)
    known = np.array([x if x in ANNOTATED else "?" for x in named], dtype=np.str_)
    counts = (known[index][:, None] == np.array(ANNOTATED)).sum(0)
    return counts.astype(np.int32)[None]


def windows(
    signal: Float[np.ndarray, "lead time"],
    peaks: Int[np.ndarray, " beat"],
    sample_rate_hz: float,
    config: BeatConfig,
) -> tuple[Float32[np.ndarray, "kept lead window"], Bool[np.ndarray, " beat"]]:
    """Windows around the peaks at `config.sample_rate_hz`.

    The R peak falls exactly on sample `config.num_before`. Between samples a cubic
    spline is read off; the signal must hold nothing above half of either rate.

    Returns:
        The windows that lie inside the signal, and which those are.
    """
    from scipy.ndimage import map_coordinates, spline_filter1d

    at = peaks[:, None] + config.time_s * sample_rate_hz
    inside = (at[:, 0] > -1e-6) & (at[:, -1] < signal.shape[1] - 1 + 1e-6)
    at = at[inside]
    whole = np.rint(at).astype(np.int64)
    if np.allclose(at, whole, atol=1e-6):
        out = signal[:, whole]
    else:
        out = np.stack(
            [
                map_coordinates(
                    spline_filter1d(lead, 3, mode="mirror"),
                    at[None],
                    order=3,
                    prefilter=False,
                    mode="mirror",
                )
                for lead in signal
            ]
        )
    return np.ascontiguousarray(out.transpose(1, 0, 2), np.float32), inside
