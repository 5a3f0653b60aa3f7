"""A tiny data set and a finished run, made once for all tests that need them."""

import atexit
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ecg_files import write_mat

from ecg_jax import cli
from ecg_jax.ecg.beats import BeatConfig, extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.ecg.synth import SyntheticFolder
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.runs.config import RunConfig, TreeConfig
from ecg_jax.runs.pipeline import run
from ecg_jax.runs.saved_evaluation import load_evaluation
from ecg_jax.runs.saved_run import load_run
from ecg_jax.storage.cache import cache_home
from ecg_jax.tree.cover import CoverConfig
from ecg_jax.views.evaluation import Evaluation

MIXTURE = ("normal",) * 4 + ("pvc", "lbbb", "inverted_t", "af")


def config(data: Path) -> RunConfig:
    """The configuration of the shared run: nothing of it is left to a default."""
    return RunConfig(
        data=str(data),
        beats=BeatConfig(second_opinion=False),
        network=NetworkConfig(widths=(16, 8)),
        training=TrainingConfig(num_epochs=3, batch_size=64, learning_rate=0.02),
        tree=TreeConfig(depth=2, budget=2, min_count=20),
        cover=CoverConfig(candidates=16, members=32),
    )


def write_recordings(
    root: Path, num: int = 30, *, seed: int = 0, labels: str | None = None
) -> Path:
    """Synthetic recordings of 10 s as a folder in the layout of CinC 2017.

    Args:
      root: the folder to make.
      num: how many.
      seed: of the recordings.
      labels: for all of them instead of their own; "" writes no labels.
    """
    source = SyntheticFolder(
        seed=seed, num_recordings=num, duration_s=10.0, mixture=MIXTURE
    )
    rows = []
    for name in source.names:
        recording = source.read(name)
        write_mat(root / "training", name, recording.signal[0])
        rows.append(f"{name},{recording.label if labels is None else labels}\n")
    names = "".join(f"{name}\n" for name in source.names)
    (root / "training" / "RECORDS").write_text(names)
    if labels != "":
        (root / "REFERENCE-v3.csv").write_text("".join(rows))
    return root


@dataclass(frozen=True)
class Tiny:
    """A finished run and its recordings."""

    data: Path
    run: Path


@cache
def tiny() -> Tiny:
    """The run that the tests share; they must not change it."""
    root = Path(tempfile.mkdtemp(prefix="ecg_jax-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    data = write_recordings(root / "data")
    spoiled = data / "training" / "S00003.mat"
    spoiled.write_bytes(spoiled.read_bytes()[:500])
    run(config(data), root / "run", say=lambda line: None)
    return Tiny(data, root / "run")


_loaded = cache(load_run)


@cache
def evaluated() -> Evaluation:
    """What the shared run found."""
    _, tree, beats = _loaded(tiny().run)
    source = open_dataset(tiny().data)
    cut = extract_beats(source, beats, cache_dir=cache_home() / "beats")
    return load_evaluation(tiny().run, tree, cut)


@pytest.fixture
def loaded(monkeypatch):
    """The shared run is loaded once: what is compiled for its tree serves all tests."""

    def load(folder: Path) -> Any:
        return (_loaded if folder == tiny().run else load_run)(folder)

    for module in ("explain", "saved_run"):
        monkeypatch.setattr(f"ecg_jax.runs.{module}.load_run", load)


def copy_of_run(to: Path) -> Path:
    """A copy of the shared run that a test may change."""
    return Path(shutil.copytree(tiny().run, to))


def command(*words: object) -> tuple[int, str, str]:
    """Runs a command line: exit status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main([str(word) for word in words])
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    return status, out.getvalue(), err.getvalue()


@contextmanager
def held_by(code: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs code, from when it says "held" until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()
