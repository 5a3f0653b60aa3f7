"""Training: what a step sees, determinism, kill and resume."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

from ecg_jax.errors import (
    DataError,
    ModelError,
    NonFiniteError,
    RunError,
    TrainingError,
)
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import margins
from ecg_jax.networks.sampling import TrainingConfig, augment, beat_weights, epoch_rows
from ecg_jax.networks.train import CHECKPOINT, read_history, train
from ecg_jax.statistics.scores import auc, record_scores
from ecg_jax.storage.arrays import flatten

NETWORK = NetworkConfig(num_samples=12, widths=(8, 4), dropout=0.1)
PLAIN = TrainingConfig(noise=0, wander=0, scale=0, shift=0)
TRAINING = TrainingConfig(
    num_epochs=6, batch_size=32, noise=0.1, scale=0.1, shift=1, wander=0.1, flip=0.1
)


def beats(num_records: int, seed: int):
    rng = np.random.default_rng(seed)
    record = np.repeat(np.arange(num_records), rng.integers(3, 30, num_records))
    y = (record % 2).astype(np.float32)
    x = rng.normal(size=(len(record), 1, 12)).astype(np.float32)
    x[:, 0, 3:6] += 1.5 * (2 * y[:, None] - 1)
    return x, y, record


def run(folder, network=NETWORK, training=TRAINING, **kwargs):
    return train(network, training, *beats(40, 0), *beats(20, 1), folder, **kwargs)


def digest(variables) -> dict[str, bytes]:
    return {name: leaf.tobytes() for name, leaf in flatten(variables).items()}


def test_training_learns_and_reports(tmp_path):
    figures = []
    variables = run(tmp_path, progress=lambda step, f: figures.append((step, f)))
    x, y, _ = beats(30, 2)
    assert auc(margins(NETWORK, variables, x), y > 0.5) > 0.9
    steps = len(epoch_rows(beats(40, 0)[2], TRAINING, 0))
    assert [step for step, _ in figures] == [steps * (i + 1) for i in range(6)]
    assert {"epoch", "loss", "beat_auc", "record_auc", "valid_loss", "score"} <= set(
        figures[0][1]
    )
    assert read_history(tmp_path) == [f for _, f in figures]
    assert not list(tmp_path.glob(".*"))


def labelled_by_beat(seed: int):
    """Beats of both labels in every recording, the first of each always normal."""
    x, y, record = beats(20, seed)
    y = (np.arange(len(y)) % 2 == 0).astype(np.float32)
    y[np.unique(record, return_index=True)[1]] = 1
    x[:, 0, 3:6] += 1.5 * (2 * y[:, None] - 1)
    return x, y, record


@pytest.mark.parametrize("monitor", ["beat", "record", "both"])
def test_beats_of_both_labels_select_the_epoch_where_a_recording_has_none(
    monitor, tmp_path
):
    training = replace(TRAINING, monitor=monitor)
    train(NETWORK, training, *labelled_by_beat(0), *labelled_by_beat(1), tmp_path)
    for figures in read_history(tmp_path):
        assert "record_auc" not in figures
        assert figures["score"] == figures["beat_auc"]


@pytest.mark.parametrize("monitor", ["beat", "record", "both"])
def test_recordings_of_one_label_help_to_select_the_epoch(monitor, tmp_path):
    training = replace(TRAINING, monitor=monitor)
    variables = run(tmp_path, training=training)
    history = read_history(tmp_path)
    for figures in history:
        beat, whole = figures["beat_auc"], figures["record_auc"]
        scores = {"beat": beat, "record": whole, "both": (beat + whole) / 2}
        assert figures["score"] == scores[monitor]
    x, _, record = beats(20, 1)
    best = max(history, key=lambda figures: figures["score"])
    _, mean = record_scores(margins(NETWORK, variables, x), record)
    assert best["record_auc"] == pytest.approx(auc(mean, np.arange(20) % 2 > 0.5))


@pytest.mark.parametrize("kind", some_slow(["authors", "resnet"], ["resnet"]))
def test_convolutional_networks_train(kind, tmp_path):
    network = NetworkConfig(
        kind=kind, num_samples=12, channels=(4, 8), kernel=3, widths=(4,), dropout=0.1
    )
    training = replace(TRAINING, num_epochs=1, beats_per_record=4)
    variables = run(tmp_path, network, training)
    again = run(tmp_path / "again", network, training)
    assert digest(variables) == digest(again)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    first = digest(run(tmp_path / "a"))
    assert digest(run(tmp_path / "b")) == first
    assert digest(run(tmp_path / "c", training=replace(TRAINING, seed=1))) != first


def test_a_finished_training_is_not_repeated(tmp_path):
    first = run(tmp_path)
    written = (tmp_path / CHECKPOINT).stat().st_mtime_ns
    seen = []
    assert digest(run(tmp_path, progress=lambda *a: seen.append(a))) == digest(first)
    assert (tmp_path / CHECKPOINT).stat().st_mtime_ns == written
    assert len(seen) == TRAINING.num_epochs


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import test_train, time
from pathlib import Path
def slow(step, figures):
    Path(sys.argv[1], "epoch").write_text(str(figures["epoch"]))
    time.sleep(.3)
test_train.run(sys.argv[1], progress=slow)
"""


def test_kill_and_resume_gives_the_same_bits(tmp_path):
    script = SCRIPT.format(tests=os.path.dirname(__file__))
    environment = os.environ | {"JAX_ENABLE_X64": "1", "JAX_NUM_CPU_DEVICES": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        env=environment,
        stderr=subprocess.PIPE,
    )
    note, start = tmp_path / "epoch", time.monotonic()
    while not (note.exists() and note.read_text() >= "2"):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() - start < 120
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    done = len(read_history(tmp_path))
    assert 2 <= done < TRAINING.num_epochs
    seen = []
    resumed = run(tmp_path, progress=lambda step, figures: seen.append(figures))
    whole = run(tmp_path / "whole")
    assert digest(resumed) == digest(whole)
    assert seen == read_history(tmp_path / "whole")


def test_checkpoint_of_another_training_is_refused(tmp_path):
    run(tmp_path, training=replace(TRAINING, num_epochs=1))
    with pytest.raises(RunError) as caught:
        run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/checkpoint.safetensors belongs to a training with another "
        "configuration or other data: delete it, or train into another folder"
    )


def test_damaged_checkpoint_is_named(tmp_path):
    run(tmp_path, training=replace(TRAINING, num_epochs=1))
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError) as caught:
        run(tmp_path, training=replace(TRAINING, num_epochs=1))
    assert str(caught.value).startswith(f"{path} is no readable safetensors file (")


def test_training_stops_early(tmp_path):
    training = replace(TRAINING, num_epochs=200, patience=3, learning_rate=0.01)
    run(tmp_path, training=training)
    history = read_history(tmp_path)
    scores = [figures["score"] for figures in history]
    assert len(history) == scores.index(max(scores)) + 1 + 3 + 1 < 200


def test_divergence_is_an_error(tmp_path):
    training = replace(TRAINING, learning_rate=1e30, clip=1e30)
    with pytest.raises(NonFiniteError, match=r"training diverged: the loss of epoch 1"):
        run(tmp_path, NetworkConfig(num_samples=12, widths=(8, 4)), training)


@pytest.mark.usefixtures("unchecked")
def test_arrays_that_disagree(tmp_path):
    x, y, record = beats(4, 0)
    with pytest.raises(DataError) as caught:
        train(NETWORK, TRAINING, x[..., :9], y, record, x, y, record, tmp_path)
    assert str(caught.value) == (
        "the training arrays disagree with each other or with the network:\n"
        f"  windows:    ({len(x)}, 1, 9), the network takes [beat, 1, 12]\n"
        f"  labels:     ({len(x)},)\n"
        f"  recordings: ({len(x)},)"
    )


def test_no_beats_and_one_class(tmp_path):
    x, y, record = beats(4, 0)
    empty = x[:0], y[:0], record[:0]
    with pytest.raises(DataError) as caught:
        train(NETWORK, TRAINING, *empty, x, y, record, tmp_path)
    assert str(caught.value) == "there are no training beats: use more recordings"
    with pytest.raises(DataError) as caught:
        train(NETWORK, TRAINING, x, y, record, x, 0 * y, record, tmp_path)
    assert str(caught.value) == (
        "the validation beats are of one class only, so no epoch can be chosen: use "
        "more recordings, or another split"
    )


def test_an_epoch_draws_each_beat_once():
    record = beats(40, 0)[2]
    rows = epoch_rows(record, TRAINING, 3)
    assert rows.shape[1] == 32 and len(np.unique(rows)) == rows.size
    assert (rows == epoch_rows(record, TRAINING, 3)).all()
    assert (rows != epoch_rows(record, TRAINING, 4)).any()


def test_an_epoch_draws_some_beats_of_every_recording():
    record = np.random.default_rng(0).permutation(beats(50, 0)[2])
    training = TrainingConfig(batch_size=1, beats_per_record=5)
    rows = epoch_rows(record, training, 0).ravel()
    have = np.bincount(record[rows], minlength=50)
    assert (have == np.minimum(np.bincount(record), 5)).all()
    assert len(np.unique(rows)) == len(rows)


def test_a_small_epoch_is_filled_up():
    assert epoch_rows(np.arange(3), TrainingConfig(batch_size=8), 0).shape == (1, 8)


def test_every_recording_weighs_the_same():
    record = beats(50, 0)[2]
    for drawn in (0, 5):
        training = TrainingConfig(beats_per_record=drawn)
        weight = beat_weights(record, training)
        taken = np.minimum(np.bincount(record), drawn or 999)
        whole = np.bincount(record, weight) / np.bincount(record) * taken
        np.testing.assert_allclose(whole, whole[0], rtol=1e-5)
        np.testing.assert_allclose(whole.sum() / taken.sum(), 1, rtol=1e-5)
    assert (beat_weights(record, TrainingConfig(weighting="beat")) == 1).all()


def test_augmentation_does_what_it_says():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(500, 2, 12)), jnp.float32)
    key = jax.random.key(0)
    assert (augment(x, key, PLAIN) == x).all()
    flipped = augment(x, key, replace(PLAIN, flip=0.5))
    signs = np.asarray(flipped / x)
    assert set(np.unique(signs)) == {-1.0, 1.0} and abs(signs.mean()) < 0.2
    assert (signs == signs[:, :1, :1]).all()
    shifted = augment(x, key, replace(PLAIN, shift=2))
    found = {
        s for s in range(-2, 3) for i in range(500)
        if (shifted[i, :, 2:-2] == x[i, :, 2 + s : 10 + s]).all()
    }  # fmt: skip
    assert found == {-2, -1, 0, 1, 2}
    gain = np.log(np.asarray(augment(x, key, replace(PLAIN, scale=0.2)) / x))
    assert abs(gain[:, 0, 0].std() - 0.2) < 0.03
    noise = augment(x, key, replace(PLAIN, noise=0.3)) - x
    assert abs(float(noise.std()) - 0.3) < 0.01
    drift = np.asarray(augment(x, key, replace(PLAIN, wander=0.3)) - x)
    assert np.abs(np.diff(drift, n=3)).max() < 1e-4 and drift.std() > 0.2


@pytest.mark.parametrize(
    "name, value, wrong",
    [
        ("num_epochs", -3, "no whole number from 1 up"),
        ("batch_size", 0, "no whole number from 1 up"),
        ("num_epochs", 2.5, "no whole number from 1 up"),
        ("patience", -1, "no whole number from 0 up"),
        ("beats_per_record", -1, "no whole number from 0 up"),
        ("shift", -1, "no whole number from 0 up"),
        ("shift", True, "no whole number from 0 up"),
        ("seed", -1, "no whole number from 0 to 4294967295"),
        ("seed", 2**32, "no whole number from 0 to 4294967295"),
        ("learning_rate", 0.0, "not above 0"),
        ("clip", 0.0, "not above 0"),
        *(
            (name, value, "not finite, 0 or more")
            for name in (
                "learning_rate",
                "weight_decay",
                "clip",
                "noise",
                "wander",
                "scale",
            )
            for value in (-0.5, float("nan"), float("inf"), "0.1")
        ),
        *(
            (name, value, "not from 0 to 1")
            for name in ("warmup", "average", "label_smoothing", "flip")
            for value in (-0.5, 1.5, float("nan"))
        ),
        ("weighting", "beats", "none of record, beat"),
        ("monitor", "loss", "none of beat, record, both"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_options_that_no_training_has(name, value, wrong):
    with pytest.raises(TrainingError) as error:
        TrainingConfig(**{name: value})
    assert str(error.value) == (
        f"no network can be trained so:\n  {name}: {value!r} is {wrong}"
    )


def test_all_wrong_options_are_named_at_once():
    with pytest.raises(TrainingError) as error:
        TrainingConfig(num_epochs=0, flip=2)
    assert str(error.value) == (
        "no network can be trained so:\n"
        "  num_epochs: 0 is no whole number from 1 up\n"
        "  flip: 2 is not from 0 to 1"
    )
