"""Fourier transforms, with real and imaginary parts on the last axis."""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Ops


def dft(node: Node, *inputs: Any) -> Array:
    """The discrete Fourier transform along an axis, or its inverse."""
    x = jnp.asarray(inputs[0])
    new = node.version >= 20
    axis = (node.number(2, inputs, -2) if new else node.get("axis", 1)) % x.ndim
    inverse, onesided = node.get("inverse", 0), node.get("onesided", 0)
    n = 2 * (x.shape[axis] - 1) if inverse and onesided else x.shape[axis]
    n = node.number(1, inputs, n)
    z = x[..., 0] if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1]
    if inverse and onesided:
        return jnp.fft.irfft(z, n, axis)[..., None]
    out = jnp.fft.ifft(z, n, axis) if inverse else jnp.fft.fft(z, n, axis)
    if onesided:
        out = jnp.take(out, np.arange(n // 2 + 1), axis)
    return _parts(out)


def stft(node: Node, *inputs: Any) -> Array:
    """Fourier transforms of windows that slide along a signal."""
    x = jnp.asarray(inputs[0])
    step, window = node.number(1, inputs), inputs[2] if len(inputs) > 2 else None
    size = node.number(3, inputs, None if window is None else np.shape(window)[0])
    x = x if x.ndim == 3 else x[..., None]
    signal = x[..., 0] if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1]
    starts = np.arange(0, signal.shape[1] - size + 1, step)
    frames = signal[:, starts[:, None] + np.arange(size)]
    frames = frames if window is None else frames * window
    out = jnp.fft.fft(frames, axis=-1)
    if node.get("onesided", 1) and x.shape[-1] == 1:
        out = out[..., : size // 2 + 1]
    return _parts(out)


def _parts(z: Array) -> Array:
    return jnp.stack([jnp.real(z), jnp.imag(z)], -1)


SPECTRA: Ops = MappingProxyType({"DFT": dft, "STFT": stft})
