"""The components: the beats they answer for, as shown and as kept."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ecg_jax import draw
from ecg_jax import pages as report
from ecg_jax.cells.captions import describe, phrase
from ecg_jax.cells.sketch import Sketch, composite, usual_rr
from ecg_jax.cells.weighing_words import words
from ecg_jax.ecg.beats import Beats
from ecg_jax.percent import percent, share
from ecg_jax.tree.certificate import pattern_hashes
from ecg_jax.tree.duplicates import same_functions
from ecg_jax.tree.tree import Node
from ecg_jax.views.cell_beats import cell_beats
from ecg_jax.views.composites import Composite
from ecg_jax.views.evaluation import Evaluation
from ecg_jax.views.partition import arithmetic, inputs_of, proven_by_each
from ecg_jax.views.weighing import to_json, weigh_all
from ecg_jax.views.what_changes import WhatChanges

NAME = re.compile(r"[PQ]\d+(\.\d+)*")
NUM_TRAINING = 20_000  # training beats that a component's coverage is told of


def sketch_of(beats: Beats, margin: np.ndarray, rows: np.ndarray) -> Sketch | None:
    """The composite ECG of some beats; inverted ones of a single lead turned over."""
    if not len(rows):
        return None
    records = beats.records
    return composite(
        beats.millivolts[rows],
        records.name[beats.record[rows]] if beats.is_recorded else None,
        np.where(beats.label[rows] == "", "?", beats.label[rows]),
        margin[rows],
        sample_rate_hz=beats.config.sample_rate_hz,
        before_s=beats.config.before_s,
        rr_before_s=beats.rr_before_s[rows],
        rr_after_s=beats.rr_after_s[rows],
        rr_usual_s=usual_rr(beats.record, beats.rr_before_s, rows),
        polarity=beats.turn[beats.record[rows]],
        quality=records.bsqi[beats.record[rows]],
        leads=beats.lead_names,
    )


def components(
    found: Evaluation,
    changed: WhatChanges | None = None,
    asked: Mapping[int, Composite] = MappingProxyType({}),
) -> list[report.Component]:
    """The root and every component, with the beats they answer for and its weights."""
    part, rows = found.part, found.rows
    answers = part.decision.normal[rows]
    count = {"normal": int(answers.sum()), "not normal": int((~answers).sum())}
    tree, beats = part.tree, part.beats
    train = beats.reference
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(train, min(len(train), NUM_TRAINING), replace=False))
    with arithmetic(tree):
        proven = proven_by_each(part, rows)
        known_before = proven_by_each(part, some) if beats.is_split else {}
        same = same_functions(tree)
        hashes = pattern_hashes(tree.eq, inputs_of(tree, beats, rows))
    unseen = np.zeros(len(beats), bool)
    unseen[rows] = ~np.isin(hashes, tree.seen)
    width = part.decision.upper - part.decision.lower
    inside = {0: rows, **{i: own for i, (own, _) in proven.items()}}
    margin = part.decision.value
    sketches = {i: sketch_of(beats, margin, own) for i, own in inside.items()}
    weighed = weigh_all(tree, beats, inside, sketches)
    fitted = beats.windows(train)
    out = []
    for node in tree.nodes:
        sketch, weighing = sketches[node.id], weighed.get(node.id)
        known: dict[str, Any] = {"parent": None, "side": None}
        if node.id:
            own, by_itself = proven[node.id]
            known = _known(beats, node, count[node.side], proven[node.id], fitted)
            known["same_as"] = [tree.nodes[i].name for i in same[node.id]]
            before = known_before.get(node.id)
            known["notes"] |= {
                "of its cell proven by itself, training beats": before
                and _mean(before[1], share),
                "of its cell proven by itself, beats shown": _mean(by_itself, share),
                "mean width of the sandwich": _mean(width[own], "{:.3g}".format),
                "patterns that did not occur in growing": _mean(unseen[own], share),
            }
            known["notes"] = {k: v for k, v in known["notes"].items() if v is not None}
        if sketch is not None:
            part_of = known.get("share_answers")
            if known.get("prototype") is not None:
                known["notes"]["correlation of prototype and median"] = _alike(
                    known["prototype"], sketch
                )
            known["sentence"] = describe(sketch, share=part_of, answer=known["side"])
            known["phrase"] = phrase(sketch)
            if part_of is not None:
                known["phrase"] += f", {percent(part_of)} of {node.side} answers"
        if weighing is not None:
            known["weighs"] = words(weighing)
        if node.id in asked:
            known["composites"] = asked[node.id].words()
            known["is_shown_proven"] = asked[node.id].shown_proven
            known["median_answer"] = asked[node.id].answers["median"]
            sketch = _shown(sketch, beats, asked[node.id].medoid)
        if changed is not None and node.id:
            known["reach"] = changed.of_node(node.id)
            known["beats"] = cell_beats(part, changed, node.id, sketch)
        shown = {"id": node.id, "name": node.name, "sketch": sketch}
        shown["leads"] = beats.lead_names
        out.append(report.Component(**shown, weighing=weighing, **known))
    return out


def _shown(sketch: Sketch | None, beats: Beats, row: int | None) -> Sketch | None:
    """The sketch with its medoid in place of a median that is answered otherwise."""
    if sketch is None or row is None:
        return sketch
    beat = beats.upright(np.array([row]))[0]
    return replace(sketch, median=np.asarray(beat, sketch.median.dtype))


def _alike(prototype: np.ndarray, sketch: Sketch) -> str:
    """Over all leads, each less its mean."""
    both = [wave - wave.mean(-1, keepdims=True) for wave in (prototype, sketch.median)]
    one, other = (wave.ravel() for wave in both)
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return f"{one @ other / size:.2f}" if size else "-"


def _mean(values: np.ndarray, told: Callable[[float], str]) -> str:
    """A mean in words; nothing of no values, or where a side has no components."""
    known = len(values) and np.all(np.isfinite(values))
    return told(float(np.mean(values))) if known else "-"


def _known(
    beats: Beats,
    node: Node,
    num_answers: int,
    proven: tuple[np.ndarray, np.ndarray],
    fitted: np.ndarray,
) -> dict[str, Any]:
    """What is known of a component, of all answers of its side."""
    inside, by_itself = proven
    prototype, record = prototype_of(beats, node, fitted)
    return {
        "parent": node.parent,
        "side": node.side,
        "share_answers": len(inside) / max(num_answers, 1),
        "share_proven": float(by_itself.mean()) if len(inside) else None,
        "share_frozen": node.share_frozen,
        "prototype": prototype,
        "prototype_record": record,
        "notes": {"levels of gates frozen": node.depth, "beats in growing": node.count},
    }


def prototype_of(
    beats: Beats, node: Node, fitted: np.ndarray
) -> tuple[np.ndarray | None, str | None]:
    """The prototype in mV as shown, all its leads, and its recording, if known.

    Args:
      beats: the beats.
      node: a component.
      fitted: `beats.windows(beats.reference)`.

    Returns:
      The prototype, None if it is unknown in mV (of beats that were given, the anchor
      is one in mV itself); and the name of its recording.
    """
    window = beats.millivolts.shape[1:]
    anchor = np.asarray(node.anchor, np.float32).reshape(window)
    own = None if beats.given is None else anchor
    if not len(fitted):
        return own, None
    away = np.abs(fitted - anchor).max(axis=(1, 2))
    if away.min() > 1e-6:
        return own, None
    row = beats.reference[[np.argmin(away)]]
    name = str(beats.records.name[beats.record[row[0]]]) if beats.is_recorded else None
    return beats.upright(row)[0], name


def component_json(component: report.Component) -> dict[str, Any]:
    """What is kept of a component to explain recordings with, without its beats."""
    weighing, sketch = component.weighing, component.sketch
    return {
        "id": component.id,
        "parent": component.parent,
        "name": component.name,
        "side": component.side,
        "phrase": component.phrase,
        "sentence": component.sentence,
        "weighs": component.weighs,
        "share_answers": component.share_answers,
        "share_proven": component.share_proven,
        "share_frozen": component.share_frozen,
        "same_as": list(component.same_as),
        "leads": list(component.leads),
        "prototype": by_lead(component.prototype),
        "prototype_record": component.prototype_record,
        "composite": None if sketch is None else by_lead(sketch.median),
        "composites": component.composites,
        "is_shown_proven": component.is_shown_proven,
        "median_answer": component.median_answer,
        "notes": dict(component.notes),
        "reach": [asdict(one) for one in component.reach],
        "weighing": None if weighing is None else to_json(weighing),
    }


def by_lead(waves: np.ndarray | None) -> list[Any] | None:
    """Waves as plain values: of a single lead a list, of several one for each."""
    if waves is None:
        return None
    return np.asarray(waves, float).tolist() if len(waves) > 1 else waves[0].tolist()


def component_of(values: Mapping[str, Any]) -> report.Component:
    """The inverse of `component_json`, without sketch and weights as arrays."""
    left = ("weighing", "reach", "composite")
    kept = {key: value for key, value in values.items() if key not in left}
    kept["leads"] = tuple(kept.get("leads", ("",)))
    if kept["prototype"] is not None:
        kept["prototype"] = np.atleast_2d(np.array(kept["prototype"]))
    return report.Component(**kept, sketch=None)


def write_figures(shown: Sequence[report.Component], folder: Path) -> None:
    """Of every component its cell and what it weighs, as a file of its own.

    Files of components that are no more, in a report that is replaced, go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {component.name for component in shown}
    for path in folder.glob("*.svg"):
        if path.stem not in names and NAME.fullmatch(path.stem):
            path.unlink()
    for component in shown:
        if component.sketch is not None and component.weighing is not None:
            figure = draw.weights(
                component.sketch,
                component.weighing,
                side=component.side,
                prototype=component.prototype,
                prototype_record=component.prototype_record,
                title=component.name,
            )
            draw.save(figure, folder / f"{component.name}.svg")
