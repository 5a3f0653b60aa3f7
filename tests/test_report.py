import html
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_demo import (
    NASTY,
    SHAPES,
    TIME,
    demo_components,
    demo_explanation,
    demo_run,
    sketch,
    weighing,
)

from ecg_jax import pages as report
from ecg_jax.pages.components import card, points_each
from ecg_jax.pages.explore import script
from ecg_jax.pages.html import esc, flatten, number, share, shown, slug
from ecg_jax.pages.page import PROOF, RESEARCH
from ecg_jax.statistics import quality
from ecg_jax.storage.files import write_text

VOID = {"meta", "br", "path", "use", "rect", "link", "mspace", "img", "input"}


class Reader(HTMLParser):
    """Collects tags, links and text, and checks that tags are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.ids = [], [], []
        self.links, self.targets = [], []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if "id" in given and tag not in VOID | {"clippath"}:
            self.ids.append(given["id"])
        for key in ("href", "src", "xlink:href", "data", "action"):
            if key in given:
                (self.links if tag == "a" else self.targets).append(given[key])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open and self.open[-1] == tag, (self.open[-3:], tag)
            self.open.pop()

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page():
    return report.build(demo_run())


@pytest.fixture(scope="module")
def explained():
    return report.build_explanation(demo_explanation())


@pytest.mark.parametrize("which", ["page", "explained"])
def test_page_stands_alone(which, request):
    text = request.getfixturevalue(which)
    read = Reader(text)
    names = {tag for tag, _ in read.tags}
    assert not names & {"link", "iframe", "object", "embed", "img", "base"}
    assert not [url for url in read.targets if not url.startswith("#")]
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert not [key for _, given in read.tags for key in given if key.startswith("on")]


@pytest.mark.parametrize("which", ["page", "explained"])
def test_page_is_well_formed(which, request):
    read = Reader(request.getfixturevalue(which))
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    inner = [url[1:] for url in read.links if url.startswith("#")]
    assert inner and set(inner) <= set(read.ids)
    assert all(url.startswith(("#", "https://")) for url in read.links)


@pytest.mark.parametrize("which", ["page", "explained"])
def test_two_sentences_stand_at_the_top(which, request):
    text = Reader(request.getfixturevalue(which)).text
    top = text.index("Recordings" if which == "page" else "The recording")
    assert PROOF == "A proof here concerns the network, not the patient."
    assert RESEARCH == "Research use only; not a medical device."
    assert PROOF in text and RESEARCH in text
    assert text.index(PROOF) < text.rindex("Sources" if which == "page" else "beat")
    assert top >= 0
    assert "Labels belong to recordings; beats inherit them." in text
    assert "atrial fibrillation is a rhythm" in text


def test_every_number_is_shown(page):
    run = demo_run()
    for key, value in [*flatten(run.metrics), *flatten(run.config)]:
        assert f"<code>{key}</code>" in page
        assert number(value) in page
    for part in (run.timing, run.versions, run.certificate):
        assert all(esc(key) in page for key in part)
    for row in [*run.coverage, *run.purity]:
        assert all(shown(k, v) in page for k, v in row.items() if k != "num_nulls")
    assert "A01585" in page and "flat line" in page


def test_every_component_has_a_card_with_its_numbers(page):
    for one in demo_components():
        assert f'id="c{one.id}-{one.name}"' in page
        assert f"<h4>{one.name} " in page
        assert f"<dd>{one.sketch.num_beats:,}</dd>" in page
    assert page.count('<article class="card') == len(demo_components())
    assert "Narrow QRS (about " in page and "Wide QRS (about " in page
    assert "prototype from recording" in page
    assert "Onsets are uncertain by up to 60 ms" in page


def test_what_a_component_weighs_stands_apart_from_who_is_in_its_cell(page):
    text = Reader(page).text
    (one,) = [c for c in demo_components() if c.name == "P1"]
    assert "Who is in its cell. Narrow QRS (about " in text
    assert f"It weighs (apart from who is in the cell): {one.weighs}" in text
    assert "composite ECG of P1, its prototype, and what it weighs" in page
    assert "higher here raises the margin" in text
    assert "How weights are measured." in text and "How shapes are measured." in text
    assert "a T 0.1 mV higher +" in text and "value at the mean reference beat" in text
    plain = [replace(c, weighing=None, weighs=None) for c in demo_components(1, 0)]
    assert "How weights are measured." not in report.build(demo_run(plain))


def test_gains_of_one_table_count_from_the_same_point(page):
    text = Reader(page).text
    assert (
        "Purity of the cells, level by level; gains in correlation over the level "
        "above; p \N{GREATER-THAN OR EQUAL TO} 1/4 with 3 nulls"
    ) in text
    for name in ("of this tree", "of the null: random hyper", "of the ceiling: k-m"):
        assert f"gain {name}" in text
    assert "num_nulls" not in text
    bare = replace(demo_run(demo_components(1, 0)), purity=[])
    assert "none was measured in this run" in report.build(bare)


def test_a_card_says_what_its_component_proves(page):
    deep = demo_components()[-1]
    assert deep.parent != 0
    assert f"<h4>{deep.name} <span>proves “not normal”</span>" in page


def test_equation_is_mathml(page):
    assert page.count("<math ") == 3
    assert "<munder><mi>max</mi><mi>μ</mi></munder>" in page
    text = Reader(page).text
    phrases = [c.phrase for c in demo_components() if c.parent == 0]
    assert f"proven by P1 ({phrases[0]}), P2 ({phrases[1]}), " in text
    assert (
        f" or P4 ({phrases[3]}), where that is above 0. A witness never exceeds the "
        "network, so where one is above 0, the network is."
    ) in text
    assert "1 more" not in text and "one and the same function" not in text
    many = Reader(report.build(demo_run(demo_components(13, 0)))).text
    assert ", or one of 1 more, where that is below 0. A refuter never falls" in many
    assert "f(x) = max(min(P1, P2), Q1) &amp; more &lt; text" in page


def test_sources(page):
    for source in (
        "arXiv:2006.15189",
        "arXiv:2003.11619",
        "10.22489/CinC.2017.065-469",
        "Moody",
        "Goldberger",
        "McSharry",
    ):
        assert source in page


def test_names_have_no_power(page):
    assert NASTY.replace("\x00", "") not in page
    component = report.Component(
        1,
        0,
        NASTY,
        "normal",
        sketch(),
        sentence=NASTY,
        prototype_record=NASTY,
        weighs=NASTY,
        notes={NASTY: NASTY},
    )
    root = report.Component(0, None, NASTY, None, sketch(labels=["N", NASTY]))
    run = demo_run([root, component], name=NASTY)
    other = demo_explanation(record=NASTY)
    for text in (report.build(run), report.build_explanation(other)):
        read = Reader(text)
        data, *rest = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL) or [
            ""
        ]
        assert "<" not in data and rest in ([], [script()])
        assert "\x00" not in text
        assert html.escape("<script>alert('x')</script>") in text
        assert len(read.ids) == len(set(read.ids))


def test_an_empty_run_still_gives_a_page():
    data = report.DataFacts("none", "", 0, 0, {})
    text = report.build(report.ReportData("Empty", data, [], []))
    assert Reader(text).open == []
    assert PROOF in text
    empty = report.Component(0, None, "f", None, None)
    assert "No beat falls into its cell." in report.build(
        report.ReportData("Empty", data, [], [empty])
    )


def test_the_page_is_the_same_each_time(explained):
    small = demo_run(demo_components(1, 0))
    assert report.build(small) == report.build(small)
    assert report.build_explanation(demo_explanation()) == explained


def test_300_cells_stay_under_10_mb():
    size = 0
    for n, kind in enumerate(SHAPES):
        cell = sketch(kind, 400, 0)
        prototype = cell.samples[0]
        one = report.Component(n, 0, f"C{n}", "normal", cell, prototype=prototype)
        size += len(card(one, points_each(300)).encode())
    around = len(report.build(demo_run(demo_components(1, 0))).encode())
    assert around + 300 * size / len(SHAPES) < 10e6


def test_300_cells_with_their_weights_stay_under_15_mb():
    cell = sketch("upright", 400, 1)
    prototype, found = cell.samples[0], weighing(cell, 1)
    more = dict(prototype=prototype, weighing=found)
    one = report.Component(1, 0, "P1", "normal", cell, **more)
    assert 300 * len(card(one, points_each(300)).encode()) < 15e6


def test_a_page_is_written_as_a_whole(tmp_path):
    page = report.build(demo_run(demo_components(1, 0)))
    path = write_text(tmp_path / "new" / "r.html", page)
    assert path.read_text("utf-8") == page and page.startswith("<!doctype html>")
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_explanation_shows_every_beat(explained):
    data = demo_explanation()
    text = Reader(explained).text
    for beat in data.beats:
        assert f"{beat.r_time_s:.2f} s" in text
    assert "not proven (nearest: " in text
    assert "5 answers are given by the network itself" in text
    assert "judged upside down" in text
    assert "proves “normal” for" in text
    assert explained.count('<svg class="spark"') == len(data.beats)
    assert "Which components answered, and how often" in text
    assert "none: the network itself" in text
    (one,) = [c for c in data.components.values() if c.name == "P1"]
    assert f"It weighs, on those recordings: {one.weighs}" in text
    assert "In its cell, on the recordings of the run: Narrow QRS (about " in text
    open_beats = [b for b in data.beats if b.component is None]
    times = ", ".join(f"{b.r_time_s:.2f}" for b in open_beats)
    assert f"R peaks: {times} s." in text


def test_an_explanation_says_what_bears_the_labels(explained):
    assert "Labels belong to recordings; beats inherit them." in Reader(explained).text
    data = demo_explanation()
    beats = [replace(beat, label="N") for beat in data.beats]
    text = Reader(report.build_explanation(replace(data, beats=beats))).text
    assert "Labels are the beats' own" in text and "beats inherit them" not in text


def test_explanation_without_beats_and_of_half_an_hour():
    none = report.ExplainData("A1", np.zeros((1, 0)), 300.0, [], TIME)
    assert "No beat was found." in report.build_explanation(none)
    base = demo_explanation()
    long = report.ExplainData(
        "100", np.zeros((1, 360 * 1800)), 360.0, base.beats * 20, TIME, base.components
    )
    text = report.build_explanation(long)
    assert "The first 120 s of 1,800 s." in text
    assert len(text) < 4e6


def test_numbers_as_text():
    given = [1.0, 0.25, 1234.5, 2.2e-16, -3, True, None, np.float32(0.5), [1, 2]]
    expected = ["1", "0.25", "1,234", "2.20e\N{MINUS SIGN}16", "\N{MINUS SIGN}3"]
    expected += ["yes", "\N{EM DASH}", "0.5", "1, 2"]
    assert [number(value) for value in given] == expected
    assert number(float("nan")) == "\N{EM DASH}"
    assert slug("Q1 <x>") == "Q1-20-3cx-3e"
    rows = {"a": {"b": 1, "c": [{"d": 2}]}, "e": {}}
    assert list(flatten(rows)) == [("a.b", 1), ("a.c.0.d", 2), ("e", {})]


def test_figures_of_a_network_come_from_its_quality():
    rng = np.random.default_rng(0)
    record = np.repeat(np.arange(60), 10)
    normal = record % 2 == 0
    margin = np.where(normal, 1.0, -1.0) + rng.normal(0, 1.5, 600)
    found = quality.measure(margin, normal, record, num_resamples=20)
    facts = report.network_facts(found, "mlp", description="dense")
    assert facts.description == "dense"
    assert facts.confusion["normal"]["normal"] == found.records.normal_called_normal
    assert facts.figures["AUC by beat"].value == found.beat_auc.value
    name = "normal recordings answered normal"
    assert facts.figures[name].value == found.records.sensitivity
    assert facts.figures[name].low < found.records.sensitivity
    data = report.DataFacts("none", "", 60, 600, {})
    text = Reader(report.build(report.ReportData("Q", data, [facts], []))).text
    assert "AUC by recording" in text and "Calibration" in text


def test_without_labels_of_recordings_the_beats_are_told(page):
    read = Reader(page).text
    (root,) = [c for c in demo_components() if c.parent is None]
    count = f"{root.sketch.num_records:,} held-out recordings"
    assert f"0.866AUC by recording{count}; by beat 0.807" in read
    assert "Recordings by label and split" in read
    run = demo_run(demo_components(1, 0))
    data = replace(run.data, labelled="beats", labels={"heldout": {"N": 9, "V": 1}})
    text = Reader(report.build(replace(run, data=data))).text
    assert f"0.807AUC by beat{count}" in text
    assert "AUC by recording" + count not in text
    model = run.metrics["model"] | {"intervals": {"beat_auc": [0.55, 0.99]}}
    sure = replace(run, data=data, metrics={**run.metrics, "model": model})
    text_sure = Reader(report.build(sure)).text
    assert f"0.807AUC by beat{count}; 95% interval 0.550 to 0.990" in text_sure
    assert "Labels belong to recordings" not in text
    assert (
        "Labels are the beats' own, in the classes of AAMI EC57: N holds normal "
        "beats and bundle branch block alike.N normal or bundle branch blockV "
        "ventricular beat"
    ) in text
    assert "Beats by label and split" in text


def test_figures_of_beats_where_recordings_bear_no_label():
    rng = np.random.default_rng(0)
    record, normal = np.repeat(np.arange(6), 100), np.arange(600) % 3 > 0
    margin = np.where(normal, 1.0, -1.0) + rng.normal(0, 1.5, 600)
    found = quality.measure(margin, normal, record, num_resamples=20)
    facts = report.network_facts(found, "mlp", labelled="beats")
    assert list(facts.figures) == [
        "normal beats answered normal",
        "not normal beats answered not normal",
        "AUC by beat",
        "accuracy by beat",
    ]
    assert list(facts.roc) == list(facts.operating) == ["beats"]
    assert sum(facts.confusion["normal"].values()) == normal.sum()
    assert facts.confusion_unit == "beats"


def test_components_that_are_the_same_function_say_so():
    components = demo_components(3, 1)
    same = {"P1": ("P3",), "P3": ("P1",)}
    shared = [replace(c, same_as=same.get(c.name, ())) for c in components]
    run = replace(
        demo_run(shared),
        coverage=[
            dict(side="normal", num_components=3, proven_all=0.99971),
            dict(side="not normal", num_components=3, proven_all=0.5),
        ],
    )
    page = report.build(run)
    text = Reader(page).text
    assert "The same function as P3; only its cell differs." in text
    assert "The same function as P1; only its cell differs." in text
    assert page.count("The same function as ") == 2
    phrases = {c.name: c.phrase for c in shared}
    assert f"proven by P1 ({phrases['P1']}) = P3 ({phrases['P3']}) or P2 (" in text
    assert "Components joined by “=” are one and the same function;" in text
    assert "36 witnesses, 4 different functions" in text and "= P1" in text
    assert (
        "Of the components below the root, all 3 of the side “normal” prove 99.97% of "
        "its answers, and all 3 of the side “not normal” prove 50.0% of its answers, "
        "each of them by itself. There the nearest mean of a cell alone decides whose "
        "cell a beat is in, as in k-means, and purity says nothing about the "
        "components."
    ) in text
    alone = Reader(report.build(demo_run(components))).text
    assert "The same function" not in alone and "each of them by itself" not in alone


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {},
            "the one whose cell the beat looks most like (the nearest mean of a cell)",
        ),
        ({"metric": "cut"}, "cell has the nearest mean of the gates' input answers"),
        ({"localize": 0.5}, "margin, 0.5 times the squared distance to its mean of a"),
    ],
)
def test_which_of_several_components_answers(options, told):
    run = demo_run(demo_components(2, 0))
    assert (
        told
        in Reader(
            report.build(replace(run, equation=replace(run.equation, **options)))
        ).text
    )


def test_the_head_says_of_what_its_numbers_are(page):
    text = Reader(page).text
    for told in (
        "100%complete equation and network agreeall 268,431 beats, training too; by "
        "construction: a check of the arithmetic",
        "99.1%of “normal” answers provenheld-out recordings; by 36 witnesses",
        "0proven wronglyall beats; 0 by construction: a check of the arithmetic",
        "over all patterns (9,909 occur in the data). A few of them are shown",
    ):
        assert told in text


def test_a_share_is_all_only_if_it_is_all():
    given = [1.0, 0.9997, 0.99999999, 0.97512, 0.0004, 1e-9, 0.0, None]
    expected = [
        "100%",
        "99.97%",
        ">99.999%",
        "97.5%",
        "0.04%",
        "<0.001%",
        "0%",
        "\N{EM DASH}",
    ]
    assert [share(value) for value in given] == expected


def test_long_texts_are_folded_and_come_after_the_pictures(page):
    assert "<details open" not in page
    order = [
        page.index(f'<section id="{name}"') for name in ("tree", "equation", "run")
    ]
    assert order == sorted(order)


def test_the_command_says_what_stands_for_a_folder():
    run = replace(
        demo_run(demo_components(1, 0)),
        command="ecg-jax factor m.onnx --data mitdb --data-dir DIR --out o",
    )
    text = Reader(report.build(run)).text
    assert (
        "To get this page again:ecg-jax factor m.onnx --data mitdb --data-dir DIR "
        "--out oDIR is the folder where the recordings are.The model is named without "
        "the folder that it lies in."
    ) in text
    plain = report.build(demo_run(demo_components(1, 0)))
    assert "DIR is the folder" not in plain and "The model is named" not in plain
