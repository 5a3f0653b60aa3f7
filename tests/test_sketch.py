import numpy as np
import pytest
from small_cells import BEFORE, RATE, TIME, bump, cell, draw, shape

from ecg_jax.cells.morphology import measure, shape_words
from ecg_jax.cells.sketch import usual_rr
from ecg_jax.errors import DataError, ExampleError, NonFiniteError
from ecg_jax.percent import percent


def test_median_and_bands_are_the_quantiles():
    beats, record = cell(num=101)
    sketch = draw(beats, record)
    expected = np.quantile(beats, [0.1, 0.25, 0.5, 0.75, 0.9], 0, method="hazen")
    np.testing.assert_allclose(sketch.median, expected[2])
    np.testing.assert_allclose(sketch.quantiles, expected[[0, 1, 3, 4]])
    (spread,) = sketch.spreads_mv
    assert spread == pytest.approx(np.mean(expected[4] - expected[0]))


def test_weighted_quantiles_agree_with_those_of_equal_weights():
    beats, _ = cell(num=41)
    record = np.arange(41)
    equal = draw(beats, record)
    doubled = np.repeat(beats, 2, axis=0)
    record = np.repeat(record, 2)
    unequal = np.concatenate([doubled, doubled[:2]])
    weighted = draw(unequal, np.append(record, [0, 0]), weighting="recording")
    np.testing.assert_allclose(weighted.median, equal.median, atol=0.003)
    np.testing.assert_allclose(weighted.quantiles, equal.quantiles, atol=0.01)


def test_a_recording_counts_once_when_asked_to():
    beats = np.concatenate(
        [np.tile(shape(r=1.0), (90, 1)), np.tile(shape(r=2), (3, 1))]
    )
    record = np.concatenate([np.zeros(90, int), [1, 2, 3]])
    label = ["N"] * 90 + ["A"] * 3
    by_beat = draw(beats[:, None], record, label)
    by_record = draw(beats[:, None], record, label, weighting="recording")
    assert by_beat.median.max() == pytest.approx(1.0, abs=0.01)
    assert by_record.median.max() == pytest.approx(2.0, abs=0.01)
    assert by_record.label_share == {"N": 0.25, "A": 0.75}
    assert by_record.label_records == {"N": 1, "A": 3}


def test_counts_labels_and_sides():
    beats, record = cell(num=40, records=8)
    margin = np.where(np.arange(40) < 10, 1.0, -1.0)
    label = np.array(["N", "O"])[(record >= 4).astype(int)]
    sketch = draw(beats, record, label, margin)
    assert (sketch.num_beats, sketch.num_records) == (40, 8)
    assert sketch.normal.num_beats == 10
    assert sketch.not_normal.num_beats == 30
    assert sketch.label_share == {"N": 0.5, "O": 0.5}
    assert sketch.normal.label_share == {"N": 0.6, "O": 0.4}
    assert draw(beats, record).not_normal is None


def test_a_margin_of_zero_means_normal():
    beats, record = cell(num=3, records=3)
    assert draw(beats, record, margin=np.zeros(3)).normal.num_beats == 3


def test_samples_spread_over_recordings_and_are_the_same_each_time():
    record = np.concatenate([np.zeros(500, int), np.arange(1, 40)])
    beats, _ = cell(num=len(record))
    one, two = draw(beats, record), draw(beats, record)
    np.testing.assert_array_equal(one.sample_rows, two.sample_rows)
    np.testing.assert_array_equal(one.samples, beats[one.sample_rows])
    assert len(one.sample_rows) == 60
    assert set(record[one.sample_rows]) == set(range(40))
    assert len(draw(beats, record, num_samples=12).samples) == 12


@pytest.mark.parametrize(
    ("kind", "t_mv", "polarity"),
    [("up", 0.3, "upright"), ("down", -0.25, "inverted"), ("none", 0.02, "flat")],
)
def test_t_wave(kind, t_mv, polarity):
    found = measure(shape(t=t_mv), RATE, BEFORE)
    assert found.t_mv == pytest.approx(t_mv, abs=0.02)
    assert found.t_polarity == polarity


def test_qrs_width_r_st_and_p():
    narrow = measure(shape(), RATE, BEFORE)
    wide = measure(shape(qrs=0.03), RATE, BEFORE)
    assert 50 < narrow.qrs_ms < 90
    assert 130 < wide.qrs_ms < 200
    assert narrow.qrs_ms == pytest.approx(1000 * (narrow.offset_s - narrow.onset_s))
    assert narrow.r_mv == pytest.approx(1.2, abs=0.02)
    assert narrow.st_mv == pytest.approx(0, abs=0.03)
    assert narrow.p_mv == pytest.approx(0.12, abs=0.02)
    assert measure(shape(st=0.2), RATE, BEFORE).st_mv == pytest.approx(0.2, abs=0.04)
    assert measure(-shape(), RATE, BEFORE).r_mv == pytest.approx(-1.2, abs=0.02)


def test_width_does_not_hang_on_the_sample_rate():
    fine = np.arange(195) / 300 - BEFORE
    beat = 1.2 * np.exp(-0.5 * (fine / 0.02) ** 2)
    coarse = measure(shape(qrs=0.02, p=0, t=0), RATE, BEFORE)
    assert measure(beat, 300.0, BEFORE).qrs_ms == pytest.approx(coarse.qrs_ms, abs=3)


@pytest.mark.parametrize("beat", [np.zeros(65), np.linspace(-1, 1, 65), np.zeros(4)])
def test_nothing_is_measured_where_there_is_nothing(beat):
    found = measure(beat, RATE, BEFORE)
    assert (found.qrs_ms, found.r_mv, found.t_polarity) == (None, None, None)


def test_the_usual_interval_is_that_of_the_neighbours_in_the_recording():
    record = np.repeat([0, 1, 2], [12, 12, 1])
    rr = np.where(record == 0, 0.8, 0.6)
    rr[[5, 6, 12, 24]] = 0.4, 1.2, np.nan, np.nan
    usual = usual_rr(record, rr, np.array([5, 11, 12, 24]))
    np.testing.assert_allclose(usual, [0.8, 0.8, 0.6, np.nan])
    bigeminy = np.tile([0.5, 1.1], 10)
    usual = usual_rr(np.zeros(20), bigeminy, np.array([8, 9]))
    np.testing.assert_allclose(usual, [1.1, 0.5])


def test_a_plateau_inside_the_qrs_is_not_its_end():
    low = 1 / (1 + np.exp(-(TIME - 0.02) / 0.004)) - 1 / (
        1 + np.exp(-(TIME - 0.085) / 0.004)
    )
    found = measure(bump(0, 0.012, 0.5) - 0.6 * low, RATE, BEFORE)
    assert found.offset_s > 0.09 and found.qrs_ms > 120 and found.clear
    stays = np.where(TIME > 0.03, np.exp(-np.maximum(TIME, 0) / 0.2), 1) * (
        1 / (1 + np.exp(-(TIME - 0.02) / 0.004))
    )
    found = measure(bump(0, 0.012, 1.0) - 0.6 * stays, RATE, BEFORE)
    assert found.qrs_ms <= 100 and not found.clear
    assert shape_words(found)[0] == "QRS width not clear"


def test_unknown_intervals_are_left_out():
    beats, record = cell(num=4, records=2)
    rr = np.array([np.nan, 0.8, 0.8, 0.8])
    sketch = draw(beats, record, rr_before_s=rr, rr_after_s=np.full(4, np.nan))
    assert sketch.rr_before_s == pytest.approx(0.8)
    assert sketch.rr_after_s is None


def test_inverted_beats_are_turned_for_showing_and_counted():
    beats, record = cell(num=40)
    polarity = np.where(np.arange(40) < 10, -1, 1).astype(np.float32)
    turned = draw(beats * polarity[:, None, None], record, polarity=polarity)
    np.testing.assert_array_equal(turned.median, draw(beats, record).median)
    assert turned.share_flipped == 0.25


def test_several_leads_and_wide_windows():
    beats = np.random.default_rng(0).normal(size=(12, 2, 200))
    sketch = draw(beats, np.arange(12))
    assert sketch.leads == ("lead 1", "lead 2")
    assert sketch.median.shape == (2, 200)
    assert sketch.quantiles.shape == (4, 2, 200)
    assert sketch.samples.shape == (12, 2, 200)


def test_percent():
    shares = [0, 0.001, 0.0049, 0.414, 0.995, 0.99999, 1]
    expected = ["0%", "<1%", "<1%", "41%", ">99%", ">99%", "100%"]
    assert [percent(share) for share in shares] == expected


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    beats, record = cell(num=4, records=2)
    with pytest.raises(DataError, match="the cell is empty"):
        draw(beats[:0], record[:0])
    with pytest.raises(ExampleError, match=r"4 beats, but record has shape \(3,\)"):
        draw(beats, record[:3])
    with pytest.raises(ExampleError, match="expected as"):
        draw(beats[:, 0], record)
    with pytest.raises(ValueError, match="'beat' or 'recording'"):
        draw(beats, record, weighting="patient")
    beats[2, 0, 5] = np.nan
    with pytest.raises(NonFiniteError) as error:
        draw(beats, record)
    assert str(error.value) == (
        "composite: millivolts is NaN or infinite in beat 2\n"
        "  where: 1 of 4 beats\n"
        "  try:  leave these beats out"
    )
