"""Deep witnesses and refuters: sound at every depth, exact at their own anchor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from small_trees import MAKERS, SIZE, bare, function, quarters

import ecg_jax as ej
from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.lattice.descent import descend
from ecg_jax.tree.kernels import Side

DEPTHS = {"mlp": 2, "pool": 2, "residual": 3, "margin": 3}


def tables(name, anchors, x, frozen_share=None):
    """`W` and `R` of every anchor at every input, by depth: `[depth, sign, a, x]`."""
    tree = bare(function(name), quarters(1, 4))
    descent, depths = tree.descent, range(1, tree.descent.num_levels + 1)
    rng, deepest = np.random.default_rng(0), tree.descent.num_levels
    masks = [
        rng.random(shape) < (1 if frozen_share is None else frozen_share)
        for shape in descent.unit_shapes(deepest)
    ]

    @jax.jit
    def table(anchors, x):
        def at(anchor, a):
            patterns = descent.patterns(anchor, deepest)
            out = []
            for depth in depths:
                for sign in (1, -1):
                    f, gap = descent.gap(patterns, a, sign, masks, depth)
                    out.append(f - sign * gap)
            return jnp.stack(out).reshape(len(depths), 2)

        return jax.vmap(lambda m: jax.vmap(lambda a: at(m, a))(x))(anchors)

    return np.moveaxis(np.asarray(table(anchors, x)), (0, 1), (2, 3))


@pytest.mark.parametrize("name", MAKERS)
def test_deep_components_bound_f_and_touch_it_at_their_anchor(name):
    x = quarters(11, 30)
    f = np.asarray(jax.vmap(function(name))(x))
    table = tables(name, x, x)
    assert len(table) == DEPTHS[name]
    witness, refuter = table[:, 0], table[:, 1]
    assert np.all(witness <= f) and np.all(refuter >= f)
    for depth in range(len(table)):
        assert np.array_equal(np.diagonal(witness[depth]), f)
        assert np.array_equal(np.diagonal(refuter[depth]), f)
    assert np.all(np.diff(witness, axis=0) <= 0), "deeper proves more"
    assert np.all(np.diff(refuter, axis=0) >= 0)
    assert np.any(np.diff(witness, axis=0) < 0)


@pytest.mark.parametrize("name", ["mlp", "residual"])
def test_freezing_less_lies_between(name):
    x = quarters(12, 25)
    f = np.asarray(jax.vmap(function(name))(x))
    partly, fully = (tables(name, x, x, share) for share in (0.5, None))
    assert np.all(partly[:, 0] <= f) and np.all(partly[:, 1] >= f)
    assert np.all(partly[0, 0] >= fully[0, 0]) and np.all(partly[0, 1] <= fully[0, 1])


@pytest.mark.parametrize("name", MAKERS)
def test_depth_one_is_the_witness_and_the_product(name):
    """`eq.witness`, `Descent.gap` and `Side.coefficients` are one function."""
    anchors, x = quarters(13, 4), quarters(14, 20)
    tree = bare(function(name), quarters(1, 4))
    eq, descent = tree.eq, tree.descent
    rng = np.random.default_rng(1)
    for sign, bound in ((1, eq.witness), (-1, eq.refuter)):
        side = Side(eq, sign)
        frozen = [rng.random(mask.shape) < 0.6 for mask in side.masks]

        @jax.jit
        def both(anchor, x, sign=sign, bound=bound, side=side, frozen=frozen):
            pattern = eq.pattern(anchor)[0 if sign > 0 else 1]
            row = side.coefficients(pattern, frozen) if side.num_units else None
            first = descent.patterns(anchor, 1)

            def at(a):
                f, features = side.features(a)
                deep = f - sign * descent.gap(first, a, sign, frozen)[1]
                product = deep if row is None else f - sign * (features @ row)
                return f, bound(pattern, frozen)(a), deep, product

            return jax.vmap(at)(x)

        for anchor in anchors:
            f, direct, deep, product = both(anchor, x)
            assert np.array_equal(direct, deep)
            assert np.array_equal(direct, product)
            assert np.all(sign * (f - direct) >= 0)


@pytest.mark.parametrize("name", MAKERS)
def test_atoms_are_f(name):
    x = quarters(15, 40)
    fn = function(name)
    descent = descend(fn, x[0])

    @jax.jit
    def atom(a):
        template, offset = descent.atom(a)
        return jnp.sum(template * a) + offset, template

    value, template = jax.vmap(atom)(x)
    assert np.array_equal(value, jax.vmap(fn)(x))
    inside = np.asarray(jax.vmap(jax.grad(fn))(x + 1 / 64 + np.arange(SIZE) / 1024))
    near = jax.vmap(atom)(x + 1 / 64 + np.arange(SIZE) / 1024)[1]
    assert np.mean(np.all(inside == near, axis=1)) > 0.9
    assert template.shape == x.shape


@pytest.mark.parametrize("sign", [1, -1])
def test_the_gap_is_the_sum_of_its_units(sign):
    x = quarters(17, 20)
    descent = descend(function("residual"), x[0])
    anchor = descent.patterns(x[3], 3)
    frozen = [np.arange(np.prod(s)).reshape(s) % 3 > 0 for s in descent.unit_shapes(3)]

    @jax.jit
    def both(a):
        units = descent.unit_gaps(anchor, a, sign, frozen, 3)
        return descent.gap(anchor, a, sign, frozen, 3)[1], units

    whole, units = jax.vmap(both)(x)
    assert [u.shape[1:] for u in units] == descent.unit_shapes(3)
    assert np.array_equal(sum(u.reshape(len(x), -1).sum(1) for u in units), whole)
    assert all(np.all(u >= 0) for u in units) and all(np.any(u > 0) for u in units)
    for unit, mask in zip(units, frozen, strict=True):
        assert not np.any(unit[:, ~mask])


def test_the_component_of_own_patterns_is_f():
    x = quarters(16, 20)
    fn = function("residual")
    descent = descend(fn, x[0])
    for depth in (1, 2, 3):
        own = jax.jit(lambda a, d=depth: descent.component(descent.patterns(a, d))(a))
        assert np.array_equal(jax.vmap(own)(x), jax.vmap(fn)(x))
    assert descent.opened(0) == () and descent.num_levels == 3
    assert list(descent.level) == sorted(descent.level)


def test_an_input_of_several_arrays():
    def fn(x):
        return jnp.sum(jax.nn.relu(x["a"] - x["b"][0])) - jnp.abs(x["b"][1]).sum()

    x = {"a": quarters(1, 9), "b": (quarters(2, 9), quarters(3, 9))}
    descent = descend(fn, jax.tree.map(lambda v: v[0], x))
    anchor = descent.patterns(jax.tree.map(lambda v: v[4], x), 1)
    f, gap = jax.vmap(lambda a: descent.gap(anchor, a, 1))(x)
    assert np.array_equal(f, jax.vmap(fn)(x))
    assert np.all(gap >= 0) and gap[4] == 0
    template, offset = descent.atom(jax.tree.map(lambda v: v[4], x))
    assert jax.tree.structure(template) == jax.tree.structure(x)
    parts = jax.tree.map(lambda t, v: jnp.sum(t * v[4]), template, x)
    assert sum(jax.tree.leaves(parts)) + offset == f[4]


def test_what_has_no_rule_is_refused():
    with pytest.raises(UnsupportedPrimitiveError, match="cannot factor `round`"):
        descend(lambda x: lax.round(jnp.abs(x)).sum(), jnp.ones(2))
    with pytest.raises(UnsupportedPrimitiveError, match="cannot factor `div`"):
        descend(lambda x: jnp.abs(x).sum() + x[0] / x[1], jnp.ones(2))


def test_what_has_no_rule_ends_the_descent():
    """The levels above are opened; a skip past them changes nothing of that."""

    def fn(x):
        box = jnp.round(jax.nn.relu(x) + 0.25)
        h = jax.nn.relu(jnp.abs(box - x[::-1]) - 1)
        return jnp.sum(h[:3]) - jnp.sum(h[3:]) + box[0] - jnp.abs(x[1])

    descent = descend(fn, jnp.ones(6))
    assert descent.end is not None and descent.end.primitive is lax.round_p
    assert list(descent.level) == [0, 0, 1] and descent.num_levels == 2
    line = descent.end.source
    refusal = (
        f"cannot factor `round` at {line}.\n"
        "  operand: float64[6], depends on the input through 1 gate\n"
        "  why:     `round` is discontinuous in the input\n"
        "  try:     leave the rounding out, z itself; of a quantized network, export "
        "or load it in float32 before quantization"
    )
    assert line.startswith("test_descent.py:") and descent.refusal == refusal
    for ask in (
        lambda: descent.atom(jnp.ones(6)),
        lambda: descent.opened(3),
        lambda: descent.patterns(jnp.ones(6), 3),
        lambda: descent.unit_shapes(3),
    ):
        with pytest.raises(UnsupportedPrimitiveError) as error:
            ask()
        assert str(error.value) == refusal
    x = quarters(19, 30)
    f = np.asarray(jax.vmap(fn)(x))
    for depth in (1, 2):
        anchors = jax.vmap(lambda a, d=depth: descent.patterns(a, d))(x)
        assert np.array_equal(
            jax.vmap(lambda p, a: descent.component(p)(a))(anchors, x), f
        )
        for sign in (1, -1):
            row = jax.vmap(lambda p, a, s=sign: descent.bound(p, a, s), (None, 0))
            table = np.asarray(jax.vmap(row, (0, None))(anchors, x))
            assert np.all(sign * (f - table) >= 0)
            assert np.array_equal(np.diagonal(table), f)


@pytest.mark.parametrize("name", MAKERS)
def test_a_bound_by_another_road(name):
    """The program run with its gates frozen, and `f` less what freezing takes."""
    anchors, x = quarters(17, 6), quarters(18, 12)
    descent = descend(function(name), x[0])
    rng = np.random.default_rng(1)
    for depth in range(1, descent.num_levels + 1):
        masks = [rng.random(shape) < 0.6 for shape in descent.unit_shapes(depth)]

        @jax.jit
        def both(anchor, a, sign, depth=depth, masks=masks):
            patterns = descent.patterns(anchor, depth)
            f, gap = descent.gap(patterns, a, sign, masks)
            return f - sign * gap, descent.bound(patterns, a, sign, masks)

        for sign in (1, -1):
            row = jax.vmap(lambda m, a, s=sign: both(m, a, s), (None, 0))
            one, other = jax.vmap(row, (0, None))(anchors, x)
            assert np.array_equal(one, other)


def test_the_sides_of_the_outermost_units_are_those_of_the_equation():
    tree = bare(function("residual"), quarters(1, 4))
    descent = tree.descent
    for sign in (1, -1):
        first = descent.sides(quarters(2, 3)[1], sign, descent.num_levels)
        for side, mask in zip(Side(tree.eq, sign).masks, first, strict=False):
            assert np.array_equal(side, mask)


def test_smooth_gates_bound_too():
    if jax.nn.softplus not in ej.RULES and lax.exp_p not in ej.RULES:
        pytest.skip("no smooth rules")
    weight = jnp.asarray([1.0, -2.0, 0.5])

    def fn(x):
        return weight @ jax.nn.softplus(x) - jnp.exp(x[0] / 4)

    x = np.random.default_rng(0).normal(size=(30, 3))
    descent = descend(fn, x[0])

    @jax.jit
    def table(x):
        patterns = jax.vmap(lambda a: descent.patterns(a, descent.num_levels))(x)

        def row(pattern):
            return jax.vmap(lambda a: jnp.stack(descent.gap(pattern, a, 1)))(x)

        return jax.vmap(row)(patterns)

    gap = np.asarray(table(x))[:, :, 1]
    assert np.all(gap >= -1e-12) and np.all(np.abs(np.diagonal(gap)) < 1e-12)
    assert gap.max() > 0.1
