"""Inputs of another form: one message, whichever verb is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import function, quarters

import ecg_jax as ej
from ecg_jax.checks import check_arrays
from ecg_jax.errors import ExampleError

DATA = quarters(1, 40)


class DataFrame:
    """As pandas has it: a shape and columns, and no array."""

    shape, columns = (40, 6), ["I"]


NO_ARRAYS = {
    "a DataFrame": DataFrame(),
    "a str": "beats",
    "a masked array": np.ma.masked_array(DATA, DATA > 1),
    "an array of dtype object": DATA.astype(object),
    "an array of dtype <U32": DATA.astype(str),
    "an array of dtype datetime64[s]": np.zeros((40, 6), "datetime64[s]"),
}


@pytest.fixture(scope="module")
def tree():
    return ej.grow(function("mlp"), DATA, depth=1, budget=1, min_count=5)


def verbs(tree):
    """Everything that takes data, and everything that takes one example."""
    many = {
        "decide": tree.decide,
        "certificate": tree.certificate,
        "values": tree.values,
        "grow": lambda data: ej.grow(function("mlp"), data),
    }
    one = {
        "tree": tree,
        "bounds": tree.bounds,
        "vector": tree.vector,
        "equation": tree.eq,
        "pattern": tree.eq.pattern,
        "component": tree.component(tree.nodes[1].name),
    }
    return many, one


def message(verb, x):
    with pytest.raises(ExampleError) as error:
        verb(x)
    return str(error.value)


@pytest.mark.parametrize("found", NO_ARRAYS)
def test_what_is_no_array_of_numbers(found, tree):
    many, one = verbs(tree)
    for name, verb in (many | one).items():
        assert message(verb, NO_ARRAYS[found]) == (
            f"the input holds {found}, not an array of numbers.\n"
            "  try: np.asarray(x, np.float32), with what is missing left out"
        ), name


def test_arrays_of_numbers():
    check_arrays(
        [np.ones(3, np.int8), jnp.ones(2, jnp.bfloat16), 1.5, True, np.float32(1)]
    )
    jax.jit(jax.vmap(lambda x: (check_arrays(x), x)[1]))(DATA)


def test_numbers_that_another_dtype_cannot_hold(tree):
    many, one = verbs(tree)
    many.pop("grow")  # there is no example of another dtype yet
    data = DATA.astype("complex64")
    wanted = (
        "the input is complex64, the example was float64.\n"
        "  try: jnp.asarray(x, jnp.float64)"
    )
    assert {message(verb, data) for verb in many.values()} == {wanted}
    assert {message(verb, data[0]) for verb in one.values()} == {wanted}


def test_whole_numbers_are_taken_where_nothing_is_lost():
    eq = ej.factor(lambda x: jnp.max(jnp.abs(x)), jnp.zeros(2, jnp.float32))
    for dtype in (bool, np.int8, np.int16, np.uint16, np.float16, jnp.bfloat16):
        assert eq(np.array([0, 1], dtype)) == 1
    for dtype in (np.int32, np.int64, np.uint32):
        assert message(eq, np.array([0, 2**24 + 1], dtype)) == (
            f"the input is {np.dtype(dtype)}, the example was float32.\n"
            "  try: jnp.asarray(x, jnp.float32)"
        )
    assert message(eq, np.zeros(2)) == (
        "the input is float64, the example was float32.\n"
        "  try: jnp.asarray(x, jnp.float32), or factor at an example in float64"
    )
    assert ej.factor(jnp.abs, jnp.zeros((), jnp.float32))(-3) == 3


def test_one_axis_too_few_or_too_many(tree):
    many, one = verbs(tree)
    many.pop("grow")
    assert {message(verb, DATA[0]) for verb in many.values()} == {
        "the input has the shape (), the example had (6,).\n"
        "  try: data with a leading axis of examples: X[None] where X is one"
    }
    assert {message(verb, DATA) for verb in one.values()} == {
        "the input has the shape (40, 6), the example had (6,).\n"
        "  try: one example, not a batch: X[0], or jax.vmap over the batch"
    }
    assert message(tree, DATA[0, :4]) == (
        "the input has the shape (4,), the example had (6,).\n"
        "  try: an input of the shape (6,)"
    )


def test_64_bits_switched_off_after_factoring_in_64(tree):
    many, one = verbs(tree)
    many.pop("grow")
    with jax.enable_x64(False):
        found = {message(verb, DATA) for verb in many.values()}
        found |= {message(verb, DATA[0]) for verb in one.values()}
    assert found == {
        "the equation is in float64, and JAX has 64-bit numbers switched off.\n"
        "  try: with jax.enable_x64(True): ..., or "
        "jax.config.update('jax_enable_x64', True)"
    }
