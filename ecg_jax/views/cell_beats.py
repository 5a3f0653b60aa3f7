"""A few beats of a component: near its composite and far from it, sure and unsure."""

import numpy as np
from jaxtyping import Float, Int

from ecg_jax import pages as report
from ecg_jax.cells.sketch import Sketch
from ecg_jax.views.partition import Partition
from ecg_jax.views.what_changes import WhatChanges

EACH = 3
"""Beats of each kind."""


def cell_beats(
    part: Partition, changed: WhatChanges, node: int, sketch: Sketch | None
) -> list[report.CellBeat]:
    """At most twelve beats that a component answers for, each with its nearest flip.

    They are of the beats that were drawn to be walked along every change, so that what
    would flip them is known.

    Args:
      part: the decisions.
      changed: the beats that were drawn, with their ranges where there are any.
      node: the component.
      sketch: its composite, which distances are taken from; None: it has no beats.

    Returns:
      Those nearest to the composite, in the middle of the order of distances, farthest,
      and of the least margin; a beat that is of two kinds is given once.
    """
    drawn = np.flatnonzero(np.any(changed.path == node, axis=1))
    if sketch is None or not len(drawn):
        return []
    beats, decision, nodes = part.beats, part.decision, part.tree.nodes
    rows = changed.rows[drawn]
    waves = beats.upright(rows)
    away = np.sqrt(np.mean((waves - sketch.median) ** 2, axis=(1, 2)))
    out = []
    for at, kind in _chosen(away, np.abs(decision.value[rows])).items():
        row, prover = rows[at], decision.prover[rows[at]]
        time = float(beats.r_time_s[row])
        name = str(beats.records.name[beats.record[row]]) if beats.is_recorded else ""
        flip = None
        if changed.ranges is not None:
            first = changed.ranges.nearest(drawn[at], 1)
            flip = first[0]["words"] if first else ""
        out.append(
            report.CellBeat(
                kind=kind,
                millivolts=waves[at],
                distance_mv=float(away[at]),
                margin=float(decision.value[row]),
                cell=nodes[decision.cell[row]].name,
                prover=nodes[prover].name if prover >= 0 else "",
                record=name,
                r_time_s=time if np.isfinite(time) else None,
                label=str(beats.label[row]),
                flip=flip,
            )
        )
    return out


def _chosen(
    away: Float[np.ndarray, " beat"], size: Float[np.ndarray, " beat"]
) -> dict[int, str]:
    """Which beats to show, and why, by their distances and the sizes of margins."""
    order: Int[np.ndarray, " beat"] = np.argsort(away, kind="stable")
    start = max(0, (len(order) - EACH) // 2)
    kinds = {
        "nearest": order[:EACH],
        "middling": order[start : start + EACH],
        "farthest": order[::-1][:EACH],
        "least sure": np.argsort(size, kind="stable")[:EACH],
    }
    chosen: dict[int, str] = {}
    for kind, picks in kinds.items():
        for at in picks.tolist():
            chosen.setdefault(at, kind)
    return chosen
