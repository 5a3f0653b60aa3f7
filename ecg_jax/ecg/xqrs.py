"""The xqrs detector of WFDB, its search for local peaks vectorised.

Same steps and same peaks as `wfdb.processing.xqrs_detect` with its default
configuration (a test compares them), at a tenth of the time or less: nearly all of the
original's goes into a Python loop that takes the maximum around every sample, and its
search back is quadratic where no beat follows.

Source: A. Johnson, T. Pollard, C. Chen, WFDB Python package, MIT licence.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

_HR_INIT, _HR_MAX, _HR_MIN = 75.0, 200.0, 25.0
_QRS_WIDTH_S, _REFRACTORY_S, _THRESHOLD_MV = 0.1, 0.2, 0.13
_NUM_CALIBRATION = 8


def xqrs(
    signal_mv: Float[np.ndarray, " time"], sample_rate_hz: float
) -> Int[np.ndarray, " beat"]:
    """R peaks by xqrs.

    Band-pass 5-20 Hz, correlate twice with a Ricker wavelet of QRS width, square; a
    local peak is a beat if it clears a threshold that follows the recent QRS and noise
    amplitudes, `.25 qrs + .75 noise`; after 1.66 recent RR intervals without one the
    search goes back with half the threshold.

    Args:
        signal_mv: One lead, at least half a second, not flat.
        sample_rate_hz: Above 40 Hz.

    Returns:
        Samples of the beats, ascending.
    """
    signal = np.asarray(signal_mv, np.float64)
    width = int(_QRS_WIDTH_S * sample_rate_hz)
    radius = int(_QRS_WIDTH_S / 2 * sample_rate_hz)
    band, wavelet, gain = _filters(sample_rate_hz)
    if signal.max() == signal.min():
        return np.zeros(0, np.int64)
    filtered = _both_ways(band, signal)
    power = _both_ways(wavelet, filtered) ** 2
    peaks = local_peaks(power, radius)
    learned = _learn(filtered, power, width, radius, sample_rate_hz)
    return _search(power, peaks, learned, gain, sample_rate_hz)


def local_peaks(x: Float[np.ndarray, " time"], radius: int) -> Int[np.ndarray, " peak"]:
    """Samples that are the largest of `x[i - radius : i + radius]`.

    After one is taken the next may follow `radius` samples later at the earliest.
    """
    from scipy.ndimage import maximum_filter1d

    if x.min() == x.max():
        return np.zeros(0, np.int64)
    largest = maximum_filter1d(x, 2 * radius, mode="constant", cval=-np.inf)
    chosen, earliest = [], 0
    for i in np.flatnonzero(x == largest).tolist():
        if i >= earliest:
            chosen.append(i)
            earliest = i + radius
    return np.array(chosen, np.int64)


def ricker(num: int, a: float) -> Float[np.ndarray, " num"]:
    """Mexican hat `2 / sqrt(3a) / pi^(1/4) (1 - t^2/a^2) exp(-t^2/2a^2)`."""
    t2 = (np.arange(num) - (num - 1) / 2) ** 2 / a**2
    return 2 / (np.sqrt(3 * a) * np.pi**0.25) * (1 - t2) * np.exp(-t2 / 2)


class _Filter(NamedTuple):
    b: np.ndarray
    a: np.ndarray
    steady: np.ndarray  # state after a long constant 1


@lru_cache(maxsize=8)
def _filters(rate: float) -> tuple[_Filter, _Filter, float]:
    """Band-pass, wavelet and the gain of the two at 12.5 Hz."""
    from scipy.signal import butter, freqz, lfilter_zi

    def gain(b: np.ndarray, a: Any) -> float:
        w, h = freqz(b, a)
        return 2 * float(abs(h[np.flatnonzero(w >= 12.5 * 2 * np.pi / rate)[0]]))

    design: Any = butter(2, [5 * 2 / rate, 20 * 2 / rate], "pass")
    pairs = design, (ricker(int(_QRS_WIDTH_S * rate), 4), np.ones(1))
    band, wavelet = (_Filter(b, a, lfilter_zi(b, a)) for b, a in pairs)
    return band, wavelet, gain(*design) * gain(*pairs[1])


def _both_ways(
    filter_: _Filter, x: Float[np.ndarray, " time"]
) -> Float[np.ndarray, " time"]:
    """`scipy.signal.filtfilt`, its steady state computed once a filter."""
    from scipy.signal import lfilter

    b, a, steady = filter_
    pad = 3 * max(len(a), len(b))
    left, right = 2 * x[0] - x[pad:0:-1], 2 * x[-1] - x[-2 : -pad - 2 : -1]
    y = np.concatenate([left, x, right])
    for _ in range(2):
        y = np.asarray(lfilter(b, a, y, zi=steady * y[0])[0])[::-1]
    return y[pad:-pad]


def _learn(
    filtered: np.ndarray, power: np.ndarray, width: int, radius: int, rate: float
) -> tuple[float, float, float, float] | None:
    """QRS and noise amplitude, RR interval and last beat from the first eight beats.

    None where eight cannot be found.
    """
    peaks = local_peaks(filtered, radius)
    right = np.flatnonzero(peaks > width)
    left = np.flatnonzero(peaks <= len(filtered) - width)
    if not right.size or not left.size:
        return None
    shape = ricker(radius * 2, 4)
    rr_min = 60 * rate / _HR_MAX
    last = -60 * rate / _HR_MIN
    beats, noise = [], []
    for i in peaks[right[0] : left[-1]].tolist():
        segment = filtered[i - radius : i + radius]
        alike = segment @ shape > 0.6 * np.sqrt(segment @ segment)
        if alike and i - last > rr_min:
            last = i
            beats.append(i)
        else:
            noise.append(power[i])
        if len(beats) == _NUM_CALIBRATION:
            break
    if len(beats) < _NUM_CALIBRATION:
        return None
    amplitude = float(np.mean(power[beats]))
    intervals = np.diff(beats)
    intervals = intervals[intervals < 60 * rate / _HR_MIN]
    return (
        amplitude,
        float(np.mean(noise)) if noise else amplitude / 10,
        float(intervals.mean()) if intervals.size else 60 * rate / _HR_INIT,
        min(0, beats[0] - rr_min - 1),
    )


def _search(
    power: np.ndarray,
    peaks: np.ndarray,
    learned: tuple[float, float, float, float] | None,
    gain: float,
    rate: float,
) -> Int[np.ndarray, " beat"]:
    """Run through the peaks with moving thresholds."""
    start = 27 / 40 * _THRESHOLD_MV * gain
    qrs, noise, rr, last = learned or (start, start / 10, 60 * rate / _HR_INIT, 0)
    threshold = max(0.25 * qrs + 0.75 * noise, 0)
    refractory, rr_max = int(_REFRACTORY_S * rate), 60 * rate / _HR_MIN
    where, height = peaks.tolist(), power[peaks].tolist() if len(peaks) else []
    beats: list[int] = []
    last_peak: int | None = None
    highest = 0.0  # of the peaks since then that the search may go back to

    def accept(k: int, now: int, keep: float) -> None:
        nonlocal qrs, threshold, rr, last, last_peak, highest
        interval = where[k] - last
        if interval < rr_max:
            rr = 0.875 * rr + 0.125 * interval
        beats.append(where[k])
        last, last_peak, highest = where[k], now, 0.0
        qrs = keep * qrs + (1 - keep) * height[k]
        threshold = max(0.25 * qrs + 0.75 * noise, 0)

    for now in range(len(where)):
        if where[now] - last > refractory and height[now] > threshold:
            accept(now, now, 0.875)
        else:
            noise = 0.875 * noise + 0.125 * height[now]
            if where[now] - last > refractory:
                highest = max(highest, height[now])
        if now == len(where) - 1 or where[now + 1] - last <= rr * 1.66:
            continue
        if last_peak is not None and highest > threshold / 2:
            for k in range(last_peak + 1, now + 1):
                if where[k] - last > refractory and height[k] > threshold / 2:
                    accept(k, now, 0.75)
    return np.array(beats, np.int64)
