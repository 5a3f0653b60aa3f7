"""Components that answer mostly for noise: found, taken out, and what that is worth.

    python experiments/editing/run.py MODEL [--data-dir DIR] [--out FILE]

MODEL is a saved network on challenge-2017. The tree is grown, and the components are
found, on training recordings; the figures are of held-out recordings.
"""

import argparse
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import ecg_jax as ej
from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.networks.saved import load_network
from ecg_jax.runs.config import beat_config
from ecg_jax.statistics.quality import measure
from ecg_jax.storage.cache import cache_home
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions

HERE = Path(__file__).parent
TIMES = 2.5  # a component is noisy if its cell holds so many times the usual share
CONTROLS = 20  # random choices of as many components of the same side


def figures(margin, beats, rows):
    """Quality by beat and by recording."""
    found = measure(
        margin,
        beats.is_normal[rows],
        beats.record[rows],
        beats.records.label == "N",
        num_resamples=1000,
    ).to_json()
    names = ("beat_accuracy", "beat_auc", "record_accuracy", "record_auc")
    return {name: found[name] for name in names if name in found}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--budget", type=int, default=72)
    parser.add_argument("--out", type=Path, default=HERE / "results/results.json")
    args = parser.parse_args()
    network = load_network(args.model)
    beats = extract_beats(
        open_dataset("challenge-2017", args.data_dir),
        beat_config(network.card),
        cache_dir=cache_home() / "beats",
    )
    noisy = (beats.records.label == "~")[beats.record]
    known, asked = beats.rows("train"), beats.rows("heldout")
    with jax.enable_x64(True):
        train = beats.inputs(known).astype(np.float64)
        held = beats.inputs(asked).astype(np.float64)
        fn = network.cast(np.float64).margin
        tree = ej.grow(
            fn,
            train,
            depth=1,
            budget=args.budget,
            metric="shape",
            records=beats.record[known],
        )
        cell, mine = ej.decide(tree, train).cell, ej.decide(tree, held).cell
        usual = noisy[known].mean()
        table, found = [], []
        for node in tree.nodes[1:]:
            inside, there = cell == node.id, mine == node.id
            share = noisy[known][inside].mean() if inside.any() else 0.0
            if node.sign > 0 and share > TIMES * usual and inside.sum() >= 50:
                found.append(node.name)
                table.append(
                    {
                        "component": node.name,
                        "training_beats": int(inside.sum()),
                        "training_noise": float(share),
                        "heldout_beats": int(there.sum()),
                        "heldout_noise": float(noisy[asked][there].mean()),
                        "heldout_labelled_normal": float(
                            beats.is_normal[asked][there].mean()
                        ),
                    }
                )
        record = beats.record[asked]

        def edited(names):
            model = ej.replace(tree, names, lambda x: jnp.float64(-1.0))
            return model.changes(held, record)

        out = {
            "usual_noise": float(usual),
            "components": table,
            "network": figures(ej.decide(tree, held).value, beats, asked),
        }
        if found:
            changes = edited(found)
            out["answered_not_normal"] = figures(changes.after, beats, asked)
            left_out = ej.without(tree, *found).changes(held, record)
            for name, result in (("replaced", changes), ("left_out", left_out)):
                right = (result.after >= 0) == beats.is_normal[asked]
                out[f"{name}_changes"] = {
                    "beats": int(result.changed.sum()),
                    "recordings": len(result.records),
                    "right_after": float(right[result.changed].mean())
                    if result.changed.any()
                    else None,
                }
            ids = [n.id for n in tree.nodes if n.name in found]
            inside = np.isin(mine, ids)
            right = (changes.before >= 0) == beats.is_normal[asked]
            out["set_aside"] = {
                "share_of_beats": float(inside.mean()),
                "accuracy_inside": float(right[inside].mean()),
                "accuracy_outside": float(right[~inside].mean()),
            }
            rng, accuracy = np.random.default_rng(0), []
            witnesses = [n.name for n in tree.nodes if n.sign > 0]
            value = ej.decide(tree, held).value
            for _ in range(CONTROLS):
                names = rng.choice(witnesses, len(found), replace=False)
                ids = [n.id for n in tree.nodes if n.name in set(names)]
                after = np.where(np.isin(mine, ids), -1.0, value)
                accuracy.append(float(((after >= 0) == beats.is_normal[asked]).mean()))
            out["control_beat_accuracy"] = {
                "mean": float(np.mean(accuracy)),
                "largest": max(accuracy),
            }
    print(json.dumps(out, indent=1))
    write_json(args.out, {**out, "versions": versions()})


if __name__ == "__main__":
    main()
