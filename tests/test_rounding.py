"""Rounding bounds: they hold, and they are not silly."""

import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

from ecg_jax import rules
from ecg_jax.errors import NoGateError, UnsupportedPrimitiveError
from ecg_jax.lattice.factor import factor, margin
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.proof.certificate import certify
from ecg_jax.proof.rounding import (
    cut,
    opened_gates,
    product_precision,
    rounding_bound,
    tail_bound,
)


class Dense(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (48, 32, 16):
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(3)(x)


class Conv(nn.Module):
    """Conv, batch norm, leaky ReLU, pools, a residual block, clip."""

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True)(nn.Conv(8, (5,))(x[:, None]))
        x = nn.max_pool(nn.leaky_relu(x), (3,), (2,), "SAME")
        x = x + nn.Conv(8, (3,))(nn.relu(nn.Conv(8, (3,))(x)))
        x = lax.reduce_window(jnp.abs(x), 0.0, lax.add, (2, 1), (2, 1), "VALID") / 2
        x = jnp.clip(nn.Dense(6)(x.reshape(-1)), -1.0, 2.0)
        return nn.Dense(3)(x)


NETWORKS = {"dense": Dense(), "conv": Conv()}

USUAL: dict[str, Any] = {"xla_backend_optimization_level": 3}
if "xla_cpu_use_fusion_emitters" in os.environ["XLA_FLAGS"]:
    USUAL |= {"xla_cpu_use_fusion_emitters": True}
COMPILED = (None, USUAL)
"""As the tests are compiled, and as a user's functions are."""


def evaluations(fn, x):
    """The values of a function on a batch, by operations and compiled each way."""
    batched = jax.vmap(fn)
    each = [jax.jit(batched, compiler_options=options)(x) for options in COMPILED]
    return [np.asarray(values, np.float64) for values in (batched(x), *each)]


def perturbed(network, x, seed):
    """Variables with random statistics too, so that batch norm does something."""
    variables = network.init(jax.random.key(seed), x)
    leaves, tree = jax.tree_util.tree_flatten(variables)
    rng = np.random.default_rng(seed)
    return tree.unflatten(
        [
            v * jnp.asarray(rng.uniform(0.5, 2.0, v.shape), v.dtype)
            + jnp.asarray(rng.uniform(0, 0.1, v.shape), v.dtype)
            for v in leaves
        ]
    )


def network_and_inputs(name, seed, num=64):
    network = NETWORKS[name]
    x = jax.random.normal(jax.random.key(100 + seed), (num, 32), jnp.float32)
    variables = perturbed(network, x[0], seed)
    return margin(lambda v: network.apply(variables, v), 1), x


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_bound_holds_and_is_of_use(name, seed):
    fn, x = network_and_inputs(name, seed)
    program = trace(fn, x[0], rules.RULES)
    exact = jax.vmap(widen(program).evaluate)(x.astype(jnp.float64))
    bound = np.asarray(jax.jit(jax.vmap(rounding_bound(program)))(x))
    for values in evaluations(fn, x):
        error = np.abs(values - np.asarray(exact))
        assert np.all(error <= bound)
        assert np.median(bound) <= 1e4 * np.median(error)


@pytest.mark.parametrize("name", some_slow(NETWORKS, ["mlp"]))
def test_bound_holds_for_components_witnesses_refuters(name):
    fn, x = network_and_inputs(name, 7)
    eq = factor(fn, x[0])
    wide = widen(eq.program)
    for _ in range(3):  # three levels deep
        bound = rounding_bound(eq.program)
        exact = factor(wide.evaluate, x[0].astype(jnp.float64))
        for a, b in zip(x[:16], x[16:32], strict=True):
            mu, tau = eq.pattern(a)
            limit = float(bound(b))
            for own, twin in (
                (eq.component(mu, tau), exact.component(mu, tau)),
                (eq.witness(mu), exact.witness(mu)),
                (eq.refuter(tau), exact.refuter(tau)),
            ):
                error = abs(float(own(b)) - float(twin(b.astype(jnp.float64))))
                assert error <= limit
        component = eq.component(*eq.pattern(x[0]))
        try:
            eq = factor(component, x[0])
        except NoGateError:
            break
        wide = widen(eq.program)


def test_tail_counts_only_what_follows_the_gates():
    fn, x = network_and_inputs("dense", 1)
    program = trace(fn, x[0], rules.RULES)
    opened = opened_gates(program)
    numbers, tail = cut(program, opened)
    assert len(numbers) == 2 and tail[0] is opened[0]
    values = [jnp.ones(program.avals[n].shape, jnp.float32) for n in numbers]
    assert 0 < tail_bound(program, opened)(values) < 1e-6


def test_a_lower_precision_widens_the_bound():
    fn, x = network_and_inputs("dense", 1)
    program = trace(fn, x[0], rules.RULES)
    limits = [
        float(rounding_bound(program, precision=p)(x[0]))
        for p in ("highest", "tf32", "bf16")
    ]
    assert limits[0] * 10 < limits[1] < limits[2] / 4
    with jax.default_matmul_precision("highest"):
        assert product_precision() == "highest"
    with pytest.raises(ValueError, match="precision is 'half'; known are"):
        rounding_bound(program, precision="half")


def test_products_in_bfloat16_stay_within_their_bound():
    """Rounds the factors by hand, as a TPU does."""

    def low(v):
        return v.astype(jnp.bfloat16).astype(jnp.float32)

    a = jax.random.normal(jax.random.key(0), (40, 40), jnp.float32)
    x = jax.random.normal(jax.random.key(1), (40,), jnp.float32)
    program = trace(lambda v: jnp.abs(a @ v).sum(), x, rules.RULES)
    exact = np.abs(np.asarray(a, np.float64) @ np.asarray(x, np.float64)).sum()
    error = abs(float(jnp.abs(low(a) @ low(x)).sum()) - exact)
    assert error > float(rounding_bound(program, precision="highest")(x))
    assert error <= float(rounding_bound(program, precision="bf16")(x))


BLACK_BOXES = {
    "exp": lambda x: jnp.exp(x),
    "tanh": lambda x: jnp.tanh(x),
    "logistic": lambda x: lax.logistic(x),
    "erf": lambda x: lax.erf(x),
    "log": lambda x: jnp.log(2 + jnp.abs(x)),
    "sqrt": lambda x: jnp.sqrt(1 + x * x),
    "cube": lambda x: x**3,
    "inverse": lambda x: (3 + jnp.abs(x)) ** -2,
    "attention": lambda x: x * (x[::-1] / (1 + jnp.abs(x))),
    "softmax": lambda x: jax.nn.softmax(x),
    "layer norm": lambda x: (x - x.mean()) * lax.rsqrt(jnp.var(x) + 0.1),
    "top": lambda x: lax.cummax(x) - lax.cummin(x),
    "leaky": lambda x: jnp.where(x > 0.1, x, 0.1 + 3 * (x - 0.1)),
    "sums": lambda x: jnp.cumsum(x) + jnp.pad(x[1:], (0, 1)),
    "gather": lambda x: x[np.array([0, 2, 2, 1])].repeat(8),
    "loop constant": lambda x: x * lax.fori_loop(0, 3, lambda i, c: c * 1.1, 1.3),
}


@pytest.mark.parametrize("name", BLACK_BOXES)
def test_operations_below_the_gates(name):
    """What has no max-min rule may still lie below an opened gate."""
    w = jax.random.normal(jax.random.key(2), (32, 32), jnp.float32)
    box = BLACK_BOXES[name]

    def fn(x):
        return jax.nn.relu(w @ box(w @ x)).sum()

    program = trace(fn, jnp.zeros(32, jnp.float32), rules.RULES)
    x = jax.random.normal(jax.random.key(3), (200, 32), jnp.float32) / 4
    exact = jax.vmap(widen(program).evaluate)(x.astype(jnp.float64))
    bound = np.asarray(jax.jit(jax.vmap(rounding_bound(program)))(x))
    for values in evaluations(fn, x):
        error = np.abs(values - exact)
        assert np.all(error <= bound)
        assert np.median(bound) <= 1e5 * np.median(error)


def test_jumps_below_the_gates_have_no_bound_and_are_not_guessed():
    """A rule for moved entries does not hold where an index sees the input."""

    def fn(x):
        return jnp.sum(jax.nn.relu(x + x[jnp.argmax(x)]))

    data = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    program = trace(fn, jnp.asarray(data[0]), rules.RULES)
    with pytest.raises(UnsupportedPrimitiveError, match="cannot bound the rounding"):
        rounding_bound(program)(data[0])
    found = certify(factor(fn, jnp.asarray(data[0])), data, num_pairs=64)
    assert found.holds
    assert all(claim.endswith("fn(x)") for claim in found.unchecked)
    assert len(found.unchecked) == 6


def test_an_unknown_operation_is_refused_not_guessed():
    def fn(x):
        return jax.nn.relu(lax.lgamma(x)).sum()

    program = trace(fn, jnp.zeros(3, jnp.float32), rules.RULES)
    with pytest.raises(UnsupportedPrimitiveError) as caught:
        rounding_bound(program)(jnp.zeros(3, jnp.float32))
    line = fn.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        f"cannot bound the rounding of `lgamma` at test_rounding.py:{line}.\n"
        "  why:     its primitive is not in the table of rounding rules\n"
        "  try:     pass a rule: rounding_bound(program, rules={**ROUNDING_RULES, "
        "primitive: rule})"
    )


SMOOTH = {
    "exp": jnp.exp,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "log": lambda z: jnp.log(1 + jnp.abs(z)),
    "logsumexp": lambda z: z * 0.5 + jax.nn.logsumexp(z),
    "norm": lambda z: z * 0.5 + jnp.linalg.norm(z),
    "square": jnp.square,
}


@pytest.mark.parametrize("name", some_slow(SMOOTH, ("tanh", "log", "norm", "square")))
def test_tangents_of_smooth_gates(name):
    """The bound is that of one pattern: slopes and values of its own anchor."""
    w = jax.random.normal(jax.random.key(2), (16, 16), jnp.float32) / 4
    head = jax.random.normal(jax.random.key(4), (16,), jnp.float32)
    eq = factor(lambda x: head @ SMOOTH[name](w @ x), jnp.ones(16, jnp.float32))
    wide = widen(eq.program)
    exact = factor(wide.evaluate, jnp.ones(16))
    x = jax.random.normal(jax.random.key(3), (40, 16), jnp.float32)
    bound = rounding_bound(eq.program)
    with pytest.raises(UnsupportedPrimitiveError, match="depend on the anchor"):
        bound(x[0])

    def errors(a, b):
        mu, tau = eq.pattern(a)
        frozen = eq.frozen(mu, tau)
        mu64, tau64 = jax.tree.map(lambda v: v.astype(float), (mu, tau))
        own = eq.component(mu, tau)(b), eq.witness(mu)(b), eq.refuter(tau)(b)
        c = b.astype(float)
        twins = (
            exact.component(mu64, tau64)(c),
            exact.witness(mu64)(c),
            exact.refuter(tau64)(c),
        )
        off = [abs(v.astype(float) - t) for v, t in zip(own, twins, strict=True)]
        return jnp.stack(off), bound(b, frozen)

    off, limit = jax.vmap(jax.vmap(errors, (None, 0)), (0, None))(x, x)
    assert np.all(np.asarray(off).max(-1) <= np.asarray(limit))
    assert np.median(limit) <= 1e4 * np.median(off)


CANCEL = {
    "gelu": lambda z: jax.nn.gelu(z, approximate=False),
    "gelu by tanh": jax.nn.gelu,
    "squareplus": jax.nn.squareplus,
    "expm1": jnp.expm1,
    "elu": jax.nn.elu,
    "hard_silu": jax.nn.hard_silu,
}


@pytest.mark.parametrize("name", CANCEL)
def test_bound_of_a_tangent_counts_terms_that_cancel_at_its_anchor(name):
    """Far below 0 these leave a millionth of the terms that they add up."""
    fn = CANCEL[name]
    a = np.concatenate([-np.geomspace(1, 200, 60), [-3.0, 3.0]]).astype("f")
    x = np.concatenate([a * np.float32(0.99), -a, np.float32([0.0])])
    eq, wide = factor(fn, a[0]), factor(fn, np.float64(a[0]))
    bound = rounding_bound(eq.program)

    def one(anchor, v):
        (p,), _ = eq.pattern(anchor)
        entry = eq.gates[0].own(p)
        own = eq.run(v, lambda i, z: eq.gates[0].frozen(entry, *z))
        twin = wide.gates[0].own(p.astype(float))
        exact = wide.run(v.astype(float), lambda i, z: wide.gates[0].frozen(twin, *z))
        return own.astype(float) - exact, bound(v, [entry])

    table = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    off, limit = map(np.asarray, table(a, x))
    assert np.all(np.abs(off) <= limit)


def test_tangents_at_kinks_are_tangents():
    """At -3 and 3, what `hard_silu` takes the derivative of there counts."""
    eq = factor(jax.nn.hard_silu, 0.0)
    z = jnp.linspace(-6, 6, 1201)
    for a in (-3.0, 3.0):
        for bound, sign in ((eq.witness(jnp.float64(a)), 1), (eq.refuter(a), -1)):
            lost = sign * (jax.nn.hard_silu(z) - jax.vmap(bound)(z))
            assert lost.min() >= -1e-12 and lost.max() > 1
        component = jax.vmap(eq.component(a, a))(z)
        assert jnp.allclose(jnp.diff(component, 2), 0, atol=1e-12)
