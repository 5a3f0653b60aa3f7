"""Train the networks of config.json on CinC 2017 and measure them.

    python experiments/networks/run.py --data-dir DIR --cache DIR [--rows a,b]
        [--heldout] [--windows] [--baselines]

Everything is chosen on the validation recordings; `--heldout` measures the chosen rows
on the held-out ones. A row that is finished in `results/` is not trained again, one
that was killed goes on from its checkpoint. Networks are saved under the cache, in
`networks/ROW/model`.
"""

import argparse
import csv
import itertools
import json
import platform
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np

from ecg_jax.ecg.beats import BeatConfig, Beats, extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.models import margins
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network, save_network
from ecg_jax.networks.train import CHECKPOINT, read_history, train
from ecg_jax.statistics.baselines import fit_logistic, majority, rr_irregularity
from ecg_jax.statistics.quality import measure

HERE = Path(__file__).parent
WIDE = BeatConfig(before_s=2.5, after_s=2.5)
WINDOWS = ((0.25, 0.4), (0.4, 0.6), (0.5, 0.75), (0.75, 0.75), (1.0, 1.0))


def figures(margin: np.ndarray, beats: Beats, rows: np.ndarray, resamples: int) -> dict:
    """AUC and accuracy by beat and by recording, for both ways to average."""
    normal, record = beats.is_normal[rows], beats.record[rows]
    whole = beats.records.label == "N"
    out = measure(margin, normal, record, whole, num_resamples=resamples).to_json()
    other = measure(
        margin, normal, record, whole, mean="probability", num_resamples=resamples
    )
    out["record_auc_of_mean_probability"] = asdict(other.record_auc)
    for name in ("roc_beats", "roc_records"):
        del out[name]
    return out


def train_row(name: str, row: dict, beats: Beats, work: Path) -> tuple:
    """The variables of a row and what it cost."""
    network = replace(
        from_json(NetworkConfig, row.get("network", {})),
        num_leads=beats.millivolts.shape[1],
        num_samples=beats.millivolts.shape[2],
    )
    training = from_json(TrainingConfig, row.get("training", {}))
    arrays = []
    for split in ("train", "validation"):
        rows = beats.rows(split)
        labels = beats.is_normal[rows].astype(np.float32)
        arrays += [beats.inputs(rows), labels, beats.record[rows]]
    start = time.perf_counter()

    def say(step: int, figures: dict[str, float]) -> None:
        print(
            f"{name} epoch {figures['epoch']:.0f} loss {figures['loss']:.4f} "
            f"AUC {figures['beat_auc']:.4f} {figures.get('record_auc', np.nan):.4f} "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )

    variables = train(network, training, *arrays, work, say)
    return network, training, variables, time.perf_counter() - start


def measure_row(name: str, row: dict, folder, args) -> dict:
    """Train a row and measure it."""
    config = from_json(BeatConfig, row.get("beats", {}))
    beats = extract_beats(folder, config, cache_dir=args.cache)
    finished = (args.cache / "networks" / name / CHECKPOINT).exists()
    network, training, variables, seconds = train_row(
        name, row, beats, args.cache / "networks" / name
    )
    card = ModelCard(title=name, data="challenge-2017", input=asdict(config))
    save_network(
        args.cache / "networks" / name / "model",
        Network(network, variables, card),
        replace=True,
    )
    history = read_history(args.cache / "networks" / name)
    before = HERE / f"results/{name}.json"
    if finished and before.exists():  # nothing was trained now
        seconds = json.loads(before.read_text())["training_s"]
    best = max(range(len(history)), key=lambda i: history[i]["score"])
    out = {
        "row": name,
        "beats": asdict(config),
        "network": asdict(network),
        "training": asdict(training),
        "num_weights": sum(a.size for a in jax.tree.leaves(variables["params"])),
        "epochs": len(history),
        "best_epoch": best + 1,
        "training_s": round(seconds, 1),
        "hardware": f"{platform.processor() or platform.machine()}, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": {p: version(p) for p in ("ecg_jax", "jax", "flax", "optax")},
    }
    splits = {"validation": 0, "heldout": 1000} if args.heldout else {"validation": 0}
    for split, resamples in splits.items():
        rows = beats.rows(split)
        margin = margins(network, variables, beats.inputs(rows))
        out[split] = figures(margin, beats, rows, resamples)
    return out


def folds(beats: Beats, num: int) -> list[np.ndarray]:
    """Splits for cross-validation without the held-out recordings.

    The first validates on the validation recordings, the others on a part of the
    training recordings each, stratified by label; the parts are as large.
    """
    split, out = beats.records.split, [beats.records.split]
    parts = np.full(len(split), -1)
    for label in np.unique(beats.records.label):
        rows = np.flatnonzero((split == "train") & (beats.records.label == label))
        order = np.random.Generator(np.random.Philox(key=[17, 0])).permutation(rows)
        parts[order] = np.arange(len(order)) % (num - 1)
    for part in range(num - 1):
        fold = np.where(split == "heldout", "heldout", "train")
        out.append(np.where(parts == part, "validation", fold))
    return out


def sweep_windows(folder, args) -> None:
    """One MLP on windows of several widths, cut from the same wide ones; 4 folds."""
    beats = extract_beats(folder, WIDE, cache_dir=args.cache)
    row = json.loads((HERE / "config.json").read_text())["windows"]
    with (HERE / "results/windows.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["before_s", "after_s", "fold", "beat_auc", "record_auc"])
        for (before, after), (fold, split) in itertools.product(
            WINDOWS, enumerate(folds(beats, 4))
        ):
            config = replace(WIDE, before_s=before, after_s=after)
            start = WIDE.num_before - config.num_before
            crop = slice(start, start + config.num_samples)
            part = replace(
                beats,
                config=config,
                millivolts=beats.millivolts[..., crop],
                records=replace(beats.records, split=split),
            )
            name = f"window-{before}-{after}-{fold}"
            work = args.cache / "networks" / name
            network, _, variables, _ = train_row(name, row, part, work)
            rows = part.rows("validation")
            margin = margins(network, variables, part.inputs(rows))
            found = figures(margin, part, rows, 0)
            auc = (found["beat_auc"]["value"], found["record_auc"]["value"])
            table.writerow([before, after, fold, *(f"{value:.4f}" for value in auc)])
            file.flush()


def measure_baselines(folder, args) -> dict:
    """Answers without a network: the prior, a linear one, the rhythm."""
    row = json.loads((HERE / "config.json").read_text())["rows"]["default"]
    config = from_json(BeatConfig, row["beats"])
    beats = extract_beats(folder, config, cache_dir=args.cache)
    known, asked = beats.rows("train"), beats.rows("heldout")
    x, y = beats.inputs(known)[:, 0], beats.is_normal[known].astype(float)
    w, b = fit_logistic(x, y, ridge=100.0)
    rhythm = rr_irregularity(beats.rr_before_s, beats.rr_after_s, beats.record)
    v, c = fit_logistic(rhythm[known, None], y)
    answers = {
        "majority": majority(y > 0, len(asked)),
        "logistic regression on the beat": beats.inputs(asked)[:, 0] @ w + b,
        "RR irregularity": rhythm[asked] * v[0] + c,
    }
    return {name: figures(m, beats, asked, 1000) for name, m in answers.items()}


def main() -> None:
    """Read the arguments and do what they ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", default="")
    parser.add_argument("--heldout", action="store_true")
    parser.add_argument("--windows", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    args = parser.parse_args()
    folder = open_dataset("challenge-2017", args.data_dir)
    rows = json.loads((HERE / "config.json").read_text())["rows"]
    results = HERE / "results"
    for name in filter(None, args.rows.split(",")):
        found = measure_row(name, rows[name], folder, args)
        (results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    if args.windows:
        sweep_windows(folder, args)
    if args.baselines:
        found = measure_baselines(folder, args)
        (results / "baselines.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
