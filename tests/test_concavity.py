"""Which functions are known to be concave, and what a component proves of mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import PatternError
from ecg_jax.lattice.concavity import is_concave

RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(2, 5, 4))
X = jnp.zeros(4)


def max_less_max(x):
    return jnp.max(jnp.asarray(A) @ x) - jnp.max(jnp.asarray(B) @ x)


def max_of_mins(x):
    return jnp.max(jnp.min((jnp.asarray(RULED) @ x), axis=1))


RULED = RNG.normal(size=(3, 5, 4))

KNOWN = {
    "affine": (lambda x: x[0] - 2 * x[1] + 1, True, True),
    "min": (lambda x: jnp.min(jnp.asarray(A) @ x), True, False),
    "max": (lambda x: jnp.max(jnp.asarray(A) @ x), False, True),
    "less an abs": (lambda x: x[0] - jnp.abs(x[1]), True, False),
    "max less max": (max_less_max, False, False),
    "min of a max": (lambda x: jnp.minimum(x[0], jnp.abs(x[1])), False, False),
    "min of mins": (lambda x: jnp.minimum(x[0], jnp.min(x)), False, False),
    "softplus": (jax.nn.softplus, False, True),
    "gelu": (jax.nn.gelu, False, False),
}


@pytest.mark.parametrize("name", KNOWN)
def test_concave_and_convex_functions_are_told_apart(name):
    fn, concave, convex = KNOWN[name]
    whole = fn if name not in ("softplus", "gelu") else lambda x: fn(x[0])
    assert is_concave(whole, X) is concave  # "min of mins" is one, not known as one
    assert is_concave(whole, X, sign=-1) is convex


@pytest.mark.parametrize(
    ("fn", "sides"),
    some_slow(
        [(max_less_max, (True, True)), (max_of_mins, (True, False))],
        [(max_of_mins, (True, False))],
    ),
)
def test_components_of_templates(fn, sides):
    data = RNG.normal(size=(400, 4))
    tree = ej.grow(fn, data, depth=2, budget=8, min_count=1)
    for node in tree.nodes[1:]:
        side = sides[node.sign < 0]
        assert tree.is_concave(node.name) is (node.depth == 1 and side)
    assert tree.is_concave("f") is False
    with pytest.raises(PatternError, match="no component is called 'P99'"):
        tree.is_concave("P99")


def test_deep_components_are_neither():
    w = RNG.normal(size=(6, 4))
    v = RNG.normal(size=(5, 6))

    def net(x):
        hidden = jax.nn.relu(jnp.asarray(v) @ jax.nn.relu(jnp.asarray(w) @ x))
        return hidden @ jnp.array([1.0, -1.0, 1.0, -1.0, 0.5])

    tree = ej.grow(net, RNG.normal(size=(300, 4)), depth=2, budget=4, min_count=20)
    assert not any(tree.is_concave(node.name) for node in tree.nodes)


def test_what_a_concave_component_proves_it_proves_of_mixtures():
    data = RNG.normal(size=(2000, 4))
    tree = ej.grow(max_less_max, data, depth=1, budget=8, min_count=1)
    values = tree.values(data)
    mixtures = 0
    for node in tree.nodes[1:]:
        assert tree.is_concave(node.name)
        proven = data[node.sign * values[:, node.id] > 1e-9]
        weights = RNG.dirichlet(np.ones(3), 500)
        rows = RNG.integers(len(proven), size=(500, 3))
        mixed = np.einsum("nk,nkd->nd", weights, proven[rows])
        assert (node.sign * tree.values(mixed)[:, node.id] > 0).all()
        mixtures += len(mixed)
    assert mixtures >= 2000
