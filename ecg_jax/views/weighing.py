"""What components weigh: their templates on the beats of their cells."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ecg_jax.cells import weighing as weighs
from ecg_jax.cells.sketch import Sketch
from ecg_jax.ecg.beats import Beats
from ecg_jax.tree.atoms import templates
from ecg_jax.tree.tree import Tree
from ecg_jax.views.partition import arithmetic, inputs_of

NUM_BEATS = 255
"""With the prototype they are one block."""


def weigh_all(
    tree: Tree,
    beats: Beats,
    inside: Mapping[int, Int[np.ndarray, " row"]],
    sketches: Mapping[int, Sketch | None],
) -> dict[int, weighs.Weighing]:
    """What every node with beats weighs, the root among them.

    Args:
        tree: the equation.
        beats: of all recordings.
        inside: the beats of each node's cell.
        sketches: their composites.

    Returns:
        By node.
    """
    every = beats.reference
    every = every if len(every) else np.arange(len(beats))
    scale = weighs.Scale.of(beats.windows(every), beats.unit)
    window = beats.millivolts.shape[1:]
    data, some = {}, {}
    for i, rows in inside.items():
        if not len(rows):
            continue
        drawn = np.random.default_rng(i).permutation(rows)[:NUM_BEATS]
        some[i] = np.sort(drawn)
        data[i] = inputs_of(tree, beats, some[i])
        if i:  # the prototype goes along, in the same block
            anchor = np.asarray(tree.nodes[i].anchor, data[i].dtype)
            data[i] = np.concatenate([data[i], anchor.reshape(1, *data[i].shape[1:])])
    with arithmetic(tree):
        found = templates(tree, data)
    out = {}
    for i, (template, value) in found.items():
        sketch, num = sketches[i], len(some[i])
        if sketch is None:
            continue
        template = template.reshape(-1, *window)
        out[i] = weighs.weigh(
            template[:num],
            value[:num],
            data[i][:num].reshape(-1, *window),
            sketch,
            scale,
            unit_mv=unit_mv(beats, some[i]).tolist(),
            prototype=template[num] if i else None,
        )
    return out


def unit_mv(beats: Beats, rows: Int[np.ndarray, " row"]) -> Float[np.ndarray, " lead"]:
    """How many mV one unit of the input is, median over some beats, lead by lead."""
    millivolts = beats.millivolts[rows].std(axis=-1)
    units = beats.windows(rows).std(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = millivolts / units
    known = [own[np.isfinite(own) & (own > 0)] for own in ratio.T]
    return np.array([np.median(own) if len(own) else 1.0 for own in known], float)


def to_json(weighing: weighs.Weighing) -> dict[str, Any]:
    """A weighing as plain values, for whoever reads `components.json`."""
    return {
        "unit": weighing.unit,
        "unit_mv": list(weighing.units_mv)
        if len(weighing.leads) > 1
        else weighing.units_mv[0],
        "leads": list(weighing.leads),
        "time_s": weighing.time_s.tolist(),
        "template": weighing.template.tolist(),
        "spread": weighing.spread.tolist(),
        "offset": weighing.offset,
        "level": weighing.level,
        "num_beats": weighing.num_beats,
        "num_templates": weighing.num_templates,
        "told": weighing.told,
        "likeness": weighing.likeness,
        "by_lead": list(weighing.by_lead),
        "parts": [
            {
                **{k: v for k, v in asdict(part).items() if k != "segment"},
                **asdict(part.segment),
            }
            for part in weighing.parts
        ],
    }
