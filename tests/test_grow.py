"""Growing: the tree is its function and sound, whatever the data look like."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import SIZE, function, quarters
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import CoverError, ExampleError, NonFiniteError
from ecg_jax.tree.anchors import SELECT
from ecg_jax.tree.circuit import circuit
from ecg_jax.tree.cover import CoverConfig
from ecg_jax.tree.edit import path as own_path
from ecg_jax.tree.grow import grow
from ecg_jax.views.partition import components, proves

COVER = CoverConfig(candidates=8, members=16, rounds=1)


def small(fn, data, **options):
    return grow(fn, data, **{"min_count": 2, "cover": COVER, "budget": 2, **options})


def check(tree, fn, data, *, unseen=None):
    """What holds of every tree, on dyadic numbers without any rounding."""
    decision = ej.decide(tree, data)
    f = np.asarray(jax.jit(jax.vmap(fn))(data))
    assert np.array_equal(decision.value, f)
    assert decision.wrongly_proven == 0
    assert np.all(decision.lower <= f) and np.all(decision.upper >= f)
    ids, counts = np.unique(decision.path[decision.path > 0], return_counts=True)
    assert {n.id: n.count for n in tree.nodes[1:]} == dict(
        zip(ids.tolist(), counts.tolist(), strict=True)
    )
    for sign in (1, -1):  # components below the root freeze one depth
        first = [k for k in tree.children(0) if tree.nodes[k].sign == sign]
        assert len({tree.nodes[k].depth for k in first}) <= 1
        answers = decision.normal if sign > 0 else ~decision.normal
        assert not first or np.isin(decision.first[answers], first).all()
    for i, node in enumerate(tree.nodes):
        assert node.id == i and node.parent < i
        assert 0 <= node.share_frozen <= 1
        below = [tree.nodes[k] for k in tree.children(i)]
        assert not i or not below or sum(n.count for n in below) == node.count
        assert all(
            n.depth == node.depth + 1 and n.sign == node.sign for n in below if i
        )
    for sign, answers in ((1, f >= 0), (-1, f < 0)):
        leaves = [k for k in tree.leaves() if tree.nodes[k].sign == sign]
        assert not leaves or np.isin(decision.cell[answers], leaves).all()
    if unseen is not None:
        bounds = jax.jit(jax.vmap(lambda x: (tree(x), *tree.bounds(x))))(unseen)
        value, lower, upper = map(np.asarray, bounds)
        f = np.asarray(jax.jit(jax.vmap(fn))(unseen))
        assert np.array_equal(value, f)
        assert np.all(lower <= f) and np.all(f <= upper)
    return decision


def test_a_tree_of_two_levels():
    fn, data = function("mlp"), quarters(31, 150)
    tree = small(fn, data, depth=9, budget=5, min_count=5)
    decision = check(tree, fn, data, unseen=quarters(32, 300))
    assert tree.depth == tree.descent.num_levels == 2
    names = {n.name for n in tree.nodes}
    assert {"f", "P1", "Q1"} <= names and any("." in name for name in names)
    for sign in (1, -1):
        leaves = [k for k in tree.leaves() if tree.nodes[k].sign == sign]
        assert 1 <= len(leaves) <= 5
        first = [n for n in tree.nodes if n.depth == 1 and n.sign == sign]
        assert all(n.share_frozen >= COVER.least_frozen for n in first)
        assert all(n.count >= 5 for n in tree.nodes if n.depth == 2)
    assert (decision.prover >= 0).mean() > 0.5
    found = ej.certify(tree, data)
    assert found.holds and found.max_residual == 0 and found.unseen_patterns == 0
    rows = {tuple(row) for row in data}
    assert all(tuple(n.anchor) in rows for n in tree.nodes[1:])


def test_prototypes_prove_their_own_answer():
    fn, data = function("pool"), quarters(33, 60)
    tree = small(fn, data, depth=1, budget=3)
    check(tree, fn, data)
    anchors = np.stack([n.anchor for n in tree.nodes[1:]])
    values = tree.values(anchors)
    signs = np.array([n.sign for n in tree.nodes])
    own = values[np.arange(len(anchors)), np.arange(1, len(tree.nodes))]
    assert np.array_equal(own, values[:, 0]) and np.all(own * signs[1:] >= 0)


def relu_sum(x):
    return jnp.sum(jax.nn.relu(x)) - 2


def test_a_side_without_units():
    """All units are on the max side: no refuter, but answers all the same."""
    data = quarters(35, 50)
    tree = small(relu_sum, data, depth=1)
    decision = check(tree, relu_sum, data, unseen=quarters(36, 50))
    assert {n.kind for n in tree.nodes} == {"root", "witness"}
    assert np.all(decision.upper == np.inf)
    assert np.all(decision.prover[~decision.normal] == -1)
    assert np.all(decision.cell[~decision.normal] == 0)


@pytest.mark.parametrize("shift", [-100.0, 100.0])
def test_all_answers_alike(shift):
    def fn(x):
        return shift - jnp.sum(jax.nn.relu(x)) + jnp.sum(jax.nn.relu(-x))

    data = quarters(37, 30)
    tree = small(fn, data, depth=1)
    decision = check(tree, fn, data)
    assert {n.side for n in tree.nodes[1:]} == {"normal" if shift > 0 else "not normal"}
    assert decision.proven.all()
    found = ej.certify(tree, data)
    assert found.holds
    assert np.isnan(found.proven_not_normal if shift > 0 else found.proven_normal)


def test_fewer_samples_than_budget():
    data = quarters(38, 6)
    tree = small(function("mlp"), data, depth=1, budget=50, min_count=1)
    check(tree, function("mlp"), data)
    assert len(tree.nodes) - 1 <= len(data)
    one = small(function("mlp"), data[:1], depth=1, budget=50)
    assert len(one.nodes) == 2 and check(one, function("mlp"), data[:1]).proven.all()


def test_duplicates_in_the_data():
    data = np.repeat(quarters(39, 8), 6, axis=0)
    tree = small(function("mlp"), data, depth=2, budget=6)
    check(tree, function("mlp"), data)


def test_inputs_of_several_arrays():
    def fn(x):
        h = jax.nn.relu(x["beat"] - x["rr"][0])
        return jnp.sum(h[:3]) - jnp.sum(h[3:]) + x["rr"][1]

    rng = np.random.default_rng(0)
    data = {"beat": quarters(40, 40), "rr": (rng.integers(-4, 5, (2, 40)) / 4)}
    data["rr"] = tuple(data["rr"])
    tree = small(fn, data, depth=1)
    check(tree, fn, data, unseen=jax.tree.map(lambda v: v[::-1] + 0.25, data))
    assert set(tree.nodes[1].anchor) == {"beat", "rr"}


def test_float32_and_the_metric_of_shapes():
    rng = np.random.default_rng(0)
    one, two = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((5, 6), (5,)))

    def fn(x):
        return two @ jax.nn.relu(one @ x)

    data = rng.normal(size=(80, 6)).astype(np.float32)
    tree = small(fn, data, depth=1, metric="shape")
    assert tree.metric == "shape"
    found = ej.certify(tree, data)
    assert found.holds and found.dtype == "float32" and found.wrongly_proven == 0
    unseen = rng.normal(size=(300, 6)).astype(np.float32)
    decision = ej.decide(tree, unseen)
    exact = np.asarray(two, np.float64) @ np.maximum(
        np.asarray(one, np.float64) @ unseen.T.astype(np.float64), 0
    )
    proven = decision.prover >= 0
    assert proven.mean() > 0.5 and np.all(
        decision.normal[proven] == (exact[proven] >= 0)
    )
    assert np.all(decision.lower <= exact + decision.slack)


def test_smooth_gates():
    def fn(x):
        return jnp.sum(jax.nn.softplus(x[:3])) - jnp.sum(jax.nn.softplus(x[3:]))

    data = np.random.default_rng(0).normal(size=(40, 6))
    tree = small(fn, data, depth=1)
    found = ej.certify(tree, data)
    assert found.holds and found.wrongly_proven == 0
    assert found.proven_normal > 0.3


def test_the_same_data_give_the_same_tree():
    fn, data = function("mlp"), quarters(41, 40)
    one, two = (small(fn, data, depth=1, budget=1) for _ in range(2))
    assert [n.name for n in one.nodes] == ["f", "P1", "Q1"]
    check(one, fn, data)
    for a, b in zip(one.nodes, two.nodes, strict=True):
        assert (a.name, a.count) == (b.name, b.count)
        assert np.array_equal(a.centre, b.centre)
        assert np.array_equal(a.anchor, b.anchor) if a.id else b.anchor is None
        assert all(map(np.array_equal, a.frozen, b.frozen))


def three_classes(classes, act, seed=0):
    """A dense network, a margin of several classes, and data: dyadic numbers."""
    rng = np.random.default_rng(seed)
    shapes = ((SIZE, 6), (6, 5), (5, classes))
    one, two, three = (jnp.asarray(rng.integers(-3, 4, s) / 2) for s in shapes)
    logits = lambda x: act(act(x @ one) @ two) @ three  # noqa: E731
    margins = [ej.margin(logits, k) for k in range(classes)]
    data = quarters(44, 200)
    shares = [np.mean(jax.vmap(fn)(data) >= 0) for fn in margins]
    return margins[int(np.argmin(np.abs(np.array(shares) - 0.4)))], data


@pytest.mark.parametrize(
    "classes, depth", [(3, 2), pytest.param(4, 3, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_a_margin_of_several_classes(classes, depth, tmp_path):
    """Its outermost gate is the best rival: "normal" starts one level deeper."""
    fn, data = three_classes(classes, jax.nn.relu)
    tree = small(fn, data, depth=depth, budget=4, min_count=5)
    decision = check(tree, fn, data, unseen=quarters(45, 300))
    first = [tree.nodes[k] for k in tree.children(0)]
    assert {(n.side, n.depth) for n in first} == {("normal", 2), ("not normal", 1)}
    assert tree.depth == depth and tree.descent.num_levels == 3
    assert (decision.path[decision.normal, 0] == 0).all()
    found = ej.certify(tree, data)
    assert found.holds and found.proven_normal > 0.3 and found.proven_not_normal > 0.3

    unseen = quarters(46, 300)
    f = np.asarray(jax.jit(jax.vmap(fn))(unseen))
    again = ej.decide(tree, unseen)
    proven = again.prover >= 0
    assert again.wrongly_proven == 0 and proven[again.normal].any()
    values, slack = tree.values(unseen), again.slack
    signs = np.array([n.sign for n in tree.nodes])
    by = values[np.arange(len(f)), again.prover] * signs[again.prover]
    assert np.all(by[proven] > slack[proven])
    lower = values[:, _first(tree, 1)].max(axis=1)
    upper = values[:, _first(tree, -1)].min(axis=1)
    leaf = values[np.arange(len(f)), again.cell]
    lower = np.where(again.normal, np.maximum(lower, leaf), lower)
    upper = np.where(again.normal, upper, np.minimum(upper, leaf))
    none = np.where(again.normal, lower, -upper) <= slack
    lower = np.where(none, values[:, signs > 0].max(axis=1), lower)
    upper = np.where(none, values[:, signs < 0].min(axis=1), upper)
    assert np.array_equal(again.lower, lower) and np.array_equal(again.upper, upper)
    assert np.array_equal(circuit(tree).evaluate(unseen), f >= 0)
    assert "of the units of level 2" in ej.to_text(tree)

    ej.save(tree, tmp_path / "tree")
    loaded = ej.load(tmp_path / "tree")
    assert np.array_equal(ej.decide(loaded, unseen).path, again.path)
    assert np.array_equal(loaded.values(unseen), values)

    ids, table = proves(tree, unseen, 1)
    assert ids == _first(tree, 1)
    assert np.array_equal(table, values[:, ids] > slack[:, None])
    evaluated = components(tree, unseen, again)
    own = values[np.arange(len(f)), again.first]
    assert np.array_equal(evaluated, own)


def _first(tree, sign):
    return [k for k in tree.children(0) if tree.nodes[k].sign == sign]


def test_a_budget_of_levels_that_ends_above_the_first_units():
    fn, data = three_classes(3, jax.nn.relu)
    tree = small(fn, data, depth=1, budget=4)
    decision = check(tree, fn, data)
    assert {n.side for n in tree.nodes[1:]} == {"not normal"}
    assert np.all(decision.prover[decision.normal] == -1)


@pytest.mark.slow
def test_a_margin_of_several_classes_with_smooth_gates():
    fn, data = three_classes(3, jax.nn.softplus)
    tree = small(fn, data, depth=2, budget=4, min_count=5)
    found = ej.certify(tree, data)
    assert found.holds and found.wrongly_proven == 0
    assert {n.depth for n in tree.nodes if n.side == "normal"} == {2}
    assert found.proven_normal > 0.2 and found.proven_not_normal > 0.2


def test_a_network_with_a_black_box_below(tmp_path):
    """Its outermost levels are opened, and the certificate says how many."""

    def fn(x):
        box = jnp.convolve(jnp.clip(x, -1, 1), x[:1])
        h = jax.nn.relu(jax.nn.relu(box - 0.5) - jax.nn.relu(x))
        return jnp.sum(h[::2]) - jnp.sum(h[1::2])

    data = quarters(42, 150)
    tree = small(fn, data, depth=9, budget=4, min_count=5)
    check(tree, fn, data, unseen=quarters(43, 200))
    assert tree.depth == tree.descent.num_levels == 2
    found = ej.certify(tree, data)
    assert found.holds and found.max_residual == 0 and found.max_bound_ratio == 0
    assert found.levels == 2 and not found.atoms
    box = "cannot factor `conv_general_dilated` (a convolution) at test_grow.py:"
    assert found.refusal.startswith(box)
    assert found.refusal == tree.descent.refusal
    ej.save(tree, tmp_path / "tree")
    again = ej.load(tmp_path / "tree")
    assert ej.certify(again, data).levels == 2 and again.depth == 2
    assert np.array_equal(again.values(data), tree.values(data))
    with pytest.raises(ej.UnsupportedPrimitiveError, match="conv_general_dilated"):
        tree.descent.atom(data[0])


def test_bad_data():
    for data in (np.zeros((0, 6)), {}):
        with pytest.raises(ExampleError) as error:
            grow(function("mlp"), data)
        assert str(error.value) == (
            "no examples.\n  try: data with a leading axis of at least 1"
        )
    for data, shapes in (
        (np.float64(1), "[()]"),
        ({"a": np.zeros((5, 6)), "b": np.zeros((4, 6))}, "[(5, 6), (4, 6)]"),
        ([np.float64(1), np.float64(2)], "[(), ()]"),
    ):
        with pytest.raises(ExampleError) as error:
            grow(function("mlp"), data)
        assert str(error.value) == (
            f"the data have no common first axis: shapes {shapes}.\n"
            "  try: an array of examples, or a pytree of such, as long as each other"
        )
    spoiled = quarters(1, 9)
    spoiled[3, 2] = np.nan
    for ask in (
        partial(grow, function("mlp")),
        partial(ej.decide, small(function("mlp"), quarters(1, 40))),
    ):
        with pytest.raises(NonFiniteError) as error:
            ask(spoiled)
        assert str(error.value) == (
            "data[3] holds NaN or infinite numbers.\n  try: leave such examples out"
        )
    with pytest.raises(ej.NoGateError):
        grow(lambda x: jnp.sum(x), quarters(1, 5))
    with pytest.raises(ej.UnsupportedPrimitiveError, match="cannot factor `round`"):
        grow(lambda x: jnp.round(x).sum(), quarters(1, 5))


@pytest.mark.usefixtures("unchecked")
def test_a_probability_is_questioned():
    data = quarters(1, 30)
    probability = lambda x: jax.nn.sigmoid(jax.nn.relu(x[0]) - x[1])  # noqa: E731
    with pytest.warns(UserWarning, match="is it a probability.*\n  try: its logit"):
        small(probability, data)


@pytest.mark.usefixtures("unchecked")
def test_bad_options():
    fn, data = function("mlp"), quarters(1, 9)
    for options, message in (
        (
            {"select": "random"},
            "select is 'random'.\n  try: one of 'prototypes', 'frequent', 'boundary', "
            "'medoids', 'greedy'",
        ),
        ({"depth": 0}, "depth is 0.\n  try: a whole number from 1 on"),
        ({"depth": True}, "depth is True.\n  try: a whole number from 1 on"),
        ({"budget": (2, 3)}, "budget is (2, 3).\n  try: a whole number from 1 on"),
        ({"min_count": 2.5}, "min_count is 2.5.\n  try: a whole number from 1 on"),
        (
            {"localize": "a"},
            "localize is 'a'.\n  try: a number of at least 0; None for the nearest "
            "proof",
        ),
        (
            {"records": [None] * 9},
            "records of shape (9,) and object for 9 examples.\n  try: the recording "
            "of each example, by name or number",
        ),
        (
            {"cover": {"wanted": 0.9}},
            "cover is {'wanted': 0.9}.\n  try: ecg_jax.tree.cover.CoverConfig(...)",
        ),
        (
            {"metric": "dtw"},
            "metric is 'dtw'.\n  try: one of 'euclidean', 'shape', 'cut'",
        ),
        (
            {"localize": -1.0},
            "localize is -1.0.\n  try: a number of at least 0; None for the nearest "
            "proof",
        ),
        (
            {"records": ["A1", "A2"]},
            "records of shape (2,) and <U2 for 9 examples.\n  try: the recording of "
            "each example, by name or number",
        ),
    ):
        with pytest.raises(CoverError) as error:
            grow(fn, data, **options)
        assert str(error.value) == message


@pytest.mark.parametrize("way", some_slow(SELECT, ["prototypes", "greedy"]))
def test_every_way_to_select(way):
    fn, data = function("residual"), quarters(47, 120)
    tree = small(fn, data, depth=1, budget=4, select=way)
    decision = check(tree, fn, data, unseen=quarters(48, 200))
    assert (decision.prover >= 0).mean() > 0.5
    rows = {tuple(row) for row in data}
    assert all(tuple(n.anchor) in rows for n in tree.nodes[1:])
    if way != "prototypes":
        assert all(n.share_frozen == 1 for n in tree.nodes[1:])


@pytest.mark.parametrize(
    "localize, metric",
    [
        (None, "cut"),
        pytest.param(0.0, "euclidean", marks=pytest.mark.slow),
        pytest.param(0.5, "shape", marks=pytest.mark.slow),
    ],
)
def test_every_way_to_localize(localize, metric, tmp_path):
    fn, data = function("mlp"), quarters(49, 150)
    tree = small(
        fn, data, depth=2, budget=6, min_count=8, localize=localize, metric=metric
    )
    decision = check(tree, fn, data, unseen=quarters(50, 100))
    path = jax.jit(jax.vmap(lambda x: own_path(tree, x)))(data)
    assert np.array_equal(path, decision.path)
    ej.save(tree, tmp_path / "tree")
    again = ej.load(tmp_path / "tree")
    assert (again.localize, again.metric) == (localize, metric)
    assert np.array_equal(ej.decide(again, data).path, decision.path)

    centres = np.stack([n.centre for n in tree.nodes[1:]])
    vectors = np.asarray(jax.vmap(tree.vector)(data))
    away = ((vectors[:, None] - centres[None]) ** 2).sum(-1)
    gap = np.abs(tree.values(data)[:, 1:] - decision.value[:, None])
    for sign in (1, -1):
        ids = np.array(_first(tree, sign))
        own = np.flatnonzero(decision.normal == (sign > 0))
        cost = away if localize is None else gap + localize * away
        cost = cost[own][:, ids - 1]
        picked = decision.first[own]
        least = cost[np.arange(len(own)), np.searchsorted(ids, picked)]
        if localize is None:
            room = (np.abs(decision.value) - decision.slack)[own, None]
            proves = gap[own][:, ids - 1] < room
            proves |= ~proves.any(axis=1, keepdims=True)
            cost = np.where(proves, cost, np.inf)
        assert np.allclose(least, cost.min(axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_recordings_may_have_any_names():
    fn, data = function("mlp"), quarters(51, 120)
    names = np.array([f"A{k % 5}" for k in range(len(data))])
    tree = small(fn, data, depth=2, budget=4, records=names)
    check(tree, fn, data, unseen=quarters(52, 100))
    alike = small(fn, data, depth=2, budget=4, records=[str(n) for n in names])
    assert np.array_equal(ej.decide(alike, data).path, ej.decide(tree, data).path)


def test_deeper_components_freeze_what_they_promise():
    """And smooth gates are left alive like any others, where proofs are missed."""
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(SIZE, 24)), rng.normal(size=(24, 12))
    head = rng.normal(size=12)

    def fn(x):
        return jax.nn.gelu(jax.nn.gelu(x @ one) @ two) @ head - 1

    data = rng.normal(size=(200, SIZE))
    few = replace(COVER, wanted=1.0, least_frozen_deeper=0.6)
    alive = []
    for cover in (few, replace(few, wanted=0.0)):
        tree = small(fn, data, depth=2, budget=3, min_count=10, cover=cover)
        assert ej.certify(tree, data).holds
        assert tree.depth == 2
        for node in tree.nodes:
            if node.depth < 2:
                continue
            sides = jax.jit(partial(tree.descent.sides, sign=node.sign, depth=2))
            for side, mask in zip(sides(node.anchor), node.frozen, strict=True):
                side = np.asarray(side)
                assert np.sum(side & ~mask) <= 0.4 * side.sum()
                alive.append(np.sum(~mask))
        if not cover.wanted:
            assert not any(alive)
        else:
            assert any(alive)
        alive = []
