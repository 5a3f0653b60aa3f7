"""What a browser gets to explore the page with: numbers, a form, a script, words."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from report_demo import NASTY, TIME, demo_components, demo_explanation, demo_run, sketch

from ecg_jax import pages as report
from ecg_jax.pages import explore
from ecg_jax.pages.components import card
from ecg_jax.pages.glossary import TERMS, link_first

SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def data_of(page):
    """What the page embeds, as the browser reads it."""
    (text,) = [body for given, body in SCRIPT.findall(page) if "page-data" in given]
    return json.loads(text)


@pytest.fixture(scope="module")
def run():
    return demo_run(demo_components(2, 1))


@pytest.fixture(scope="module")
def page(run):
    return report.build(run)


def test_composites_and_beats_are_numbers_in_mv_and_seconds(run, page):
    data = data_of(page)
    time = data["start_s"] + data["step_s"] * np.arange(data["num"])
    np.testing.assert_allclose(time, TIME, atol=1e-9)
    assert data["leads"] == ["II"] and len(data["components"]) == len(run.components)
    for one in run.components:
        shown = data["components"][f"c{one.id}-{one.name}"]
        assert (shown["name"], shown["side"]) == (one.name, one.side)
        assert shown["beats"] == one.sketch.num_beats
        assert shown["normal"] == pytest.approx(one.sketch.label_share["N"], abs=1e-6)
        low, high = one.sketch.quantiles[1:3]
        waves = {"composite": one.sketch.median, "first": low, "third": high}
        for name, wave in waves.items():
            near = np.array(shown[name]) * data["unit_mv"]
            np.testing.assert_allclose(near, wave, atol=data["unit_mv"] / 2 + 1e-6)
        for beat, told in zip(one.beats, shown["shown"], strict=True):
            near = np.array(told["mv"]) * data["unit_mv"]
            np.testing.assert_allclose(near, beat.millivolts, atol=0.005 + 1e-6)
            assert told["margin"] == pytest.approx(beat.margin, rel=1e-3)
            for key in ("kind", "cell", "prover", "record", "label", "flip"):
                assert told[key] == getattr(beat, key)


def test_a_medoid_is_called_so(run):
    one = replace(run.components[1], median_answer="not normal")
    data = data_of(report.build(replace(run, components=[run.components[0], one])))
    assert data["components"][f"c{one.id}-P1"]["kind"] == "medoid"
    assert data["components"]["c0-f"]["kind"] == "median"


def test_only_this_script_may_run(page):
    (code,) = [body for given, body in SCRIPT.findall(page) if not given]
    assert code == explore.script()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert f"script-src {explore.source_of(code)}" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "default-src 'none'" in policy
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|eval\(|https?:(?!//www.w3)", code
    )


def test_a_page_without_cards_runs_nothing():
    for page in (
        report.build_explanation(demo_explanation()),
        report.build(demo_run([])),
    ):
        assert "<script" not in page and "script-src" not in page
        assert "<dialog" not in page and "<form" not in page


def test_no_text_breaks_out_of_the_numbers():
    cell = sketch()
    end = f"</script>{NASTY}"
    beat = report.CellBeat(end, cell.samples[0], 0.1, 1.0, end, end, end, 1.0, end, end)
    one = report.Component(1, 0, end, "normal", cell, beats=[beat])
    root = report.Component(0, None, "f", None, cell)
    run = demo_run([root, one])
    page = report.build(replace(run, data=replace(run.data, leads=(end,))))
    assert page.count("</script>") == 2
    (shown,) = [v for v in data_of(page)["components"].values() if v["name"] == end]
    assert shown["shown"][0]["record"] == end and data_of(page)["leads"] == [end]


def test_the_form_asks_for_what_is_known(run):
    shown = explore.controls(run.components, run.data)
    assert shown.startswith('<form class="explore"') and " hidden>" in shown
    for name in ("side", "normal-from", "normal-to", "proven-from", "beats", "find"):
        assert f'name="{name}"' in shown
    assert 'aria-live="polite"' in shown and shown.count("<legend>") == 5
    plain = [
        replace(c, share_proven=None, sketch=sketch(labels="?")) for c in run.components
    ]
    bare = explore.controls(plain, run.data)
    assert "normal-from" not in bare and "proven" not in bare and "most beats" in bare
    assert explore.controls(run.components[:1], run.data) == ""


def test_24_components_with_their_beats_stay_under_5_mb():
    components = demo_components(8, 2)
    many = [components[0], *[c for c in components[1:] if c.beats] * 2][:25]
    many = [replace(c, id=n) for n, c in enumerate(many)]
    assert len(report.build(demo_run(many)).encode()) < 5e6


def test_a_card_opens_with_plain_sentences(run):
    (one,) = [c for c in run.components if c.name == "P1"]
    shown = card(one)
    opening = re.search(r'<p class="opening">(.*?)</p>', shown)[1]
    assert opening.startswith("Narrow QRS, R 1.")
    assert ": the network says normal. By itself it proves 99.0% of these" in opening
    folded = shown.partition("<details")[2]
    assert "Who is in its cell." in folded and "It weighs" in folded
    assert "Who is in its cell." not in shown.partition("<details")[0]


def test_shares_stand_in_per_cent(page):
    text = re.sub(r"<[^>]*>", " ", page.partition("How much is proven</h2>")[2])
    for told in ("98.3%", "99.4%", "94.2%", "61.0%", "81.2%  79.0% to 83.4%"):
        assert told in text
    assert "0.807  0.791 to 0.822" in text  # an area under a curve is no share


def test_every_term_is_explained_and_linked_once(page):
    for term in TERMS:
        assert page.count(f'id="term-{term}"') == 1
        assert page.count(f'href="#term-{term}"') <= 1
    for term in ("margin", "witness", "refuter", "frozen", "pattern", "proven"):
        assert f'href="#term-{term}"' in page


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<p>The margins</p>", 'The <a class="term" href="#term-margin">margins</a>'),
        ("<p>submargin, margin-like</p>", "<p>submargin, margin-like</p>"),
        ('<p title="A > margin">-</p>', '<p title="A > margin">-</p>'),
        ("<svg><text>margin</text></svg>", "<svg><text>margin</text></svg>"),
        ("<a>margin</a> <0.1% margin", '<0.1% <a class="term" href="#term-margin">'),
    ],
)
def test_terms_are_linked_in_text_only(given, expected):
    assert expected in link_first(given)
