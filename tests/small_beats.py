"""Small arrays of synthetic beats, and functions of one, for tests of the views."""

import jax
import jax.numpy as jnp
import numpy as np

RATE, SAMPLES, R_S = 100.0, 65, 0.25
TIME = np.arange(SAMPLES) / RATE - R_S


def wave(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


def arrays(num=80, seed=0, dtype=np.float32):
    """Beats `[beat, time]` with upright or inverted T, and which are upright."""
    rng = np.random.default_rng(seed)
    upright = np.arange(num) % 2 == 0
    sign = np.where(upright, 1.0, -1.0)[:, None]
    beat = wave(0, 0.014, 1.1) + wave(-0.16, 0.02, 0.12)
    noise = 0.03 * rng.normal(size=(num, SAMPLES))
    return (beat + sign * wave(0.24, 0.04, 0.3) + noise).astype(dtype), upright


def names(upright):
    """Labels of a name of their own."""
    return np.where(upright, "NORM", "MI")


def t_up(x):
    """A small network of `[time]`: positive where the T is upright."""
    late = x[45:55]
    up = jax.nn.relu(late.mean() - jnp.asarray(0.02, x.dtype))
    down = jax.nn.relu(-late.mean() + jnp.asarray(0.01, x.dtype))
    return up - down + jnp.asarray(0.005, x.dtype)
