"""Explaining one recording: what answers for each beat, and what is proven."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax import pages as report
from ecg_jax.cells.leads import FEW
from ecg_jax.ecg.beats import GIVEN, Beats, beats_of
from ecg_jax.ecg.classes import parse
from ecg_jax.ecg.cut import BeatConfig, without_window
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.ecg.labels import label_of
from ecg_jax.ecg.lead_choice import read_as
from ecg_jax.ecg.records import Recording, read_recording
from ecg_jax.errors import (
    DataError,
    EcgJaxError,
    MissingFileError,
    ModelError,
    RunExistsError,
)
from ecg_jax.pages.explanation import ANSWER_RULE
from ecg_jax.runs.model import check_windows
from ecg_jax.runs.run_folder import CONFIG, read_json
from ecg_jax.runs.saved_run import load_run, split_of
from ecg_jax.storage.files import write_json, write_text
from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Decision
from ecg_jax.views.components import component_of
from ecg_jax.views.partition import inputs_of
from ecg_jax.views.report_data import change_facts
from ecg_jax.views.what_changes import WhatChanges, of_beats

MOST_WALKED, OF_MANY_LEADS, MOST_DRAWN = 64, 16, 9
"""Beats of a recording that are walked along every change, evenly spaced, and fewer of
more than three leads; those of them that are drawn at their nearest flip."""


def explain(folder: Path, record: Path, out: Path) -> dict[str, Any]:
    """Explains one recording: `explanation.html` and `explanation.json` in `out`.

    Args:
      folder: a run.
      record: path of the recording, with or without suffix; or its name among the
        recordings of the run, where those are synthetic, in a folder that `--data`
        named, or at the default place of the data set.
      out: where the explanation goes; made if it is not there.

    Returns:
      What `explanation.json` holds.

    Raises:
      RunError: the run is not complete.
      RunExistsError: `out` holds an explanation already.
      ModelError: the network takes beats of a file, not of recordings.
      RecordingError: the recording cannot be read, or has no beats.
    """
    if (out / "explanation.json").exists():
        raise RunExistsError(
            f"{out} holds an explanation already.\n  try: another --out"
        )
    network, tree, config = load_run(folder)
    if GIVEN in network.card.input:
        raise ModelError(
            f"the network {network.card.title!r} takes beats as a file gave them; how "
            "to cut such out of a recording is not known.\n"
            "  try: in Python, with jax.config.update('jax_enable_x64', True), "
            f"ej.explain(ej.load({str(folder / 'equation')!r}), ej.beats('FILE'))"
        )
    parts = read_json(folder / "components.json")
    settings = read_json(folder / CONFIG)
    recording = find_recording(record, settings.get("data"), config.leads)
    _, table = parse(settings.get("labels", ""))
    if table is not None:
        own = label_of(table, record)
        recording = replace(recording, label=own or recording.label)
    beats = beats_of(recording, config)
    check_windows(network, beats)
    with jax.enable_x64(True):
        decision = decide(tree, inputs_of(tree, beats))
    most = MOST_WALKED if len(beats.lead_names) <= FEW else OF_MANY_LEADS
    picks = np.linspace(0, len(beats) - 1, min(len(beats), most)).round()
    changed = of_beats(tree, beats, decision, picks.astype(int))
    names = [node.name for node in tree.nodes]
    split = split_of(folder, beats)
    answer = explanation(recording, beats, decision, names, parts, split)
    answer["ranges"] = changed.metrics()
    flips = [
        [] if changed.ranges is None else changed.ranges.nearest(at)
        for at in range(len(changed.rows))
    ]
    for row, nearest in zip(changed.rows, flips, strict=True):
        answer["beats"][row]["flips"] = nearest
    drawn = _flipped(changed, flips)
    out.mkdir(parents=True, exist_ok=True)
    page = report.ExplainData(
        record=recording.name,
        signal=recording.signal,
        sample_rate_hz=recording.sample_rate_hz,
        beats=[
            _shown(beats, row, entry, drawn.get(row))
            for row, entry in enumerate(answer["beats"])
        ],
        time_s=config.time_s,
        leads=beats.lead_names,
        components={part["name"]: component_of(part) for part in parts},
        label=recording.label,
        margin=answer["margin"],
        network=network.card.title,
        bsqi=answer["bsqi"],
        polarity=answer["polarity"],
        is_turned=bool(beats.turn[0] < 0),
        title=folder.name,
        split=split,
        is_trained="training" in settings,
        missed=[(beat["time_s"], beat["label"]) for beat in answer["missed"]],
        changes=change_facts(changed),
    )
    write_text(out / "explanation.html", report.build_explanation(page))
    write_json(out / "explanation.json", answer)
    return answer


def find_recording(
    record: Path, data: str | None, leads: tuple[str, ...] = ()
) -> Recording:
    """Reads a recording by its path or, failing that, its name in a run's data set.

    Args:
      record: the path, or the name.
      data: the data set, as for `run`.
      leads: to read.

    Raises:
      RecordingError: it cannot be read, or there is none.
    """
    try:
        return read_recording(record, leads=leads)
    except MissingFileError:
        try:
            source = open_dataset(data or "")
        except (EcgJaxError, OSError):
            source = None
        if source is None or (data != "synthetic" and str(record) not in source.names):
            raise
    return read_as(source, leads).read(str(record))


def explanation(
    recording: Recording,
    beats: Beats,
    decision: Decision,
    names: list[str],
    parts: Sequence[Mapping[str, Any]],
    split: str | None = None,
) -> dict[str, Any]:
    """The explanation as plain values; `parts` is what `components.json` holds."""
    annotated = recording.beat_labels is not None
    bsqi = float(beats.records.bsqi[0])
    provers = [names[i] if i >= 0 else None for i in decision.prover]
    entries = [
        {
            "r_time_s": float(beats.r_time_s[row]),
            "answer": "normal" if decision.normal[row] else "not normal",
            "margin": float(decision.value[row]),
            "lower": float(decision.lower[row]),
            "upper": float(decision.upper[row]),
            "proven_by": provers[row],
            "cell": names[decision.cell[row]],
            "prototype_of": provers[row] or names[decision.cell[row]],
            "rr_before_s": float(beats.rr_before_s[row]),
            "label": str(beats.label[row]) if annotated else None,
        }
        for row in range(len(beats))
    ]
    margin = float(np.mean(decision.value))
    cells = Counter(names[i] for i in decision.cell)
    proofs = Counter(p for p in provers if p is not None)
    return {
        "record": recording.name,
        "leads": list(recording.leads),
        "label": recording.label,
        "split": split,
        "answer": "normal" if margin >= 0 else "not normal",
        "margin": margin,
        "rule": ANSWER_RULE,
        "num_beats": len(beats),
        "num_normal": int(decision.normal.sum()),
        "missed": _missed(recording, beats),
        "share_proven": float(np.mean(decision.prover >= 0)),
        "provers": dict(proofs.most_common()),
        "cells": dict(cells.most_common()),
        "unproven": [row for row in range(len(beats)) if provers[row] is None],
        "components": {
            part["name"]: _named(part)
            for part in parts
            if part["name"] in cells or part["name"] in proofs
        },
        "bsqi": bsqi if np.isfinite(bsqi) else None,
        "polarity": "upright" if beats.records.polarity[0] > 0 else "inverted",
        "beats": entries,
        "notes": [
            "A proof here concerns the network, not the patient.",
            "Research use only; not a medical device.",
        ],
    }


def _missed(recording: Recording, beats: Beats) -> list[dict[str, Any]]:
    """Time and class of the annotated beats that got no window."""
    rate = recording.sample_rate_hz
    peaks = np.rint(beats.r_time_s * rate).astype(np.int64)
    labels, config = recording.beat_labels, beats.config
    assert isinstance(config, BeatConfig)  # they were cut out of this recording
    return [
        {
            "time_s": float(np.asarray(recording.beat_samples)[at] / rate),
            "label": labels[at] if labels is not None else None,
        }
        for at in without_window(recording, peaks, config.match_s)
    ]


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a component that answers: its cell, its weights, its anchor."""
    kept = ("side", "phrase", "sentence", "weighs", "prototype_record", "prototype")
    return {key: part.get(key) for key in kept}


def _flipped(
    changed: WhatChanges, flips: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[int, np.ndarray]:
    """Some beats just beyond their nearest flip, in mV, by row: small to large."""
    found = [(at, nearest[0]) for at, nearest in enumerate(flips) if nearest]
    found.sort(key=lambda entry: entry[1]["share"])
    picks = np.linspace(0, len(found) - 1, min(len(found), MOST_DRAWN)).round()
    drawn = {}
    for at, flip in [found[int(pick)] for pick in picks]:
        assert changed.ranges is not None  # what flips was walked
        with contextlib.suppress(DataError):  # it flips within rounding only
            drawn[int(changed.rows[at])] = changed.ranges.shown(at, flip)
    return drawn


def _shown(
    beats: Beats, row: int, entry: dict[str, Any], flipped: np.ndarray | None
) -> report.ExplainedBeat:
    rr = entry["rr_before_s"]
    flips = [
        report.Flip(flip["words"], flip["share"], None if at else flipped)
        for at, flip in enumerate(entry.get("flips", ()))
    ]
    return report.ExplainedBeat(
        r_time_s=entry["r_time_s"],
        margin=entry["margin"],
        lower=entry["lower"],
        upper=entry["upper"],
        component=entry["proven_by"],
        millivolts=beats.upright(np.array([row]))[0],
        rr_before_s=rr if np.isfinite(rr) else None,
        nearest=entry["cell"],
        label=entry["label"],
        flips=flips,
    )
