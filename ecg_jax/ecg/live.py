"""The lead that detectors see: without quiet stretches and spikes, at a known rate.

An ECG's QRS complexes rise steeply; a lead that has fallen off does not, whether it
shows a constant, drifts, or toggles in its last bit. So a stretch is quiet where

    |x(t + 20 ms) - x(t)| <= max(.02 mV, reference / 20)

for 3 s on end. The reference is the 90th percentile over seconds of the steepest
20 ms, of seconds with anything above .02 mV, so it is an ECG's wherever a tenth of
these is. QRS complexes that are ten times smaller than the others still count.
"""

from math import ceil

import numpy as np
from jaxtyping import Bool, Float, Int

STEP_S = 0.02
"""About as long as a QRS complex rises."""

SMALLEST_STEP_MV = 0.02
"""Four units of the last place of usual recorders: no QRS complex is as small."""

SMALLEST_SHARE = 1 / 20
"""Of the recording's own steepness; QRS complexes differ less."""

QUIET_S = 3.0
"""Longer than nearly all pauses between beats."""

LIVE_S = 0.5
"""What is shorter between two quiet stretches is a jolt, no ECG."""

SMALLEST_SPIKE_MV = 0.1
"""Smaller ones mislead nobody."""

LOWEST_HZ = 250.0
"""Detectors see the lead at this rate or less than twice as fast."""


def steep(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> tuple[Bool[np.ndarray, " step"], int]:
    """Where the lead moves as fast as a QRS complex, and the samples of a step.

    Entry `i` compares sample `i` with that one step later.
    """
    step = max(1, round(STEP_S * sample_rate_hz))
    moved = np.abs(signal_mv[step:] - signal_mv[:-step])
    seconds = np.arange(0, len(moved), ceil(sample_rate_hz))
    most = np.sort(np.maximum.reduceat(moved, seconds))
    lively = most[most > SMALLEST_STEP_MV]
    reference = lively[int(0.9 * len(lively))] if len(lively) else 0.0
    return moved > max(SMALLEST_STEP_MV, SMALLEST_SHARE * reference), step


def quiet(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> Int[np.ndarray, "stretch 2"]:
    """First sample of every quiet stretch, and the first one after it.

    Jolts between two stretches belong to them.
    """
    is_steep, step = steep(signal_mv, sample_rate_hz)
    at, num = np.flatnonzero(is_steep), len(signal_mv)
    if not len(at):
        return np.array([[0, num]])
    starts, stops = np.append(0, at + 1), np.append(at + step, num)
    long = stops - starts >= QUIET_S * sample_rate_hz
    found: list[list[int]] = []
    for start, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True):
        if found and start - found[-1][1] < LIVE_S * sample_rate_hz:
            found[-1][1] = stop
        else:
            found.append([start, stop])
    return np.array(found, np.int64).reshape(-1, 2)


def without_quiet(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> tuple[Float[np.ndarray, " kept"], Int[np.ndarray, " kept"]]:
    """The lead with its quiet stretches cut out, the levels around each made to meet.

    Returns:
        The lead, and where each of its samples was.
    """
    stretches = quiet(signal_mv, sample_rate_hz)
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
