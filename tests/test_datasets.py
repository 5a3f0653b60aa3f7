import json
from collections import Counter

import numpy as np
import pytest
from ecg_files import write_challenge, write_mat

from ecg_jax.ecg.datasets import (
    SPLITS,
    default_folder,
    duplicates,
    load_split,
    open_dataset,
    split_recordings,
    stratified,
)
from ecg_jax.ecg.records import open_folder
from ecg_jax.errors import MissingFileError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ECG_JAX_CACHE", str(tmp_path / "home"))


def test_versioned_splits():
    listed = load_split("challenge-2017")
    assert len(listed) == 7000
    assert Counter(listed.values()) == {
        "train": 4199,
        "validation": 1401,
        "heldout": 1400,
    }
    assert listed["A00227"] == listed["A01176"]
    assert listed["A02656"] == listed["A03123"]
    mitdb = load_split("mitdb")
    assert Counter(mitdb.values()) == {"train": 14, "validation": 4, "heldout": 4}
    assert mitdb["201"] == "heldout"  # 202, of the same subject, is not listed


def test_listed_recordings_keep_their_side_and_others_are_held_out(tmp_path):
    listed = load_split("challenge-2017")
    other = next(n for n in (f"A{i:05d}" for i in range(1, 8529)) if n not in listed)
    for i, name in enumerate(("A00001", "A00003", other)):
        write_mat(tmp_path, name, np.sin(np.arange(400) / (i + 3)))
    assert split_recordings(open_folder(tmp_path)) == {
        "A00001": listed["A00001"],
        "A00003": listed["A00003"],
        other: "heldout",
    }


def test_stratified_shares_within_each_label():
    names = tuple(f"r{i}" for i in range(1000))
    labels = {n: "N" if i < 700 else "A" for i, n in enumerate(names)}
    sides = stratified(names, labels)
    assert list(sides) == list(names)
    for label, num in (("N", 700), ("A", 300)):
        counts = Counter(sides[n] for n in names if labels[n] == label)
        assert counts == {
            "train": 0.6 * num,
            "validation": 0.2 * num,
            "heldout": 0.2 * num,
        }
    assert stratified(tuple(reversed(names)), labels) == sides
    three = stratified(("a", "b", "c"), dict.fromkeys("abc"))
    assert set(three.values()) == set(SPLITS)


def test_identical_signals_are_on_one_side(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(20):
        write_mat(tmp_path, f"x{i:02d}", rng.standard_normal(400))
    for copy, of in (("y1", "x03"), ("y2", "x03"), ("y3", "x11")):
        (tmp_path / f"{copy}.mat").write_bytes((tmp_path / f"{of}.mat").read_bytes())
    (tmp_path / "x05.mat").write_bytes(b"broken")
    folder = open_folder(tmp_path)
    assert duplicates(folder) == {"y1": "x03", "y2": "x03", "y3": "x11"}
    sides = split_recordings(folder)
    assert set(sides) == set(folder.names)
    assert sides["y1"] == sides["y2"] == sides["x03"]
    assert sides["y3"] == sides["x11"]


def test_open_dataset_by_name_and_path(tmp_path):
    write_challenge(tmp_path / "challenge-2017", "NA")
    for data, place in (
        (tmp_path / "challenge-2017", None),
        (str(tmp_path / "challenge-2017"), None),
        ("challenge-2017", tmp_path / "challenge-2017"),
        ("challenge-2017", str(tmp_path)),
    ):
        assert open_dataset(data, place).names == ("R000", "R001")


def test_open_dataset_of_no_name_and_no_folder():
    with pytest.raises(MissingFileError) as error:
        open_dataset("chalenge-2017")
    assert str(error.value) == (
        "chalenge-2017 is not a folder.\n"
        "  try: one of synthetic, challenge-2017, mitdb, ptb-xl, the folder that holds "
        "RECORDS, or a file of beats (.npz, .csv, .parquet)"
    )


def test_open_dataset_where_fetch_put_it(tmp_path):
    assert default_folder("mitdb") == tmp_path / "home" / "data" / "mitdb"
    with pytest.raises(MissingFileError) as error:
        open_dataset("mitdb")
    assert str(error.value) == (
        f"mitdb is not at {tmp_path / 'home' / 'data' / 'mitdb'}.\n"
        "  try: `ecg-jax fetch mitdb --out DIR`, or --data-dir with the folder that "
        "holds it"
    )
    write_challenge(tmp_path / "d", "N")
    (tmp_path / "home").mkdir()
    pointer = tmp_path / "home" / "datasets.json"
    pointer.write_text(json.dumps({"challenge-2017": str(tmp_path / "d")}))
    assert open_dataset("challenge-2017").names == ("R000",)
    pointer.write_text("[]")
    assert default_folder("mitdb") == tmp_path / "home" / "data" / "mitdb"


def test_synthetic():
    folder = open_dataset("synthetic")
    assert len(folder.names) > 100
    assert set(folder.labels) == set(folder.names)


def test_real_splits(ecg_data):
    folder = open_folder(ecg_data / "challenge-2017")
    sides = split_recordings(folder)
    assert sides == load_split("challenge-2017")
    assert duplicates(folder) == {"A01176": "A00227", "A03123": "A02656"}
    for label in "NAO~":
        counts = Counter(sides[n] for n in folder.names if folder.labels[n] == label)
        assert abs(counts["train"] / counts.total() - 0.6) < 0.01
        assert abs(counts["heldout"] / counts.total() - 0.2) < 0.01
    mitdb = open_folder(ecg_data / "mitdb")
    assert split_recordings(mitdb) == load_split("mitdb")
