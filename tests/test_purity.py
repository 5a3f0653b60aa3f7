"""Purity on data whose answers are known."""

import itertools
import json

import numpy as np
import pytest

from ecg_jax.errors import DataError
from ecg_jax.statistics import purity


def clusters(
    num: int = 3000, groups: int = 4, time: int = 20, noise: float = 0.3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Beats around a centre per group; 60 recordings see all groups; a fair split."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, time))
    group = rng.integers(groups, size=num)
    record = rng.integers(60, size=num)
    own = 0.2 * rng.standard_normal((60, time))
    x = centres[group] + own[record] + noise * rng.standard_normal((num, time))
    return x.astype(np.float32), group, record, record < 30


def test_variance_explained_by_hand():
    x = np.array([[0.0], [2.0], [10.0], [14.0]])
    cells = np.array([0, 0, 1, 1])
    # mean 6.5; total 42.25 + 20.25 + 12.25 + 56.25 = 131; within 1 + 1 + 4 + 4 = 10
    assert purity.variance_explained(x, cells) == pytest.approx(1 - 10 / 131)
    # weights 1 1 2 0: mean 5.5; total 30.25 + 12.25 + 2 * 20.25; within 2
    weights = np.array([1.0, 1.0, 2.0, 0.0])
    expected = 1 - 2 / 83
    assert purity.variance_explained(x, cells, weights) == pytest.approx(expected)
    assert purity.variance_explained(x, np.zeros(4, int)) == pytest.approx(0)
    assert purity.variance_explained(x, np.arange(4)) == pytest.approx(1)


def test_variance_explained_on_held_out_beats_can_be_negative():
    x = np.array([[0.0], [4.0], [4.0], [0.0]])
    train = np.array([True, True, False, False])
    # templates 0 and 4, mean 2; held out: within 16 + 16, total 4 + 4
    assert purity.variance_explained(x, np.array([0, 1, 0, 1]), train=train) == -3
    assert purity.variance_explained(x, np.array([0, 1, 1, 0]), train=train) == 1
    # a cell without training beats falls back on the mean of all: 4 of total 8
    held = purity.variance_explained(x, np.array([0, 1, 2, 0]), train=train)
    assert held == pytest.approx(0.5)


def test_correlation_leaves_the_own_recording_out():
    rng = np.random.default_rng(0)
    x, cells = rng.standard_normal((9, 12)), np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
    records = np.array(list("aabbcaacd"))
    expected = []
    for record in "abcd":
        values = []
        for i in np.flatnonzero(records == record):
            others = (cells == cells[i]) & (records != record)
            if not others.any():
                values.append(0.0)
                continue
            weight = [1 / np.sum(records == r) for r in records[others]]
            template = np.average(x[others], axis=0, weights=weight)
            values.append(np.corrcoef(x[i], template)[0, 1])
        expected.append(np.mean(values))
    value = purity.template_correlation(x, cells, records)
    assert value == pytest.approx(np.mean(expected), abs=1e-12)


def test_correlation_with_templates_of_training_recordings():
    rng = np.random.default_rng(1)
    x, cells = rng.standard_normal((8, 12)), np.array([0, 0, 1, 1, 0, 1, 1, 2])
    records = np.array([0, 1, 0, 1, 2, 2, 3, 3])
    train = records < 2
    template = [x[:2].mean(0), x[2:4].mean(0)]
    r = [np.corrcoef(x[i], template[cells[i]])[0, 1] for i in (4, 5, 6)] + [0.0]
    value = purity.template_correlation(x, cells, records, train=train)
    assert value == pytest.approx((np.mean(r[:2]) + np.mean(r[2:])) / 2)


def test_recordings_weigh_alike():
    weights = purity.record_weights(np.array(["b", "a", "b", "b"]))
    assert weights.tolist() == [1 / 6, 1 / 2, 1 / 6, 1 / 6]
    x, group, record, _ = clusters(300)
    once = purity.template_correlation(x, group, record)
    repeated = np.concatenate([np.arange(300), *[np.flatnonzero(record == 7)] * 5])
    again = purity.template_correlation(x[repeated], group[repeated], record[repeated])
    assert again == pytest.approx(once, abs=1e-6)


def test_few_per_record():
    records = np.array(list("aaabcccc"))
    rows = purity.few_per_record(records, 2)
    assert "".join(records[rows]) == "aabcc"
    kept = [tuple(purity.few_per_record(records, 2, seed)) for seed in range(20)]
    assert len(set(kept)) > 5
    assert purity.few_per_record(records, 9).tolist() == list(range(8))


def test_score_and_permutation_p():
    assert purity.score(0.6, 0.2, 0.7) == pytest.approx(0.8)
    assert purity.score(0.2, 0.2, 0.7) == 0
    assert np.isnan(purity.score(0.2, 0.3, 0.3))
    assert purity.permutation_p(2.0, np.zeros(999)) == 0.001
    assert purity.permutation_p(0.0, np.zeros(9)) == 1
    assert purity.permutation_p(1.5, np.array([1.0, 2.0, 1.5])) == 0.75


def test_hyperplanes_have_the_sizes_asked_for_and_are_linear():
    x, _, _, train = clusters()
    rng = np.random.default_rng(0)
    parents = rng.integers(2, size=len(x))
    cells = np.where(parents == 0, rng.integers(3, size=len(x)), 3)
    cells = np.where((parents == 1) & (x[:, 0] > 1), 4, cells)
    for parent, fit in itertools.product((None, parents), (None, train)):
        sizes = purity.cell_sizes(cells, parent, fit)
        own = purity.random_hyperplanes(x, sizes, 1, parents=parent, train=fit)
        assert np.array_equal(purity.cell_sizes(own, parent, fit), sizes)
        again = purity.random_hyperplanes(x, sizes, 1, parents=parent, train=fit)
        other = purity.random_hyperplanes(x, sizes, 2, parents=parent, train=fit)
        assert np.array_equal(own, again) and not np.array_equal(own, other)
    right, left = (
        x[purity.random_hyperplanes(x, np.array([1000, 2000]), 3) == cell]
        for cell in (0, 1)
    )
    from scipy.optimize import linprog

    points = np.c_[np.r_[left, right], np.ones(len(x))]
    points[: len(left)] *= -1  # a plane exists if points @ w <= -1 has a solution
    plane = linprog(np.zeros(21), points, -np.ones(len(x)), bounds=(None, None))
    assert plane.status == 0


def test_random_records_stay_together():
    x, group, record, train = clusters()
    sizes = purity.cell_sizes(group, None, train)
    cells = purity.random_records(record, sizes, 0, train=train)
    for r in range(60):
        assert len(np.unique(cells[record == r])) == 1
    got = purity.cell_sizes(cells, None, train)
    assert np.abs(got - sizes).max() <= np.bincount(record).max()
    assert abs(purity.variance_explained(x, cells, train=train)) < 0.05
    parents = (x[:, 0] > 0).astype(int)
    sizes = purity.cell_sizes(group + 4 * parents, parents, train)
    cells = purity.random_records(record, sizes, 0, parents=parents, train=train)
    assert np.array_equal(cells >= 4, parents == 1)


def test_kmeans_finds_the_groups_inside_their_parents():
    x, group, _, train = clusters(noise=0.1)
    sizes = purity.cell_sizes(group, None, train)
    cells = purity.kmeans_cells(x, sizes, 0, train=train)
    assert purity.adjusted_mutual_information(cells, group) > 0.99
    parents = group // 2
    sizes = purity.cell_sizes(group, parents, train)
    cells = purity.kmeans_cells(x, sizes, 0, parents=parents, train=train)
    assert np.array_equal(cells // 2, parents)
    assert purity.adjusted_mutual_information(cells, group) > 0.99


def test_adjusted_mutual_information_of_known_tables():
    ami = purity.adjusted_mutual_information
    a = np.array([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3])
    b = np.array([1, 1, 1, 1, 2, 1, 2, 2, 2, 2, 3, 1, 3, 3, 3, 2, 2])
    assert ami(a, b) == pytest.approx(0.27821, abs=1e-5)  # scikit-learn's own test
    assert ami(a, a * 10) == pytest.approx(1)
    assert ami(np.zeros(4), np.arange(4)) == 0
    assert ami(np.array(["x", "y", "x"]), np.array([True, False, True])) == 1
    rng = np.random.default_rng(0)
    a, b = rng.integers(40, size=5000), rng.integers(7, size=5000)
    assert abs(ami(a, b)) < 5e-3


def test_expected_information_is_the_mean_over_all_permutations():
    a, b = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0, 0])

    def information(b):
        table = np.zeros((3, 2))
        np.add.at(table, (a, b), 1 / 6)
        product = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
        return np.sum(table[table > 0] * np.log((table / product)[table > 0]))

    every = [information(b[list(p)]) for p in itertools.permutations(range(6))]
    entropy = (-sum(p * np.log(p) for p in (1 / 2, 1 / 3, 1 / 6)) + np.log(2)) / 2
    expected = (information(b) - np.mean(every)) / (entropy - np.mean(every))
    assert purity.adjusted_mutual_information(a, b) == pytest.approx(expected)


def test_measure_knows_a_perfect_a_useless_and_a_geometric_partition():
    x, group, record, train = clusters()
    settings = {"train": train, "num_permutations": 199, "num_bootstraps": 300}
    perfect = purity.measure(x, group, record, **settings)
    for one in (perfect.variance_explained, perfect.correlation):
        assert one.score == pytest.approx(1, abs=0.02)
        assert one.p_records == 1 / 200 and one.p_hyperplanes == 1 / 21
        assert one.interval[0] < one.value < one.interval[1]
        assert one.score_interval[0] < one.score + 1e-9
        assert one.gain == one.value - one.parent
        assert one.records < one.hyperplanes < one.kmeans
    assert perfect.variance_explained.value == pytest.approx(
        purity.variance_explained(
            x,
            group,
            _by_side(record, train),
            train=train,
        ),
        abs=1e-5,
    )
    assert perfect.correlation.value == pytest.approx(
        purity.template_correlation(x, group, record, train=train), abs=1e-5
    )
    useless = purity.random_records(
        record, purity.cell_sizes(group, None, train), 5, train=train
    )
    useless = purity.measure(x, useless, record, **settings)
    assert useless.variance_explained.score < 0.1
    assert useless.variance_explained.p_records > 0.01
    sizes = purity.cell_sizes(group, None, train)
    cut = purity.random_hyperplanes(x, sizes, 77, train=train)
    cut = purity.measure(x, cut, record, **settings)
    assert abs(cut.variance_explained.score) < 0.5
    assert cut.variance_explained.p_hyperplanes > 0.05


def _by_side(record: np.ndarray, train: np.ndarray) -> np.ndarray:
    weights = np.empty(len(record))
    for side in (train, ~train):
        weights[side] = purity.record_weights(record[side])
    return weights


def test_measure_with_parents_compares_children_only():
    x, group, record, train = clusters(groups=6)
    parents = group // 3
    result = purity.measure(
        x, group, record, train=train, parents=parents, num_permutations=99
    )
    one = result.variance_explained
    assert one.parent == pytest.approx(
        purity.variance_explained(x, parents, _by_side(record, train), train=train),
        abs=1e-5,
    )
    assert one.parent - 0.05 < one.records < one.hyperplanes < one.value
    assert one.score == pytest.approx(1, abs=0.05)


def test_nuisances_are_compared_with_recordings_dealt():
    x, group, record, train = clusters()
    nuisances = {"polarity": np.where(record % 3 == 0, "down", "up"), "group": group}
    own = np.where(record % 3 == 0, 0, 1)
    result = purity.measure(
        x,
        own,
        record,
        train=train,
        nuisances=nuisances,
        num_permutations=9,
        num_hyperplanes=3,
    )
    ami, dealt = result.nuisances["polarity"]
    assert ami == pytest.approx(1) and dealt < 0.2
    assert abs(result.nuisances["group"][0]) < 0.05


def test_row_is_json_and_a_seed_repeats_it():
    x, group, record, _ = clusters(600)
    rows = [
        purity.measure(
            x, group, record, seed=3, num_permutations=19, num_bootstraps=50
        ).row()
        for _ in range(2)
    ]
    assert json.dumps(rows[0]) == json.dumps(rows[1])
    assert rows[0]["cells"] == 4 and rows[0]["records"] == 60
    assert set(rows[0]) == {
        "cells",
        "beats",
        "records",
        "variance_explained",
        "correlation",
        "nuisances",
    }


def test_errors_say_what_to_try():
    x, group, record, train = clusters(100)
    with pytest.raises(DataError, match=r"recording 0 is on both sides of the split"):
        purity.template_correlation(x, group, record * 0, train=train)
    with pytest.raises(DataError, match=r"0 of 100 beats are for training: one side"):
        purity.variance_explained(x, group, train=np.zeros(100, bool))
    with pytest.raises(DataError) as sizes:
        purity.random_hyperplanes(x, np.array([50, 49]), 0)
    assert str(sizes.value) == (
        "cell sizes add up to [99], but the training beats of the parents are [100].\n"
        "  try: cell_sizes(cells, parents, train)"
    )
