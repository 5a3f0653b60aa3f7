"""Small changes of a beat: a larger or wider QRS, a higher ST level, a higher T.

Each is what is added to the beat, so that an affine function `<w, x> + b` of the beat
gains exactly `<w, change>`.
"""

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.morphology import Morphology, Segment

CHANGE_MV = 0.1
CHANGE_SHARE = 0.1
SMALLEST_WAVE_MV = 0.03
HUMP_GAP_S, HUMP_ROOM_S = 0.040, 0.015


def changes(
    segment: Segment,
    shape: Morphology,
    time_s: Float[np.ndarray, " time"],
    beat: Float[np.ndarray, " time"],
) -> dict[tuple[str, str], Float[np.ndarray, " time"]]:
    """Small changes of a beat in one of its parts.

    Args:
        segment: The part.
        shape: Measured on the beat.
        time_s: Seconds from the R peak.
        beat: In mV.

    Returns:
        What is added to the beat, in mV, by words for the change, long and short.
    """
    from scipy.interpolate import CubicSpline

    time, inside = time_s, segment.holds(time_s)
    deflection = np.asarray(beat, np.float64) - (shape.zero_mv or 0.0)
    if segment.name == "QRS" and segment.measured:
        stretch = 1 + CHANGE_SHARE
        spline = CubicSpline(time, deflection)
        inner = (time >= stretch * segment.start_s) & (time < stretch * segment.stop_s)
        wider = np.where(inner, spline(time / stretch) - deflection, 0.0)
        return {
            ("a QRS 10% larger", "larger"): CHANGE_SHARE * deflection * inside,
            ("a QRS 10% wider", "wider"): wider,
        }
    name, level = segment.name, inside.astype(np.float64)
    if name == "ST":
        return {("an ST level 0.1 mV higher", "higher"): CHANGE_MV * level}
    if name not in ("P-PR", "T"):
        return {}
    peak = shape.t_mv if name == "T" else _hump(segment, time, deflection)
    if peak is None or abs(peak) < SMALLEST_WAVE_MV:
        where = "before the QRS" if name == "P-PR" else "at the T"
        return {(f"a level {where} 0.1 mV higher", "higher"): CHANGE_MV * level}
    wave = CHANGE_MV * np.clip(deflection / peak, 0, 1) * inside
    what = "deflection before the QRS" if name == "P-PR" else "T"
    return {(f"a {what} 0.1 mV higher", "higher"): wave}


def _hump(segment: Segment, time: np.ndarray, deflection: np.ndarray) -> float | None:
    """The largest deflection before the QRS, unless it lies at an end: then a slope."""
    rows = np.flatnonzero(segment.holds(time) & (time < segment.stop_s - HUMP_GAP_S))
    if not len(rows):
        return None
    at = rows[np.argmax(np.abs(deflection[rows]))]
    room = min(time[at] - time[rows[0]], time[rows[-1]] - time[at])
    return float(deflection[at]) if room > HUMP_ROOM_S else None
