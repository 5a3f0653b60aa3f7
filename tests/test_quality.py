"""Scores, intervals and trivial answers, against definitions written out."""

import json

import numpy as np
import pytest

from ecg_jax.errors import DataError
from ecg_jax.statistics.baselines import fit_logistic, majority, rr_irregularity
from ecg_jax.statistics.quality import disagreements, measure
from ecg_jax.statistics.scores import (
    Confusion,
    auc,
    calibration,
    confusion,
    probability,
    record_scores,
    roc,
)

RNG = np.random.default_rng(0)


def pairs_auc(score, normal, weight=None):
    weight = np.ones(len(score)) if weight is None else weight
    a, b = score[normal][:, None], score[~normal][None]
    w = weight[normal][:, None] * weight[~normal][None]
    return (w * ((a > b) + 0.5 * (a == b))).sum() / w.sum()


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_is_the_share_of_ordered_pairs_ties_half(levels):
    score = RNG.integers(0, levels, 300).astype(float)
    normal = RNG.random(300) < 0.4
    weight = RNG.integers(0, 4, 300).astype(float)
    np.testing.assert_allclose(auc(score, normal), pairs_auc(score, normal))
    np.testing.assert_allclose(
        auc(score, normal, weight), pairs_auc(score, normal, weight)
    )
    repeat = np.repeat(np.arange(300), weight.astype(int))
    np.testing.assert_allclose(
        auc(score, normal, weight), auc(score[repeat], normal[repeat])
    )


def test_auc_of_constant_perfect_and_one_class():
    normal = np.array([True, False, True, False])
    assert auc(np.zeros(4), normal) == 0.5
    assert auc(normal.astype(float), normal) == 1.0
    assert auc(-normal.astype(float), normal) == 0.0
    with pytest.raises(DataError) as caught:
        auc(np.zeros(3), np.ones(3, bool))
    assert str(caught.value) == (
        "an AUC needs cases that are normal and some that are not"
    )


def test_roc_encloses_the_auc():
    score = RNG.integers(0, 40, 500).astype(float)
    normal = RNG.random(500) < 1 / (1 + np.exp(-(score - 20) / 8))
    curve = roc(score, normal)
    x, y = np.array(curve.false_positive_rate), np.array(curve.true_positive_rate)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    np.testing.assert_allclose(np.trapezoid(y, x), auc(score, normal))
    assert len(roc(RNG.normal(size=9999), RNG.random(9999) < 0.5, 50).true_positive_rate) <= 50  # noqa: E501 # fmt: skip


def test_confusion_counts_zero_as_normal():
    counts = confusion(np.array([0.0, -1, 2, 3, -4]), np.array([1, 1, 1, 0, 0], bool))
    assert counts == Confusion(2, 1, 1, 1)
    assert (counts.total, counts.accuracy) == (5, 0.6)
    np.testing.assert_allclose(counts.sensitivity, 2 / 3)
    np.testing.assert_allclose(counts.specificity, 1 / 2)
    np.testing.assert_allclose(counts.f1_normal, 2 * 2 / ((2 + 1) + (2 + 1)))
    assert np.isnan(confusion(np.ones(2), np.ones(2, bool)).specificity)


def test_calibration():
    margin = RNG.normal(size=200_000) * 2
    normal = RNG.random(200_000) < probability(margin)
    assert calibration(margin, normal).ece < 0.005
    assert calibration(3 * margin, normal).ece > 0.05
    hand = calibration(np.array([np.log(4.0)] * 4), np.array([1, 1, 0, 0], bool))
    np.testing.assert_allclose(hand.predicted, [0.8])
    assert hand.observed == (0.5,) and hand.count == (4,)
    np.testing.assert_allclose(hand.ece, 0.3)


def test_probability_does_not_overflow():
    assert probability(np.array([-1e9, 0.0, 1e9])).tolist() == [0.0, 0.5, 1.0]


def test_record_scores_average_beats():
    margin = np.array([1.0, 2.0, 30.0, -4.0])
    record = np.array([5, 5, 2, 2])
    ids, score = record_scores(margin, record)
    assert ids.tolist() == [2, 5] and score.tolist() == [13.0, 1.5]
    _, score = record_scores(margin, record, "probability")
    p = 1 / (1 + np.exp(-margin))
    np.testing.assert_allclose(score, [p[2:].mean() - 0.5, p[:2].mean() - 0.5])
    _, score = record_scores(margin, record, weight=np.array([1.0, 3, 0, 1]))
    np.testing.assert_allclose(score, [-4.0, 1.75])


def test_recordings_of_equal_beats_tie():
    record = np.repeat(np.arange(50), np.arange(1, 51))
    _, score = record_scores(np.full(len(record), 0.24173), record)
    assert (score == 0.24173).all()


def cohort(num_records=200):
    record = np.repeat(np.arange(num_records), RNG.integers(2, 20, num_records))
    normal = (np.arange(num_records) % 3 > 0)[record]
    margin = RNG.normal(size=num_records)[record] + RNG.normal(size=len(record))
    return margin + 1.5 * normal - 0.7, normal, record


def test_measure_agrees_with_its_parts():
    margin, normal, record = cohort()
    found = measure(margin, normal, record, num_resamples=200)
    assert (found.num_beats, found.num_records) == (len(margin), 200)
    np.testing.assert_allclose(found.beat_auc.value, auc(margin, normal))
    ids, score = record_scores(margin, record)
    np.testing.assert_allclose(found.record_auc.value, auc(score, ids % 3 > 0))
    np.testing.assert_allclose(
        found.beat_accuracy.value, ((margin >= 0) == normal).mean()
    )
    np.testing.assert_allclose(found.beats.accuracy, found.beat_accuracy.value)
    np.testing.assert_allclose(found.records.accuracy, found.record_accuracy.value)
    for name in ("beat_auc", "record_auc", "beat_accuracy", "record_accuracy"):
        interval = getattr(found, name)
        assert interval.low < interval.value < interval.high
    assert found == measure(margin, normal, record, num_resamples=200)
    out = json.loads(json.dumps(found.to_json()))
    assert out["beats"]["accuracy"] == found.beats.accuracy


def test_intervals_over_recordings_are_wider_than_over_beats():
    margin, normal, record = cohort()
    by_record = measure(margin, normal, record, num_resamples=200).beat_auc
    by_beat = measure(
        margin, normal, np.arange(len(record)), num_resamples=200
    ).beat_auc
    assert by_record.value == by_beat.value
    assert by_record.high - by_record.low > 1.5 * (by_beat.high - by_beat.low)


def test_bootstrap_repeats_whole_recordings():
    margin, normal, record = cohort(40)
    found = measure(margin, normal, record, num_resamples=1, seed=3)
    draw = np.random.Generator(np.random.Philox(key=[3, 0])).integers(0, 40, 40)
    rows = np.concatenate([np.flatnonzero(record == r) for r in draw])
    np.testing.assert_allclose(found.beat_auc.low, auc(margin[rows], normal[rows]))
    right = (margin[rows] >= 0) == normal[rows]
    np.testing.assert_allclose(found.beat_accuracy.low, right.mean())


def test_recording_labels_may_differ_from_beat_labels():
    margin, normal, record = cohort(30)
    whole = RNG.random(30) < 0.5
    found = measure(margin, normal, record, whole, num_resamples=0)
    score = record_scores(margin, record)[1]
    np.testing.assert_allclose(found.record_auc.value, auc(score, whole))
    assert found.record_auc.low == found.record_auc.high == found.record_auc.value


def test_measure_refuses_nothing():
    with pytest.raises(DataError) as caught:
        measure(np.zeros(0), np.zeros(0, bool), np.zeros(0, int))
    assert str(caught.value) == (
        "0 margins, 0 labels, 0 recordings: these need equal lengths above 0"
    )


def test_disagreements_are_the_strongest_contradictions():
    record = np.array([0, 0, 1, 1, 2, 2, 3])
    normal = np.array([1, 1, 0, 0, 1, 1, 0], bool)
    margin = np.array([-1.0, -3, 4, 6, 1, -0.5, -1])
    first, second = disagreements(margin, normal, record)
    assert (first.record, first.is_normal, first.score, first.num_beats) == (1, False, 5.0, 2)  # noqa: E501 # fmt: skip
    assert (second.record, second.score, second.share_agreeing) == (0, -2.0, 0.0)
    assert len(disagreements(margin, normal, record, num=1)) == 1


def test_majority_is_the_prior():
    normal = RNG.random(1000) < 0.6
    margin = majority(normal, 1000)
    np.testing.assert_allclose(probability(margin), normal.mean())
    assert auc(margin, normal) == 0.5
    assert (confusion(margin, normal).accuracy) == normal.mean()


def test_logistic_regression_finds_the_minimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 0]
    f = x @ [1.0, -0.1, 5.0, 0.0] + 0.3
    y = (rng.random(3000) < probability(f)).astype(float)
    w, b = fit_logistic(x, y, ridge=0.0)
    residual = y - probability(x @ w + b)
    np.testing.assert_allclose(x.T @ residual, 0, atol=1e-6)
    np.testing.assert_allclose(residual.sum(), 0, atol=1e-6)
    np.testing.assert_allclose(w, [1.0, -0.1, 5.0, 0.0], atol=0.7)
    small, _ = fit_logistic(x, y, ridge=1e6)
    assert np.abs(small).max() < 0.1
    twice, _ = fit_logistic(x, y, np.full(3000, 2.0), ridge=0.0)
    np.testing.assert_allclose(twice, w)


def test_logistic_regression_refuses():
    x = np.ones((3, 2))
    with pytest.raises(DataError) as caught:
        fit_logistic(x * np.nan, np.array([1, 0, 1]))
    assert str(caught.value) == (
        "a feature is NaN or infinite: leave such beats out of the regression"
    )
    with pytest.raises(DataError) as caught:
        fit_logistic(x, np.ones(3))
    assert str(caught.value) == "all labels are equal: a regression needs both classes"


def test_rr_irregularity_fills_gaps_with_the_recordings_mean():
    before = np.array([np.nan, 1.0, 2.0, np.nan])
    after = np.array([1.0, 2.0, 1.0, np.nan])
    score = rr_irregularity(before, after, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(score, [-np.log(2)] * 3 + [0.0])
