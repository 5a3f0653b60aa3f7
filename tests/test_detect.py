import time
import warnings

import numpy as np
import pytest
from ecg_files import ecg
from hypothesis import given, settings
from hypothesis import strategies as st

from ecg_jax.ecg import detect, live
from ecg_jax.ecg.beats import beats_of
from ecg_jax.ecg.records import Recording
from ecg_jax.ecg.xqrs import local_peaks, ricker, xqrs
from ecg_jax.errors import SignalError


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


def find(signal, rate):
    return detect.detect(
        signal, detect.band_pass(signal, rate, detect.SHARP_HZ), rate
    ).peaks


def score(signal, truth, rate):
    return detect.agreement(find(signal, rate), truth, 0.05 * rate)


@pytest.mark.parametrize("rr_s", [60 / 40, 60 / 90, 60 / 220])
@pytest.mark.parametrize("rate", [80, 100, 128, 250, 360, 500, 1000])
def test_each_beat_once_at_any_rate(rate, rr_s):
    signal, truth = ecg(60, rate, rr_s=rr_s)
    assert score(signal, truth, rate) >= 0.99


OFF = {
    "zero": lambda t, rng: 0 * t,
    "rail": lambda t, rng: 0 * t + 5,
    "drift": lambda t, rng: 5 - 4 * np.exp(-t / 8),
    "last bit": lambda t, rng: 0.005 * rng.integers(-1, 2, len(t)),
    "jolts": lambda t, rng: np.where(t % 7 > 6.9, 1.0, 0.0),
    "toggling": lambda t, rng: 10 * rng.integers(0, 2, 300)[(5 * t).astype(int)] - 5.0,
}


@pytest.mark.parametrize("off", OFF.values(), ids=OFF)
@pytest.mark.parametrize("rate", [100, 360])
def test_no_beats_while_a_lead_is_off(off, rate):
    whole, truth = ecg(120, rate)
    part = off(np.arange(60 * rate) / rate, np.random.default_rng(0))
    for start in (0, 30 * rate, 60 * rate):
        signal, stop = whole.copy(), start + 60 * rate
        signal[start:stop] = part
        left = truth[(truth < start) | (truth >= stop)]
        found, edge = find(signal, rate), 0.1 * rate
        assert not ((found >= start + edge) & (found < stop - edge)).any()
        assert detect.agreement(found, left, 0.05 * rate) >= 0.97


@pytest.mark.parametrize("name", [name for name in OFF if name != "toggling"])
@pytest.mark.parametrize("rate", [100, 360])
def test_no_beats_while_a_lead_is_off_throughout(name, rate):
    part = OFF[name](np.arange(60 * rate) / rate, np.random.default_rng(0))
    assert len(find(part, rate)) == 0


@pytest.mark.parametrize("height_mv", [0.15, 0.4, 1.0, 3.0])
@pytest.mark.parametrize("share", [0.08, 0.15, 0.3, 0.6])
def test_a_lead_that_toggles_takes_no_beats_from_the_rest(height_mv, share):
    rate, start = 250, 60 * 250
    signal, truth = ecg(180, rate)
    signal *= height_mv / signal.max()
    stop = start + int(share * len(signal))
    time, rng = np.arange(stop - start) / rate, np.random.default_rng(0)
    signal[start:stop] = 10 * rng.integers(0, 2, 600)[(5 * time).astype(int)] - 5
    for unit_mv in (1, 200):  # one is a recorder's own unit
        found = find(unit_mv * signal, rate)
        found, left = (x[(x < start) | (x >= stop)] for x in (found, truth))
        assert detect.agreement(found, left, 0.05 * rate) >= 0.98


@pytest.mark.parametrize("steep_mv", [1.0, 2.0, 4.0, 8.0])
def test_artefacts_in_a_third_do_not_make_a_low_ecg_quiet(steep_mv):
    signal, _ = ecg(180, 250)
    signal *= 0.2
    signal[:15000:100] += steep_mv
    assert not (live.off(signal, 250)[:, 1] > 15001).any()


def test_quiet_stretches_are_cut_out_and_levels_meet():
    ramp = np.arange(1000.0)
    signal = np.concatenate([ramp, np.full(4000, 7.0), 500 + ramp, np.zeros(3000)])
    assert live.off(signal, 1000.0).tolist() == [[1000, 5000], [6000, 9000]]
    lead, places = live.without_off(signal, 1000.0)
    np.testing.assert_array_equal(lead, np.concatenate([ramp, 999 + ramp]))
    np.testing.assert_array_equal(places, np.r_[0:1000, 5000:6000])


def test_loud_steps_are_cut_out_and_levels_meet():
    signal = np.sin(np.arange(12000.0) / 30)
    signal[6000:] += 50
    signal[9000:9010] += 50
    signal[9400:9410] += 50
    assert live.off(signal, 1000.0).tolist() == [[5981, 6019], [8981, 9429]]
    lead, places = live.without_off(signal, 1000.0)
    assert np.ptp(lead) < 6
    np.testing.assert_array_equal(places, np.r_[0:5981, 6019:8981, 9429:12000])


def test_jolts_within_a_quiet_stretch_belong_to_it():
    signal = np.zeros(9000)
    signal[4000:4200] = 1.0
    signal[8000:] = np.arange(1000.0)
    assert live.off(signal, 1000.0)[:, 0].tolist() == [0]


def test_a_lead_that_is_an_ecg_is_left_alone():
    signal, _ = ecg(30, 300.0)
    assert live.off(signal, 300.0).shape == (0, 2)
    lead, places = live.without_off(signal, 300.0)
    np.testing.assert_array_equal(lead, signal)
    np.testing.assert_array_equal(places, np.arange(9000))
    assert live.at_known_rate(signal, 300.0) == (signal, 300.0)
    assert live.without_spikes(signal, 100.0) is signal


def test_spikes_are_taken_out_and_r_peaks_are_not():
    clean, truth = ecg(30, 300.0)
    signal = clean.copy()
    signal[1234::2100] += 3.0
    changed = np.flatnonzero(live.without_spikes(signal, 300.0) != signal)
    assert set(range(1234, 9000, 2100)) <= set(changed.tolist())
    assert not set(changed.tolist()) & set(truth.tolist())
    assert score(signal, truth, 300.0) >= 0.99


@pytest.mark.parametrize(
    ("rate", "known"), [(80, 320), (125, 250), (257, 257), (999, 333)]
)
def test_detectors_see_250_to_500_samples_a_second(rate, known):
    lead, rate_hz = live.at_known_rate(np.zeros(rate), rate)
    assert rate_hz == len(lead) == known


def test_xqrs_learns_again_where_beats_become_small():
    signal, truth = ecg(60)
    signal *= np.where(np.arange(18000) < 9000, 1.0, 0.2)
    first = detect.sleepecg_peaks(signal, 300.0)
    second = xqrs(signal, 300.0)
    assert second.max() < 9300
    more = detect.relearn(signal, 300.0, second, first)
    assert detect.agreement(more, truth, 15) >= 0.97
    none = np.zeros(0, np.int64)
    np.testing.assert_array_equal(detect.relearn(signal, 300.0, second, none), second)


def test_xqrs_takes_linear_time_on_a_quiet_hour():
    signal, _ = ecg(20, 250.0)
    hour = 1e-3 * np.random.default_rng(0).standard_normal(900_000)
    took = []
    for quiet in (hour[:100_000], hour):
        started = time.process_time()
        xqrs(np.concatenate([20 * signal, quiet]), 250.0)
        took.append(time.process_time() - started)
    assert took[1] < 30 * took[0] + 0.2


def test_a_recording_without_beats_says_so():
    line = (1e-3 * np.random.default_rng(0).standard_normal((1, 3000))).astype("f")
    with pytest.raises(SignalError) as error:
        beats_of(Recording("x", line, 300.0))
    assert str(error.value) == (
        "x: no beat is found in 10.00 s. A lead that moves by less than 0.02 mV in "
        "0.02 s counts as off.\n"
        "  try: leave it out, or give the signal in mV"
    )


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
