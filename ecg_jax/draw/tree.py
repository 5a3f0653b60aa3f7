"""The tree of components, every node a small sketch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ecg_jax.cells.leads import telling
from ecg_jax.cells.sketch import Sketch
from ecg_jax.draw.cells import draw_cell
from ecg_jax.draw.layout import Layout, layout, mark_leads
from ecg_jax.draw.paper import (
    EDGE_MV,
    MAJOR,
    PAPER,
    SIDE_COLORS,
    ecg_paper,
    new_figure,
    say,
    squares,
)
from ecg_jax.draw.render import CHART_INK, CHART_SIDES
from ecg_jax.percent import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE_WORDS = {
    "normal": "normal: proven by any of these",
    "not normal": "not normal: proven by any of these",
}
GAP, WORDS, HEAD = 0.16, 0.34, 0.46
LETTER = 0.083
"""Inches that a letter of a side's words takes."""
PAGE = 10.5
"""Inches that a page shows: what is wider is scaled down, so its words are larger."""


@dataclass(frozen=True, eq=False)
class TreeNode:
    """What the tree shows of a component.

    Attributes:
        id: A number that children refer to.
        parent: Number of the node above; `None` for the root.
        name: Short, such as "P3".
        side: "normal" or "not normal"; `None` for the root.
        sketch: Of the node's cell; `None` where no beat falls.
        caption: One short line below the name.
        href: Where a click leads: a fragment such as "#P3".
    """

    id: int
    parent: int | None
    name: str
    side: str | None
    sketch: Sketch | None
    caption: str = ""
    href: str | None = None


def tree(
    nodes: Sequence[TreeNode], *, max_columns: int = 12, max_below: int = 3
) -> "Figure":
    """Draw root, sides, prototypes, and below each prototype what it is made of.

    Nodes stand in the order given; where there are too many, those with most beats. Of
    more than three leads those are drawn in which the composites differ most.

    Args:
        nodes: The root and its descendants.
        max_columns: Prototypes to draw; the sides share them, and the rest is counted.
        max_below: Deeper components to draw below each prototype.

    Returns:
        The figure.

    Raises:
        ValueError: There is not exactly one root.
    """
    roots = [node for node in nodes if node.parent is None]
    if len(roots) != 1:
        raise ValueError(
            f"tree: {len(roots)} nodes have no parent\n"
            "  why:  a tree has exactly one root\n"
            "  try:  give every other node the id of its parent"
        )
    leads = shown_leads(nodes)
    nodes = [
        node if node.sketch is None else replace(node, sketch=node.sketch.take(leads))
        for node in nodes
    ]
    root = next(node for node in nodes if node.parent is None)
    children: dict[int, list[TreeNode]] = {}
    for node in nodes:
        if node.parent is not None:
            children.setdefault(node.parent, []).append(node)
    firsts = children.get(root.id, [])
    groups = [(s, [n for n in firsts if n.side == s]) for s in SIDE_COLORS]
    groups = [(side, group) for side, group in groups if group]
    per_side = max(1, max_columns // max(1, len(groups)))
    spare = max_columns - sum(min(len(group), per_side) for _, group in groups)
    columns = []
    for side, whole in groups:
        group = _most(whole, per_side + max(spare, 0))
        more = len(whole) - len(group)
        words = SIDE_WORDS[side] + (f" (and {more} more)" if more else "")
        columns.append((side, words, group))
    below = {n.id: _descend(n, children) for *_, group in columns for n in group}
    deepest = max((min(len(b), max_below) for b in below.values()), default=0)

    laid = _layout([node.sketch for node in nodes if node.sketch is not None])
    wide, high = _thumbnail(laid)
    step = wide + GAP
    spans = [max(len(g) * step - GAP, LETTER * len(words)) for _, words, g in columns]
    width = max(sum(spans) + GAP * (2 * len(columns) + 1), 5.0)
    zoom = max(1.0, width / PAGE)
    head, row, top = HEAD * zoom, high + WORDS * zoom, high + 0.4 * zoom
    figure = new_figure(width, top + 2 * head + (deepest + 1) * row + 0.2 * zoom)
    figure.patch.set_alpha(0)
    canvas = figure.add_axes((0, 0, 1, 1))
    canvas.set_axis_off()
    canvas.set_xlim(0, width)
    canvas.set_ylim(figure.get_figheight(), 0)

    def join(x: list[float], y: list[float], color: str) -> None:
        canvas.plot(x, y, color=color, lw=1.1, solid_joinstyle="round", zorder=0)

    def place(node: TreeNode, x: float, y: float, size: float = 1.0) -> None:
        _place(figure, node, x, y, (wide * size, high * size), laid, zoom)

    left = GAP
    start = GAP + wide / 2  # the root stands left, where a narrow screen shows it
    place(root, GAP, 0.22 * zoom)
    for (side, words, group), span in zip(columns, spans, strict=True):
        color = CHART_SIDES[side]
        middle, end = left + span / 2, left + span + 2 * GAP
        left += (span - len(group) * step + GAP) / 2
        y = top + 0.08 * zoom
        knee = y + 0.1 * zoom
        drop = [top, knee, knee, y + head - 0.09 * zoom]
        join([start, start, middle, middle], drop, color)
        _label(figure, middle, y + head, words, color, zoom)
        bus = y + head + 0.16 * zoom
        join([middle, middle], [y + head + 0.08 * zoom, bus], color)
        for node in group:
            x = left
            at = y + 2 * head
            knees = [bus, bus, at - 0.15 * zoom]
            join([middle, x + wide / 2, x + wide / 2], knees, color)
            place(node, x, at)
            deeper = below[node.id]
            for rank, child in enumerate(_most(deeper, max_below)):
                under = at + (rank + 1) * row
                spine = x - 0.07
                from_y = at + high / 2 + rank * row
                join(
                    [x, spine, spine, x + 0.1 * wide],
                    [from_y, from_y, under + high / 2, under + high / 2],
                    color,
                )
                place(child, x + 0.1 * wide, under, 0.9)
            hidden = len(deeper) - max_below
            if hidden > 0:
                y_more = at + (max_below + 1) * row - 0.02
                deep, size = f"and {hidden} deeper", 7.0 * zoom
                say(figure, x + 0.1 * wide, y_more, deep, size=size)
            left += step
        left = end
    return figure


def _place(
    figure: "Figure",
    node: TreeNode,
    x: float,
    y: float,
    size: tuple[float, float],
    laid: Layout,
    zoom: float,
) -> None:
    width, height = figure.get_size_inches()
    wide, high = size
    color = CHART_SIDES.get(node.side or "", CHART_INK)
    words = node.name
    if node.sketch is not None:
        words += f"  {node.sketch.num_beats:,}"
    above, words_size = y - 0.085 * zoom, 8.2 * zoom
    say(
        figure,
        x,
        above,
        words,
        size=words_size,
        weight="bold",
        color=color,
        parse_math=False,
    )
    if node.sketch is None:
        say(figure, x, y + high / 2, "no beats", size=7.5 * zoom, color=CHART_INK)
        return
    box = (x / width, 1 - (y + high) / height, wide / width, high / height)
    axes = figure.add_axes(box)
    ecg_paper(axes, laid.span, laid.limits)
    mark_leads(axes, laid, marks=False, size=6 * zoom)
    _paper_behind(axes)
    style = {"side": node.side, "max_points": 0, "marks": False}
    draw_cell(axes, node.sketch, laid, scale=0.8 * zoom, **style)
    top = sorted(node.sketch.label_share.items(), key=lambda item: -item[1])[:2]
    caption = node.caption or " ".join(f"{k} {percent(v)}" for k, v in top)
    below = y + high + 0.085 * zoom
    say(figure, x, below, caption, size=7.5 * zoom, color=CHART_INK)
    edge = 0.15 * zoom
    _link(figure, node.href, (x, y - edge, wide, high + 2 * edge))


def _link(
    figure: "Figure", href: str | None, box: tuple[float, float, float, float]
) -> None:
    """A pane over name, sketch and caption, which a click anywhere on it finds."""
    from matplotlib.patches import Rectangle

    if href is None:
        return
    width, height = figure.get_size_inches()
    x, y, wide, high = box
    corner = x / width, 1 - (y + high) / height
    style = {"fc": PAPER, "ec": "none", "alpha": 0.004, "zorder": 10}
    pane = Rectangle(corner, wide / width, high / height, **style)
    pane.set_transform(figure.transFigure)
    pane.set_url(href)
    figure.add_artist(pane)


def _paper_behind(axes: "Axes") -> None:
    from matplotlib.patches import Rectangle

    style = {"fc": PAPER, "ec": MAJOR, "lw": 0.8, "zorder": -1}
    patch = Rectangle((0, 0), 1, 1, transform=axes.transAxes, **style)
    axes.add_patch(patch)


def _label(
    figure: "Figure", x: float, y: float, words: str, color: str, zoom: float
) -> None:
    style = {"ha": "center", "weight": "bold", "color": color}
    say(figure, x, y, words, size=8.5 * zoom, **style)


def shown_leads(nodes: Sequence[TreeNode]) -> tuple[int, ...]:
    """Which leads are drawn: at most three, those in which composites differ most."""
    medians = [node.sketch.median for node in nodes if node.sketch is not None]
    return telling(medians) if medians else (0,)


def _thumbnail(laid: Layout) -> tuple[float, float]:
    """Width and height; with several leads smaller, so that the tree is no wall."""
    span, size = laid.span[1] - laid.span[0], 1.2 if len(laid.names) == 1 else 0.9
    wide = float(np.clip(size * span, 0.78, 2.4))
    return wide, wide / span * 0.4 * (laid.limits[1] - laid.limits[0])


def _layout(sketches: Sequence[Sketch]) -> Layout:
    """In each lead what holds nine cells of ten; the tallest are cut."""
    if not sketches:
        return layout(("",), np.array([-0.25, 0.4]), [squares(-EDGE_MV, EDGE_MV)])
    limits = []
    for k in range(len(sketches[0].leads)):
        inner = [s.quantiles[1:3, k] for s in sketches]
        low = np.quantile([values.min() for values in inner], 0.05)
        high = np.quantile([values.max() for values in inner], 0.95)
        limits.append(squares(float(low), float(high)))
    return layout(sketches[0].leads, sketches[0].time_s, limits)


def _most(nodes: list[TreeNode], count: int) -> list[TreeNode]:
    """Those with most beats, in the order given."""
    kept = {n.id for n in sorted(nodes, key=lambda node: -_beats(node))[:count]}
    return [node for node in nodes if node.id in kept]


def _beats(node: TreeNode) -> int:
    return 0 if node.sketch is None else node.sketch.num_beats


def _descend(node: TreeNode, children: dict[int, list[TreeNode]]) -> list[TreeNode]:
    out = []
    for child in children.get(node.id, []):
        out += [child, *_descend(child, children)]
    return out
