"""Files of beats on the command line: `factor`, `run`, `evaluate`, `explain`."""

import html
import json
import re

import numpy as np
import pytest
from run_files import command
from small_beats import R_S, RATE, arrays, names
from test_readme import make_onnx

import ecg_jax as ej
from ecg_jax.storage.table import read_parquet

SMALL = ("--tree.depth", 1, "--tree.budget", 1, "--tree.min-count", 5, "--quiet")
X, UPRIGHT = arrays(120)


def write(path, **more):
    np.savez(
        path,
        beats=X,
        labels=names(UPRIGHT),
        sample_rate_hz=RATE,
        r_peak_s=R_S,
        leads=["V5"],
        **more,
    )
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a file of beats of 20 recordings."""
    root = tmp_path_factory.mktemp("trained")
    data = write(root / "beats.npz", records=[f"p{i // 6}" for i in range(120)])
    words = ("--network.widths", 8, "--training.num-epochs", 3)
    out = root / "run"
    said = command("run", "--data", data, "--out", out, *words, *SMALL)
    return data, out, said


def text_of(path):
    page = re.sub(r"<(style|svg).*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.mark.slow
def test_an_onnx_file_and_a_file_of_beats(tmp_path):
    pytest.importorskip("onnx")
    make_onnx(tmp_path / "network.onnx")
    data, out = write(tmp_path / "beats.npz"), tmp_path / "out"
    said = command(
        "factor", tmp_path / "network.onnx", "--data", data, "--out", out, *SMALL
    )
    assert said == (0, "", "")
    found = json.loads((out / "metrics.json").read_text())
    assert found["exactness"]["decision_agreement"] == 1
    assert found["coverage"]["wrongly_proven"] == 0
    assert found["data"]["measured_on_beats"] == 120
    text = text_of(out / "report.html")
    assert "the beats given" in text and "lead V5" in text and "NORM" in text
    assert "eld-out" not in text.partition("What cannot be claimed")[0]
    config = json.loads((out / "config.json").read_text())
    assert config["beats"] is None and len(config["data_sha256"]) == 64
    assert ej.load(out / "equation").example.shape == (1, 65)


def test_a_run_splits_by_recording(trained):
    data, out, said = trained
    assert said == (0, "", "")
    table = read_parquet(out / "partition.parquet")
    sides = {}
    for record, split in zip(table["record"], table["split"], strict=True):
        sides.setdefault(record, set()).add(split)
    assert len(sides) == 20 and all(len(side) == 1 for side in sides.values())
    assert {side for (side,) in sides.values()} == {"train", "validation", "heldout"}
    text = text_of(out / "report.html")
    assert "held-out recordings" in text and "20 recordings gave 120 beats" in text
    assert "What counts as normal: NORM." in text
    del data


def test_a_finished_run_goes_on_with_the_same_file_only(trained, tmp_path):
    data, out, _ = trained
    again = ("run", "--data", data, "--out", out, "--resume")
    words = ("--network.widths", 8, "--training.num-epochs", 3)
    assert command(*again, *words, *SMALL) == (0, "", "")
    before = data.read_bytes()
    try:
        write(data, records=[f"p{i // 4}" for i in range(120)])
        status, _, err = command(*again, *words, *SMALL)
    finally:
        data.write_bytes(before)
    assert status == 2 and "data_sha256: " in err


def test_a_run_is_evaluated_on_a_file(trained):
    data, out, _ = trained
    status, said, err = command("evaluate", out, "--data", data)
    found = json.loads(said)
    assert (status, err) == (0, "")
    assert found["data"]["beats"] == 120
    assert found["data"]["seen_in_training"] is None  # nobody can know


def test_its_network_takes_no_recordings(trained, tmp_path):
    _, out, _ = trained
    status, _, err = command(
        "explain", out, "--record", write_recording(tmp_path), "--out", tmp_path / "e"
    )
    assert status == 2 and err == (
        "ecg-jax explain: ModelError: the network 'mlp on beats.npz' takes beats as a "
        "file gave them; how to cut such out of a recording is not known.\n"
        "  try: in Python, with jax.config.update('jax_enable_x64', True), "
        f"ej.explain(ej.load({str(out / 'equation')!r}), ej.beats('FILE'))\n"
    )
    status, _, err = command("evaluate", out, "--data", tmp_path / "data")
    assert status == 2 and err.endswith("\n  try: --data with a file of beats\n")


def test_a_file_of_another_window(trained, tmp_path):
    _, out, _ = trained
    short = tmp_path / "short.npz"
    np.savez(short, beats=np.ones((9, 1, 50)), sample_rate_hz=100)
    status, _, err = command("evaluate", out, "--data", short)
    assert status == 2 and err.startswith(
        "ecg-jax evaluate: ModelError: the network 'mlp on beats.npz' takes windows of "
        "[1 lead, 65 samples], the beats are [1 lead, 50 samples].\n"
        "  try: a file of beats of [1 lead, 65 samples], R - "
    )
    assert err.endswith(" at 100 Hz; it is taken as it is, never cut or resampled\n")


def write_recording(root):
    from run_files import write_recordings

    return write_recordings(root / "data", 1) / "training" / "S00000"


def test_without_recordings_nothing_is_trained(tmp_path):
    data = write(tmp_path / "beats.npz")
    status, _, err = command("run", "--data", data, "--out", tmp_path / "run", *SMALL)
    assert status == 2 and err == (
        "ecg-jax run: DataError: the file names no recordings that its beats are from; "
        "to train, 3 at least are needed: beats of one must not be on two sides.\n"
        "  try: 'records' in the file; or ecg-jax factor, with a trained network\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there(tmp_path):
    status, _, err = command(
        "run", "--data", tmp_path / "no.npz", "--out", tmp_path / "r"
    )
    assert status == 2 and err == (
        f"ecg-jax run: MissingFileError: {tmp_path / 'no.npz'}: no such file.\n"
        "  try: the path of a file of beats\n"
    )
