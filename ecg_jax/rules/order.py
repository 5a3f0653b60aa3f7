"""Sorted values: differences of sums of the largest.

`S_j(z)`, the sum of the `j` largest entries, is the maximum of all sums of `j` entries
and so convex. The `j`-th largest entry is `S_j - S_(j-1)`: a difference of convex
functions, whose values stay those of the sort itself, for a sum may be so large that
nothing of an entry is left in it. Sort, top-k, median and quantiles follow.
"""

from types import MappingProxyType

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ecg_jax.program.gates import Gate, Split
from ecg_jax.program.roles import Application, Refused, Rewrite, Role, Rules


def sort(application: Application) -> Role:
    """The entries along an axis, ascending: each unit `S_j - S_(j-1)`.

    The pattern of a unit says of each entry whether it is the unit itself (1), larger
    (2) or smaller (0) in the order at the anchor; it takes `n^2` numbers for `n`.
    """
    if len(application.inputs) > 1:
        return Refused(
            "sorting one value by another is discontinuous in the input",
            "sort the values themselves, jnp.sort(z)",
        )
    primitive, params = application.primitive, application.params
    axis = params["dimension"]
    unit = application.avals[0].ndim  # the axis of entries, after those of the units

    def entries(z: Array) -> Array:
        """Every entry of its row, for each unit."""
        return jnp.expand_dims(jnp.moveaxis(z, axis, -1), axis)

    def pattern(z: Array) -> Array:
        order = jnp.argsort(z, axis=axis, stable=True)
        rank = entries(jnp.argsort(order, axis=axis, stable=True))
        place = lax.broadcasted_iota(rank.dtype, (*z.shape, z.shape[axis]), axis)
        return (jnp.sign(rank - place) + 1).astype(jnp.int8)

    def tangent(p: Array, z: Array) -> Array:
        return jnp.sum(jnp.where(p == 1, entries(z), 0), axis=unit)

    def above(p: Array, q: Array, z: Array) -> Array:
        """What the sums of the entries above differ by, the common ones left out."""
        more = (p == 2).astype(z.dtype) - (q == 2).astype(z.dtype)
        return jnp.sum(more * entries(z), axis=unit)

    def moves(p: Array, q: Array, e: Array) -> Array:
        return jnp.sum(jnp.where((p == 2) != (q == 2), entries(e), 0), axis=unit)

    def size(p: Array, z: Array) -> Array:
        return moves(p, pattern(z), jnp.abs(z))

    def total(z: Array) -> Array:
        return jnp.flip(jnp.cumsum(jnp.flip(lax.sort(z, axis), axis), axis), axis)

    def value(z: Array) -> Array:
        return total(z) - lax.sort(z, axis)

    def gap(p: Array, z: Array) -> Array:
        return above(pattern(z), p, z)

    return Gate(
        name="sort",
        operands=(0,),
        curvature=1,
        apply=lambda z: primitive.bind(z, **params)[0],
        pattern=pattern,
        tangent=tangent,
        spread=lambda mask, leaf: mask[..., None],
        split=Split(gap=gap, shift=above, value=value, size=size, moves=moves),
        lipschitz=1.0,
        errors="largest",
    )


def top_k(application: Application) -> Role:
    """The `k` largest, descending; their indices are refused where they are used."""
    k = application.params["k"]
    axis = application.params.get("axis", application.avals[0].ndim - 1)

    def values_and_indices(z: Array) -> tuple[Array, Array]:
        largest = jnp.flip(lax.sort(z, axis), axis)
        values = lax.slice_in_dim(largest, 0, k, axis=axis)
        order = lax.broadcasted_iota(jnp.int32, z.shape, axis)
        indices = lax.sort((-z, order), dimension=axis, num_keys=1)[1]
        return values, lax.slice_in_dim(indices, 0, k, axis=axis)

    return Rewrite(values_and_indices)


ORDER_RULES: Rules = MappingProxyType({lax.sort_p: sort, lax.top_k_p: top_k})
