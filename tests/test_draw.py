import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from ecg_jax import draw
from ecg_jax.cells.ranges import Reach, Side
from ecg_jax.cells.sketch import composite
from ecg_jax.cells.weighing import Scale, weigh
from ecg_jax.draw.paper import squares
from ecg_jax.draw.render import _path

RATE, BEFORE = 100.0, 0.25
TIME = np.arange(65) / RATE - BEFORE
NASTY = '<script>alert("$x$")</script> $\\frac$ &'


def sketch(num=40, seed=0, t=0.3):
    rng = np.random.default_rng(seed)
    beat = np.exp(-0.5 * (TIME / 0.015) ** 2)
    beat = beat + t * np.exp(-0.5 * ((TIME - 0.24) / 0.04) ** 2)
    beats = beat + rng.normal(0, 0.03, (num, 1, 65))
    margin = rng.normal(0.5, 1, num)
    label = np.array(list("NOA~"))[rng.integers(0, 4, num)]
    record = np.arange(num) % 9
    return composite(beats, record, label, margin, sample_rate_hz=RATE, before_s=BEFORE)


def weighing(num=40, seed=0, leads=1):
    rng = np.random.default_rng(seed)
    x = np.repeat(sketch(num).samples, leads, axis=1)
    wave = np.sin(20 * TIME) * np.exp(-(TIME**2) / 0.05)
    template = np.tile(wave, (len(x), leads, 1)) * rng.normal(1, 0.1, (len(x), 1, 1))
    cell = composite(
        x,
        np.arange(len(x)),
        ["N"] * len(x),
        x[:, 0, 0],
        sample_rate_hz=RATE,
        before_s=BEFORE,
    )
    unit = "standard deviation of the recording"
    return cell, weigh(template, template[:, 0, 9], x, cell, Scale.of(x, unit))


def nodes(per_side=3, deeper=2):
    out = [draw.TreeNode(0, None, "f", None, sketch())]
    for side, letter in (("normal", "P"), ("not normal", "Q")):
        for n in range(per_side):
            top = len(out)
            name = f"{letter}{n + 1}"
            out.append(draw.TreeNode(top, 0, name, side, sketch(), href=f"#{name}"))
            for m in range(deeper):
                under = f"{name}.{m + 1}"
                out.append(draw.TreeNode(len(out), top, under, side, sketch(seed=m)))
    return out


CURVE = np.linspace(0, 1, 500)


def strips():
    signal = np.tile(np.interp(np.arange(240) / 300, TIME + 0.25, TIME), 20)
    sides = ["normal", "not normal"]
    return draw.strips(signal[None], 300.0, [0.3, 1.1], sides, ["P1", None])


FIGURES = {
    "cell": lambda some: draw.cell(
        some, side="normal", prototype=some.median, title="P3"
    ),
    "sides": draw.sides,
    "weights": lambda _: draw.weights(*weighing(), side="normal", title="P3"),
    "beside": lambda some: draw.weights(
        *weighing(leads=2), prototype=np.repeat(some.median, 2, 0)
    ),
    "pair": lambda some: draw.pair(some.samples[:3], some.median, TIME, side="normal"),
    "alone": lambda some: draw.pair(some.samples[:3], None, TIME),
    "two": lambda some: draw.beside(
        [
            draw.Shown("P1", TIME, some.median, some.samples[0], "normal"),
            draw.Shown("Q1", TIME, None, some.samples[1], "not normal"),
        ]
    ),
    "tree": lambda _: draw.tree(nodes()),
    "strips": lambda _: strips(),
    "roc": lambda _: draw.roc(
        {"beats": (CURVE, CURVE**0.3)}, operating={"beats": (0.2, 0.6)}
    ),
    "calibration": lambda _: draw.calibration(CURVE[::50], CURVE[::50], np.arange(10)),
    "frontier": lambda _: draw.frontier({"normal": [(0.9, 0.98, 36), (0.8, 0.99, 36)]}),
    "histogram": lambda _: draw.histogram(
        np.array([1.0, 2, np.nan]), x_label="seconds"
    ),
    "bars": lambda _: draw.bars({"N": 3, "A": 1}, x_label="recordings"),
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_svg_is_small_valid_and_the_same_each_time(name):
    text = draw.svg(FIGURES[name](sketch()))
    assert text == draw.svg(FIGURES[name](sketch()))
    ET.fromstring(text)
    assert "<metadata" not in text and "DejaVu" not in text and "<!--" not in text
    assert len(text) < 120_000
    assert not re.search(r'(?:href|src|url)[=(]"?https?:', text)


def test_png_is_the_same_each_time():
    first = draw.png(draw.cell(sketch(), title="P1"))
    assert first.startswith(b"\x89PNG")
    assert first == draw.png(draw.cell(sketch(), title="P1"))


def test_pyplot_is_not_touched():
    draw.svg(draw.cell(sketch()))
    assert "matplotlib.pyplot" not in sys.modules


def test_paper_has_the_proportions_of_25_mm_a_second_and_10_mm_a_millivolt():
    figure = draw.cell(sketch(), title="P1")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_window_extent()
    seconds = box.width / np.ptp(axes.get_xlim())
    millivolts = box.height / np.ptp(axes.get_ylim())
    assert millivolts / seconds == pytest.approx(0.4, rel=1e-6)
    assert axes.get_xlim()[1] == pytest.approx(TIME[-1])


def test_limits_are_whole_squares_around_0_and_1_mv():
    assert squares(0.0, 0.2) == (-0.5, 1.5)
    assert squares(-1.2, 2.3) == (-1.5, 2.5)
    assert squares(-90, 90) == (-4.0, 6.0)
    low, high = draw.limits_of([sketch()])
    assert low <= sketch().quantiles.min() and high >= sketch().quantiles.max()


def test_counts_and_labels_are_in_the_figure():
    text = draw.svg(draw.cell(sketch(), title="P3"))
    assert "40 beats, 9 recordings, at most 12% of one" in text
    assert "N " in text
    assert "normal: " in draw.svg(draw.sides(sketch()))


def test_names_have_no_power():
    text = draw.svg(draw.cell(sketch(), title=NASTY))
    assert "<script" not in text and "&lt;script" in text
    node = [draw.TreeNode(0, None, NASTY, None, sketch(), caption=NASTY)]
    assert "<script" not in draw.svg(draw.tree(node))
    strips = draw.strips(TIME[None], RATE, [0.3], ["normal"], [NASTY])
    assert "<script" not in draw.svg(strips)
    assert "<script" not in draw.svg(draw.roc({NASTY: (TIME, TIME)}))
    assert "<script" not in draw.svg(draw.bars({NASTY: 1}, x_label="x"))


@pytest.mark.parametrize("per_side", [1, 2, 3])
def test_words_of_the_sides_are_whole_and_apart(per_side):
    figure = draw.tree(nodes(per_side))
    figure.draw_without_rendering()
    words = [text for text in figure.texts if "proven by" in text.get_text()]
    left, right = (text.get_window_extent() for text in words)
    assert 0 <= left.x0 < left.x1 < right.x0 < right.x1 <= figure.bbox.x1


def test_ranges_with_a_title_say_what_bars_and_names_are():
    ends = Side((0.1, 0.2, 0.4), 0.75, "Q1")
    one = Reach("wander cosine", "mV", 0.5, 40, ends, ends)
    figure = draw.ranges([one], title="Forty beats, lead I")
    figure.draw_without_rendering()
    words = [*figure.texts, *figure.axes[0].texts]
    assert all(figure.bbox.x0 <= t.get_window_extent().x0 for t in words)
    assert all(t.get_window_extent().x1 <= figure.bbox.x1 for t in words)
    text = " ".join(t.get_text() for t in words)
    assert "Forty beats, lead I" in text and "bar: from where a quarter" in text
    assert "bar: from" not in draw.svg(draw.ranges([one]))


def test_tree_links_counts_what_it_leaves_out_and_wants_one_root():
    text = draw.svg(draw.tree(nodes(per_side=5, deeper=5), max_columns=4, max_below=2))
    assert 'href="#P1"' in text
    assert "(and 3 more)" in text and "and 3 deeper" in text
    empty = [*nodes(), draw.TreeNode(99, 0, "P9", "normal", None)]
    assert "no beats" in draw.svg(draw.tree(empty))
    with pytest.raises(ValueError, match="2 nodes have no parent"):
        draw.tree([*nodes(), draw.TreeNode(99, None, "f", None, None)])


def test_a_click_anywhere_on_a_node_leads_to_its_card():
    text = draw.svg(draw.tree(nodes()))
    links = re.findall(r'<a href="(#[^"]+)">(.*?)</a>', text)
    assert [name for name, _ in links] == [f"#{n.name}" for n in nodes() if n.href]
    papers = re.findall(r'<path d="([^"]+)"[^>]*stroke: #edbdb4[^>]*miter', text)
    for _, pane in links:
        (path,) = re.findall(r' d="([^"]+)"', pane)
        assert any(_holds(path, paper) for paper in papers)
    assert "_blank" not in text


def _holds(outer, inner):
    """Does one upright rectangle hold the other? Both are paths `m x y h v h z`."""
    (x, y, wide, high), (a, b, c, d) = (
        map(float, re.findall(r"-?[.\d]+", path)[:4]) for path in (outer, inner)
    )
    return x <= a + 0.1 and y >= b and x + wide >= a + c - 0.1 and y + high <= b + d


def test_strips_mark_answers_and_what_is_not_proven():
    text = draw.svg(strips())
    assert ">P1<" in text and ">?<" in text
    rows = draw.strips(np.zeros((1, 300 * 100)), 300.0, [], [], [], max_rows=3)
    assert draw.svg(rows).count(" s</text>") == 3
    flat = draw.strips(np.full((1, 300), np.nan), 300.0, [], [], [])
    assert "0 s" in draw.svg(flat)


def test_strips_color_no_beat_that_nobody_answered():
    signal, peaks = np.zeros((1, 10 * 300)), [1.0, 2.0, 4.0]
    figure = draw.strips(
        signal,
        300.0,
        peaks,
        ["normal"] * 3,
        ["P1"] * 3,
        before_s=0.9,
        after_s=0.7,
        missed=[3.0],
        annotated=[(1.0, "N"), (3.0, "V")],
    )
    lines = [line.get_xdata() for line in figure.axes[0].lines]
    parts = [x for x in lines if 9 < len(x) < 900 and np.isfinite(x).all()]
    colored = [np.round(x[[0, -1]], 2).tolist() for x in parts]
    assert colored == [[0.1, 1.5], [1.5, 2.5], [3.5, 4.7]]
    crosses = [x.get_xdata() for x in figure.axes[0].lines if x.get_marker() == "x"]
    assert crosses == [[3.0]]
    assert ">V<" in draw.svg(figure)


def test_beats_in_a_figure_are_bounded():
    wide = np.random.default_rng(0).normal(size=(60, 1, 400))
    many = composite(
        wide, np.arange(60), ["N"] * 60, np.ones(60), sample_rate_hz=100, before_s=2
    )
    assert len(draw.svg(draw.cell(many))) < 60_000


def test_what_a_component_weighs_is_named_below_its_cell():
    cell, found = weighing()
    text = draw.svg(draw.weights(cell, found, prototype=cell.median, title="P3"))
    for words in (
        ">P3<",
        ">its cell<",
        ">40 beats<",
        ">40 recordings, at most 2% of one<",
        ">its prototype<",
        ">one beat<",
        ">what it weighs<",
        "margin per SD of the recording",
        "higher here raises the margin",
        ">lowers it<",
        "scale of its own",
        ">| share of the time<",
        ">0 ms<",
        ">200<",
    ):
        assert words in text
    for part in found.parts:  # at its bar, and below the strip
        assert text.count(f">{part.name}<") == 2
    assert "#0069a8" in text and "#c8500a" in text
    alone = draw.svg(draw.weights(cell, found))
    assert "prototype" not in alone and len(alone) < 60_000
    assert "its cell" in draw.svg(draw.weights(*weighing(leads=2)))


def test_a_mean_that_tells_little_is_drawn_faint():
    cell, found = weighing()
    found = replace(found, told=0.98)
    text = draw.svg(draw.weights(cell, found))
    assert found.is_typical and "faint" not in text
    unlike = draw.svg(draw.weights(cell, replace(found, told=-0.3)))
    assert "faint: this mean tells 0% of how the component" in unlike
    assert "opacity: 0.75" in text and "opacity: 0.75" not in unlike


def test_a_prototype_is_never_clipped_and_its_recording_named():
    cell, found = weighing()
    tall = 3 * cell.median - 1
    figure = draw.weights(cell, found, prototype=tall, prototype_record="203")
    for axes in figure.axes[:2]:
        low, high = axes.get_ylim()
        assert low <= tall.min() and high >= tall.max()
    assert ">a beat of 203<" in draw.svg(figure)
    low, high = draw.cell(cell, prototype=tall).axes[0].get_ylim()
    assert low <= tall.min() and high >= tall.max()


def test_a_long_window_has_its_prototype_below():
    time = np.arange(500) / 100 - 2.5
    x = np.sin(7 * time) * np.linspace(0.8, 1.2, 9)[:, None, None]
    cell = composite(
        x, np.arange(9), ["N"] * 9, np.ones(9), sample_rate_hz=100.0, before_s=2.5
    )
    found = weigh(x, x[:, 0, 0], x, cell, Scale.of(x, "mV"))
    figure = draw.weights(cell, found, prototype=x[0], width=5.0)
    cell_box, own, strip = (axes.get_position() for axes in figure.axes[:3])
    assert own.y1 < cell_box.y0 and strip.y1 < own.y0
    assert own.width == pytest.approx(cell_box.width) and own.width > 0.9
    assert "margin per mV" in draw.svg(figure)


def test_composite_and_template_share_a_time_axis():
    cell, found = weighing()
    above, below = draw.weights(cell, found).axes[:2]
    assert above.get_xlim() == below.get_xlim()
    boxes = [axes.get_position() for axes in (above, below)]
    assert boxes[0].x0 == pytest.approx(boxes[1].x0)
    assert boxes[0].x1 == pytest.approx(boxes[1].x1)


def test_figures_of_one_page_share_no_ids():
    pages = [draw.svg(draw.cell(sketch(seed=seed))) for seed in (0, 1)]
    ids = [set(re.findall(r' id="([^"]+)"', text)) for text in pages]
    assert ids[0] and not ids[0] & ids[1]
    for text, own in zip(pages, ids, strict=True):
        asked = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', text))
        assert {a or b for a, b in asked} <= own
    assert draw.svg(draw.cell(sketch())) == pages[0]
    link = draw.svg(draw.tree(nodes()))
    assert 'href="#P1"' in link


def test_a_spark_is_small_and_holds_both_beats():
    beat = sketch().median
    text = draw.spark(beat, 0.5 * beat, side="normal")
    assert text.count("<polyline") == 2 and text.count("stroke-dasharray") == 1
    ET.fromstring(text)
    long = draw.spark(np.tile(beat, (1, 30)), None, side="not normal")
    assert long.count("<polyline") == 1 and len(long) < 1600
    assert "nan" not in draw.spark(np.zeros((1, 65)), None, side="normal")


def test_paths_are_written_relative():
    assert (
        _path("M 1 2 \nL 3.04 4 \nL 3 1 \nz\nM 5 5 \nL 6 6 ") == "m1 2 2 2v-3zm4 3 1 1"
    )
    assert _path("M 0 0 C 1.26 2 3 4 5 6") == "M 0 0 C 1.3 2 3 4 5 6"


def test_save(tmp_path):
    figure = draw.cell(sketch())
    assert draw.save(figure, tmp_path / "a" / "cell.svg").read_text()[:4] == "<svg"
    assert draw.save(figure, tmp_path / "cell.png").read_bytes()[1:4] == b"PNG"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["cell.svg"]
    with pytest.raises(ValueError, match=r"the suffix is '.pdf'\n  try:  .svg or .png"):
        draw.save(figure, tmp_path / "cell.pdf")


def test_a_notebook_shows_a_figure_without_pyplot():
    figure = draw.tree(nodes(1))
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules
