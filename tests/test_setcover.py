"""Lazy greedy and exact choices of covering candidates."""

import itertools

import numpy as np
import pytest

from ecg_jax.errors import CoverError
from ecg_jax.tree.setcover import greedy, optimum, pack, share


def tables():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        yield rng.random((60, 9)) < rng.random(9) * 0.5


def eager(table, num):
    chosen, left = [], np.ones(len(table), bool)
    for _ in range(num):
        gain = [np.sum(table[left, k]) for k in range(table.shape[1])]
        if max(gain) == 0:
            break
        chosen.append(int(np.argmax(gain)))
        left &= ~table[:, chosen[-1]]
    return chosen


@pytest.mark.parametrize("table", list(tables()))
def test_lazy_greedy_is_greedy(table):
    assert greedy(pack(table), 5) == eager(table, 5)


@pytest.mark.parametrize("table", list(tables()))
def test_the_optimum_is_the_best_of_all_choices(table):
    chosen, proven = optimum(table, 3)
    best = max(share(table, list(c)) for c in itertools.combinations(range(9), 3))
    assert proven
    assert share(table, chosen) == best
    assert share(table, greedy(pack(table), 3)) >= (1 - 1 / np.e) * best


def test_greedy_stops_where_nothing_is_left_to_add():
    table = np.array([[1, 1, 0], [1, 0, 0]], bool)
    assert greedy(pack(table), 3) == [0]


def test_no_candidates():
    with pytest.raises(CoverError) as error:
        greedy(pack(np.zeros((4, 0), bool)), 2)
    assert str(error.value) == "no candidates to choose from.\n  try: more data"
