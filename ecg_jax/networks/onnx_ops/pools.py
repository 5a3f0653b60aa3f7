"""Pools: the largest, the mean, the norm of windows or of whole channels."""

import itertools
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Ops, is_floating, to_dtype
from ecg_jax.networks.onnx_ops.windows import Windows, spatial, windows


def _of(node: Node, x: Any) -> Windows:
    return windows(node, spatial(x), tuple(node.get("kernel_shape")))


def _reduced(x: Array, where: Windows, neutral: Any, combine: Any) -> Array:
    """Every window by one operation; padding counts as `neutral`."""
    return lax.reduce_window(
        x,
        np.asarray(neutral, x.dtype),
        combine,
        (1, 1, *where.sizes),
        (1, 1, *where.strides),
        ((0, 0), (0, 0), *where.exact_pads),
        window_dilation=(1, 1, *where.dilations),
    )


def max_pool(node: Node, x: Any) -> Any:
    """The largest entry of each window, and its place in the whole array."""
    x = jnp.asarray(x)
    where = _of(node, x)
    lowest = -np.inf if is_floating(x) else np.iinfo(x.dtype).min
    best = _reduced(x, where, lowest, lax.max)
    return (best, _places(node, x, where, lowest)) if node.uses(1) else best


def _places(node: Node, x: Array, where: Windows, lowest: Any) -> Array:
    """Where the first of the largest entries of each window lies."""
    widths = [
        (0, 0, 0),
        (0, 0, 0),
        *((max(a, 0), max(b, 0), 0) for a, b in where.exact_pads),
    ]
    order = "F" if node.get("storage_order", 0) else "C"
    number = np.arange(int(np.prod(where.shape))).reshape(where.shape, order=order)
    padded = lax.pad(x, np.asarray(lowest, x.dtype), widths)
    numbers = np.pad(number, [w[:2] for w in widths[2:]])
    values, places = [], []
    for offset in itertools.product(*map(range, where.sizes)):
        index = tuple(
            slice(o * d, o * d + (count - 1) * s + 1, s)
            for o, d, s, count in zip(
                offset, where.dilations, where.strides, where.counts, strict=True
            )
        )
        values.append(padded[(..., *index)])
        places.append(numbers[index])
    winner = jnp.argmax(jnp.stack(values), 0)
    found = jnp.take_along_axis(jnp.stack(places)[:, None, None], winner[None], 0)[0]
    channels = np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
    offset = channels[(..., *(None,) * len(where.shape))] * number.size
    return to_dtype(found + offset, np.int64)


def average_pool(node: Node, x: Any) -> Array:
    """The mean of each window, of its own entries or with those of the padding."""
    x = jnp.asarray(x)
    where = _of(node, x)
    total = _reduced(x, where, 0, lax.add)
    return total / np.asarray(
        where.entries(bool(node.get("count_include_pad", 0))), x.dtype
    )


def lp_pool(node: Node, x: Any) -> Array:
    """`(sum |x|^p)^(1/p)` of each window."""
    x, p = jnp.asarray(x), node.get("p", 2)
    powers = _reduced(lax.integer_pow(jnp.abs(x), p), _of(node, x), 0, lax.add)
    return jnp.sqrt(powers) if p == 2 else powers ** (1 / p)


def max_unpool(node: Node, *inputs: Any) -> Array:
    """Entries put back where a max pool took them from; zero elsewhere."""
    x, places = jnp.asarray(inputs[0]), jnp.asarray(inputs[1])
    kernel = node.get("kernel_shape")
    ndim = len(kernel)
    strides, pads = (
        node.get("strides") or (1,) * ndim,
        node.get("pads") or (0,) * 2 * ndim,
    )
    shape = [
        (n - 1) * s + k - pads[i] - pads[i + ndim]
        for i, (n, s, k) in enumerate(zip(spatial(x), strides, kernel, strict=True))
    ]
    sizes = (*x.shape[:2], *shape)
    wanted = node.listed("output_shape", 2, inputs) or sizes
    flat = jnp.zeros(int(np.prod(sizes)), x.dtype)
    full = flat.at[jnp.ravel(places)].set(jnp.ravel(x)).reshape(sizes)
    more = [(0, w - s) for w, s in zip(wanted, sizes, strict=True)]
    return jnp.pad(full, more)


def _axes(x: Any) -> tuple[int, ...]:
    return tuple(range(2, np.ndim(x)))


def global_average_pool(node: Node, x: Any) -> Array:
    """The mean of each channel."""
    return jnp.mean(x, _axes(x), keepdims=True)


def global_max_pool(node: Node, x: Any) -> Array:
    """The largest entry of each channel."""
    return jnp.max(x, _axes(x), keepdims=True)


def global_lp_pool(node: Node, x: Any) -> Array:
    """`(sum |x|^p)^(1/p)` of each channel."""
    p = node.get("p", 2)
    return jnp.sum(jnp.abs(x) ** p, _axes(x), keepdims=True) ** (1 / p)


POOLS: Ops = MappingProxyType(
    {
        "MaxPool": max_pool,
        "AveragePool": average_pool,
        "LpPool": lp_pool,
        "MaxUnpool": max_unpool,
        "GlobalAveragePool": global_average_pool,
        "GlobalMaxPool": global_max_pool,
        "GlobalLpPool": global_lp_pool,
    }
)
