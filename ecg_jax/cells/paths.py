"""Changes of a beat that a cardiologist has a name for, as paths in millivolts.

A path is what is added to a beat per unit of the change, so that the changed beat is
`beat + t direction`; a shift in time moves the samples instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ecg_jax.cells.changes import SMALLEST_WAVE_MV
from ecg_jax.cells.morphology import Morphology, Segment, segments

UNITS: Mapping[str, str] = MappingProxyType(
    {
        "ST level": "mV",
        "T amplitude": "mV",
        "P-PR level": "mV",
        "QRS amplitude": "fraction",
        "gain": "fraction",
        "offset": "mV",
        "wander sine": "mV",
        "wander cosine": "mV",
        "mains sine": "mV",
        "mains cosine": "mV",
        "shift": "s",
    }
)
"""The changes and their units: a fraction of 0.1 makes what it changes 10% larger."""

SHIFT = "shift"
RAMP_S = 0.020
"""Levels rise and fall over this time, so that no step appears."""

SMALLEST = 1e-6
"""A direction smaller than this, in units of its change, is none."""


@dataclass(frozen=True)
class Waves:
    """Frequencies of what disturbs a beat.

    Attributes:
        wander_hz: Of baseline wander.
        mains_hz: Of mains hum; sampled, it is aliased as the sampling rate demands.
    """

    wander_hz: float = 0.3
    mains_hz: float = 50.0


def direction(
    name: str,
    beat: Float[np.ndarray, "lead time"],
    time_s: Float[np.ndarray, " time"],
    shape: Morphology,
    waves: Waves = Waves(),
) -> tuple[Float[np.ndarray, "lead time"], str]:
    """What one unit of a change adds to a beat, in mV.

    ST, T, P-PR and QRS are changed in the first lead, where they were measured; gain,
    offset, wander and hum in all leads.

    Args:
        name: One of `UNITS`, but the shift.
        beat: In mV, upright.
        time_s: Seconds from the R peak.
        shape: Measured on the first lead.
        waves: Frequencies of wander and hum.

    Returns:
        The direction, and why the change is not offered for this beat: "" where it is.

    Example:
        >>> time_s = np.arange(-4, 6) / 100
        >>> added, _ = direction("gain", np.ones((1, 10)), time_s, Morphology())
        >>> bool((added == 1).all())
        True
    """
    beat = np.asarray(beat, np.float64)
    phase = 2 * np.pi * time_s
    whole = {
        "gain": beat,
        "offset": np.ones_like(beat),
        "wander sine": np.ones_like(beat) * np.sin(waves.wander_hz * phase),
        "wander cosine": np.ones_like(beat) * np.cos(waves.wander_hz * phase),
        "mains sine": np.ones_like(beat) * np.sin(waves.mains_hz * phase),
        "mains cosine": np.ones_like(beat) * np.cos(waves.mains_hz * phase),
    }
    if name in whole:
        return _unless_none(whole[name], "the change leaves every sample as it is")
    out = np.zeros_like(beat)
    part = "QRS" if name == "QRS amplitude" else name.split()[0]
    found = {s.name: s for s in segments(shape, time_s)}.get(part)
    if found is None or not found.measured:
        return out, _MISSING[part]
    deflection = beat[0] - (shape.zero_mv or 0.0)
    if name == "T amplitude":
        if shape.t_mv is None or abs(shape.t_mv) < SMALLEST_WAVE_MV:
            return out, f"no T wave of {SMALLEST_WAVE_MV:g} mV or more is found"
        out[0] = np.clip(deflection / shape.t_mv, 0, 1) * found.holds(time_s)
    elif name == "QRS amplitude":
        out[0] = deflection * found.holds(time_s)
    else:
        if part == "ST" and not shape.clear:
            return out, "the end of the QRS is not clear"
        out[0] = _level(found, time_s)
    return _unless_none(out, "the window does not hold this part of the beat")


_MISSING = MappingProxyType(
    {
        "QRS": "no QRS with clear edges is found",
        "ST": "no QRS with clear edges is found, so no ST",
        "P-PR": "no QRS with clear edges is found, so nothing before it",
        "T": "no T wave with a turning point is found",
    }
)


def _level(part: Segment, time_s: Float[np.ndarray, " time"]) -> np.ndarray:
    """1 inside, 0 outside, with ramps to either side."""
    rise = (time_s - (part.start_s - RAMP_S)) / RAMP_S
    fall = (part.stop_s + RAMP_S - time_s) / RAMP_S
    return np.clip(np.minimum(rise, fall), 0, 1)


def _unless_none(added: np.ndarray, why: str) -> tuple[np.ndarray, str]:
    return added, "" if np.abs(added).max() > SMALLEST else why


def shifted(
    beat: Float[Array, "*batch time"], samples: Array, most: int
) -> Float[Array, "*batch time"]:
    """A beat later by some samples, linearly interpolated; its ends are held.

    `y_i = sum_k max(0, 1 - |samples - k|) x_(i - k)`: piecewise linear in `samples`,
    with a knot at every whole number.

    Args:
        beat: Any unit.
        samples: How far, a number from `-most` to `most`.
        most: The farthest.

    Example:
        >>> shifted(jnp.arange(4.0), jnp.asarray(0.5), 1).tolist()
        [0.0, 0.5, 1.5, 2.5]
    """
    num = beat.shape[-1]
    steps = np.arange(-most, most + 1)
    rows = np.clip(np.arange(num)[None, :] - steps[:, None], 0, num - 1)
    weight = jnp.maximum(1 - jnp.abs(samples - steps.astype(beat.dtype)), 0)
    return jnp.einsum("k,...kt->...t", weight, beat[..., rows])
