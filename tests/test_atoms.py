"""The affine functions that components are, beat by beat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import MAKERS, bare, function, grown, node, quarters, with_nodes

import ecg_jax as ej
from ecg_jax.cells.weighing import count_different
from ecg_jax.tree.atoms import templates

DATA = quarters(3, 30)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_template_with_its_offset_is_the_component(name):
    tree = grown(name)
    values = tree.values(DATA)
    found = templates(tree, {n.id: DATA for n in tree.nodes})
    assert sorted(found) == [n.id for n in tree.nodes]
    for i, (template, value) in found.items():
        np.testing.assert_array_equal(value, values[:, i])
        assert template.shape == DATA.shape


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_template_tells_the_component_around_a_beat(name):
    tree = grown(name)
    inputs = np.random.default_rng(0).normal(size=(20, DATA.shape[1]))
    found = templates(tree, {n.id: inputs for n in tree.nodes})
    step = 1e-7 * np.random.default_rng(1).normal(size=inputs.shape)
    moved = tree.values(inputs + step)
    for i, (template, value) in found.items():
        np.testing.assert_allclose(
            moved[:, i] - value, (template * step).sum(1), rtol=1e-5, atol=1e-13
        )


def test_the_roots_are_the_atoms_of_the_function():
    tree = grown("mlp")
    inputs = np.random.default_rng(2).normal(size=(20, DATA.shape[1]))
    template, value = templates(tree, {0: inputs})[0]
    atom, offset = jax.vmap(tree.descent.atom)(jnp.asarray(inputs))
    np.testing.assert_allclose(template, atom, atol=1e-12)
    np.testing.assert_allclose(value - (template * inputs).sum(1), offset, atol=1e-12)


def test_at_its_prototype_a_component_weighs_as_the_function_does():
    fn = function("mlp")
    prototype = np.random.default_rng(4).normal(size=DATA.shape[1])
    tree = bare(fn, DATA)
    tree = with_nodes(tree, node(tree, 1, 1, prototype, name="P1"))
    found = templates(tree, {i: prototype[None] for i in (0, 1)})
    np.testing.assert_allclose(found[1][0], found[0][0], atol=1e-12)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-12)


def test_a_component_frozen_to_the_last_level_has_one_template():
    def fn(x):
        return jnp.asarray([1.0, 2.0]) @ jax.nn.relu(x[:2]) - x[2]

    tree = bare(fn, DATA)
    prototype = np.array([1.0, -1.0, 0, 0, 0, 0])
    tree = with_nodes(tree, node(tree, 1, 1, prototype, name="P1"))
    template, _ = templates(tree, {1: DATA})[1]
    np.testing.assert_array_equal(template, np.tile([1.0, 0, -1, 0, 0, 0], (30, 1)))
    assert count_different(template) == 1
    assert count_different(templates(tree, {0: DATA})[0][0]) > 1


def test_smooth_gates():
    def fn(x):
        return jnp.sum(jax.nn.softplus(x)) - jax.nn.softplus(2 * x[0]) - 1

    inputs = np.random.default_rng(5).normal(size=(40, 6))
    tree = ej.grow(fn, inputs, depth=1, budget=2)
    found = templates(tree, {n.id: inputs for n in tree.nodes})
    step = 1e-6 * np.random.default_rng(6).normal(size=inputs.shape)
    for i, (template, value) in found.items():
        moved = tree.values(inputs + step)[:, i]
        np.testing.assert_allclose(
            moved - value, (template * step).sum(1), rtol=1e-3, atol=1e-11
        )


def test_how_many_differ():
    rows = np.random.default_rng(0).normal(size=(5, 1, 40))
    again = np.concatenate([rows, rows * (1 + 1e-15), rows[:2]])
    assert count_different(again) == 5
    assert count_different(np.zeros((3, 2))) == 1
