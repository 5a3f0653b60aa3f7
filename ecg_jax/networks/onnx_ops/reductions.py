"""Sums, means, norms and extremes along axes."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Op, Ops


def reduced(fn: Callable[..., Array]) -> Op:
    """An operation from `fn(x, axes, keepdims)`; the axes are an attribute or an input.

    No axes mean all of them, or with `noop_with_empty_axes` none: then only what the
    operation does to single entries is done.
    """

    def run(node: Node, *inputs: Any) -> Array:
        x = jnp.asarray(inputs[0])
        axes = node.listed("axes", 1, inputs)
        if not axes:
            axes = () if node.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
        axes = tuple(axis % x.ndim for axis in axes)
        return fn(x, axes, bool(node.get("keepdims", 1)))

    return run


def extreme(find: Callable[..., Array], sign: int) -> Callable[..., Array]:
    """The largest or the smallest, or of nothing what any entry would beat."""

    def run(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        if all(x.shape[axis] for axis in axes):
            return find(x, axes, keepdims=keepdims)
        if jnp.issubdtype(x.dtype, jnp.floating):
            initial: Any = -sign * np.inf
        elif x.dtype == bool:
            initial = sign < 0
        else:
            limits = jnp.iinfo(x.dtype)
            initial = limits.min if sign > 0 else limits.max
        return find(x, axes, keepdims=keepdims, initial=initial)

    return run


def _sum(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return jnp.sum(x, axes, dtype=x.dtype, keepdims=keepdims)


def _product(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return jnp.prod(x, axes, dtype=x.dtype, keepdims=keepdims)


def _mean(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.mean(x, axes, keepdims=keepdims)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return lax.div(_sum(x, axes, keepdims), jnp.asarray(count, x.dtype))


def _log_sum_exp(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    return jax.nn.logsumexp(x, axis=axes, keepdims=keepdims) if axes else x


REDUCTIONS: Ops = MappingProxyType(
    {
        "ReduceSum": reduced(_sum),
        "ReduceMean": reduced(_mean),
        "ReduceProd": reduced(_product),
        "ReduceMax": reduced(extreme(jnp.max, +1)),
        "ReduceMin": reduced(extreme(jnp.min, -1)),
        "ReduceL1": reduced(lambda x, *to: _sum(jnp.abs(x), *to)),
        "ReduceL2": reduced(lambda x, *to: jnp.sqrt(_sum(lax.square(x), *to))),
        "ReduceSumSquare": reduced(lambda x, *to: _sum(lax.square(x), *to)),
        "ReduceLogSum": reduced(lambda x, *to: jnp.log(_sum(x, *to))),
        "ReduceLogSumExp": reduced(_log_sum_exp),
    }
)
