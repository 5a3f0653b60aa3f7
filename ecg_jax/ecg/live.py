"""The lead that detectors see: where it is on, without spikes, at a known rate.

An ECG's QRS complexes rise steeply; a lead that has fallen off does not, whether it
shows a constant, drifts, or toggles in its last bit; a loose one that toggles from rail
to rail is steeper than any. So a stretch is off where

    |x(t + 20 ms) - x(t)| <= max(.02 mV, usual / 20)  for 3 s on end: it is quiet;
    |x(t + 20 ms) - x(t)| > max(5 mV, 5 low): it is loud, and so is what is quiet
                                              between two such steps.

Both are of the steepest 20 ms of every second, of seconds above .02 mV: `low` is their
lower quartile, `usual` the median of those that are not loud. So these are an ECG's
wherever less than half of the seconds hold artefacts, or less than three quarters where
they are loud. QRS complexes that are ten times smaller than the others still count.
"""

from math import ceil

import numpy as np
from jaxtyping import Float, Int

STEP_S = 0.02
"""About as long as a QRS complex rises."""

SMALLEST_STEP_MV = 0.02
"""Four units of the last place of usual recorders: no QRS complex is as small."""

SMALLEST_SHARE = 1 / 20
"""Of the recording's own steepness; QRS complexes differ less."""

LOUDEST_MV = 5.0
"""No QRS complex rises as much in a step."""

LOUDEST_TIMES = 5
"""The recording's own steepness, where the signal is in another unit than mV."""

QUIET_S = 3.0
"""Longer than nearly all pauses between beats."""

LIVE_S = 0.5
"""What is shorter between two stretches that are off is a jolt, no ECG."""

SMALLEST_SPIKE_MV = 0.1
"""Smaller ones mislead nobody."""

LOWEST_HZ = 250.0
"""Detectors see the lead at this rate or less than twice as fast."""


def off(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> Int[np.ndarray, "stretch 2"]:
    """First sample of every stretch that is quiet or loud, and the first one after it.

    Jolts between two stretches belong to them.
    """
    step, num = max(1, round(STEP_S * sample_rate_hz)), len(signal_mv)
    moved = np.abs(signal_mv[step:] - signal_mv[:-step])
    least, most = _steepness(moved, sample_rate_hz)
    steep = np.flatnonzero(moved > least)
    starts, stops = np.append(0, steep + 1), np.append(steep + step, num)
    is_off = stops - starts >= min(QUIET_S * sample_rate_hz, num)
    loud = moved[steep] > most
    is_off |= np.append(True, loud) & np.append(loud, True)
    starts, stops = starts[is_off], stops[is_off]
    if not len(starts):
        return np.zeros((0, 2), np.int64)
    apart = starts[1:] - stops[:-1] >= LIVE_S * sample_rate_hz
    first, last = np.append(True, apart), np.append(apart, True)
    return np.stack([starts[first], stops[last]], axis=1)


def _steepness(
    moved: Float[np.ndarray, " step"], sample_rate_hz: float
) -> tuple[float, float]:
    """What a lead moves by in a step, at least and at most, where it is an ECG."""
    seconds = np.arange(0, len(moved), ceil(sample_rate_hz))
    lively = np.sort(np.maximum.reduceat(moved, seconds))
    lively = lively[lively > SMALLEST_STEP_MV]
    if not len(lively):
        return SMALLEST_STEP_MV, LOUDEST_MV
    most = max(LOUDEST_MV, LOUDEST_TIMES * lively[len(lively) // 4])
    usual = np.median(lively[lively <= most])
    return float(max(SMALLEST_STEP_MV, SMALLEST_SHARE * usual)), float(most)


def without_off(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> tuple[Float[np.ndarray, " kept"], Int[np.ndarray, " kept"]]:
    """The lead with what is off cut out, the levels around each stretch made to meet.

    Returns:
        The lead, and where each of its samples was.
    """
    stretches = off(signal_mv, sample_rate_hz)
    if not len(stretches):
        return signal_mv, np.arange(len(signal_mv))
    keep, shift = np.ones(len(signal_mv), bool), np.zeros(len(signal_mv))
    for first, after in stretches:
        keep[first:after] = False
        if 0 < first and after < len(signal_mv):
            shift[after] = signal_mv[first - 1] - signal_mv[after]
    return (signal_mv + np.cumsum(shift))[keep], np.flatnonzero(keep)


def without_spikes(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> Float[np.ndarray, " time"]:
    """The lead without deflections of one sample, as pacemakers and errors make them.

    A sample that stands out from both neighbours by more than half of what the lead
    spans within .02 s either way becomes their mean. Below 250 Hz an R wave may be as
    short, so nothing is changed.
    """
    if sample_rate_hz < LOWEST_HZ:
        return signal_mv
    rise = np.diff(signal_mv)
    turn = -rise[:-1] * rise[1:]
    at = 1 + np.flatnonzero(turn > SMALLEST_SPIKE_MV**2)
    reach = round(STEP_S * sample_rate_hz)
    around = at[:, None] + np.arange(-reach, reach + 1)
    near = signal_mv[around.clip(0, len(signal_mv) - 1)]
    least = np.minimum(np.abs(rise[at - 1]), np.abs(rise[at]))
    at = at[least > np.ptp(near, axis=1) / 2]
    smooth = signal_mv.copy()
    smooth[at] = (signal_mv[at - 1] + signal_mv[at + 1]) / 2
    return smooth


def at_known_rate(
    signal: Float[np.ndarray, " time"], sample_rate_hz: float
) -> tuple[Float[np.ndarray, " resampled"], float]:
    """The lead at 250 to 500 Hz, a whole multiple or fraction of its rate, and that.

    xqrs correlates with a wavelet that is so many samples wide, whatever their rate:
    below it finds T waves, above it finds nothing.
    """
    from scipy.signal import resample_poly

    up = ceil(LOWEST_HZ / sample_rate_hz)
    down = max(1, int(sample_rate_hz / LOWEST_HZ))
    if up == down == 1:
        return signal, sample_rate_hz
    return resample_poly(signal, up, down, padtype="line"), sample_rate_hz * up / down
