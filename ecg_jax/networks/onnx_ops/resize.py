"""Other sampling along axes: every new entry a weighted sum of old ones."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import CHECK, Node, OpRefusedError, Ops


def resize(node: Node, *inputs: Any) -> Array:
    """`X` at other positions: nearest, linear or cubic, axis by axis."""
    if node.version < 11:
        return upsample(node, *inputs)
    x = inputs[0]
    roi, scales, sizes = (node.constant(i, inputs) for i in (1, 2, 3))
    axes = [axis % np.ndim(x) for axis in node.get("axes") or range(np.ndim(x))]
    old = np.asarray([np.shape(x)[axis] for axis in axes])
    if sizes is not None and sizes.size:
        new = np.asarray(sizes, int)
        scale = new / old
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            one = scale.min() if policy == "not_larger" else scale.max()
            scale = np.full(len(axes), one)
            new = np.floor(one * old + 0.5).astype(int)
    else:
        assert scales is not None
        scale = np.asarray(scales, np.float64)
        new = np.floor(old * scale).astype(int)
    regions = np.asarray([0.0] * len(axes) + [1.0] * len(axes)) if roi is None else roi
    for i, axis in enumerate(axes):
        ends = regions[[i, i + len(axes)]] if len(regions) else (0.0, 1.0)
        crop = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
        if new[i] != old[i] or scale[i] != 1 or (crop and tuple(ends) != (0, 1)):
            x = _along(node, x, axis, int(new[i]), float(scale[i]), ends)
    return jnp.asarray(x)


def upsample(node: Node, *inputs: Any) -> Array:
    """Larger by whole or other factors, as before opset 11."""
    scales = node.constant(1, inputs)
    scales = np.ravel(node.get("scales") if scales is None else scales)
    settings = {
        "mode": node.get("mode", "nearest"),
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    old = Node(node.op, 11, {**node.attributes, **settings})
    x = inputs[0]
    for axis, scale in enumerate(scales):
        new = int(np.floor(np.shape(x)[axis] * scale))
        if scale != 1:
            x = _along(old, x, axis, new, float(scale), (0.0, 1.0))
    return jnp.asarray(x)


def _along(node: Node, x: Any, axis: int, new: int, scale: float, region: Any) -> Array:
    x, old = jnp.asarray(x), np.shape(x)[axis]
    places = _places(node, old, new, scale, region)
    outside = (places < 0) | (places > old - 1)
    crop = node.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        out = jnp.take(x, _nearest(node, places, old), axis)
    else:
        matrix = jnp.asarray(_weights(node, places, old, scale, mode), x.dtype)
        out = jnp.moveaxis(jnp.tensordot(x, matrix, (axis, 1)), -1, axis)
    if not crop or not outside.any():
        return out
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    value = jnp.asarray(node.get("extrapolation_value", 0.0), x.dtype)
    return jnp.where(outside.reshape(shape), value, out)


def _places(node: Node, old: int, new: int, scale: float, region: Any) -> np.ndarray:
    """Where each new entry lies among the old ones."""
    i = np.arange(new, dtype=np.float64)
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    start, end = region
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if mode == "half_pixel_symmetric":
        adjust = new / (scale * old)
        return old / 2 * (1 - adjust) + (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if new > 1 else np.zeros(new)
    if mode == "align_corners":
        length = scale * old
        return i * (old - 1) / (length - 1) if length != 1 else np.zeros(new)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "tf_crop_and_resize":
        if new == 1:
            return np.full(1, 0.5 * (start + end) * (old - 1))
        return start * (old - 1) + i * (end - start) * (old - 1) / (new - 1)
    raise OpRefusedError(
        f"the node is malformed: coordinate_transformation_mode {mode!r}", CHECK
    )


def _nearest(node: Node, places: np.ndarray, old: int) -> np.ndarray:
    mode = node.get("nearest_mode", "round_prefer_floor")
    ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return np.clip(ways[mode](places), 0, old - 1).astype(int)


def _weights(
    node: Node, places: np.ndarray, old: int, scale: float, mode: str
) -> np.ndarray:
    """`[new, old]`: each row sums to 1; beyond the ends the last entry goes on."""
    narrow = min(scale, 1.0) if node.get("antialias", 0) else 1.0
    radius, kernel = (1, _triangle) if mode == "linear" else (2, _cubic(node))
    reach = int(np.ceil(radius / narrow)) + 1
    first = np.floor(places).astype(int)
    near = first[:, None] + np.arange(-reach, reach + 1)
    weights = kernel((places[:, None] - near) * narrow)
    inside = (near >= 0) & (near < old)
    if node.get("exclude_outside", 0):
        weights = np.where(inside, weights, 0)
    weights = weights / weights.sum(1, keepdims=True)
    matrix = np.zeros((len(places), old))
    rows = np.broadcast_to(np.arange(len(places))[:, None], near.shape)
    np.add.at(matrix, (rows, np.clip(near, 0, old - 1)), weights)
    return matrix


def _triangle(d: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(d), 0)


def _cubic(node: Node) -> Callable[[np.ndarray], np.ndarray]:
    """Keys' convolution kernel (IEEE ASSP 29, 1981)."""
    a = node.get("cubic_coeff_a", -0.75)

    def kernel(d: np.ndarray) -> np.ndarray:
        d = np.abs(d)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * (d**3 - 5 * d**2 + 8 * d - 4)
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    return kernel


RESIZE: Ops = MappingProxyType({"Resize": resize, "Upsample": upsample})
