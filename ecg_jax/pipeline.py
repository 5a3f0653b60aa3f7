"""The main job: recordings to beats, network, equation, partition, report.

Each stage leaves its result in the run folder and is skipped when the result is there,
so a run that was killed goes on with `resume` and ends with the same files.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from ecg_jax.arrays import write_atomic
from ecg_jax.cover import CoverConfig
from ecg_jax.ecg.beats import BeatConfig, Beats, extract_beats
from ecg_jax.ecg.datasets import cache_home, open_dataset
from ecg_jax.errors import DataError, RunError, RunExistsError
from ecg_jax.evaluation import Evaluation, evaluate
from ecg_jax.grow import grow
from ecg_jax.models import NetworkConfig
from ecg_jax.partition import write_parquet
from ecg_jax.sampling import TrainingConfig
from ecg_jax.saved import MANIFEST as MODEL_MANIFEST
from ecg_jax.saved import ModelCard, Network, load_network, save_network
from ecg_jax.store import load
from ecg_jax.train import train
from ecg_jax.tree import Tree

FORMAT = "ecg_jax.run/1"
PACKAGES = ("ecg_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "sleepecg")
Say = Callable[[str], None]


@dataclass(frozen=True)
class TreeConfig:
    """How the equation is grown.

    Attributes:
      depth: how many levels of gates a component may freeze.
      budget: components (leaves) on each side.
      min_count: a cell with fewer training beats is not split.
      metric: what distances between beats are taken of.
    """

    depth: int = 2
    budget: int = 8
    min_count: int = 200
    metric: Literal["shape", "euclidean"] = "shape"


# Chosen on validation recordings of CinC 2017: see experiments/networks.
BEATS = BeatConfig(before_s=0.75, after_s=0.75)
NETWORK = NetworkConfig(widths=(512, 128, 16), dropout=0.4)
TRAINING = TrainingConfig(num_epochs=22, noise=0.1, wander=0.1, scale=0.1, shift=1)
TREE, COVER = TreeConfig(), CoverConfig()


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the result of a run.

    Attributes:
      data: "synthetic", "challenge-2017", "mitdb", or a folder in WFDB layout.
      data_dir: where the recordings of a named data set are.
      beats: how beats are cut out.
      network: the network's shape; leads and samples follow from the beats.
      training: how it is trained.
      tree: how its equation is grown.
      cover: how the components of the first level are chosen.
    """

    data: str = "synthetic"
    data_dir: Path | None = None
    beats: BeatConfig = BEATS
    network: NetworkConfig = NETWORK
    training: TrainingConfig = TRAINING
    tree: TreeConfig = TREE
    cover: CoverConfig = COVER

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `data_dir` is left out, it is no part of the result."""
        values = plain(asdict(self))
        del values["data_dir"]
        return {"format": FORMAT, **values}


class Run:
    """A run folder, and the stages that fill it."""

    def __init__(self, folder: Path, config: RunConfig, say: Say):
        self.folder, self.config, self.say = folder, config, say

    def beats(self) -> Beats:
        """Stage 1: recordings cut into beats, from the cache where they are there."""
        folder = open_dataset(self.config.data, self.config.data_dir)
        self.say(f"data: {folder.title}")
        found = self._timed(
            "beats",
            lambda: extract_beats(
                folder, self.config.beats, cache_dir=cache_home() / "beats"
            ),
        )
        self.say(
            f"beats: {len(found):,} of {len(found.records):,} recordings, "
            f"{len(found.excluded)} left out"
        )
        return found

    def network(self, beats: Beats) -> Network:
        """Stage 2: a trained network."""
        folder = self.folder / "model"
        if (folder / MODEL_MANIFEST).exists():
            return load_network(folder)
        shape = beats.millivolts.shape
        config = replace(self.config.network, num_leads=shape[1], num_samples=shape[2])
        rows = {
            split: beats.rows(split)[beats.is_labelled[beats.rows(split)]]
            for split in ("train", "validation")
        }
        for split, index in rows.items():
            normal = beats.is_normal[index]
            if not len(index) or normal.all() or not normal.any():
                raise DataError(
                    f"the {split} recordings hold {len(index)} labelled beats, "
                    f"{int(normal.sum())} of them normal: a network needs both "
                    "classes.\n  try: more recordings, or another data set"
                )
        variables = self._timed(
            "train",
            lambda: train(
                config,
                self.config.training,
                beats.inputs(rows["train"]),
                beats.is_normal[rows["train"]].astype(np.float32),
                beats.record[rows["train"]],
                beats.inputs(rows["validation"]),
                beats.is_normal[rows["validation"]].astype(np.float32),
                beats.record[rows["validation"]],
                self.folder / "model",
                self._epoch,
            ),
        )
        sides = beats.records.split
        card = ModelCard(
            title=f"{config.kind} on {self.config.data}",
            data=self.config.data,
            split=", ".join(f"{int(np.sum(sides == s))} {s}" for s in np.unique(sides)),
            input=asdict(self.config.beats),
            training=asdict(self.config.training),
            versions=versions(),
        )
        save_network(folder, Network(config, variables, card), replace=True)
        return load_network(folder)

    def tree(self, network: Network, beats: Beats) -> Tree:
        """Stage 3: the equation, grown on all training beats, in float64."""
        folder = self.folder / "equation"
        if folder.exists():
            with jax.enable_x64(True):
                return load(folder)
        inputs = beats.inputs(beats.rows("train"))
        options = self.config.tree
        with jax.enable_x64(True):
            exact = network.cast(np.float64).margin
            tree = self._timed(
                "factor",
                lambda: grow(
                    exact,
                    inputs.astype(np.float64),
                    depth=options.depth,
                    budget=options.budget,
                    min_count=options.min_count,
                    metric=options.metric,
                    cover=self.config.cover,
                ),
            )
            tree.save(folder)
        self.say(f"equation: {len(tree.nodes) - 1} components")
        return tree

    def evaluation(self, network: Network, tree: Tree, beats: Beats) -> Evaluation:
        """Stage 4: exactness on every beat, figures on held-out recordings."""
        found = self._timed("evaluate", lambda: evaluate(network, tree, beats))
        write_parquet(found.part.columns(), self.folder / "partition.parquet")
        return found

    def report(self, found: Evaluation) -> None:
        """Stage 5: metrics, figures, and the page."""
        from ecg_jax import present
        from ecg_jax.report import write_report

        source = open_dataset(self.config.data, self.config.data_dir)
        shown = self._timed("sketches", lambda: present.components(found))
        self._timed(
            "figures", lambda: present.write_figures(shown, self.folder / "figures")
        )
        kept = [present.component_json(component) for component in shown]
        write_json(self.folder / "components.json", kept)
        metrics = {
            **found.metrics(),
            "timing": self.timing(),
            "versions": versions(),
        }
        page = present.report_data(
            found,
            shown,
            plain(metrics),
            self.config.to_json(),
            source.title,
            source.citation,
            f"ecg-jax run --data {self.config.data} --out {self.folder.name}",
        )
        write_report(page, self.folder / "report.html")
        write_json(self.folder / "metrics.json", metrics)

    def timing(self) -> dict[str, float]:
        """Seconds of every stage, those of interrupted runs included."""
        path = self.folder / "timing.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else {}

    def _timed(self, stage: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        timing = self.timing()
        timing[stage] = timing.get(stage, 0.0) + time.perf_counter() - start
        write_json(self.folder / "timing.json", timing)
        self.say(f"{stage}: {timing[stage]:.1f} s")
        return result

    def _epoch(self, step: int, figures: dict[str, float]) -> None:
        del step
        self.say(
            f"  epoch {figures['epoch']:.0f}: loss {figures['loss']:.4f}, validation "
            f"AUC {figures['beat_auc']:.4f} by beat, {figures['record_auc']:.4f} by "
            "recording"
        )


def run(
    config: RunConfig, out: Path, *, resume: bool = False, say: Say = print
) -> dict[str, Any]:
    """The main job, from recordings to the report.

    Args:
      config: everything that decides the result.
      out: the run folder; made if it is not there.
      resume: go on with a run that was interrupted, skipping finished stages.
      say: told of progress, a line at a time.

    Returns:
      The contents of `metrics.json`.

    Raises:
      RunExistsError: the folder holds a run and `resume` is not set.
      RunError: the run to resume has another configuration.
      EcgJaxError: of any stage.
    """
    begin(config, out, resume)
    if resume and (out / "metrics.json").exists():
        say(f"{out} is complete")
        return json.loads((out / "metrics.json").read_text("utf-8"))
    job = Run(out, config, say)
    beats = job.beats()
    network = job.network(beats)
    tree = job.tree(network, beats)
    job.report(job.evaluation(network, tree, beats))
    say(f"report: {out / 'report.html'}")
    return json.loads((out / "metrics.json").read_text("utf-8"))


def begin(config: RunConfig, out: Path, resume: bool) -> None:
    """Makes a run folder, or checks that an old one is this run's."""
    path = out / "config.json"
    if path.exists() and not resume:
        raise RunExistsError(
            f"{out} holds a run already.\n  try: another --out, or --resume to go on"
        )
    if out.exists() and not path.exists() and any(out.iterdir()):
        raise RunExistsError(
            f"{out} is not empty and holds no run.\n  try: another --out"
        )
    if path.exists():
        before = json.loads(path.read_text("utf-8"))
        differ = sorted(k for k, v in config.to_json().items() if before.get(k) != v)
        if differ:
            raise RunError(
                f"{out} was started with another configuration of "
                f"{', '.join(differ)}.\n  try: the options it was started with, or "
                "another --out"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, config.to_json())


def versions() -> dict[str, str]:
    """Versions of the packages that decide the result, and the hardware."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {**found, "device": f"{len(jax.devices())} x {device.device_kind}"}


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically."""
    write_atomic(path, json.dumps(plain(value), indent=2, allow_nan=False).encode())


def plain(value: Any) -> Any:
    """A value as JSON has it; a number that is not finite becomes null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | None) else str(value)


def evaluate_run(folder: Path, data: str, data_dir: Path | None) -> dict[str, Any]:
    """A saved run on other recordings: all of them count as unseen.

    Args:
      folder: the run.
      data: as for `run`.
      data_dir: where the recordings of a named data set are.

    Returns:
      The metrics, with the keys of `metrics.json`.

    Raises:
      RunError: the run is not complete.
    """
    from ecg_jax.explain import load_run

    start = time.perf_counter()
    network, tree, config = load_run(folder)
    source = open_dataset(data, data_dir)
    sides = dict.fromkeys(source.names, "heldout")
    beats = extract_beats(
        source, config, cache_dir=cache_home() / "beats", splits=sides
    )
    found = evaluate(network, tree, beats, None, with_purity=False)
    return {
        **found.metrics(),
        "timing": {"evaluate": time.perf_counter() - start},
        "versions": versions(),
    }
