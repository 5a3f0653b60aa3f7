"""Networks by name: found, checked by their example, and run in place of training."""

import importlib.util
import json
from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from run_files import command, config, evaluated, tiny, write_recordings

import ecg_jax as ej
from ecg_jax.errors import ChecksumError, DataError, ModelError
from ecg_jax.networks.released import known, networks_home
from ecg_jax.networks.saved import load_network, save_network
from ecg_jax.runs import foreign, pipeline
from ecg_jax.runs.config import RunConfig
from ecg_jax.storage.manifest import MANIFEST, sha256

TREE = ("--tree.depth", 1, "--tree.budget", 1, "--tree.min-count", 20)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder of released networks, with the one of the shared run."""
    monkeypatch.setenv("ECG_JAX_NETWORKS", str(tmp_path / "shelf"))
    beats = evaluated().part.beats
    network = load_network(tiny().run).exemplified(
        beats.inputs(slice(0, 1))[0], beats.unit_mv(slice(0, 1))[0], "the first beat"
    )
    save_network(tmp_path / "shelf" / "small", network)
    return tmp_path / "shelf"


def refused(name: Path | str) -> str:
    with pytest.raises(ModelError) as caught:
        load_network(name)
    return str(caught.value)


def test_a_network_is_found_by_its_name(shelf):
    network = ej.load_network("small")
    same = jax.tree.map(
        np.array_equal, network.variables, load_network(tiny().run).variables
    )
    assert all(jax.tree.leaves(same)) and known() == ["small"]
    assert network.contract == config(tiny().data).beats
    x = network.example.beat
    eq = ej.factor(network.margin, x)
    assert abs(float(eq(x)) - network.example.margin) < 1e-5
    card = (shelf / "small" / "README.md").read_text("utf-8")
    assert f"has the margin {network.example.margin:.6f}" in card
    assert (
        "R - 250 ms to R + 400 ms at 100 Hz, of recordings in mV, band-passed" in card
    )


def test_without_a_variable_networks_lie_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("ECG_JAX_NETWORKS", raising=False)
    monkeypatch.setenv("ECG_JAX_CACHE", str(tmp_path))
    assert networks_home() == tmp_path / "networks" and known() == []


def test_beats_are_cut_by_a_contract(shelf, tmp_path):
    network = ej.load_network("small")
    data = write_recordings(tmp_path / "data", 2)
    beats = ej.beats(data, contract=network.contract)
    assert beats.inputs().shape[1:] == network.window
    assert beats.config == network.contract
    assert np.isfinite(network.margins(beats.inputs())).all()
    with pytest.raises(DataError) as caught:
        ej.beats(data, contract=network.contract, sample_rate_hz=100)
    assert str(caught.value) == (
        f"{data}: the contract says the rate and the leads.\n"
        "  try: without sample_rate_hz and leads; or without contract"
    )
    with pytest.raises(DataError) as caught:
        ej.beats(beats.millivolts, contract=network.contract)
    assert str(caught.value) == (
        "a contract says how recordings are cut and scaled; these are beats that are "
        "cut already.\n  try: a folder of recordings; or, of beats as the network sees "
        "them, sample_rate_hz and r_peak_s"
    )


def test_an_unknown_name(shelf):
    assert refused("nonsense") == (
        f"nonsense is no path, and no network of this name is in {shelf}; known names: "
        "small.\n  try: a name; a folder with a saved network, a run folder, or a file "
        "model.onnx; or make those of the package: python "
        "experiments/networks/release.py --data-dir DIR --out FOLDER, then "
        "ECG_JAX_NETWORKS=FOLDER"
    )
    status, out, err = command("run", "--model", "nonsense", "--out", shelf / "run")
    assert (status, out) == (2, "") and err.startswith(
        "ecg-jax run: ModelError: nonsense is no path, and no network of this name is"
    )


def test_a_folder_without_a_network_hides_no_name(shelf, tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_network("small").example is not None
    assert refused(tmp_path / "small").startswith(f"{tmp_path}/small holds no network")


def test_a_damaged_or_missing_example(shelf):
    path = shelf / "small" / "example.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ChecksumError) as caught:
        load_network("small")
    assert str(caught.value).startswith(f"{path} is damaged or was exchanged:\n")
    path.unlink()
    assert refused("small") == (
        f"{path} cannot be read: No such file or directory.\n"
        "  try: copy the whole folder, or train the network again"
    )


def test_a_network_that_answers_otherwise(shelf):
    network = load_network("small")
    example = replace(network.example, margin=network.example.margin + 1e-6)
    save_network(shelf / "small", replace(network, example=example), replace=True)
    assert refused("small") == (
        f"{shelf}/small/example.safetensors: the network does not answer as it did "
        "when it was saved.\n"
        f"  margin of the example found:    {network.example.margin!r}\n"
        f"  margin of the example expected: {example.margin!r}\n"
        "  try: the version of ecg_jax that its card names, or make it again"
    )


def test_a_run_of_a_model_goes_on_where_it_was_stopped(shelf, tmp_path, monkeypatch):
    words = ("run", "--model", "small", "--data", tiny().data, *TREE)
    words = (*words, "--out", tmp_path / "run", "--quiet")

    def killed(*args, **more):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "evaluate", killed)
        assert command(*words)[0] == 130
    equation = tmp_path / "run" / "equation" / MANIFEST
    before = equation.stat().st_mtime_ns
    assert command(*words, "--resume") == (0, "", "")
    assert equation.stat().st_mtime_ns == before
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    whole = json.loads((tiny().run / "metrics.json").read_text())
    assert found["model"] == whole["model"] and "train" not in found["timing"]
    told = json.loads((tmp_path / "run" / "config.json").read_text())
    kept = tmp_path / "run" / "model" / "variables.safetensors"
    assert told["model"] == "small" and told["sha256"] == sha256(kept)
    assert load_network(tmp_path / "run").example is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--training.num-epochs", 3, "--network.kind", "resnet"),
            "small is trained already, so --network.kind resnet, --training.num-epochs "
            "3 would change nothing.\n"
            "  try: without; or without --model, to train a network",
        ),
        (
            ("--beats.after-s", 0.5, "--beats.leads", "V5"),
            "the network 'mlp on data' takes other beats than these:\n"
            "  after_s: 0.4 in training, 0.5 here\n"
            "  leads: () in training, ('V5',) here\n"
            "  try: beats cut as the network was trained, which is the default "
            "(without --beats.after-s, --beats.leads)",
        ),
        (
            (
                *("--beats.sample-rate-hz", 200),  # as many samples
                *("--beats.before-s", 0.125, "--beats.after-s", 0.2),
            ),
            "the network 'mlp on data' takes other beats than these:\n"
            "  sample_rate_hz: 100.0 in training, 200.0 here\n"
            "  before_s: 0.25 in training, 0.125 here\n"
            "  after_s: 0.4 in training, 0.2 here\n"
            "  try: beats cut as the network was trained, which is the default "
            "(without --beats.sample-rate-hz, --beats.before-s, --beats.after-s)",
        ),
    ],
)
def test_what_a_model_does_not_take(words, message, shelf):
    out = shelf / "run"
    common = ("run", "--model", "small", "--data", tiny().data, "--out", out)
    status, _, err = command(*common, *words)
    assert (status, err) == (2, f"ecg-jax run: ModelError: {message}\n")
    assert not out.exists()


def test_a_teacher_is_asked_of_beats_that_it_knows(shelf):
    as_many = ("--beats.sample-rate-hz", 200, "--beats.before-s", 0.125)
    words = ("distill", "small", "--data", tiny().data, "--out", shelf / "run")
    status, _, err = command(*words, *as_many, "--beats.after-s", 0.2, "--quiet")
    assert status == 2 and err.startswith(
        "ecg-jax distill: ModelError: the network 'mlp on data' takes other beats than "
        "these:\n  sample_rate_hz: 100.0 in training, 200.0 here\n"
    )


def test_a_release_says_what_a_network_is(tmp_path, monkeypatch):
    path = Path(__file__).parents[1] / "experiments" / "networks" / "release.py"
    spec = importlib.util.spec_from_file_location("release", path)
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    measured = json.loads((tiny().run / "metrics.json").read_text())
    monkeypatch.setattr(release, "RunConfig", lambda **more: config(tiny().data))
    monkeypatch.setattr(release, "run", lambda *args, **more: measured)
    (tmp_path / "mitdb").symlink_to(tiny().run)
    folder = release.release(
        "mitdb", Namespace(data_dir=None, runs=tmp_path, out=tmp_path / "out")
    )
    network = load_network(folder)
    assert network.example.of.startswith("beat of recording S0")
    figures = {row["figure"]: row for row in network.card.quality["figures"]}
    assert figures["AUC by beat"]["network"] == measured["model"]["beat_auc"]
    assert figures["AUC by beat"]["majority"] == 0.5
    low, high = measured["model"]["intervals"]["beat_auc"]
    assert figures["AUC by beat"]["95%"] == f"{low:.3f} to {high:.3f}"
    card = (folder / "README.md").read_text("utf-8")
    assert "| figure | network | 95% | majority | logistic regression" in card
    assert "Licence of the data: ODC-By 1.0 (recordings and the example" in card
    assert "Made by: `python experiments/networks/release.py --data-dir DIR" in card


def test_a_model_says_the_recordings(shelf):
    status, _, err = command("run", "--model=small", "--out", shelf / "run")
    assert (status, err) == (
        2,
        "ecg-jax run: ModelError: small does not name the recordings that it was "
        "trained on.\n  try: --data, such as challenge-2017 or a folder in WFDB layout"
        "\n",
    )
    network = load_network("small")
    card = replace(network.card, data="mitdb")
    save_network(shelf / "named", replace(network, card=card))
    told = foreign.config_of(Path("named"))
    assert told == RunConfig(data="mitdb", beats=network.contract)
    assert foreign.beats_of_first(["--data", "x", "named"]) == network.contract
    assert asdict(told.beats)["second_opinion"] is False
