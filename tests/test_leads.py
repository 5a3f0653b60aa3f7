"""Several leads: what is asked for, what is read, what is left out and said."""

import warnings
from types import MappingProxyType

import numpy as np
import pytest
from ecg_files import TWELVE, ecg, leads_of, write_leads, write_wfdb

import ecg_jax as ej
from ecg_jax.ecg import _beat_store
from ecg_jax.ecg.beats import BeatConfig, beats_of, extract_beats
from ecg_jax.ecg.data_words import lead_words, left_out
from ecg_jax.ecg.lead_choice import settled
from ecg_jax.ecg.records import Recording, open_folder
from ecg_jax.errors import DataError, SignalError

MIXED = {
    "r0": ("MLII", "V1"),
    "r1": ("V1", "MLII"),
    "r2": ("MLII", "V5"),
    "r3": ("MLII", "V1"),
    "r4": ("MLII",),
}


@pytest.fixture
def mixed(tmp_path):
    write_leads(tmp_path / "mixed", MIXED)
    return tmp_path / "mixed"


def cut(folder, *leads, **more):
    config = BeatConfig(leads=leads, **more)
    return extract_beats(open_folder(folder), config, cache_dir=None)


def test_leads_by_name_whatever_their_order(mixed):
    beats = cut(mixed, "V1", "MLII")
    assert beats.records.name.tolist() == ["r0", "r1", "r3"]
    assert beats.leads == ("V1", "MLII") and beats.millivolts.shape[1] == 2
    assert set(beats.records.leads.tolist()) == {"V1\tMLII"}
    seen = [np.median(beats.millivolts[beats.record == k], 0) for k in range(3)]
    for one in seen:  # in V1 the QRS points down in each, however it is stored
        assert one[0, 25] < -0.3 and one[1, 25] > 0.6
    assert dict(beats.excluded) == {
        "r2": (
            f"{mixed / 'r2.hea'} has no lead V1; its leads are MLII, V5.\n"
            "  try: leave it out, or ask for leads that it has"
        ),
        "r4": (
            f"{mixed / 'r4.hea'} has no lead V1; its leads are MLII.\n"
            "  try: leave it out, or ask for leads that it has"
        ),
    }


def test_all_leads_are_those_of_most_recordings(mixed):
    beats = cut(mixed, "all")
    assert beats.leads == beats.config.leads == ("MLII", "V1")
    assert beats.records.name.tolist() == ["r0", "r1", "r3"]
    assert "leads MLII, V1" in repr(beats) and lead_words(beats).startswith(
        "leads MLII, V1 (3); R peaks of the lead of highest bSQI: MLII (3)"
    )
    same = ej.beats(mixed, leads=("all",))
    np.testing.assert_array_equal(same.millivolts, beats.millivolts)
    assert ej.beats(mixed, leads=("V5",)).records.name.tolist() == ["r2"]


def test_one_lead_says_once_that_others_were_left_out(mixed):
    beats = cut(mixed)
    assert beats.leads == ("MLII",) and len(beats.records) == 5
    assert left_out(beats) == {"V1": 3, "V5": 1}
    assert lead_words(beats) == (
        "lead MLII (5); 4 recordings have other leads, which were left out: V1 (3), V5 "
        "(1); to read several: --beats.leads MLII V1, or --beats.leads all"
    )
    assert "left out" not in lead_words(cut(mixed, "MLII"))


def test_a_lead_that_no_recording_has(mixed):
    with pytest.raises(DataError) as error:
        cut(mixed, "II", "V9")
    assert str(error.value) == (
        "none of 5 recordings has the leads II, V9; there are MLII, V1 in 2; V1, MLII "
        "in 1; MLII, V5 in 1; MLII in 1.\n"
        "  try: leads that they have, such as --beats.leads MLII V1"
    )


def test_leads_are_part_of_the_key_where_they_are_asked_for(mixed):
    folder = open_folder(mixed)
    keys = {
        _beat_store.key(folder, BeatConfig(leads=leads))
        for leads in ((), ("MLII",), ("MLII", "V1"), ("V1", "MLII"))
    }
    assert len(keys) == 4


@pytest.mark.parametrize("leads", [("II", "ii"), ("all", "II")])
def test_a_lead_twice(leads):
    with pytest.raises(DataError) as error:
        BeatConfig(leads=leads)
    assert str(error.value) == (
        f"BeatConfig: the leads {leads[0]}, {leads[1]} name one twice, or one beside "
        "all.\n"
        "  try: each once, or all alone"
    )


def test_duplicate_names(tmp_path):
    signal, _ = leads_of(("II", "V1"))
    write_wfdb(tmp_path, "a", signal, ("II", "II"))
    write_wfdb(tmp_path, "b", signal, ("II", "V1"))
    assert len(cut(tmp_path).records) == 2  # one is read, the first
    beats = cut(tmp_path, "II")
    assert beats.records.name.tolist() == ["b"]
    assert dict(beats.excluded)["a"] == (
        f"{tmp_path / 'a.hea'} calls 2 leads 'II'.\n"
        "  try: give each a name of its own in the header, or ask for none, and one is "
        "read"
    )
    write_wfdb(tmp_path, "b", signal, ("II", "II"))
    with pytest.raises(DataError) as error:
        cut(tmp_path, "all")
    assert str(error.value) == (
        "the leads of the recordings do not differ in name: II, II in 2.\n"
        "  try: give each a name of its own in the headers, or read one, without "
        "--beats.leads"
    )


def test_mixed_rates_are_brought_to_one(tmp_path):
    leads = ("II", "V1")
    for k, rate in enumerate((250, 360, 500)):
        signal, _ = leads_of(leads, rate=rate, seed=k)
        write_wfdb(tmp_path, f"r{k}", signal, leads, rate=rate)
    beats = cut(tmp_path, "all")
    assert len(beats.records) == 3 and beats.millivolts.shape[1:] == (2, 65)
    median = [np.median(beats.millivolts[beats.record == k], 0) for k in range(3)]
    for one in median[1:]:
        assert np.abs(one - median[0]).max() < 0.08


def test_one_bad_recording_does_not_stop_the_others(tmp_path):
    leads = ("II", "V1")
    signal, _ = leads_of(leads)
    for name in ("good", "short", "unsure", "flat"):
        write_wfdb(tmp_path, name, signal, leads)
    write_wfdb(tmp_path, "flat", signal * [[1], [0]], leads)
    write_wfdb(tmp_path, "unsure", signal / 5, leads, gain=0)
    dat = tmp_path / "short.dat"  # of one lead fewer samples than of the other
    dat.write_bytes(dat.read_bytes()[:-2])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        beats = cut(tmp_path, "all")
    assert str(said[0].message) == (
        f"{tmp_path / 'unsure.hea'} gives no gain for II: its amplitude is unknown, "
        "and 200 units a millivolt are assumed, as WFDB does.\n"
        "  try: write the gain into it"
    )
    assert beats.records.name.tolist() == ["good", "unsure"]
    told = dict(beats.excluded)
    assert told["flat"].startswith(f"{tmp_path / 'flat.dat'}: V1 is a flat line")
    assert told["short"].startswith(f"{tmp_path / 'short.dat'} ends after")


def test_r_peaks_are_those_of_the_best_lead():
    good, peaks = ecg(20.0, 250.0)
    rng = np.random.default_rng(0)
    noisy = 0.6 * rng.standard_normal(len(good))
    made = Recording(
        "x", np.stack([noisy, good]).astype(np.float32), 250.0, leads=("I", "II")
    )
    beats = beats_of(made)
    assert beats.records.r_lead.tolist() == [1] and beats.leads == ("I", "II")
    assert beats.records.bsqi[0] > 0.9 > beats_of(one(made, 0)).records.bsqi[0]
    at = np.rint(beats.r_time_s * 250).astype(int)
    assert np.isin(at, peaks).mean() > 0.9
    np.testing.assert_array_equal(
        beats.millivolts[:, 1], beats_of(one(made, 1)).millivolts[:, 0]
    )


def one(recording, lead):
    """A recording of one of the leads."""
    names = (recording.leads[lead],)
    return Recording("x", recording.signal[[lead]], 250.0, leads=names)


def test_several_leads_are_not_turned():
    signal, _ = leads_of(TWELVE)
    made = Recording("x", signal.astype(np.float32), 250.0, leads=TWELVE)
    beats = beats_of(made)
    assert beats.turn.tolist() == [1] and beats.leads == TWELVE
    assert beats.upright()[:, 3, 25].mean() < 0 < beats.upright()[:, 1, 25].mean()
    alone = beats_of(made, BeatConfig(leads=("aVR",)))
    assert alone.leads == ("aVR",) and alone.turn.tolist() == [-1]


class InMemory:
    """A folder of one's own."""

    def __init__(self, *recordings):
        self.recordings = {r.name: r for r in recordings}
        self.names = tuple(self.recordings)
        self.labels = MappingProxyType(dict.fromkeys(self.names, "N"))
        self.excluded = MappingProxyType({})

    def read(self, name):
        return self.recordings[name]


def test_leads_of_a_folder_of_ones_own():
    signal = leads_of(("I", "II", "V1"))[0].astype(np.float32)
    named = Recording("named", signal, 250.0, leads=("I", "II", "V1"))
    silent = Recording("silent", signal, 250.0)
    folder = InMemory(named, silent)
    beats = extract_beats(folder, BeatConfig(leads=("V1", "I")), cache_dir=None)
    assert beats.leads == ("V1", "I")
    assert beats.records.others.tolist() == ["II"]
    assert dict(beats.excluded) == {
        "silent": (
            "no lead V1 or I; its leads are not named.\n"
            "  try: leave it out, or ask for leads that it has"
        )
    }
    every = settled(InMemory(silent), BeatConfig(leads=("all",)))
    assert every.leads == ("all",)
    found = extract_beats(InMemory(silent), every, cache_dir=None)
    assert found.leads == () and found.lead_names == ("lead 1", "lead 2", "lead 3")
    with pytest.raises(SignalError, match="silent: no lead V1"):
        beats_of(silent, BeatConfig(leads=("V1",)))
