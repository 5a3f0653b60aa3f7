"""Exactness and soundness on random programs, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_programs import inputs, programs

import ecg_jax as ej

NUM_INPUTS = 6
QUIET = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
}


def check(fn, x):
    """`N[own] == f`, and `W <= f <= R` over all pairs, exactly."""
    try:
        eq = ej.factor(fn, x[0])
    except ej.NoGateError:
        return None
    f = np.asarray(jax.vmap(fn)(x))
    assert np.array_equal(jax.vmap(eq)(x), f)
    mu, tau = jax.vmap(eq.pattern)(x)
    own = jax.vmap(lambda m, t, a: eq.component(m, t)(a))(mu, tau, x)
    assert np.array_equal(own, f)

    def pairs(bound, patterns):
        table = jax.vmap(lambda p: jax.vmap(lambda a: bound(p)(a))(x))(patterns)
        return np.asarray(table)

    assert np.all(pairs(eq.witness, mu) <= f)
    assert np.all(pairs(eq.refuter, tau) >= f)
    table = jax.vmap(
        lambda m: jax.vmap(lambda t: jax.vmap(lambda a: eq.component(m, t)(a))(x))(tau)
    )(mu)
    assert np.array_equal(table.min(1).max(0), f)
    assert np.array_equal(table.max(0).min(0), f)
    return eq


def check_program(fn, seed):
    x = inputs(seed, NUM_INPUTS)
    eq = check(fn, x)
    if eq is None:
        return
    f, depth = fn(x[1]), 0
    node = eq
    while node is not None:
        component = node.component(*node.pattern(x[1]))
        assert component(x[1]) == f
        node, depth = next_level(component, x), depth + 1
        assert depth < 40


def next_level(component, x):
    try:
        return ej.factor(component, x[0])
    except ej.NoGateError:
        template, offset = jax.grad(component)(x[0]), component(jnp.zeros_like(x[0]))
        atom = jax.vmap(lambda a: jnp.sum(template * a) + offset)(x)
        assert np.array_equal(atom, jax.vmap(component)(x))
        return None


@settings(max_examples=40, **QUIET)
@given(programs(), st.integers(0, 2**32 - 1))
def test_random_programs_factor_exactly(fn, seed):
    check_program(fn, seed)


@settings(max_examples=15, **QUIET)
@given(programs(max_depth=6), st.integers(0, 2**32 - 1))
def test_components_of_random_programs_factor_exactly(fn, seed):
    x = inputs(seed, NUM_INPUTS)
    eq = check(fn, x)
    while eq is not None:
        eq = check(eq.component(*eq.pattern(x[1])), x)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=1500, **QUIET)
@given(programs(), st.integers(0, 2**32 - 1))
def test_thousands_of_random_programs_factor_exactly(fn, seed):
    check_program(fn, seed)
