"""From an evaluation to what the report shows."""

import json

import numpy as np
import pytest
from run_files import tiny

from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import cache_home, open_dataset
from ecg_jax.partition import inputs_of
from ecg_jax.runs.evaluation import load_evaluation
from ecg_jax.runs.present import (
    component_json,
    component_of,
    components,
    data_facts,
    network_facts,
    report_data,
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
        assert component_json(again) == {**kept, "weighing": None}
    assert kept["sentence"] and kept["phrase"] and kept["weighs"]
    assert len(kept["weighing"]["template"][0]) == len(kept["prototype"])
    assert sum(p["share"] for p in kept["weighing"]["parts"]) == pytest.approx(1)


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
        assert 0.01 < own.unit_mv < 1
        assert (own.likeness is None) == (component.id == 0)


def test_the_text_says_who_is_in_a_cell_and_what_is_weighed(found):
    shown = components(found)
    page = report_data(found, shown, {}, {}, "recordings", "nobody", "")
    text = " ".join(page.equation.text.split())
    for component in shown[1:]:
        if component.sketch is None:
            continue
        assert f"{component.name} ({component.phrase})" in text or component.parent
        assert f"Its cell: {component.sentence}" in text
        assert f"It weighs: {component.weighs}" in text
    held = found.part.decision.normal[found.rows]
    assert f" of {held.sum():,} (" in text and f" of {(~held).sum():,} (" in text


def test_gains_count_from_the_level_above(found):
    page = report_data(found, [], {}, {}, "recordings", "nobody", "")
    assert page.purity
    for row, raw in zip(page.purity, found.purity, strict=True):
        gains = row["gain"], row["gain_hyperplanes"], row["gain_kmeans"]
        if gains[1] != gains[2]:
            score = (gains[0] - gains[1]) / (gains[2] - gains[1])
            assert score == pytest.approx(row["score"])
        level = raw["correlation"]["value"] - row["gain"]
        null = raw["correlation"]["null_hyperplanes"]
        assert row["gain_hyperplanes"] == pytest.approx(null - level)
        draws = row["p"] * (row["num_nulls"] + 1)
        assert draws >= 1 - 1e-9 and draws == pytest.approx(round(draws))


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
