"""The sketch of a cell, its two sides, a beat beside its prototype."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.captions import records
from ecg_jax.cells.sketch import Sketch
from ecg_jax.draw.layout import Layout, holding
from ecg_jax.draw.paper import (
    INK,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    UNPROVEN,
    halo,
    label_color,
    lines,
    say,
)
from ecg_jax.draw.sheet import sheets
from ecg_jax.percent import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHED = (0, (3.2, 1.5))


def cell(
    sketch: Sketch,
    *,
    side: str | None = None,
    prototype: Float[np.ndarray, "lead time"] | None = None,
    title: str | None = None,
    label_bar: bool = True,
    max_points: int = 2000,
    inches_per_s: float = 2.6,
) -> "Figure":
    """Draw a cell in all its leads: beats, median and bands, prototype, labels.

    Thin lines are single beats, the bands hold the middle 80 and 50 per cent of all,
    the thick line is the median, the dashed one the prototype. A bracket below marks
    the width that was measured as QRS.

    Args:
        sketch: Composite ECG of the cell.
        side: "normal" or "not normal": the color of the median.
        prototype: The beat that the component is anchored at, in mV.
        title: Name of the component, above its counts; `None` leaves both out.
        label_bar: Draw the share of each label below the paper.
        max_points: Samples of single beats to draw at most, which bounds the file.
        inches_per_s: Size of the paper.

    Returns:
        The figure.
    """
    laid = holding(sketch.leads, sketch.time_s, sketch.quantiles, prototype)
    top = 0.4 if title is not None else 0.0
    bottom = 0.26 if label_bar else 0.0
    figure, (axes,) = sheets([laid], top=top, bottom=bottom, inches_per_s=inches_per_s)
    draw_cell(axes, sketch, laid, side=side, prototype=prototype, max_points=max_points)
    if title is not None:
        color = SIDE_COLORS.get(side or "", INK)
        say(figure, 0.06, 0.14, title, size=8.5, weight="bold", color=color)
        counts = ", ".join(
            filter(None, (f"{sketch.num_beats:,} beats", records(sketch)))
        )
        say(figure, 0.06, 0.3, counts, size=6.5)
    if label_bar:
        _label_bar(figure, sketch, bottom)
    return figure


def draw_cell(
    axes: "Axes",
    sketch: Sketch,
    laid: Layout,
    *,
    side: str | None,
    prototype: Float[np.ndarray, "lead time"] | None = None,
    max_points: int = 2000,
    marks: bool = True,
    scale: float = 1.0,
) -> None:
    """Draw the beats of a cell, lead by lead, on paper that is there already."""
    color = SIDE_COLORS.get(side or "", INK)
    room = max_points // (len(sketch.time_s) * len(sketch.leads))
    for k, (right, up) in enumerate(laid.places):
        time = sketch.time_s + right
        if room:
            num = min(len(sketch.samples), max(3, room))
            picks = np.linspace(0, len(sketch.samples) - 1, num).round().astype(int)
            style = {"color": "#54616d", "lw": 0.45, "alpha": 0.36, "zorder": 2}
            lines(axes, time, sketch.samples[picks, k] + up, **style)
        low, first, third, high = sketch.quantiles[:, k] + up
        axes.fill_between(time, low, high, color=color, alpha=0.13, lw=0, zorder=1)
        axes.fill_between(time, first, third, color=color, alpha=0.27, lw=0, zorder=3)
        halo(axes, time, sketch.median[k] + up, color=color, lw=1.6 * scale, zorder=5)
        if prototype is not None:
            style = {"color": PROTOTYPE, "lw": 1.15 * scale, "ls": DASHED, "zorder": 6}
            axes.plot(time, prototype[k] + up, **style)
        shape = sketch.shapes[k]
        if marks and shape.onset_s is not None and shape.offset_s is not None:
            foot = laid.feet[k] + 0.1
            x = [shape.onset_s, shape.onset_s, shape.offset_s, shape.offset_s]
            y = [foot + 0.08, foot, foot, foot + 0.08]
            style = {"color": INK, "lw": 0.8, "solid_joinstyle": "miter", "zorder": 4}
            axes.plot([right + t for t in x], y, **style)


def sides(sketch: Sketch, *, inches_per_s: float = 2.6) -> "Figure":
    """Overlay the beats of a cell on either side of the margin, lead by lead.

    A solid line is the median of the beats the network calls normal, a dashed one that
    of the others; each band holds the middle 50 per cent.
    """
    both = (("normal", sketch.normal, "-"), ("not normal", sketch.not_normal, DASHED))
    groups = [(name, group, line) for name, group, line in both if group is not None]
    shown = [group.quantiles for _, group, _ in groups]
    laid = holding(sketch.leads, sketch.time_s, *shown)
    figure, (axes,) = sheets([laid], top=0.4, inches_per_s=inches_per_s)
    for row, (name, group, style) in enumerate(groups):
        color = SIDE_COLORS[name]
        for k, (right, up) in enumerate(laid.places):
            time = sketch.time_s + right
            first, third = group.quantiles[1, k] + up, group.quantiles[2, k] + up
            axes.fill_between(
                time, first, third, color=color, alpha=0.2, lw=0, zorder=1
            )
            halo(axes, time, group.median[k] + up, color=color, lw=1.5, ls=style)
        share = percent(group.num_beats / sketch.num_beats)
        words = f"{name}: {group.num_beats:,} beats ({share})"
        y = 0.14 + 0.15 * row
        say(figure, 0.06, y, words, size=6.5, weight="bold", color=color)
    return figure


def pair(
    beats: Float[np.ndarray, "beat lead time"],
    prototype: Float[np.ndarray, "lead time"] | None,
    time_s: Float[np.ndarray, " time"],
    *,
    leads: Sequence[str] = ("",),
    side: str | None = None,
    inches_per_s: float = 1.7,
) -> "Figure":
    """Draw beats on one sheet, their prototype (dashed) on another beside it.

    Where leads stand in columns, the other sheet is below.
    """
    color = SIDE_COLORS.get(side or "", UNPROVEN)
    laid = holding(leads, time_s, beats, prototype, edge_mv=0.0)
    copies = 1 if prototype is None else 2
    figure, axes = sheets([laid] * copies, inches_per_s=inches_per_s)
    for k, (right, up) in enumerate(laid.places):
        style = {"color": color, "lw": 1.1, "alpha": 0.8}
        lines(axes[0], time_s + right, beats[:, k] + up, **style)
        if prototype is not None:
            style = {"color": PROTOTYPE, "lw": 1.2, "ls": DASHED}
            axes[1].plot(time_s + right, prototype[k] + up, **style)
    return figure


def _label_bar(figure: "Figure", sketch: Sketch, bottom: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0.03, 0.05 / height, 0.94, (bottom - 0.1) / height))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    left = 0.0
    for name, share in sketch.label_share.items():
        color = label_color(name)
        axes.barh(0.5, share, 1, left=left, color=color, ec=PAPER, lw=0.8)
        text = f"{name} {percent(share)}"
        if 0.94 * width * share > 0.06 * len(text):
            axes.text(
                left + share / 2,
                0.46,
                text,
                ha="center",
                va="center",
                fontsize=6,
                color="black",
                parse_math=False,
            )
        left += share
