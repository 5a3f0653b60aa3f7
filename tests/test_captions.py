"""What is said of a sketch: what was measured, and no more."""

import numpy as np
from small_cells import cell, draw

from ecg_jax.cells.captions import describe, phrase, records
from ecg_jax.cells.morphology import Morphology


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


def test_the_largest_recording_is_named():
    beats, _ = cell(num=100)
    record = np.array(["119"] * 98 + ["114", "220"])
    sketch = draw(beats, record)
    assert (sketch.main_record, sketch.main_share) == ("119", 0.98)
    assert records(sketch) == "3 recordings, 98% from 119"
    assert "100 beats of 3 recordings, 98% from 119;" in describe(sketch)


def test_mixed_beats_are_not_measured():
    beats, record = cell(num=20)
    rr, low = np.full(20, 0.8), np.full(20, 0.59)
    some = cell(num=20, noise=0.2)[0]
    unsure = draw(some, record, rr_before_s=rr, quality=low)
    noisy = draw(cell(num=20, noise=1.0)[0], record, rr_before_s=rr)
    for sketch, words in (
        (unsure, "noisy beats, not measured"),
        (noisy, "beats too different to measure"),
    ):
        assert sketch.is_mixed and sketch.shapes == (Morphology(),)
        assert phrase(sketch) == words
        assert describe(sketch).startswith(f"{words.capitalize()}; 20 beats of 8")
    assert not draw(some, record, quality=low + 0.4).is_mixed
    assert not draw(beats, record, quality=low).is_mixed


def test_no_width_is_told_where_single_beats_disagree():
    narrow, record = cell(num=40, noise=0.005)
    wide, _ = cell(num=40, noise=0.005, qrs=0.034)
    some = draw(np.concatenate([narrow[:35], wide[:5]]), record)
    assert some.shapes[0].clear and phrase(some).startswith("narrow QRS")
    many = draw(np.concatenate([narrow[:25], wide[:15]]), record)
    assert not many.shapes[0].clear
    assert phrase(many).startswith("QRS width not clear, R 1.2 mV, upright T")
    assert "ST" not in describe(many) and "narrow" not in describe(many)


def test_describe_without_rr_or_qrs():
    sketch = draw(np.zeros((2, 1, 65)), np.arange(2), [None, "N"])
    assert describe(sketch) == (
        "No QRS with clear edges; 2 beats of 2 recordings, at most 50% of one; "
        "labels N 50%, ? 50%."
    )
