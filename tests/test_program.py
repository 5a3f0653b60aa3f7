import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Affine, Refused
from ecg_jax.program.trace import named_rule, trace

X = jnp.asarray([1.0, -2.0, 3.0])
W3 = jnp.asarray([1.0, 0.5, 2.0])


def primitives_of(fn, x=X):
    return [str(eqn.primitive) for eqn in trace(fn, x, ej.RULES).equations]


@pytest.mark.parametrize(
    "wrap",
    [jax.jit, jax.checkpoint, jax.custom_jvp, jax.custom_vjp],
    ids=["jit", "remat", "custom_jvp", "custom_vjp"],
)
def test_calls_are_inlined(wrap):
    inner = wrap(lambda x: jnp.sum(jax.nn.relu(x)))
    if wrap is jax.custom_jvp:
        inner.defjvp(lambda p, t: (inner(*p), 5 * jnp.sum(t[0])))
    if wrap is jax.custom_vjp:
        inner.defvjp(lambda x: (inner(x), None), lambda _, g: (5 * g * jnp.ones(3),))
    assert primitives_of(lambda x: inner(x) + 1) == ["max", "reduce_sum", "add"]


def test_a_declared_derivative_is_never_a_weight():
    @jax.custom_jvp
    def identity(x):
        return x + 0.0

    identity.defjvp(lambda p, t: (identity(*p), 100 * t[0]))
    eq = ej.factor(lambda x: jnp.sum(identity(jax.nn.relu(x))), X)
    assert eq.weights[0].tolist() == [1, 1, 1]


def test_stop_gradient_is_the_identity():
    eq = ej.factor(lambda x: jnp.sum(lax.stop_gradient(jax.nn.relu(x))), X)
    assert eq.weights[0].tolist() == [1, 1, 1]


def test_the_last_step_of_a_scan_is_written_out_and_exact():
    def f(x):
        carry, ys = lax.scan(
            lambda c, a: (jax.nn.relu(c + a), c - a), 0.5 * x[0], x, reverse=True
        )
        return carry - jnp.max(ys)

    program = trace(f, X, ej.RULES)
    (loop,) = [e for e in program.equations if e.primitive is lax.scan_p]
    assert loop.params["length"] == 3  # the maximum of its outputs comes first
    component = ej.factor(f, X).component(*ej.factor(f, X).pattern(X))
    program = ej.factor(component, X).program
    (loop,) = [e for e in program.equations if e.primitive is lax.scan_p]
    assert loop.params["length"] == 2
    assert trace(f, X, ej.RULES).evaluate(X) == program.evaluate(X) == f(X)
    unrolled = trace(f, X, ej.RULES, depth=None)
    assert "scan" not in {str(eqn.primitive) for eqn in unrolled.equations}
    assert unrolled.evaluate(X) == f(X)


def recurrent(act, size=3):
    """All hidden states of a small recurrent network, their mean."""
    rng = np.random.default_rng(0)
    w, u, v = (jnp.asarray(rng.normal(size=s) / 2) for s in ((size, size), size, size))

    def step(h, z):
        h = act(w @ h + u * z)
        return h, h

    return lambda x: jnp.mean(lax.scan(step, jnp.zeros(size), x)[1], 0) @ v


@pytest.mark.parametrize(
    ("act", "num"),
    some_slow(
        [(jax.nn.relu, 200), (jax.nn.relu, 2000), (jnp.tanh, 2000)],
        [(jax.nn.relu, 200)],
    ),
)
def test_steps_are_written_out_in_equations_of_a_few_shapes(act, num):
    f, x = recurrent(act), np.random.default_rng(1).normal(size=num)
    program = trace(f, x, ej.RULES, depth=None)
    equations = program.equations
    assert 5 * num < len(equations) < 8 * num
    # What differs from step to step is an operand: XLA compiles a step once.
    kinds = {(e.primitive, str(sorted(e.params.items()))) for e in equations}
    assert len(kinds) < 40
    assert max(len(e.inputs) for e in equations) <= 16
    assert program.evaluate(x) == pytest.approx(float(f(x)), rel=1e-12)


@pytest.mark.parametrize("num", [1, 15, 16, 17, 31, 256, 257, 300])
def test_outputs_of_a_loop_are_stacked_in_order(num):
    def f(x):
        ys = lax.scan(lambda c, z: (c + z, jnp.abs(z)), 0.0, x)[1]
        return ys @ jnp.arange(1.0, num + 1)

    x = np.random.default_rng(0).integers(-8, 8, num) / 4
    eq = ej.factor(f, x)
    assert eq(x) == f(x)
    weights = [float(w) for w in eq.weights]
    assert weights == [*range(1, num + 1)]


def test_the_sign_of_what_a_loop_puts_out_is_known():
    def f(x):
        ys = lax.scan(lambda c, z: (c, jnp.exp(z)), 0.0, x)[1]
        return jnp.log(jnp.sum(ys))

    (gate,) = ej.factor(f, np.zeros(40)).gates
    assert gate.name == "log"


def test_a_long_chain_of_constants_is_evaluated():
    def f(x):
        h, t = lax.scan(lambda c, z: ((c[0] + z, c[1] * 0.5), None), (0.0, 1.0), x)[0]
        return jax.nn.relu(h * t - t)

    program = trace(f, np.zeros(3000), ej.RULES)
    assert not any(isinstance(eqn.role, Refused) for eqn in program.equations)
    assert program.evaluate(np.ones(3000)) == f(np.ones(3000))


def test_while_has_no_rule():
    f = lambda x: lax.while_loop(lambda c: c[0] > 0, lambda c: c - 1, x)[0]  # noqa: E731
    with pytest.raises(ej.UnsupportedPrimitiveError, match="cannot factor `while`"):
        ej.factor(f, X)


def test_equal_subexpressions_get_one_number():
    f = lambda x: jnp.sum(jax.nn.relu(2 * x)) + jnp.max(jax.nn.relu(2 * x))  # noqa: E731
    assert primitives_of(f).count("max") == 1


def test_dead_code_is_dropped():
    def f(x):
        jnp.floor(x)
        return jnp.sum(jnp.abs(x))

    assert primitives_of(f) == ["abs", "reduce_sum"]


def test_what_does_not_see_the_input_is_no_gate():
    w = jnp.asarray([1.0, -1.0, 0.5])
    program = trace(lambda x: jnp.sum(jax.nn.relu(w) * jnp.abs(x)), X, ej.RULES)
    assert [eqn.role.name for eqn in program.gates] == ["abs"]


def test_constants_that_are_equal_are_held_once():
    f = lambda x: jnp.sum(jnp.maximum(x, np.ones(3))) + jnp.sum(x * np.ones(3))  # noqa: E731
    program = trace(f, X, ej.RULES)
    assert len({id(v) for v in program.constants.values()}) == len(program.constants)
    assert len(program.constants) <= 2


def test_minus_zero_and_zero_are_two_constants():
    f = lambda x: jnp.sum(x / jnp.asarray(-0.0)) + jnp.sum(x / jnp.asarray(0.0))  # noqa: E731
    program = trace(f, X, ej.RULES)
    assert len(program.constants) >= 2


def test_each_equation_knows_what_it_is():
    f = lambda x: jnp.sum(jnp.floor(jax.nn.relu(2 * x)))  # noqa: E731
    roles = [type(eqn.role) for eqn in trace(f, X, ej.RULES).equations]
    assert roles == [Affine, Gate, Refused, Affine]


def test_named_calls_meet_the_table_before_they_are_inlined():
    def f(x):
        return jnp.sum(jax.nn.softplus(x))

    (gate,) = trace(f, X, ej.RULES).gates
    assert gate.role.name == "softplus"
    eq = ej.factor(f, X)
    again = ej.factor(eq.witness(X, frozen=[np.asarray([True, False, False])]), X)
    assert again.gates[0].name == "softplus"


def test_a_name_alone_proves_nothing():
    @jax.jit
    def softplus(x):
        return jnp.abs(x)

    eq = ej.factor(lambda x: jnp.sum(softplus(x)), X)
    assert eq.gates[0].name == "abs"


def test_a_named_call_that_its_rule_refuses_is_inlined():
    rows = lambda x: jnp.stack([x, 2 * x])  # noqa: E731
    eq = ej.factor(lambda x: jnp.sum(jnp.linalg.norm(rows(x), axis=1)), X)
    assert eq.gates[0].name == "sqrt"
    assert ej.factor(lambda x: jnp.linalg.norm(rows(x)), X).gates[0].name == "norm"


def test_named_rule_ignores_functions_of_other_names():
    closed = jax.make_jaxpr(jax.jit(lambda x: x + 1))(X)
    assert named_rule(ej.RULES, closed.jaxpr.eqns[0]) is None


def test_the_program_is_the_function_bit_for_bit():
    key = jax.random.key(0)
    w = jax.random.normal(key, (3, 8)), jax.random.normal(key, (8,))

    def f(x):
        return jnp.dot(jax.nn.leaky_relu(x @ w[0]), w[1])

    program = trace(f, X, ej.RULES)
    for i in range(20):
        x = jax.random.normal(jax.random.key(i), 3)
        assert program.evaluate(x) == f(x)


def test_deep_sums_do_not_exhaust_the_stack():
    def f(x):
        y = x
        for i in range(600):
            y = y + (y if i % 100 == 0 else x)
        return jnp.sum(jax.nn.leaky_relu(y))

    assert ej.factor(f, X).num_gates == 1


def test_effects_of_constants_are_evaluated_once():
    f = lambda x: jnp.sum(jnp.arange(3.0) * jax.nn.relu(x))  # noqa: E731
    eq = ej.factor(f, X)
    assert eq.weights[0].tolist() == [0, 1, 2]


def test_scan_with_constants_and_a_nested_carry():
    def f(x):
        def step(carry, a):
            (low, high), count = carry
            new = (jnp.minimum(low, a + x[0]), jnp.maximum(high, a * W3[1])), count + a
            return new, (low - a, high)

        carry = (x[0], x[1]), x[2]
        ((low, high), count), (lows, highs) = lax.scan(step, carry, x)
        return low + high * count.size + jnp.sum(lows) - jnp.max(highs)

    assert trace(f, X, ej.RULES).evaluate(X) == f(X)
    eq = ej.factor(f, X)
    assert eq.component(*eq.pattern(X))(X) == f(X)


MAXIMA = {
    "relu": lambda z: jnp.sum(jax.nn.relu(z)),
    "clip": lambda z: jnp.sum(jnp.clip(z, -1, 1)),
    "max": lambda z: jnp.max(z),
    "min of rows": lambda z: jnp.sum(jnp.min(z.reshape(2, 4), 1)),
    "pool": lambda z: jnp.sum(
        jax.lax.reduce_window(z, -jnp.inf, jax.lax.max, (2,), (2,), "VALID")
    ),
    "cummax": lambda z: jnp.sum(jax.lax.cummax(z)),
}


@pytest.mark.parametrize("name", MAXIMA)
def test_nan_is_told_at_every_maximum(name):
    """Whatever a compiler makes of the maximum of NaN and a number."""

    def fn(x):  # NaN where the sum of squares is above 8
        return MAXIMA[name](x / jnp.sqrt(8 - jnp.sum(x * x)))

    x = np.random.default_rng(0).normal(size=(300, 8))
    program = trace(fn, x[0], ej.RULES)
    found = np.asarray(jax.jit(jax.vmap(program.is_nan))(x))
    assert np.array_equal(found, np.sum(x * x, axis=1) > 8) and 0 < found.sum() < 300
