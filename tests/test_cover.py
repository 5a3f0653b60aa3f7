"""Choosing components: localization, thawing, and what a cover promises."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import function, quarters

from ecg_jax.cover import (
    CoverConfig,
    _thaw,
    choose,
    coefficients,
)
from ecg_jax.errors import CoverError
from ecg_jax.factor import factor
from ecg_jax.kernels import Side, nearest_proof, squared_distances

SMALL = CoverConfig(candidates=8, members=16, rounds=2)


def side_and_data(name="mlp", sign=1, count=80):
    """One side of a small function, and all that `choose` wants of its samples."""
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

    return side, x, g, *jax.tree.map(np.asarray, jax.vmap(seen)(x))


def chosen(side, x, g, operands, patterns, features, num, config=SMALL):
    return choose(side, x, g - 1e-9, operands, patterns, features, num, config)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cover_proves_what_it_says(sign):
    side, x, g, operands, patterns, features = side_and_data(sign=sign)
    cover = chosen(side, x, g, operands, patterns, features, 3)
    assert cover.anchors.shape == (3,) and set(cover.anchors) <= set(range(len(x)))
    assert cover.frozen.shape == (3, side.num_units)
    assert np.all(cover.frozen.mean(1) >= SMALL.least_frozen)
    rows = coefficients(side, patterns, cover.anchors, cover.frozen)
    table = features @ rows.T
    assert np.all(table >= 0)
    away = np.asarray(squared_distances(x, cover.centres))
    assert np.array_equal(cover.cells, nearest_proof(table, g - 1e-9, away))
    own = np.take_along_axis(table, cover.cells[:, None], 1)[:, 0]
    assert cover.proven == np.mean(own < g - 1e-9)
    assert cover.proven == np.mean(np.any(table < (g - 1e-9)[:, None], axis=1))
    assert cover.proven > 0.5
    for k, anchor in enumerate(cover.anchors):
        assert table[anchor, k] == 0, "a component loses nothing at its prototype"


def test_one_component_and_as_many_as_samples():
    everything = side_and_data(count=12)
    one = chosen(*everything, 1)
    assert np.all(one.cells == 0)
    every = chosen(*everything, len(everything[1]))
    assert every.proven >= one.proven


def test_too_few_samples():
    everything = side_and_data(count=12)
    count = len(everything[1])
    with pytest.raises(CoverError) as error:
        chosen(*everything, count + 1)
    assert str(error.value) == (
        f"{count + 1} components asked for, {count} samples on this side.\n"
        "  try: a smaller budget, or more data"
    )
    with pytest.raises(CoverError, match="0 components asked for"):
        chosen(*everything, 0)


def test_the_nearest_proof_decides():
    rng = np.random.default_rng(0)
    gap, away, room = rng.random((300, 5)), rng.random((300, 5)), rng.random(300) / 2
    cells = np.asarray(nearest_proof(gap, room, away))
    for row, cell in enumerate(cells):
        proofs = np.flatnonzero(gap[row] < room[row])
        among = proofs if len(proofs) else np.arange(5)
        assert cell == among[np.argmin(away[row, among])]


def test_units_stay_alive_only_where_a_proof_is_wanted():
    everything = side_and_data("residual", -1)
    counts = []
    for wanted in (0.0, 0.5, 0.9, 1.0):
        config = replace(SMALL, least_frozen=0.5, wanted=wanted)
        cover = chosen(*everything, 1, config)
        counts.append((~cover.frozen).sum())
        if wanted == 0:
            assert counts[0] == 0 and np.all(cover.frozen)
    assert counts[0] < counts[-1]


def test_thawing_is_greedy():
    """One unit at a time, each the one that gains most proofs."""
    rng = np.random.default_rng(0)
    gap = rng.random((6, 40, 7)) ** 4
    room = np.full(40, 0.6)
    for thawed in (0, 1, 2):
        frozen, proven = map(
            np.asarray, _thaw(jnp.asarray(gap), jnp.asarray(room), thawed)
        )
        assert frozen.shape == (thawed + 1, 6, 7) and proven.shape == (thawed + 1, 6)
        for c in range(6):
            mask = np.ones(7, bool)
            for step in range(thawed + 1):
                kept = (gap[c] * frozen[step, c]).sum(1) < room
                assert np.isclose(proven[step, c], kept.mean(), rtol=1e-12)
                if not step:
                    continue
                left = [mask & (np.arange(7) != u) for u in range(7)]
                proofs = [np.sum(gap[c][:, m].sum(1) < room) for m in left]
                most = max(p for p, m in zip(proofs, mask, strict=True) if m)
                (picked,) = np.flatnonzero(mask & ~frozen[step, c])
                assert proofs[picked] == most, "another unit gains more"
                mask = frozen[step, c]


def test_the_same_seed_gives_the_same_cover():
    everything = side_and_data()
    one, two = (chosen(*everything, 3) for _ in range(2))
    assert np.array_equal(one.anchors, two.anchors)
    assert np.array_equal(one.frozen, two.frozen)
    assert np.array_equal(one.centres, two.centres)


def test_duplicates_do_no_harm():
    side, *parts = side_and_data(count=12)
    twice = jax.tree.map(lambda v: np.repeat(v[:3], 5, axis=0), parts)
    cover = chosen(side, *twice, 6)
    assert cover.anchors.shape == (6,) and cover.proven > 0
