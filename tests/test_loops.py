"""Loops: the last steps are written out when their turn comes, the others stay one."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.lattice.descent import descend
from ecg_jax.program.roles import Affine, Loop
from ecg_jax.program.trace import trace
from ecg_jax.proof.rounding import Walk, rounding_bound
from ecg_jax.proof.rounding_rules import Bounded
from ecg_jax.proof.walk import is_piecewise_linear
from ecg_jax.tree.store import load, save

SIZE = 4


def weights(dtype):
    rng = np.random.default_rng(0)
    shapes = ((1 + SIZE, 4 * SIZE), (SIZE, SIZE), (SIZE,), (SIZE,))
    return [jnp.asarray(rng.normal(size=shape) / 2, dtype) for shape in shapes]


def network(kind, dtype=np.float64):
    """A recurrent network over `[time, 1]`."""
    w, u, v, head = weights(dtype)
    zero = jnp.zeros(SIZE, dtype)

    def lstm(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h]) @ w, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    def gru(h, x):
        z, r, n, _ = jnp.split(jnp.concatenate([x, h]) @ w, 4)
        z, r = jax.nn.sigmoid(z), jax.nn.sigmoid(r)
        h = (1 - z) * jnp.tanh(n + r * (u @ h)) + z * h
        return h, h

    def relu(h, x):
        h = jax.nn.relu(u @ h + v * x)
        return h, h

    def silu(h, x):
        return jax.nn.silu(u @ h + v * x), None

    def counted(x):
        step = lambda i, h: jax.nn.relu(u @ h + v * x[i, 0] * (i + 1))  # noqa: E731
        return lax.fori_loop(0, len(x), step, zero)

    def ended(x):
        step = lambda c: (c[0] + 1, relu(c[1], x[c[0]])[0])  # noqa: E731
        return lax.while_loop(lambda c: c[0] < len(x), step, (0, zero))[1]

    def nested(h, x):
        return lax.fori_loop(0, 2, lambda _, q: relu(q, x)[0], h), None

    def fading(carry, x):
        h, t = carry
        return (jax.nn.relu(0.5 * u @ h + t * v * x), t * 0.75), None

    of = {
        "lstm": lambda x: lax.scan(lstm, (zero, zero), x)[0][0],
        "lstm, mean": lambda x: jnp.mean(lax.scan(lstm, (zero, zero), x)[1], 0),
        "lstm, last": lambda x: lax.scan(lstm, (zero, zero), x)[1][-1],
        "gru": lambda x: lax.scan(gru, zero, x)[0],
        "gru, backwards": lambda x: lax.scan(gru, zero, x, reverse=True)[1][0],
        "gru, unroll": lambda x: lax.scan(gru, zero, x, unroll=2)[0],
        "both ways": lambda x: (
            lax.scan(gru, zero, x)[0] + lax.scan(gru, zero, x, reverse=True)[0]
        ),
        "two layers": lambda x: lax.scan(gru, zero, lax.scan(relu, zero, x)[1][:, :1])[
            0
        ],
        "silu": lambda x: lax.scan(silu, zero, x)[0],
        "fori": counted,
        "while": ended,
        "nested": lambda x: lax.scan(nested, zero, x)[0],
        "fading": lambda x: lax.scan(fading, (zero, jnp.ones((), dtype)), x)[0][0],
        "skip": lambda x: lax.scan(lambda h, a: (h + relu(h, a)[0] / 4, None), zero, x)[
            0
        ],
        "total": lambda x: lax.scan(lambda c, a: (c + jnp.tanh(v * a), None), zero, x)[
            0
        ],
        "map": lambda x: lax.map(lambda a: jnp.tanh(u @ (v * a)), x).sum(0),
        "sums": lambda x: jax.nn.relu(
            lax.scan(lambda c, a: (u @ c / 2 + v * a, c), zero, x)[0]
        ),
    }[kind]
    return lambda x: of(x) @ head


KINDS = (
    "lstm",
    "lstm, mean",
    "lstm, last",
    "gru",
    "gru, backwards",
    "gru, unroll",
    "both ways",
    "two layers",
    "silu",
    "fori",
    "while",
    "nested",
    "fading",
    "skip",
    "total",
    "map",
    "sums",
)


def inputs(num, steps=6, dtype=np.float64):
    x = np.random.default_rng(1).normal(size=(num, steps, 1))
    return jnp.asarray(x, dtype)


def loops_of(program):
    return [eqn for eqn in program.equations if isinstance(eqn.role, Loop)]


QUICK = ("lstm", "gru", "both ways", "fori", "nested", "fading", "total", "map")


F4, F8 = np.float32, np.float64


@pytest.mark.parametrize(
    ("kind", "dtype"),
    some_slow(
        product(KINDS, (F4, F8)),
        [("lstm", F4), ("fori", F4), *product(KINDS, (F8,))],
    ),
)
def test_equation_components_and_bounds(kind, dtype):
    fn, x = network(kind, dtype), inputs(8, dtype=dtype)
    eq = ej.factor(fn, x[0])
    assert np.array_equal(jax.jit(jax.vmap(eq))(x), jax.jit(jax.vmap(fn))(x))
    for v in x[:2]:
        assert eq(v) == fn(v)
        assert jax.jit(eq)(v) == jax.jit(fn)(v)
    f = np.asarray(jax.vmap(fn)(x))
    room = 1e3 * np.finfo(dtype).eps

    def forms(a, x):
        mu, tau = eq.pattern(a)
        return eq.component(mu, tau)(x), eq.witness(mu)(x), eq.refuter(tau)(x)

    own = jax.vmap(forms)(x, x)
    assert np.allclose(own, f[None], rtol=room, atol=room)
    of = jax.jit(jax.vmap(jax.vmap(forms, (None, 0)), (0, None)))
    _, low, high = map(np.asarray, of(x, x))
    assert np.all(low <= f + room) and np.all(f <= high + room)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    some_slow(
        product(("lstm", "gru, backwards", "fori", "fading", "map"), (F4, F8)),
        [("lstm", F4), ("gru, backwards", F8), ("fori", F4), ("fading", F8)],
    ),
)
def test_certificates_hold(kind, dtype):
    fn, x = network(kind, dtype), inputs(24, dtype=dtype)
    found = ej.certify(
        ej.factor(fn, x[0]), x, num_pairs=64, batch=32, num_adversarial=8
    )
    assert found.holds, str(found)


@pytest.mark.parametrize(
    ("kind", "steps"),
    some_slow(
        [("lstm", 4), ("lstm", 6), ("gru", 6), ("fori", 6)], [("lstm", 4), ("fori", 6)]
    ),
)
def test_each_level_peels_what_it_needs(kind, steps):
    """Down level by level, one more step is written out where the last is frozen."""
    fn, x = network(kind), jnp.asarray(inputs(1, steps)[0])
    f, node, sizes = fn(x), fn, []
    while True:
        try:
            eq = ej.factor(node, x)
        except ej.NoGateError:
            break
        left = [eqn.params["length"] for eqn in loops_of(eq.program)]
        sizes += left
        node = eq.component(*eq.pattern(x))
        assert node(x) == pytest.approx(float(f), rel=1e-9)
    assert sorted(set(sizes)) == list(range(2, steps))
    template = jax.grad(node)(x)
    offset = node(jnp.zeros_like(x))
    assert jnp.sum(template * x) + offset == pytest.approx(float(f), rel=1e-9)


@pytest.mark.parametrize("kind", some_slow(KINDS, QUICK))
def test_levels_are_those_of_all_steps_written_out(kind):
    """The first levels do not depend on how many steps are written out for them."""
    fn, x = network(kind), inputs(3)
    whole, some = descend(fn, x[0]), descend(fn, x[0], depth=3)
    assert whole.end is None
    assert not loops_of(whole.program)
    depth = min(3, whole.num_levels)
    shapes = whole.unit_shapes(depth)
    assert some.unit_shapes(depth) == shapes
    anchor = [d.patterns(x[0], depth) for d in (whole, some)]
    for v in x:
        for sign in (1, -1):
            pairs = zip((whole, some), anchor, strict=True)
            one, other = (d.gap(a, v, sign) for d, a in pairs)
            assert np.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "steps", [6, pytest.param(50, marks=pytest.mark.slow)], ids=["6", "50"]
)
@pytest.mark.parametrize("kind", ["lstm", "gru", "fori"])
def test_atoms(kind, steps):
    fn, x = network(kind), inputs(1, steps)[0]
    descent = descend(fn, x)
    assert descent.end is None
    template, offset = jax.jit(descent.atom)(x)
    assert np.sum(template * x) + offset == pytest.approx(float(fn(x)), rel=1e-9)


@pytest.mark.parametrize(
    "kind",
    some_slow(
        ("lstm", "gru", "fori", "while", "nested", "fading"), ("lstm", "fori", "nested")
    ),
)
def test_the_bound_of_a_loop_is_that_of_its_steps(kind):
    fn = network(kind, np.float32)
    x = inputs(1, dtype=np.float32)[0]
    one, other = (
        float(jax.jit(rounding_bound(trace(fn, x, ej.RULES, depth=d), opened=()))(x))
        for d in (1, None)
    )
    assert 0 < one < 1e-2
    assert one == pytest.approx(other, rel=0.05)


def test_a_long_loop_stays_one():
    fn, x = network("lstm"), inputs(1, 2000)[0]
    eq = ej.factor(fn, x)
    (loop,) = loops_of(eq.program)
    assert loop.params["length"] == 1999
    assert len(eq.program.equations) < 30
    assert jax.jit(eq)(x) == jax.jit(fn)(x)
    component = eq.component(*eq.pattern(x))
    assert len(jax.make_jaxpr(component)(x).eqns) < 60
    assert component(x) == pytest.approx(float(fn(x)), rel=1e-9)


def test_an_affine_loop_is_one_affine_operation():
    fn, x = network("sums"), inputs(1, 500)[0]
    program = trace(fn, x, ej.RULES)
    (loop,) = [eqn for eqn in program.equations if eqn.body is not None]
    assert isinstance(loop.role, Affine)
    eq = ej.factor(fn, x)
    assert eq.gates[0].name == "max"
    assert np.array_equal(eq.weights[0], weights(np.float64)[3])


def test_all_steps_of_a_map_are_one_gate():
    fn, x = network("map"), inputs(1, 3000)[0]
    (gate,) = ej.factor(fn, x).gates
    assert gate.name == "tanh"


def test_gates_that_do_not_feed_one_another_are_opened_together():
    eq = ej.factor(network("total"), inputs(1)[0])
    assert [gate.name for gate in eq.gates] == ["tanh"] * 6


def test_signs_of_what_a_loop_carries_are_known():
    """By the loop itself: positive whatever the number of steps."""

    def fn(x):
        total, _ = lax.scan(lambda c, a: (c / 2 + jnp.exp(a[0]), None), 1.0, x)
        return jnp.log(total)

    (gate,) = ej.factor(fn, inputs(1, 40)[0]).gates
    assert gate.name == "log"


def test_a_loop_whose_gates_are_all_outermost_may_be_too_long():
    def fn(x):
        return lax.scan(lambda c, a: (c + jnp.tanh(a), None), 0.0, x)[0]

    with pytest.raises(ej.UnsupportedPrimitiveError) as error:
        ej.factor(fn, np.zeros(10_001))
    assert "a loop of 10,001 steps with 2 equations each" in str(error.value)
    assert "up to 20,000 equations are written out" in str(error.value)


def test_what_has_no_rule_is_refused_when_its_step_comes():
    def fn(x):
        step = lambda h, a: (jnp.abs(jnp.floor(h) + a[0]), None)  # noqa: E731
        return lax.scan(step, 0.0, x)[0]

    x = inputs(1, 2000)[0]
    eq = ej.factor(fn, x)
    with pytest.raises(ej.UnsupportedPrimitiveError, match="cannot factor `floor`"):
        ej.factor(eq.component(*eq.pattern(x)), x)


def test_weights_may_stay_arguments():
    def fn(w, x):
        return lax.scan(lambda h, a: (jax.nn.relu(w @ h + a), None), jnp.ones(3), x)[
            0
        ].sum()

    x = np.random.default_rng(0).normal(size=(5, 3))
    w = np.random.default_rng(1).normal(size=(3, 3)) / 2
    eq = ej.factor(fn, x, params=jnp.zeros((3, 3)))
    assert eq(w, x) == fn(w, x)
    mu, tau = eq.pattern(w, x)
    assert eq.component(w, mu, tau)(x) == pytest.approx(float(fn(w, x)))


@pytest.mark.parametrize("kind", ["lstm", "gru, unroll", "fori", "silu", "fading"])
def test_saved_and_loaded(kind, tmp_path):
    fn, x = network(kind), inputs(3)
    eq = ej.factor(fn, x[0])
    again = load(save(eq, tmp_path / "equation"))
    assert [g.name for g in again.gates] == [g.name for g in eq.gates]
    run = jax.jit(jax.vmap(again))
    assert np.array_equal(run(x), jax.jit(jax.vmap(eq))(x))
    mu, tau = eq.pattern(x[0])
    assert again.component(mu, tau)(x[1]) == eq.component(mu, tau)(x[1])


def test_a_tree_writes_out_as_many_steps_as_its_depth_needs(tmp_path):
    fn, x = network("lstm"), inputs(64, 100)
    tree = ej.grow(fn, x, depth=2, budget=2)
    (loop,) = loops_of(tree.program)
    assert loop.params["length"] == 99
    found = ej.decide(tree, x)
    assert found.wrongly_proven == 0
    again = load(save(tree, tmp_path / "tree"))
    assert np.array_equal(ej.decide(again, x).cell, found.cell)
    assert ej.certify(tree, x[:16]).wrongly_proven == 0


def test_nan_within_a_loop_is_told():
    fn, x = network("fori"), inputs(1)[0]
    program = trace(fn, x, ej.RULES)
    assert program.is_nan(x.at[2].set(np.nan))
    assert not program.is_nan(np.zeros_like(x))


def test_pieces_are_looked_for_within_loops():
    x = inputs(1, 30)[0]
    assert is_piecewise_linear(trace(network("fori"), x, ej.RULES))
    assert not is_piecewise_linear(trace(network("gru"), x, ej.RULES))


def test_chords_of_an_s_hold_for_any_two_evaluations():
    """Whatever two numbers within the error of a third one are."""
    rng = np.random.default_rng(3)
    for act in (jnp.tanh, lax.logistic, lax.erf, jnp.arctan, jnp.arcsinh):
        z = rng.normal(size=20_000) * 10.0 ** rng.uniform(-3, 1.5, 20_000)
        error = 10.0 ** rng.uniform(-6, 1, z.shape)
        program = trace(lambda z, act=act: act(z + 0.0), np.zeros(()), ej.RULES)
        bound = _bound_of(program, z, error)
        exact = z + error * rng.uniform(-1, 1, z.shape)
        other = exact + error * rng.choice([-1, 1, 0.3], z.shape)
        assert np.all(np.abs(act(other) - act(exact)) <= bound)
        chord = np.abs(act(z + error / 2) - act(z - error / 2))
        assert np.median(bound - 2 * chord) <= 0


def _bound_of(program, z, error):
    """The bound of the last operation at operands that are off by so much."""
    walk, eqn = Walk(program, ()), program.equations[-1]

    def of(z, error):
        env = {n: Bounded(z, jnp.abs(z) + 2 * error, error) for n in eqn.inputs}
        return walk.step(eqn, {**walk.constants, **env})[0].error

    return np.asarray(jax.vmap(of)(z, error))
