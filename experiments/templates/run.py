"""Train the networks of templates of config.json on CinC 2017; validation figures.

    python experiments/templates/run.py --data-dir DIR --cache DIR [--rows a,b]

What a row does not say is `NETWORK`, `TRAINING`, `SHARE`. The target of a beat is, to
that share, the logistic of the mean margin of the networks under "teacher", which are
trained first and kept in the cache. A row that is finished in `results/` is not trained
again; networks are saved under the cache, in `templates/ROW`. No held-out beat is read:
see `measure.py`.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from ecg_jax.ecg.beats import BeatConfig, Beats, extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.models import margins
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network, save_network
from ecg_jax.networks.train import read_history, train
from ecg_jax.statistics.scores import auc, probability, record_scores
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions

HERE = Path(__file__).parent
WINDOW = BeatConfig(before_s=0.5, after_s=0.75)
NETWORK = {"kind": "templates", "smoothness": 0.003}
TRAINING = {"learning_rate": 0.004}
SHARE = 0.7
SPLITS = ("train", "validation")


def main() -> None:
    """Train the rows that are asked for and are not finished."""
    args = parsed().parse_args()
    config = json.loads((HERE / "config.json").read_text())
    beats = beats_of(args)
    taught = probability(teacher(config["teacher"], beats, args.cache))
    for name in args.rows.split(",") if args.rows else config["rows"]:
        path = HERE / f"results/{name}.json"
        if not path.exists():
            found = train_row(name, config["rows"][name], beats, taught, args.cache)
            write_json(path, found)
            figures = found["validation"]
            print(name, figures, f"{found['training_s']} s", flush=True)


def parsed() -> argparse.ArgumentParser:
    """The arguments that both scripts take."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rows", default="")
    return parser


def beats_of(args: argparse.Namespace) -> Beats:
    """The beats of the default window."""
    folder = open_dataset("challenge-2017", args.data_dir)
    return extract_beats(folder, WINDOW, cache_dir=args.cache)


def fit(network: dict, training: dict, beats: Beats, folder: Path, target=None) -> dict:
    """Train a network, save it, and say what that gave and cost."""
    shape = beats.millivolts.shape
    shaped = replace(
        from_json(NetworkConfig, network), num_leads=shape[1], num_samples=shape[2]
    )
    how = from_json(TrainingConfig, training)
    arrays = []
    for split in SPLITS:
        rows = beats.rows(split)
        labels = beats.is_normal[rows].astype(np.float32)
        arrays += [beats.inputs(rows), labels, beats.record[rows]]
    if target is not None:
        arrays[1] = target.astype(np.float32)
    start = time.perf_counter()
    variables = train(shaped, how, *arrays, folder)
    seconds = time.perf_counter() - start
    card = ModelCard(title=folder.name, data="challenge-2017", input=asdict(WINDOW))
    save_network(folder / "model", Network(shaped, variables, card), replace=True)
    scores = [epoch["score"] for epoch in read_history(folder)]
    return {
        "network": asdict(shaped),
        "training": asdict(how),
        "best_epoch": int(np.argmax(scores)) + 1,
        "training_s": round(seconds, 1),
        "margins": [margins(shaped, variables, arrays[i]) for i in (0, 3)],
    }


def teacher(members: dict, beats: Beats, cache: Path) -> np.ndarray:
    """Mean margin of the members on training beats; trained where not in the cache."""
    path = cache / "templates" / "teacher.npz"
    found = dict(np.load(path)) if path.exists() else {}
    for name, row in members.items():
        if f"{name}_train" not in found:
            made = fit(
                row["network"],
                row.get("training", {}),
                beats,
                cache / "templates" / name,
            )
            found[f"{name}_train"], found[f"{name}_val"] = made["margins"]
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **found)
    means = [np.mean([found[f"{n}_{s}"] for n in members], 0) for s in ("train", "val")]
    print("teacher", auc_of(means[1], beats, beats.rows("validation")), flush=True)
    return means[0]


def train_row(name: str, row: dict, beats: Beats, taught: np.ndarray, cache) -> dict:
    """Train a row and measure it on the validation recordings."""
    share, rows = row.get("share", SHARE), beats.rows("train")
    made = fit(
        NETWORK | row["network"],
        TRAINING | row.get("training", {}),
        beats,
        cache / "templates" / name,
        share * taught + (1 - share) * beats.is_normal[rows],
    )
    made["share"] = share
    known = made.pop("margins")
    for split, margin in zip(SPLITS, known, strict=True):
        made[split] = auc_of(margin, beats, beats.rows(split))
    return {
        "row": name,
        **made,
        "templates": num_templates(made["network"]),
        "hardware": f"{platform.machine()}, 2 cores shared with other jobs",
        "versions": versions(),
    }


def num_templates(network: dict) -> int:
    """How many affine functions a network of templates consists of."""
    more = network["group"] if network["form"] == "max-min" else 2
    return network["templates"] * more


def auc_of(margin: np.ndarray, beats: Beats, rows: np.ndarray) -> dict[str, float]:
    """AUC by beat, and by recording of the mean margin."""
    which, mean = record_scores(margin, beats.record[rows])
    whole = beats.records.label[which] == "N"
    return {
        "beat": round(float(auc(margin, beats.is_normal[rows])), 4),
        "record": round(float(auc(mean, whole)), 4),
    }


if __name__ == "__main__":
    main()
