"""Changes of a beat that a cardiologist has a name for, as paths in millivolts.

A path is what is added to a beat per unit of the change, so that the changed beat is
`beat + t direction`; a shift in time moves the samples instead.

Of several leads, a wave, the offset and the wander are changed lead by lead, each where
it was measured in that lead: an infarct, an electrode that moves, show in some leads
and not in others. Gain, hum and shift change all leads together, as one recorder and
one detector do. Limb leads depend on one another (I + III = II), so that a change of
one of them alone asks what a network does with that lead; no heart makes it.
"""

from collections.abc import Mapping, Sequence
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
TOGETHER = ("gain", "mains sine", "mains cosine", SHIFT)
"""What is changed in all leads of a beat at once."""

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


@dataclass(frozen=True)
class Change:
    """A change of beats of some leads.

    Attributes:
        name: Such as "ST level"; of several leads "ST level V1".
        kind: One of `UNITS`.
        lead: Index of the lead that is changed; None: all leads.
        where: Name of that lead; "" of a single one, or where all are changed.
    """

    name: str
    kind: str
    lead: int | None
    where: str

    @property
    def unit(self) -> str:
        """Of the change."""
        return UNITS[self.kind]


def changes_of(leads: Sequence[str]) -> tuple[Change, ...]:
    """The changes of beats of these leads: each kind in each lead, or in all of them.

    Args:
        leads: Their names.

    Example:
        >>> [c.name for c in changes_of(["II", "V1"])][:3], len(changes_of([""]))
        (['ST level II', 'ST level V1', 'T amplitude II'], 11)
    """
    if len(leads) == 1:
        return tuple(Change(kind, kind, None, "") for kind in UNITS)
    return tuple(
        Change(kind, kind, None, "")
        if kind in TOGETHER
        else Change(f"{kind} {leads[k]}", kind, k, leads[k])
        for kind in UNITS
        for k in range(1 if kind in TOGETHER else len(leads))
    )


def direction(
    kind: str,
    beat: Float[np.ndarray, " time"],
    time_s: Float[np.ndarray, " time"],
    shape: Morphology,
    waves: Waves = Waves(),
) -> tuple[Float[np.ndarray, " time"], str]:
    """What one unit of a change adds to one lead of a beat, in mV.

    Args:
        kind: One of `UNITS`, but the shift.
        beat: One lead, in mV, as shown.
        time_s: Seconds from the R peak.
        shape: Measured on this lead of this beat.
        waves: Frequencies of wander and hum.

    Returns:
        The direction, and why the change is not offered for this beat: "" where it is.

    Example:
        >>> time_s = np.arange(-4, 6) / 100
        >>> added, _ = direction("gain", np.ones(10), time_s, Morphology())
        >>> bool((added == 1).all())
        True
    """
    beat = np.asarray(beat, np.float64)
    phase = 2 * np.pi * time_s
    whole = {
        "gain": beat,
        "offset": np.ones_like(beat),
        "wander sine": np.sin(waves.wander_hz * phase),
        "wander cosine": np.cos(waves.wander_hz * phase),
        "mains sine": np.sin(waves.mains_hz * phase),
        "mains cosine": np.cos(waves.mains_hz * phase),
    }
    if kind in whole:
        return _unless_none(whole[kind], "the change leaves every sample as it is")
    out = np.zeros_like(beat)
    part = "QRS" if kind == "QRS amplitude" else kind.split()[0]
    found = {s.name: s for s in segments(shape, time_s)}.get(part)
    if found is None or not found.measured:
        return out, _MISSING[part]
    deflection = beat - (shape.zero_mv or 0.0)
    if kind == "T amplitude":
        if shape.t_mv is None or abs(shape.t_mv) < SMALLEST_WAVE_MV:
            return out, f"no T wave of {SMALLEST_WAVE_MV:g} mV or more is found"
        out = np.clip(deflection / shape.t_mv, 0, 1) * found.holds(time_s)
    elif kind == "QRS amplitude":
        out = deflection * found.holds(time_s)
    else:
        if part == "ST" and not shape.clear:
            return out, "the end of the QRS is not clear"
        out = _level(found, time_s)
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
