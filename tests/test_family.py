import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import NonFiniteError, ParamsError
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.program.roles import Affine

SEEDS = 8


def dyadic(rng, *shape):
    return jnp.asarray(rng.integers(-4, 5, shape) / 4)


def dense(act):
    def fn(p, x):
        h = act(x @ p["A"] + p["a"])
        return p["c"] @ act(h @ p["B"] + p["b"])

    return fn


def dense_params(seed):
    rng = np.random.default_rng(seed)
    shapes = {"A": (4, 6), "a": (6,), "B": (6, 5), "b": (5,), "c": (5,)}
    return {name: dyadic(rng, *shape) for name, shape in shapes.items()}


def residual(p, x):
    """A convolution, a residual block, a max-pool over time, a head."""

    def conv(w, h):
        dimensions = ("NCH", "OIH", "NCH")
        return lax.conv_general_dilated(
            h, w, (1,), "SAME", dimension_numbers=dimensions
        )

    h = jax.nn.relu(conv(p["stem"], x[None, None, :]))
    h = h + jax.nn.relu(conv(p["block"], h))
    h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 1, 2), (1, 1, 2), "VALID")
    return jnp.vdot(p["head"], h[0])


def residual_params(seed):
    rng = np.random.default_rng(seed)
    shapes = {"stem": (2, 1, 3), "block": (2, 2, 3), "head": (2, 4)}
    return {name: dyadic(rng, *shape) for name, shape in shapes.items()}


NETWORKS = {
    "relu": (dense(jax.nn.relu), dense_params, 4),
    "leaky": (dense(lambda z: jax.nn.leaky_relu(z, 0.25)), dense_params, 4),
    "gelu": (dense(jax.nn.gelu), dense_params, 4),
    "residual": (residual, residual_params, 8),
}
EXACT = ("relu", "leaky", "residual")


def made(name):
    fn, params, size = NETWORKS[name]
    data = dyadic(np.random.default_rng(99), 24, size)
    return fn, [params(seed) for seed in range(SEEDS)], data


def stacked(seeds):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)


def equal(one, other):
    same = jax.tree.map(lambda a, b: bool(jnp.array_equal(a, b)), one, other)
    return all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", EXACT)
def test_seeds_side_by_side_are_as_many_factorizations_bit_for_bit(name):
    fn, seeds, data = made(name)
    eq = ej.factor(fn, data[0], params=seeds[0])

    def everything(p, a, x):
        mu, tau = eq.pattern(p, a)
        bounds = eq.witness(p, mu)(x), eq.refuter(p, tau)(x)
        return (mu, tau), eq(p, x), eq.component(p, mu, tau)(x), *bounds

    over_data = jax.vmap(everything, (None, 0, 0))
    many = jax.jit(jax.vmap(over_data, (0, None, None)))
    got = many(stacked(seeds), data[::-1], data)
    for i, p in enumerate(seeds):
        one = ej.factor(lambda x, p=p: fn(p, x), data[0])

        def alone(a, x, one=one):
            mu, tau = one.pattern(a)
            bounds = one.witness(mu)(x), one.refuter(tau)(x)
            return (mu, tau), one(x), one.component(mu, tau)(x), *bounds

        want = jax.vmap(alone)(data[::-1], data)
        assert equal(jax.tree.map(lambda leaf, i=i: leaf[i], got), want)
        _, value, _, below, above = want
        assert bool((below <= value).all() and (value <= above).all())


@pytest.mark.parametrize("name", NETWORKS)
def test_at_its_weights_it_is_the_equation_of_the_function(name):
    fn, seeds, data = made(name)
    eq = ej.factor(fn, data[0], params=seeds[0])
    for p in seeds[:3]:
        at, one = eq.at(p), ej.factor(lambda x, p=p: fn(p, x), data[0])
        assert isinstance(at, MaxMin) and at.num_gates == eq.num_gates
        assert [gate.name for gate in at.gates] == [gate.name for gate in one.gates]
        assert equal((at.weights, at.sides), (one.weights, one.sides))
        assert all(isinstance(side, np.ndarray) for side in at.sides)
        assert equal(jax.vmap(at)(data), jax.vmap(one)(data))
        assert equal(jax.vmap(at.pattern)(data), jax.vmap(one.pattern)(data))


@pytest.mark.parametrize("name", some_slow(NETWORKS, ["relu", "residual"]))
def test_the_certificate_of_each_seed_holds(name):
    fn, seeds, data = made(name)
    eq = ej.factor(fn, data[0], params=seeds[0])
    for p in seeds[: SEEDS if name == "relu" else 2]:
        certificate = ej.certify(
            eq.at(p), np.asarray(data), num_pairs=64, num_adversarial=32, batch=64
        )
        certificate.raise_if_violated()


def test_in_float32_the_certificate_compares_with_float64():
    narrow = lambda tree: jax.tree.map(lambda v: v.astype(jnp.float32), tree)  # noqa: E731
    fn, seeds, data = made("relu")
    eq = ej.factor(fn, narrow(data[0]), params=narrow(seeds[0]))
    certificate = ej.certify(
        eq.at(narrow(seeds[1])),
        np.asarray(data, np.float32),
        num_pairs=64,
        num_adversarial=32,
        batch=64,
    )
    assert certificate.holds
    assert {check.dtype for check in certificate.checks} == {"float32", "float64"}


def test_the_function_is_traced_when_it_is_factored_and_never_again():
    calls = []

    def fn(p, x):
        calls.append(1)
        return dense(jax.nn.relu)(p, x)

    _, seeds, data = made("relu")
    eq = ej.factor(fn, data[0], params=seeds[0])
    assert len(calls) == 2  # the second shows that it is pure
    for p in seeds:
        at = eq.at(p)
        mu, tau = at.pattern(data[0])
        assert at.witness(mu)(data[1]) <= at(data[1]) <= at.refuter(tau)(data[1])
    jax.jit(jax.vmap(eq, (0, None)))(stacked(seeds), data[0])
    jax.vmap(eq.pattern, (0, None))(stacked(seeds), data[0])
    assert len(calls) == 2


def test_weights_of_another_sign_change_sides():
    """As constants of the first params, sides would be those of the first ones."""
    fn, (p, *_), data = made("relu")
    eq = ej.factor(fn, data[0], params=p)
    other = {**p, "c": -p["c"]}
    (side,) = eq.at(p).sides
    assert np.count_nonzero(side) and equal(eq.at(other).sides, (-side,))
    assert equal(jax.jit(lambda q: eq.at(q).sides)(other), (-side,))
    value = jax.vmap(eq, (None, 0))(other, data)
    for a in data[:6]:
        below = jax.vmap(eq.witness(other, a))(data)
        above = jax.vmap(eq.refuter(other, a))(data)
        assert bool((below <= value).all() and (value <= above).all())


def test_leaves_of_equal_value_are_two_leaves():
    fn = lambda p, x: p["a"] @ jax.nn.relu(x) - p["b"] @ jax.nn.relu(x)  # noqa: E731
    a, b = jnp.ones(3), jnp.asarray([1.0, 2.0, 0.0])
    eq = ej.factor(fn, a, params={"a": a, "b": a})
    assert eq.at({"a": a, "b": b}).sides[0].tolist() == [0, -1, 1]
    assert float(eq({"a": a, "b": b}, b)) == -2.0


X = jnp.asarray([1.0, -2.0, 0.5, 3.0])
V, S = jnp.asarray([0.25, 2.0, 1.0, -1.0]), jnp.asarray(0.5)
INDEX = jnp.asarray([0, 3, 2, 2])
OUTER = jnp.asarray([[1.0, 0.0, 0.5, -1.0]] * 4)


def loop(p, x):
    def body(carry):
        step, h = carry
        return step + 1, jax.nn.relu(p @ h)

    return jnp.sum(lax.while_loop(lambda c: c[0] < 3, body, (jnp.int32(0), x))[1])


# function, params it is factored with, others
ANSWERED = {
    "max with params": (lambda p, x: jnp.sum(jnp.maximum(x, p)), V, -V),
    "leaky as a max": (lambda p, x: jnp.sum(jnp.maximum(x, p * x)), S, 3 * S),
    "soft threshold": (
        lambda p, x: V @ jnp.where(x > p, x - p, jnp.zeros_like(x)),
        V,
        -V,
    ),
    "division": (lambda p, x: jnp.sum(jax.nn.relu(x) / p), V, -2 * V),
    "gather": (lambda p, x: V @ jax.nn.relu(x[p]), INDEX, INDEX[::-1]),
    "scatter": (
        lambda p, x: jnp.arange(4.0) @ jax.nn.relu(jnp.zeros(4).at[p].add(x)),
        INDEX,
        INDEX[::-1],
    ),
    "slice": (
        lambda p, x: jnp.sum(jax.nn.relu(lax.dynamic_slice(x, (p,), (2,)))),
        jnp.int32(1),
        jnp.int32(2),
    ),
    "clip": (lambda p, x: V @ jnp.clip(x, p - 1, p + 1), S, -S),
    "sort by keys": (
        lambda p, x: V @ jax.nn.relu(lax.sort((p, x), num_keys=1)[1]),
        V,
        -V,
    ),
    "choice": (
        lambda p, x: jnp.sum(jnp.where(p, jax.nn.relu(x), -jnp.abs(x))),
        V > 0,
        V < 0,
    ),
    "elu": (lambda p, x: jnp.sum(jax.nn.elu(x, p)), S, 4 * S),
    "logaddexp": (lambda p, x: V @ jnp.logaddexp(x, p), V, -V),
    "proven positive": (
        lambda p, x: jnp.sum(jnp.log(jnp.abs(x) + jnp.exp(p))),
        V,
        -V,
    ),
    "modulus": (lambda p, x: V @ jnp.abs(lax.complex(x, p)), V, -V),
    "steps": (loop, OUTER, OUTER.T),
    "first of a max": (lambda p, x: jnp.max(x, initial=p), S, 4 * S),
}


@pytest.mark.parametrize("name", some_slow(ANSWERED, list(ANSWERED)[::2]))
def test_operations_of_params_are_right_for_all_of_them(name):
    fn, p, q = ANSWERED[name]
    eq = ej.factor(fn, X, params=p)
    data = dyadic(np.random.default_rng(7), 32, 4)
    for params in (p, q):
        value = jax.vmap(lambda x, r=params: fn(r, x))(data)
        at = eq.at(params)
        assert equal(jax.vmap(at)(data), value)
        certificate = ej.certify(
            at, np.asarray(data), num_pairs=64, num_adversarial=16, batch=64
        )
        certificate.raise_if_violated()


# function, params, the operation, the rest of its message after the operand's line
SIGN = (
    " is not proven, so the operation is neither "
    "convex nor concave, as far as can be told without the params' values\n"
    "  try:     make the sign visible: jnp.exp(z), jnp.square(z), jnp.abs(z) + eps, "
    "jnp.maximum(z, eps); or give the weights as constants: "
    "factor(lambda x: fn(params, x), x)"
)
VALUE = (
    "  why:     its rule needs a value that depends on the params, which are given "
    "later\n"
    "  try:     give the weights as constants: factor(lambda x: fn(params, x), x)"
)
JUMP = (
    "  why:     the condition is not the sign of the difference of the two cases, so "
    "the selection may jump, as far as can be told without the params' values\n"
    "  try:     write it with jnp.maximum, jnp.minimum, jnp.clip, or as two pieces of "
    "one value that meet where the condition changes: jnp.where(x > 0, x, slope * x); "
    "or give the weights as constants: factor(lambda x: fn(params, x), x)"
)
REFUSED = {
    "leaky slope": (
        lambda p, x: jnp.sum(jnp.where(x > 0, x, p * x)),
        V,
        "select_n` (jnp.where)",
        JUMP,
    ),
    "exponent": (lambda p, x: jnp.sum(jnp.abs(x) ** p), V + 2, "pow`", VALUE),
    "base": (lambda p, x: jnp.sum(p**x), V + 2, "pow`", VALUE),
    "sign": (lambda p, x: jnp.sum(jnp.log(jnp.abs(x) + p)), V + 2, "log`", SIGN),
    "branch": (
        lambda p, x: lax.cond(p > 0, jnp.max, lambda x: jnp.sum(jnp.abs(x)), x),
        S,
        "cond` (lax.cond)",
        VALUE,
    ),
    "number of steps": (
        lambda p, x: jnp.sum(lax.fori_loop(0, p, lambda _, h: jax.nn.relu(h), x)),
        jnp.int32(3),
        "while` (a loop)",
        VALUE,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_their_values_is_refused_and_as_constants_it_is_not(name):
    fn, p, operation, rest = REFUSED[name]
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(fn, X, params=p)
    said = str(caught.value)
    assert said.startswith(f"cannot factor `{operation} at test_family.py:")
    assert said.endswith(rest)
    one = ej.factor(lambda x: fn(p, x), X)
    assert one(X) == fn(p, X)


def test_a_rule_of_ones_own_never_reads_them():
    """It would be right for the first weights alone."""

    def no_product_with_one(application):
        assert np.all(np.asarray(application.constant(1)) == 1)
        return Affine()

    rules = {**ej.RULES, lax.mul_p: no_product_with_one}
    fn = lambda p, x: jnp.sum(jax.nn.relu(x) * p)  # noqa: E731
    assert ej.factor(lambda x: fn(jnp.ones(4), x), X, rules)(X) == fn(1.0, X)
    with pytest.raises(ej.UnsupportedPrimitiveError, match="depends on the params"):
        ej.factor(fn, X, rules, params=jnp.ones(4))


def test_params_of_another_form_are_named_one_by_one():
    fn, (p, *_), data = made("relu")
    eq = ej.factor(fn, data[0], params=p)
    wrong = {**p, "a": p["a"][:5], "B": p["B"].astype(jnp.float32), "d": p["c"]}
    del wrong["c"]
    with pytest.raises(ParamsError) as caught:
        eq(wrong, data[0])
    assert str(caught.value) == (
        "these are no params of this equation:\n"
        "  params['c'] is missing\n"
        "  params['B'] is float32[6, 5], not float64[6, 5]\n"
        "  params['a'] is float64[5], not float64[6]\n"
        "  params['d'] is not among them\n"
        "  try: one set of params, like those it was factored with; jax.vmap over a "
        "stack of them"
    )
    with pytest.raises(ParamsError, match=r"float64\[2, 5\], not float64\[5\]"):
        eq.at(stacked([p, p]))
    with pytest.raises(ParamsError, match="params is a str"):
        ej.factor(fn, data[0], params="weights")
    pair = ej.factor(lambda p, x: p[0] @ jax.nn.relu(x * p[1]), X, params=(V, V))
    with pytest.raises(ParamsError, match="the structure is"):
        pair.at([V, V])


def test_nan_is_refused_where_it_can_be_seen():
    fn, (p, *_), data = made("relu")
    bad = {**p, "a": p["a"].at[2].set(jnp.nan)}
    eq = ej.factor(fn, data[0], params=p)
    says = (
        r"1 of the 6 entries of params\['a'\] are NaN.\n"
        "  try: check the training, or the file the weights came from."
    )
    for refused in (
        lambda: eq.at(bad),
        lambda: eq(bad, data[0]),
        lambda: ej.factor(fn, data[0], params=bad),
    ):
        with pytest.raises(NonFiniteError, match=says):
            refused()
    assert jnp.isnan(jax.jit(eq)(bad, data[0]))


def test_shapes_and_dtypes_are_enough_to_factor():
    fn, (p, *_), data = made("relu")
    eq = ej.factor(fn, data[0], params=jax.eval_shape(lambda: p))
    assert eq(p, data[0]) == fn(p, data[0])


def test_gradients_of_the_weights_are_those_of_the_function():
    fn, (p, *_), data = made("relu")
    eq = ej.factor(fn, data[0], params=p)
    assert equal(jax.grad(eq)(p, data[0]), jax.grad(fn)(p, data[0]))


def test_an_atom_for_all_weights_has_no_gate():
    with pytest.raises(ej.NoGateError):
        ej.factor(lambda p, x: jax.nn.relu(p) @ x, X, params=V)


def test_a_component_at_some_weights_is_factored_on_and_saved(tmp_path):
    fn, (p, *_), data = made("relu")
    at = ej.factor(fn, data[0], params=p).at(p)
    component = at.component(*at.pattern(data[0]))
    deeper = ej.factor(component, data[0])
    assert [gate.name for gate in deeper.gates] == ["max"]
    assert deeper(data[0]) == fn(p, data[0])
    ej.save(at, tmp_path / "equation")
    assert ej.load(tmp_path / "equation")(data[0]) == fn(p, data[0])
