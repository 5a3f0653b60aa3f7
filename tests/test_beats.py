import os
import signal as signals
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from ecg_files import ecg, mat4, write_challenge, write_mat

from ecg_jax.ecg import _beat_store, detect
from ecg_jax.ecg.beats import BeatConfig, beats_of, extract_beats
from ecg_jax.ecg.cut import windows, without_window
from ecg_jax.ecg.data_words import missed_words
from ecg_jax.ecg.records import Recording, open_folder
from ecg_jax.errors import DataError, DiskFullError, SignalError


def recording(duration_s=20.0, rate=300.0, **more):
    kept = {k: more.pop(k) for k in ("rr_s", "sign", "seed") if k in more}
    signal, _ = ecg(duration_s, rate, **kept)
    return Recording("x", signal[None].astype(np.float32), rate, **more)


def same(first, second):
    assert first.config == second.config
    assert first.excluded == second.excluded
    for name in ("millivolts", "record", "r_time_s", "rr_before_s", "label"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in vars(first.records):
        np.testing.assert_array_equal(
            getattr(first.records, name), getattr(second.records, name)
        )


@pytest.mark.parametrize("rate", [250.0, 300.0, 360.0, 500.0])
def test_beats_of_one_recording(rate):
    _, peaks = ecg(20, rate)
    beats = beats_of(recording(rate=rate, label="N"))
    assert beats.millivolts.shape[1:] == (1, 65)
    assert beats.millivolts.dtype == np.float32
    assert abs(len(beats) - len(peaks)) <= 1
    assert (beats.millivolts[:, 0].argmax(-1) == 25).all()
    assert np.abs(beats.millivolts[:, 0, 25] - 1.05).max() < 0.15
    near = np.abs(beats.r_time_s[:, None] - peaks / rate).min(1)
    assert near.max() <= 1.5 / rate
    assert np.isnan(beats.rr_before_s[0])
    assert np.isnan(beats.rr_after_s[-1])
    np.testing.assert_allclose(beats.rr_before_s[1:], 0.8, atol=0.02)
    np.testing.assert_allclose(beats.rr_before_s[1:], beats.rr_after_s[:-1])
    assert beats.is_normal.all()
    assert beats.kind is None
    table = beats.records
    assert (table.polarity[0], table.split[0], table.label[0]) == (1, "heldout", "N")
    assert table.bsqi[0] > 0.97
    assert table.rate_bpm[0] == pytest.approx(75, abs=1)
    assert table.num_beats[0] == len(beats)
    assert len(table) == 1


def test_no_beat_touches_a_missing_sample():
    whole = recording(label="N")
    signal = whole.signal.copy()
    signal[0, 1500:2400] = np.nan
    signal[0, -3:] = np.nan  # as a skewed signal ends
    beats = beats_of(replace(whole, signal=signal))
    time = beats.r_time_s
    assert np.isfinite(beats.millivolts).all()
    assert not ((time > 5 - 0.4) & (time < 8 + 0.25)).any()
    true = beats_of(whole).r_time_s
    kept = true[(true < 4.5) | (true > 8.5)]
    assert np.abs(time[:, None] - kept).min(0).max() <= 1.5 / 300
    assert np.nanmax(beats.rr_before_s) < 1
    assert np.isnan(beats.rr_before_s[np.searchsorted(time, 8)])
    assert beats.records.rate_bpm[0] == pytest.approx(75, abs=1)
    with pytest.raises(SignalError, match="misses its sample at every time"):
        beats_of(replace(whole, signal=np.full_like(signal, np.nan)))


@pytest.mark.parametrize("rate", [300.0, 360.0, 1000.0])
def test_windows_read_the_signal_where_they_say(rate):
    config = BeatConfig(before_s=0.2, after_s=0.3)
    t = np.arange(round(4 * rate)) / rate
    signal = np.stack([np.sin(2 * np.pi * 11 * t), np.cos(2 * np.pi * 25 * t)])
    peaks = np.array([5, 700, 1000, len(t) - 3])
    out, inside = windows(signal, peaks, rate, config)
    assert inside.tolist() == [False, True, True, False]
    at = peaks[inside][:, None] / rate + config.time_s
    assert config.time_s[config.num_before] == 0
    np.testing.assert_allclose(out[:, 0], np.sin(2 * np.pi * 11 * at), atol=2e-3)
    np.testing.assert_allclose(out[:, 1], np.cos(2 * np.pi * 25 * at), atol=2e-3)


def test_wide_windows_hold_several_beats():
    config = BeatConfig(before_s=1.2, after_s=1.4)
    beats = beats_of(recording(), config)
    assert beats.millivolts.shape[-1] == 260
    high = beats.millivolts[:, 0] > 0.7
    assert (np.diff(high.astype(int), axis=1) == 1).sum(1).min() >= 3
    narrow = beats_of(recording())
    assert beats.records.num_cut[0] > narrow.records.num_cut[0]
    assert len(beats) + beats.records.num_cut[0] == (
        len(narrow) + narrow.records.num_cut[0]
    )


def test_polarity_is_corrected_in_inputs_only():
    upright = beats_of(recording())
    turned = beats_of(recording(sign=-1.0))
    assert turned.records.polarity[0] == -1
    assert turned.records.polarity_confidence[0] == 1
    assert (turned.millivolts[:, 0].argmin(-1) == 25).all()
    assert (turned.inputs()[:, 0].argmax(-1) == 25).all()
    assert (upright.inputs()[:, 0].argmax(-1) == 25).all()
    kept = replace(turned, config=replace(turned.config, polarity="keep"))
    np.testing.assert_array_equal(kept.inputs(), -turned.inputs())


def test_normalisation():
    beats = beats_of(recording())
    for name in ("record", "beat", "none"):
        x = replace(beats, config=BeatConfig(normalise=name)).inputs()
        assert x.dtype == np.float32
        if name == "record":
            assert np.median(x.std(-1)) == pytest.approx(1, rel=1e-5)
            np.testing.assert_allclose(
                x * beats.records.scale_mv[0], beats.millivolts, atol=1e-6
            )
        elif name == "beat":
            np.testing.assert_allclose(x.mean(-1), 0, atol=1e-5)
            np.testing.assert_allclose(x.std(-1), 1, atol=1e-5)
        else:
            np.testing.assert_array_equal(x, beats.millivolts)
    whole = beats.inputs()
    np.testing.assert_array_equal(beats.inputs(slice(2, 5)), whole[2:5])
    np.testing.assert_array_equal(beats.inputs(np.array([7, 1])), whole[[7, 1]])
    assert len(beats.inputs(np.arange(len(beats)) < 3)) == 3


def test_annotations_label_the_beats():
    _, peaks = ecg(20)
    kept = np.delete(peaks, 4)
    labels = tuple("V" if k % 3 == 0 else "N" for k in range(len(kept)))
    kinds = tuple("pvc" if x == "V" else "normal" for x in labels)
    beats = beats_of(
        recording(beat_samples=kept, beat_labels=labels, beat_kinds=kinds, label="O")
    )
    assert beats.records.num_unmatched[0] == 1
    assert set(beats.label) == {"N", "V"}
    assert ((beats.kind == "pvc") == (beats.label == "V")).all()
    nearest = np.abs(beats.r_time_s[:, None] - kept / 300).argmin(1)
    assert beats.label.tolist() == [labels[k] for k in nearest]
    assert beats.is_normal.sum() == (beats.label == "N").sum()
    assert beats.records.label[0] == "O"


def test_annotated_beats_without_a_window_are_counted():
    signal, peaks = ecg(20)
    flat = signal[None].astype(np.float32)
    gone = [3, 4, 9]
    for k in gone:  # no detector finds these
        flat[:, peaks[k] - 60 : peaks[k] + 60] = 0
    labels = tuple("V" if k in (3, 9, 10) else "N" for k in range(len(peaks)))
    annotated = Recording("r", flat, 300.0, "O", peaks, labels)
    beats = beats_of(annotated)
    far = np.abs(beats.r_time_s[:, None] - peaks / 300).min(0) > 0.15
    assert set(gone) <= set(np.flatnonzero(far))
    assert np.array_equal(
        without_window(annotated, np.rint(beats.r_time_s * 300).astype(int), 0.15),
        np.flatnonzero(far),
    )
    missed = {"N": int(far.sum()) - 2, "V": 2}
    assert beats.annotated == {"N": len(peaks) - 3, "V": 3}
    assert beats.without_window == missed
    assert missed_words(beats) == (
        f"{far.sum()} of {len(peaks)} annotated beats ({missed['N']} N, 2 V) got no "
        "window: the detectors missed them, or they are at an end; "
        f"{beats.num_unmatched} peaks are named by no annotation"
    )
    assert beats.num_unmatched == beats.records.num_unmatched[0] == 3
    unnamed = beats_of(replace(annotated, beat_labels=None))
    assert unnamed.annotated == {"?": len(peaks)}
    assert unnamed.without_window == {"?": far.sum()}
    assert "annotated beats got no window" in missed_words(unnamed)
    assert unnamed.num_unmatched == 3 and len(unnamed) == len(beats) + 3
    silent = beats_of(recording())
    assert silent.annotated == silent.without_window == {}
    assert missed_words(silent) == ""


def test_what_has_a_label_of_its_own():
    _, peaks = ecg(20)
    named = recording(beat_samples=peaks, beat_labels=("N",) * len(peaks))
    assert beats_of(named).labelled == "beats"
    assert beats_of(replace(named, label="O")).labelled == "recordings"
    assert beats_of(recording(label="O")).labelled == "recordings"


def test_kinds_alone_leave_the_recordings_label():
    _, peaks = ecg(20)
    kept = np.delete(peaks, 4)
    kinds = ("normal",) * len(kept)
    beats = beats_of(recording(beat_samples=kept, beat_kinds=kinds, label="A"))
    assert set(beats.label) == {"A"}
    assert (beats.kind == "").sum() == 1
    assert not beats_of(recording()).is_labelled.any()


def test_labels_of_ones_own_are_not_cut_short():
    _, peaks = ecg(20)
    assert set(beats_of(recording(label="sinus")).label) == {"sinus"}
    mine = beats_of(
        recording(beat_samples=peaks, beat_labels=("ectopic",) * len(peaks))
    )
    assert set(mine.label) == {"ectopic"}


# Whole folders, and the cache.


def test_extract_and_cache(tmp_path):
    names = write_challenge(tmp_path / "d", "NNNNAAOO~~")
    folder = open_folder(tmp_path / "d")
    told = []
    cold = extract_beats(
        folder, cache_dir=tmp_path / "c", progress=lambda *x: told.append(x)
    )
    assert told[-1] == (10, 10)
    assert cold.excluded == ()
    assert cold.records.name.tolist() == names
    assert isinstance(cold.millivolts, np.memmap)
    assert cold.millivolts.flags.writeable is False
    for k, name in enumerate(names):
        one = beats_of(folder.read(name))
        mine = cold.record == k
        np.testing.assert_array_equal(cold.millivolts[mine], one.millivolts)
        np.testing.assert_array_equal(cold.rr_after_s[mine], one.rr_after_s)
    assert set(cold.label[cold.record >= 8]) == {"~"}
    parts = [cold.rows(side) for side in ("train", "validation", "heldout")]
    assert sorted(np.concatenate(parts)) == list(range(len(cold)))
    assert all(len(part) for part in parts)
    same(cold, extract_beats(folder, cache_dir=None))
    left = {path.suffix for path in (tmp_path / "c").iterdir()}
    assert left == {"", ".lock"}


def test_warm_cache_reads_no_recording(tmp_path, monkeypatch):
    write_challenge(tmp_path / "d", "NNA")
    folder = open_folder(tmp_path / "d")
    splits = dict.fromkeys(folder.names, "train")
    cold = extract_beats(folder, cache_dir=tmp_path / "c", splits=splits)

    def fail(*_):
        raise AssertionError("read")

    monkeypatch.setattr(type(folder), "read", fail)
    same(cold, extract_beats(folder, cache_dir=tmp_path / "c", splits=splits))
    other = BeatConfig(polarity="keep", normalise="beat")  # another view, same arrays
    again = extract_beats(folder, other, cache_dir=tmp_path / "c", splits=splits)
    assert again.config == other
    np.testing.assert_array_equal(again.millivolts, cold.millivolts)


def test_key_follows_configuration_and_input(tmp_path):
    write_challenge(tmp_path, "NNA")
    folder = open_folder(tmp_path)
    keys = {_beat_store.key(folder, BeatConfig())}
    for config in (
        BeatConfig(after_s=0.5),
        BeatConfig(low_hz=1),
        BeatConfig(second_opinion=False),
    ):
        keys.add(_beat_store.key(folder, config))
    assert len(keys) == 4
    assert _beat_store.key(open_folder(tmp_path), BeatConfig()) in keys
    file = tmp_path / "training/A00/R001.mat"
    os.utime(file, ns=(1, 1))
    keys.add(_beat_store.key(folder, BeatConfig()))
    (tmp_path / "REFERENCE-v3.csv").write_text("R000,N\nR001,O\nR002,A\n")
    keys.add(_beat_store.key(open_folder(tmp_path), BeatConfig()))
    assert len(keys) == 6


class InMemory:
    """A folder of one's own."""

    def __init__(self, recordings):
        self.recordings = {r.name: r for r in recordings}
        self.names = tuple(self.recordings)
        self.labels = MappingProxyType({r.name: r.label for r in recordings})
        self.excluded = MappingProxyType({"gone": "left out on opening"})

    def read(self, name):
        return self.recordings[name]


def test_a_folder_of_ones_own(tmp_path):
    made = [replace(recording(seed=k, label="N"), name=f"m{k}") for k in range(4)]
    beats = extract_beats(InMemory(made), cache_dir=tmp_path)
    assert beats.excluded == (("gone", "left out on opening"),)
    assert set(beats.records.split) == {"train", "validation", "heldout"}
    same(beats, extract_beats(InMemory(made), cache_dir=tmp_path))
    assert len(list(tmp_path.glob("beats-*/"))) == 1
    made[2] = replace(made[2], label="A")
    extract_beats(InMemory(made), cache_dir=tmp_path)
    assert len(list(tmp_path.glob("beats-*/"))) == 2


def test_bad_recordings_are_listed_and_the_others_go_on(tmp_path):
    write_challenge(tmp_path / "d", "NNNNNNNNNNX")
    at = tmp_path / "d/training/A00"
    (at / "R000.mat").unlink()
    (at / "R001.mat").write_bytes((at / "R001.mat").read_bytes()[:500])
    write_mat(at, "R002", np.zeros(3000))
    write_mat(at, "R003", ecg(0.5, rr_s=0.2)[0])
    (at / "R004.mat").write_bytes(mat4(np.full(3000, np.nan), kind=0))
    write_mat(at, "R005", ecg()[0], rate=70)
    (at / "R006.hea").write_text("R006 1 300 77\nR006.mat 16+24 1000/mV 16 0\n")
    reference = tmp_path / "d/REFERENCE-v3.csv"
    reference.write_text(reference.read_text().replace("R010,X\n", ""))
    folder = open_folder(tmp_path / "d")
    beats = extract_beats(folder, cache_dir=tmp_path / "c")
    reasons = dict(beats.excluded)
    assert list(reasons) == ["R010", *(f"R00{k}" for k in range(7))]
    assert beats.records.name.tolist() == ["R007", "R008", "R009"]
    assert reasons["R000"] == (
        f"{at / 'R000.mat'} is not there.\n"
        "  try: fetch it, or drop its line from RECORDS"
    )
    assert reasons["R001"].startswith(f"{at / 'R001.mat'} ends after 500 of 6024 bytes")
    assert reasons["R002"].startswith(f"{at / 'R002.mat'}: ECG is a flat line, ")
    assert reasons["R003"] == (
        "0.50 s are too short for a beat, which needs 1 s.\n"
        "  try: leave it out, or cut shorter windows"
    )
    assert reasons["R004"] == (
        f"{at / 'R004.mat'}: every sample of ECG is marked as missing.\n"
        "  try: leave the recording out"
    )
    assert reasons["R005"] == (
        "70 samples a second cannot hold 40 Hz.\n"
        "  try: high_hz of 35 or less in BeatConfig"
    )
    assert "announces 77 samples" in reasons["R006"]
    assert reasons["R010"].startswith(f"no row for R010 in {reference}.\n  try: ")
    same(beats, extract_beats(folder, cache_dir=tmp_path / "c"))


def test_no_beats_at_all(tmp_path):
    write_mat(tmp_path, "x", np.zeros(3000))
    folder = open_folder(tmp_path)
    for cache in (None, tmp_path / "c", tmp_path / "c"):
        with pytest.raises(DataError) as error:
            extract_beats(folder, cache_dir=cache)
        assert str(error.value) == (
            f"no recording of 1 gave a beat; the first reason: {tmp_path / 'x.mat'}: "
            "ECG is a flat line, no signal.\n"
            "  try: leave the recording out, or check that an electrode was connected"
        )


def test_infinite_samples_are_refused():
    signal = np.stack([ecg()[0]] * 2).astype(np.float32)
    signal[0, 5] = np.nan
    beats_of(Recording("x", signal, 300.0, leads=("II", "V1")))
    for value in (np.inf, -np.inf):
        signal[1, 700] = value
        with pytest.raises(SignalError) as error:
            beats_of(Recording("x", signal, 300.0, leads=("II", "V1")))
        assert str(error.value) == (
            "x: sample 700 of lead 2 is infinite.\n"
            "  try: NaN for a value that is missing"
        )


def test_no_window_fits():
    with pytest.raises(SignalError) as error:
        beats_of(recording(2.2), BeatConfig(before_s=1.0, after_s=1.15))
    assert str(error.value).startswith("x: none of ")
    assert ("R peaks has a whole window of 2.15 s in 2.20 s.\n  try: ") in str(
        error.value
    )


def test_detectors_that_fail_are_reported(monkeypatch):
    def fail(*_, **__):
        raise ValueError("boom")

    monkeypatch.setattr(detect, "detect", fail)
    with pytest.raises(SignalError) as error:
        beats_of(recording())
    assert str(error.value) == (
        "x: the beat detectors fail on it (boom).\n  try: leave it out"
    )


def test_leads_must_agree(tmp_path):
    two = Recording("two", np.stack([ecg()[0]] * 2).astype(np.float32), 300.0)
    folder = InMemory([replace(recording(), name="one"), two])
    beats = extract_beats(folder, cache_dir=None, splits={"one": "train"})
    assert dict(beats.excluded)["two"] == (
        "2 leads, the first recording has 1.\n"
        "  try: name the leads, such as --beats.leads II V1"
    )
    both = beats_of(two)
    assert both.inputs().shape[1:] == (2, 65)
    assert both.records.scale_mv.shape == (1, 2)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (
            {"sample_rate_hz": 50},
            "BeatConfig: windows at 50 Hz cannot hold the band 0.5 to 40 Hz.\n"
            "  try: sample_rate_hz of 80 or more, or a lower high_hz",
        ),
        (
            {"before_s": 0.0, "after_s": 0.0},
            "BeatConfig: a window from 0 s before the R peak to 0 s after it is "
            "empty.\n  try: before_s=.25, after_s=.4",
        ),
        (
            {"polarity": "invert"},
            "BeatConfig: polarity='invert' is unknown.\n  try: one of correct, keep",
        ),
        (
            {"normalise": "z"},
            "BeatConfig: normalise='z' is unknown.\n  try: one of record, beat, none",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_configuration_is_checked(more, text):
    with pytest.raises(DataError) as error:
        BeatConfig(**more)
    assert str(error.value) == text


def test_damaged_cache_is_made_anew(tmp_path):
    write_challenge(tmp_path / "d", "NNA")
    folder = open_folder(tmp_path / "d")
    cold = extract_beats(folder, cache_dir=None)
    extract_beats(folder, cache_dir=tmp_path / "c")
    (found,) = (tmp_path / "c").glob("beats-*/")
    for name in ("millivolts.npy", "columns.npz"):
        content = (found / name).read_bytes()
        (found / name).write_bytes(content[: len(content) // 2])
        same(cold, extract_beats(folder, cache_dir=tmp_path / "c"))
        assert (found / name).read_bytes() == content
    (found / "millivolts.npy").unlink()
    same(cold, extract_beats(folder, cache_dir=tmp_path / "c"))


KILLED = """
import sys, time
from ecg_jax.ecg import beats
from ecg_jax.ecg.records import open_folder
beats.CHUNK = 4
def slowly(done, total):
    print(done, flush=True)
    if done >= 8:
        time.sleep(60)
beats.extract_beats(open_folder(sys.argv[1]), cache_dir=sys.argv[2], progress=slowly)
"""


def test_a_killed_extraction_goes_on(tmp_path, monkeypatch):
    write_challenge(tmp_path / "d", "N" * 14)
    folder = open_folder(tmp_path / "d")
    cache = tmp_path / "c"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "d"), str(cache)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        for line in child.stdout:
            if line.strip() == "8":
                break
        child.send_signal(signals.SIGKILL)
    chunks = sorted(cache.glob("*.partial/*.npz"))
    assert len(chunks) == 2
    chunks[1].write_bytes(chunks[1].read_bytes()[:-100])  # half written by a bad disk
    read = []
    plain = type(folder).read
    monkeypatch.setattr("ecg_jax.ecg.beats.CHUNK", 4)
    monkeypatch.setattr(
        type(folder), "read", lambda self, name: read.append(name) or plain(self, name)
    )
    splits = dict.fromkeys(folder.names, "train")
    beats = extract_beats(folder, cache_dir=cache, splits=splits)
    assert set(read) == {"R000", *(f"R{k:03d}" for k in range(4, 14))}
    same(beats, extract_beats(folder, cache_dir=None, splits=splits))
    assert not list(cache.glob("*.partial"))


def test_two_at_once(tmp_path):
    write_challenge(tmp_path / "d", "N" * 8)
    code = KILLED.replace("done >= 8", "False")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "d"), str(tmp_path / "c")],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]
    assert [child.wait() for child in children] == [0, 0]
    assert len(list((tmp_path / "c").glob("beats-*/"))) == 1


def test_full_disk(tmp_path, monkeypatch):
    write_challenge(tmp_path / "d", "N")
    folder = open_folder(tmp_path / "d")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DiskFullError) as error:
        extract_beats(folder, cache_dir=tmp_path / "c")
    assert str(error.value) == (
        f"no space is left for the beats in {tmp_path / 'c'}.\n"
        "  try: free some, or name another folder for the cache"
    )
    assert not list(Path(tmp_path / "c").rglob("*.tmp"))


@pytest.mark.slow
def test_real_recordings(ecg_data, tmp_path):
    folder = open_folder(ecg_data / "challenge-2017")
    beats = extract_beats(folder, cache_dir=tmp_path)
    same(beats, extract_beats(folder, cache_dir=tmp_path))
    assert len(beats.excluded) <= 5
    assert 0.18 < (beats.records.polarity < 0).mean() < 0.24
    noisy = beats.records.label == "~"
    assert np.median(beats.records.bsqi[noisy]) < 0.8
    assert np.median(beats.records.bsqi[~noisy]) > 0.97
