"""A convolution as a matrix product: the same sums."""

import itertools

import jax
import numpy as np
import pytest
from jax import lax

from ecg_jax.program.convolution import as_product, is_product
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.rules import RULES

CASES = list(itertools.product((1, 2), ("first", "last"), (1, 3), range(6)))


def convolution(dims: int, features: str, groups: int, seed: int):
    """A random one: integers, any stride, dilation, padding, with empty results."""
    rng = np.random.default_rng([dims, groups, seed])
    parts, filters = rng.integers(1, 4, 2)
    x = rng.integers(-4, 5, (2, groups * parts, *rng.integers(1, 12, dims)))
    kernel = rng.integers(-4, 5, (groups * filters, parts, *rng.integers(1, 5, dims)))
    space = "HW"[:dims]
    spec = "NC" + space, "OI" + space, "NC" + space
    if features == "last":
        x, kernel = np.moveaxis(x, 1, -1), np.moveaxis(kernel, (0, 1), (-1, -2))
        spec = "N" + space + "C", space + "IO", "N" + space + "C"
    return (
        dict(
            window_strides=tuple(rng.integers(1, 4, dims).tolist()),
            padding=[tuple(p) for p in rng.integers(-1, 4, (dims, 2)).tolist()],
            rhs_dilation=tuple(rng.integers(1, 3, dims).tolist()),
            dimension_numbers=spec,
            feature_group_count=groups,
        ),
        x.astype(float),
        kernel.astype(float),
    )


@pytest.mark.parametrize("case", CASES)
def test_the_product_is_the_convolution(case):
    params, x, kernel = convolution(*case)
    with jax.enable_x64(True):
        body = jax.make_jaxpr(lambda *z: lax.conv_general_dilated(*z, **params))
        params = body(x, kernel).eqns[0].params
        assert is_product(params)
        want = lax.conv_general_dilated_p.bind(*map(np.asarray, (x, kernel)), **params)
        got = as_product(params, x, kernel)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_widened_convolution_is_the_same(transposed):
    kernel = np.float32([[[1, -2, 4]], [[0, 3, -1]]])
    dilation = (2,) if transposed else (1,)

    def fn(x):
        shape = x[None, None], kernel.astype(x.dtype), (1,), [(1, 1)], dilation
        return jax.nn.relu(lax.conv_general_dilated(*shape)).sum()

    x = np.arange(-4, 5, dtype=np.float32)
    wide = widen(trace(fn, x, RULES))
    names = {str(eqn.primitive) for eqn in wide.equations}
    assert ("conv_general_dilated" in names) is transposed
    with jax.enable_x64(True):
        assert wide.evaluate(x.astype(float)) == fn(x.astype(float))
