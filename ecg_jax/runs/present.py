"""From an evaluation to what the report shows: facts, components, figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax import draw, report
from ecg_jax.circuit import to_text
from ecg_jax.ecg.beats import Beats
from ecg_jax.maxmin import Gate
from ecg_jax.partition import proven_by_each
from ecg_jax.program import Equation, Refused
from ecg_jax.runs.evaluation import Evaluation
from ecg_jax.sketch import Sketch, composite, describe
from ecg_jax.statistics.baselines import fit_logistic, majority, rr_irregularity
from ecg_jax.statistics.quality import disagreements
from ecg_jax.statistics.scores import auc, record_scores
from ecg_jax.tree import Node

NUM_DISAGREEMENTS = 6


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
        polarity=records.polarity[beats.record[rows]] if turned else None,
    )


def components(found: Evaluation) -> list[report.Component]:
    """The root and every component, with the beats they answer for."""
    part, rows = found.part, found.rows
    answers = part.decision.normal[rows]
    count = {"normal": int(answers.sum()), "not normal": int((~answers).sum())}
    with jax.enable_x64(True):
        proven = proven_by_each(part, rows)
    train = part.beats.rows("train")
    fitted = part.beats.inputs(train).reshape(len(train), -1)
    return [
        _component(found, node, count, *proven.get(node.id, (rows, answers)), fitted)
        for node in part.tree.nodes
    ]


def _component(
    found: Evaluation,
    node: Node,
    count: Mapping[str, int],
    inside: np.ndarray,
    proven: np.ndarray,
    fitted: np.ndarray,
) -> report.Component:
    part, beats = found.part, found.part.beats
    margin = part.decision.value
    if not node.id:
        return report.Component(
            0, None, node.name, None, sketch_of(beats, margin, found.rows)
        )
    prototype, record = _prototype(beats, node, fitted)
    return report.Component(
        id=node.id,
        parent=node.parent,
        name=node.name,
        side=node.side,
        sketch=sketch_of(beats, margin, inside),
        share_answers=len(inside) / max(count[node.side], 1),
        share_proven=float(proven.mean()) if len(inside) else None,
        share_frozen=node.share_frozen,
        prototype=prototype,
        prototype_record=record,
        proves=True,
        notes={"levels of gates frozen": node.depth, "training beats": node.count},
    )


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
    return report.DataFacts(
        title=title,
        citation=citation,
        num_recordings=len(records),
        num_beats=len(beats),
        labels={
            s: dict(sorted(Counter(records.label[records.split == s].tolist()).items()))
            for s in sides
            if np.any(records.split == s)
        },
        beats={s: int(np.sum(split == s)) for s in sides if np.any(split == s)},
        duration_s=records.duration_s,
        bsqi=records.bsqi[np.isfinite(records.bsqi)],
        rate_bpm=records.rate_bpm[np.isfinite(records.rate_bpm)],
        polarity={
            "upright": int(np.sum(records.polarity > 0)),
            "inverted": int(np.sum(records.polarity < 0)),
        },
        excluded=beats.excluded,
        window=(
            f"R - {config.before_s * 1000:.0f} ms to R + "
            f"{config.after_s * 1000:.0f} ms "
            f"at {config.sample_rate_hz:g} Hz, {config.low_hz:g} to {config.high_hz:g} "
            f"Hz, amplitude normalised by {config.normalise}, polarity "
            f"{'turned upright' if config.polarity == 'correct' else 'kept'}"
        ),
    )


def network_facts(found: Evaluation) -> list[report.NetworkFacts]:
    """How good the network is on the measured recordings; none without labels."""
    if found.quality is None:
        return []
    beats, rows = found.part.beats, found.rows
    margin = found.part.decision.value
    words = Counter(
        (str(label), bool(answer))
        for label, answer in zip(
            beats.records.label[np.unique(beats.record[rows])],
            record_scores(margin[rows], beats.record[rows])[1] >= 0,
            strict=True,
        )
    )
    labels = sorted({label for label, _ in words})
    facts = report.network_facts(
        found.quality,
        found.network.kind,
        description=found.network.card.title,
        answers_by_label={
            label or "(none)": {
                "normal": words[label, True],
                "not normal": words[label, False],
            }
            for label in labels
        },
        baselines=_baselines(beats, rows),
    )
    return [replace(facts, disagreements=_disagreements(found))]


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
                note=f"{entry.num_beats} beats, {entry.share_agreeing:.0%} agree "
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
    sides = [np.asarray(side) for side in tree.eq.sides]
    strengths = [n.strength for n in tree.nodes[1:] if n.parent == 0]
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
            strength=float(np.mean(strengths)) if strengths else None,
            text=to_text(tree),
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


def _purity_row(row: Mapping[str, Any]) -> dict[str, Any]:
    measured = row["correlation"]
    return {
        "depth": row["depth"],
        "num_cells": row["cells"],
        "purity": row["variance_explained"]["value"],
        "gain": measured["gain"],
        "null_hyperplane": measured["null_hyperplanes"],
        "kmeans": measured["kmeans"],
        "score": measured["score"],
        "p": measured["p_hyperplanes"],
    }


def component_json(component: report.Component) -> dict[str, Any]:
    """What is kept of a component to explain recordings with, without its beats."""
    sentence = component.sentence
    if sentence is None and component.sketch is not None:
        sentence = describe(
            component.sketch, share=component.share_answers, answer=component.side
        )
    prototype = component.prototype
    return {
        "id": component.id,
        "parent": component.parent,
        "name": component.name,
        "side": component.side,
        "sentence": sentence,
        "share_answers": component.share_answers,
        "share_proven": component.share_proven,
        "share_frozen": component.share_frozen,
        "prototype": None if prototype is None else [float(v) for v in prototype],
        "prototype_record": component.prototype_record,
    }


def component_of(values: Mapping[str, Any]) -> report.Component:
    """The inverse of `component_json`; there is no sketch."""
    prototype = values["prototype"]
    return report.Component(
        **{**values, "prototype": None if prototype is None else np.array(prototype)},
        sketch=None,
    )


def write_figures(shown: Sequence[report.Component], folder: Path) -> None:
    """One composite sketch of every component's cell, as a file of its own."""
    folder.mkdir(exist_ok=True)
    for component in shown:
        if component.sketch is not None:
            figure = draw.cell(
                component.sketch,
                side=component.side,
                prototype=component.prototype,
                title=component.name,
            )
            draw.save(figure, folder / f"{component.name}.svg")
