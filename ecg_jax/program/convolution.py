"""A convolution as a matrix product.

    out[n, o, s] = sum_(i, k) kernel[o, i, k] x[n, i, stride s + dilation k]

XLA multiplies float64 matrices on a CPU as fast as it may, but its convolutions in
float64 are some thirty times slower than these products.
"""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array


def is_product(params: dict[str, Any]) -> bool:
    """Whether `as_product` knows it: not transposed, without groups of batches."""
    return params["batch_group_count"] == 1 and all(
        step == 1 for step in params["lhs_dilation"]
    )


def as_product(
    params: dict[str, Any], x: Array | np.ndarray, kernel: Array | np.ndarray
) -> Array:
    """`conv_general_dilated` with these parameters, as one product a feature group.

    Args:
      params: of the primitive; see `is_product`.
      x: the left operand.
      kernel: the right operand.

    Returns:
      The same sums, added up in another order.
    """
    numbers = params["dimension_numbers"]
    x = jnp.transpose(x, numbers.lhs_spec)
    kernel = jnp.transpose(kernel, numbers.rhs_spec)
    x = lax.pad(x, jnp.zeros((), x.dtype), _margins(params["padding"]))
    steps, apart = params["window_strides"], params["rhs_dilation"]
    size, reach = np.array(x.shape[2:]), np.array(kernel.shape[2:])
    count = np.maximum((size - np.multiply(apart, reach - 1) - 1) // steps + 1, 0)
    span = np.where(count > 0, (count - 1) * steps + 1, 0)
    columns = []
    for tap in itertools.product(*map(range, reach)):
        first = np.minimum(np.multiply(tap, apart), size - span)
        ends = (0, 0, *first), (*x.shape[:2], *(first + span))
        columns.append(lax.slice(x, *ends, (1, 1, *steps)))
    groups = params["feature_group_count"]
    depth = kernel[0].size
    rows = jnp.stack(columns, axis=2).reshape(len(x), groups, depth, *count)
    weights = kernel.reshape(groups, len(kernel) // groups, depth)
    out = lax.dot_general(weights, rows, (((2,), (2,)), ((0,), (1,))))
    out = jnp.moveaxis(out, 2, 0).reshape(len(x), len(kernel), *count)
    return jnp.transpose(out, np.argsort(numbers.out_spec).tolist())


def _margins(padding: Any) -> list[tuple[int, int, int]]:
    """What `lax.pad` takes: nothing beside batch and feature."""
    return [(0, 0, 0), (0, 0, 0), *((low, high, 0) for low, high in padding)]
