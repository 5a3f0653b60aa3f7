"""Editing a model by its components."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import ExampleError, NotScalarError, PatternError
from ecg_jax.tree.edit import path


@pytest.fixture(scope="module")
def grown():
    rng = np.random.default_rng(0)
    first = jnp.asarray(rng.integers(-4, 5, (6, 8)) / 4.0)
    second = jnp.asarray(rng.integers(-4, 5, (8, 6)) / 4.0)
    last = jnp.asarray(rng.integers(-4, 5, 6) / 4.0)

    def fn(x):
        return jax.nn.relu(jax.nn.relu(x @ first) @ second) @ last - 0.25

    data = rng.integers(-8, 9, (400, 6)) / 4.0
    return ej.grow(fn, data, depth=2, budget=4, min_count=10), data


@pytest.fixture(scope="module")
def late():
    """Of three classes: "normal" has no units at the outermost level."""
    rng = np.random.default_rng(1)
    first, last = (jnp.asarray(rng.integers(-4, 5, s) / 4.0) for s in ((6, 8), (8, 3)))
    fn = ej.margin(lambda x: jax.nn.relu(x @ first) @ last, 0)
    data = rng.integers(-8, 9, (300, 6)) / 4.0
    return ej.grow(fn, data, depth=2, budget=4, min_count=10), data


@pytest.mark.parametrize("which", some_slow(["grown", "late"], ["late"]))
def test_path_of_one_example_is_that_of_decide(which, request):
    tree, data = request.getfixturevalue(which)
    paths = jax.jit(jax.vmap(lambda x: path(tree, x)))(data)
    np.testing.assert_array_equal(paths, ej.decide(tree, data).path)


def test_a_decision_does_not_depend_on_the_other_samples():
    """Witnesses start at depth 2 and go on below it, where no refuter does."""
    rng = np.random.default_rng(4)
    sizes = ((6, 8), (8, 8), (8, 3))
    a, b, c = (jnp.asarray(rng.integers(-4, 5, s) / 4.0) for s in sizes)
    logits = lambda x: jax.nn.relu(jax.nn.relu(x @ a) @ b) @ c  # noqa: E731
    data = rng.integers(-8, 9, (600, 6)) / 4.0
    tree = ej.grow(ej.margin(logits, 2), data, depth=3, budget=6, min_count=10)
    whole = ej.decide(tree, data)
    assert tree.depth == 3 and np.any(whole.path[whole.normal, 2] > 0)
    part = ej.decide(tree, data[whole.normal])
    np.testing.assert_array_equal(part.path, whole.path[whole.normal])


def test_without_changes_only_its_own_cell_and_only_to_what_others_prove(grown):
    tree, data = grown
    decision = ej.decide(tree, data)
    name = tree.nodes[decision.path[decision.normal][0, 0]].name
    edited = ej.without(tree, name)
    after = jax.vmap(edited)(data)
    inside = np.any(decision.path == tree.find(name), axis=1)
    assert inside.any()
    np.testing.assert_array_equal(after[~inside], decision.value[~inside])
    assert np.all(after[inside] <= decision.value[inside])


def test_without_a_component_that_starts_deeper(late):
    tree, data = late
    decision = ej.decide(tree, data)
    assert tree.nodes[1].name == "P1" and tree.nodes[1].depth == 2
    after = np.asarray(jax.vmap(ej.without(tree, "P1"))(data))
    inside = decision.first == 1
    assert inside.any() and np.array_equal(inside, decision.path[:, 1] == 1)
    np.testing.assert_array_equal(after[~inside], decision.value[~inside])
    assert np.all(after[inside] <= decision.value[inside])


def test_replace_puts_another_function_into_the_cell(grown):
    tree, data = grown
    name = tree.nodes[1].name
    edited = ej.replace(tree, name, lambda x: jnp.float64(-7.0))
    changes = edited.changes(data, np.arange(len(data)))
    inside = np.any(ej.decide(tree, data).path == 1, axis=1)
    np.testing.assert_array_equal(changes.after[inside], -7.0)
    np.testing.assert_array_equal(changes.after[~inside], changes.before[~inside])
    np.testing.assert_array_equal(changes.records, np.flatnonzero(changes.changed))


def test_several_components_are_edited_at_once(grown):
    tree, data = grown
    decision = ej.decide(tree, data)
    names = [n.name for n in tree.nodes if n.parent == 0]
    nothing = np.asarray(jax.vmap(ej.without(tree, *names))(data))
    assert np.all(np.isinf(nothing)) and np.all((nothing < 0) == decision.normal)
    two = [tree.find(name) for name in names[:2]]
    after = np.asarray(
        jax.vmap(ej.replace(tree, names[:2], lambda x: jnp.float64(3)))(data)
    )
    inside = np.isin(decision.path, two).any(axis=1)
    assert inside.any() and np.all(after[inside] == 3)
    np.testing.assert_array_equal(after[~inside], decision.value[~inside])


def test_changes_are_told_by_recording(grown):
    tree, data = grown
    names = [f"R{i % 7}" for i in range(len(data))]
    edited = ej.replace(tree, tree.nodes[1].name, lambda x: jnp.float64(-1))
    found = edited.changes(data, names)
    inside = np.any(ej.decide(tree, data).path == 1, axis=1)
    assert np.array_equal(found.changed, inside) and inside.any()
    assert found.records.tolist() == sorted({names[i] for i in np.flatnonzero(inside)})
    with pytest.raises(ExampleError) as error:
        edited.changes(data, names[:2])
    assert str(error.value) == (
        "records of shape (2,) for 400 examples.\n  try: the recording of each example"
    )


def test_a_replacement_gives_one_scalar(grown):
    tree, _ = grown
    with pytest.raises(NotScalarError, match=r"returns shapes \[\(6,\)\]"):
        ej.replace(tree, "P1", lambda x: x)


def test_merging_loses_no_proof(grown):
    tree, data = grown
    fn = tree.program.evaluate
    whole = ej.grow(fn, data, depth=1, budget=16, min_count=5)
    fewer = ej.merged(whole)
    assert 1 < len(fewer.nodes) < len(whole.nodes)
    assert [n.id for n in fewer.nodes] == list(range(len(fewer.nodes)))
    unseen = np.random.default_rng(7).normal(size=(2000, 6)) * 3
    before, after = ej.decide(whole, unseen), ej.decide(fewer, unseen)
    np.testing.assert_array_equal(before.value, after.value)
    np.testing.assert_array_equal(before.prover >= 0, after.prover >= 0)
    np.testing.assert_allclose(before.lower, after.lower, rtol=0, atol=1e-12)
    np.testing.assert_allclose(before.upper, after.upper, rtol=0, atol=1e-12)
    total = sum(n.count for n in whole.nodes[1:])
    assert sum(n.count for n in fewer.nodes[1:]) == total
    assert len(ej.merged(fewer).nodes) == len(fewer.nodes)


def test_an_unknown_component_is_named(grown):
    tree, _ = grown
    known = ", ".join(node.name for node in tree.nodes[1:])
    with pytest.raises(PatternError) as error:
        ej.without(tree, "P99")
    assert str(error.value) == (f"no component is called 'P99'.\n  try: one of {known}")
