import numpy as np
import pytest

from ecg_jax.errors import DataError, ExampleError, NonFiniteError
from ecg_jax.morphology import measure, shape_words
from ecg_jax.shares import percent
from ecg_jax.sketch import composite, describe, phrase, records, usual_rr

RATE = 100.0
BEFORE = 0.25
TIME = np.arange(65) / RATE - BEFORE


def bump(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


def shape(qrs=0.012, r=1.2, st=0.0, t=0.3, p=0.12):
    raised = st / (1 + np.exp(-(TIME - 0.05) / 0.004)) * (TIME < 0.36)
    return bump(-0.16, 0.02, p) + bump(0, qrs, r) + bump(0.24, 0.04, t - st) + raised


def cell(num=40, records=8, seed=0, noise=0.02, **shapes):
    noise = np.random.default_rng(seed).normal(0, noise, (num, 1, len(TIME)))
    return (shape(**shapes) + noise).astype(np.float32), np.arange(num) % records


def draw(beats, record, label=None, margin=None, **more):
    label = ["N"] * len(beats) if label is None else label
    margin = np.ones(len(beats)) if margin is None else margin
    return composite(
        beats, record, label, margin, sample_rate_hz=RATE, before_s=BEFORE, **more
    )


def test_median_and_bands_are_the_quantiles():
    beats, record = cell(num=101)
    sketch = draw(beats, record)
    expected = np.quantile(beats, [0.1, 0.25, 0.5, 0.75, 0.9], 0, method="hazen")
    np.testing.assert_allclose(sketch.median, expected[2])
    np.testing.assert_allclose(sketch.quantiles, expected[[0, 1, 3, 4]])
    assert sketch.spread_mv == pytest.approx(np.mean(expected[4] - expected[0]))


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


def test_describe_says_what_was_measured():
    beats, record = cell(num=40, records=8)
    label = np.array(["N"] * 29 + ["O"] * 8 + ["A"] * 3)
    rr = np.full(40, 0.8)
    quality = np.where(np.arange(40) < 5, np.nan, 0.97)
    sketch = draw(beats, record, label, rr_before_s=rr, rr_after_s=rr, quality=quality)
    assert describe(sketch, share=0.41, answer="normal") == (
        "Narrow QRS (about 70 ms), R 1.2 mV, ST level 0.00 mV, upright T (0.31 mV), "
        "RR 0.80 s before (75 a minute), 0.80 s after; 41% of normal answers; 40 beats "
        "of 8 recordings, at most 12% of one; bSQI 0.97; labels N 72%, O 20%, A 8%."
    )
    assert phrase(sketch) == "narrow QRS, R 1.2 mV, upright T 0.31 mV, rate 75"


def test_describe_early_wide_and_inverted():
    beats, record = cell(num=20, records=1, noise=0.005, qrs=0.034, t=-0.4)
    before, after, usual = np.full(20, 0.5), np.ones(20), np.full(20, 0.8)
    rr = dict(rr_before_s=before, rr_after_s=after, rr_usual_s=usual)
    sketch = draw(beats, record, ["V"] * 20, **rr)
    text = describe(sketch)
    assert text.startswith("Wide QRS (about ")
    assert "inverted T (\N{MINUS SIGN}0.4" in text
    assert (
        "early (usual RR 0.80 s): RR 0.50 s before, 1.00 s after, a pause; 20 beats of "
        "1 recording;" in text
    )


def test_a_phrase_names_rate_and_shape():
    beats, record = cell(num=20, noise=0.005, t=-0.4, st=0.2, qrs=0.03)
    rr = np.repeat([60 / 92, 60 / 61], 10)
    sketch = draw(beats, record, rr_before_s=rr, rr_after_s=rr)
    assert phrase(sketch) == (
        "wide QRS, R 1.2 mV, ST raised, inverted T \N{MINUS SIGN}0.40 mV, rate 60-90"
    )
    upside = draw(-cell(num=20)[0], record)
    assert phrase(upside) == (
        "narrow QRS, mostly negative, inverted T \N{MINUS SIGN}0.31 mV"
    )
    assert phrase(draw(np.zeros((2, 1, 65)), np.arange(2))) == "no clear QRS"


def test_early_is_said_of_what_comes_before_the_usual_interval():
    beats, record = cell(num=20)
    half, one, usual = np.full(20, 0.5), np.ones(20), np.full(20, 0.8)
    early = draw(beats, record, rr_before_s=half, rr_after_s=one, rr_usual_s=usual)
    assert phrase(early).endswith("rate 120, early")
    late = draw(beats, record, rr_before_s=usual, rr_after_s=one, rr_usual_s=usual)
    assert phrase(late).endswith("rate 75, a pause after")
    assert "RR 0.80 s before (75 a minute), 1.00 s after, a pause;" in describe(late)
    fast = draw(beats, record, rr_before_s=half, rr_after_s=half, rr_usual_s=half)
    unknown = draw(beats, record, rr_before_s=half, rr_after_s=one)
    for sketch in (fast, unknown):
        assert phrase(sketch).endswith("rate 120")


def test_the_usual_interval_is_that_of_the_neighbours_in_the_recording():
    record = np.repeat([0, 1, 2], [12, 12, 1])
    rr = np.where(record == 0, 0.8, 0.6)
    rr[[5, 6, 12, 24]] = 0.4, 1.2, np.nan, np.nan
    usual = usual_rr(record, rr, np.array([5, 11, 12, 24]))
    np.testing.assert_allclose(usual, [0.8, 0.8, 0.6, np.nan])
    bigeminy = np.tile([0.5, 1.1], 10)
    usual = usual_rr(np.zeros(20), bigeminy, np.array([8, 9]))
    np.testing.assert_allclose(usual, [1.1, 0.5])


def test_the_largest_recording_is_named():
    beats, _ = cell(num=100)
    record = np.array(["119"] * 98 + ["114", "220"])
    sketch = draw(beats, record)
    assert (sketch.main_record, sketch.main_share) == ("119", 0.98)
    assert records(sketch) == "3 recordings, 98% from 119"
    assert "100 beats of 3 recordings, 98% from 119;" in describe(sketch)


def test_noisy_beats_are_not_measured():
    beats, record = cell(num=20)
    rr, low = np.full(20, 0.8), np.full(20, 0.59)
    some = cell(num=20, noise=0.2)[0]
    unsure = draw(some, record, rr_before_s=rr, quality=low)
    noisy = draw(cell(num=20, noise=1.0)[0], record, rr_before_s=rr)
    for sketch in (unsure, noisy):
        assert sketch.is_noisy
        assert phrase(sketch) == "noisy beats, not measured"
        assert describe(sketch).startswith("Noisy beats, not measured; 20 beats of 8")
    assert not draw(some, record, quality=low + 0.4).is_noisy
    assert not draw(beats, record, quality=low).is_noisy


def test_no_width_is_told_where_single_beats_disagree():
    narrow, record = cell(num=40, noise=0.005)
    wide, _ = cell(num=40, noise=0.005, qrs=0.034)
    some = draw(np.concatenate([narrow[:35], wide[:5]]), record)
    assert some.morphology.clear and phrase(some).startswith("narrow QRS")
    many = draw(np.concatenate([narrow[:25], wide[:15]]), record)
    assert not many.morphology.clear
    assert phrase(many).startswith("QRS width not clear, R 1.2 mV, upright T")
    assert "ST" not in describe(many) and "narrow" not in describe(many)


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


def test_describe_without_rr_or_qrs():
    sketch = draw(np.zeros((2, 1, 65)), np.arange(2), [None, "N"])
    assert describe(sketch) == (
        "No QRS with clear edges; 2 beats of 2 recordings, at most 50% of one; "
        "labels N 50%, ? 50%."
    )


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
    sketch = draw(beats, np.arange(12), lead=1)
    assert sketch.median.shape == (2, 200)
    assert sketch.quantiles.shape == (4, 2, 200)
    assert sketch.samples.shape == (12, 2, 200)


def test_percent():
    shares = [0, 0.001, 0.0049, 0.414, 0.995, 0.99999, 1]
    expected = ["0%", "<1%", "<1%", "41%", ">99%", ">99%", "100%"]
    assert [percent(share) for share in shares] == expected


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
