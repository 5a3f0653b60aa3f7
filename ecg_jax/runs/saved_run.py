"""A saved run: loading it, and measuring it on other recordings."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax.ecg.beats import BeatConfig, Beats
from ecg_jax.ecg.classes import parse
from ecg_jax.errors import RunError
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.saved import load_network
from ecg_jax.runs.config import beat_config
from ecg_jax.runs.model import Model, check_windows
from ecg_jax.runs.onnx_model import ONNX, load_onnx
from ecg_jax.runs.run_folder import CONFIG, need_parts, read_json
from ecg_jax.runs.source import source_of
from ecg_jax.storage.table import read_parquet
from ecg_jax.storage.versions import versions
from ecg_jax.tree.store import load
from ecg_jax.tree.tree import Tree
from ecg_jax.views.composites import composites
from ecg_jax.views.evaluation import evaluate
from ecg_jax.views.report import all_metrics
from ecg_jax.views.what_changes import what_changes


def load_run(folder: Path) -> tuple[Model, Tree, BeatConfig]:
    """The network, the equation and how beats are cut for them.

    Of a run on a file of beats, as the model's card says; a model that saw nothing but
    such a file is refused by `check_windows`.

    Raises:
      RunError: a part of the run is missing or cannot be read.
      ModelError, StoreError, ChecksumError: a part is damaged.
    """
    need_parts(folder, CONFIG, "model", "equation")
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict) or "beats" not in config:
        raise RunError(
            f"{folder / CONFIG} is no configuration of a run.\n"
            "  try: the folder that ecg-jax run wrote"
        )
    with jax.enable_x64(True):
        tree = load(folder / "equation")
    network = load_model(folder / "model")
    cut = beat_config(network.card)
    if config["beats"] is not None:
        cut = from_json(BeatConfig, config["beats"])
    return network, tree, cut


def load_model(folder: Path) -> Model:
    """The model of a run: a trained network, or one that came as an ONNX file."""
    if (folder / ONNX).exists():
        return load_onnx(folder)
    return load_network(folder)


def evaluate_run(
    folder: Path, data: str, data_dir: Path | None, labels: str = ""
) -> dict[str, Any]:
    """A saved run on other recordings: all of them count.

    Args:
      folder: the run.
      data: as for `run`.
      data_dir: where the recordings of a named data set are.
      labels: as for `run`. Without classes, those of the run hold for the labels that
        are here too.

    Returns:
      The metrics, with the keys of `metrics.json`. `data.seen_in_training` counts the
      recordings of training and validation: figures hold for unseen ones if it is 0.

    Raises:
      RunError: the run is not complete.
      ModelError: the recordings have another number of leads.
    """
    start = time.perf_counter()
    network, tree, config = load_run(folder)
    beats = source_of(data, data_dir, labels).beats(config, heldout=True)
    if not parse(labels)[0]:
        told, _ = parse(read_json(folder / CONFIG).get("labels", ""))
        here = beats.label_counts
        beats = beats.classed({k: kind for k, kind in told.items() if k in here})
    check_windows(network, beats)
    found = evaluate(network.margin, tree, beats, None)
    metrics = all_metrics(found, what_changes(found), composites(found))
    metrics["data"]["seen_in_training"] = seen_in_training(folder, beats)
    return {
        **metrics,
        "timing": {"evaluate": time.perf_counter() - start},
        "versions": versions(),
    }


def seen_in_training(folder: Path, beats: Beats) -> int | None:
    """How many recordings of training and validation: same name, same R peaks.

    Of beats that were given it is not known.
    """
    path = folder / "partition.parquet"
    if not path.exists() or beats.given is not None:
        return None
    rows = read_parquet(path)
    fitted = rows["split"] != "heldout"
    known = _peaks(rows["record"][fitted], rows["r_time_s"][fitted])
    here = _peaks(beats.records.name[beats.record], beats.r_time_s)
    return sum(known.get(name) == peaks for name, peaks in here.items())


def split_of(folder: Path, beats: Beats) -> str | None:
    """The side of one recording in a run: same name, same R peaks.

    Returns:
        "train", "validation" or "heldout"; None if it is none of the run's recordings,
        or the run does not say.
    """
    path = folder / "partition.parquet"
    if not path.exists():
        return None
    rows = read_parquet(path)
    last = [str(name).rsplit("/", 1)[-1] for name in rows["record"]]
    own = np.array(last) == str(beats.records.name[0])
    if not own.any():
        return None
    record, split = rows["record"][own], rows["split"][own]
    (here,) = _peaks(beats.records.name[beats.record], beats.r_time_s).values()
    for name, peaks in _peaks(record, rows["r_time_s"][own]).items():
        if peaks == here:
            return str(split[record == name][0])
    return None


def _peaks(record: np.ndarray, time_s: np.ndarray) -> dict[str, bytes]:
    """The R peaks of each recording, to a hundredth of a second."""
    order = np.argsort(record.astype(str), kind="stable")
    names, starts = np.unique(record[order].astype(str), return_index=True)
    parts = np.split(np.rint(100 * time_s[order]).astype(np.int64), starts[1:])
    return {str(n): p.tobytes() for n, p in zip(names, parts, strict=True)}
