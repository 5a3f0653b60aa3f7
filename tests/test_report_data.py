"""From an evaluation to what the report shows."""

import numpy as np
import pytest
from run_files import evaluated

from ecg_jax.views.components import components
from ecg_jax.views.report_data import About, data_facts, network_facts, report_data


@pytest.fixture(scope="module")
def found():
    return evaluated()


def test_the_text_says_who_is_in_a_cell_and_what_is_weighed(found):
    shown = components(found)
    page = report_data(found, shown, {}, About("title"))
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
    page = report_data(found, [], {}, About("title"))
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
        "R - 250 ms to R + 400 ms at 100 Hz, lead ECG, 0.5 to 40 Hz, amplitude "
        "normalised by record, polarity turned upright"
    )


def test_facts_of_the_network(found):
    (facts,) = network_facts(found, About("title"))
    total = sum(sum(row.values()) for row in facts.answers_by_label.values())
    assert total == len(np.unique(found.part.beats.record[found.rows]))
    (majority,) = [r for r in facts.baselines if r["baseline"] == "majority"]
    assert majority["AUC by beat"] == 0.5 == majority["AUC by recording"]
