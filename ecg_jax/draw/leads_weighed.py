"""What a component weighs in many leads: all composites, and all templates below."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.captions import records
from ecg_jax.cells.morphology import PARTS
from ecg_jax.cells.sketch import Sketch
from ecg_jax.cells.weighing import Weighing
from ecg_jax.draw.cells import draw_cell
from ecg_jax.draw.layout import ROOM_S, Layout, holding, layout, mark_leads
from ecg_jax.draw.paper import (
    ASPECT,
    INK,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    ecg_paper,
    new_figure,
    say,
)
from ecg_jax.draw.weighed import draw_bars, draw_template, key, reach_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGE, HEAD, GAP = 0.07, 0.22, 0.12
ROW_IN, KEY_IN, BAR_IN = 0.62, 0.5, 0.155
"""Height of a row of templates, of the key, and of a bar."""


def leads_weighed(
    sketch: Sketch,
    weighing: Weighing,
    *,
    side: str | None,
    prototype: Float[np.ndarray, "lead time"] | None,
    whose: str,
    title: str | None,
    width: float,
) -> "Figure":
    """Draw a cell in all leads, the templates below it, and where the weight lies.

    Leads stand where they stand in a print. The templates are on one scale, so that a
    flat one weighs little; bars hold the share of each lead, and of each part of the
    beat in all leads together.

    Args:
        sketch: Composite ECG of the cell.
        weighing: What the component weighs.
        side: "normal" or "not normal": the color of the median.
        prototype: The beat that the component is anchored at, in mV.
        whose: That beat in words.
        title: Name of the component, above.
        width: Of the figure, in inches.

    Returns:
        The figure.
    """
    laid = holding(sketch.leads, sketch.time_s, sketch.quantiles, prototype)
    span = (laid.span[0] - ROOM_S, laid.span[1])
    scale = (width - 2 * EDGE) / (span[1] - span[0])
    high = (laid.limits[1] - laid.limits[0]) * ASPECT * scale
    strips = ROW_IN * len(laid.rows)
    bars = BAR_IN * len(sketch.leads)
    top = (0.24 if title is not None else 0.0) + HEAD
    below = top + high + HEAD
    last = below + strips + KEY_IN + HEAD
    figure = new_figure(width, last + bars + GAP)
    figure.patch.set_facecolor(PAPER)
    color = SIDE_COLORS.get(side or "", INK)
    if title is not None:
        say(figure, EDGE, 0.12, title, size=10, weight="bold", color=color)

    def place(left: float, above: float, wide: float, tall: float) -> "Axes":
        height = figure.get_figheight()
        box = (left / width, 1 - (above + tall) / height)
        return figure.add_axes((*box, wide / width, tall / height))

    def head(
        left: float, at: float, words: str, ink: str = INK, rest: str = ""
    ) -> None:
        say(figure, left, at - HEAD / 2, words, size=7.6, weight="bold", color=ink)
        away = 0.06 * len(words) + 0.1
        say(figure, left + away, at - HEAD / 2, rest, size=6.2)

    counts = ", ".join(filter(None, (f"{sketch.num_beats:,} beats", records(sketch))))
    head(EDGE, top, "its cell", color, counts)
    axes = place(EDGE, top, width - 2 * EDGE, high)
    ecg_paper(axes, span, laid.limits)
    mark_leads(axes, laid)
    style = {"side": side, "max_points": 0, "marks": False, "scale": 0.6}
    draw_cell(axes, sketch, laid, prototype=prototype, **style)
    if prototype is not None:
        words = "- - its prototype"
        head(width / 2 + 0.4, top, words, PROTOTYPE, whose)
    head(EDGE, below, "what it weighs", rest="at the same places")
    _templates(place(EDGE, below, width - 2 * EDGE, strips), weighing, laid, span)
    key(figure, weighing, EDGE, below + strips + 0.12)
    middle = width / 2
    head(EDGE, last, "share of the weight", rest="| of the samples")
    head(middle, last, "by part of the beat", rest="all leads together")
    by_lead = [
        (name, sum(part.share_up for part in one.parts), one.by_lead[0], 1 / num)
        for num in [len(weighing.leads)]
        for name, one in zip(weighing.leads, weighing.each_lead, strict=True)
    ]
    half = middle - 2 * EDGE
    longest = max(max(whole, time) for _, _, whole, time in by_lead)
    draw_bars(place(EDGE, last, half, bars), by_lead, longest, weighing)
    by_part = _by_part(weighing)
    longest = max(max(whole, time) for _, _, whole, time in by_part)
    tall = BAR_IN * len(by_part)
    draw_bars(place(middle, last, half, tall), by_part, longest, weighing)
    return figure


def _templates(
    axes: "Axes", weighing: Weighing, laid: Layout, span: tuple[float, float]
) -> None:
    """All templates on one scale, where their leads stand on the paper above."""
    rows = layout(laid.names, weighing.time_s, [(-0.5, 0.5)] * len(laid.names))
    axes.set_xlim(*span)
    axes.set_ylim(*rows.limits)
    axes.set_axis_off()
    mark_leads(axes, rows, marks=False)
    scale = 0.48 / reach_of(weighing)
    for (right, up), own in zip(rows.places, weighing.each_lead, strict=True):
        ends = own.time_s[[0, -1]] + right
        axes.plot(ends, [up, up], color=INK, lw=0.6, zorder=3)
        draw_template(axes, own, right, up, scale, edge=0.2)


def _by_part(weighing: Weighing) -> list[tuple[str, float, float, float]]:
    """The shares of each part of the beat, summed over the leads, in order of time."""
    found = []
    for name in PARTS:
        own = [part for part in weighing.parts if part.segment.name == name]
        if own:
            sums = [
                sum(values)
                for values in zip(
                    *((p.share_up, p.share, p.share_time) for p in own), strict=True
                )
            ]
            found.append((name, *sums))
    return found
