"""A saved run on other recordings: one JSON object, honest figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
from run_files import command, copy_of_run, loaded, tiny, write_recordings  # noqa: F401

from ecg_jax.errors import DataError, ModelError
from ecg_jax.runs.model import check_windows
from ecg_jax.runs.saved_evaluation import load_evaluation, save_evaluation
from ecg_jax.runs.saved_run import evaluate_run, load_run
from ecg_jax.views.evaluation import evaluate

pytestmark = pytest.mark.usefixtures("loaded")


def keys(value, name=""):
    if not isinstance(value, dict):
        return {name}
    return {k for part, v in value.items() for k in keys(v, f"{name}.{part}")}


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Recordings that the run has never seen, one of them without a signal file."""
    root = write_recordings(tmp_path_factory.mktemp("others"), 8, seed=5)
    (root / "training" / "S00002.mat").unlink()
    return root


def test_other_recordings(others, tmp_path):
    out = tmp_path / "metrics.json"
    status, said, _ = command("evaluate", tiny().run, "--data", others, "--out", out)
    found = json.loads(said)  # nothing else is on stdout
    assert status == 0 and found == json.loads(out.read_text())
    run = json.loads((tiny().run / "metrics.json").read_text())
    missing = {
        k
        for k in keys(run) - keys(found)
        if not k.startswith((".timing", ".coverage.sides"))
    }
    assert not missing
    assert found["data"]["recordings"] == 7 and found["data"]["excluded"] == 1
    assert found["data"]["measured_on_beats"] == found["data"]["beats"]
    assert found["exactness"]["num_beats"] == found["data"]["beats"]
    assert found["data"]["seen_in_training"] == 0
    assert found["exactness"]["decision_agreement"] == 1
    assert found["coverage"]["wrongly_proven"] == 0
    assert 0 <= found["model"]["beat_auc"] <= 1


def test_recordings_it_was_trained_on_are_counted():
    status, said, err = command("evaluate", tiny().run, "--data", tiny().data)
    seen = json.loads(said)["data"]["seen_in_training"]
    assert status == 0 and seen == 23
    assert err == (
        "ecg-jax evaluate: the run was trained on 23 of these recordings; its figures "
        "are too good for them\n"
    )


def test_recordings_without_labels(tmp_path):
    data = write_recordings(tmp_path / "data", 3, seed=7, labels="")
    found = evaluate_run(tiny().run, str(data), None)
    assert found["model"] == {
        "beat_accuracy": None,
        "beat_auc": None,
        "record_auc": None,
    }
    assert found["data"]["recordings"] == 3
    assert found["exactness"]["decision_agreement"] == 1


def test_one_class_has_an_accuracy_and_no_auc(tmp_path):
    data = write_recordings(tmp_path / "data", 3, seed=7, labels="N")
    found = evaluate_run(tiny().run, str(data), None)["model"]
    assert found["beat_auc"] is None and found["record_auc"] is None
    assert 0 <= found["beat_accuracy"] <= 1


def test_a_folder_without_recordings(tmp_path):
    assert command("evaluate", tiny().run, "--data", tmp_path)[0] == 2
    data = write_recordings(tmp_path / "data", 2)
    for path in (data / "training").glob("*.mat"):
        path.write_bytes(b"no signal")
    status, said, err = command("evaluate", tiny().run, "--data", data)
    assert (status, said) == (2, "")
    assert err.startswith("ecg-jax evaluate: DataError: no recording of 2 gave a beat")


def test_a_saved_evaluation_comes_back(others):
    from ecg_jax.ecg.beats import extract_beats
    from ecg_jax.ecg.datasets import open_dataset
    from ecg_jax.storage.cache import cache_home

    del others
    network, tree, beats_config = load_run(tiny().run)
    beats = extract_beats(
        open_dataset(tiny().data), beats_config, cache_dir=cache_home() / "beats"
    )
    found = load_evaluation(tiny().run, tree, beats)
    again = tiny().run.parent / "again"
    again.mkdir(exist_ok=True)
    save_evaluation(found, again)
    same = load_evaluation(again, tree, beats)
    assert same.metrics() == found.metrics()
    for name in ("value", "path", "cell", "proven", "prover", "lower", "upper"):
        a, b = getattr(same.part.decision, name), getattr(found.part.decision, name)
        np.testing.assert_array_equal(a, b)
    with pytest.raises(DataError) as caught:
        evaluate(network.margin, tree, beats, "no such split")
    assert str(caught.value) == (
        "no beats in the split 'no such split'.\n  try: more recordings, or split=None"
    )


def test_windows_of_another_shape():
    network, _, config = load_run(tiny().run)
    from ecg_jax.ecg.beats import beats_of
    from ecg_jax.ecg.datasets import open_dataset

    recording = open_dataset(tiny().data).read("S00000")
    beats = beats_of(recording, replace(config, after_s=0.5))
    with pytest.raises(ModelError) as caught:
        check_windows(network, beats)
    assert str(caught.value) == (
        "the network 'mlp on data' takes windows of [1 lead, 65 samples], the beats "
        "are [1 lead, 75 samples].\n  try: beats cut as the network was trained "
        "(--beats.sample-rate-hz, --beats.before-s, --beats.after-s)"
    )


def test_a_model_of_another_shape(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    manifest = folder / "model" / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"num_samples": 65', '"num_samples": 99')
    )
    status, _, err = command("evaluate", folder, "--data", tiny().data)
    assert status == 2
    assert "variables.safetensors does not fit its configuration:" in err
    assert "float32[65, 16], expected float32[99, 16]" in err


def test_a_damaged_equation(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    path = folder / "equation" / "tree.json"
    path.write_text(path.read_text() + " ")
    status, _, err = command("evaluate", folder, "--data", tiny().data)
    assert status == 2
    assert f"ChecksumError: {path} is damaged or was exchanged:" in err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mitdb", "challenge-2017"])
def test_real_recordings(name, ecg_data):
    found = evaluate_run(tiny().run, name, ecg_data / name)
    assert found["exactness"]["decision_agreement"] == 1
    assert found["coverage"]["wrongly_proven"] == 0
    assert found["data"]["recordings"] >= 22
    assert ("records" in found["model"]) == (name != "mitdb")  # its beats have labels
    assert (found["model"]["record_auc"] is None) == (name == "mitdb")
