"""Do ranges depend on what the network has learnt? Random weights, shuffled labels.

python experiments/what_changes/sanity.py RUN --data-dir DIR [--beats N] [--draws N]
    [--against random shuffled seed] [--out FILE]

The same held-out beats are walked under the network of the run; under copies whose
weights are drawn anew layer by layer, from the output down; under a network trained on
labels dealt to other recordings, as it is and moved by a constant so that it answers as
many beats "normal"; and under one trained as the run's was, from another seed, the most
that can be asked for.

Source: Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim, Sanity checks for saliency
maps, 2018.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.stats import spearmanr
from shared import nearest_flip, trained

import ecg_jax as ej
from ecg_jax.ecg.beats import Beats
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.models import init_variables
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import load_run
from ecg_jax.runs.source import source_of
from ecg_jax.storage.files import write_json
from ecg_jax.storage.versions import versions
from ecg_jax.views.ranges import Ranges

FEWEST_FLIPS = 10
"""Of a change that flips fewer answers of both networks no correlation is told."""


def main() -> None:
    args = parsed()
    jax.config.update("jax_enable_x64", True)
    network, _, cut = load_run(args.run)
    config = read_json(args.run / "config.json")
    beats = source_of(config["data"], args.data_dir).beats(cut)
    training = from_json(TrainingConfig, config["training"])
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(beats.rows("heldout"))[: args.beats])
    moves = ej.changes(beats.take(rows))
    own, margin = of_network(exact(network), moves)
    found = {"own": told(own, margin), "against": {}}
    for name, other in others(network, beats, training, args):
        with_ranges, its_margin = of_network(other, moves)
        found["against"][name] = {
            **told(with_ranges, its_margin),
            "same answers": float(np.mean((margin >= 0) == (its_margin >= 0))),
            "changes": compared(own, with_ranges),
        }
        print(f"{time.process_time():.0f} CPU s: {name}", flush=True)
    amplitude = moves.beats.inputs().reshape(len(rows), -1).std(axis=1)
    found["amplitude"] = by_number(own, amplitude)
    found["margin"] = by_number(own, np.abs(margin))
    found |= {"beats": len(rows), "versions": versions()}
    write_json(args.out, found)
    print(json.dumps(found, indent=1, default=float))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--beats", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1)
    kinds = ("random", "shuffled", "seed")
    parser.add_argument("--against", nargs="+", choices=kinds, default=kinds)
    default = Path(__file__).parent / "results" / "sanity.json"
    parser.add_argument("--out", type=Path, default=default)
    return parser.parse_args()


def exact(network: Network) -> Callable[[Any], Any]:
    """The margin in float64."""
    return network.cast(np.float64).margin


def others(
    network: Network, beats: Beats, training: TrainingConfig, args: argparse.Namespace
) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What the network is held against: names and margins."""
    for draw in range(args.draws if "random" in args.against else 0):
        fresh = init_variables(network.config, jax.random.key(1000 + draw))
        layers = list(fresh["params"])[::-1]
        params = dict(network.variables["params"])
        for at, layer in enumerate(layers):
            params[layer] = fresh["params"][layer]
            variables = {**network.variables, "params": dict(params)}
            last = "all layers" if at == len(layers) - 1 else f"down to {layer}"
            other = replace(network, variables=variables)
            yield f"random {last}, draw {draw}", exact(other)
    with tempfile.TemporaryDirectory() as folder:
        path, config = Path(folder), network.config
        if "shuffled" in args.against:
            other = trained(beats, config, training, path / "shuffled", shuffle=0)
            yield "shuffled labels", exact(other)
            asked = beats.inputs(beats.rows("validation"))
            normal = np.mean(network.margins(asked) >= 0)
            middle = float(np.quantile(other.margins(asked), 1 - normal))
            fn = exact(other)
            yield "shuffled labels, as many normal", lambda x: fn(x) - middle
        if "seed" in args.against:
            options = replace(training, seed=training.seed + 1)
            yield "another seed", exact(trained(beats, config, options, path / "seed"))


def of_network(
    fn: Callable[[Any], Any], moves: ej.Changes
) -> tuple[Ranges, np.ndarray]:
    """The ranges of a network, and its margins."""
    found = ej.ranges(fn, moves.beats, moves)
    inputs = moves.beats.inputs().astype(np.float64)
    return found, np.asarray(jax.jit(jax.vmap(fn))(inputs))


def told(found: Ranges, margin: np.ndarray) -> dict:
    """Answers and flips of a network."""
    return {
        "answered normal": float(np.mean(margin >= 0)),
        "flips": {
            name: float(np.mean(flips_of(found, at)[known_of(found, at)]))
            for at, name in enumerate(found.names)
            if known_of(found, at).any()
        },
    }


def known_of(found: Ranges, at: int) -> np.ndarray:
    return ~np.isnan(found.low[:, at]) & ~np.isnan(found.high[:, at])


def flips_of(found: Ranges, at: int) -> np.ndarray:
    """Which beats flip, downwards and upwards."""
    return np.isfinite(np.stack([found.low[:, at], found.high[:, at]], 1))


def compared(one: Ranges, two: Ranges) -> dict:
    """How alike the ranges of two networks are, by change.

    The rank correlation of how far the nearer flip is (the limit, where there is none),
    and the flips in common as a share of those of either; beside it the share if both
    flipped as many, independently.
    """
    out = {}
    near = [nearest_flip(found, found.limits) for found in (one, two)]
    for at, name in enumerate(one.names):
        known = known_of(one, at) & known_of(two, at)
        if not known.any():
            continue
        first, second = flips_of(one, at)[known], flips_of(two, at)[known]
        p, q = first.mean(), second.mean()
        either = np.sum(first | second)
        enough = min(first.sum(), second.sum()) >= FEWEST_FLIPS
        pair = [values[known, at] for values in near]
        out[name] = {
            "correlation": float(spearmanr(*pair).statistic) if enough else None,
            "common flips": float(np.sum(first & second) / either) if either else None,
            "by chance": float(p * q / (p + q - p * q)) if p + q > 0 else None,
        }
    return out


def by_number(found: Ranges, number: np.ndarray) -> dict:
    """Rank correlation of the ranges of each change with one number of a beat."""
    near = nearest_flip(found, found.limits)
    out = {}
    for at, name in enumerate(found.names):
        known = known_of(found, at)
        if np.sum(flips_of(found, at)[known]) >= FEWEST_FLIPS:
            rank = spearmanr(near[known, at], number[known])
            out[name] = float(rank.statistic)
    return out


if __name__ == "__main__":
    main()
