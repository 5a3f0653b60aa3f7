"""Shapes: what only moves entries about, or speaks of their number."""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import CHECK, Node, OpRefusedError, Ops, to_dtype


def constant(node: Node) -> np.ndarray:
    """The value that the node holds."""
    for name, value in node.attributes.items():
        if name in ("value", "sparse_value"):
            return value
        if name in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if name in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        if name in ("value_string", "value_strings"):
            return np.asarray(value, object)
    raise OpRefusedError("the node is malformed: it holds no value", CHECK)


def shape_of(node: Node, x: Any) -> np.ndarray:
    """The shape, or a part of it."""
    shape = np.asarray(np.shape(x), np.int64)
    return shape[node.get("start", 0) : node.get("end")]


def size_of(node: Node, x: Any) -> np.ndarray:
    """The number of entries."""
    return np.asarray(np.size(x), np.int64)


def reshape(node: Node, *inputs: Any) -> Array | np.ndarray:
    """Another shape; 0 keeps a size, -1 takes what is left."""
    x, sizes = inputs[0], node.sizes("shape", 1, inputs)
    if not node.get("allowzero", 0):
        sizes = tuple(np.shape(x)[i] if n == 0 else n for i, n in enumerate(sizes))
    try:
        return jnp.reshape(x, sizes)
    except (TypeError, ValueError) as error:
        raise OpRefusedError(
            f"{list(np.shape(x))} has other entries than {list(sizes)}; is a size of "
            "the batch written into the file?",
            "export with a batch of 1, or x.size(0) in place of the number",
        ) from error


def flatten(node: Node, x: Any) -> Array | np.ndarray:
    """Two axes: those before `axis` and those from it on."""
    axis = node.get("axis", 1)
    shape = np.shape(x)
    rows = int(np.prod(shape[: axis if axis >= 0 else axis + len(shape)]))
    return jnp.reshape(x, (rows, np.size(x) // rows if rows else 0))


def squeeze(node: Node, *inputs: Any) -> Array:
    """Without axes of length 1: those named, or all."""
    return jnp.squeeze(inputs[0], node.listed("axes", 1, inputs))


def unsqueeze(node: Node, *inputs: Any) -> Array:
    """With further axes of length 1."""
    return jnp.expand_dims(inputs[0], node.sizes("axes", 1, inputs))


def transpose(node: Node, x: Any) -> Array:
    """Axes in another order, by default the opposite one."""
    return jnp.transpose(x, node.get("perm"))


def expand(node: Node, *inputs: Any) -> Array:
    """Repeated along axes of length 1, in both directions."""
    sizes = jnp.broadcast_shapes(np.shape(inputs[0]), node.sizes("shape", 1, inputs))
    return jnp.broadcast_to(inputs[0], sizes)


def tile(node: Node, *inputs: Any) -> Array:
    """Repeated as often as is said for each axis."""
    return jnp.tile(inputs[0], node.sizes("repeats", 1, inputs))


def concat(node: Node, *inputs: Any) -> Array:
    """One after the other along an axis."""
    return jnp.concatenate([jnp.asarray(x) for x in inputs], node.get("axis", 1))


def split(node: Node, *inputs: Any) -> tuple[Array, ...]:
    """Parts along an axis: of given sizes, or as equal as can be."""
    x, axis = inputs[0], node.get("axis", 0)
    sizes = node.listed("split", 1, inputs)
    if sizes is None:
        num = node.get("num_outputs", len(node.outputs))
        whole = np.shape(x)[axis]
        each = -(-whole // num)
        sizes = [each] * (num - 1) + [whole - each * (num - 1)]
    return tuple(jnp.split(x, np.cumsum(sizes)[:-1].tolist(), axis))


def constant_of_shape(node: Node, *inputs: Any) -> Array:
    """One value everywhere, by default zero."""
    sizes = node.listed("shape", 0, inputs)
    value = np.ravel(node.get("value", np.zeros(1, np.float32)))[0]
    return jnp.full(sizes or (), value)


def arange(node: Node, *inputs: Any) -> Array:
    """Numbers from a start, in steps, up to a limit that is left out."""
    given = [node.constant(i, inputs) for i in range(3)]
    start, limit, step = (np.ravel(v)[0] for v in given if v is not None)
    return jnp.asarray(np.arange(start, limit, step))


def eye_like(node: Node, x: Any) -> Array:
    """Ones on a diagonal."""
    dtype = node.get("dtype", jnp.result_type(x))
    return to_dtype(np.eye(*np.shape(x), k=node.get("k", 0)), dtype)


def depth_to_space(node: Node, x: Any) -> Array:
    """Channels to positions, in blocks."""
    n, c, h, w = np.shape(x)
    b = node.get("blocksize")
    depth = c // b**2
    if node.get("mode", "DCR") == "DCR":
        parts = jnp.reshape(x, (n, b, b, depth, h, w)).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = jnp.reshape(x, (n, depth, b, b, h, w)).transpose(0, 1, 4, 2, 5, 3)
    return jnp.reshape(parts, (n, depth, h * b, w * b))


def space_to_depth(node: Node, x: Any) -> Array:
    """Positions to channels, in blocks."""
    n, c, h, w = np.shape(x)
    b = node.get("blocksize")
    parts = jnp.reshape(x, (n, c, h // b, b, w // b, b))
    order = (
        (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    )
    return jnp.reshape(parts.transpose(order), (n, c * b * b, h // b, w // b))


def pad(node: Node, *inputs: Any) -> Array:
    """Entries around: a constant, the edge's, mirrored, or taken from the other end."""
    x, pads = inputs[0], node.sizes("pads", 1, inputs)
    given = node.constant(3, inputs)
    axes = range(np.ndim(x)) if given is None else [int(a) for a in given]
    widths = [(0, 0)] * np.ndim(x)
    for place, axis in enumerate(axes):
        widths[axis] = pads[place], pads[place + len(axes)]
    cut = [(max(-low, 0), max(-high, 0)) for low, high in widths]
    more = [(max(low, 0), max(high, 0)) for low, high in widths]
    inner = tuple(
        slice(low, size - high)
        for (low, high), size in zip(cut, np.shape(x), strict=True)
    )
    x, mode = jnp.asarray(x)[inner], node.get("mode", "constant")
    if mode != "constant":
        return jnp.pad(x, more, mode)
    value = inputs[2] if len(inputs) > 2 else None
    value = node.get("value", 0) if value is None else value
    return jnp.pad(
        x, more, constant_values=jnp.reshape(jnp.asarray(value, x.dtype), ())
    )


def trilu(node: Node, *inputs: Any) -> Array:
    """The upper or the lower triangle; zero elsewhere."""
    take = jnp.triu if node.get("upper", 1) else jnp.tril
    return take(jnp.asarray(inputs[0]), node.number(1, inputs, 0))


SHAPES: Ops = MappingProxyType(
    {
        "Constant": constant,
        "Shape": shape_of,
        "Size": size_of,
        "Reshape": reshape,
        "Flatten": flatten,
        "Squeeze": squeeze,
        "Unsqueeze": unsqueeze,
        "Transpose": transpose,
        "Expand": expand,
        "Tile": tile,
        "Concat": concat,
        "Split": split,
        "ConstantOfShape": constant_of_shape,
        "Range": arange,
        "EyeLike": eye_like,
        "DepthToSpace": depth_to_space,
        "SpaceToDepth": space_to_depth,
        "Pad": pad,
        "Trilu": trilu,
    }
)

BY_SHAPE = frozenset({"Shape", "Size", "EyeLike"})
"""Operations that look at the shape of their input only, so they are always known."""
