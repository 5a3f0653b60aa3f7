"""A tree is its function; its components bound it, on every input."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import MAKERS, bare, function, grown, node, quarters, with_nodes

import ecg_jax as ej
from ecg_jax.errors import PatternError
from ecg_jax.program.widen import widen
from ecg_jax.proof.slack import TAIL, WHOLE
from ecg_jax.tree.tree import Tree

UNSEEN = quarters(77, 400)


@pytest.mark.parametrize("name", MAKERS)
def test_a_tree_is_its_function_between_its_bounds(name):
    tree, fn = grown(name), function(name)
    f = np.asarray(jax.vmap(fn)(UNSEEN))

    @jax.jit
    def both(x):
        return tree(x), *tree.bounds(x)

    value, lower, upper = map(np.asarray, jax.vmap(both)(UNSEEN))
    assert np.array_equal(value, f)
    assert np.all(lower <= f) and np.all(f <= upper)
    values = tree.values(UNSEEN)
    signs = np.array([n.sign for n in tree.nodes])
    assert np.array_equal(values[:, 0], f)
    assert np.array_equal(values[:, signs > 0].max(axis=1), lower)
    assert np.array_equal(values[:, signs < 0].min(axis=1), upper)


def test_every_node_is_exact_at_its_prototype():
    for name in ("mlp", "residual"):
        tree = grown(name)
        anchors = np.stack([n.anchor for n in tree.nodes[1:]])
        values = tree.values(anchors)
        own = values[np.arange(len(anchors)), np.arange(1, len(tree.nodes))]
        assert np.array_equal(own, values[:, 0])


@pytest.mark.parametrize("name", MAKERS)
def test_the_function_of_every_node(name):
    tree = grown(name)
    values = tree.values(UNSEEN)
    for i, own in enumerate(tree.nodes):
        component = tree.component(own.name)
        assert np.array_equal(jax.vmap(component)(UNSEEN), values[:, i])
    inner = ej.factor(tree.component("P1"), UNSEEN[0])
    assert inner(UNSEEN[1]) == values[1, 1]
    with pytest.raises(PatternError, match="no component is called 'P9'"):
        tree.component("P9")


def test_whole_numbers_are_taken_as_they_are():
    tree, whole = grown("mlp"), np.arange(-9, 9).reshape(3, 6)
    assert np.array_equal(
        ej.decide(tree, whole).cell, ej.decide(tree, whole * 1.0).cell
    )
    assert np.array_equal(tree.values(whole), tree.values(whole * 1.0))


def test_the_shape_of_a_tree():
    tree = grown("mlp")
    assert [n.name for n in tree.nodes[:5]] == ["f", "P1", "P2", "P1.1", "P1.2"]
    assert tree.children(0) == [1, 2, 5, 6]
    assert tree.children(1) == [3, 4] and tree.children(2) == []
    assert tree.leaves() == [2, 3, 4, 6, 7, 8]
    assert tree.depth == 2
    assert tree.families() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert [n.sign for n in tree.nodes] == [0, 1, 1, 1, 1, -1, -1, -1, -1]


def test_a_root_alone_bounds_nothing():
    tree = bare(function("pool"), quarters(1, 10))
    lower, upper = tree.bounds(UNSEEN[0])
    assert (lower, upper) == (-np.inf, np.inf)
    assert tree(UNSEEN[0]) == function("pool")(UNSEEN[0])
    assert tree.leaves() == [] and tree.depth == 0


def float32_tree():
    """A network that does round, with components on both sides."""
    rng = np.random.default_rng(0)
    one, two = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((9, 6), (9,)))

    def fn(x):
        return two @ jax.nn.relu(one @ x) - jnp.float32(0.3)

    data = rng.normal(size=(30, 6)).astype(np.float32)
    tree = bare(fn, data)
    for k, sign in enumerate((1, 1, -1, -1)):
        tree = with_nodes(tree, node(tree, sign, 1, data[k], name=f"n{k}"))
    return tree, fn


def test_float32_changes_no_bit_of_f():
    tree, _ = float32_tree()
    x = np.random.default_rng(1).normal(size=(2000, 6)).astype(np.float32)

    @jax.jit
    def both(a):
        return tree(a), tree.program.evaluate(a), *tree.bounds(a)

    value, f, lower, upper = jax.vmap(both)(x)
    assert value.dtype == jnp.float32
    assert np.array_equal(value, f)
    assert np.all(lower <= f) and np.all(f <= upper)


def test_the_slack_is_above_what_rounding_does():
    """Bounds in float32 against themselves in float64."""
    tree, _ = float32_tree()
    x = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    wider = [replace(n, anchor=np.float64(n.anchor)) for n in tree.nodes[1:]]
    nodes = (tree.nodes[0], *wider)
    wide = Tree(widen(tree.program), nodes, tree.example, tree.seen)
    away = np.abs(tree.values(x) - wide.values(x.astype(np.float64))).max(axis=1)
    slack = np.asarray(jax.jit(jax.vmap(tree.slack))(x))
    assert np.all(away < slack)
    assert slack.max() < (TAIL + WHOLE) * 1e-4, (
        "a bound that says nothing proves nothing"
    )


SLOW = [
    pytest.param(act, marks=pytest.mark.slow) for act in (jnp.tanh, jax.nn.softplus)
]


@pytest.mark.parametrize("act", [jax.nn.silu, *SLOW])
@pytest.mark.slow
def test_smooth_gates_may_feed_one_another(act):
    """Two levels of them, frozen together: the slack is finite, and above rounding."""
    rng = np.random.default_rng(0)
    shapes = ((9, 6), (7, 9), (7,))
    weights = [jnp.asarray(rng.normal(size=s) / 2, jnp.float32) for s in shapes]

    def fn(x):
        return weights[2] @ act(weights[1] @ act(weights[0] @ x))

    data = rng.normal(size=(40, 6)).astype(np.float32)
    tree = bare(fn, data)
    deep = tree.descent.num_levels
    for k, sign in enumerate((1, -1)):
        above = node(tree, sign, 1, data[2 * k], name=f"n{k}")
        tree = with_nodes(tree, above)
        below = node(tree, sign, deep, data[2 * k + 1], name="below", parent=above.id)
        tree = with_nodes(tree, below)
    wider = [replace(n, anchor=np.float64(n.anchor)) for n in tree.nodes[1:]]
    nodes = (tree.nodes[0], *wider)
    with jax.enable_x64(True):
        wide = Tree(widen(tree.program), nodes, np.float64(data[0]), tree.seen)
        exact = wide.values(data.astype(np.float64))
    away = np.abs(tree.values(data) - exact).max(axis=1)
    slack = np.asarray(jax.jit(jax.vmap(tree.slack))(data))
    assert np.all(away < slack) and np.median(slack) < 0.1
    found = ej.certify(tree, data)
    assert found.holds and found.atoms and found.levels == deep == 2
    assert 0 < found.max_bound_ratio < 1


def test_opened_gates_may_feed_one_another():
    """Leaky ReLU on a pool, both opened: the slack is finite, and small."""
    tree = grown("pool")
    assert tree.depth == 2
    slack = np.asarray(jax.jit(jax.vmap(tree.slack))(UNSEEN[:20]))
    assert np.all(slack < 1e-11)


def test_the_slack_of_smooth_gates_knows_the_anchors():
    def fn(x):
        return jnp.sum(jax.nn.softplus(x[::-1] - jnp.exp(x))) - jnp.float32(2)

    data = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    tree = bare(fn, data)
    alone = np.asarray(jax.jit(jax.vmap(tree.slack))(data))
    tree = with_nodes(tree, node(tree, 1, 1, 8 * data[0], name="P1"))
    slack = np.asarray(jax.jit(jax.vmap(tree.slack))(data))
    assert np.all(np.isfinite(slack)) and np.all(slack > alone)
