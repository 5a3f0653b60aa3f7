"""Every field of a gate, changed: a check must tell, or the change must do no harm.

The checks, each of what some fields promise:

    certificate   the certificate of the equation
    reliant       the same where a further gate relies on the bounds of the gate
    claims        what `decide` takes from `f` for a component, against `f - W`, `R - f`
                  of the right rules in float64
    split         `gap` and `shift` against `value` and its derivative
    padding       `Gate.gap` in float32 is at least the gap in float64
    rounding      `rounding_bound` in float32 against float64
    fields        `lipschitz`, `errors` and `moves` against changes of the operands

The right gates pass them all.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, tree_util
from some_slow import some_slow

from ecg_jax.errors import FreezeError
from ecg_jax.lattice.descent import descend
from ecg_jax.lattice.factor import factor
from ecg_jax.program._jax import primitives
from ecg_jax.program.gates import Gate
from ecg_jax.program.trace import trace
from ecg_jax.proof.certificate import certify
from ecg_jax.proof.rounding import opened_gates, rounding_bound
from ecg_jax.rules import RULES
from ecg_jax.tree.kernels import Side, gaps

DIM = 6
SIGNS = (1, -1)
UNDERFLOW = 1e-37


def weights(seed, *shape):
    rng = np.random.default_rng([seed, *shape])
    return rng.normal(size=shape) / np.sqrt(shape[-1])


def data(seed, num, scale=1.0):
    return scale * np.random.default_rng([seed, 1]).normal(size=(num, DIM))


# The gates: the key of their rule, and what they are in a network; of those of several
# operands, what these are.

GATES = {
    "tanh": (lax.tanh_p, jnp.tanh),
    "relu": (lax.max_p, lambda z: jnp.maximum(z, 0)),
    "max": (lax.reduce_max_p, lambda z: jnp.repeat(z.reshape(2, 3).max(1), 3)),
    "sort": (lax.sort_p, jnp.sort),
    "cummax": (lax.cummax_p, lax.cummax),
    "softplus": (jax.nn.softplus, jax.nn.softplus),
    "silu": (jax.nn.silu, jax.nn.silu),
    "logsumexp": (jax.nn.logsumexp, jax.jit(jax.nn.logsumexp)),
    "norm": (jnp.linalg.norm, lambda z: jnp.linalg.norm(z)),
    "product": (lax.mul_p, lambda z: z * z[::-1], lambda z: (z, z[::-1])),
    "quotient": (
        lax.div_p,
        lambda z: z / (1 + jnp.abs(z[::-1])),
        lambda z: (z, 1 + jnp.abs(z[::-1])),
    ),
    "matrix product": (
        primitives.dot_general_p,
        lambda z: jnp.pad(jnp.ravel(z.reshape(2, 3) @ z.reshape(3, 2)), (0, 2)),
        lambda z: (z.reshape(2, 3), z.reshape(3, 2)),
    ),
}


def seen(name, z):
    """The operands of a gate."""
    return GATES[name][2](z) if len(GATES[name]) > 2 else (z,)


def net(name, dtype=np.float64, wrap=lambda y: y):
    """`head . gate(W x + b) + head . x`, the gate's units perhaps wrapped."""
    w, head, b = weights(1, DIM, DIM), weights(2, DIM), weights(4, DIM)
    w, head, b = (v.astype(dtype) for v in (w, head, b))
    gate = GATES[name][1]

    def fn(x):
        return jnp.sum(head * wrap(gate(w @ x + b))) + head @ x

    return fn


def cancelling(name, wide=False):
    """`head . gate(A (x - y) + b)` in float32, `A` taken twice; its twin in float64."""
    half = weights(1, DIM, DIM // 2)
    made = np.concatenate([half, -half], 1), weights(2, DIM), weights(4, DIM)
    w, head, b = (v.astype("f").astype(float if wide else "f") for v in made)
    gate = GATES[name][1]
    return lambda x: jnp.sum(head * gate(w @ x + b))


def mutated(name, change):
    """The rule table with the gate's rule changed."""
    key = GATES[name][0]

    def mutant(application):
        role = RULES[key](application)
        return change(role) if isinstance(role, Gate) else role

    return {**RULES, key: mutant}


def kept(gate):
    return gate


def gate_of(name, change=kept):
    eq = factor(net(name), jnp.zeros(DIM), mutated(name, change))
    (found,) = eq.gates
    return found


RELIANT = {"relu": lambda y: jnp.maximum(y, 0.5)}


# The checks. Each says whether all is right.


def certificate(name, change):
    eq = factor(net(name), jnp.zeros(DIM), mutated(name, change))
    found = certify(eq, data(0, 20), num_pairs=64, batch=64, num_adversarial=12)
    return found.holds


def reliant(name, change):
    """The certificate where a further gate relies on the gate's bounds."""
    fn = net(name, wrap=RELIANT.get(name, jnp.abs))
    eq = factor(fn, jnp.zeros(DIM), mutated(name, change))
    return certify(eq, data(0, 20), num_pairs=32, batch=32, num_adversarial=6).holds


def claims(name, change):
    """What freezing takes, by the reverse pass, forwards, and as a matrix product."""
    fn, rules = net(name), mutated(name, change)
    right = factor(fn, jnp.zeros(DIM))
    wrong = factor(fn, jnp.zeros(DIM), rules)
    descent = descend(fn, jnp.zeros(DIM), rules)
    a, x = data(1, 12), data(2, 40)

    def one(anchor, v):
        f, patterns = fn(v), descent.patterns(anchor, 1)
        out = []
        for sign in SIGNS:
            bound = right.witness if sign > 0 else right.refuter
            lost = sign * (f - bound(anchor)(v))
            _, gap = descent.gap(patterns, v, sign)
            forwards = sign * (f - descent.bound(patterns, v, sign))
            out += [gap - lost, forwards - lost]
            side = Side(wrong, sign)
            if side.straight:
                frozen = wrong.pattern(anchor)[0 if sign > 0 else 1]
                table = side.coefficients(frozen, side.masks)
                out.append(gaps(side.features(v)[1][None], table[None])[0, 0] - lost)
        return jnp.stack(out)

    off = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(a, x)
    return bool(np.abs(off).max() < 1e-9)


def split(name, change):
    """`gap(a, z) = h(z) - h(a) - <h'(a), z - a>`, `shift(p, q, z) = gap_q - gap_p`."""
    gate = gate_of(name, change)
    if gate.split is None:
        return True
    right = gate_of(name)
    h = gate.split.value

    def one(a, b, z):
        a, b, z = (seen(name, v) for v in (a, b, z))
        at, along = jax.jvp(h, a, tuple(map(jnp.subtract, z, a)))
        p, q = right.pattern(*a), right.pattern(*b)
        gap = gate.split.gap(p, *z)
        shift = gate.split.gap(q, *z) - gap
        off = [gap - (h(*z) - at - along), gate.split.shift(p, q, *z) - shift]
        off += [gate.split.line(p, *z) - (at + along)]
        if gate.split.of_sum is not None:
            part = right.apply(*z) - right.tangent(p, *z)
            off += [gate.split.of_sum(p, *z) - (gap + part)]
        return jnp.stack(off)

    off = jax.vmap(one)(data(3, 200, 2.0), data(4, 200, 2.0), data(5, 200, 2.0))
    return bool(np.abs(off).max() < 1e-9)


def padding(name, change):
    """Of piecewise linear gates nothing is padded: `claims` measures these."""
    gate, right = gate_of(name, change), gate_of(name)
    if right.straight:
        return True
    rng = np.random.default_rng(6)
    scale = 10.0 ** rng.integers(-2, 5, (400, 1))
    a, z = ((scale * rng.normal(size=(400, DIM))).astype("f") for _ in range(2))
    z[:200] = a[:200] * (1 + 1e-3 * rng.normal(size=(200, 1)).astype("f"))
    a, z = (jax.vmap(lambda v: seen(name, v))(jnp.asarray(v)) for v in (a, z))

    def lost(v, w):
        pattern, value = gate.pattern(*v), gate.apply(*w).astype(w[0].dtype)
        return jnp.stack([gate.gap(pattern, s, value, *w) for s in SIGNS])

    def exact(v, w):
        """Of `g` where the weight is positive, of `h` elsewhere; `g = phi + h`."""
        pattern = right.pattern(*v)
        if right.split is not None and right.split.of_sum is not None:
            return jnp.stack(
                [right.split.of_sum(pattern, *w), right.split.gap(pattern, *w)]
            )
        part = (right.apply(*w) - right.tangent(pattern, *w)) * right.curvature
        other = 0 if right.split is None else right.split.gap(pattern, *w)
        either = part if right.split is None else other
        return jnp.stack([part + other, either * jnp.ones_like(part)])

    narrow = np.asarray(jax.jit(jax.vmap(lost))(a, z), np.float64)
    wide = jax.jit(jax.vmap(exact))(*tree_util.tree_map(_wide, (a, z)))
    return bool(np.all(narrow >= np.asarray(wide) - UNDERFLOW))


def rounding(name, change):
    """Of the function and of what is frozen at two anchors; then field by field."""
    fn, rules = cancelling(name), mutated(name, change)
    start = jnp.zeros(DIM, np.float32)
    program = trace(fn, start, rules)
    gate = opened_gates(program)[0].role
    frozen = rounding_bound(program)
    live = rounding_bound(program, opened=())
    exactly = cancelling(name, wide=True)
    eq, twin = factor(fn, start, rules), factor(exactly, jnp.zeros(DIM))
    a, x = data(7, 12, 3.0).astype("f"), data(8, 200)
    x[:, : DIM // 2] += 1e4 * x[::-1, : DIM // 2]
    x[:, DIM // 2 :] = x[:, : DIM // 2] + 2 * data(13, 200)[:, DIM // 2 :]
    x = x.astype("f")

    def one(p, q, v):
        patterns = eq.gates[0].pattern(*p), eq.gates[0].pattern(*q)
        entry = eq.gates[0].freeze(*patterns, eq.sides[0], eq.weights[0])
        own = eq.run(v, lambda i, z: gate.frozen(entry, *z))
        broad = tree_util.tree_map(_wide, entry)
        exact = twin.run(v.astype(float), lambda i, z: twin.gates[0].frozen(broad, *z))
        return (
            jnp.abs(own.astype(float) - exact),
            frozen(v, [entry]),
            jnp.abs(fn(v).astype(float) - exactly(v.astype(float))),
            live(v),
        )

    zs = jax.vmap(lambda v: eq.operands(v)[0])(a)
    run = jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None))
    back = tree_util.tree_map(lambda v: v[::-1], zs)
    off, limit, own, bound = map(np.asarray, jax.jit(run)(zs, back, x))
    return bool(np.all(off <= limit) and np.all(own <= bound))


def _wide(leaf):
    return leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def fields(name, change):
    """`lipschitz`, `errors` and `moves` against changes of the operands.

    Piecewise linear gates have none of these, nor have products and quotients, whose
    rounding is that of their operations. Anything else that is neither convex nor
    concave needs a Lipschitz constant.
    """
    gate, right = gate_of(name, change), gate_of(name)
    if right.straight or len(right.operands) > 1:
        return True
    if right.split is not None and gate.lipschitz is None:
        return False
    z, rng = data(9, 400, 2.0), np.random.default_rng(10)
    e = 1e-3 * rng.normal(size=z.shape)
    slope = jax.vmap(jax.grad(lambda v: jnp.sum(right.apply(v))))(z)
    e[:200] = 1e-3 * np.asarray(slope)[:200]  # the steepest way
    e[300:] = 1e-3 * np.sign(e[300:])
    true = True
    if gate.lipschitz is not None:
        far = np.abs(jax.vmap(right.apply)(z + e) - jax.vmap(right.apply)(z))
        measured = {
            "own": np.abs(e),
            "largest": np.abs(e).max(1, keepdims=True),
            "norm": np.linalg.norm(e, axis=1, keepdims=True),
        }[gate.errors]
        limit = gate.lipschitz * (1 + 1e-9) * measured
        if gate.errors != "own":
            far = far.reshape(len(far), -1)
        true &= bool(np.all(far <= limit + 1e-12))
    if gate.split is not None and gate.split.moves is not None:
        p, q = (jax.vmap(right.pattern)(data(k, 400)) for k in (11, 12))
        shift, moves = right.split.shift, gate.split.moves
        moved = np.abs(jax.vmap(shift)(p, q, z + e) - jax.vmap(shift)(p, q, z))
        limit = jax.vmap(moves)(p, q, np.abs(e))
        true &= bool(np.all(moved <= limit + 1e-12))
    return true


CHECKS = {
    check.__name__: check
    for check in (
        certificate,
        reliant,
        claims,
        split,
        padding,
        rounding,
        fields,
    )
}


# The mutants.


def field(**new):
    return lambda gate: replace(gate, **new)


def part(**new):
    """A field of the split, made from the old one."""

    def change(gate):
        old = gate.split
        made = {key: make(getattr(old, key)) for key, make in new.items()}
        return replace(gate, split=replace(old, **made))

    return change


def times(factor):
    return lambda old: lambda *args: factor * old(*args)


def tangent(make):
    return lambda gate: replace(gate, tangent=make(gate))


def flat(gate):
    def of(p, *z):
        return 0.9 * gate.tangent(p, *z) + 0.1 * gate.tangent(p, p)

    return of


def pattern(make):
    def change(gate):
        def of(*z):
            return tree_util.tree_map(make, gate.pattern(*z))

        return replace(gate, pattern=of)

    return change


def flipped(gate):
    return replace(gate, curvature=-gate.curvature)


STEEP = tangent(lambda gate: times(1.125)(gate.tangent))
LOW = tangent(lambda gate: lambda p, *z: gate.tangent(p, *z) - 1e-6)
WINNER = pattern(lambda p: (p + 1) % 3)
NO = times(0)

SPLIT = {
    "no split": (field(split=None), "certificate"),
    "split gap halved": (part(gap=times(0.5)), "certificate"),
    "split gap nothing": (part(gap=NO), "certificate"),
    "split gap doubled": (part(gap=times(2)), "certificate"),
    "split shift nothing": (part(shift=NO), "certificate"),
    "split shift turned": (part(shift=times(-1)), "certificate"),
    "split value nothing": (part(value=NO), "split"),
    "split size": (part(size=NO), "padding"),
}

OF_TWO = {
    **SPLIT,
    "split of sum halved": (part(of_sum=times(0.5)), "certificate"),
    "split of sum nothing": (part(of_sum=NO), "certificate"),
    "split of sum doubled": (part(of_sum=times(2)), "certificate"),
    "split tangent": (part(tangent=NO), "split"),
    "tangent low": (LOW, "certificate"),
    "pattern moved": (pattern(lambda p: p + 0.125), "certificate"),
}

CAUGHT = {
    "product": {
        **OF_TWO,
        "bounds": (field(bounds=(0.0, np.inf)), "reliant"),
        "apply": (field(apply=lambda x, y: x), "certificate"),
    },
    "quotient": {
        **OF_TWO,
        "bounds": (field(bounds=(0.0, np.inf)), "reliant"),
        "apply": (field(apply=lambda x, y: x), "certificate"),
    },
    "matrix product": {
        **OF_TWO,
        "spread": (field(spread=None), "certificate"),
    },
    "tanh": {
        "bounds": (field(bounds=(0.0, 1.0)), "reliant"),
        **SPLIT,
        "split value doubled": (part(value=times(2)), "split"),
        "tangent flat": (tangent(flat), "certificate"),
        "tangent low": (LOW, "certificate"),
        "pattern moved": (pattern(lambda p: p + 0.125), "certificate"),
        "pattern 0": (pattern(jnp.zeros_like), "certificate"),
        "apply": (field(apply=lambda z: z), "certificate"),
        "lipschitz": (field(lipschitz=0.5), "fields"),
        "lipschitz none": (field(lipschitz=None), "fields"),
    },
    "relu": {
        "bounds": (field(bounds=(1.0, np.inf)), "reliant"),
        "curvature": (flipped, "certificate"),
        "tangent steep": (STEEP, "certificate"),
        "tangent low": (LOW, "certificate"),
        "pattern turned": (pattern(jnp.logical_not), "certificate"),
        "apply": (field(apply=lambda z: z), "certificate"),
    },
    "max": {
        "bounds": (field(bounds=(0.0, np.inf)), "reliant"),
        "curvature": (flipped, "certificate"),
        "tangent steep": (STEEP, "certificate"),
        "tangent low": (LOW, "certificate"),
        "pattern next": (WINNER, "certificate"),
    },
    "sort": {
        "bounds": (field(bounds=(0.0, np.inf)), "reliant"),
        **SPLIT,
        "split moves": (part(moves=NO), "fields"),
        "lipschitz in rounding": (field(lipschitz=0.0), "rounding"),
        "lipschitz": (field(lipschitz=0.01), "fields"),
        "errors": (field(errors="own"), "fields"),
        "tangent low": (LOW, "certificate"),
        "pattern turned": (pattern(lambda p: 2 - p), "certificate"),
    },
    "cummax": {"elementwise": (field(elementwise=True), "claims")},
    "softplus": {
        "straight": (field(straight=True), "padding"),
        "size": (field(size=lambda p, z: jnp.zeros_like(z)), "padding"),
        "size none": (field(size=None), "padding"),
        "curvature": (flipped, "certificate"),
    },
    "silu": {
        "lipschitz": (field(lipschitz=0.01), "fields"),
        "lipschitz in rounding": (field(lipschitz=0.0), "rounding"),
        "lipschitz none": (field(lipschitz=None), "fields"),
    },
    "logsumexp": {
        "lipschitz": (field(lipschitz=0.01), "fields"),
        "lipschitz in rounding": (field(lipschitz=0.0), "rounding"),
        "errors": (field(errors="own"), "rounding"),
    },
    "norm": {
        "errors": (field(errors="largest"), "fields"),
        "lipschitz": (field(lipschitz=0.5), "fields"),
        "lipschitz in rounding": (field(lipschitz=0.0), "rounding"),
    },
}


HARMLESS = {
    "tanh": {
        "elementwise": field(elementwise=False),
        "size": field(size=lambda p, z: jnp.zeros_like(z)),
        "errors": field(errors="norm"),
    },
    "relu": {
        "elementwise": field(elementwise=False),
        "straight": field(straight=False),
        "size": field(size=lambda p, z: jnp.zeros_like(z)),
        "lipschitz": field(lipschitz=0.0),
        "errors": field(errors="largest"),
    },
    "max": {
        "elementwise": field(elementwise=True),
        "straight": field(straight=False),
        "lipschitz": field(lipschitz=0.0),
    },
    "sort": {
        "elementwise": field(elementwise=True),
        "size": field(size=lambda p, z: jnp.zeros(z.shape, z.dtype)),
    },
}
"""What no check tells, as nothing comes of it.

A straight gate has rounding rules of its own and no padding; one that is taken for a
smooth one is padded needlessly. The padding of tanh and sort is that of their split.
`elementwise` serves matrix products of straight gates whose operands have the shape of
their units.
"""


LONG = ("product", "quotient", "matrix product")
QUICK = ("split gap nothing", "split of sum nothing", "split value nothing")
"""Of the `LONG` ones these are tried by default, the others are slow."""


def cases(table):
    """By default one mutant for each gate and check, and the least one."""
    tried, made = set(), []
    for name, mutants in table.items():
        for what, change in mutants.items():
            change = change if isinstance(change, tuple) else (change,)
            if name in LONG:
                quick = what in QUICK
            else:
                quick = what == "tangent low" or (name, change[1:]) not in tried
                tried.add((name, change[1:]))
            marks = () if quick else (pytest.mark.slow,)
            made.append(pytest.param(name, *change, id=f"{name}: {what}", marks=marks))
    return made


USED = sorted({(n, check) for n, made in CAUGHT.items() for _, check in made.values()})
TRIED = {(c.values[0], c.values[2]) for c in cases(CAUGHT) if not c.marks}


@pytest.mark.parametrize(("name", "check"), some_slow(USED, TRIED))
def test_right_gates_pass(name, check):
    assert CHECKS[check](name, kept)


@pytest.mark.parametrize("name", ["product", "quotient", "matrix product"])
def test_the_rounding_of_two_operands(name):
    assert rounding(name, kept)


@pytest.mark.parametrize(("name", "change", "check"), cases(CAUGHT))
def test_a_check_tells(name, change, check):
    try:
        assert not CHECKS[check](name, change)
    except (TypeError, ValueError) as error:  # shapes that do not fit
        assert "shape" in str(error)


@pytest.mark.parametrize(("name", "change"), cases(HARMLESS))
def test_no_harm_is_done(name, change):
    assert claims(name, change)


@pytest.mark.parametrize("change", [{"curvature": -1}, {"straight": True}])
def test_a_difference_has_no_curvature_of_its_own(change):
    (gate,) = factor(lambda x: jnp.tanh(x)[0], jnp.zeros(2)).gates
    with pytest.raises(FreezeError, match="a difference of convex functions"):
        replace(gate, **change)
