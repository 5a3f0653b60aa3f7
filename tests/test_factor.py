import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.errors import (
    DTypeError,
    ExampleError,
    NonFiniteError,
    NotPureError,
    NotScalarError,
)

AUTO = jax.sharding.AxisType.Auto


def network(sizes, seed=0):
    """A dense ReLU network on dyadic weights, [sizes[0]] -> scalar."""
    rng = np.random.default_rng(seed)
    layers = [
        (
            jnp.asarray(rng.integers(-4, 5, (n, m)) / 2),
            jnp.asarray(rng.integers(-4, 5, (m,)) / 4),
        )
        for n, m in itertools.pairwise(sizes)
    ]

    def fn(x):
        for w, b in layers[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = layers[-1]
        return (x @ w + b)[0]

    return fn


def grid(count, size, seed=1):
    return jnp.asarray(np.random.default_rng(seed).integers(-8, 9, (count, size)) / 4)


def every_pattern(gate_side):
    """All masks over the units of one side, with the fill elsewhere."""
    units = np.flatnonzero(gate_side)
    for bits in itertools.product([False, True], repeat=len(units)):
        mask = np.zeros(gate_side.shape, bool)
        mask[units] = bits
        yield mask


@pytest.mark.parametrize("seed", range(4))
def test_max_min_over_all_masks_is_the_function(seed):
    f = network([3, 4, 5, 1], seed)
    x = grid(16, 3)
    eq = ej.factor(f, x[0])
    (side,) = eq.sides
    mus = jnp.asarray(np.stack(list(every_pattern(side > 0))))
    taus = jnp.asarray(np.stack(list(every_pattern(side < 0))))
    component = jax.vmap(lambda m, t, a: eq.component([m], [t])(a), (None, None, 0))
    table = jax.vmap(jax.vmap(component, (None, 0, None)), (0, None, None))(
        mus, taus, x
    )
    value = jax.vmap(f)(x)
    assert len(mus) * len(taus) == 2 ** np.count_nonzero(side)
    assert np.array_equal(table.min(1).max(0), value)
    assert np.array_equal(table.max(0).min(0), value)


@pytest.mark.parametrize("seed", range(3))
def test_the_tree_over_all_masks_of_two_levels_is_the_function(seed):
    f = network([2, 3, 2, 1], seed)
    x = grid(6, 2)

    def value(fn, point):
        """max over mu, min over tau, of the value of every child, down to atoms."""
        try:
            eq = ej.factor(fn, point)
        except ej.NoGateError:
            return float(fn(point))
        (side,) = eq.sides
        return max(
            min(value(eq.component([m], [t]), point) for t in every_pattern(side < 0))
            for m in every_pattern(side > 0)
        )

    for point in x[:3]:
        assert value(f, point) == float(f(point))


def test_a_component_is_factored_until_an_atom_is_left():
    f, x = network([4, 6, 6, 6, 1]), grid(1, 4)[0]
    node, depth = f, 0
    with pytest.raises(ej.NoGateError) as caught:
        while True:
            eq = ej.factor(node, x)
            node = eq.component(*eq.pattern(x))
            assert node(x) == f(x)
            depth += 1
    assert depth == 3
    assert str(caught.value) == (
        "no live gate is left: the function is an atom, affine in its input.\n"
        "  try: stop here; jax.grad gives its template, its value at 0 the offset"
    )
    assert jnp.dot(jax.grad(node)(x), x) + node(0 * x) == f(x)


def test_ties_at_zero_are_frozen_to_the_flat_side():
    f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])  # noqa: E731
    eq = ej.factor(f, jnp.zeros(2))
    mu, tau = eq.pattern(jnp.zeros(2))
    assert not np.any(mu[0]) and not np.any(tau[0])
    assert eq.component(mu, tau)(jnp.asarray([3.0, 5.0])) == 0


def test_patterns_are_equal_exactly_if_components_are():
    f = network([3, 4, 1], 5)
    x = grid(60, 3)
    eq = ej.factor(f, x[0])
    patterns, lines = {}, {}
    for point in x:
        mu, tau = eq.pattern(point)
        key = (np.asarray(mu[0]).tobytes(), np.asarray(tau[0]).tobytes())
        component = eq.component(mu, tau)
        line = (jax.grad(component)(point).tobytes(), float(component(0 * point)))
        assert patterns.setdefault(key, line) == line
        lines.setdefault(line, key)
    assert len(patterns) > 3


def test_units_of_weight_zero_hold_the_fill_on_both_sides():
    w = jnp.asarray([1.0, 0.0, -1.0])
    eq = ej.factor(lambda x: jnp.sum(w * jax.nn.relu(x)), jnp.ones(3))
    mu, tau = eq.pattern(jnp.ones(3))
    assert mu[0].tolist() == [True, False, False]
    assert tau[0].tolist() == [False, False, True]


def test_a_one_sided_gate_leaves_the_other_side_fill_and_the_bound_is_fn():
    f = lambda x: jnp.max(x)  # noqa: E731
    eq = ej.factor(f, jnp.ones(3))
    x, y = jnp.asarray([1.0, 5.0, 2.0]), jnp.asarray([7.0, 1.0, 0.0])
    mu, tau = eq.pattern(x)
    assert mu[0] == 1 and tau[0] == 0
    assert eq.witness(mu)(y) == 1.0
    assert eq.refuter(tau)(y) == f(y) == 7.0


def test_a_skip_past_a_later_gate_waits_for_its_turn():
    def f(x):
        h = jax.nn.relu(x)
        return jnp.sum(h - jax.nn.relu(h @ jnp.ones((3, 3)) - 1))

    x = jnp.asarray([1.0, -2.0, 3.0])
    eq = ej.factor(f, x)
    assert eq.num_gates == 1
    below = ej.factor(eq.component(*eq.pattern(x)), x)
    assert below.num_gates == 1 and below(x) == f(x)


def test_branches_of_one_depth_are_opened_together():
    f = lambda x: jnp.sum(jax.nn.relu(x)) - jnp.max(x) + jnp.sum(jnp.abs(x))  # noqa: E731
    eq = ej.factor(f, jnp.ones(3))
    assert sorted(gate.name for gate in eq.gates) == ["abs", "max", "reduce_max"]


def test_several_uses_of_one_value_are_one_gate():
    f = lambda x: jnp.sum(jax.nn.relu(x)) + 2 * jnp.max(jax.nn.relu(x) * 1.0)  # noqa: E731
    program = ej.factor(f, jnp.ones(3)).program
    assert len(program.gates) == 2


@pytest.mark.parametrize("k", [0, 1, 2])
def test_margin_of_several_classes_opens_the_rival(k):
    logits = lambda x: x @ jnp.asarray([[1.0, -1.0, 2.0], [0.0, 2.0, -1.0]])  # noqa: E731
    f, x = ej.margin(logits, k), jnp.asarray([1.0, 0.5])
    eq = ej.factor(f, x)
    values = np.asarray(logits(x))
    assert f(x) == values[k] - np.delete(values, k).max()
    _, tau = eq.pattern(x)
    assert int(tau[0]) == np.delete(values, k).argmax()


def test_margin_of_two_classes_has_no_gate_of_its_own():
    with pytest.raises(ej.NoGateError):
        ej.factor(ej.margin(lambda x: x, 1), jnp.ones(2))


@pytest.mark.usefixtures("unchecked")
def test_margin_takes_a_whole_number():
    logits = lambda x: x  # noqa: E731
    assert ej.margin(logits, True)(jnp.array([1.0, 3.0])) == 2  # pyright: ignore
    with pytest.raises(TypeError, match="integer"):
        ej.margin(logits, 2.0)  # pyright: ignore


@pytest.mark.parametrize(("k", "size"), [(3, 3), (-1, 3), (0, 1)])
def test_margin_refuses_a_class_without_rival(k, size):
    with pytest.raises(IndexError) as caught:
        ej.margin(lambda x: x, k)(jnp.ones(size))
    assert str(caught.value) == (
        f"no rival for class {k} in logits of shape ({size},): need a vector of two "
        "or more and 0 <= k < its length.\n  try: the number of the class that counts "
        "as normal, from 0 on"
    )


def test_components_work_under_jit_vmap_and_grad():
    f, x = network([3, 5, 4, 1]), grid(7, 3)
    eq = ej.factor(f, x[0])
    mu, tau = jax.jit(jax.vmap(eq.pattern))(x)
    calls = []

    @jax.jit
    def component(m, t, a):
        calls.append(1)
        return eq.component(m, t)(a)

    for i in range(7):
        anchor = jax.tree.map(lambda leaf, i=i: leaf[i], (mu, tau))
        assert component(*anchor, x[i]) == f(x[i])
    assert len(calls) == 1
    inside = x[0] + 1 / 16
    gradient = jax.grad(eq.component(*eq.pattern(inside)))(inside)
    assert np.array_equal(gradient, jax.grad(f)(inside))


def test_factor_works_inside_jit_on_patterns_that_are_arguments():
    f, x = network([3, 5, 4, 1]), grid(7, 3)
    eq = ej.factor(f, x[0])

    @jax.jit
    @jax.vmap
    def two_levels_down(a):
        inner = ej.factor(eq.component(*eq.pattern(a)), x[0])
        return inner.component(*inner.pattern(a))(a)

    assert np.array_equal(two_levels_down(x), jax.vmap(f)(x))


def test_a_sharded_batch_gives_the_same_values():
    f, x = network([3, 5, 4, 1]), grid(8, 3)
    eq = ej.factor(f, x[0])
    mesh = jax.make_mesh((2,), ("batch",), (AUTO,))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    values = jax.jit(jax.vmap(lambda a: eq.component(*eq.pattern(a))(a)))
    sharded = values(jax.device_put(x, spec))
    assert len(sharded.sharding.device_set) == 2
    assert np.array_equal(sharded, jax.vmap(f)(x))


def test_shard_map_over_anchors_gives_the_same_values():
    f, x = network([3, 5, 1]), grid(8, 3)
    eq = ej.factor(f, x[0])
    mesh = jax.make_mesh((2,), ("anchor",), (AUTO,))
    spec = jax.sharding.PartitionSpec("anchor")
    mapped = jax.shard_map(
        jax.vmap(lambda a: eq.witness(a)(a)), mesh=mesh, in_specs=spec, out_specs=spec
    )
    assert np.array_equal(jax.jit(mapped)(x), jax.vmap(f)(x))


def test_inputs_that_are_pytrees():
    def f(x):
        return jnp.sum(jax.nn.relu(x["ecg"])) - jnp.abs(x["age"])

    x = {"ecg": jnp.asarray([1.0, -1.0]), "age": jnp.asarray(0.5)}
    eq = ej.factor(f, x)
    assert eq.component(x, x)(x) == f(x) == 0.5


def test_float32_stays_float32():
    f = lambda x: jnp.sum(jax.nn.relu(x))  # noqa: E731
    x = jnp.ones(3, jnp.float32)
    eq = ej.factor(f, x)
    assert eq.component(x, x)(x).dtype == jnp.float32


def test_not_scalar():
    with pytest.raises(NotScalarError) as caught:
        ej.factor(jax.nn.relu, jnp.ones((2, 3)))
    assert str(caught.value) == (
        "the function returns shapes [(2, 3)], not one scalar.\n"
        "  try: a margin, e.g. ecg_jax.margin(logits_fn, k), and one example, "
        "not a batch."
    )


def test_not_pure_python_state():
    count = iter(range(100))
    with pytest.raises(NotPureError) as caught:
        ej.factor(lambda x: jnp.sum(jax.nn.relu(x)) * next(count), jnp.ones(3))
    line = caught.value.__traceback__ and str(caught.value)
    assert line is not None and line.startswith(
        "two traces of the function differ: the operands of `mul` at test_factor.py:"
    )
    assert line.endswith(
        ".\n  try: remove Python state and NumPy randomness from it; pass keys and "
        "weights as constants."
    )


def test_not_pure_numpy_randomness():
    rng = np.random.default_rng(0)
    with pytest.raises(NotPureError, match=r"a constant of shape \(3,\) has two value"):
        ej.factor(lambda x: jnp.sum(jax.nn.relu(x) * rng.normal(size=3)), jnp.ones(3))


def test_a_number_that_is_nan_is_the_same_in_both_traces():
    def fn(x):
        return jnp.sum(jnp.where(x == 7.0, jnp.nan, x))

    with pytest.raises(ej.UnsupportedPrimitiveError):
        ej.factor(fn, jnp.ones(3))


def test_not_pure_side_effects():
    def f(x):
        jax.debug.print("{}", x[0])
        return jnp.sum(jax.nn.relu(x))

    with pytest.raises(NotPureError, match="the function has side effects"):
        ej.factor(f, jnp.ones(3))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.float16, jnp.bfloat16])
def test_wrong_dtype_of_the_example(dtype):
    with pytest.raises(DTypeError) as caught:
        ej.factor(lambda x: jnp.sum(jax.nn.relu(x)), jnp.ones(3, dtype))
    assert str(caught.value) == (
        f"the example is {jnp.dtype(dtype)}; factoring is exact for float32 and "
        "float64 only.\n"
        "  try: cast the input, jnp.asarray(x, jnp.float32), and keep the network in "
        "that dtype."
    )


def test_wrong_dtype_of_the_output():
    with pytest.raises(DTypeError, match="the output is bfloat16"):
        ej.factor(lambda x: jnp.sum(jax.nn.relu(x)).astype(jnp.bfloat16), jnp.ones(3))


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_nan_weights_are_counted_and_placed(wrap):
    w = jnp.asarray([1.0, jnp.nan, jnp.nan])
    with pytest.raises(NonFiniteError) as caught:
        ej.factor(wrap(lambda x: jnp.sum(w * jax.nn.relu(x))), jnp.ones(3))
    message = str(caught.value)
    assert message.startswith("2 of the 3 entries of a weight of shape (3,), used at ")
    assert message.endswith(
        ", are NaN.\n  try: check the training, or the file the weights came from."
    )
    assert "test_factor.py:" in message


def test_an_input_of_another_shape():
    eq = ej.factor(lambda x: jnp.sum(jax.nn.relu(x)), jnp.ones(3))
    for use in (eq, eq.pattern):
        with pytest.raises(ExampleError) as caught:
            use(jnp.ones((2, 3)))
        assert str(caught.value) == (
            "the input has the shape (2, 3), the example had (3,).\n"
            "  try: one example, not a batch: X[0], or jax.vmap over the batch"
        )


def test_an_input_of_another_structure():
    eq = ej.factor(lambda x: jnp.sum(jax.nn.relu(x["a"])), {"a": jnp.ones(3)})
    with pytest.raises(ExampleError) as caught:
        eq(jnp.ones(3))
    assert str(caught.value) == (
        "the input is an array, the example was a dict of 'a'.\n"
        "  try: an input of the structure of the example"
    )


def test_a_refusal_names_the_users_line_at_every_level():
    def f(x):
        odd = jnp.floor(x)
        return jnp.max(jax.nn.relu(odd) - 1)

    line = f.__code__.co_firstlineno + 1
    x = jnp.ones(3)
    top = ej.factor(f, x)
    middle = ej.factor(top.component(*top.pattern(x)), x)
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(middle.component(*middle.pattern(x)), x)
    assert str(caught.value) == (
        f"cannot factor `floor` at test_factor.py:{line}.\n"
        "  operand: float64[3], depends on the input through 0 gates\n"
        "  why:     `floor` is discontinuous in the input\n"
        "  try:     leave the rounding out, z itself; of a quantized network, export "
        "or load it in float32 before quantization"
    )


def test_a_refusal_waits_until_its_turn():
    f = lambda x: jnp.max(jnp.floor(x))  # noqa: E731
    x = jnp.asarray([1.5, 0.5])
    eq = ej.factor(f, x)
    assert eq.component(*eq.pattern(x))(x) == 1.0


def test_gates_name_the_users_line_of_a_cached_library_call():
    def f(x):
        h = jax.nn.relu(x)
        return jnp.sum(jax.nn.relu(h - 1))

    first = f.__code__.co_firstlineno
    sources = [eqn.source for eqn in ej.factor(f, jnp.ones(3)).program.gates]
    assert sources == [f"test_factor.py:{first + 1}", f"test_factor.py:{first + 2}"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: jnp.std(x) - 1,
        lambda x: jax.nn.softmax(x)[0] - 0.1,
        lambda x: jnp.sum(x / jnp.maximum(jnp.linalg.norm(x), 1.0)),
        jax.jit(lambda x: jnp.sum(jax.nn.relu(x) * x - jnp.mean(x * x))),
        lambda x: jnp.max(x) - jnp.mean(jnp.abs(x[:3])),
        lambda x: jnp.max(jnp.asarray(x)) - x.std(ddof=1),
    ],
    ids=["std", "softmax", "norm", "jit", "mean", "NumPy's own"],
)
def test_outside_of_jit_calls_are_compiled_as_the_user_has_them(fn):
    """JAX compiles each by itself: fused, it rounds otherwise than op by op."""
    data = np.random.default_rng(0).normal(size=(20, 12))
    eq = ej.factor(fn, data[0])
    np.testing.assert_array_equal([eq(x) for x in data], [fn(x) for x in data])
    np.testing.assert_array_equal(jax.vmap(eq)(data), jax.vmap(fn)(data))
