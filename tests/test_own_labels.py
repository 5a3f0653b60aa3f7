"""Runs on labels of any name: PTB-XL to the report, tables, mappings, messages."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from ecg_files import write_challenge_2021, write_ptb_xl
from run_files import command, config, write_recordings

from ecg_jax.ecg.synth import SyntheticFolder
from ecg_jax.errors import DataError
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.runs import saved_run
from ecg_jax.runs.config import RunConfig, TreeConfig
from ecg_jax.runs.pipeline import run
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import evaluate_run
from ecg_jax.storage.table import read_parquet

MIXTURE = ("normal",) * 3 + ("pvc", "lbbb")
CODE = {"normal": "NORM", "pvc": "IMI", "lbbb": "LAFB"}


def refusal(work, *args, **options):
    with pytest.raises(DataError) as caught:
        work(*args, **options)
    return str(caught.value)


def silent(line):
    del line


@pytest.fixture(scope="module")
def ptb_xl(tmp_path_factory):
    """A folder of 20 recordings at 100 Hz, and the run on it."""
    root = tmp_path_factory.mktemp("own")
    source = SyntheticFolder(
        seed=1,
        num_recordings=20,
        duration_s=10.0,
        mixture=MIXTURE,
        sample_rate_hz=100.0,
    )
    signals = [source.read(name).signal[0] for name in source.names]
    codes = [
        f"{{'{CODE[source.kinds[name]]}': 100.0, 'SR': 0.0}}" for name in source.names
    ]
    write_ptb_xl(root / "ptb-xl", codes, rates=(100,), signals=signals)
    out, said = root / "run", []
    found = replace(
        config(root),
        data="ptb-xl",
        data_dir=root,
        labels="NORM=N,CD=N",
        training=TrainingConfig(num_epochs=1, batch_size=64),
        tree=TreeConfig(depth=1, budget=2, min_count=20),
    )
    run(found, out, say=said.append)
    return root, said


def test_ptb_xl_to_the_report(ptb_xl):
    root, said = ptb_xl
    words = next(line for line in said if line.startswith("  labels: "))
    assert re.fullmatch(r"  labels: NORM \d+ \(normal\), .*MI \d+(,.*|$)", words)
    assert re.search(r"CD \d+ \(normal\)", words)
    rows = read_parquet(root / "run" / "partition.parquet")
    names = rows["record"].astype(str)
    fold = np.array([(int(name[:5]) - 1) % 10 + 1 for name in names])
    side = np.where(fold < 9, "train", np.where(fold == 9, "validation", "heldout"))
    np.testing.assert_array_equal(rows["split"].astype(str), side)
    settings = read_json(root / "run" / "config.json")
    assert settings["labels"] == "NORM=N,CD=N" and "labels_sha256" not in settings
    page = (root / "run" / "report.html").read_text()
    assert "Scientific Data 7:154" in page and "PTB-XL" in page
    assert "other rhythm" not in page and "ventricular beat" not in page
    assert re.search(r"What counts as normal: (NORM, CD|CD, NORM)\.", page)
    assert "--data ptb-xl --data-dir DIR --labels NORM=N,CD=N" in page


def test_evaluating_keeps_what_the_run_calls_normal(ptb_xl, monkeypatch):
    root, _ = ptb_xl

    class Seen(Exception):
        """Beats that are about to be measured."""

    def stop(margin, tree, beats, names):
        raise Seen(beats)

    with monkeypatch.context() as patch:
        patch.setattr(saved_run, "evaluate", stop)
        for labels, normal in (
            ("", ("NORM", "CD")),
            ("MI=N", ("MI",)),
            ("CD=O", ("NORM",)),
        ):
            with pytest.raises(Seen) as caught:
                evaluate_run(root / "run", "ptb-xl", root, labels)
            beats = caught.value.args[0]
            assert set(beats.label[beats.is_normal]) == set(normal)
            assert set(beats.records.split) == {"heldout"}
    status, out, err = command(
        *("evaluate", root / "run", "--data", "ptb-xl", "--data-dir", root),
        *("--labels", "HYP=O"),
    )
    assert status == 2 and not out
    assert "DataError: nothing is labelled 'HYP'; the labels are NORM 12, " in err


def test_the_configuration_of_a_run_names_its_labels(tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("recording,label\n")
    mine = RunConfig(labels=f"{table},fine=N")
    assert mine.to_json()["labels"] == f"{table},fine=N"
    assert len(mine.to_json()["labels_sha256"]) == 64
    assert f" --labels {table},fine=N " in mine.command("run")
    assert "labels" not in RunConfig().to_json()
    assert "--labels" not in RunConfig().command("run")


def test_no_labels_and_none_normal(tmp_path):
    data = write_recordings(tmp_path / "data", 10, labels="")
    assert refusal(run, config(data), tmp_path / "run", say=silent) == (
        "no recording has a label, and none of its beats: a network cannot learn.\n"
        "  try: --labels labels.csv, a table with the columns recording,label"
    )
    other = write_recordings(tmp_path / "other", 10, labels="MI")
    said = refusal(run, config(other), tmp_path / "run", say=silent)
    assert re.fullmatch(
        r"none of the labels counts as normal; beats by label: MI \d+\.\n"
        r"  try: --labels NAME=N with the name of the normal ones, such as --labels "
        r"MI=N",
        said,
    )
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_labelled(tmp_path):
    mine = RunConfig(labels=f"{tmp_path / 'labels.csv'}")
    (tmp_path / "labels.csv").write_text("recording,label\nS00000,N\n")
    assert refusal(run, mine, tmp_path / "run") == (
        "synthetic recordings have labels of their own.\n"
        "  try: without a table of labels"
    )
    np.savez(tmp_path / "x.npz", beats=np.zeros((3, 99), "f4"), sample_rate_hz=100)
    data = str(tmp_path / "x.npz")
    assert refusal(run, replace(mine, data=data), tmp_path / "run") == (
        f"{data} is a file of beats, which says their labels itself; "
        f"{tmp_path / 'labels.csv'} is for a folder of recordings.\n"
        "  try: --labels NAME=CLASS"
    )
    status, _, err = command("run", "--labels", "NORM=", "--out", tmp_path / "run")
    assert (status, err) == (
        2,
        "ecg-jax run: DataError: --labels NORM=: no class.\n  try: NAME=N, where NAME "
        "is normal; or NAME=CLASS, a name of your own\n",
    )
    status, _, err = command("run", "--labels", "MI=O", "--out", tmp_path / "run")
    assert status == 2
    assert "DataError: nothing is labelled 'MI'; the labels are N " in err
    assert not (tmp_path / "run").exists()


def test_labels_of_a_file_of_beats(tmp_path):
    from ecg_jax.runs.source import source_of

    x = np.random.default_rng(0).normal(size=(6, 99)).astype(np.float32)
    labels = ["fine", "MI"] * 3
    np.savez(tmp_path / "x.npz", beats=x, sample_rate_hz=100, labels=labels)
    source = source_of(str(tmp_path / "x.npz"), labels="fine=N")
    assert source.beats(config(tmp_path).beats).is_normal.tolist() == [True, False] * 3
    with pytest.raises(DataError, match="nothing is labelled 'NORM'; the labels are "):
        source_of(str(tmp_path / "x.npz"), labels="NORM=N").beats(
            config(tmp_path).beats
        )


@pytest.mark.slow
def test_codes_of_headers_are_factored(ptb_xl, tmp_path):
    root, _ = ptb_xl
    write_challenge_2021(tmp_path / "data", ["Dx: 426783006", "Dx: 164889003"])
    status, _, err = command(
        *("factor", root / "run", "--data", tmp_path / "data", "--labels", "AF=A"),
        *("--out", tmp_path / "out", "--tree.min-count", 5, "--quiet"),
    )
    assert status == 0, err
    assert json.loads((tmp_path / "out/config.json").read_text())["labels"] == "AF=A"
    page = (tmp_path / "out/report.html").read_text()
    assert "Reyna" in page and "What counts as normal: NSR." in page
