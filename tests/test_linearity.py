import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.program.levels import levels, outermost, sides, tail_weights
from ecg_jax.program.trace import trace

X = jnp.asarray([1.0, -2.0, 3.0])
W = jnp.asarray([[1.0, -1.0, 0.0], [2.0, 0.5, 0.0], [0.0, 1.0, 0.0]])


def gate_levels(fn):
    program = trace(fn, X, ej.RULES)
    depth = levels(program)
    return [(eqn.role.name, depth[eqn.outputs[0]]) for eqn in program.gates]


def test_levels_count_gates_on_the_longest_way_out():
    def f(x):
        h = jnp.abs(x)
        return jnp.sum(h) + jnp.max(jax.nn.relu(h @ W))

    assert gate_levels(f) == [("abs", 2), ("max", 1), ("reduce_max", 0)]


def test_a_refused_operation_counts_as_a_level():
    assert gate_levels(lambda x: jnp.sum(jnp.floor(jnp.abs(x)))) == [("abs", 1)]


def test_the_truth_value_of_a_selection_is_no_path_of_its_own():
    f = lambda x: jnp.sum(jax.nn.leaky_relu(jnp.abs(x) - 1))  # noqa: E731
    assert gate_levels(f) == [("abs", 1), ("select", 0)]


def test_weights_are_the_derivatives_of_the_tail():
    def f(x):
        h = jax.nn.relu(x)
        return 2 * h[0] - jnp.sum(h @ W) / 4 + jnp.mean(jnp.concatenate([h, -h]))

    program = trace(f, X, ej.RULES)
    gates = outermost(program)
    (weight,) = tail_weights(program, gates)
    assert weight.tolist() == [2.0, -0.625, -0.25]
    assert sides(gates, (weight,))[0].tolist() == [1, -1, -1]


def test_a_concave_gate_turns_the_sides():
    program = trace(lambda x: jnp.sum(W[0] * jnp.minimum(x, 1)), X, ej.RULES)
    gates = outermost(program)
    assert sides(gates, tail_weights(program, gates))[0].tolist() == [-1, 1, 0]


def test_a_gate_of_mixed_curvature_turns_unit_by_unit():
    slope = jnp.asarray([0.5, 2.0, 1.0])
    eq = ej.factor(lambda x: jnp.sum(jnp.where(x > 0, x, slope * x)), X)
    assert eq.sides[0].tolist() == [1, -1, 0]
    y = jnp.asarray([-1.0, 1.0, -4.0])
    f = float(eq(y))
    assert eq.witness(X)(y) <= f <= eq.refuter(X)(y)
    assert eq.component(y, y)(y) == f


def test_traced_weights_have_traced_sides():
    f = lambda x: jnp.sum(W @ jax.nn.relu(W @ jax.nn.relu(x)))  # noqa: E731
    eq = ej.factor(f, X)

    @jax.jit
    def below(mu, tau, x):
        return ej.factor(eq.component(mu, tau), X)(x)

    assert below(*eq.pattern(X), X) == f(X)


def test_a_function_without_gates_is_an_atom():
    for f in (jnp.sum, lambda x: jnp.float64(3.0), lambda x: jnp.sum(x @ jnp.abs(W))):
        with pytest.raises(ej.NoGateError):
            ej.factor(f, X)


def test_cancelled_weights_are_on_no_side():
    def f(x):
        h = jax.nn.relu(x)
        return jnp.sum(h) - jnp.sum(h[::-1]) + jnp.abs(x[0])

    eq = ej.factor(f, X)
    at = [gate.name for gate in eq.gates].index("max")
    assert not np.any(eq.sides[at])
