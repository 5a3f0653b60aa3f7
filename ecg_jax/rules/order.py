"""Sorted values: differences of sums of the largest.

`S_j(z)`, the sum of the `j` largest entries, is the maximum of all sums of `j` entries
and so convex; the pattern of unit `j` is the set of its winners. The `j`-th largest
entry is `S_j - S_(j-1)`. Sort, top-k, median and quantiles follow.
"""

from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from ecg_jax.maxmin import Gate
from ecg_jax.program import Application, Refused, Rewrite, Role, Rules


@jax.jit
def sums_of_largest(z: Array) -> Array:
    """`S_1 ... S_n` along the last axis; a named call, so that traces keep it."""
    return jnp.cumsum(-jnp.sort(-z, axis=-1), axis=-1)


def sums(application: Application) -> Role:
    """`S_j = max over sets of j entries of their sum`: convex, one unit for each j.

    A pattern takes `n^2` bits for `n` entries.
    """

    def winners(z: Array) -> Array:
        order = jnp.argsort(-z, axis=-1, stable=True)
        rank = jnp.argsort(order, axis=-1, stable=True)
        return rank[..., None, :] <= lax.broadcasted_iota(
            rank.dtype, (*rank.shape[:-1], z.shape[-1], 1), rank.ndim - 1
        )

    return Gate(
        name="sums_of_largest",
        operands=(0,),
        curvature=1,
        apply=sums_of_largest,
        pattern=winners,
        tangent=lambda p, z: jnp.sum(jnp.where(p, z[..., None, :], 0), axis=-1),
        spread=lambda mask, leaf: mask[..., None],
    )


def sort(application: Application) -> Role:
    """`z_(j) = S_j - S_(j-1)`, ascending."""
    if len(application.inputs) > 1:
        return Refused(
            "sorting one value by another is discontinuous in the input",
            "sort the values themselves, jnp.sort(z)",
        )
    axis = application.params["dimension"]
    return Rewrite(lambda z: jnp.flip(_descending(z, axis), axis))


def top_k(application: Application) -> Role:
    """The `k` largest, descending; their indices are refused where they are used."""
    k = application.params["k"]
    axis = application.params.get("axis", application.avals[0].ndim - 1)

    def values_and_indices(z: Array) -> tuple[Array, Array]:
        values = lax.slice_in_dim(_descending(z, axis), 0, k, axis=axis)
        order = lax.broadcasted_iota(jnp.int32, z.shape, axis)
        indices = lax.sort((-z, order), dimension=axis, num_keys=1)[1]
        return values, lax.slice_in_dim(indices, 0, k, axis=axis)

    return Rewrite(values_and_indices)


def _descending(z: Array, axis: int) -> Array:
    total = sums_of_largest(jnp.moveaxis(z, axis, -1))
    others = total[..., 1:] - total[..., :-1]
    return jnp.moveaxis(jnp.concatenate([total[..., :1], others], -1), -1, axis)


ORDER_RULES: Rules = MappingProxyType(
    {lax.sort_p: sort, lax.top_k_p: top_k, sums_of_largest: sums}
)
