"""The sketch of a cell, its two sides, a beat beside its prototype."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.captions import records
from ecg_jax.cells.sketch import Sketch
from ecg_jax.draw.paper import (
    INK,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    UNPROVEN,
    Limits,
    halo,
    label_color,
    limits_of,
    lines,
    say,
    sheet,
    squares,
)
from ecg_jax.shares import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHED = (0, (3.2, 1.5))


def cell(
    sketch: Sketch,
    *,
    side: str | None = None,
    prototype: Float[np.ndarray, " time"] | None = None,
    title: str | None = None,
    limits: Limits | None = None,
    label_bar: bool = True,
    max_points: int = 2000,
    inches_per_s: float = 2.6,
) -> "Figure":
    """Draw a cell: its beats, their median and bands, the prototype, the labels.

    Thin lines are single beats, the bands hold the middle 80 and 50 per cent of all,
    the thick line is the median, the dashed one the prototype. A bracket below marks
    the width that was measured as QRS.

    Args:
        sketch: Composite ECG of the cell.
        side: "normal" or "not normal": the color of the median.
        prototype: The beat that the component is anchored at, in mV.
        title: Name of the component, above its counts; `None` leaves both out.
        limits: Millivolts to show; default: what holds the bands and the prototype.
        label_bar: Draw the share of each label below the paper.
        max_points: Samples of single beats to draw at most, which bounds the file.
        inches_per_s: Size of the paper.

    Returns:
        The figure.
    """
    limits = limits or limits_of([sketch], prototype)
    top = 0.4 if title is not None else 0.0
    bottom = 0.26 if label_bar else 0.0
    figure, (axes,) = sheet(
        sketch.time_s, limits, top=top, bottom=bottom, inches_per_s=inches_per_s
    )
    draw_cell(axes, sketch, side=side, prototype=prototype, max_points=max_points)
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
    *,
    side: str | None,
    prototype: Float[np.ndarray, " time"] | None = None,
    max_points: int = 2000,
    marks: bool = True,
    scale: float = 1.0,
) -> None:
    """Draw the beats of a cell on paper that is there already."""
    lead, time, color = sketch.lead, sketch.time_s, SIDE_COLORS.get(side or "", INK)
    room = max_points // len(time)
    if room:
        num = min(len(sketch.samples), max(3, room))
        picks = np.linspace(0, len(sketch.samples) - 1, num).round().astype(int)
        beats = sketch.samples[picks, lead]
        style = {"color": "#54616d", "lw": 0.45, "alpha": 0.36, "zorder": 2}
        lines(axes, time, beats, **style)
    low, first, third, high = sketch.quantiles[:, lead]
    axes.fill_between(time, low, high, color=color, alpha=0.13, lw=0, zorder=1)
    axes.fill_between(time, first, third, color=color, alpha=0.27, lw=0, zorder=3)
    halo(axes, time, sketch.median[lead], color=color, lw=1.6 * scale, zorder=5)
    if prototype is not None:
        style = {"color": PROTOTYPE, "lw": 1.15 * scale, "ls": DASHED, "zorder": 6}
        axes.plot(time, prototype, **style)
    shape = sketch.morphology
    if marks and shape.onset_s is not None and shape.offset_s is not None:
        foot = axes.get_ylim()[0] + 0.1
        x = [shape.onset_s, shape.onset_s, shape.offset_s, shape.offset_s]
        y = [foot + 0.08, foot, foot, foot + 0.08]
        axes.plot(x, y, color=INK, lw=0.8, solid_joinstyle="miter", zorder=4)


def sides(
    sketch: Sketch, *, limits: Limits | None = None, inches_per_s: float = 2.6
) -> "Figure":
    """Overlay the beats of a cell on either side of the margin.

    A solid line is the median of the beats the network calls normal, a dashed one that
    of the others; each band holds the middle 50 per cent.
    """
    both = (("normal", sketch.normal, "-"), ("not normal", sketch.not_normal, DASHED))
    limits = limits or limits_of([group for _, group, _ in both if group is not None])
    top = 0.4
    figure, (axes,) = sheet(sketch.time_s, limits, top=top, inches_per_s=inches_per_s)
    row = 0.14
    for name, group, style in both:
        if group is None:
            continue
        color, lead, time = SIDE_COLORS[name], sketch.lead, sketch.time_s
        first, third = group.quantiles[1, lead], group.quantiles[2, lead]
        axes.fill_between(time, first, third, color=color, alpha=0.2, lw=0, zorder=1)
        halo(axes, time, group.median[lead], color=color, lw=1.5, ls=style)
        share = percent(group.num_beats / sketch.num_beats)
        words = f"{name}: {group.num_beats:,} beats ({share})"
        say(figure, 0.06, row, words, size=6.5, weight="bold", color=color)
        row += 0.15
    return figure


def pair(
    beats: Float[np.ndarray, "beat time"],
    prototype: Float[np.ndarray, " time"] | None,
    time_s: Float[np.ndarray, " time"],
    *,
    side: str | None = None,
    limits: Limits | None = None,
    inches_per_s: float = 1.7,
) -> "Figure":
    """Draw beats on one sheet, their prototype (dashed) on another beside it."""
    shown = beats if prototype is None else np.vstack([beats, prototype[None]])
    limits = limits or squares(float(shown.min()), float(shown.max()))
    color = SIDE_COLORS.get(side or "", UNPROVEN)
    copies = 1 if prototype is None else 2
    figure, axes = sheet(time_s, limits, copies=copies, inches_per_s=inches_per_s)
    lines(axes[0], time_s, beats, color=color, lw=1.1, alpha=0.8)
    if prototype is not None:
        axes[1].plot(time_s, prototype, color=PROTOTYPE, lw=1.2, ls=DASHED)
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
