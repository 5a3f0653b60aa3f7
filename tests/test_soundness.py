"""Exactness and soundness on random programs, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_programs import (
    inputs,
    programs,
    programs_with_black_boxes,
    programs_with_products,
)

import ecg_jax as ej
from ecg_jax.lattice.descent import descend

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


@settings(max_examples=15, **QUIET)
@given(programs(), st.integers(0, 2**32 - 1))
def test_random_programs_factor_exactly(fn, seed):
    check_program(fn, seed)


@settings(max_examples=8, **QUIET)
@given(programs(max_depth=6), st.integers(0, 2**32 - 1))
def test_components_of_random_programs_factor_exactly(fn, seed):
    check_components(fn, seed)


def check_components(fn, seed):
    x = inputs(seed, NUM_INPUTS)
    eq = check(fn, x)
    while eq is not None:
        eq = check(eq.component(*eq.pattern(x[1])), x)


@settings(max_examples=3, **QUIET)
@given(programs_with_products(), st.integers(0, 2**32 - 1))
def test_random_programs_with_products_factor_exactly(fn, seed):
    check(fn, inputs(seed, NUM_INPUTS))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=200, **QUIET)
@given(programs_with_products(), st.integers(0, 2**32 - 1))
def test_many_random_programs_with_products_factor_exactly(fn, seed):
    check_components(fn, seed)


def check_descent(fn, seed):
    """Frozen at own patterns it is `f`; deep bounds hold, at every depth, exactly."""
    x = inputs(seed, NUM_INPUTS)
    try:
        descent = descend(fn, x[0])
    except ej.UnsupportedPrimitiveError as error:
        assert "cannot factor" in str(error)
        return None
    f = np.asarray(jax.vmap(fn)(x))
    assert np.all(np.abs(f) < 2.0**40), "sums would be rounded"
    for depth in range(1, descent.num_levels + 1):
        patterns = jax.vmap(lambda a, d=depth: descent.patterns(a, d))(x)
        own = jax.vmap(lambda p, a: descent.component(p)(a))(patterns, x)
        assert np.array_equal(own, f)
        for sign in (1, -1):

            def table(fn, patterns=patterns):
                return jax.vmap(lambda p: jax.vmap(lambda a: fn(p, a))(x))(patterns)

            value, gap = table(lambda p, a, s=sign: descent.gap(p, a, s))
            assert np.array_equal(value[0], f) and np.all(np.asarray(gap) >= 0)
            assert not np.diagonal(gap).any()
            bound = table(lambda p, a, s=sign: descent.bound(p, a, s))
            assert np.array_equal(bound, value - sign * gap)
    return descent


@settings(max_examples=5, **QUIET)
@given(programs(max_depth=8), st.integers(0, 2**32 - 1))
def test_descents_of_random_programs_are_exact(fn, seed):
    check_whole_descent(fn, seed)


def check_whole_descent(fn, seed):
    descent = check_descent(fn, seed)
    assert descent is not None and descent.end is None and not descent.refusal


def check_end(fn, seed):
    """`factor` goes as deep as the descent, then refuses (or froze the end away)."""
    descent, x = check_descent(fn, seed), inputs(seed, 2)
    if descent is None or descent.end is None:
        return
    component = fn
    with pytest.raises((ej.UnsupportedPrimitiveError, ej.NoGateError)):
        for level in range(descent.num_levels + 1):
            eq = ej.factor(component, x[0])
            assert level < descent.num_levels
            component = eq.component(*eq.pattern(x[1]))
    with pytest.raises(ej.UnsupportedPrimitiveError):
        descent.patterns(x[0], descent.num_levels + 1)
    with pytest.raises(ej.UnsupportedPrimitiveError):
        descent.atom(x[0])


@settings(max_examples=8, **QUIET)
@given(programs_with_black_boxes(), st.integers(0, 2**32 - 1))
def test_descents_end_above_black_boxes(fn, seed):
    check_end(fn, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=1000, **QUIET)
@given(programs_with_black_boxes(), st.integers(0, 2**32 - 1))
def test_a_thousand_descents_end_above_black_boxes(fn, seed):
    check_end(fn, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=100, **QUIET)
@given(programs(max_depth=6), st.integers(0, 2**32 - 1))
def test_components_of_many_random_programs_factor_exactly(fn, seed):
    check_components(fn, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=100, **QUIET)
@given(programs(max_depth=8), st.integers(0, 2**32 - 1))
def test_descents_of_many_random_programs_are_exact(fn, seed):
    check_whole_descent(fn, seed)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=1500, **QUIET)
@given(programs(), st.integers(0, 2**32 - 1))
def test_thousands_of_random_programs_factor_exactly(fn, seed):
    check_program(fn, seed)
