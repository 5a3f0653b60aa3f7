"""Entries chosen by their place, or by their order."""

from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, OpRefusedError, Ops, to_dtype


def slice_of(node: Node, *inputs: Any) -> Array:
    """From starts to ends, in steps, along the axes named."""
    x = jnp.asarray(inputs[0])
    starts = node.sizes("starts", 1, inputs)
    ends = node.sizes("ends", 2, inputs)
    axes = node.listed("axes", 3, inputs) or tuple(range(len(starts)))
    steps = node.listed("steps", 4, inputs) or (1,) * len(starts)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        low = max(start + size, 0) if start < 0 else start
        high = max(end + size, -1) if end < 0 else end
        if step < 0:
            high = None if high < 0 else high
        index[axis] = slice(low, high, step)
    return x[tuple(index)]


def gather(node: Node, x: Any, indices: Any) -> Array:
    """Slices along an axis, by number; negative ones count from the end."""
    axis = node.get("axis", 0)
    return jnp.take(x, _from_end(indices, np.shape(x)[axis]), axis)


def gather_elements(node: Node, x: Any, indices: Any) -> Array:
    """Single entries along an axis, by number."""
    axis = node.get("axis", 0)
    indices = _from_end(indices, np.shape(x)[axis])
    rest = [np.arange(n) for n in np.shape(indices)]
    grid = list(np.ix_(*rest))
    grid[axis] = indices
    return jnp.asarray(x)[tuple(grid)]


def gather_nd(node: Node, x: Any, indices: Any) -> Array:
    """Entries or slices, by a tuple of numbers each."""
    fn = lambda x, i: jnp.asarray(x)[tuple(jnp.moveaxis(i, -1, 0))]  # noqa: E731
    for _ in range(node.get("batch_dims", 0)):
        fn = jax.vmap(fn)
    return fn(jnp.asarray(x), jnp.asarray(indices))


def scatter_elements(node: Node, x: Any, indices: Any, updates: Any) -> Array:
    """Entries along an axis replaced, or combined with others."""
    x, axis = jnp.asarray(x), node.get("axis", 0)
    grid = list(np.ix_(*(np.arange(n) for n in np.shape(indices))))
    grid[axis] = _from_end(indices, x.shape[axis])
    return _updated(x, tuple(grid), updates, node.get("reduction", "none"))


def scatter_nd(node: Node, x: Any, indices: Any, updates: Any) -> Array:
    """Entries or slices replaced, or combined with others, by a tuple each."""
    x = jnp.asarray(x)
    where = tuple(jnp.moveaxis(jnp.asarray(indices), -1, 0))
    return _updated(x, where, updates, node.get("reduction", "none"))


def _updated(x: Array, where: tuple[Any, ...], updates: Any, how: str) -> Array:
    at = x.at[where]
    ways = {"none": at.set, "add": at.add, "mul": at.mul, "max": at.max, "min": at.min}
    return ways[how](jnp.asarray(updates))


def tensor_scatter(node: Node, x: Any, update: Any, starts: Any = None) -> Array:
    """A cache with new entries from a place on, one place for each row."""
    x, update = jnp.asarray(x), jnp.asarray(update)
    axis = node.get("axis", -2) % x.ndim
    first = np.zeros(x.shape[0], int) if starts is None else starts
    steps = np.arange(update.shape[axis])
    places = jnp.asarray(first)[:, None] + steps
    if node.get("mode", "linear") == "circular":
        places = places % x.shape[axis]

    def row(x: Array, update: Array, places: Array) -> Array:
        moved = jnp.moveaxis(x, axis - 1, 0)
        moved = moved.at[places].set(jnp.moveaxis(update, axis - 1, 0))
        return jnp.moveaxis(moved, 0, axis - 1)

    return jax.vmap(row)(x, update, places)


def _from_end(indices: Any, size: int) -> Any:
    if isinstance(indices, np.ndarray):
        return np.where(indices < 0, indices + size, indices)
    indices = jnp.asarray(indices)
    return jnp.where(indices < 0, indices + size, indices)


def compress(node: Node, *inputs: Any) -> Array:
    """The entries, or the slices along an axis, for which a condition holds."""
    condition = node.sizes("condition", 1, inputs)
    return jnp.take(inputs[0], np.flatnonzero(condition), node.get("axis"))


def nonzero(node: Node, *inputs: Any) -> np.ndarray:
    """The places of entries that are not zero."""
    x = node.constant(0, inputs)
    assert x is not None
    return np.asarray(np.nonzero(np.atleast_1d(x)), np.int64)


def unique(node: Node, *inputs: Any) -> tuple[np.ndarray, ...]:
    """The different entries, where each is first, and how often."""
    x, axis = node.constant(0, inputs), node.get("axis")
    assert x is not None
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = np.ravel(inverse)
    if not node.get("sorted", 1):
        order = np.argsort(first)
        values = np.take(values, order, 0 if axis is None else axis)
        first, counts = first[order], counts[order]
        inverse = np.argsort(order)[inverse]
    return values, *(v.astype(np.int64) for v in (first, inverse, counts))


def one_hot(node: Node, *inputs: Any) -> Array:
    """Two values: one at the place that an index names, one elsewhere."""
    indices, _, values = inputs
    depth = node.number(1, inputs)
    places = _from_end(to_dtype(indices, np.int64), depth)
    axis = node.get("axis", -1) % (places.ndim + 1)
    shape = (*places.shape[:axis], depth, *places.shape[axis:])
    grid = lax.broadcasted_iota(places.dtype, shape, axis)
    hit = jnp.expand_dims(places, axis) == grid
    return jnp.where(hit, jnp.asarray(values)[1], jnp.asarray(values)[0])


def arg_max(node: Node, x: Any) -> Array:
    """The place of the largest entry along an axis: of several the first, or last."""
    return _extreme_place(node, x, jnp.argmax)


def arg_min(node: Node, x: Any) -> Array:
    """The place of the smallest entry along an axis, likewise."""
    return _extreme_place(node, x, jnp.argmin)


def _extreme_place(node: Node, x: Any, find: Any) -> Array:
    axis = node.get("axis", 0)
    if node.get("select_last_index", 0):
        found = jnp.shape(x)[axis] - 1 - find(jnp.flip(x, axis), axis)
    else:
        found = find(jnp.asarray(x), axis)
    found = to_dtype(found, np.int64)
    return jnp.expand_dims(found, axis) if node.get("keepdims", 1) else found


def top_k(node: Node, *inputs: Any) -> tuple[Array, Array]:
    """The `k` largest entries along an axis, or the smallest, and their places."""
    (k,) = node.sizes("k", 1, inputs)
    x, axis = jnp.asarray(inputs[0]), node.get("axis", -1)
    rows = jnp.moveaxis(x, axis, -1)
    if jnp.issubdtype(x.dtype, jnp.unsignedinteger):
        raise OpRefusedError(
            "the largest of whole numbers without a sign", "cast them to int64 before"
        )
    sign = 1 if node.get("largest", 1) else -1
    values, places = lax.top_k(sign * rows, k)
    values, places = sign * values, to_dtype(places, np.int64)
    return jnp.moveaxis(values, -1, axis), jnp.moveaxis(places, -1, axis)


def reverse_sequence(node: Node, *inputs: Any) -> Array:
    """Each sequence of a batch turned round up to its own length."""
    x, time, batch = inputs[0], node.get("time_axis", 0), node.get("batch_axis", 1)
    lengths = jnp.asarray(inputs[1])
    x = jnp.moveaxis(jnp.asarray(x), (time, batch), (0, 1))
    step = jnp.arange(x.shape[0])[:, None]
    places = jnp.where(step < lengths, lengths - 1 - step, step)
    turned = x[places, jnp.arange(x.shape[1])[None]]
    return jnp.moveaxis(turned, (0, 1), (time, batch))


def cumulated(total: Any, neutral: int) -> Any:
    """An operation for running sums or products, from either end."""

    def run(node: Node, *inputs: Any) -> Array:
        x, axis = jnp.asarray(inputs[0]), node.number(1, inputs)
        reverse, exclusive = node.get("reverse", 0), node.get("exclusive", 0)
        x = jnp.flip(x, axis) if reverse else x
        if exclusive:
            widths = [(0, 0)] * x.ndim
            widths[axis] = (1, 0)
            x = lax.slice_in_dim(x, 0, x.shape[axis] - 1, axis=axis)
            x = jnp.pad(x, widths, constant_values=neutral)
        out = total(x, axis, dtype=x.dtype)
        return jnp.flip(out, axis) if reverse else out

    return run


INDEXING: Ops = MappingProxyType(
    {
        "Slice": slice_of,
        "Gather": gather,
        "GatherElements": gather_elements,
        "GatherND": gather_nd,
        "Scatter": scatter_elements,
        "ScatterElements": scatter_elements,
        "ScatterND": scatter_nd,
        "TensorScatter": tensor_scatter,
        "Compress": compress,
        "NonZero": nonzero,
        "Unique": unique,
        "OneHot": one_hot,
        "ArgMax": arg_max,
        "ArgMin": arg_min,
        "TopK": top_k,
        "ReverseSequence": reverse_sequence,
        "CumSum": cumulated(jnp.cumsum, 0),
        "CumProd": cumulated(jnp.cumprod, 1),
    }
)
