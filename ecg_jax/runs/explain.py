"""Explaining one recording: what answers for each beat, and what is proven."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ecg_jax import report
from ecg_jax.ecg.beats import Beats, beats_of
from ecg_jax.ecg.records import Recording, read_recording
from ecg_jax.errors import RunExistsError
from ecg_jax.partition import inputs_of
from ecg_jax.runs.pipeline import check_windows
from ecg_jax.runs.present import component_of
from ecg_jax.runs.run_folder import read_json
from ecg_jax.runs.saved_run import load_run
from ecg_jax.storage.files import write_json
from ecg_jax.tree import Decision


def explain(folder: Path, record: Path, out: Path) -> dict[str, Any]:
    """Explains one recording: `explanation.html` and `explanation.json` in `out`.

    Args:
      folder: a run.
      record: path of the recording, with or without suffix.
      out: where the explanation goes; made if it is not there.

    Returns:
      What `explanation.json` holds.

    Raises:
      RunError: the run is not complete.
      RunExistsError: `out` holds an explanation already.
      RecordingError: the recording cannot be read, or has no beats.
    """
    if (out / "explanation.json").exists():
        raise RunExistsError(
            f"{out} holds an explanation already.\n  try: another --out"
        )
    network, tree, config = load_run(folder)
    parts = read_json(folder / "components.json")
    recording = read_recording(record)
    beats = beats_of(recording, config)
    check_windows(network, beats)
    with jax.enable_x64(True):
        decision = tree.decide(inputs_of(tree, beats))
    names = [node.name for node in tree.nodes]
    answer = explanation(recording, beats, decision, names, parts)
    out.mkdir(parents=True, exist_ok=True)
    page = report.ExplainData(
        record=recording.name,
        signal=recording.signal[0],
        sample_rate_hz=recording.sample_rate_hz,
        beats=[_shown(beats, row, entry) for row, entry in enumerate(answer["beats"])],
        time_s=config.time_s,
        components={part["name"]: component_of(part) for part in parts},
        label=recording.label,
        margin=answer["margin"],
        network=network.card.title,
        bsqi=answer["bsqi"],
        polarity=answer["polarity"],
        title=folder.name,
    )
    report.write_explanation(page, out / "explanation.html")
    write_json(out / "explanation.json", answer)
    return answer


def explanation(
    recording: Recording,
    beats: Beats,
    decision: Decision,
    names: list[str],
    parts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The explanation as plain values; `parts` is what `components.json` holds."""
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
        }
        for row in range(len(beats))
    ]
    margin = float(np.mean(decision.value))
    cells = Counter(names[i] for i in decision.cell)
    proofs = Counter(p for p in provers if p is not None)
    return {
        "record": recording.name,
        "label": recording.label,
        "answer": "normal" if margin >= 0 else "not normal",
        "margin": margin,
        "num_beats": len(beats),
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


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a component that answers: its cell, its weights, its anchor."""
    kept = ("side", "phrase", "sentence", "weighs", "prototype_record", "prototype")
    return {key: part.get(key) for key in kept}


def _shown(beats: Beats, row: int, entry: dict[str, Any]) -> report.ExplainedBeat:
    turned = beats.config.polarity == "correct"
    turn = beats.records.polarity[0] if turned else 1
    rr = entry["rr_before_s"]
    return report.ExplainedBeat(
        r_time_s=entry["r_time_s"],
        margin=entry["margin"],
        lower=entry["lower"],
        upper=entry["upper"],
        component=entry["proven_by"],
        millivolts=beats.millivolts[row, 0] * turn,
        rr_before_s=rr if np.isfinite(rr) else None,
        nearest=entry["cell"],
    )
