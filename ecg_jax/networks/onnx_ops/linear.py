"""Products of matrices and convolutions."""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Ops, alike, plain
from ecg_jax.networks.onnx_ops.windows import spatial, windows


def matmul(node: Node, x: Any, y: Any) -> Array:
    """The matrix product over the last two axes."""
    return jnp.matmul(*alike(x, y))


def gemm(node: Node, x: Any, y: Any, c: Any = None) -> Array:
    """`alpha x y + beta c`, either matrix transposed."""
    x, y = alike(x, y)
    x = x.T if node.get("transA", 0) else x
    y = y.T if node.get("transB", 0) else y
    out, alpha, beta = jnp.matmul(x, y), node.get("alpha", 1.0), node.get("beta", 1.0)
    out = out if alpha == 1 else (alpha * out).astype(out.dtype)
    if c is None:
        return out
    return out + (c if beta == 1 else (beta * c).astype(jnp.result_type(c)))


def einsum(node: Node, *inputs: Any) -> Array:
    """Sums of products by letters."""
    return jnp.einsum(node.get("equation").replace(" ", ""), *alike(*inputs))


def conv(node: Node, x: Any, w: Any, b: Any = None) -> Array:
    """A convolution of `[batch, channel, *spatial]` with `[out, channel, *spatial]`."""
    x, w = alike(x, w)
    where = windows(node, spatial(x), spatial(w))
    out = lax.conv_general_dilated(
        x,
        w,
        where.strides,
        where.pads,
        rhs_dilation=where.dilations,
        feature_group_count=node.get("group", 1),
    )
    return out if b is None else out + _per_channel(b, out)


def conv_transpose(node: Node, x: Any, w: Any, b: Any = None) -> Array:
    """The transposed map of a convolution: steps become gaps between entries."""
    x, w = alike(x, w)
    ndim, groups = x.ndim - 2, node.get("group", 1)
    strides = tuple(node.get("strides") or (1,) * ndim)
    dilations = tuple(node.get("dilations") or (1,) * ndim)
    more = tuple(node.get("output_padding") or (0,) * ndim)
    pads = list(node.get("pads") or (0,) * 2 * ndim)
    auto, wanted = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    padding = []
    for axis, size in enumerate(spatial(x)):
        reach = (w.shape[2 + axis] - 1) * dilations[axis] + 1
        whole = strides[axis] * (size - 1) + more[axis] + reach
        if wanted or auto.startswith("SAME"):
            target = wanted[axis - ndim] if wanted else size * strides[axis]
            total = max(whole - target, 0)
            less = total // 2
            upper = auto == "SAME_UPPER"
            pads[axis] = less if upper else total - less
            pads[axis + ndim] = total - pads[axis]
            extra = max(target - whole, 0)
        else:
            extra = 0
        low, high = reach - 1 - pads[axis], reach - 1 - pads[axis + ndim]
        padding.append((low, high + more[axis] + extra))
    split = jnp.reshape(w, (groups, w.shape[0] // groups, *w.shape[1:]))
    kernel = jnp.reshape(
        jnp.swapaxes(split, 1, 2),
        (groups * w.shape[1], w.shape[0] // groups, *w.shape[2:]),
    )
    out = lax.conv_general_dilated(
        x,
        jnp.flip(kernel, tuple(range(2, w.ndim))),
        (1,) * ndim,
        padding,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=groups,
    )
    return out if b is None else out + _per_channel(b, out)


def _per_channel(b: Any, out: Array) -> Array:
    return jnp.reshape(b, (1, -1, *(1,) * (out.ndim - 2)))


def matmul_integer(
    node: Node, x: Any, y: Any, x_zero: Any = None, y_zero: Any = None
) -> Array:
    """A product of whole numbers, each less its zero point."""
    return jnp.matmul(
        less_zero(x, x_zero, max(np.ndim(x) - 2, 0), np.int32),
        less_zero(y, y_zero, np.ndim(y) - 1, np.int32),
    )


def conv_integer(
    node: Node, x: Any, w: Any, x_zero: Any = None, w_zero: Any = None
) -> Array:
    """A convolution of whole numbers, each less its zero point."""
    return conv(
        node,
        less_zero(x, x_zero, 1, np.int32),
        less_zero(w, w_zero, 0, np.int32),
    )


def less_zero(x: Any, zero: Any, axis: int, dtype: Any) -> Array:
    """`x - zero` in another dtype; several zero points lie along an axis."""
    x = jnp.asarray(x, dtype)
    if zero is None:
        return x
    zero = jnp.asarray(zero, dtype)
    if zero.ndim == 1 and zero.size > 1:
        zero = jnp.reshape(zero, [-1 if i == axis else 1 for i in range(x.ndim)])
    return x - zero


def col2im(node: Node, *inputs: Any) -> Array:
    """Columns, one a window, put back where the windows lie; overlaps are added."""
    x, image = jnp.asarray(inputs[0]), node.sizes("image_shape", 1, inputs)
    block = node.sizes("block_shape", 2, inputs)
    where = windows(node, image, block)
    padded = [
        size + low + high for size, (low, high) in zip(image, where.pads, strict=True)
    ]
    places = [
        (np.arange(k) * d)[:, None] + np.arange(count) * s
        for k, d, count, s in zip(
            block, where.dilations, where.counts, where.strides, strict=True
        )
    ]
    ndim = len(image)
    index = tuple(
        np.expand_dims(place, [j for j in range(2 * ndim) if j not in (i, i + ndim)])
        for i, place in enumerate(places)
    )
    parts = jnp.reshape(x, (x.shape[0], -1, *block, *where.counts))
    out = jnp.zeros((*parts.shape[:2], *padded), x.dtype)
    out = out.at[(slice(None), slice(None), *index)].add(parts)
    inner = tuple(
        slice(low, low + size) for size, (low, _) in zip(image, where.pads, strict=True)
    )
    return out[(..., *inner)]


LINEAR: Ops = MappingProxyType(
    {
        "MatMul": matmul,
        "Gemm": gemm,
        "Einsum": einsum,
        "Conv": conv,
        "ConvTranspose": conv_transpose,
        "MatMulInteger": matmul_integer,
        "ConvInteger": conv_integer,
        "Col2Im": col2im,
        "Det": plain(jnp.linalg.det),
    }
)
