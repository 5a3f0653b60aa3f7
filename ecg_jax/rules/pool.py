"""Gates over several values: the largest along axes, in windows, up to a point.

`max_i z_i` is convex with the winner's selector as subgradient. The pattern is the
position of the winner, the first one at a tie; the tangent reads that position.
"""

from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Application, Refused, Role, Rules, Same


def reduce_max(application: Application) -> Role:
    """`max_i z_i` over axes: convex."""
    return _reduction(application, +1)


def reduce_min(application: Application) -> Role:
    """`min_i z_i` over axes: concave."""
    return _reduction(application, -1)


def _reduction(application: Application, sign: int) -> Role:
    axes = tuple(application.params["axes"])
    if not axes:
        return Same(0)
    if not application.avals[0].size:
        return Refused("the largest of no entries is infinite")
    kept = tuple(i for i in range(application.avals[0].ndim) if i not in axes)

    def rows(z: Array) -> Array:
        moved = jnp.transpose(z, kept + axes)
        return moved.reshape(*moved.shape[: len(kept)], -1)

    def winner(z: Array) -> Array:
        return (jnp.argmax if sign > 0 else jnp.argmin)(rows(z), axis=-1)

    return Gate(
        name="reduce_max" if sign > 0 else "reduce_min",
        operands=(0,),
        curvature=sign,
        apply=lambda z: (jnp.max if sign > 0 else jnp.min)(z, axis=axes),
        pattern=lambda z: winner(z).astype(np.int32),
        tangent=lambda p, z: jnp.take_along_axis(rows(z), p[..., None], axis=-1)[
            ..., 0
        ],
        fill=0,
        straight=True,
        pieces=lambda z: jnp.moveaxis(rows(z), -1, 0),
    )


def window_max(application: Application) -> Role:
    """Max-pool: `max` over each window, strided, padded, dilated, overlapping."""
    return _window(application, +1)


def window_min(application: Application) -> Role:
    """Min-pool: concave."""
    return _window(application, -1)


def _window(application: Application, sign: int) -> Role:
    params, z = application.params, application.avals[0]
    if _has_empty_window(params, z.shape):
        return Refused(
            "a window lies in the padding alone, its value is infinite",
            "pad less, or use larger windows",
        )
    offsets = list(np.ndindex(*params["window_dimensions"]))

    def views(z: Array, fill: float) -> Any:
        """For each position in the window, the entries found there."""
        config = [
            (low, high, base - 1)
            for (low, high), base in zip(
                params["padding"], params["base_dilation"], strict=True
            )
        ]
        padded = lax.pad(z, jnp.asarray(fill, z.dtype), config)
        for offset in offsets:
            yield _strided(padded, offset, params)

    def pattern(z: Array) -> Array:
        first, *rest = views(sign * z, -np.inf)
        best, winner = first, jnp.zeros(first.shape, np.int32)
        for j, view in enumerate(rest, start=1):
            winner = jnp.where(view > best, jnp.int32(j), winner)
            best = jnp.maximum(best, view)
        return winner

    def tangent(p: Array, z: Array) -> Array:
        first, *rest = views(z, 0.0)
        out = first
        for j, view in enumerate(rest, start=1):
            out = jnp.where(p == j, view, out)
        return out

    primitive = application.primitive
    return Gate(
        name="max_pool" if sign > 0 else "min_pool",
        operands=(0,),
        curvature=sign,
        apply=lambda z: primitive.bind(z, **params),
        pattern=pattern,
        tangent=tangent,
        fill=0,
        straight=True,
        pieces=lambda z: jnp.stack(list(views(z, -sign * np.inf))),
    )


def _strided(padded: Array, offset: tuple[int, ...], params: dict[str, Any]) -> Array:
    """The entries of a padded array at one position of every window."""
    start, limit = [], []
    for size, where, window, stride, dilation in zip(
        padded.shape,
        offset,
        params["window_dimensions"],
        params["window_strides"],
        params["window_dilation"],
        strict=True,
    ):
        count = (size - (window - 1) * dilation - 1) // stride + 1
        start.append(where * dilation)
        limit.append(where * dilation + (count - 1) * stride + 1)
    return lax.slice(padded, start, limit, params["window_strides"])


def _has_empty_window(params: dict[str, Any], shape: tuple[int, ...]) -> bool:
    """Whether some window sees only padding, or only holes, along some axis."""
    for axis, size in enumerate(shape):
        low, high = params["padding"][axis]
        base = params["base_dilation"][axis]
        real = np.zeros(low + high + (size - 1) * base + 1, bool)
        real[low : low + (size - 1) * base + 1 : base] = True
        reach = np.arange(params["window_dimensions"][axis])
        reach = reach * params["window_dilation"][axis]
        starts = np.arange(
            0, len(real) - reach[-1], params["window_strides"][axis], dtype=int
        )
        if not real[starts[:, None] + reach].any(axis=1).all():
            return True
    return False


def running_max(application: Application) -> Role:
    """`cummax`: each entry the largest so far; the winner's position is kept."""
    return _running(application, +1)


def running_min(application: Application) -> Role:
    """`cummin`: each entry the smallest so far."""
    return _running(application, -1)


def _running(application: Application, sign: int) -> Role:
    axis, reverse = application.params["axis"], application.params["reverse"]
    size = application.avals[0].shape[axis]
    primitive, params = application.primitive, application.params

    def pattern(z: Array) -> Array:
        """The first position that attains the running value, by index of its record."""
        best = primitive.bind(z, **params)
        order = np.arange(size)[:: -1 if reverse else 1]
        shape = [1] * z.ndim
        shape[axis] = size
        rank = jnp.asarray(np.argsort(order).reshape(shape), np.int32)
        before = jnp.roll(best, -1 if reverse else 1, axis)
        new = jnp.where(rank == 0, True, sign * z > sign * before)
        record = lax.cummax(jnp.where(new, rank, jnp.int32(-1)), axis, reverse)
        return size - 1 - record if reverse else record

    def pieces(z: Array) -> Array:
        """For each entry those up to it; the later ones never win."""
        seen = np.triu(np.ones((size, size), bool))
        shape = [1] * z.ndim
        shape[axis] = size
        seen = (seen.T if reverse else seen).reshape(size, *shape)
        entries = jnp.expand_dims(jnp.moveaxis(z, axis, 0), axis + 1)
        return jnp.where(seen, entries, jnp.asarray(-sign * np.inf, z.dtype))

    return Gate(
        name="cummax" if sign > 0 else "cummin",
        operands=(0,),
        curvature=sign,
        apply=lambda z: primitive.bind(z, **params),
        pattern=pattern,
        tangent=lambda p, z: jnp.take_along_axis(z, p, axis=axis),
        fill=0,
        straight=True,
        pieces=pieces,
    )


POOL_RULES: Rules = MappingProxyType(
    {
        lax.reduce_max_p: reduce_max,
        lax.reduce_min_p: reduce_min,
        lax.reduce_window_max_p: window_max,
        lax.reduce_window_min_p: window_min,
        lax.cummax_p: running_max,
        lax.cummin_p: running_min,
    }
)
