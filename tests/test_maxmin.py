import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.errors import FreezeError, PatternError
from ecg_jax.lattice.maxmin import MaxMin

W = jnp.asarray([1.0, 2.0, -1.0, 0.0])
RELU = ej.Gate(
    name="relu",
    operands=(0,),
    curvature=1,
    apply=jax.nn.relu,
    pattern=lambda z: z > 0,
    tangent=lambda p, z: jnp.where(p, z, 0),
)


def by_hand():
    """A `MaxMin` that no program stands behind: the mathematics knows no jaxpr."""

    def run(x, hook):
        return jnp.sum(W * hook(0, (x - 1,)))

    return MaxMin(
        fn=lambda x: jnp.sum(W * jax.nn.relu(x - 1)),
        gates=(RELU,),
        weights=(np.asarray(W),),
        sides=(np.sign(np.asarray(W)),),
        run=run,
        example=jnp.zeros(4),
    )


def points(count=40):
    return jnp.asarray(np.random.default_rng(0).integers(-4, 9, (count, 4)) / 2)


def test_max_min_needs_no_program():
    eq, x = by_hand(), points()
    for point in x:
        assert eq.component(point, point)(point) == eq.fn(point) == eq(point)
        for other in x[:5]:
            assert eq.witness(other)(point) <= eq.fn(point) <= eq.refuter(other)(point)


def test_max_over_mu_of_min_over_tau_on_the_product_of_seen_patterns():
    eq, x = by_hand(), points(12)
    mu, tau = jax.vmap(eq.pattern)(x)
    table = jax.vmap(
        lambda m: jax.vmap(lambda t: jax.vmap(eq.component(m, t))(x))(tau)
    )(mu)
    f = jax.vmap(eq.fn)(x)
    assert np.array_equal(table.min(1).max(0), f)
    assert np.array_equal(table.max(0).min(0), f)


def test_a_partial_pattern_is_sound_and_freezing_nothing_is_fn():
    eq, x = by_hand(), points()
    anchor = x[3]
    masks = [np.asarray([True, False, True, True])]
    for point in x:
        full, partial = eq.witness(anchor)(point), eq.witness(anchor, masks)(point)
        assert full <= partial <= eq.fn(point)
        assert eq.witness(anchor, [np.zeros(4, bool)])(point) == eq.fn(point)
        assert eq.refuter(anchor, [jnp.zeros(4, bool)])(point) == eq.fn(point)


def test_frozen_masks_may_be_traced():
    eq, x = by_hand(), points(2)
    masks = jnp.asarray([[True] * 4, [False] * 4])
    bound = jax.jit(jax.vmap(lambda m: eq.witness(x[0], [m])(x[1])))(masks)
    assert bound[0] == eq.witness(x[0])(x[1]) and bound[1] == eq.fn(x[1])


def test_no_pattern_and_no_input():
    with pytest.raises(PatternError) as caught:
        ej.factor(by_hand().fn, jnp.zeros(4)).component(jnp.zeros(3), jnp.zeros(4))
    assert str(caught.value) == (
        "neither a pattern of the 1 opened gates nor an input: the input has the shape "
        "(3,), the example had (4,).\n"
        "  try: an input of the shape (4,)\n"
        "  try: mu, tau = eq.pattern(x)"
    )


def test_a_pattern_of_another_equation():
    eq = by_hand()
    with pytest.raises(PatternError) as caught:
        eq.witness([np.zeros(5, bool)])
    assert str(caught.value) == (
        "entry 0 of the pattern has the shapes [(5,)]; gate `relu` needs [(4,)].\n"
        "  try: mu, tau = eq.pattern(x)"
    )


def test_masks_of_another_equation():
    eq = by_hand()
    with pytest.raises(PatternError) as caught:
        eq.witness(points()[0], [])
    assert str(caught.value) == (
        "`frozen` has 0 entries for 1 opened gates.\n"
        "  try: one boolean mask over the units of each gate"
    )
    with pytest.raises(PatternError) as caught:
        eq.refuter(points()[0], [np.ones(4)])
    assert str(caught.value) == (
        "entry 0 of `frozen` is float64[4]; gate `relu` needs a boolean mask of shape "
        "(4,)."
    )


def test_a_gate_that_cannot_be_frozen():
    f = lambda x: jnp.sum(jnp.sqrt(jnp.abs(x)))  # noqa: E731
    eq = ej.factor(f, jnp.ones(3))
    at_zero = jnp.asarray([0.0, 1.0, 0.0])
    for freeze in (lambda: eq.component(at_zero, at_zero), lambda: eq.refuter(at_zero)):
        with pytest.raises(FreezeError) as caught:
            freeze()
        assert str(caught.value) == (
            "cannot freeze gate 0, `sqrt`: 2 of its 3 units have no finite tangent at "
            "this anchor.\n"
            "  try: another anchor, or leave these units alive with `frozen` masks in "
            "eq.witness and eq.refuter"
        )
    alive = eq.refuter(at_zero, [np.asarray([False, True, False])])
    assert alive(jnp.asarray([0.0, 4.0, 0.0])) == 2.5 >= 2.0
    assert eq.witness(at_zero)(at_zero) == f(at_zero)


def test_a_traced_pattern_is_not_checked_for_finite_tangents():
    f = lambda x: jnp.sum(jnp.sqrt(jnp.abs(x)))  # noqa: E731
    eq = ej.factor(f, jnp.ones(3))
    values = jax.jit(lambda a, x: eq.refuter(a)(x))(jnp.zeros(3), jnp.ones(3))
    assert not np.isfinite(values)


def test_patterns_of_a_smooth_gate_are_its_anchors_with_a_fill():
    f = lambda x: jnp.sum(W * jnp.exp(x))  # noqa: E731
    eq = ej.factor(f, jnp.zeros(4))
    x = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    mu, tau = eq.pattern(x)
    assert mu[0].tolist() == [1, 2, 0, 0]
    assert tau[0].tolist() == [0, 0, 3, 0]


def test_both_sides_of_a_difference_hold_their_anchors():
    eq = ej.factor(lambda x: jnp.sum(W * jnp.tanh(x)), jnp.zeros(4))
    x = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    for side in eq.pattern(x):
        assert [np.asarray(anchor).tolist() for anchor in side] == [[1, 2, 3, 0]]
