"""A network of several leads is drawn, weighed, told and changed in all of them."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ecg_files import TWELVE, leads_of
from run_files import command

import ecg_jax as ej
from ecg_jax import draw
from ecg_jax.cells.captions import describe, phrase
from ecg_jax.cells.change_paths import TOGETHER, UNITS
from ecg_jax.cells.leads import rows_of, telling
from ecg_jax.cells.sketch import composite
from ecg_jax.cells.weighing import Scale, weigh
from ecg_jax.cells.weighing_words import words
from ecg_jax.draw.layout import holding
from ecg_jax.errors import ModelError
from ecg_jax.networks.saved import ModelCard
from ecg_jax.pages.page import build
from ecg_jax.runs.model import check_windows
from ecg_jax.views.components import component_json, component_of, components
from ecg_jax.views.composites import composites
from ecg_jax.views.evaluation import evaluate
from ecg_jax.views.report_data import About, report_data
from ecg_jax.views.what_changes import what_changes

RATE, BEFORE = 100, 0.25
TIME = np.arange(65) / RATE - BEFORE
TWO = ("MLII", "V1")
PRINTED = tuple(name.replace("AV", "aV") for name in TWELVE)


def array(names, num=24):
    """Beats of these leads; in every other one V1 is raised after the QRS."""
    rng = np.random.default_rng(0)
    seen = [name.upper() for name in names]
    signal, peaks = leads_of(seen, (num + 3) * 0.8, RATE, seed=1)
    starts = peaks[1 : num + 1] - round(BEFORE * RATE)
    x = np.stack([signal[:, a : a + len(TIME)] for a in starts])
    raised = 0.2 * np.exp(-(((TIME - 0.12) / 0.04) ** 2))
    x[1::2, names.index("V1")] += raised
    x *= rng.uniform(0.9, 1.1, (len(x), 1, 1))
    return x.astype(np.float32)


def v1_is_low(k):
    """Normal where V1 is low after the QRS; of the other leads it sees R only."""

    def fn(x):
        late = jnp.mean(x[k, 34:42])
        bent = jax.nn.relu(late - 0.05) - jax.nn.relu(0.05 - late)
        return 0.05 - bent - jax.nn.relu(x[0, 25] - 2) + jax.nn.relu(x[0, 24] - 3)

    return fn


def given(names, **options):
    labels = ["N", "O"] * 12
    more = {"sample_rate_hz": RATE, "r_peak_s": BEFORE, "labels": labels}
    return ej.beats(array(names), leads=names, **more, **options)


def sketch_of(names):
    x = array(names)
    margin = np.where(np.arange(len(x)) % 2, -1.0, 1.0)
    known = {"sample_rate_hz": RATE, "before_s": BEFORE, "leads": names}
    return composite(x, np.arange(len(x)) % 7, ["N"] * len(x), margin, **known)


@pytest.fixture(scope="module")
def walked():
    beats = given(TWO)
    tree = ej.grow(v1_is_low(1), beats, depth=1, budget=2)
    found = evaluate(None, tree, beats, None)
    return found, what_changes(found)


def test_twelve_leads_stand_as_in_a_print():
    laid = holding(PRINTED, TIME, array(PRINTED))
    place = dict(zip(laid.names, laid.places, strict=True))
    rows = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"))
    for row in (*rows, ("III", "aVF", "V3", "V6")):
        right, up = zip(*(place[name] for name in row), strict=True)
        assert len(set(up)) == 1 and np.allclose(np.diff(right), right[1])
        assert right[1] >= TIME[-1] - TIME[0]
    assert place["I"][1] == 0 > place["II"][1] > place["III"][1]
    for right, up in laid.places:  # the paper's lines stay where they are
        assert round(right / 0.2, 6).is_integer() and round(up / 0.5, 6).is_integer()
    x = array(PRINTED)
    for k, (_, up) in enumerate(laid.places):
        assert laid.feet[k] <= x[:, k].min() + up <= x[:, k].max() + up <= laid.tops[k]
    assert rows_of(TWELVE) == rows_of(PRINTED) and rows_of(("I",)) == ((0,),)
    assert rows_of(PRINTED[::-1])[0] == (11, 8, 5, 2)


@pytest.mark.parametrize("names", [TWO, PRINTED])
def test_every_figure_names_its_leads(names):
    cell, x = sketch_of(names), array(names)
    template = np.zeros_like(x)
    template[:, names.index("V1"), 34:42] = -1
    value = (template * x).sum((1, 2))
    found = weigh(template, value, x, cell, Scale.of(x, "mV"))
    node = [draw.TreeNode(0, None, "f", None, cell)]
    few = [names[k] for k in draw.shown_leads(node)]
    figures = {
        "cell": (draw.cell(cell, prototype=x[0]), names),
        "sides": (draw.sides(cell), names),
        "weights": (draw.weights(cell, found, prototype=x[0]), names),
        "pair": (draw.pair(x[:3], x[4], TIME, leads=names), names),
        "beside": (draw.beside([draw.Shown("P1", TIME, x[0], leads=names)]), names),
        "strips": (
            draw.strips(x[0], RATE, [0.25], ["normal"], ["P1"], leads=names),
            names,
        ),
        "tree": (draw.tree(node), few),
    }
    for name, (figure, leads) in figures.items():
        text = draw.svg(figure)
        for lead in leads:
            assert re.search(rf">(its cell in )?{lead}<", text), (name, lead)
        assert len(text) < 400_000, name
    spark = draw.spark(x[0], x[1], side="normal", leads=names)
    assert spark.count("<polyline") == 2 * len(names) and ">V1</text>" in spark


def test_a_flip_is_drawn_in_the_lead_that_is_changed():
    x = array(TWO)
    after = x[0] + np.array([[0.0], [0.3]], np.float32)
    figure = draw.changed(x[0], after, TIME, side="normal", leads=TWO)
    assert figure.axes[0].get_ylabel() == "lead V1 (mV)"
    drawn = [line.get_ydata() for line in figure.axes[0].lines]
    assert any(np.array_equal(y, after[1]) for y in drawn)


def test_shapes_are_told_by_lead_and_in_twelve_by_finding():
    cell = sketch_of(TWO)
    told = describe(cell)
    assert told.startswith("In MLII narrow QRS (about ") and ", in V1 " in told
    assert "mostly negative" in told.partition(", in V1 ")[2]
    assert describe(cell.take([0])).startswith("Narrow QRS (about ")
    told, short = describe(sketch_of(PRINTED)), phrase(sketch_of(PRINTED))
    assert re.match(r"Narrow QRS \(about \d+ ms, median of \d+ leads\), ", told)
    assert "mostly negative in aVR, V1, V2" in told and "inverted T in aVR" in short
    assert telling([cell.median, cell.median + np.array([[0], [1]])], most=1) == (1,)


def test_the_heaviest_leads_are_named():
    x, cell = array(PRINTED), sketch_of(PRINTED)
    template = np.zeros_like(x)
    template[:, PRINTED.index("V1"), 34:42] = -1
    template[:, PRINTED.index("V5"), 24:27] = 0.02
    value = (template * x).sum((1, 2))
    found = weigh(template, value, x, cell, Scale.of(x, "mV"))
    assert words(found).startswith("V1 9") and " | V5 " in words(found)
    assert "other leads" not in words(found)
    assert sum(found.by_lead) == pytest.approx(1)
    assert {part.lead for part in found.parts} == set(PRINTED)
    assert sum(part.share_time for part in found.parts) == pytest.approx(1)


@pytest.mark.parametrize("names", [TWO, PRINTED])
def test_waves_are_changed_lead_by_lead(names):
    beats = given(names)
    changes = ej.changes(beats)
    each = [kind for kind in UNITS if kind not in TOGETHER]
    assert len(changes.names) == len(each) * len(names) + len(TOGETHER)
    assert changes.units["ST level V1"] == "mV" and "ST level" not in changes.names
    k, x = names.index("V1"), beats.inputs()
    others = [j for j in range(len(names)) if j != k]
    for kind in each:
        name = f"{kind} V1"
        assert changes.leads[name] == "V1"
        added = changes.directions[name]
        assert added.shape == x.shape and not added[:, others].any()
        offered = changes.reasons[name] == ""
        assert np.array_equal(np.abs(added[:, k]).max(axis=1) > 1e-6, offered)
    alone = ej.changes(ej.beats(x[:, k], sample_rate_hz=RATE, r_peak_s=BEFORE))
    np.testing.assert_array_equal(  # measured where that lead's own waves are
        changes.directions["ST level V1"][:, k], alone.directions["ST level"]
    )
    np.testing.assert_allclose(changes.apply(3, "gain", 0.1), 1.1 * x[3], rtol=1e-5)
    assert changes.leads["gain"] == "" == changes.leads["shift"]


@pytest.mark.slow
def test_ranges_of_a_network_that_looks_at_one_lead(walked):
    found = walked[1].ranges
    changes = found.changes
    for at, name in enumerate(found.names):
        flips = np.isfinite(found.low[:, at]) | np.isfinite(found.high[:, at])
        assert not (flips.any() and changes.leads[name] == "MLII")
    (first,) = found.nearest(1, 1)
    assert first["lead"] == "V1" and f"{first['words']} ".count("in V1 ") == 1
    assert ej.plot.flip(found, 1).axes[0].get_ylabel() == "lead V1 (mV)"


def test_files_and_page_carry_the_leads(walked):
    found, changed = walked
    shown = components(found, changed, composites(found))
    cards = [json.loads(json.dumps(component_json(one))) for one in shown]
    for card in cards[1:]:
        assert card["leads"] == list(TWO)
        assert np.shape(card["prototype"]) == np.shape(card["composite"]) == (2, 65)
        assert {part["lead"] for part in card["weighing"]["parts"]} == set(TWO)
        assert "V1 >99%: " in card["weighs"] and "in MLII " in card["phrase"]
        assert {one["lead"] for one in card["reach"]} == {"", *TWO}
        again = component_of(card)
        assert again.leads == TWO and again.prototype.shape == (2, 65)
    table = changed.columns()
    of = {
        str(c): str(lead)
        for c, lead in zip(table["change"], table["lead"], strict=True)
    }
    assert of["ST level V1"] == "V1" and of["offset MLII"] == "MLII"
    assert of["gain"] == of["shift"] == ""
    html = build(report_data(found, shown, {}, About("two"), changed))
    assert "Leads: MLII, V1." in html and "its cell in V1" in html
    told = changed.metrics()
    assert list(told["family"])[:2] == ["ST level MLII", "ST level V1"]
    assert told["sides"]["normal"]["gain"]["unit"] == "fraction"
    assert '"leads":["MLII","V1"]' in html and "none is turned" in html
    assert "the ST level rises in V1 by" in html


def test_beats_are_explained_in_all_leads(walked):
    tree, beats = walked[0].part.tree, walked[0].part.beats
    found = ej.explain(tree, beats)
    assert found.leads == TWO and found.beats.shape == (24, 2, 65)
    assert all(wave.shape == (2, 65) for wave in found.prototypes.values())
    lines = ej.to_mermaid(tree).splitlines()
    assert all(line.count("<br>") == 3 for line in lines if " proves " in line)
    assert tree._repr_html_().count("<polyline") == 2 * (len(tree.nodes) - 1)
    text = draw.svg(ej.plot.beat(tree, beats, 0))
    assert ">MLII<" in text and ">V1<" in text
    cell = draw.svg(ej.plot.cell(tree, found.cells[0], beats))
    assert ">MLII<" in cell and ">V1<" in cell
    assert "leads MLII, V1; a large square" in draw.svg(ej.plot.tree(tree, beats))


def test_a_network_of_other_leads():
    class Network:
        margin, cast, kind, window = abs, abs, "none", (2, 65)
        card = ModelCard("Two leads", input={"leads": list(TWO)})

    one, turned = given(("V1",)), given(TWO[::-1])
    with pytest.raises(ModelError) as error:
        check_windows(Network(), one)
    cure = (
        "  try: of recordings, --beats.leads MLII V1; of an array or a file, those "
        "leads of it"
    )
    assert str(error.value) == (
        "the network 'Two leads' takes 2 leads (MLII, V1), the beats have 1 lead "
        f"(V1).\n{cure}"
    )
    with pytest.raises(ModelError) as error:
        check_windows(Network(), turned)
    assert str(error.value) == (
        "the network 'Two leads' takes 2 leads (MLII, V1), the beats have 2 leads "
        f"(V1, MLII).\n  why: the order of leads matters\n{cure}"
    )
    with pytest.raises(ModelError, match=r"\(V1, V5\)\.\n  why: the order of leads"):
        check_windows(Network(), given(("V1", "V5")))


def test_leads_of_a_file_of_beats_are_no_choice(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, beats=array(TWO), sample_rate_hz=RATE, leads=TWO)
    words = ("run", "--data", path, "--beats.leads", "V1", "--out", tmp_path / "run")
    status, _, err = command(*words)
    assert status == 2 and err == (
        f"ecg-jax run: DataError: {path} is a file of beats, whose leads are those "
        "that it holds, not V1 by choice.\n  try: without --beats.leads; or a file of "
        "these leads\n"
    )
    assert not (tmp_path / "run").exists()
