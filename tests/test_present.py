"""From an evaluation to what the report shows."""

import json

import numpy as np
import pytest
from run_files import tiny

from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import cache_home, open_dataset
from ecg_jax.runs.evaluation import load_evaluation
from ecg_jax.runs.present import (
    component_json,
    component_of,
    components,
    data_facts,
    network_facts,
    sketch_of,
)
from ecg_jax.runs.saved_run import load_run


@pytest.fixture(scope="module")
def found():
    network, tree, config = load_run(tiny().run)
    source = open_dataset(tiny().data)
    beats = extract_beats(source, config, cache_dir=cache_home() / "beats")
    return load_evaluation(tiny().run, network, tree, beats)


def test_every_component_is_shown(found):
    shown = components(found)
    assert [c.name for c in shown] == [n.name for n in found.part.tree.nodes]
    assert shown[0].sketch.num_beats == len(found.rows)
    for side in ("normal", "not normal"):
        first = [c for c in shown if c.side == side and c.parent == 0]
        assert sum(c.share_answers for c in first) == pytest.approx(1)
    for component in shown[1:]:
        answered = component.sketch is not None
        assert (component.share_proven is not None) == answered
        inside = [c for c in shown if c.parent == component.id]
        if inside:
            total = sum(c.share_answers for c in inside)
            assert total == pytest.approx(component.share_answers)


def test_a_prototype_is_a_training_beat(found):
    beats = found.part.beats
    training = set(beats.records.name[beats.records.split == "train"].tolist())
    for component in components(found)[1:]:
        assert component.prototype_record in training
        own = np.flatnonzero(beats.records.name == component.prototype_record)[0]
        rows = beats.millivolts[beats.record == own, 0] * beats.records.polarity[own]
        assert (np.abs(rows - component.prototype).max(axis=1) < 1e-6).any()


def test_components_are_kept_without_their_beats(found):
    for component in components(found)[1:]:
        kept = json.loads(json.dumps(component_json(component)))
        again = component_of(kept)
        assert again.name == component.name and again.sketch is None
        np.testing.assert_array_equal(again.prototype, component.prototype)
        assert component_json(again) == kept
    assert kept["sentence"]


def test_facts_of_the_data(found):
    facts = data_facts(found.part.beats, "recordings", "nobody")
    assert facts.num_recordings == 29 and len(facts.excluded) == 1
    assert sum(facts.beats.values()) == facts.num_beats == len(found.part.beats)
    assert facts.window == (
        "R - 250 ms to R + 400 ms at 100 Hz, 0.5 to 40 Hz, amplitude normalised by "
        "record, polarity turned upright"
    )


def test_facts_of_the_network(found):
    (facts,) = network_facts(found)
    total = sum(sum(row.values()) for row in facts.answers_by_label.values())
    assert total == len(np.unique(found.part.beats.record[found.rows]))
    (majority,) = [r for r in facts.baselines if r["baseline"] == "majority"]
    assert majority["AUC by beat"] == 0.5 == majority["AUC by recording"]


def test_no_beats_no_sketch(found):
    margin = found.part.decision.value
    assert sketch_of(found.part.beats, margin, np.array([], int)) is None


def test_figures_lie_beside_the_report(found):
    del found
    folder = tiny().run / "figures"
    names = {
        c["name"] for c in json.loads((tiny().run / "components.json").read_text())
    }
    assert {p.stem for p in folder.iterdir()} <= names
    assert all(p.read_text().startswith("<svg") for p in folder.iterdir())
