"""R peaks: filtering, two detectors and their agreement, polarity, snapping.

Arrays only. Positions are in samples of the signal given.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from ecg_jax.ecg.live import at_known_rate, without_off, without_spikes
from ecg_jax.ecg.xqrs import xqrs

SHARP_HZ = 3.0
"""From here up lies the QRS complex, not the T wave or the baseline."""

AGREEMENT_S = 0.05
"""Two detectors mean the same beat when they are this close."""

GAP_S = 3.0
"""Where xqrs finds nothing for so long, it may have to learn again."""

SHORT_RR_S = 0.36
"""What follows a beat sooner and less steeply, sleepecg takes for its T wave."""

LONG_RR_S = 1.4
"""Where the second beat is later than 1.5 s, sleepecg takes its P wave instead."""

MIN_RR_S = 0.2
"""No two beats are closer: the refractory period."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found in one recording.

    Attributes:
        peaks: R peaks, ascending, snapped.
        bsqi: F1 of the two detectors at 50 ms, or NaN with one only.
        detector: Whose peaks these are.
        polarity: +1 where most QRS complexes point up, -1 down.
        confidence: Share of beats that point that way, .5 to 1.
    """

    peaks: Int[np.ndarray, " beat"]
    bsqi: float
    detector: Literal["sleepecg", "xqrs"]
    polarity: int
    confidence: float


def detect(
    signal_mv: Float[np.ndarray, " time"],
    sharp_mv: Float[np.ndarray, " time"],
    sample_rate_hz: float,
    *,
    second_opinion: bool = True,
    low_bsqi: float = 0.9,
    snap_s: float = 0.06,
) -> Detection:
    """Find the beats of one lead.

    Both detectors see the lead where it is on, without spikes, at 250 to 500 Hz
    (`live`). sleepecg finds the beats; xqrs gives a second opinion. Their F1 at 50 ms
    is the quality index bSQI; where it is low, the peaks of xqrs are taken, whose gross
    failures are five times rarer (.42% of recordings against 1.95%); likewise below 43
    and above 167 beats a minute. All are then snapped to the extremum nearby that
    points as most of the recording's QRS complexes do.

    Args:
        signal_mv: As recorded.
        sharp_mv: The same, 3 Hz and up: `band_pass(..., low_hz=SHARP_HZ)`.
        sample_rate_hz: Of both.
        second_opinion: Run xqrs too.
        low_bsqi: Below it xqrs is believed.
        snap_s: How far a peak may move either way.

    Source: Li, Mark & Clifford, Robust heart rate estimation from multiple asynchronous
    noisy sources, Physiol Meas 29, 2008 (bSQI).
    """
    lead = without_spikes(signal_mv, sample_rate_hz)
    lead, places = without_off(lead, sample_rate_hz)
    if len(lead) < sample_rate_hz:
        return Detection(np.zeros(0, np.int64), np.nan, "sleepecg", 1, 0.5)
    lead, rate_hz = at_known_rate(lead, sample_rate_hz)
    peaks = sleepecg_peaks(lead, rate_hz)
    bsqi, detector = np.nan, "sleepecg"
    if second_opinion:
        second = relearn(lead, rate_hz, xqrs(lead, rate_hz), peaks)
        bsqi = agreement(peaks, second, AGREEMENT_S * rate_hz)
        rr_s = np.median(np.diff(second)) / rate_hz if len(second) > 1 else np.nan
        strange = rr_s < SHORT_RR_S or rr_s > LONG_RR_S
        if len(second) and (bsqi < low_bsqi or strange):
            peaks, detector = second, "xqrs"
    at = np.rint(peaks * (sample_rate_hz / rate_hz)).astype(np.int64)
    peaks = places[at.clip(max=len(places) - 1)]
    radius = round(snap_s * sample_rate_hz)
    sign, confidence = polarity(sharp_mv, peaks, radius)
    peaks = snap(sharp_mv, peaks, radius, sign)
    peaks = drop_close(peaks, sharp_mv, MIN_RR_S * sample_rate_hz)
    return Detection(peaks, bsqi, detector, sign, confidence)


def relearn(
    signal_mv: Float[np.ndarray, " time"],
    sample_rate_hz: float,
    found: Int[np.ndarray, " beat"],
    other: Int[np.ndarray, " other"],
) -> Int[np.ndarray, " more"]:
    """Peaks of xqrs, and those it finds when it starts anew in its own gaps.

    Where beats become three times smaller it finds none any more: its threshold is on
    squares and halves but once. A gap counts where another detector finds three beats
    or more in it; what is found anew is kept where it agrees with that one.

    Args:
        signal_mv: The lead that xqrs saw.
        sample_rate_hz: Its rate.
        found: What xqrs found.
        other: What another detector found.
    """
    ends = np.concatenate([[0], found, [len(signal_mv)]])
    parts = [found]
    for k in np.flatnonzero(np.diff(ends) > GAP_S * sample_rate_hz):
        start, stop = ends[k : k + 2]
        if ((other > start) & (other < stop)).sum() >= 3:
            start += round(MIN_RR_S * sample_rate_hz)
            parts.append(start + xqrs(signal_mv[start:stop], sample_rate_hz))
    if len(parts) == 1:
        return found
    more = np.sort(np.concatenate(parts))
    near = AGREEMENT_S * sample_rate_hz
    better = agreement(other, more, near) > agreement(other, found, near)
    return more if better else found


@lru_cache(maxsize=16)
def _sections(low_hz: float, high_hz: float, sample_rate_hz: float) -> np.ndarray:
    from scipy.signal import butter

    parts = []
    if low_hz > 0:
        parts.append(butter(2, low_hz, "high", fs=sample_rate_hz, output="sos"))
    if high_hz < sample_rate_hz / 2:
        parts.append(butter(4, high_hz, "low", fs=sample_rate_hz, output="sos"))
    return np.vstack(parts)


def band_pass(
    signal: Float[np.ndarray, "*lead time"],
    sample_rate_hz: float,
    low_hz: float = 0.5,
    high_hz: float = 40.0,
) -> Float[np.ndarray, "*lead time"]:
    """Butterworth high-pass (order 2) and low-pass (order 4), forward and backward.

    No phase shift; the orders double. `high_hz = inf` leaves the low-pass out,
    `low_hz = 0` the high-pass.

    Args:
        signal: Any unit.
        sample_rate_hz: Above `2 high_hz`, or the low-pass is left out.
        low_hz: Lower edge, -6 dB.
        high_hz: Upper edge, -6 dB.
    """
    from scipy.signal import sosfiltfilt

    pad = min(signal.shape[-1] - 1, round(sample_rate_hz))
    sections = _sections(low_hz, high_hz, sample_rate_hz)
    return sosfiltfilt(sections, np.asarray(signal, np.float64), padlen=pad)


def sleepecg_peaks(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> Int[np.ndarray, " beat"]:
    """R peaks by sleepecg (Pan-Tompkins with a filter that does not shift).

    The C code of sleepecg 0.6 reads two seconds whether they are there or not, and
    writes the RR interval of beat k to place k of an array for `time / refractory`
    of them, which corrupts memory where a short noisy signal has that many. Where
    this can happen, the same algorithm in Python is used (2 ms instead of .4), and a
    recording on which that fails has no beats.
    """
    from sleepecg.heartbeats import detect_heartbeats

    signal = np.ascontiguousarray(signal_mv, np.float64)
    refractory = int(MIN_RR_S * sample_rate_hz)
    short = len(signal) <= max(2 * refractory * (refractory + 1), 2 * sample_rate_hz)
    try:
        found = detect_heartbeats(signal, sample_rate_hz, "python" if short else "c")
    except (IndexError, ValueError):  # also: flat up to its last few samples
        found = ()
    return np.asarray(found, np.int64)


def match(
    found: Int[np.ndarray, " beat"], truth: Int[np.ndarray, " other"], tolerance: float
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Pairs that are each other's nearest and at most `tolerance` samples apart.

    Returns:
        Indices into `found` and into `truth`; both ascending.

    Example:
        >>> found, truth = match(np.array([10, 50, 52]), np.array([11, 53]), 5)
        >>> found.tolist(), truth.tolist()
        ([0, 2], [0, 1])
    """
    if not len(found) or not len(truth):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    near = _nearest(truth, found)
    back = _nearest(found, truth)
    index = np.arange(len(found))
    keep = (back[near] == index) & (np.abs(truth[near] - found) <= tolerance)
    return index[keep], near[keep]


def _nearest(
    sites: Int[np.ndarray, " site"], points: Int[np.ndarray, " point"]
) -> Int[np.ndarray, " point"]:
    """Index of the site nearest to every point; the earlier of two as near."""
    right = np.clip(np.searchsorted(sites, points), 0, len(sites) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(points - sites[left] <= sites[right] - points, left, right)


def agreement(
    first: Int[np.ndarray, " beat"],
    second: Int[np.ndarray, " other"],
    tolerance: float,
) -> float:
    """F1 of two sets of peaks: `2 matched / (len(first) + len(second))`."""
    total = len(first) + len(second)
    return 2 * len(match(first, second, tolerance)[0]) / total if total else 0.0


def _around(
    x: Float[np.ndarray, " time"], peaks: Int[np.ndarray, " beat"], radius: int
) -> tuple[Float[np.ndarray, "beat window"], Int[np.ndarray, "beat window"]]:
    at = np.clip(peaks[:, None] + np.arange(-radius, radius + 1), 0, len(x) - 1)
    return x[at], at


def polarity(
    sharp: Float[np.ndarray, " time"], peaks: Int[np.ndarray, " beat"], radius: int
) -> tuple[int, float]:
    """Where most QRS complexes point, and the share of beats that do.

    The sign of the largest deflection of the 3-40 Hz signal near each peak; the
    majority decides, up in a tie. There is no ground truth: a negative QRS may be
    swapped hands or the heart's own axis, so the caller decides what to do with it.
    """
    if not len(peaks):
        return 1, 0.5
    near, _ = _around(sharp, peaks, radius)
    up = near.max(1) >= -near.min(1)
    share = float(up.mean())
    return (1, share) if share >= 0.5 else (-1, 1 - share)


def snap(
    sharp: Float[np.ndarray, " time"],
    peaks: Int[np.ndarray, " beat"],
    radius: int,
    sign: int,
) -> Int[np.ndarray, " beat"]:
    """Move every peak to the extremum nearby that points to `sign`.

    Where that is less than half as high as the largest deflection (a beat of another
    polarity, such as many PVCs), to the largest deflection.
    """
    if not len(peaks):
        return peaks
    near, at = _around(sharp, peaks, radius)
    rows = np.arange(len(peaks))
    pointing = (sign * near).argmax(1)
    largest = np.abs(near).argmax(1)
    weak = sign * near[rows, pointing] < 0.5 * np.abs(near[rows, largest])
    return at[rows, np.where(weak, largest, pointing)]


def drop_close(
    peaks: Int[np.ndarray, " beat"], sharp: Float[np.ndarray, " time"], closest: float
) -> Int[np.ndarray, " kept"]:
    """Of two peaks nearer than `closest` samples keep the higher."""
    kept: list[int] = []
    for peak in np.unique(peaks).tolist():
        if not kept or peak - kept[-1] >= closest:
            kept.append(peak)
        elif abs(sharp[peak]) > abs(sharp[kept[-1]]):
            kept[-1] = peak
    return np.array(kept, np.int64)
