"""From an evaluation to what the report shows around the components."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ecg_jax import pages as report
from ecg_jax.cells.change_paths import UNITS
from ecg_jax.cells.ranges import amount
from ecg_jax.cells.sketch import LABEL_ORDER, UNLABELLED
from ecg_jax.draw import Template
from ecg_jax.ecg.beats import Beats
from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.ecg.data_words import lead_words, missed_words
from ecg_jax.percent import share
from ecg_jax.program.gates import Gate, on
from ecg_jax.program.roles import Equation, Refused
from ecg_jax.statistics.baselines import fit_logistic, majority, rr_irregularity
from ecg_jax.statistics.quality import disagreements
from ecg_jax.statistics.scores import auc, record_scores
from ecg_jax.tree.atoms import own_templates
from ecg_jax.tree.circuit import to_text
from ecg_jax.tree.tree import SIDES
from ecg_jax.views.distill import Agreement
from ecg_jax.views.evaluation import Evaluation
from ecg_jax.views.partition import arithmetic
from ecg_jax.views.weighing import unit_mv
from ecg_jax.views.what_changes import FAMILY, WhatChanges

NUM_DISAGREEMENTS = 6
MEASURED = 2048
"""Beats that say how many mV a unit of the input is."""
NUM_NULLS = 10
"""Random hyperplanes that an evaluation holds the cells against."""


@dataclass(frozen=True)
class About:
    """What neither a tree nor its beats say of themselves.

    Attributes:
      title: of the page.
      kind: what is factored, in a word, such as "mlp".
      subject: the same in words that begin a sentence.
      data: what the beats are called.
      citation: how to cite them.
      config: everything that decides the result; empty where nothing is known.
      command: what to type to get the page again.
      agreement: of a distilled network with its teacher.
    """

    title: str
    kind: str = "function"
    subject: str = "A trained network"
    data: str = "Recordings"
    citation: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    agreement: Agreement | None = None


def data_facts(beats: Beats, title: str, citation: str) -> report.DataFacts:
    """What is known of the recordings."""
    records = beats.records
    sides = ["train", "validation", "heldout", "given"]
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
        duration_s=records.duration_s[np.isfinite(records.duration_s)],
        bsqi=records.bsqi[np.isfinite(records.bsqi)],
        rate_bpm=records.rate_bpm[np.isfinite(records.rate_bpm)],
        polarity=_polarity(beats),
        excluded=beats.excluded,
        missed=missed_words(beats),
        about_leads=lead_words(beats),
        window=f"{beats.window_words}, {_treated(beats)}",
        is_split=beats.is_split,
        is_given=beats.given is not None,
        is_recorded=beats.is_recorded,
        normal_names=beats.normal_names,
        leads=beats.lead_names,
    )


def _polarity(beats: Beats) -> dict[str, int]:
    """Recordings whose QRS points up and down, where that was looked for."""
    polarity = beats.records.polarity
    up, down = int(np.sum(polarity > 0)), int(np.sum(polarity < 0))
    return {} if beats.given is not None else {"upright": up, "inverted": down}


def _treated(beats: Beats) -> str:
    """What was done to the windows before the network saw them."""
    config = beats.config
    if not isinstance(config, BeatConfig):
        return "amplitudes as they were given, in mV"
    turned = "turned upright" if config.polarity == "correct" else "kept"
    return (
        f"{config.low_hz:g} to {config.high_hz:g} Hz, amplitude normalised by "
        f"{config.normalise}, polarity {turned}"
    )


def _counted(labels: np.ndarray) -> dict[str, int]:
    """How often each label occurs, in the order of `LABEL_ORDER`."""
    counts = Counter(np.where(labels == "", UNLABELLED, labels).tolist())
    order = [*LABEL_ORDER, *sorted(counts)]
    return {k: counts[k] for k in dict.fromkeys(order) if k in counts}


def network_facts(found: Evaluation, about: About) -> list[report.NetworkFacts]:
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
        about.kind,
        split="held-out recordings" if beats.is_split else "the beats given",
        description=about.title,
        labelled=what,
        answers_by_label={
            name: {
                "normal": normal[True].get(name, 0),
                "not normal": normal[False].get(name, 0),
            }
            for name in _counted(label)
        },
        baselines=baselines(beats, rows),
        disagreements=_disagreements(found) if what == "recordings" else (),
    )
    if about.agreement is not None:
        alike = {"answers as its teacher, share of beats": about.agreement.share}
        facts = replace(facts, figures={**facts.figures, **alike})
    return [facts]


def baselines(beats: Beats, rows: np.ndarray) -> list[dict[str, Any]]:
    """What trivial methods score on the same beats."""
    train = beats.rows("train")
    normal = beats.is_normal
    if not len(train) or normal[train].all() or not normal[train].any():
        return []
    some = train[:: max(1, len(train) // 50_000)]
    seen = beats.inputs(some).reshape(len(some), -1)
    weights, offset = fit_logistic(seen, normal[some], num_steps=10)
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
        whole = beats.is_normal_record[ids]
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
        out.append(
            report.Disagreement(
                record=str(beats.records.name[entry.record]),
                label=str(beats.records.label[entry.record]),
                answer="normal" if entry.score >= 0 else "not normal",
                margin=entry.score,
                beat=beats.upright(row[None])[0],
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
    about: About,
    changed: WhatChanges | None = None,
) -> report.ReportData:
    """Everything on the page."""
    tree = found.part.tree
    with arithmetic(tree):
        sides = [np.asarray(side) for side in tree.eq.sides]
        own = _templates(found, shown)
    return report.ReportData(
        title=about.title,
        subject=about.subject,
        data=data_facts(found.part.beats, about.data, about.citation),
        networks=network_facts(found, about),
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
            num_max_units=int(sum(on(side, 1).sum() for side in sides)),
            num_min_units=int(sum(on(side, -1).sum() for side in sides)),
            num_patterns=len(tree.seen),
            text=_text(found, shown),
            metric=tree.metric,
            localize=tree.localize,
            templates=own,
        ),
        metrics=metrics,
        config=about.config,
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
        changes=None if changed is None else change_facts(changed),
        certificate={**asdict(found.certificate), "holds": found.certificate.holds},
        purity=[_purity_row(row) for row in found.purity],
        timing=metrics.get("timing", {}),
        versions=metrics.get("versions", {}),
        command=about.command,
    )


def _templates(found: Evaluation, shown: Sequence[report.Component]) -> list[Template]:
    """The component's own templates, in margin per mV."""
    beats, out = found.part.beats, []
    weights = own_templates(found.part.tree)
    scale = unit_mv(beats, beats.reference[:MEASURED])[:, None] if weights else 1.0
    for component in shown:
        if component.id not in weights:
            continue
        sketch, window = component.sketch, beats.millivolts.shape[1:]
        out.append(
            Template(
                name=component.name,
                side=component.side or "",
                time_s=beats.config.time_s,
                weight=weights[component.id].reshape(window) / scale,
                median=None if sketch is None else sketch.median,
                leads=beats.lead_names,
                share=component.share_answers,
            )
        )
    return out


def change_facts(changed: WhatChanges) -> report.ChangeFacts:
    """What would change the answers, of both sides and of families."""
    families = changed.families() or {}
    return report.ChangeFacts(
        num_beats=len(changed.rows),
        reach={side: changed.of_side(sign) for sign, side in SIDES.items()},
        family=", ".join(
            f"{kind}{_in_every(kind, changed.family)} \N{PLUS-MINUS SIGN}"
            f"{amount(most, UNITS[kind])}"
            for kind, most in FAMILY.items()
            if any(name.startswith(kind) for name in changed.family)
        ),
        shares={k: v for k, v in families.items() if k != "offered"},
        offered=families.get("offered", 0.0),
        refusal=changed.refusal,
    )


def _in_every(kind: str, family: Mapping[str, float]) -> str:
    """Said of a change that is made lead by lead."""
    return "" if kind in family else " in every lead"


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
    with arithmetic(found.part.tree):
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
