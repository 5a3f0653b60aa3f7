"""Whole numbers for real ones: a scale and a zero point for each."""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.linear import conv, less_zero
from ecg_jax.networks.onnx_ops.node import Node, Ops


def quantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Array:
    """`x / scale` rounded (ties to even), plus the zero point, within its dtype."""
    x = jnp.asarray(x)
    dtype = node.get("output_dtype") or np.dtype(
        np.uint8 if zero is None else jnp.result_type(zero)
    )
    shape, axis = x.shape, node.get("axis", 1)
    divisor = _spread(node, scale, shape, axis).astype(x.dtype)
    offset = 0.0 if zero is None else _spread(node, zero, shape, axis)
    return _into(x / divisor, offset, dtype)


def dequantize(node: Node, x: Any, scale: Any, zero: Any = None) -> Array:
    """`(x - zero) scale`."""
    shape, axis = np.shape(x), node.get("axis", 1)
    dtype = node.get("output_dtype") or jnp.result_type(scale)
    wide = jnp.asarray(x).astype(jnp.float32)
    if zero is not None:
        wide = wide - _spread(node, zero, shape, axis).astype(jnp.float32)
    return (wide * _spread(node, scale, shape, axis).astype(jnp.float32)).astype(dtype)


def _spread(node: Node, value: Any, shape: tuple[int, ...], axis: int) -> Array:
    """A scale or a zero point for every entry: one, one a slice, or one a block."""
    value, block = jnp.asarray(value), node.get("block_size", 0)
    if value.size == 1:
        return jnp.reshape(value, ())
    if block:
        wide = jnp.repeat(value, block, axis)
        return jnp.take(wide, np.arange(shape[axis]), axis)
    return jnp.reshape(
        value, [-1 if i == axis % len(shape) else 1 for i in range(len(shape))]
    )


def _into(x: Array, zero: Any, dtype: Any) -> Array:
    """Rounded, moved by the zero point, cut off at the ends of the dtype."""
    dtype = np.dtype(dtype)
    if jnp.issubdtype(dtype, jnp.integer):
        limits = jnp.iinfo(dtype)
        moved = jnp.round(x) + jnp.asarray(zero).astype(x.dtype)
        return jnp.clip(moved, int(limits.min), int(limits.max)).astype(dtype)
    largest = float(jnp.finfo(dtype).max)
    return jnp.clip(x, -largest, largest).astype(dtype)


def qlinear_matmul(
    node: Node,
    a: Any,
    a_scale: Any,
    a_zero: Any,
    b: Any,
    b_scale: Any,
    b_zero: Any,
    y_scale: Any,
    y_zero: Any,
) -> Array:
    """A product of quantized matrices, quantized again."""
    rows, columns = max(np.ndim(a) - 2, 0), np.ndim(b) - 1
    product = jnp.matmul(
        less_zero(a, a_zero, rows, np.int32), less_zero(b, b_zero, columns, np.int32)
    )
    factor = jnp.asarray(a_scale) * jnp.asarray(b_scale) / jnp.asarray(y_scale)
    return _into(product * factor, y_zero, jnp.result_type(y_zero))


def qlinear_conv(
    node: Node,
    x: Any,
    x_scale: Any,
    x_zero: Any,
    w: Any,
    w_scale: Any,
    w_zero: Any,
    y_scale: Any,
    y_zero: Any,
    bias: Any = None,
) -> Array:
    """A convolution of quantized values, quantized again."""
    out = conv(
        node,
        less_zero(x, x_zero, 1, np.int32),
        less_zero(w, w_zero, 0, np.int32),
        bias,
    )
    each = jnp.reshape(w_scale, (-1, *(1,) * (np.ndim(x) - 2)))
    factor = jnp.asarray(x_scale) * each / jnp.asarray(y_scale)
    return _into(out * factor, y_zero, jnp.result_type(y_zero))


QUANTIZED: Ops = MappingProxyType(
    {
        "QuantizeLinear": quantize,
        "DequantizeLinear": dequantize,
        "QLinearMatMul": qlinear_matmul,
        "QLinearConv": qlinear_conv,
    }
)
