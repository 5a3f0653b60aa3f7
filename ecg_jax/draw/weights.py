"""What a component weighs, below the composite ECG of its cell, on one time axis."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.captions import records
from ecg_jax.cells.sketch import Sketch
from ecg_jax.cells.weighing import Weighing
from ecg_jax.draw.cells import DASHED, draw_cell
from ecg_jax.draw.paper import (
    ASPECT,
    INK,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    Limits,
    calibration_mark,
    ecg_paper,
    limits_of,
    new_figure,
    say,
)
from ecg_jax.shares import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAISES, LOWERS = SIDE_COLORS["normal"], SIDE_COLORS["not normal"]
ROOM_S, GAP, HEAD = 0.12, 0.14, 0.24
STRIP, FOOT, PANEL = 1.0, 0.92, 2.1
NAMES, MARKS, LINE = 0.24, 0.16, 0.13
FIRM, FAINT = 0.75, 0.25
BAND = "#e9edf0"
LONG_S = 2.0
FIDUCIAL: dict[str, Any] = {"color": INK, "lw": 0.55, "ls": (0, (1.2, 1.2))}


def weights(
    sketch: Sketch,
    weighing: Weighing,
    *,
    side: str | None = None,
    prototype: Float[np.ndarray, " time"] | None = None,
    prototype_record: str | None = None,
    title: str | None = None,
    limits: Limits | None = None,
    max_points: int = 2000,
    width: float = 5.0,
) -> "Figure":
    """Draw a cell, its prototype beside it, and below what its component weighs.

    On one time axis: the composite of the cell, and the mean template of
    the component with one standard deviation to either side; blue where a higher value
    raises the margin, orange where it lowers it; faint where that mean tells little of
    how the component's value varies. Shaded and named: the parts of the beat. Beside
    them (below, where the window is longer
    than 2 s) the prototype, and the share of the weight on each part of the beat;
    a mark on each bar is the share of the time.

    Args:
        sketch: Composite ECG of the cell.
        weighing: What the component weighs.
        side: "normal" or "not normal": the color of the median.
        prototype: The beat that the component is anchored at, in mV.
        prototype_record: The recording that this beat is from.
        title: Name of the component, above.
        limits: Millivolts to show, widened to hold the prototype; default: what holds
            the bands and the prototype.
        max_points: Samples of single beats to draw at most.
        width: Of the figure, in inches.

    Returns:
        The figure.
    """
    own = limits_of([] if limits else [sketch], prototype)
    limits = (min(limits[0], own[0]), max(limits[1], own[1])) if limits else own
    plan = _plan(sketch, limits, width, title is not None, prototype is not None)
    figure = new_figure(width, plan.height)
    figure.patch.set_facecolor(PAPER)
    color = SIDE_COLORS.get(side or "", INK)
    bold: dict[str, Any] = {"size": 7.6, "weight": "bold"}

    def place(name: str, words: str, ink: str = INK, up: float = 0.0) -> "Axes":
        left, top, wide, high = plan.boxes[name]
        say(figure, left, top - HEAD / 2 - up, words, color=ink, **bold)
        box = (left / width, 1 - (top + high) / plan.height)
        return figure.add_axes((*box, wide / width, high / plan.height))

    def beside(name: str, away: float, words: str, up: float = 0.0) -> None:
        left, top = plan.boxes[name][:2]
        say(figure, left + away, top - HEAD / 2 - up, words, size=6.2)

    if title is not None:
        say(figure, GAP / 2, 0.12, title, size=10, weight="bold", color=color)
    axes = place("cell", "its cell", color, LINE)
    beside("cell", 0.48, f"{sketch.num_beats:,} beats", LINE)
    beside("cell", 0, records(sketch))
    ecg_paper(axes, plan.span, limits)
    calibration_mark(axes, plan.span[0] + 0.02, 0.08)
    draw_cell(axes, sketch, side=side, max_points=max_points, marks=False)
    if prototype is not None:
        sheet = place("prototype", "its prototype", PROTOTYPE, LINE)
        whose = f"a beat of {prototype_record}" if prototype_record else ""
        beside("prototype", 0, whose or "one beat")
        ecg_paper(sheet, plan.beside, limits)
        sheet.plot(sketch.time_s, prototype, color=PROTOTYPE, lw=1.2, ls=DASHED)
    strip = place("weights", "what it weighs")
    _template(strip, weighing, sketch.lead, plan.span)
    _parts(axes, strip, weighing)
    _shares(place("shares", "share of the weight"), weighing)
    beside("shares", 1.22, "| share of the time")
    left, top = plan.boxes["weights"][:2]
    row = top + STRIP + NAMES + MARKS + 0.1
    legend = [
        ("higher here raises the margin", RAISES, 1.95),
        ("lowers it", LOWERS, 0.75),
        ("\N{PLUS-MINUS SIGN}1 SD of the templates", "#8b98a4", 0),
    ]
    x = left + 0.02
    for words, ink, step in legend:
        say(figure, x, row, "\N{BLACK SQUARE}", size=9, color=ink)
        say(figure, x + 0.13, row, words, size=7)
        x += step
    say(figure, left + 0.02, row + 0.15, _scale_words(weighing, sketch.lead), size=6.2)
    if not weighing.is_typical:
        told = percent(max(weighing.told or 0.0, 0.0))
        words = (
            f"faint: this mean tells {told} of how the component's value varies here"
        )
        say(figure, left + 0.02, row + 0.28, words, size=6.2, weight="bold")
    return figure


def _scale_words(weighing: Weighing, lead: int) -> str:
    """What the numbers at the strip are: in each figure a scale of its own."""
    unit = weighing.unit.replace("standard deviation", "SD")
    words = f"scale of its own: margin per {unit}"
    if weighing.unit != "mV":
        words += f" ({weighing.unit_mv:.2g} mV)"
    words += ", at one sample"
    return words + (f", lead {lead + 1}" if len(weighing.by_lead) > 1 else "")


@dataclass(frozen=True)
class _Plan:
    """Where everything lies, in inches from the left and from the top.

    Attributes:
        height: Of the figure.
        span: Seconds that the cell shows, with room for the calibration mark.
        beside: Seconds that the prototype shows.
        boxes: Left, top, width and height of each part.
    """

    height: float
    span: Limits
    beside: Limits
    boxes: dict[str, tuple[float, float, float, float]]


def _plan(
    sketch: Sketch, limits: Limits, width: float, titled: bool, with_prototype: bool
) -> _Plan:
    """Cell and prototype side by side; one below the other where a window is long."""
    start, stop = float(sketch.time_s[0]), float(sketch.time_s[-1])
    span, left = (start - ROOM_S, stop), GAP / 2
    top = HEAD + LINE + (0.2 if titled else 0)
    seconds, millivolts = stop - start + ROOM_S, limits[1] - limits[0]
    if seconds > LONG_S:
        wide = width - GAP
        high = millivolts * ASPECT * wide / seconds
        boxes = {"cell": (left, top, wide, high)}
        top += high + HEAD + LINE * with_prototype
        if with_prototype:
            boxes["prototype"] = (left, top, wide, high)
            top += high + HEAD
        boxes["weights"] = (left, top, wide, STRIP)
        top += STRIP + FOOT + HEAD
        boxes["shares"] = (left, top, 0.6 * wide, STRIP)
        return _Plan(top + STRIP + GAP, span, span, boxes)
    scale = (width - PANEL - 2 * GAP) / seconds
    right = PANEL
    if with_prototype:
        scale = (width - 3 * GAP) / (2 * seconds - ROOM_S)
        right = (stop - start) * scale
    wide, high = seconds * scale, millivolts * ASPECT * scale
    other, below = wide + 1.5 * GAP, top + high + HEAD
    boxes = {
        "cell": (left, top, wide, high),
        "prototype": (other, top, right, high),
        "weights": (left, below, wide, STRIP),
        "shares": (other, below, right, STRIP),
    }
    return _Plan(below + STRIP + FOOT, span, (start, stop), boxes)


def _template(axes: "Axes", weighing: Weighing, lead: int, span: Limits) -> None:
    """The mean template, filled by its sign, with its spread."""
    time, mean = weighing.time_s, weighing.template[lead]
    spread = weighing.spread[lead]
    axes.set_xlim(*span)
    axes.patch.set_facecolor(PAPER)
    axes.spines[:].set_visible(False)
    axes.axhline(0, color=INK, lw=0.6, zorder=3)
    band = {"color": "#8b98a4", "alpha": 0.3, "lw": 0, "zorder": 1}
    axes.fill_between(time, mean - spread, mean + spread, **band)
    for color, keep in ((RAISES, mean >= 0), (LOWERS, mean <= 0)):
        style = {"color": color, "alpha": _alpha(weighing), "lw": 0, "zorder": 2}
        axes.fill_between(time, 0, mean, where=keep, interpolate=True, **style)
    axes.plot(time, mean, color=INK, lw=min(0.5, 60 / len(time)), zorder=3)
    size = float(np.abs(mean).max())
    reach = max(size, float(np.quantile(np.abs(mean) + spread, 0.97)), 1e-12)
    axes.set_ylim(-1.12 * reach, 1.12 * reach)
    tick = _round(size or 1.0)
    axes.set_xticks([])
    axes.set_yticks([])
    for at in (tick, -tick):
        axes.axhline(at, color=INK, lw=0.4, ls=(0, (1, 3)), alpha=0.6, zorder=0)
        text = f"{at:+g}".replace("-", "\N{MINUS SIGN}")
        where = {"ha": "left", "va": "bottom", "fontsize": 6.5, "color": INK}
        axes.text(span[0], at, text, **where)


def _parts(above: "Axes", below: "Axes", weighing: Weighing) -> None:
    """The parts of the beat: bands in both, their names and a time axis below."""
    high = STRIP + NAMES
    for row, part in enumerate(weighing.parts):
        start, stop = part.segment.start_s, part.segment.stop_s
        if row % 2:
            below.axvspan(start, stop, color=BAND, lw=0, zorder=0)
        if row:
            above.axvline(start, zorder=4, **FIDUCIAL)
            below.axvline(start, ymin=-NAMES / STRIP, clip_on=False, **FIDUCIAL)
        style = {"ha": "center", "va": "center", "fontsize": 6.2, "color": INK}
        y = -(0.25 if row % 2 == 0 else 0.75) * NAMES / STRIP
        where = below.get_xaxis_transform()
        below.text((start + stop) / 2, y, part.name, transform=where, **style)
    start, stop = float(weighing.time_s[0]), float(weighing.time_s[-1])
    step = 0.2 if stop - start < LONG_S else 1.0
    for at in np.arange(np.ceil(start / step), np.floor(stop / step) + 1) * step:
        text = f"{1000 * at:.0f}".replace("-", "\N{MINUS SIGN}")
        text += " ms" if at == 0 else ""
        y = 1 - (high + MARKS / 2) / STRIP
        where = below.get_xaxis_transform()
        below.text(at, y, text, transform=where, ha="center", va="center", fontsize=6.2)


def _alpha(weighing: Weighing) -> float:
    return FIRM if weighing.is_typical else FAINT


def _shares(axes: "Axes", weighing: Weighing) -> None:
    """A bar for each part, in order of time: its share, divided by sign."""
    axes.set_axis_off()
    parts = weighing.parts
    longest = max([max(part.share, part.share_time) for part in parts] + [1e-9])
    alpha = _alpha(weighing)
    axes.set_ylim(len(parts) - 0.4, -0.6)
    axes.set_xlim(-0.52 * longest, 1.38 * longest)
    for row, part in enumerate(parts):
        up, down = part.share_up, part.share - part.share_up
        axes.barh(row, up, 0.62, color=RAISES, alpha=alpha, lw=0)
        axes.barh(row, down, 0.62, left=up, color=LOWERS, alpha=alpha, lw=0)
        axes.vlines(part.share_time, row - 0.4, row + 0.4, color=INK, lw=0.9)
        style = {"va": "center", "fontsize": 7.2, "color": INK}
        axes.text(-0.03 * longest, row, part.name, ha="right", **style)
        share = percent(round(part.share, 9))
        weight = "bold" if weighing.is_typical else "normal"
        axes.text(1.06 * longest, row, share, weight=weight, **style)


def _round(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    known = [step for step in (1, 2, 5) if step * power <= value]
    return float(max(known, default=1) * power)  # 0.1 less rounding is 0.1
