"""Choosing components: localization, unfreezing, and what a cover promises."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from small_trees import function, quarters

from ecg_jax.errors import CoverError
from ecg_jax.lattice.factor import factor
from ecg_jax.tree.cover import (
    CoverConfig,
    Samples,
    _capped,
    _fewer_frozen,
    _proven,
    choose,
    coefficients,
)
from ecg_jax.tree.kernels import Side, decides, squared_distances

SMALL = CoverConfig(candidates=8, members=16, rounds=2)


def side_and_samples(name="mlp", sign=1, count=80):
    """One side of a small function, and its samples."""
    fn, x = function(name), quarters(21, count)
    f = np.asarray(jax.vmap(fn)(x))
    x, g = x[sign * f > 0], sign * f[sign * f > 0]
    eq = factor(fn, x[0])
    side = Side(eq, sign)

    @jax.jit
    def seen(a):
        return (
            eq.operands(a),
            eq.pattern(a)[0 if sign > 0 else 1],
            side.features(a)[1],
        )

    operands, patterns, features = jax.tree.map(np.asarray, jax.vmap(seen)(x))
    return side, Samples(x, g - 1e-9, operands, patterns, features)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cover_proves_what_it_says(sign):
    side, samples = side_and_samples(sign=sign)
    room = samples.room
    cover = choose(side, samples, 3, SMALL)
    assert cover.anchors.shape == (3,)
    assert set(cover.anchors) <= set(range(len(samples)))
    assert cover.frozen.shape == (3, side.num_units)
    assert np.all(cover.frozen.mean(1) >= SMALL.least_frozen)
    rows = coefficients(side, samples.patterns, cover.anchors, cover.frozen)
    table = samples.features @ rows.T
    assert np.all(table >= 0)
    away = np.asarray(squared_distances(samples.vectors, cover.centres))
    assert np.array_equal(cover.cells, decides(table, room, away))
    own = np.take_along_axis(table, cover.cells[:, None], 1)[:, 0]
    assert cover.proven == np.mean(own < room)
    assert cover.proven == np.mean(np.any(table < room[:, None], axis=1))
    assert cover.proven > 0.5
    for k, anchor in enumerate(cover.anchors):
        assert table[anchor, k] == 0, "a component loses nothing at its prototype"


def test_one_component_and_as_many_as_samples():
    side, samples = side_and_samples(count=12)
    one = choose(side, samples, 1, SMALL)
    assert np.all(one.cells == 0)
    every = choose(side, samples, len(samples), SMALL)
    assert every.proven >= one.proven


def test_too_few_samples():
    side, samples = side_and_samples(count=12)
    count = len(samples)
    with pytest.raises(CoverError) as error:
        choose(side, samples, count + 1, SMALL)
    assert str(error.value) == (
        f"{count + 1} components asked for, {count} samples on this side.\n"
        "  try: a smaller budget, or more data"
    )
    with pytest.raises(CoverError, match="0 components asked for"):
        choose(side, samples, 0, SMALL)


def test_the_nearest_proof_decides():
    rng = np.random.default_rng(0)
    gap, away, room = rng.random((300, 5)), rng.random((300, 5)), rng.random(300) / 2
    cells = np.asarray(decides(gap, room, away))
    for row, cell in enumerate(cells):
        proofs = np.flatnonzero(gap[row] < room[row])
        among = proofs if len(proofs) else np.arange(5)
        assert cell == among[np.argmin(away[row, among])]


def test_units_stay_alive_only_where_a_proof_is_wanted():
    side, samples = side_and_samples("residual", -1)
    counts = []
    for wanted in (0.0, 0.5, 0.9, 1.0):
        config = replace(SMALL, least_frozen=0.5, wanted=wanted)
        cover = choose(side, samples, 1, config)
        counts.append((~cover.frozen).sum())
        if wanted == 0:
            assert counts[0] == 0 and np.all(cover.frozen)
    assert counts[0] < counts[-1]


def test_unfreezing_is_greedy():
    """One unit at a time, each the one that gains most proofs that count."""
    rng = np.random.default_rng(0)
    gap, room = rng.random((6, 40, 7)) ** 4, np.full(40, 0.6)
    weights = (rng.random((6, 40)) < 0.7).astype(float)
    frozen = np.ones((6, 7), bool)

    def proofs(c, mask):
        return np.sum(weights[c] * (gap[c][:, mask].sum(1) < room))

    for _ in range(3):
        before = frozen
        frozen = np.asarray(_fewer_frozen(gap, room, weights, before, 1))
        shares = np.asarray(_proven(gap, room, weights, frozen))
        for c in range(6):
            expected = proofs(c, frozen[c]) / weights[c].sum()
            assert np.isclose(shares[c], expected, rtol=1e-12)
            left = [proofs(c, before[c] & (np.arange(7) != u)) for u in range(7)]
            most = max(p for p, m in zip(left, before[c], strict=True) if m)
            (picked,) = np.flatnonzero(before[c] & ~frozen[c])
            assert left[picked] == most, "another unit gains more"


def test_no_recording_gives_more_than_its_share():
    records = np.array([7, 7, 7, 1, 7, 1, 2])
    rows = np.array([6, 4, 2, 0, 3, 1, 5])
    assert _capped(rows, records, 2).tolist() == [6, 4, 2, 3, 5]
    assert _capped(rows, records, 1).tolist() == [6, 4, 3]


def test_others_are_of_another_recording():
    _, samples = side_and_samples(count=12)
    records = np.arange(len(samples)) // 3
    known = replace(samples, records=records)
    anchors = np.array([0, 4])
    other = known.others(anchors)
    assert np.array_equal(other, records[:, None] != records[anchors][None])
    some = known.others(anchors, np.array([0, 1, 2]))
    assert some[:, 0].all(), "of one recording alone nothing can be left out"
    assert some[:, 1].all() and samples.others(anchors).all()


def two_people(sign=1):
    """Samples of two recordings, each with the other's shapes only now and then."""
    side, samples = side_and_samples("residual", sign, count=160)
    order = np.argsort(samples.vectors[:, 0], kind="stable")
    records = np.zeros(len(samples), int)
    records[order[len(order) // 2 :]] = 1
    return side, replace(samples, records=records)


@pytest.mark.parametrize("sign", [1, -1])
def test_proofs_count_on_other_recordings(sign):
    side, samples = two_people(sign)
    alone = choose(side, samples, 1, SMALL)
    own = samples.records == samples.records[alone.anchors[0]]
    assert alone.proven <= 1 - own.mean()
    cover = choose(side, samples, 2, SMALL)
    rows = coefficients(side, samples.patterns, cover.anchors, cover.frozen)
    proves = samples.features @ rows.T < samples.room[:, None]
    other = samples.records[:, None] != samples.records[cover.anchors][None]
    assert cover.proven == np.mean(np.any(proves & other, axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "rounds=0 is not 1 or more"),
        ({"members": 0}, "members=0 is not 1 or more"),
        ({"least_frozen": 2}, "least_frozen=2 is not from 0 to 1"),
        ({"wanted": float("nan")}, "wanted=nan is not from 0 to 1"),
    ],
)
def test_no_cover_can_be_chosen_so(options, message):
    with pytest.raises(CoverError) as error:
        CoverConfig(**options)
    assert str(error.value) == f"CoverConfig: {message}"


def test_the_same_seed_gives_the_same_cover():
    side, samples = side_and_samples()
    one, two = (choose(side, samples, 3, SMALL) for _ in range(2))
    assert np.array_equal(one.anchors, two.anchors)
    assert np.array_equal(one.frozen, two.frozen)
    assert np.array_equal(one.centres, two.centres)


def test_duplicates_do_no_harm():
    side, samples = side_and_samples(count=12)
    fields = {k: v for k, v in vars(samples).items() if k != "records"}
    twice = jax.tree.map(lambda v: np.repeat(v[:3], 5, axis=0), fields)
    cover = choose(side, Samples(**twice), 6, SMALL)
    assert cover.anchors.shape == (6,) and cover.proven > 0
