"""The components of a run: every one with its beats, its prototype and its weights."""

import json

import numpy as np
import pytest
from run_files import evaluated, tiny

from ecg_jax.views.components import component_json, component_of, components, sketch_of
from ecg_jax.views.partition import inputs_of


@pytest.fixture(scope="module")
def found():
    return evaluated()


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
        left = {"weighing": None, "composite": None}
        assert component_json(again) == {**kept, **left}
        np.testing.assert_array_equal(kept["composite"], component.sketch.median[0])
    assert kept["sentence"] and kept["phrase"] and kept["weighs"]
    assert len(kept["weighing"]["template"][0]) == len(kept["prototype"])
    assert sum(p["share"] for p in kept["weighing"]["parts"]) == pytest.approx(1)


def test_how_alike_prototype_and_cell_are(found):
    name = "correlation of prototype and median"
    for component in components(found)[1:]:
        if component.sketch is not None:
            both = component.prototype[0], component.sketch.median[0]
            alike = float(component.notes[name])
            assert alike == pytest.approx(np.corrcoef(*both)[0, 1], abs=0.005)


def test_every_component_with_beats_is_weighed(found):
    tree = found.part.tree
    values = tree.values(inputs_of(tree, found.part.beats, found.rows))
    for component in components(found):
        assert (component.weighing is None) == (component.sketch is None)
        if component.weighing is None:
            continue
        own = component.weighing
        inside = np.any(found.part.decision.path[found.rows] == component.id, axis=1)
        inside |= component.id == 0
        assert own.num_beats == min(255, inside.sum())
        mean = own.level + sum(part.contribution for part in own.parts)
        if inside.sum() <= 255:
            assert mean == pytest.approx(values[inside, component.id].mean())
        assert own.unit == "standard deviation of the recording"
        assert 0.01 < own.units_mv[0] < 1
        assert (own.likeness is None) == (component.id == 0)


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
