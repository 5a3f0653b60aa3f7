"""Windows that slide over the last axes: sizes, steps and padding."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_jax.networks.onnx_ops.node import Node


@dataclass(frozen=True)
class Windows:
    """How windows lie on the spatial axes of `[batch, channel, *spatial]`.

    Attributes:
      sizes: entries of a window along each axis.
      strides: steps between windows.
      dilations: steps between the entries of a window.
      pads: `(before, after)` for each axis, as the node says.
      counts: windows along each axis.
      shape: sizes of the spatial axes themselves.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def reaches(self) -> tuple[int, ...]:
        """How many entries lie between a window's ends, both counted."""
        return tuple(
            (k - 1) * d + 1 for k, d in zip(self.sizes, self.dilations, strict=True)
        )

    @property
    def exact_pads(self) -> tuple[tuple[int, int], ...]:
        """Padding with which exactly `counts` windows fit; below 0 entries go."""
        return tuple(
            (before, (count - 1) * stride + reach - size - before)
            for (before, _), count, stride, reach, size in zip(
                self.pads,
                self.counts,
                self.strides,
                self.reaches,
                self.shape,
                strict=True,
            )
        )

    def entries(self, padded: bool) -> np.ndarray:
        """How many entries each window holds: with the node's padding, or without."""
        total = np.ones((), int)
        for axis, count in enumerate(self.counts):
            starts = np.arange(count) * self.strides[axis] - self.pads[axis][0]
            steps = np.arange(self.sizes[axis]) * self.dilations[axis]
            places = starts[:, None] + steps
            low, high = self.pads[axis] if padded else (0, 0)
            inside = (places >= -low) & (places < self.shape[axis] + high)
            total = np.multiply.outer(total, inside.sum(1))
        return total


def windows(node: Node, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Windows:
    """The windows of a convolution or a pool.

    Args:
      node: its attributes `strides`, `dilations`, `pads`, `auto_pad`, `ceil_mode`.
      shape: sizes of the spatial axes.
      kernel: entries of a window along each axis.
    """
    ndim = len(shape)
    strides = tuple(node.get("strides") or (1,) * ndim)
    dilations = tuple(node.get("dilations") or (1,) * ndim)
    flat = node.get("pads") or (0,) * 2 * ndim
    auto = node.get("auto_pad", "NOTSET")
    pads, counts = [], []
    for axis, size in enumerate(shape):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        before, after = flat[axis], flat[axis + ndim]
        if auto == "VALID":
            before = after = 0
        elif auto.startswith("SAME"):
            count = -(-size // strides[axis])
            total = max((count - 1) * strides[axis] + reach - size, 0)
            less = total // 2
            before = less if auto == "SAME_UPPER" else total - less
            after = total - before
        pads.append((before, after))
        counts.append(_count(node, size, before, after, reach, strides[axis]))
    return Windows(kernel, strides, dilations, tuple(pads), tuple(counts), shape)


def _count(
    node: Node, size: int, before: int, after: int, reach: int, stride: int
) -> int:
    """A last window that is not full counts in `ceil_mode`, if it starts inside."""
    free = size + before + after - reach
    if not node.get("ceil_mode", 0):
        return free // stride + 1
    count = -(-free // stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def spatial(x: Any) -> tuple[int, ...]:
    """Sizes of the axes after those of the batch and the channels."""
    return tuple(np.shape(x)[2:])
