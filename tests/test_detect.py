import warnings

import numpy as np
import pytest
from ecg_files import ecg
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_jax.ecg import detect
from ecg_jax.ecg.xqrs import local_peaks, ricker, xqrs


def wfdb_xqrs(signal, rate):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wfdb.processing.qrs import XQRS

        found = XQRS(np.asarray(signal, float), rate)
        found.detect(verbose=False)
    return np.asarray(found.qrs_inds, int)


@pytest.mark.parametrize("rate", [250.0, 300.0, 360.0])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.6])
def test_xqrs_is_that_of_wfdb(rate, noise):
    for seed in range(4):
        signal, _ = ecg(20, rate, rr_s=0.6 + 0.2 * seed, seed=seed)
        signal += noise * np.random.default_rng(seed).standard_normal(len(signal))
        np.testing.assert_array_equal(xqrs(signal, rate), wfdb_xqrs(signal, rate))


def test_xqrs_is_that_of_wfdb_on_real_recordings(ecg_data):
    from ecg_jax.ecg.records import open_folder

    folder = open_folder(ecg_data / "challenge-2017")
    for name in folder.names[::140]:
        signal = folder.read(name).signal[0]
        np.testing.assert_array_equal(xqrs(signal, 300.0), wfdb_xqrs(signal, 300.0))


def test_xqrs_parts_are_those_of_wfdb():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from wfdb.processing.peaks import find_local_peaks
        from wfdb.processing.qrs import ricker as wfdb_ricker

    np.testing.assert_allclose(ricker(30, 4), wfdb_ricker(30, 4), rtol=1e-15)
    rng = np.random.default_rng(0)
    for radius in (1, 3, 15):
        x = rng.integers(0, 6, 500).astype(float)  # many ties
        np.testing.assert_array_equal(
            local_peaks(x, radius), find_local_peaks(x, radius)
        )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rate", [250.0, 300.0, 500.0])
def test_finds_the_beats(sign, rate):
    signal, truth = ecg(30, rate, sign=sign)
    sharp = detect.band_pass(signal, rate, detect.SHARP_HZ)
    found = detect.detect(signal, sharp, rate)
    assert found.polarity == sign
    assert found.confidence == 1.0
    assert found.bsqi > 0.97
    mine, theirs = detect.match(found.peaks, truth, 0.15 * rate)
    assert len(theirs) >= len(truth) - 1
    assert len(found.peaks) - len(mine) <= 1
    assert np.abs(found.peaks[mine] - truth[theirs]).max() <= 1


def test_one_opinion_gives_no_bsqi():
    signal, _ = ecg(10)
    sharp = detect.band_pass(signal, 300.0, detect.SHARP_HZ)
    found = detect.detect(signal, sharp, 300.0, second_opinion=False)
    assert np.isnan(found.bsqi)
    assert found.detector == "sleepecg"


def test_low_agreement_takes_the_second_opinion():
    signal, _ = ecg(20)
    signal += 0.8 * np.random.default_rng(0).standard_normal(len(signal))
    sharp = detect.band_pass(signal, 300.0, detect.SHARP_HZ)
    found = detect.detect(signal, sharp, 300.0)
    assert found.bsqi < 0.9
    assert found.detector == "xqrs"


def test_band_pass_keeps_the_band_and_its_phase():
    rate = 300.0
    time = np.arange(6000) / rate
    inside = np.sin(2 * np.pi * 10 * time)
    outside = 2 + np.sin(2 * np.pi * 0.05 * time) + np.sin(2 * np.pi * 90 * time)
    out = detect.band_pass(inside + outside, rate)
    middle = slice(900, -900)
    assert np.abs(out - inside)[middle].max() < 0.05
    both = detect.band_pass(np.stack([inside, outside]), rate)
    assert both.shape == (2, 6000)
    np.testing.assert_allclose(both.sum(0)[middle], out[middle], atol=1e-9)


peaks = st.lists(st.integers(0, 2000), max_size=30, unique=True).map(
    lambda x: np.array(sorted(x), np.int64)
)


@settings(deadline=None)
@given(first=peaks, second=peaks, tolerance=st.integers(0, 60))
def test_match_is_one_to_one_and_symmetric(first, second, tolerance):
    a, b = detect.match(first, second, tolerance)
    assert len(set(a.tolist())) == len(a)
    assert len(set(b.tolist())) == len(b)
    assert (np.abs(first[a] - second[b]) <= tolerance).all()
    f1 = detect.agreement(first, second, tolerance)
    assert 0 <= f1 <= 1
    assert detect.agreement(first, first, tolerance) == (1.0 if len(first) else 0.0)


def test_agreement_by_hand():
    first, second = np.array([100, 200, 300]), np.array([104, 330])
    assert detect.agreement(first, second, 5) == 2 * 1 / 5
    assert detect.agreement(first, second, 30) == 2 * 2 / 5
    assert detect.agreement(first, np.zeros(0, np.int64), 5) == 0.0


def test_polarity_and_snapping():
    x = np.zeros(500)
    x[[100, 200, 300]] = 1.0
    x[[105, 205, 305]] = -0.6
    x[400] = -1.0
    near = np.array([98, 203, 303, 403])
    assert detect.polarity(x, near, 10) == (1, 0.75)
    assert detect.snap(x, near, 10, 1).tolist() == [100, 200, 300, 400]
    assert detect.snap(x, near, 10, -1).tolist() == [105, 205, 305, 400]
    assert detect.polarity(-x, near, 10) == (-1, 0.75)
    none = np.zeros(0, np.int64)
    assert detect.polarity(x, none, 10) == (1, 0.5)
    assert len(detect.snap(x, none, 10, 1)) == 0


def test_drop_close_keeps_the_higher():
    x = np.zeros(500)
    x[[100, 130, 300]] = [0.5, -1.0, 0.7]
    kept = detect.drop_close(np.array([100, 130, 130, 300]), x, 60)
    assert kept.tolist() == [130, 300]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("duration", [1.0, 1.7, 3.0])
def test_never_fails_on_short_or_strange_signals(seed, duration):
    rng = np.random.default_rng(seed)
    num = round(duration * 300)
    strange = [
        rng.standard_normal(num),
        np.concatenate([np.zeros(num - 3), [0, 1.0, 0]]),
        np.concatenate([[5.0], np.zeros(num - 1)]),
        np.sign(np.sin(np.arange(num) / 7)),
        np.linspace(0, 30, num),
        1e-6 * rng.standard_normal(num),
        1e6 * rng.standard_normal(num),
        rng.integers(-1, 2, num).astype(float),
    ]
    for signal in strange:
        sharp = detect.band_pass(signal, 300.0, detect.SHARP_HZ)
        found = detect.detect(signal, sharp, 300.0)
        assert ((found.peaks >= 0) & (found.peaks < num)).all()
        assert (np.diff(found.peaks) >= 60).all()


def test_mitdb_sensitivity(ecg_data):
    from ecg_jax.ecg.records import open_folder

    folder = open_folder(ecg_data / "mitdb")
    hits = found = truth = 0
    for name in folder.names:
        recording = folder.read(name)
        sharp = detect.band_pass(recording.signal[0], 360.0, detect.SHARP_HZ)
        peaks = detect.detect(recording.signal[0], sharp, 360.0).peaks
        hits += len(detect.match(peaks, recording.beat_samples, 0.15 * 360)[0])
        found, truth = found + len(peaks), truth + len(recording.beat_samples)
    assert 2 * hits / (found + truth) > 0.985
