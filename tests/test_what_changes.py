"""What would change the answers of a tree: in the report, its table and its metrics."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_ranges import HIDDEN, NUM, given
from test_ranges import st_is_low as concave

import ecg_jax as ej
from ecg_jax.cells.ranges import Reach, Side, of_waves, reach, reach_words
from ecg_jax.draw import ranges, svg
from ecg_jax.storage.table import read_parquet
from ecg_jax.views.what_changes import FAMILY


def st_is_low(x):
    """With gates on either side, so that both answers have components."""
    raised = jax.nn.relu(x[::-1] @ HIDDEN[:, :6].astype(x.dtype) - x.dtype.type(0.05))
    return concave(x) + x.dtype.type(0.1) * jnp.sum(raised)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    beats = given(labels=["N", "MI"] * (NUM // 2))
    tree = ej.grow(st_is_low, beats, depth=1, budget=3)
    page = ej.report(tree, beats, tmp_path_factory.mktemp("report"))
    return tree, beats, page


def test_the_table_holds_the_ranges(reported):
    tree, beats, page = reported
    table = read_parquet(page.parent / "ranges.parquet")
    found = ej.ranges(tree, beats, ej.changes(beats))
    assert sorted(set(table["beat"].tolist())) == list(range(NUM))
    for at, name in enumerate(found.names):
        rows = table["change"] == name
        assert np.array_equal(table["low"][rows], found.low[:, at], equal_nan=True)
        assert np.array_equal(table["high"][rows], found.high[:, at], equal_nan=True)
        assert (table["then_high"][rows] == found.takes_over[:, at, 1]).all()
    proof = ej.prove(tree, beats, found.changes, FAMILY)
    assert (table["family"][table["change"] == "gain"] == proof.status).all()


def test_the_metrics_sum_them_up(reported):
    tree, beats, page = reported
    told = json.loads((page.parent / "metrics.json").read_text())["ranges"]
    found = ej.ranges(tree, beats, ej.changes(beats))
    normal = np.asarray(jax.vmap(st_is_low)(beats.inputs())) >= 0
    st = told["sides"]["normal"]["ST level"]
    high = np.sort(found.high[normal, 0])
    assert st["beats"] == normal.sum() and st["flips_low"] == 0
    assert st["quartiles_high"][1] == high[int(np.ceil(0.5 * len(high))) - 1]
    assert told["beats"] == NUM and told["refused"] is None
    shares = told["families"]
    assert shares.pop("offered") == 1 and sum(shares.values()) == pytest.approx(1)


def test_every_composite_is_asked(reported):
    tree, beats, page = reported
    cards = json.loads((page.parent / "components.json").read_text())
    told = json.loads((page.parent / "metrics.json").read_text())["composites"]
    drawn = [card for card in cards if card["parent"] is not None]
    assert told["shown"] == len(drawn) > 1
    decision = ej.decide(tree, beats)
    for card in drawn:
        rows = decision.cell == card["id"]
        median = np.median(beats.inputs()[rows], axis=0)
        answer = (
            "normal" if float(st_is_low(jnp.asarray(median))) >= 0 else "not normal"
        )
        assert card["median_answer"] == answer and "the median is" in card["composites"]
        other = card["name"] in told["median_answered_otherwise"]
        assert other == (answer != card["side"]) == ("medoid" in card["composites"])


def test_the_page_shows_it(reported):
    _, _, page = reported
    html = page.read_text()
    assert "What would change the answer" in html
    assert "until the ST level rises by" in html
    assert "Families of changed beats" in html and "ST level ±0.05 mV" in html


def test_a_function_that_is_refused_has_a_page_that_says_why_not(tmp_path):
    def smooth(x):
        return jnp.linalg.norm(x) - 3 - x[50]

    beats = given()
    tree = ej.grow(smooth, beats, depth=1, budget=2)
    page = ej.report(tree, beats, tmp_path / "page.html")
    words = "Not measured: an operation of the network is in the way"
    assert words in page.read_text()


def test_quartiles_count_what_never_flips():
    low = np.array([-np.inf, -np.inf, -0.3, -0.1])
    high = np.array([0.4, np.inf, np.nan, np.inf])
    one = reach("gain", "fraction", 0.5, low, high, np.full((4, 2), "Q2"))
    assert one is not None and one.num_beats == 3
    assert one.low.quartiles == (0.1, np.inf, np.inf)
    assert one.low.flips == one.high.flips == pytest.approx(1 / 3)
    assert one.low.takes_over == "Q2"
    none = np.full(4, np.nan)
    assert reach("gain", "fraction", 0.5, none, none, np.full((4, 2), "")) is None


def test_words_and_figure():
    never = Side((np.inf, np.inf, np.inf), 0.0, "")
    some = Side((0.1, 0.2, np.inf), 0.6, "Q3")
    few = Side((0.04, np.inf, np.inf), 0.3, "")
    told = [
        Reach("ST level", "mV", 0.5, 40, never, some),
        Reach("shift", "s", 0.05, 40, few, never),
    ]
    assert reach_words(told, "normal") == (
        "Half of these beats stay normal until the ST level rises by 0.2 mV; then Q3. "
        "30% leave normal before the beat comes earlier by 50 ms."
    )
    assert reach_words([Reach("gain", "fraction", 0.5, 4, never, never)], "normal") == (
        "None of these changes, alone, moves many of these beats from normal."
    )
    text = svg(ranges(told, side="normal"))
    for word in ("ST level", "0.5 mV", "50 ms", "60% flip, mostly to Q3", "rises"):
        assert word in text
    rare = Side((np.inf, np.inf, np.inf), 0.01, "Q1")
    told = [Reach("gain", "fraction", 0.5, 100, rare, never)]
    text = svg(ranges(told))
    assert "1% flip, mostly to Q1" in text and "none flips" not in text
    told = [Reach("gain", "fraction", 0.5, 100, never, never)]
    assert "none flips" in svg(ranges(told))


def test_waves_come_before_how_a_beat_was_recorded():
    """A card opens with a change of a wave, though the hum flips more."""
    never, often = Side((np.inf,) * 3, 0.0, ""), Side((0.1, 0.2, 0.3), 0.9, "Q1")
    seldom = Side((np.inf,) * 3, 0.06, "Q2")
    hum = Reach("mains cosine", "mV", 0.5, 40, often, often)
    st = Reach("ST level", "mV", 0.5, 40, never, seldom)
    still = Reach("T amplitude", "mV", 0.5, 40, never, never)
    assert of_waves([hum, st, still]) == [st]
    assert of_waves([hum, still]) == [hum, still]
