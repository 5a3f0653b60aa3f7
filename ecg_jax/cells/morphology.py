"""What can be measured on one beat: QRS, R, ST, T, its parts, and what cannot.

The rule is a stated one, on purpose simple, so that a number can be checked by eye.
Measured on the median beats of the 22 MIT-BIH DS1 recordings (MLII, 0.5-40 Hz,
100 Hz): beats of class N 58 to 171 ms, median 81; ventricular beats 94 to 217 ms,
median 149. Narrow is said of 15 of 22 N and of none of 15 V, wide of 3 N (bundle
branch block: 109, 118, 124) and 11 V; of the other V the width is said not to be
clear. Of 30 synthetic recordings with ventricular beats wide is said of 26, narrow of
none; narrow of 163 of 180 with normal beats.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

SLOPE_SHARES = (0.08, 0.16)
QUIET_S = 0.020
STEEP_AGAIN, AGAIN_S = 0.25, 0.060
SEARCH_S = 0.100
LONGEST_S = 0.240
ST_DELAY_S = 0.060
SMALLEST_QRS_MV = 0.1
FLAT_T_MV = 0.05
SHIFTED_ST_MV = 0.1
NARROW_MS = 100.0
WIDE_MS = 130.0
ROOM_MS = 10.0
LEAST_ALIKE = 0.75
LEVEL_SHARE = 0.15

P_S = 0.200
T_HALF_S = 0.100
LEAST_ST_S = 0.040
FIXED_QRS_S = (-0.050, 0.050)
FIXED_T_S = (0.160, 0.400)

MEASUREMENT_RULE = (
    "Measured on the median beat, interpolated to 1 ms. QRS: from the steepest slopes "
    "within 100 ms of the R peak outwards, until the slope stays below 8% of its "
    "maximum for 20 ms (16% if that is nowhere within 240 ms); a plateau after which "
    "the slope is above 25% again within 60 ms belongs to it. Narrow up to 100 ms, "
    "wide from 130 ms; the width is not clear, and neither it nor the ST level is "
    "told, unless three of four single beats, measured alike (60 at most, half of them "
    "with a QRS), fall into the same class to within 10 ms, and a narrow QRS ends "
    "within 15% of its height of the level it began at. Zero level: median of the "
    "20 ms before the QRS. R: the largest deflection inside the QRS. ST: 60 ms after "
    "the end of the QRS. T: the "
    "largest turning point from 80 ms after the QRS; flat below 0.05 mV. P: the "
    "largest deflection 40 to 200 ms before the QRS, a number only. Onsets are "
    "uncertain by up to 60 ms, a P wave cannot be shown to be absent, and a band-pass "
    "from 0.5 Hz shifts the ST level."
)


@dataclass(frozen=True)
class Morphology:
    """What is measured on a median beat; `None` where the rule finds nothing.

    Attributes:
        qrs_ms: QRS width in milliseconds, by `MEASUREMENT_RULE`.
        r_mv: Largest deflection inside the QRS, with its sign, in mV.
        st_mv: Level 60 ms after the end of the QRS, in mV.
        t_mv: Turning point of the T wave, in mV.
        t_polarity: "upright", "inverted" or "flat".
        p_mv: Largest deflection before the QRS, in mV. Reported only: it is there in
            atrial fibrillation too, so it says nothing on whether a P wave exists.
        onset_s: Start of the QRS, in seconds from R.
        offset_s: End of the QRS (J point), in seconds from R.
        zero_mv: The level that amplitudes are counted from, in mV.
        t_s: Turning point of the T wave, in seconds from R.
        clear: Whether the end of the QRS is clear enough to tell width and ST level.
    """

    qrs_ms: float | None = None
    r_mv: float | None = None
    st_mv: float | None = None
    t_mv: float | None = None
    t_polarity: Literal["upright", "inverted", "flat"] | None = None
    p_mv: float | None = None
    onset_s: float | None = None
    offset_s: float | None = None
    zero_mv: float | None = None
    t_s: float | None = None
    clear: bool = True


PARTS = ("before P", "P-PR", "QRS", "ST", "T", "after T")
"""Of a beat, in order of time."""


@dataclass(frozen=True)
class Segment:
    """A part of the window.

    Attributes:
        name: One of `PARTS`.
        start_s: Where it starts, in seconds from R.
        stop_s: Where the next starts.
        measured: Whether its ends come from the beat; else they are fixed.
    """

    name: str
    start_s: float
    stop_s: float
    measured: bool

    def holds(self, time_s: Float[np.ndarray, " time"]) -> Bool[np.ndarray, " time"]:
        """Which samples lie in it: each sample in one segment."""
        return (time_s >= self.start_s - 1e-6) & (time_s < self.stop_s - 1e-6)


def segments(
    shape: Morphology, time_s: Float[np.ndarray, " time"]
) -> tuple[Segment, ...]:
    """Divide a window into the parts of its central beat, in order, without gaps.

    "P-PR" is the 200 ms before the QRS; "ST" reaches from the end of the QRS to the T,
    at least 40 ms; "T" is 100 ms to either side of its turning point. Whatever lies
    outside, neighbouring beats among it, is "before P" or "after T". Where nothing was
    measured, the QRS is R - 50 to R + 50 ms, the T R + 160 to R + 400 ms.

    Args:
        shape: Measured on the beat.
        time_s: Times of the window's samples, in seconds from R.

    Returns:
        The parts that hold at least one sample.

    Example:
        >>> parts = segments(Morphology(), np.arange(-25, 40) / 100)
        >>> [(part.name, round(1000 * part.start_s)) for part in parts]
        [('P-PR', -250), ('QRS', -50), ('ST', 50), ('T', 160)]
    """
    step = float(time_s[1] - time_s[0]) if len(time_s) > 1 else 0.0
    found = shape.onset_s is not None and shape.offset_s is not None
    onset, offset = FIXED_QRS_S
    if shape.onset_s is not None and shape.offset_s is not None:
        onset, offset = shape.onset_s, shape.offset_s
    low, high = FIXED_T_S
    if shape.t_s is not None:
        low, high = shape.t_s - T_HALF_S, shape.t_s + T_HALF_S
    low = max(low, offset + LEAST_ST_S)
    high = max(high, low)
    borders = [time_s[0], onset - P_S, onset, offset, low, high, time_s[-1] + step]
    borders = np.maximum.accumulate(np.clip(borders, time_s[0], time_s[-1] + step))
    is_measured = (found, found, found, found, shape.t_s is not None, found)
    parts = [
        Segment(name, float(start), float(stop), own)
        for name, start, stop, own in zip(
            PARTS, borders[:-1], borders[1:], is_measured, strict=True
        )
    ]
    return tuple(part for part in parts if part.holds(time_s).any())


def measure(
    beat: Float[np.ndarray, " time"], sample_rate_hz: float, before_s: float
) -> Morphology:
    """Measure one beat by `MEASUREMENT_RULE`.

    Args:
        beat: One lead of one beat, in mV.
        sample_rate_hz: Samples a second.
        before_s: Seconds before the R peak at which the beat starts.

    Returns:
        The measurements, `None` where the rule finds nothing: a flat beat has no
        QRS, and a T wave without a turning point inside the window no amplitude.
    """
    from scipy.interpolate import CubicSpline

    coarse = np.arange(len(beat)) / sample_rate_hz - before_s
    if len(beat) < 8 or coarse[-1] <= SEARCH_S or coarse[0] >= -SEARCH_S:
        return Morphology()
    spline = CubicSpline(coarse, np.asarray(beat, np.float64))
    step = 0.001
    time = np.arange(int(np.floor((coarse[-1] - coarse[0]) / step)) + 1) * step
    time = time + coarse[0]
    value, slope = spline(time), np.abs(spline(time, 1))
    near = np.abs(time) <= SEARCH_S
    if np.ptp(value[near]) < SMALLEST_QRS_MV:
        return Morphology()
    steepest = slope[near].max()
    steep = np.flatnonzero(near & (slope >= 0.5 * steepest))
    run = round(QUIET_S / step)
    for share in SLOPE_SHARES:
        quiet = slope < share * steepest
        first = _edge(quiet, int(steep[0]), -1, run)
        last = _edge(quiet, int(steep[-1]), +1, run)
        if first is None or last is None or time[last] - time[first] > LONGEST_S:
            continue
        longest = first + round(LONGEST_S / step)
        last = _after_plateaus(quiet, slope >= STEEP_AGAIN * steepest, last, longest)
        return _amplitudes(spline, time, value, first, last)
    return Morphology()


def _amplitudes(
    spline: Callable[[float], Any],
    time: Float[np.ndarray, " ms"],
    value: Float[np.ndarray, " ms"],
    first: int,
    last: int,
) -> Morphology:
    run, step = round(QUIET_S * 1000), 0.001
    qrs_ms = float(round(1000 * (time[last] - time[first])))
    zero = float(np.median(value[max(first - run, 0) : first + 1]))
    inside = value[first : last + 1] - zero
    r_mv = float(inside[np.argmax(np.abs(inside))])
    st = time[last] + ST_DELAY_S
    st_mv = float(spline(st)) - zero if st <= time[-1] else None
    turn = _turning_point(value - zero, time, time[last] + 0.08, time[last] + 0.42)
    t_s, t_mv = turn or (None, None)
    before = (time >= time[first] - 0.2) & (time <= time[first] - 0.04)
    p_mv = None
    if np.count_nonzero(before) * step >= 0.06:
        deflection = value[before] - zero
        p_mv = float(deflection[np.argmax(np.abs(deflection))])
    return Morphology(
        qrs_ms=qrs_ms,
        r_mv=r_mv,
        st_mv=st_mv,
        t_mv=t_mv,
        t_polarity=None if t_mv is None else _polarity(t_mv),
        p_mv=p_mv,
        onset_s=float(time[first]),
        offset_s=float(time[last]),
        zero_mv=zero,
        t_s=t_s,
        clear=width_class(qrs_ms) != "narrow"
        or bool(abs(value[last] - zero) <= LEVEL_SHARE * np.ptp(inside)),
    )


def width_class(qrs_ms: float) -> Literal["narrow", "middling", "wide"]:
    """Narrow up to 100 ms, wide from 130 ms."""
    if qrs_ms <= NARROW_MS:
        return "narrow"
    return "wide" if qrs_ms >= WIDE_MS else "middling"


def agrees(
    shape: Morphology,
    beats: Float[np.ndarray, "beat time"],
    sample_rate_hz: float,
    before_s: float,
) -> bool:
    """Whether three of four single beats have a QRS as wide as their median beat.

    Args:
        shape: Measured on the median beat.
        beats: Some of the beats, in mV.
        sample_rate_hz: Samples a second.
        before_s: Seconds before the R peak at which a beat starts.

    Returns:
        Whether at least half the beats have a QRS, and 75% of these fall into the
        class of the median beat's width, to within 10 ms.
    """
    if shape.qrs_ms is None:
        return False
    low, high = {
        "narrow": (0.0, NARROW_MS),
        "middling": (NARROW_MS, WIDE_MS),
        "wide": (WIDE_MS, np.inf),
    }[width_class(shape.qrs_ms)]
    widths = [measure(beat, sample_rate_hz, before_s).qrs_ms for beat in beats]
    known = [width for width in widths if width is not None]
    alike = [low - ROOM_MS <= width <= high + ROOM_MS for width in known]
    return 2 * len(known) >= len(beats) and float(np.mean(alike)) >= LEAST_ALIKE


def shape_words(shape: Morphology) -> list[str]:
    """Say in a few words what was measured: QRS, R, the ST level, T."""
    if shape.qrs_ms is None or shape.r_mv is None:
        return ["no QRS with clear edges"]
    ms, kind = f"about {round(shape.qrs_ms, -1):.0f} ms", width_class(shape.qrs_ms)
    words = [f"QRS of {ms}" if kind == "middling" else f"{kind} QRS ({ms})"]
    if not shape.clear:
        words = ["QRS width not clear"]
    if shape.r_mv >= 0:
        words.append(f"R {shape.r_mv:.1f} mV")
    else:
        words.append(f"mostly negative ({_signed(shape.r_mv)} mV)")
    st_mv = shape.st_mv if shape.clear else None
    if st_mv is not None and abs(st_mv) >= SHIFTED_ST_MV:
        moved = "raised" if st_mv > 0 else "lowered"
        words.append(f"ST {moved} by {abs(st_mv):.2f} mV")
    elif st_mv is not None:
        words.append(f"ST level {_signed(st_mv)} mV")
    if shape.t_mv is not None:
        words.append(f"{shape.t_polarity} T ({_signed(shape.t_mv)} mV)")
    return words


def short_words(shape: Morphology) -> list[str]:
    """The same in fewer words: "narrow QRS", "R 1.1 mV", "upright T 0.20 mV"."""
    if shape.qrs_ms is None or shape.r_mv is None:
        return ["no clear QRS"]
    kind = width_class(shape.qrs_ms)
    words = ["QRS of middling width" if kind == "middling" else f"{kind} QRS"]
    if not shape.clear:
        words = ["QRS width not clear"]
    words.append(f"R {shape.r_mv:.1f} mV" if shape.r_mv >= 0 else "mostly negative")
    st_mv = shape.st_mv if shape.clear else None
    if st_mv is not None and abs(st_mv) >= SHIFTED_ST_MV:
        words.append("ST raised" if st_mv > 0 else "ST lowered")
    if shape.t_mv is not None:
        height = "" if shape.t_polarity == "flat" else f" {_signed(shape.t_mv)} mV"
        words.append(f"{shape.t_polarity} T{height}")
    return words


def _signed(value: float) -> str:
    text = f"{round(value, 2) + 0.0:.2f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _edge(
    quiet: Bool[np.ndarray, " ms"], start: int, step: int, run: int
) -> int | None:
    """First sample, from `start` outwards, of `run` quiet samples in a row."""
    length = 0
    at = start
    while 0 <= at < len(quiet):
        length = length + 1 if quiet[at] else 0
        if length == run:
            return at - step * (run - 1)
        at += step
    return None


def _after_plateaus(
    quiet: Bool[np.ndarray, " ms"],
    steep: Bool[np.ndarray, " ms"],
    last: int,
    longest: int,
) -> int:
    """The end of the QRS, moved on while it is steep again soon after."""
    while True:
        more = np.flatnonzero(steep[last : last + round(AGAIN_S * 1000)])
        later = (
            _edge(quiet, last + int(more[0]), +1, round(QUIET_S * 1000))
            if len(more)
            else None
        )
        if later is None or later > longest:
            return last
        last = later


def _turning_point(
    value: np.ndarray, time: np.ndarray, start_s: float, stop_s: float
) -> tuple[float, float] | None:
    """When and how large the largest turning point is."""
    change = np.diff(value)
    turns = np.flatnonzero(change[:-1] * change[1:] <= 0) + 1
    turns = turns[(time[turns] >= start_s) & (time[turns] <= stop_s)]
    if not len(turns):
        return None
    at = turns[np.argmax(np.abs(value[turns]))]
    return float(time[at]), float(value[at])


def _polarity(t_mv: float) -> Literal["upright", "inverted", "flat"]:
    if abs(t_mv) < FLAT_T_MV:
        return "flat"
    return "upright" if t_mv > 0 else "inverted"
