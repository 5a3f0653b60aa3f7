"""Certificates: right equations hold, every mutant of the rules is caught."""

from dataclasses import replace
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import CertificateError, ExampleError, NoGateError, NonFiniteError
from ecg_jax.lattice.factor import factor, margin
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Affine, Rewrite, Same
from ecg_jax.proof.certificate import certify
from ecg_jax.rules import RULES
from ecg_jax.rules.smooth import tangent_gate

DIM = 12


def weights(seed, *shape):
    rng = np.random.default_rng([seed, *shape])
    return rng.normal(size=shape) / np.sqrt(shape[-1])


def mlp(dtype, seed=0):
    layers = [
        weights(seed + i, *s).astype(dtype) for i, s in enumerate([(16, DIM), (8, 16)])
    ]
    head = weights(seed + 9, 8).astype(dtype)

    def fn(x):
        for w in layers:
            x = jax.nn.relu(w @ x + w[:, 0])
        return head @ x

    return fn


def cnn(dtype):
    kernel = weights(1, 4, 1, 3).astype(dtype)
    second = weights(2, 4, 4, 3).astype(dtype)
    head = weights(3, 20).astype(dtype)

    def fn(x):
        y = lax.conv_general_dilated(x[None, None], kernel, (1,), "SAME")
        y = jax.nn.relu(y + dtype(0.1))
        y = lax.reduce_window(y, -dtype(np.inf), lax.max, (1, 1, 3), (1, 1, 2), "SAME")
        y = lax.conv_general_dilated(y, second, (1,), "SAME")
        y = lax.reduce_window(y, -dtype(np.inf), lax.max, (1, 1, 2), (1, 1, 1), "VALID")
        return head @ y.reshape(-1)

    return fn


def residual(dtype):
    a, b = (weights(i, DIM, DIM).astype(dtype) for i in (4, 5))
    head = weights(6, DIM).astype(dtype)

    def fn(x):
        x = x + a @ jax.nn.relu(b @ x)
        x = x + b @ jax.nn.relu(a @ x)
        return head @ x

    return fn


def mixed(dtype):
    """leaky ReLU, abs, min, clamp, max of two values, a selection of steep slope."""
    w = [weights(i, DIM, DIM).astype(dtype) for i in range(10, 14)]
    head = weights(20, DIM).astype(dtype)

    def fn(x):
        y = jnp.where(w[0] @ x > 0, w[0] @ x, dtype(0.25) * (w[0] @ x))
        z = jnp.minimum(jnp.abs(w[1] @ y), dtype(1)) + jnp.clip(w[2] @ y, -1, 2)
        v = w[3] @ z
        v = jnp.maximum(v, v[::-1]) + jnp.where(v > 0.5, 3 * v - 1, v)
        return head @ v - lax.cummax(v)[5] + jnp.min(v)

    return fn


def classes(dtype):
    w, head = weights(7, 10, DIM).astype(dtype), weights(8, 4, 10).astype(dtype)
    return margin(lambda x: head @ jax.nn.relu(w @ x), 2)


NETWORKS = {
    "mlp": mlp,
    "cnn": cnn,
    "residual": residual,
    "mixed": mixed,
    "classes": classes,
}


def data(dtype=np.float32, num=40):
    return np.random.default_rng(5).normal(size=(num, DIM)).astype(dtype)


@pytest.mark.parametrize(
    ("name", "dtype"),
    some_slow(
        product(NETWORKS, (np.float32, np.float64)),
        [("mlp", np.float64), ("mixed", np.float64)],
    ),
)
def test_right_equations_hold_at_every_level(name, dtype):
    x = data(dtype)
    fn, levels = NETWORKS[name](dtype), 0
    while True:
        try:
            eq = factor(fn, x[0])
        except NoGateError:
            break
        certificate = certify(eq, x, num_pairs=200, batch=100, num_adversarial=60)
        certificate.raise_if_violated()
        assert certificate.num_skipped == 0
        assert certificate.ratio <= 1
        fn, levels = eq.component(*eq.pattern(x[levels])), levels + 1
    assert levels == {"mlp": 2, "cnn": 3, "residual": 2, "mixed": 5, "classes": 2}[name]


# Mutants: what may go wrong in a rule, or in what is made of it.


def linear_net(gate):
    """A gate between two layers, with weights of either sign."""
    w, head = weights(30, DIM, DIM), weights(31, DIM)
    return lambda x: head @ gate(w @ x) + head @ x


def gate_net(x):
    return linear_net(lambda z: jnp.maximum(z, 0.3))(x)


def min_net(x):
    return linear_net(lambda z: jnp.minimum(z, 0.3))(x)


def max_of_two_net(x):
    return linear_net(lambda z: jnp.maximum(z, z[::-1]))(x)


def abs_net(x):
    return linear_net(jnp.abs)(x)


def select_net(x):
    return linear_net(lambda z: jnp.where(z > 0, z, 0.2 * z))(x)


def reduce_net(x):
    return linear_net(lambda z: jnp.repeat(z.reshape(4, 3).max(1), 3))(x)


def reduce_min_net(x):
    return linear_net(lambda z: jnp.repeat(z.reshape(4, 3).min(1), 3))(x)


def pool_net(x):
    def pool(z):
        return lax.reduce_window(z, -np.inf, lax.max, (3,), (1,), "SAME")

    return linear_net(pool)(x)


def running_net(x):
    return linear_net(lax.cummax)(x)


def deep_net(x):
    """A gate whose tail holds an abs: a wrong role of that one is fatal."""
    return jnp.abs(linear_net(jax.nn.relu)(x) - 0.1)


def softplus_net(x):
    return linear_net(jax.nn.softplus)(x)


def exp_net(x):
    return linear_net(lambda z: jnp.exp(0.5 * z))(x)


def log_net(x):
    return linear_net(lambda z: jnp.log(0.5 + jnp.abs(z)))(x)


def sum_of_exp_net(x):
    return linear_net(lambda z: z * 0.5 + jax.jit(jax.nn.logsumexp)(z))(x)


def silu_net(x):
    return linear_net(jax.nn.silu)(x)


def tanh_net(x):
    return linear_net(jnp.tanh)(x)


def product_net(x):
    y = jax.nn.relu(weights(32, DIM, DIM) @ x)
    return jnp.sum(y * y[::-1]) - jnp.sum(y)


def half_dead_net(x):
    """Every other unit has weight 0: only the canonical fill is read there."""
    head = weights(34, DIM) * (np.arange(DIM) % 2)
    w = weights(35, DIM, DIM, 3)
    return head @ jnp.max(jnp.einsum("ijk,j->ik", w, x), axis=1)


def clip_net(x):
    return linear_net(lambda z: lax.clamp(-0.5, z, 0.25))(x)


def changed(primitive, change):
    """The rule table with one rule's answers changed."""
    rule = RULES[primitive]

    def mutant(application):
        role = rule(application)
        return change(role) if isinstance(role, Gate) else role

    return {primitive: mutant}


def flip(role):
    return replace(role, curvature=-np.asarray(role.curvature))


def wrong_mask(role):
    return replace(role, pattern=lambda *z: ~role.pattern(*z))


def swapped(role):
    return replace(role, tangent=lambda p, *z: role.tangent(~p, *z))


def all_true(role):
    return replace(role, pattern=lambda *z: jnp.ones_like(role.pattern(*z)))


def steep(role):
    return replace(role, tangent=lambda p, *z: 1.125 * role.tangent(p, *z))


def no_constant(role):
    return replace(role, tangent=lambda p, z: jnp.where(p, z, 0.0))


def alive_is_linear(role):
    return replace(role, apply=lambda *z: z[-1])


def alive_is_first(role):
    def apply(z):
        return role.tangent(jnp.zeros_like(role.pattern(z)), z)

    return replace(role, apply=apply)


def next_winner(role):
    return replace(role, pattern=lambda z: (role.pattern(z) + 1) % 3)


def first_winner(role):
    return replace(role, pattern=lambda z: jnp.zeros_like(role.pattern(z)))


def wrong_sides(role):
    return replace(role, spread=lambda mask, leaf: ~mask)


MASKED = {
    lax.max_p: (gate_net, max_of_two_net),
    lax.min_p: (min_net,),
    lax.abs_p: (abs_net,),
    lax.select_n_p: (select_net,),
}
WON = {
    lax.reduce_max_p: (reduce_net,),
    lax.reduce_min_p: (reduce_min_net,),
    lax.reduce_window_max_p: (pool_net,),
    lax.cummax_p: (running_net,),
}
OF_MASKS = (flip, wrong_mask, swapped, all_true, steep, alive_is_linear, wrong_sides)
OF_WINNERS = (flip, next_winner, first_winner, steep, alive_is_linear, wrong_sides)


def flat(role):
    """A tangent of the right value and nine tenths of the slope."""

    def tangent(p, *z):
        at = p if isinstance(p, tuple) else (p,)
        return 0.9 * role.tangent(p, *z) + 0.1 * role.apply(*at)

    return replace(role, tangent=tangent)


def low(role):
    return replace(role, tangent=lambda p, *z: role.tangent(p, *z) - 1e-6)


def far_fill(role):
    return replace(role, fill=99)


MASKED = {
    lax.max_p: (gate_net, max_of_two_net),
    lax.min_p: (min_net,),
    lax.abs_p: (abs_net,),
    lax.select_n_p: (select_net,),
}
WON = {
    lax.reduce_max_p: (reduce_net,),
    lax.reduce_min_p: (reduce_min_net,),
    lax.reduce_window_max_p: (pool_net,),
    lax.cummax_p: (running_net,),
}
SMOOTH = {
    jax.nn.softplus: (softplus_net,),
    lax.exp_p: (exp_net,),
    lax.log_p: (log_net,),
    jax.nn.logsumexp: (sum_of_exp_net,),
}
TABLES = (
    (
        MASKED,
        (flip, wrong_mask, swapped, all_true, steep, alive_is_linear, wrong_sides),
    ),
    (WON, (flip, next_winner, first_winner, steep, alive_is_first, wrong_sides)),
    (SMOOTH, (flip, steep, flat, low, alive_is_linear, wrong_sides)),
)


def always(role):
    return lambda application: role


WHOLE_RULES = {
    "abs is affine": (deep_net, {lax.abs_p: always(Affine())}),
    "a product is affine": (product_net, {lax.mul_p: always(Affine())}),
    "neg is dropped": (lambda x: gate_net(-x), {lax.neg_p: always(Same(0))}),
    "clip has no upper end": (
        clip_net,
        {lax.clamp_p: always(Rewrite(lambda lo, z, hi: lax.max(z, lo)))},
    ),
    "a max is its operand": (gate_net, {lax.add_p: always(Same(0))}),
    "tanh is convex": (
        tanh_net,
        {lax.tanh_p: always(tangent_gate("tanh", lax.tanh, 1))},
    ),
    "silu is convex": (
        silu_net,
        {jax.nn.silu: always(tangent_gate("silu", jax.nn.silu, 1))},
    ),
    "max forgets its constant": (gate_net, changed(lax.max_p, no_constant)),
    "min forgets its constant": (min_net, changed(lax.min_p, no_constant)),
    "the fill is no winner": (half_dead_net, changed(lax.reduce_max_p, far_fill)),
}


def two_paths(x):
    z = jnp.maximum(weights(30, DIM, DIM) @ x, 0.3)
    return weights(33, DIM) @ z + gate_net(x)


def with_sides(net, change):
    def make():
        eq = factor(net, jnp.zeros(DIM))
        return replace(eq, sides=tuple(map(change, eq.sides)))

    return make


EQUATIONS = {
    "all sides turned": with_sides(gate_net, lambda s: -s),
    "one side turned": with_sides(
        gate_net, lambda s: s * np.where(np.arange(DIM) == 3, -1, 1)
    ),
    "all on the max side": with_sides(gate_net, np.abs),
    "all on the min side": with_sides(gate_net, lambda s: -np.abs(s)),
    "all on neither side": with_sides(gate_net, np.zeros_like),
    "first term of the tail dropped": with_sides(
        two_paths, lambda s: np.sign(weights(31, DIM))
    ),
    "second term of the tail dropped": with_sides(
        two_paths, lambda s: np.sign(weights(33, DIM))
    ),
}


def mutants():
    """Every mutant's name and how to make it."""
    for table, changes in TABLES:
        for key, nets in table.items():
            for net in nets:
                for change in changes:
                    rules = {**RULES, **changed(key, change)}
                    name = f"{net.__name__}: {change.__name__}"
                    yield name, partial(factor, net, jnp.zeros(DIM), rules)
    yield from single_mutants()


def single_mutants():
    """Those that are no product of nets and changes."""
    for name, (net, rules) in WHOLE_RULES.items():
        yield name, partial(factor, net, jnp.zeros(DIM), {**RULES, **rules})
    yield from EQUATIONS.items()


MUTANTS = dict(mutants())


def quick():
    """Every net and every change of a table at least once, and all single ones."""
    chosen = {name for name, _ in single_mutants()}
    for table, changes in TABLES:
        nets = [net for nets in table.values() for net in nets]
        for i in range(max(len(nets), len(changes))):
            net, change = nets[i % len(nets)], changes[i % len(changes)]
            chosen.add(f"{net.__name__}: {change.__name__}")
    return chosen


QUICK = quick()


def check(eq):
    return certify(eq, data(np.float64), num_pairs=64, batch=64, num_adversarial=24)


def test_how_many_mutants():
    assert len(MUTANTS) == 100 and len(QUICK) == 36 and QUICK <= set(MUTANTS)


@pytest.mark.parametrize(
    "name",
    some_slow(MUTANTS, QUICK),
)
def test_every_mutant_is_caught(name):
    certificate = check(MUTANTS[name]())
    assert not certificate.holds
    with pytest.raises(CertificateError, match="the equation violates"):
        certificate.raise_if_violated()


UNCHANGED = {net for table, _ in TABLES for nets in table.values() for net in nets}
UNCHANGED |= {deep_net, clip_net, tanh_net, silu_net, half_dead_net, two_paths}


NETS = sorted(UNCHANGED, key=lambda net: net.__name__)


@pytest.mark.parametrize("net", some_slow(NETS, NETS[::2]))
def test_what_is_not_mutated_holds(net):
    check(factor(net, jnp.zeros(DIM))).raise_if_violated()


def test_the_certificate_tells_what_it_did():
    eq = factor(mlp(np.float32), data()[0])
    certificate = ej.certify(eq, data(), num_pairs=100, batch=64, num_adversarial=30)
    assert certificate.holds and certificate.num_pairs == 100
    assert certificate.num_inputs == 40 + 6 * 4 + 1
    assert (certificate.dtype, certificate.precision) == ("float32", "highest")
    assert 0 <= certificate.residual < 1e-5 and certificate.violation < 1e-5
    text = str(certificate).splitlines()
    assert text[0] == (
        "certificate holds: 65 inputs, 100 pairs, 0 skipped, float32, products "
        "highest, cpu, 0.0% vacuous"
    )
    assert [line.split("  ")[0] for line in text[2:]] == [
        c.claim for c in certificate.checks
    ]
    assert len(certificate.checks) == 23


def test_the_whole_message():
    rules = {**RULES, **changed(lax.max_p, steep)}
    eq = factor(lambda x: jax.nn.relu(x)[0], jnp.zeros(2), rules)
    certificate = certify(eq, np.array([[1.0, 2.0]]), num_adversarial=0, num_pairs=4)
    with pytest.raises(CertificateError) as caught:
        certificate.raise_if_violated()
    assert str(caught.value) == (
        "the equation violates 8 of its 14 claims.\n"
        "  worst: N[x](x) = fn(x) in float64 fails by 0.125, "
        "the rounding bound there is 0\n"
        "  where: x = data[0]\n"
        "  try:   check your own rules, if any; else please report the function"
    )


def test_data_that_do_not_fit():
    eq = factor(mlp(np.float32), data()[0])
    with pytest.raises(ExampleError, match=r"the data have the shape \(5, 3\)"):
        certify(eq, np.zeros((5, 3), np.float32))
    with pytest.raises(ExampleError, match="no examples"):
        certify(eq, data()[:0])
    bad = data()
    bad[7, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"data\[7\] holds NaN"):
        certify(eq, bad, num_adversarial=0, num_pairs=8)


def test_a_deep_program_is_checked_behind_its_gates():
    """In float32 the bound of the whole overflows; that of the tail does not."""
    layers = [weights(40 + i, DIM, DIM).astype(np.float32) for i in range(14)]

    def fn(x):
        for w in layers:
            z = w @ x
            x = jax.nn.relu(1000 * z - 999 * z)
        return x[:6].sum() - x[6:].sum()

    def check_deep(rules):
        eq = factor(fn, data()[0], rules)
        return certify(eq, data(), num_pairs=64, batch=64, num_adversarial=0)

    certificate = check_deep(RULES)
    assert certificate.unchecked and "f(x) = fn(x)" in certificate.unchecked
    assert "no finite bound" in str(certificate)
    assert all(check.holds for check in certificate.checks)
    assert certificate.vacuous == 1 and not certificate.holds
    with pytest.raises(CertificateError, match="for 100"):
        certificate.raise_if_violated()
    assert not check_deep({**RULES, **changed(lax.max_p, flip)}).holds
