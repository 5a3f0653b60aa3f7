"""What a tree says of one's own beats: the report, explanations, figures."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
import pytest
from matplotlib.figure import Figure
from small_beats import R_S, RATE, arrays, names, t_up
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import (
    DataError,
    ExampleError,
    PatternError,
    RunError,
    RunExistsError,
)
from ecg_jax.storage.table import read_parquet

X, UPRIGHT = arrays()
FILES = [
    "components.json",
    "figures",
    "metrics.json",
    "partition.parquet",
    "ranges.parquet",
]


def grown(fn, beats, **options):
    return ej.grow(fn, beats, **{"depth": 1, "budget": 2, "min_count": 5, **options})


@pytest.fixture(scope="module")
def beats():
    labels = names(UPRIGHT)
    named = {"leads": ("II",), "labels": labels}
    return ej.beats(X, sample_rate_hz=RATE, r_peak_s=R_S, **named)


@pytest.fixture(scope="module")
def tree(beats):
    return grown(t_up, beats)


@pytest.fixture(scope="module")
def folder(tree, beats, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    assert ej.report(tree, beats, out, citation="Somebody & al.") == out / "report.html"
    return out


def text_of(path):
    """What a page says, without figures and style."""
    page = re.sub(r"<(style|svg).*?</\1>", " ", path.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_verbs_take_beats(beats, tree):
    same = ej.decide(tree, X)
    np.testing.assert_array_equal(ej.decide(tree, beats).value, same.value)
    assert ej.certify(tree, beats).wrongly_proven == 0
    assert ej.certify(ej.factor(t_up, X[0]), beats, num_pairs=64).num_pairs == 64
    wide = ej.grow(t_up, X.astype(np.float64), depth=1, budget=1)
    values = ej.decide(wide, beats).value  # float32 is widened, which is exact
    np.testing.assert_array_equal(values, ej.decide(wide, X.astype(np.float64)).value)


def test_the_folder_holds_page_figures_and_tables(folder, tree, beats):
    assert sorted(p.name for p in folder.iterdir()) == [*FILES, "report.html"]
    names = [node.name for node in tree.nodes]
    kept = json.loads((folder / "components.json").read_text())
    assert [part["name"] for part in kept] == names
    assert {p.stem for p in (folder / "figures").iterdir()} == set(names)
    table = read_parquet(folder / "partition.parquet")
    assert len(table["margin"]) == len(beats) and set(table["split"]) == {"given"}
    found = json.loads((folder / "metrics.json").read_text())
    assert found["coverage"]["wrongly_proven"] == 0
    assert found["exactness"]["decision_agreement"] == 1
    assert found["model"]["beat_auc"] == 1
    assert found["exactness"]["max_relative_residual_f64"] is None  # it is in float32


def test_the_page_says_what_is_true_of_arrays(folder):
    text = text_of(folder / "report.html")
    assert "The function t_up says of each beat" in text
    assert "the beats given" in text and "lead II" in text
    assert "What counts as normal: NORM." in text and "MI 50%" in text
    assert "Somebody & al." in text
    for wrong in ("eld-out", "raining too", "training beats", "bSQI", "AAMI"):
        assert wrong not in text.partition("What cannot be claimed")[0], wrong
    assert " recordings" not in text.partition("How much is proven")[2][:600]


def test_the_page_holds_beats_of_every_component(folder, tree, beats):
    page = (folder / "report.html").read_text()
    data = json.loads(re.search(r'id="page-data">(.*?)</script>', page)[1])
    assert data["leads"] == ["II"]
    names = [node.name for node in tree.nodes]
    found = ej.decide(tree, beats)
    for one in list(data["components"].values())[1:]:
        kinds = [beat["kind"] for beat in one["shown"]]
        assert kinds[:3] == ["nearest"] * 3 and 3 < len(kinds) <= 12
        assert sorted(set(kinds), key=kinds.index) == [
            kind for kind in ("nearest", "middling", "farthest", "least sure")
            if kind in kinds
        ]  # fmt: skip
        away = [beat["distance_mv"] for beat in one["shown"]]
        assert away[0] == min(away)
        for beat in one["shown"]:
            off = np.abs(X - np.array(beat["mv"]) * data["unit_mv"]).max(axis=1)
            row = int(np.argmin(off))
            assert off[row] <= data["unit_mv"] / 2 + 1e-6
            assert beat["margin"] == pytest.approx(found.value[row], rel=1e-3)
            assert beat["cell"] == names[found.cell[row]]
            prover = found.prover[row]
            assert beat["prover"] == (names[prover] if prover >= 0 else "")
            assert (beat["record"], beat["r_time_s"]) == ("", None)
            assert re.fullmatch(
                r"baseline 0\.2\d mV (lower: Q1|higher: P2)", beat["flip"]
            )


def test_prototypes_are_beats_that_were_given(folder):
    for part in json.loads((folder / "components.json").read_text())[1:]:
        away = np.abs(X - np.array(part["prototype"], np.float32)).max(axis=1)
        assert away.min() == 0 and part["prototype_record"] is None


def test_without_labels_the_page_says_so(tree, tmp_path):
    plain = ej.beats(X, sample_rate_hz=RATE)
    page = ej.report(tree, plain, tmp_path / "page.html", title="A <title>")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]  # the page alone
    text = text_of(page)
    assert "Without labels nothing is known of how often the network is right." in text
    assert "A <title>" in text and "labels" not in text.partition("The network")[0]


@pytest.mark.slow
def test_labels_of_which_none_is_normal(tree, tmp_path):
    odd = ej.beats(X, sample_rate_hz=RATE, labels=np.where(UPRIGHT, "one", "two"))
    text = text_of(ej.report(tree, odd, tmp_path / "page.html"))
    assert "not measured: none of the labels counts as normal." in text
    assert "What counts as normal: none of them." in text and "one 50%" in text


def test_recordings_are_named_where_they_are_known(tree, tmp_path):
    known = ej.beats(X, sample_rate_hz=RATE, records=[f"p{i // 8}" for i in range(80)])
    ej.report(tree, known, tmp_path / "out")
    parts = json.loads((tmp_path / "out" / "components.json").read_text())
    assert all(part["prototype_record"].startswith("p") for part in parts[1:])
    assert "80 beats of 10 recordings" in parts[0]["sentence"]


@pytest.mark.slow
def test_a_flax_network_of_several_leads(tmp_path):
    x = np.stack([X, -X], axis=1)
    net = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
    variables = net.init(jax.random.key(0), x[0].reshape(-1))
    normal = ej.margin(lambda v: net.apply(variables, v.reshape(-1)), 0)
    beats = ej.beats(x, sample_rate_hz=RATE, leads=("I", "V1"))
    text = text_of(ej.report(grown(normal, beats), beats, tmp_path / "page.html"))
    assert "leads I, V1" in text and "Your function says of each beat" in text


@pytest.mark.slow
def test_an_onnx_network(tmp_path):
    pytest.importorskip("onnx")
    from test_readme import make_onnx

    make_onnx(tmp_path / "network.onnx")
    beats = ej.beats(X, sample_rate_hz=RATE, labels=names(UPRIGHT))
    tree = grown(ej.margin(ej.from_onnx(tmp_path / "network.onnx"), 0), beats)
    page = ej.report(tree, beats, tmp_path / "page.html")
    assert "AUC by beat" in text_of(page)
    assert "The function network.onnx says" in text_of(page)


@pytest.mark.slow
def test_a_tree_in_float64(tmp_path):
    beats = ej.beats(X.astype(np.float64), sample_rate_hz=RATE)
    ej.report(grown(t_up, beats), beats, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["exactness"]
    assert found["max_relative_residual_f32"] is None
    assert found["max_relative_residual_f64"] < 1e-12


@pytest.mark.parametrize(
    ("num", "leads", "samples", "rate", "scale"),
    some_slow(
        [
            (1, 1, 65, 100, 0.1),
            (6, 1, 2, 100, 0.1),
            (6, 12, 40, 50, 0),
            (6, 2, 300, 360.5, 1),
        ],
        [(6, 1, 2, 100, 0.1)],
    ),
)
def test_any_window_has_a_page(num, leads, samples, rate, scale, tmp_path):
    rng = np.random.default_rng(0)
    x = scale * rng.normal(size=(num, leads, samples))
    names = [f"L{i}" for i in range(leads)]
    labels = rng.choice(["NORM", "<b>&", "$x$"], num)
    beats = ej.beats(
        x.astype(np.float32), sample_rate_hz=rate, leads=names, labels=labels
    )

    def fn(x):
        return jax.nn.relu(x[0, ::2].sum()) - jax.nn.relu(x[-1, 1::2].sum())

    tree = grown(fn, beats, min_count=1)
    text = text_of(ej.report(tree, beats, tmp_path / "page.html"))
    assert "Labels are the beats' own" in text and f"{num} beats" in text
    for node in tree.nodes:
        assert ej.plot.component(tree, node.name, beats).axes
    assert ej.explain(tree, beats)._repr_html_().count("<svg") == num


def test_the_user_has_x64_as_he_likes(tmp_path):
    script = f"""
import jax, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from small_beats import arrays, t_up
import ecg_jax as ej
assert not jax.config.jax_enable_x64
beats = ej.beats(arrays()[0], sample_rate_hz=100)
tree = ej.grow(t_up, beats, depth=1, budget=2, min_count=5)
print(ej.report(tree, beats, "page.html"), jax.config.jax_enable_x64)
print(len(ej.explain(tree, beats)), "pyplot" in str(sorted(sys.modules)))
with jax.enable_x64(True):
    tree = ej.grow(t_up, beats.inputs().astype("float64"), depth=1, budget=2)
print(ej.report(tree, beats, "double.html"), len(ej.explain(tree, beats)))
cell = ej.plot.cell(tree, "f", beats)
print(len(ej.explain(tree, beats.inputs()[0])), len(cell.axes))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.stdout.splitlines() == [
        *("page.html False", "80 False", "double.html 80", "1 1"),
    ], done.stderr


def test_a_report_is_not_overwritten(folder, tree, beats):
    before = (folder / "report.html").read_bytes()
    with pytest.raises(RunExistsError) as caught:
        ej.report(tree, beats, folder)
    assert str(caught.value) == (
        f"{folder / 'report.html'} is there already.\n  try: replace=True, or another "
        "place"
    )
    for name in ("P9.svg", "mine.svg"):
        (folder / "figures" / name).write_text("")
    again = ej.report(tree, beats, folder, citation="Somebody & al.", replace=True)
    assert again.read_bytes() == before
    assert not (folder / "figures" / "P9.svg").exists()  # of no component any more
    (folder / "figures" / "mine.svg").unlink()


def test_places_that_cannot_be_written(folder, tree, beats, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        ej.report(tree, beats, tmp_path / "file")
    assert str(caught.value) == (
        f"{tmp_path / 'file'} is a file, not a folder.\n  try: a folder, or a name "
        "that ends in .html"
    )
    with pytest.raises(RunError) as caught:
        ej.report(tree, beats, tmp_path / "file" / "below")
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'below'} cannot be written to: Not a directory.\n"
        "  try: another folder"
    )
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunExistsError, match="holds a run, which has a report"):
        ej.report(tree, beats, tmp_path)


@pytest.mark.usefixtures("unchecked")
def test_beats_of_another_form(tree, beats, tmp_path):
    with pytest.raises(ExampleError) as caught:
        ej.report(tree, ej.beats(X[:, :60], sample_rate_hz=RATE), tmp_path / "out")
    assert str(caught.value) == (
        "the tree's function takes an input of shape [65], a beat has [60].\n"
        "  try: the beats that the tree was grown on"
    )
    with pytest.raises(ExampleError) as caught:
        ej.report(tree, X, tmp_path / "out")  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == (
        "beats is a ndarray, not Beats.\n  try: ecg_jax.beats(x, sample_rate_hz=...)"
    )
    assert not (tmp_path / "out").exists()


def test_one_beat_is_explained(tree, beats):
    found = ej.explain(tree, X[0])
    assert len(found) == 1 and found.answers == ("normal",)
    assert found.provers == ("P1",) and found.cells == ("P1",)
    assert repr(found).startswith("Explanation: normal, proven by P1\n")
    assert found.time_s is None and found.leads == ("",)
    unnamed = ej.beats(X, sample_rate_hz=RATE, r_peak_s=R_S)
    assert ej.explain(tree, X[0], unnamed).leads == ("",) and unnamed.leads == ()
    known = ej.explain(tree, X[0], beats)
    assert known.leads == ("II",) and known.time_s is not None
    np.testing.assert_array_equal(known.beats, X[:1, None])


def test_many_beats_are_explained(tree, beats):
    found, same = ej.explain(tree, beats), ej.explain(tree, X)
    assert len(found) == 80 and found.cells == same.cells
    assert len(repr(found)) <= 400 and len(repr(found).splitlines()) <= 5
    assert repr(found).startswith("Explanation of 80 beats: 40 normal, 40 not normal\n")
    kept = json.loads(json.dumps(found.to_json()))
    assert kept["num_normal"] == 40 and len(kept["beats"]) == 80
    assert set(kept["beats"][0]) == {
        *("answer", "margin", "lower", "upper", "slack", "proven_by", "cell")
    }
    assert len(kept["prototypes"]["P1"]) == 65
    shown = found._repr_html_()
    assert shown.count("<svg") == 20 and "and 60 more beats" in shown
    assert "<script" not in shown and "concerns the network" in shown


def test_an_answer_without_a_proof(tree, beats):
    root = tree.keeping(tree.nodes[:1], {})  # the function alone
    found = ej.explain(root, beats)
    assert set(found.provers) == {None} and set(found.cells) == {"f"}
    assert "in f, not proven" in found._repr_html_()
    assert found.figure().axes


@pytest.mark.parametrize(
    "draw",
    [
        lambda tree, beats: ej.plot.tree(tree, beats),
        lambda tree, beats: ej.plot.component(tree, "P1", beats),
        lambda tree, beats: ej.plot.component(tree, "f", beats),
        lambda tree, beats: ej.plot.cell(tree, "Q1", beats),
        lambda tree, beats: ej.plot.beat(tree, beats, 3),
        lambda tree, beats: ej.explain(tree, beats).figure(),
        lambda tree, beats: ej.explain(tree, X[:2]).figure(),
    ],
)
def test_figures(draw, tree, beats):
    figure = draw(tree, beats)
    assert isinstance(figure, Figure)
    figure.canvas.draw()


@pytest.mark.parametrize("draw", ["cell", "beat"])
def test_axes_are_taken_and_have_units(draw, tree, beats):
    figure = Figure()
    ax = figure.add_subplot(1, 2, 1)
    made = (
        ej.plot.cell(tree, "P1", beats, ax=ax)
        if draw == "cell"
        else ej.plot.beat(tree, beats, 0, ax=ax)
    )
    assert made is figure and ax.lines
    assert ax.get_ylabel() == "lead II (mV)" and ax.get_xlabel() == "time from R (s)"
    assert ("f(x)" in ax.get_title(loc="left")) == (draw == "beat")


def test_what_cannot_be_drawn(tree, beats):
    with pytest.raises(PatternError, match="no component is called 'P9'"):
        ej.plot.cell(tree, "P9", beats)
    with pytest.raises(DataError) as caught:
        ej.plot.beat(tree, beats, 80)
    assert str(caught.value) == "no beat 80: there are 80.\n  try: 0 to 79"
    normal = ej.beats(X[UPRIGHT], sample_rate_hz=RATE)
    with pytest.raises(DataError) as caught:
        ej.plot.component(tree, "Q1", normal)
    assert str(caught.value) == (
        "none of 40 beats falls into the cell of Q1.\n  try: the beats that the tree "
        "was grown on"
    )
