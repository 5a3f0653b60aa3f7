"""Inputs of another form: one message, whichever verb is asked."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import function, quarters

import ecg_jax as ej
from ecg_jax.errors import DTypeError, EcgJaxError, ExampleError, NonFiniteError
from ecg_jax.program.checks import check_arrays
from ecg_jax.proof.certificate import certify

DATA = quarters(1, 40)


class DataFrame:
    """As pandas has it: a shape, columns and a way to become an array, yet none."""

    shape, columns = (40, 6), ["I"]

    def __array__(self, dtype=None, copy=None):
        return DATA


NO_ARRAYS = {
    "a DataFrame": DataFrame(),
    "a str": "beats",
    "None": None,
    "a list of numbers": DATA.tolist(),
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
    name = tree.nodes[1].name
    edited = ej.without(tree, name)
    other = ej.replace(tree, name, lambda x: jnp.sum(jnp.asarray(x)))
    many = {
        "decide": partial(ej.decide, tree),
        "certificate": partial(ej.certify, tree),
        "certificate of one level": partial(ej.certify, tree.eq),
        "certify": lambda data: certify(tree.eq, data, num_pairs=8),
        "values": tree.values,
        "without": lambda data: edited.changes(data, np.arange(40)),
        "replace": lambda data: other.changes(data, np.arange(40)),
        "grow": lambda data: ej.grow(function("mlp"), data, depth=1, budget=4),
    }
    one = {
        "factor": lambda x: ej.factor(function("mlp"), x),
        "tree": tree,
        "bounds": tree.bounds,
        "vector": tree.vector,
        "equation": tree.eq,
        "pattern": tree.eq.pattern,
        "witness": tree.eq.witness(tree.example),
        "component": tree.component(name),
        "atom": tree.descent.atom,
        "edited": edited,
        "text": lambda x: ej.to_text(tree.eq, depth=2, x=x),
    }
    return many, one


def message(verb, x):
    with pytest.raises(ExampleError) as error:
        verb(x)
    return str(error.value)


@pytest.mark.parametrize("found", NO_ARRAYS)
def test_what_is_no_array_of_numbers(found, tree):
    many, one = verbs(tree)
    if found == "None":
        one.pop("text")  # of the example
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
    many.pop("grow"), one.pop("factor")  # there is no example of another dtype yet
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
    many.pop("grow"), one.pop("factor")
    assert {message(verb, DATA[0]) for verb in many.values()} == {
        "the data have the shape (6,), the example had (6,).\n"
        "  try: a leading axis of examples: X[None] where X is one"
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
    many.pop("grow"), one.pop("factor")
    with jax.enable_x64(False):
        found = {message(verb, DATA) for verb in many.values()}
        found |= {message(verb, DATA[0]) for verb in one.values()}
    assert found == {
        "the equation is in float64, and JAX has 64-bit numbers switched off.\n"
        "  try: with jax.enable_x64(True): ..., or "
        "jax.config.update('jax_enable_x64', True)"
    }


def at(i, value):
    data = DATA.copy()
    data[3, i] = value
    return data


BAD_DATA = {
    "width": (
        DATA[:, :4],
        ExampleError,
        "the data have the shape (40, 4), the example",
    ),
    "no examples": (DATA[:0], ExampleError, "no examples."),
    "NaN": (at(1, np.nan), NonFiniteError, "data[3] holds NaN or infinite numbers."),
    "infinite": (
        at(5, np.inf),
        NonFiniteError,
        "data[3] holds NaN or infinite numbers",
    ),
    "a pair": (
        (DATA, DATA),
        ExampleError,
        "the input is a tuple of 2, the example was",
    ),
    "a dict": (
        {"x": DATA},
        ExampleError,
        "the input is a dict of 'x', the example was",
    ),
    "a number": (1.5, ExampleError, "the data have no common first axis: shapes [()]."),
    "ragged": (
        [DATA[0], DATA[1, :3]],
        ExampleError,
        "the input is a list of 2, the ex",
    ),
}
WITHOUT_EXAMPLE = {
    "width": "the function cannot be evaluated at an example of float64[4].",
    "a pair": "the function cannot be evaluated at an example of float64[6], float64[",
    "a dict": "the function cannot be evaluated at an example of float64[6].",
    "ragged": "the data have no common first axis: shapes [(6,), (3,)].",
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_of_another_form(name, tree):
    data, kind, start = BAD_DATA[name]
    firsts = {}
    for verb, call in verbs(tree)[0].items():
        with pytest.raises(kind) as error:
            call(data)
        assert isinstance(error.value, EcgJaxError) and "\n  try: " in str(error.value)
        firsts[verb] = str(error.value).splitlines()[0]
    assert firsts.pop("grow").startswith(WITHOUT_EXAMPLE.get(name, start))
    (first,) = set(firsts.values())
    assert first.startswith(start)


BAD_EXAMPLES = {
    "a batch": (DATA, "the input has the shape (40, 6), the example had (6,)."),
    "too short": (DATA[0, :4], "the input has the shape (4,), the example had (6,)."),
    "a number": (1.5, "the input has the shape (), the example had (6,)."),
    "a pair": (
        (DATA[0], DATA[0]),
        "the input is a tuple of 2, the example was an array",
    ),
    "a dict": ({"x": DATA[0]}, "the input is a dict of 'x', the example was an array."),
}


@pytest.mark.parametrize("name", BAD_EXAMPLES)
def test_an_example_of_another_form(name, tree):
    x, start = BAD_EXAMPLES[name]
    firsts = {}
    for verb, call in verbs(tree)[1].items():
        text = message(call, x)
        assert "\n  try: " in text
        firsts[verb] = text.splitlines()[0]
    assert firsts.pop("factor").startswith(
        "the function cannot be evaluated at an exam"
    )
    (first,) = set(firsts.values())
    assert first.startswith(start)


def test_numbers_too_wide_for_an_equation_in_float32():
    data = DATA.astype(np.float32)
    tree = ej.grow(lambda x: jnp.sum(jnp.abs(x)) - 6, data, depth=1, budget=1)
    many, one = verbs(tree)
    many.pop("grow"), one.pop("factor")
    wanted = (
        "the input is float64, the example was float32.\n"
        "  try: jnp.asarray(x, jnp.float32), or factor at an example in float64"
    )
    assert {message(verb, DATA) for verb in many.values()} == {wanted}
    assert {message(verb, DATA[0]) for verb in one.values()} == {wanted}


def test_whole_numbers_to_begin_with(tree):
    many, one = verbs(tree)
    for verb, x in ((many["grow"], DATA), (one["factor"], DATA[0])):
        with pytest.raises(DTypeError) as error:
            verb(x.astype(int))
        assert str(error.value) == (
            "the example is int64; factoring is exact for float32 and float64 only.\n"
            "  try: cast the input, jnp.asarray(x, jnp.float32), and keep the network "
            "in that dtype."
        )


def test_arrays_of_several_lengths():
    data = (DATA, DATA[:3])
    f = lambda x: jnp.sum(jnp.abs(x[0])) - jnp.sum(jnp.abs(x[1]))  # noqa: E731
    eq = ej.factor(f, (DATA[0], DATA[1]))
    for verb in (partial(ej.certify, eq), partial(ej.grow, f)):
        assert message(verb, data) == (
            "the data have no common first axis: shapes [(40, 6), (3, 6)].\n"
            "  try: an array of examples, or a pytree of such, as long as each other"
        )


def test_lists_are_taken_where_the_example_was_one():
    eq = ej.factor(lambda x: jnp.abs(x[0]) - x[1], [np.float64(0), np.float64(0)])
    assert eq([-3.0, 1.0]) == 2
    assert message(eq, [[1.0], [2.0]]).startswith("the input holds a list of numbers")


def test_what_a_function_cannot_take_is_told_with_the_reason():
    with pytest.raises(ExampleError) as error:
        ej.factor(function("mlp"), DATA)
    first, why, cure = str(error.value).split("\n")
    assert first == "the function cannot be evaluated at an example of float64[40, 6]."
    assert why.startswith(
        "  why: called with this one example, it raised TypeError: dot_general "
        "requires contracting dimensions to have"
    )
    assert cure.startswith("  try: one example of the form that the function takes")
    assert isinstance(error.value.__cause__, TypeError)


@pytest.mark.parametrize("verb", ["factor", "grow"])
def test_a_function_of_a_batch(verb):
    def fn(x):
        return jnp.abs(x[:, 0]) - x[:, 1]

    call = {
        "factor": lambda f: ej.factor(f, DATA[0]),
        "grow": lambda f: ej.grow(f, DATA, depth=1, budget=1),
    }[verb]
    with pytest.raises(ExampleError) as error:
        call(fn)
    assert str(error.value) == (
        "the function cannot be evaluated at an example of float64[6].\n"
        "  why: called with this one example, it raised IndexError: "
        f"{error.value.__cause__}\n"
        "  try: one example of the form that the function takes, not a batch: X[0]; of "
        "a function that takes a batch, lambda x: fn(x[None])[0]"
    )
    assert isinstance(error.value.__cause__, IndexError)
    call(lambda x: fn(x[None])[0])  # the cure works

    def broken(x):
        return {}["weights"]

    with pytest.raises(KeyError):
        call(broken)


def test_what_jax_says_of_a_function_is_left_alone():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        ej.factor(lambda x: jnp.sum(x) if x[0] > 0 else x[0], DATA[0])
