"""Train the default network on each data set and write a release folder of them.

    python experiments/networks/release.py --data-dir DIR --out FOLDER
        [--names challenge-2017,mitdb] [--runs DIR]

`DIR` holds the recordings, in `challenge-2017/` and `mitdb/`. Each network lands in
`FOLDER/NAME`: weights, manifest with SHA-256, model card, and a held-out beat with its
margin, by which the network is checked whenever it is loaded. The runs that the
networks are of stay in `--runs`; one that was killed goes on, one that is complete is
not done again.
"""

import argparse
import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np

from ecg_jax.ecg.beats import Beats
from ecg_jax.ecg.fetch import SOURCES
from ecg_jax.networks.saved import Network, load_network, save_network
from ecg_jax.progress import Display
from ecg_jax.runs.config import RunConfig
from ecg_jax.runs.pipeline import run
from ecg_jax.views.report_data import baselines

NAMES = ("challenge-2017", "mitdb")
FIGURES = {
    "accuracy by beat": "beat_accuracy",
    "AUC by beat": "beat_auc",
    "AUC by recording": "record_auc",
}


def figures(metrics: dict, trivial: list[dict]) -> list[dict]:
    """The held-out figures of a run, with intervals, beside trivial baselines.

    Those of RR intervals are a rank without a threshold: they have no accuracy.
    """
    model, rows = metrics["model"], []
    for words, key in FIGURES.items():
        if model.get(key) is None:
            continue
        low, high = model["intervals"][key]
        row = {
            "figure": words,
            "network": model[key],
            "95%": f"{low:.3f} to {high:.3f}",
        }
        others = {b["baseline"]: b.get(words, "") for b in trivial}
        if key == "beat_accuracy":
            others |= {name: "" for name in others if name.startswith("RR")}
        rows.append(row | others)
    return rows


def example(network: Network, beats: Beats) -> Network:
    """The network with the first held-out beat to check it by."""
    row = int(beats.rows("heldout")[0])
    name, time = beats.records.name[beats.record[row]], beats.r_time_s[row]
    return network.exemplified(
        beats.inputs(slice(row, row + 1))[0],
        beats.unit_mv(slice(row, row + 1))[0],
        f"beat of recording {name}, R at {time:.2f} s",
    )


def release(name: str, args: argparse.Namespace) -> Path:
    """Trains, measures and writes the network of a data set."""
    config, folder = RunConfig(data=name, data_dir=args.data_dir), args.runs / name
    with Display() as shown:
        again = (folder / "config.json").exists()
        metrics = run(config, folder, resume=again, say=shown.say, begin=shown.begin)
    beats = config.recordings.beats(config.beats)
    network, rows = load_network(folder), beats.rows("heldout")
    num = len(np.unique(beats.record[rows]))
    card = replace(
        network.card,
        title=f"{network.kind} on {SOURCES[name].title}",
        licence=f"{SOURCES[name].licence} (recordings and the example, not the code)",
        quality={
            "measured on": f"{len(rows):,} beats of {num:,} held-out recordings; "
            "intervals resample recordings",
            "labelled": beats.label_words,
            "figures": figures(metrics, baselines(beats, rows)),
        },
        notes=(f"Leads read: {', '.join(beats.leads) or 'they differ'}",),
        command=f"python experiments/networks/release.py --data-dir DIR --out FOLDER "
        f"--names {name}",
        versions={
            **metrics["versions"],
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        },
    )
    network = example(replace(network, card=card), beats)
    return save_network(args.out / name, network, replace=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--runs", type=Path, default=Path("runs/release"))
    args = parser.parse_args()
    for name in args.names.split(","):
        folder = release(name, args)
        answer = load_network(folder).example.margin  # checked as it is read
        print(f"{folder}: the margin of its example is {answer:.6f}, as it should be")


if __name__ == "__main__":
    main()
