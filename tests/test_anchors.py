"""Ways to choose components: each does what its name says."""

import numpy as np
import pytest
from test_cover import SMALL, side_and_samples

from ecg_jax.errors import CoverError
from ecg_jax.tree.anchors import (
    WAYS,
    boundary,
    covering,
    frequent,
    medoids,
    proofs,
    select,
)
from ecg_jax.tree.cover import coefficients
from ecg_jax.tree.kernels import decides, squared_distances
from ecg_jax.tree.setcover import pack


def whole_patterns(samples):
    return [
        tuple(np.concatenate([np.ravel(v[k]) for v in samples.patterns]))
        for k in range(len(samples))
    ]


def test_frequent_patterns_come_first():
    side, samples = side_and_samples(count=200)
    rows, patterns = frequent(side, samples, 5), whole_patterns(samples)
    counts = {p: patterns.count(p) for p in patterns}
    chosen = [counts[patterns[k]] for k in rows]
    assert chosen == sorted(counts.values(), reverse=True)[:5]


def test_the_boundary_is_where_margins_are_small():
    side, samples = side_and_samples(count=200)
    rows, patterns = boundary(side, samples, 4), whole_patterns(samples)
    room = samples.room[rows]
    assert np.all(np.diff(room) >= 0) and room[0] == samples.room.min()
    assert len({patterns[k] for k in rows}) == len(rows)
    assert np.all(room <= np.quantile(samples.room, 0.1))


def test_medoids_are_nearest_to_centres():
    side, samples = side_and_samples(count=200)
    rows = medoids(side, samples, 6)
    assert 1 <= len(rows) <= 6 and np.array_equal(rows, np.unique(rows))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_greedy_cover_proves_at_least_what_others_do(sign):
    side, samples = side_and_samples("residual", sign, count=300)

    def proven(rows):
        frozen = np.ones((len(rows), side.num_units), bool)
        table = coefficients(side, samples.patterns, rows, frozen)
        return (samples.features @ table.T < samples.room[:, None]).any(1).mean()

    best = proven(covering(side, samples, 3))
    assert best > 0.5
    for way in (frequent, boundary, medoids):
        assert proven(way(side, samples, 3)) <= best


def test_proofs_are_packed_block_by_block(monkeypatch):
    side, samples = side_and_samples(count=300)
    anchors = np.arange(7)
    frozen = np.ones((7, side.num_units), bool)
    rows = coefficients(side, samples.patterns, anchors, frozen)
    table = samples.features @ rows.T < samples.room[:, None]
    monkeypatch.setattr("ecg_jax.tree.anchors.STREAMED", 16)
    assert np.array_equal(proofs(side, samples, anchors), pack(table))


@pytest.mark.parametrize("way", WAYS)
def test_a_selection_is_a_cover(way):
    side, samples = side_and_samples(count=200)
    cover = select(way, side, samples, 5, SMALL)
    assert 1 <= len(cover.anchors) <= 5 and cover.frozen.all()
    rows = coefficients(side, samples.patterns, cover.anchors, cover.frozen)
    gap = samples.features @ rows.T
    away = np.asarray(squared_distances(samples.vectors, cover.centres))
    assert np.array_equal(cover.cells, decides(gap, samples.room, away))
    assert cover.proven == np.mean(np.any(gap < samples.room[:, None], axis=1))


def test_bad_ways_and_counts():
    side, samples = side_and_samples(count=20)
    with pytest.raises(CoverError) as error:
        select("best", side, samples, 2, SMALL)
    assert str(error.value) == (
        "no way to choose components is called 'best'.\n"
        "  try: one of prototypes, frequent, boundary, medoids, greedy"
    )
    with pytest.raises(CoverError, match="999 components asked for"):
        select("greedy", side, samples, 999, SMALL)
