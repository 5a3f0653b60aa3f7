"""One synthetic recording: rhythm, waves, disturbances, and the truth about them.

Amplitudes and times are those of lead I. T and the ST segment move with the square
root of RR (Bazett). Nine Gaussian waves (a QRS that may be notched, an ST segment, a
skewed T) instead of ECGSYN's five. In AF the intervals are independent, P is absent
and sawtooth f-waves of 4-9 Hz are added. A PVC replaces a sinus beat of an undisturbed
sinus clock, so its pause is fully compensatory.

Source of the f-waves: Stridh, Sornmo, *Spatiotemporal QRST cancellation techniques
for analysis of atrial fibrillation*, IEEE TBME 48(1), 2001.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ecg_jax.ecg.mcsharry import Waves, blocks, leak, lines, rr_intervals, sum_waves

KINDS = (
    "normal",
    "af",
    "pvc",
    "lbbb",
    "rbbb",
    "st_elevation",
    "inverted_t",
    "noise",
)
_MIN_RR_S = 0.44  # no kind has a shorter mean interval

# Gaussian waves of lead I at RR = 1 s: centre after R (s), width (s), amplitude (mV).
#            P      Q      R      S      R'     ST1    ST2    T1     T2
_CENTRE = [-0.160, -0.028, 0.0, 0.028, 0.060, 0.085, 0.150, 0.245, 0.290]
_WIDTH = [0.0200, 0.0080, 0.011, 0.011, 0.015, 0.028, 0.040, 0.045, 0.032]
_HEIGHT = [0.0950, -0.060, 0.850, -0.16, 0.000, 0.000, 0.010, 0.110, 0.160]
_SLOW = np.array([0, 0, 0, 0, 0, 0.5, 1, 1, 1], np.float32)  # moves with sqrt(RR)
_NUM_WAVES = len(_CENTRE)
_CHANGES: Mapping[str, tuple[dict[int, float], dict[int, float], dict[int, float]]] = {
    "normal": ({}, {}, {}),
    "noise": ({}, {}, {}),
    "af": ({}, {}, {0: 0.0}),
    "pvc": (
        {1: -0.065, 3: 0.085, 5: 0.130, 6: 0.19, 7: 0.29, 8: 0.34},
        {1: 0.018, 2: 0.028, 3: 0.030, 5: 0.035, 7: 0.055, 8: 0.045},
        {0: 0.0, 1: -0.14, 2: 1.25, 3: -0.42, 5: -0.1, 6: -0.12, 7: -0.2, 8: -0.24},
    ),
    "lbbb": (
        {1: -0.070, 2: -0.050, 4: 0.004, 5: 0.1},
        {2: 0.017, 4: 0.021},
        {1: 0.0, 2: 0.62, 3: 0.0, 4: 0.80, 5: -0.06, 6: -0.08, 7: -0.1, 8: -0.17},
    ),
    "rbbb": (
        {3: 0.056, 5: 0.13},
        {3: 0.026},
        {1: -0.04, 2: 0.80, 3: -0.34},
    ),
    "st_elevation": (
        {5: 0.080, 6: 0.150},
        {5: 0.036, 6: 0.052},
        {3: -0.03, 5: 0.17, 6: 0.19, 7: 0.17, 8: 0.19},
    ),
    "inverted_t": ({}, {}, {6: -0.02, 7: -0.14, 8: -0.21}),
}


def _tables() -> np.ndarray:
    tables = np.empty((len(KINDS), 3, _NUM_WAVES), np.float32)
    for row, kind in enumerate(KINDS):
        for column, base in enumerate((_CENTRE, _WIDTH, _HEIGHT)):
            tables[row, column] = base
            for wave, value in _CHANGES[kind][column].items():
                tables[row, column, wave] = value
    return tables


_TABLES = _tables()


class Ecg(NamedTuple):
    """One recording; positions are sample indices, -1 where there is no such wave."""

    signal: Float[Array, " time"]
    num_samples: Int[Array, ""]
    r: Int[Array, " beat"]
    p: Int[Array, " beat"]
    t: Int[Array, " beat"]
    beat_kind: Int[Array, " beat"]
    inverted: Array


def _f32(value: Any) -> Array:
    return jnp.asarray(value, jnp.float32)


def _between(unit: Array, low: Any, high: Any) -> Array:
    return _f32(low) + _f32(high - low) * unit


def _sine(turns: Array) -> Array:
    """`sin(2 pi turns)` to 2e-4, by a polynomial (XLA's own is slow on CPUs)."""
    v = turns - jnp.round(turns)
    v = jnp.clip(v, -0.5 - v, 0.5 - v)  # sin(pi - x) = sin(x)
    w = (2 * math.pi * v) ** 2
    return 2 * math.pi * v * (1.0 - w * (1 / 6 - w * (1 / 120 - w / 5040)))


class _Draws(NamedTuple):
    unit: Array  # the recording's uniform numbers
    phase: Array  # and phases
    early: Array
    wave: Array  # standard normal from here on
    beat: Array
    interval: Array
    knots: Array
    white: Array


def _draw(key: Array, num_beats: int, grid: tuple[int, int]) -> _Draws:
    keys, f32 = jax.random.split(key, 3), jnp.float32
    sizes = np.cumsum([24, 30, num_beats])
    flat = jax.random.uniform(keys[0], (int(sizes[-1]),), f32)
    unit, phase, early = jnp.split(flat, sizes[:-1])
    sizes = np.cumsum([3 * _NUM_WAVES, num_beats * _NUM_WAVES, num_beats, grid[0]])
    flat = jax.random.normal(keys[1], (int(sizes[-1]),), f32)
    wave, beat, interval, knots = jnp.split(flat, sizes[:-1])
    # The sum of the four bytes of a word: normal to the eye at a third of the cost.
    words = jax.random.bits(keys[2], grid, jnp.uint32)
    pairs = (words & jnp.uint32(0xFF00FF)) + ((words >> 8) & jnp.uint32(0xFF00FF))
    total = ((pairs & jnp.uint32(0xFFFF)) + (pairs >> 16)).astype(jnp.int32)
    return _Draws(
        unit=unit,
        phase=phase * (2 * math.pi),
        early=early,
        wave=wave.reshape(3, -1),
        beat=beat.reshape(num_beats, -1),
        interval=interval,
        knots=knots,
        white=(total - 510).astype(f32) * np.float32(1 / 147.8),
    )


def _rhythm(
    d: _Draws, kind: Array, respiration_hz: Array
) -> tuple[Array, Array, Array]:
    """R times, the RR that sets the QT of each beat, and which beats are PVCs."""
    is_af, num = kind == KINDS.index("af"), len(d.interval)
    bpm = jnp.exp(math.log(70.0) + 0.20 * _between(d.unit[0], -1.6, 1.9))
    bpm = jnp.where(is_af, _between(d.unit[0], 72.0, 125.0), bpm)
    mean = 60.0 / bpm
    spread = mean * _between(d.unit[1], 0.015, 0.06)
    sinus = rr_intervals(d.phase[12:], mean, spread, respiration_hz, num)
    uneven = jnp.exp(_between(d.unit[1], 0.16, 0.26) * d.interval)
    rr = jnp.where(is_af, mean * jnp.clip(uneven, 0.62, 2.0), sinus)
    r = jnp.cumsum(rr) - rr[0] - _between(d.unit[2], 0.05, 0.95) * rr[1]
    every = jnp.arange(num, dtype=jnp.int32)
    wish = (d.early < _between(d.unit[3], 0.10, 0.30)) | (every == 4)
    first = wish & ~jnp.concatenate([jnp.zeros((1,), bool), wish[:-1]])
    pvc = first & (every >= 3) & (kind == KINDS.index("pvc"))
    coupling = _between(d.unit[4], 0.56, 0.72)
    before = jnp.concatenate([rr[:1], rr[:-1]])
    r = jnp.where(pvc, r - (1.0 - coupling) * rr, r)
    return r, 0.7 * mean + 0.3 * before, pvc


def _morphology(
    d: _Draws, kind: Array, r: Array, qt_rr: Array, pvc: Array, respiration: Array
) -> Waves:
    """The waves of every beat: kind, severity, recording, then beat-to-beat jitter."""
    normal, own = _f32(_TABLES[0]), _f32(_TABLES)[kind]
    own = jnp.where(kind == KINDS.index("pvc"), normal, own)
    severity = _between(d.unit[5], 0.65, 1.2)
    shape = normal + severity * (own - normal)
    shape = jnp.where(_f32(_TABLES[:, 2])[kind, 0] == 0.0, own, shape)
    spread = np.array([[0.0], [0.10], [0.32]], np.float32) * np.ones(
        _NUM_WAVES, np.float32
    )
    spread[2, 0] = 0.5  # P waves differ most
    shape = shape * jnp.exp(spread * jnp.clip(d.wave, -2.2, 2.2))
    gain = jnp.exp(0.30 * jnp.clip(d.wave[0, 0], -2.0, 2.0))
    gain = gain * jnp.where(kind == KINDS.index("noise"), 0.45, 1.0)
    moved = np.zeros(_NUM_WAVES, np.float32)
    pr, qt = moved.copy(), moved.copy()
    pr[0], qt[5:] = 1.0, 1.0
    centre = shape[0] + 0.013 * jnp.clip(d.wave[0, 1], -2.0, 2.0) * pr
    centre = centre * (1.0 + 0.06 * jnp.clip(d.wave[0, 2], -2.0, 2.0) * qt)
    focus = _f32(_TABLES[KINDS.index("pvc")])
    focus = focus * jnp.exp(spread * jnp.clip(d.wave, -2.2, 2.2))
    side = jnp.where(d.unit[6] < 0.6, 1.0, -1.0)
    sign = np.array([1.0, 1.0, 0.0], np.float32)[:, None]
    focus = focus * (sign + (1.0 - sign) * side)
    beat = jnp.where(
        pvc[:, None, None],
        focus[None],
        jnp.stack([centre, shape[1], shape[2]])[None],
    )
    slow = (jnp.sqrt(qt_rr)[:, None] - 1.0) * _SLOW[None, :] + 1.0
    jitter = 1.0 + 0.05 * jnp.clip(d.beat, -3.0, 3.0)
    breath = 1.0 + _between(d.unit[7], 0.01, 0.08) * respiration
    return Waves(
        r,
        beat[:, 0] * slow,
        beat[:, 1] * slow,
        gain * beat[:, 2] * jitter * breath[:, None],
    )


def _disturbances(
    d: _Draws, kind: Array, respiration_hz: Array, starts, steps, hz: float
) -> tuple[Array, Array]:
    """In mV: electrode jumps (before the leak); baseline, f-waves, muscle noise."""
    u, block_s = d.unit, len(steps) / hz
    is_af, is_noise = kind == KINDS.index("af"), kind == KINDS.index("noise")
    slow = jnp.concatenate([respiration_hz[None], _between(u[9:12], 0.04, 0.5)])
    span = np.array([[0.08, 0.3], [0.1, 0.5], [0.05, 0.2]], np.float32)
    modulation = _between(u[14:17], span[:, 0], span[:, 1])
    turn = 2 * math.pi * jnp.concatenate([slow, modulation])
    lag = jnp.concatenate([jnp.arctan(turn[:4]), jnp.zeros((3,), jnp.float32)])
    knots = np.append(starts, starts[-1] + np.float32(block_s))
    waves = jnp.sin(turn[:, None] * knots[None, :] + (d.phase[:7] - lag)[:, None])
    height = _between(u[8], 0.02, 0.12) * np.array([1.0, 0.6, 0.6, 0.6], np.float32)
    height = height / jnp.sqrt(1.0 + jnp.square(turn[:4]))  # z0 behind the leak
    wander, wobble, swell, envelope = (
        lines(knot, steps, block_s)
        for knot in (
            jnp.sum(height[:, None] * waves[:4], 0),
            waves[4],
            waves[5],
            jnp.square(1.0 + waves[6]),
        )
    )
    time = starts[:, None] + steps[None, :]
    turns = _between(u[12], 4.0, 9.0) * time + u[21] + 0.3 * wobble
    sine, cosine = _sine(turns), _sine(turns + 0.25)
    saw = sine * (1.0 + cosine + (3.0 - 4.0 * sine * sine) / 3.0)
    fibrillation = jnp.where(is_af, _between(u[13], 0.015, 0.07), 0.0)
    burst = _between(u[17], 0.06, 0.20) * (0.5 + envelope)
    muscle = jnp.where(is_noise, burst, _between(u[18], 0.004, 0.03))
    jump = jnp.where(jnp.abs(d.knots) > 1.6, d.knots, 0.0) * _between(u[19], 0.15, 0.5)
    level = jnp.cumsum(jnp.where(is_noise, jump, 0.0))
    level = jnp.concatenate([level, level[-1:]])
    return (
        lines(level, steps, block_s),
        wander + fibrillation * (1.0 + 0.4 * swell) * saw + muscle * d.white,
    )


def synthesize_one(
    key: Array,
    kind: Int[Array, ""],
    *,
    num_samples: int,
    shortest: int | None = None,
    sample_rate_hz: float = 300.0,
) -> Ecg:
    """One recording from a key and a kind; a pure function, to be vmapped and jitted.

    Args:
        key: A typed JAX key.
        kind: What it shows, an index into `KINDS`.
        num_samples: Length of the signal (static).
        shortest: If given, `Ecg.num_samples` is uniform between this and `num_samples`
            and no position lies beyond it (static).
        sample_rate_hz: Sampling rate (static).

    Returns:
        Signal in mV (float32, steps of 1 microvolt), positions in samples, beat kinds.
    """
    hz = sample_rate_hz
    starts, steps = blocks(num_samples, hz)
    num_beats = math.ceil(num_samples / hz / _MIN_RR_S) + 6
    d = _draw(key, num_beats, (len(starts), len(steps)))
    respiration_hz = _between(d.unit[20], 0.18, 0.33)
    r, qt_rr, pvc = _rhythm(d, kind, respiration_hz)
    breath = jnp.sin(2 * math.pi * respiration_hz * r + d.phase[0])
    waves = _morphology(d, kind, r, qt_rr, pvc, breath)
    jumps, added = _disturbances(d, kind, respiration_hz, starts, steps, hz)
    ecg = sum_waves(waves, starts, steps)
    inverted = d.unit[22] < 0.2
    ecg = jnp.where(inverted, -ecg, ecg) + jumps
    ecg = ecg - leak(ecg, hz) + added
    ecg = jnp.round(ecg.reshape(-1)[:num_samples] * 1000.0) / 1000.0
    low = num_samples if shortest is None else shortest
    length = jnp.int32(low) + (d.unit[23] * (num_samples - low)).astype(jnp.int32)

    def place(seconds: Array, there: Array) -> Array:
        at = jnp.round(hz * seconds).astype(jnp.int32)
        return jnp.where(there & (at >= 0) & (at < length), at, jnp.int32(-1))

    at_r = place(r, jnp.ones_like(pvc))
    here = at_r >= 0
    is_pvc = kind == KINDS.index("pvc")
    beat_kind = jnp.where(is_pvc & ~pvc, 0, kind).astype(jnp.int32)
    return Ecg(
        ecg,
        length,
        at_r,
        place(r + waves.centre_s[:, 0], here & ~pvc & (kind != KINDS.index("af"))),
        place(r + waves.centre_s[:, 8], here),
        jnp.where(here, beat_kind, jnp.int32(-1)),
        inverted,
    )
