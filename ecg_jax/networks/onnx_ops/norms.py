"""Normalisations: entries less their mean, over their spread."""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, OpRefusedError, Ops


def batch_norm(
    node: Node, x: Any, scale: Any, bias: Any, mean: Any, variance: Any
) -> Array:
    """`scale (x - mean) / sqrt(variance + epsilon) + bias`, kept statistics."""
    if node.get("training_mode", 0):
        raise OpRefusedError(
            "it takes its statistics from the batch", "export in evaluation mode"
        )
    shape = (1, -1, *(1,) * (np.ndim(x) - 2))
    factor = scale * lax.rsqrt(variance + _epsilon(node, variance))
    offset = bias - mean * factor
    dtype = jnp.result_type(x)
    return x * jnp.reshape(factor, shape).astype(dtype) + jnp.reshape(
        offset, shape
    ).astype(dtype)


def layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    """Mean and spread over the axes from `axis` on, for each example."""
    axes = _from(node, x)
    wide = _stashed(node, x)
    mean = jnp.mean(wide, axes, keepdims=True)
    centred = wide - mean
    spread = lax.rsqrt(
        jnp.mean(lax.square(centred), axes, keepdims=True) + _epsilon(node, wide)
    )
    out = (centred * spread).astype(jnp.result_type(x)) * scale
    return (out if bias is None else out + bias), mean, spread


def rms_norm(node: Node, x: Any, scale: Any) -> Array:
    """`scale x` over the root of the mean square."""
    wide = _stashed(node, x)
    mean = jnp.mean(lax.square(wide), _from(node, x), keepdims=True)
    out = wide * lax.rsqrt(mean + _epsilon(node, wide))
    return out.astype(jnp.result_type(x)) * scale


def instance_norm(node: Node, x: Any, scale: Any, bias: Any) -> Array:
    """Mean and spread of each channel of each example."""
    shape = (1, -1, *(1,) * (np.ndim(x) - 2))
    out = _normalised(x, tuple(range(2, np.ndim(x))), _epsilon(node, x))
    return out * jnp.reshape(scale, shape) + jnp.reshape(bias, shape)


def group_norm(node: Node, x: Any, scale: Any, bias: Any) -> Array:
    """Mean and spread of groups of channels; `scale` is one a channel from opset 21."""
    n, c, *rest = np.shape(x)
    groups = node.get("num_groups")
    parts = jnp.reshape(x, (n, groups, -1))
    out = _normalised(parts, (2,), _epsilon(node, x))
    if np.size(scale) == groups and groups != c:
        out = out * jnp.reshape(scale, (1, -1, 1)) + jnp.reshape(bias, (1, -1, 1))
        return jnp.reshape(out, (n, c, *rest))
    shape = (1, -1, *(1,) * len(rest))
    out = jnp.reshape(out, (n, c, *rest))
    return out * jnp.reshape(scale, shape) + jnp.reshape(bias, shape)


def lp_norm(node: Node, x: Any) -> Array:
    """`x` over its 1- or 2-norm along an axis; zero stays zero."""
    axis = node.get("axis", -1)
    if node.get("p", 2) == 1:
        size = jnp.sum(jnp.abs(x), axis, keepdims=True)
    else:
        size = jnp.sqrt(jnp.sum(lax.square(x), axis, keepdims=True))
    return jnp.where(size == 0, 0, x / jnp.where(size == 0, 1, size))


def local_response(node: Node, x: Any) -> Array:
    """`x` over a power of the squares of neighbouring channels."""
    size, c = node.get("size"), np.shape(x)[1]
    low = (size - 1) // 2
    near = np.arange(c)[:, None] - np.arange(c)
    band = np.asarray((near >= -(size - 1 - low)) & (near <= low), jnp.result_type(x))
    squares = jnp.moveaxis(jnp.tensordot(band, lax.square(x), (1, 1)), 0, 1)
    alpha, beta, bias = (
        node.get(name, default)
        for name, default in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    )
    return x / (bias + alpha / size * squares) ** beta


def _normalised(x: Any, axes: tuple[int, ...], epsilon: Any) -> Array:
    centred = x - jnp.mean(x, axes, keepdims=True)
    variance = jnp.mean(lax.square(centred), axes, keepdims=True)
    return centred * lax.rsqrt(variance + epsilon)


def _epsilon(node: Node, like: Any) -> np.ndarray:
    return np.asarray(node.get("epsilon", 1e-5), jnp.result_type(like))


def _from(node: Node, x: Any) -> tuple[int, ...]:
    return tuple(range(node.get("axis", -1) % np.ndim(x), np.ndim(x)))


def _stashed(node: Node, x: Any) -> Array:
    """The dtype in which statistics are taken: float32 for narrower ones."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


NORMS: Ops = MappingProxyType(
    {
        "BatchNormalization": batch_norm,
        "LayerNormalization": layer_norm,
        "RMSNormalization": rms_norm,
        "InstanceNormalization": instance_norm,
        "GroupNormalization": group_norm,
        "LpNormalization": lp_norm,
        "LRN": local_response,
    }
)
