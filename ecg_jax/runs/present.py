"""From an evaluation to what the report shows: facts, components, figures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax import draw, report
from ecg_jax.circuit import to_text
from ecg_jax.decide import pattern_hashes
from ecg_jax.ecg.beats import Beats, missed_words
from ecg_jax.maxmin import Gate
from ecg_jax.partition import inputs_of, proven_by_each
from ecg_jax.program import Equation, Refused
from ecg_jax.runs.evaluation import Evaluation
from ecg_jax.runs.weighing import to_json, weigh_all
from ecg_jax.same import same_functions
from ecg_jax.shares import percent, share
from ecg_jax.sketch import (
    LABEL_ORDER,
    UNLABELLED,
    Sketch,
    composite,
    describe,
    phrase,
    usual_rr,
)
from ecg_jax.statistics.baselines import fit_logistic, majority, rr_irregularity
from ecg_jax.statistics.quality import disagreements
from ecg_jax.statistics.scores import auc, record_scores
from ecg_jax.tree import Node
from ecg_jax.weighs import words

NUM_DISAGREEMENTS = 6
NUM_TRAINING = 20_000  # training beats that a component's coverage is told of
NUM_NULLS = 10
"""Random hyperplanes that an evaluation holds the cells against."""


def sketch_of(beats: Beats, margin: np.ndarray, rows: np.ndarray) -> Sketch | None:
    """The composite ECG of some beats, inverted recordings turned upright."""
    if not len(rows):
        return None
    records = beats.records
    turned = beats.config.polarity == "correct"
    return composite(
        beats.millivolts[rows],
        records.name[beats.record[rows]],
        np.where(beats.label[rows] == "", "?", beats.label[rows]),
        margin[rows],
        sample_rate_hz=beats.config.sample_rate_hz,
        before_s=beats.config.before_s,
        rr_before_s=beats.rr_before_s[rows],
        rr_after_s=beats.rr_after_s[rows],
        rr_usual_s=usual_rr(beats.record, beats.rr_before_s, rows),
        polarity=records.polarity[beats.record[rows]] if turned else None,
        quality=records.bsqi[beats.record[rows]],
    )


def components(found: Evaluation) -> list[report.Component]:
    """The root and every component, with the beats they answer for and its weights."""
    part, rows = found.part, found.rows
    answers = part.decision.normal[rows]
    count = {"normal": int(answers.sum()), "not normal": int((~answers).sum())}
    train = part.beats.rows("train")
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(train, min(len(train), NUM_TRAINING), replace=False))
    with jax.enable_x64(True):
        proven = proven_by_each(part, rows)
        known_before = proven_by_each(part, some)
        same = same_functions(part.tree)
        hashes = pattern_hashes(part.tree.eq, inputs_of(part.tree, part.beats, rows))
    unseen = np.zeros(len(part.beats), bool)
    unseen[rows] = ~np.isin(hashes, part.tree.seen)
    width = part.decision.upper - part.decision.lower
    inside = {0: rows, **{i: own for i, (own, _) in proven.items()}}
    margin = part.decision.value
    sketches = {i: sketch_of(part.beats, margin, own) for i, own in inside.items()}
    weighed = weigh_all(part.tree, part.beats, inside, sketches)
    fitted = part.beats.inputs(train).reshape(len(train), -1)
    out = []
    for node in part.tree.nodes:
        sketch, weighing = sketches[node.id], weighed.get(node.id)
        known: dict[str, Any] = {"parent": None, "side": None}
        if node.id:
            own, by_itself = proven[node.id]
            known = _known(part.beats, node, count[node.side], proven[node.id], fitted)
            known["same_as"] = [part.tree.nodes[i].name for i in same[node.id]]
            known["notes"] |= {
                "of its cell proven by itself, training beats": _mean(
                    known_before[node.id][1], share
                ),
                "the same, beats shown": _mean(by_itself, share),
                "mean width of the sandwich": _mean(width[own], "{:.3g}".format),
                "patterns not seen in training": _mean(unseen[own], share),
            }
        if sketch is not None:
            part_of = known.get("share_answers")
            known["sentence"] = describe(sketch, share=part_of, answer=known["side"])
            known["phrase"] = phrase(sketch)
            if part_of is not None:
                known["phrase"] += f", {percent(part_of)} of {node.side} answers"
        if weighing is not None:
            known["weighs"] = words(weighing)
        shown = {"id": node.id, "name": node.name, "sketch": sketch}
        out.append(report.Component(**shown, weighing=weighing, **known))
    return out


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
    prototype, record = _prototype(beats, node, fitted)
    return {
        "parent": node.parent,
        "side": node.side,
        "share_answers": len(inside) / max(num_answers, 1),
        "share_proven": float(by_itself.mean()) if len(inside) else None,
        "share_frozen": node.share_frozen,
        "prototype": prototype,
        "prototype_record": record,
        "proves": True,
        "notes": {"levels of gates frozen": node.depth, "training beats": node.count},
    }


def _prototype(
    beats: Beats, node: Node, fitted: np.ndarray
) -> tuple[np.ndarray | None, str | None]:
    """The prototype in mV, upright, and its recording, if it is a training beat."""
    if not len(fitted):
        return None, None
    away = np.abs(fitted - np.ravel(node.anchor).astype(np.float32)).max(axis=1)
    row = beats.rows("train")[np.argmin(away)]
    if away.min() > 1e-6:
        return None, None
    record = beats.record[row]
    turn = beats.records.polarity[record] if beats.config.polarity == "correct" else 1
    return beats.millivolts[row, 0] * turn, str(beats.records.name[record])


def data_facts(beats: Beats, title: str, citation: str) -> report.DataFacts:
    """What is known of the recordings."""
    records, config = beats.records, beats.config
    sides = [str(s) for s in ("train", "validation", "heldout")]
    split = records.split[beats.record]
    what = beats.labelled
    whole = what == "recordings"
    label, of = (records.label, records.split) if whole else (beats.label, split)
    return report.DataFacts(
        title=title,
        citation=citation,
        num_recordings=len(records),
        num_beats=len(beats),
        labels={
            s: _counted(label[of == s]) for s in sides if np.any(records.split == s)
        },
        labelled=what,
        beats={s: int(np.sum(split == s)) for s in sides if np.any(split == s)},
        duration_s=records.duration_s,
        bsqi=records.bsqi[np.isfinite(records.bsqi)],
        rate_bpm=records.rate_bpm[np.isfinite(records.rate_bpm)],
        polarity={
            "upright": int(np.sum(records.polarity > 0)),
            "inverted": int(np.sum(records.polarity < 0)),
        },
        excluded=beats.excluded,
        missed=missed_words(beats),
        window=(
            f"R - {config.before_s * 1000:.0f} ms to R + "
            f"{config.after_s * 1000:.0f} ms "
            f"at {config.sample_rate_hz:g} Hz, {config.low_hz:g} to {config.high_hz:g} "
            f"Hz, amplitude normalised by {config.normalise}, polarity "
            f"{'turned upright' if config.polarity == 'correct' else 'kept'}"
        ),
    )


def _counted(labels: np.ndarray) -> dict[str, int]:
    """How often each label occurs, in the order of `LABEL_ORDER`."""
    counts = Counter(np.where(labels == "", UNLABELLED, labels).tolist())
    order = [*LABEL_ORDER, *sorted(counts)]
    return {k: counts[k] for k in dict.fromkeys(order) if k in counts}


def network_facts(found: Evaluation) -> list[report.NetworkFacts]:
    """How good the network is on the measured recordings; none without labels."""
    if found.quality is None:
        return []
    beats, rows = found.part.beats, found.rows
    margin = found.part.decision.value[rows]
    what = beats.labelled
    if what == "recordings":
        ids, margin = record_scores(margin, beats.record[rows])
        label = beats.records.label[ids]
    else:
        label = beats.label[rows]
    normal = {True: _counted(label[margin >= 0]), False: _counted(label[margin < 0])}
    facts = report.network_facts(
        found.quality,
        found.network.kind,
        description=found.network.card.title,
        labelled=what,
        answers_by_label={
            name: {
                "normal": normal[True].get(name, 0),
                "not normal": normal[False].get(name, 0),
            }
            for name in _counted(label)
        },
        baselines=_baselines(beats, rows),
        disagreements=_disagreements(found) if what == "recordings" else (),
    )
    return [facts]


def _baselines(beats: Beats, rows: np.ndarray) -> list[dict[str, Any]]:
    """What trivial methods score on the same beats."""
    train = beats.rows("train")
    normal = beats.is_normal
    if not len(train) or normal[train].all() or not normal[train].any():
        return []
    some = train[:: max(1, len(train) // 50_000)]
    weights, offset = fit_logistic(beats.inputs(some), normal[some], num_steps=10)
    inputs = beats.inputs(rows).reshape(len(rows), -1)
    scores = {
        "majority": majority(normal[train], len(rows)),
        "logistic regression on the beat": inputs @ weights + offset,
        "RR irregularity (not in the beat)": rr_irregularity(
            beats.rr_before_s[rows], beats.rr_after_s[rows], beats.record[rows]
        ),
    }
    out = []
    for name, score in scores.items():
        ids, mean = record_scores(score, beats.record[rows])
        mean = mean.round(12)  # means of equal scores are equal
        whole = beats.records.label[ids] == "N"
        row = {
            "baseline": name,
            "AUC by beat": auc(score, normal[rows]),
            "accuracy by beat": float(np.mean((score >= 0) == normal[rows])),
        }
        if whole.any() and not whole.all():
            row["AUC by recording"] = auc(mean, whole)
        out.append(row)
    return out


def _disagreements(found: Evaluation) -> list[report.Disagreement]:
    part, rows = found.part, found.rows
    beats, decision = part.beats, part.decision
    worst = disagreements(
        decision.value[rows],
        beats.is_normal[rows],
        beats.record[rows],
        NUM_DISAGREEMENTS,
    )
    out = []
    for entry in worst:
        own = rows[beats.record[rows] == entry.record]
        row = own[np.argmin(np.abs(decision.value[own] - entry.score))]
        prover = decision.prover[row]
        turned = beats.config.polarity == "correct"
        turn = beats.records.polarity[entry.record] if turned else 1
        out.append(
            report.Disagreement(
                record=str(beats.records.name[entry.record]),
                label=str(beats.records.label[entry.record]),
                answer="normal" if entry.score >= 0 else "not normal",
                margin=entry.score,
                beat=beats.millivolts[row, 0] * turn,
                time_s=beats.config.time_s,
                note=f"{entry.num_beats} beats, {share(entry.share_agreeing, 0)} agree "
                "with the label",
                component=part.tree.nodes[prover].name if prover >= 0 else None,
            )
        )
    return out


def report_data(
    found: Evaluation,
    shown: Sequence[report.Component],
    metrics: Mapping[str, Any],
    config: Mapping[str, Any],
    title: str,
    citation: str,
    command: str,
) -> report.ReportData:
    """Everything on the page."""
    tree = found.part.tree
    with jax.enable_x64(True):
        sides = [np.asarray(side) for side in tree.eq.sides]
    return report.ReportData(
        title=f"{found.network.card.title}",
        data=data_facts(found.part.beats, title, citation),
        networks=network_facts(found),
        components=shown,
        equation=report.EquationFacts(
            opened=[
                f"level {level + 1}: "
                + ", ".join(
                    f"{eqn.role.name} at {eqn.source}"
                    if isinstance(eqn.role, Gate)
                    else str(eqn.source)
                    for eqn, at in zip(
                        tree.descent.gates, tree.descent.level, strict=True
                    )
                    if at == level
                )
                for level in range(tree.descent.num_levels)
            ]
            + [_told(end) for end in (tree.descent.end,) if end is not None],
            num_units=sum(side.size for side in sides),
            num_max_units=int(sum((side > 0).sum() for side in sides)),
            num_min_units=int(sum((side < 0).sum() for side in sides)),
            num_patterns=len(tree.seen),
            text=_text(found, shown),
            metric=tree.metric,
            localize=tree.localize,
        ),
        metrics=metrics,
        config=config,
        coverage=[
            {
                "side": row.side,
                "num_components": row.num_components,
                "num_distinct": row.num_distinct,
                "share_frozen": row.share_frozen,
                "proven": row.proven,
                "proven_any": row.proven_any,
                "proven_all": row.proven_all,
                "one_everywhere": row.one_everywhere,
                "shuffled": row.shuffled,
            }
            for row in found.coverage
        ],
        certificate={**asdict(found.certificate), "holds": found.certificate.holds},
        purity=[_purity_row(row) for row in found.purity],
        timing=metrics.get("timing", {}),
        versions=metrics.get("versions", {}),
        command=command,
    )


def _told(end: Equation) -> str:
    """Where the levels end, in words, if an operation without a rule ends them."""
    why = f": {end.role.why}" if isinstance(end.role, Refused) else ""
    return f"not opened: {end.primitive} at {end.source}{why}"


def _text(found: Evaluation, shown: Sequence[report.Component]) -> str:
    """The equation in words: who is in each cell, and what each component weighs."""
    decision = found.part.decision
    measured = {f.name: getattr(decision, f.name)[found.rows] for f in fields(decision)}
    sentences = {
        c.name: [f"Its cell: {c.sentence}", f"It weighs: {c.weighs}"]
        for c in shown
        if c.sentence and c.weighs
    }
    phrases = {c.name: c.phrase for c in shown if c.phrase}
    measured_on = replace(decision, **measured)
    with jax.enable_x64(True):
        return to_text(found.part.tree, phrases, measured_on, sentences)


def _purity_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """All gains from the same point, the cells one level up."""
    measured = row["correlation"]
    above = measured["value"] - measured["gain"]
    return {
        "depth": row["depth"],
        "num_cells": row["cells"],
        "purity": row["variance_explained"]["value"],
        "gain": measured["gain"],
        "gain_hyperplanes": measured["null_hyperplanes"] - above,
        "gain_kmeans": measured["kmeans"] - above,
        "score": measured["score"],
        "p": measured["p_hyperplanes"],
        "num_nulls": NUM_NULLS,
    }


def component_json(component: report.Component) -> dict[str, Any]:
    """What is kept of a component to explain recordings with, without its beats."""
    prototype, weighing = component.prototype, component.weighing
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
        "prototype": None if prototype is None else [float(v) for v in prototype],
        "prototype_record": component.prototype_record,
        "notes": dict(component.notes),
        "weighing": None if weighing is None else to_json(weighing),
    }


def component_of(values: Mapping[str, Any]) -> report.Component:
    """The inverse of `component_json`, without sketch and weights as arrays."""
    kept = {key: value for key, value in values.items() if key != "weighing"}
    if kept["prototype"] is not None:
        kept["prototype"] = np.array(kept["prototype"])
    return report.Component(**kept, sketch=None)


def write_figures(shown: Sequence[report.Component], folder: Path) -> None:
    """Of every component its cell and what it weighs, as a file of its own."""
    folder.mkdir(exist_ok=True)
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
