"""Functions in two pieces, times a step, or between knots: exact, sound, or refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.lattice.descent import descend

D = 0.5
SLOPES = jnp.asarray([0.5, -0.25, 2.0, 0.0])
KNOTS, BUMP = jnp.asarray([-1.0, 0.0, 0.5, 2.0]), jnp.asarray([0.0, 1.0, -1.0, 0.5])


def elu(z):
    return jnp.where(z > 0, z, jnp.exp(z) - 1)


def soft_threshold(z):
    return jnp.where(jnp.abs(z) > D, z - D * jnp.sign(z), 0.0)


EXACT = {
    "relu by a mask": (1, lambda z: z * (z > 0)),
    "relu by a mask of floats": (1, lambda z: (z >= 0).astype(z.dtype) * z),
    "relu by the mask of the rest": (1, lambda z: z * (1 - (z < 0))),
    "leaky relu by a mask": (1, lambda z: z * jnp.where(z > 0, 1.0, SLOPES)),
    "leaky relu by two masks": (1, lambda z: z * (z > 0) + 0.25 * z * (z <= 0)),
    "hinge by a mask": (1, lambda z: (z - 1) * (z > 1)),
    "squared hinge": (2, lambda z: jnp.where(z < D, (z - D) ** 2, 0.0)),
    "elu by a selection": (2, elu),
    "elu by masks": (2, lambda z: z * (z > 0) + (jnp.exp(z) - 1) * (z <= 0)),
    "sign times logarithm": (2, lambda z: jnp.sign(z) * jnp.log1p(jnp.abs(z))),
    "mu-law": (2, lambda z: jnp.log1p(255 * jnp.abs(z)) * jnp.sign(z) / 4),
    "logarithms of either sign": (
        2,
        lambda z: jnp.where(z > 0, jnp.log1p(z), -jnp.log1p(-z)),
    ),
    "sign times square": (2, lambda z: jnp.sign(z) * z**2),
    "soft threshold by sign": (
        2,
        lambda z: jnp.sign(z) * jnp.maximum(jnp.abs(z) - D, 0),
    ),
    "soft threshold by a selection": (1, soft_threshold),
    "Huber": (
        1,
        lambda z: jnp.where(jnp.abs(z) <= D, 0.5 * z**2, D * (jnp.abs(z) - D / 2)),
    ),
    "Huber, twice as large": (
        1,
        lambda z: jnp.where(jnp.abs(z) > D, 2 * D * jnp.abs(z) - D**2, z * z),
    ),
    "interpolation": (1, lambda z: jnp.interp(z, KNOTS, BUMP)),
    "convex interpolation": (1, lambda z: jnp.interp(z, KNOTS, jnp.abs(KNOTS))),
    "concave interpolation": (
        1,
        lambda z: jnp.interp(z, KNOTS, -(KNOTS**2), "extrapolate", "extrapolate"),
    ),
    "quartiles": (1, lambda z: jnp.quantile(z, jnp.asarray([0.25, 0.75]))),
    "cumulative extrema": (1, lambda z: jax.lax.cummax(z) - jax.lax.cummin(z)),
    "spectrum": (1, lambda z: jnp.abs(jnp.fft.rfft(z))),
    "a loop of four steps": (
        4,
        lambda z: jax.lax.while_loop(
            lambda s: s[0] < 4, lambda s: (s[0] + 1, jax.nn.relu(s[1] - 0.25)), (0, z)
        )[1],
    ),
}


def margin(name, dtype):
    """The function's values added up with weights of either sign."""

    def f(x):
        out = EXACT[name][1](x).astype(dtype)
        weights = np.resize([1.0, -1.0, 2.0, -0.5], out.shape)
        return jnp.sum(jnp.asarray(weights, dtype) * out)

    return f


def inputs(dtype, count=200):
    """At the kinks, next to them, and far away."""
    rng = np.random.default_rng(3)
    kinks = rng.choice([-2.0, -1.0, -D, 0.0, D, 1.0, 2.0], (count, 4))
    near = kinks + rng.choice([0, 1e-7, -1e-7, 1e-3, -1e-3], (count, 4))
    far = rng.normal(size=(count, 4)) * rng.choice([1, 1, 30], (count, 1))
    return np.where(rng.random((count, 1)) < 0.5, near, far).astype(dtype)


@pytest.mark.parametrize("dtype", some_slow([np.float32, np.float64], [np.float64]))
@pytest.mark.parametrize("name", EXACT)
@jax.numpy_dtype_promotion("standard")
def test_exact_to_atoms(name, dtype):
    f, x = margin(name, dtype), inputs(dtype)
    descent = descend(f, x[0])
    assert (descent.refusal, descent.num_levels) == ("", EXACT[name][0])
    eq = ej.factor(f, x[0])
    assert np.array_equal(jax.vmap(eq)(x), jax.vmap(f)(x))


@pytest.mark.parametrize("dtype", some_slow([np.float32, np.float64], [np.float32]))
@pytest.mark.parametrize("name", EXACT)
@jax.numpy_dtype_promotion("standard")
def test_witness_and_refuter_are_bounds(name, dtype):
    """Of 20,000 pairs on either side none is beyond what rounding explains."""
    f, x = margin(name, dtype), inputs(dtype)
    eq = ej.factor(f, x[0])
    mu, tau = jax.vmap(eq.pattern)(x[:100])
    value = np.asarray(jax.vmap(f)(x))
    below = jax.vmap(lambda m: jax.vmap(eq.witness(m))(x))(mu)
    above = jax.vmap(lambda t: jax.vmap(eq.refuter(t))(x))(tau)
    size = 1 + np.add.outer(np.abs(x[:100]).max(1), np.abs(x).max(1))
    room = 64 * float(np.finfo(dtype).eps) * size**2
    assert np.all(np.asarray(below) - value <= room)
    assert np.all(value - np.asarray(above) <= room)


CERTIFIED = {
    "sign times logarithm": np.float64,
    "Huber": np.float32,
    "interpolation": np.float32,
}


@pytest.mark.parametrize("name", CERTIFIED)
@jax.numpy_dtype_promotion("standard")
def test_the_certificate_holds(name):
    x = np.random.default_rng(5).normal(size=(20, 4)).astype(CERTIFIED[name])
    f = margin(name, x.dtype)
    certificate = ej.certify(ej.factor(f, x[0]), x, num_pairs=64)
    assert certificate.holds and certificate.vacuous == 0


JUMPS = {
    "hard threshold": lambda z: jnp.where(jnp.abs(z) > D, z, 0.0),
    "a mask beside its kink": lambda z: z * (z > D),
    "a mask of another value": lambda z: z[::-1] * (z > 0),
    "elu of another height": lambda z: jnp.where(z > 0, z, jnp.exp(z)),
    "Huber of another slope": lambda z: jnp.where(
        jnp.abs(z) <= D, 0.5 * z**2, D * jnp.abs(z)
    ),
    "sign times another value": lambda z: jnp.sign(z) * jnp.log1p(jnp.abs(z) + 1),
    "interpolation with another end": lambda z: jnp.interp(z, KNOTS, BUMP, left=7.0),
    "interpolation with falling knots": lambda z: jnp.interp(z, KNOTS[::-1], BUMP),
}


@pytest.mark.parametrize("name", JUMPS)
@jax.numpy_dtype_promotion("standard")
def test_what_jumps_is_refused(name):
    with pytest.raises(ej.UnsupportedPrimitiveError, match="cannot factor"):
        descend(lambda x: jnp.sum(JUMPS[name](x)), jnp.ones(4)).opened(9)


def test_a_huber_loss_is_one_convex_gate():
    (gate,) = ej.factor(margin("Huber", np.float64), np.ones(4)).gates
    assert (gate.name, gate.curvature) == ("huber", 1)


def test_curvature_of_an_interpolation_is_that_of_its_knots():
    names = ["interpolation", "convex interpolation", "concave interpolation"]
    gates = [ej.factor(margin(n, np.float64), np.ones(4)).gates[0] for n in names]
    assert [gate.split is None for gate in gates] == [False, False, True]
    assert gates[2].curvature == -1


@pytest.mark.parametrize(
    "fn", [lambda z: jnp.where(z > 0, z, 0.0), lambda z: z * (z > 0)]
)
@jax.numpy_dtype_promotion("standard")
def test_a_tail_bound_counts_the_case_that_is_not_taken(fn):
    """Frozen to `z` where `z` is not taken, a selection is as large as `z`."""
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    x[0], x[1] = -1e3, 1e-6
    eq = ej.factor(lambda z: jnp.asarray([1.0, -1.3, 0.7, -0.5], z.dtype) @ fn(z), x[2])
    certificate = ej.certify(eq, x, num_pairs=2000)
    assert certificate.ratio <= 1
