"""McSharry's model of the ECG (ECGSYN), solved instead of stepped.

McSharry's model (ECGSYN) moves a point around the unit circle, one turn a beat, and
pulls its height `z`, the ECG, up and down near fixed angles:

    dtheta/dt = omega(t) = 2 pi / RR(t)                     (on the limit cycle)
    dz/dt = - sum_i a_i d_i exp(-d_i^2 / 2 b_i^2) - (z - z0(t)),  d_i = theta - theta_i

The phase is the integral of a step function, so the time since a wave's centre is
`d_i / omega`; and the sum is the derivative of Gaussians, so the solution is

    Z(t) = sum_k sum_i A_ki exp(-(t - R_k - c_ki)^2 / 2 s_ki^2)
    A = a b^2 / omega,  c = theta_i / omega,  s = b / omega
    z(t) = Z(t) - int e^-(t-u) Z(u) du + int e^-(t-u) z0(u) du

No time step is left in the waves; the leak (a high-pass at .16 Hz) is a product with
a triangular matrix, and its action on a sinusoidal `z0` is a gain and a lag. All times
are computed in parallel. `tests/test_synth.py` integrates the three equations of the
paper by Runge-Kutta and compares.

The RR spectrum is ECGSYN's too: Gaussian lobes at .1 Hz (LF) and at the respiration
(HF), random phases. One departure: `A`, `c`, `s` are given per beat, in mV and
seconds, since a QRS does not widen as the heart slows (ECGSYN scales its angles with
the mean rate to the same end).

Source: McSharry, Clifford, Tarassenko, Smith, *A dynamical model for generating
synthetic electrocardiogram signals*, IEEE TBME 50(3), 2003.
"""

import math
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class Waves(NamedTuple):
    """Gaussian waves, beat by beat: the solution `Z` of the model without its leak."""

    r_s: Float[Array, " beat"]
    centre_s: Float[Array, "beat wave"]
    width_s: Float[Array, "beat wave"]
    height_mv: Float[Array, "beat wave"]


def rr_intervals(
    phase: Float[Array, " 18"],
    mean_s: Array,
    deviation_s: Array,
    respiration_hz: Array,
    num_beats: int,
) -> Float[Array, " beat"]:
    """Sinus RR intervals with ECGSYN's bimodal spectrum (LF .1 Hz, HF respiration).

    The tachogram is a sum of sinusoids with random phases whose powers follow two
    Gaussian lobes (width .02 Hz, LF/HF power .5), read at the nominal times
    `k mean_s`; `deviation_s` is its standard deviation.
    """
    offsets = np.linspace(-2, 2, 9, dtype=np.float32)
    lobe = np.exp(-0.25 * offsets**2)
    power = np.concatenate([lobe * np.float32(math.sqrt(0.5)), lobe])
    power = power / np.sqrt(0.5 * np.sum(power**2))
    spread = np.float32(0.02) * offsets
    hz = jnp.concatenate([np.float32(0.1) + spread, respiration_hz + spread])
    when = mean_s * jnp.arange(num_beats, dtype=jnp.float32)
    angle = 2 * math.pi * when[:, None] * hz[None, :] + phase[None, :]
    return mean_s + deviation_s * jnp.sum(power[None, :] * jnp.cos(angle), 1)


def blocks(num_samples: int, hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Start of each block and the times within one (about .1 s, a power of two)."""
    size = 2 ** max(0, math.floor(math.log2(0.12 * hz)))
    starts = np.arange(math.ceil(num_samples / size)) * (size / hz)
    return starts.astype(np.float32), (np.arange(size) / hz).astype(np.float32)


def sum_waves(
    waves: Waves, starts: np.ndarray, steps: np.ndarray
) -> Float[Array, "block step"]:
    """`Z`: each block sees the last beat before it, the one earlier, the next one."""
    last = jnp.sum(waves.r_s[None, :] <= starts[:, None], 1, dtype=jnp.int32) - 1
    seen = last[:, None] + jnp.arange(-1, 2, dtype=jnp.int32)[None, :]
    there = (seen >= 0) & (seen < len(waves.r_s))
    seen = jnp.clip(seen, 0, len(waves.r_s) - 1)
    packed = jnp.stack(
        [
            waves.r_s[:, None] + waves.centre_s,
            math.sqrt(0.5) / waves.width_s,
            waves.height_mv,
        ],
        1,
    )[seen]
    centre = (packed[:, :, 0] - starts[:, None, None]).reshape(len(starts), -1)
    sharp = packed[:, :, 1].reshape(len(starts), -1)
    height = jnp.where(there[:, :, None], packed[:, :, 2], 0.0)
    height = height.reshape(len(starts), -1)
    total = jnp.zeros((len(starts), len(steps)), jnp.float32)
    for wave in range(centre.shape[1]):
        away = (steps[None, :] - centre[:, wave, None]) * sharp[:, wave, None]
        total = total + height[:, wave, None] * jnp.exp(-away * away)
    return total


def leak(signal: Float[Array, "block step"], hz: float) -> Float[Array, "block step"]:
    """`int e^-(t-u) x(u) du`, begun in its steady state (the mean).

    Trapezoidal; within a block one triangular product, between blocks another.
    """
    count, size = signal.shape
    q = math.exp(-1 / hz)
    ago = np.arange(size)[:, None] - np.arange(size)[None, :]
    inner = np.where(ago >= 0, (1 - q) * q ** np.maximum(ago, 0.0), 0.0)
    ago = np.arange(count)[:, None] - np.arange(count)[None, :] - 1
    outer = np.where(ago >= 0, q ** (size * np.maximum(ago, 0.0)), 0.0)
    mean = jnp.mean(signal)
    middle = signal - mean
    flat = middle.reshape(-1)
    before = jnp.concatenate([jnp.zeros((1,), jnp.float32), flat[:-1]])
    middle = (0.5 * (flat + before)).reshape(count, size)
    product = partial(jnp.einsum, precision="highest")
    within = product("bu,tu->bt", middle, jnp.asarray(inner, jnp.float32))
    carried = product("cb,b->c", jnp.asarray(outer, jnp.float32), within[:, -1])
    decay = jnp.asarray(q ** np.arange(1, size + 1), jnp.float32)
    return within + carried[:, None] * decay[None, :] + mean


def lines(knots: Array, steps: np.ndarray, block_s: float) -> Array:
    """Straight lines through values at the starts of the blocks."""
    rise = (knots[1:] - knots[:-1]) / np.float32(block_s)
    return knots[:-1, None] + rise[:, None] * steps[None, :]
