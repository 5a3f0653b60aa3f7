"""What a component weighs, below the composite ECG of its cell, on one time axis.

Of one to three leads each has both, one lead below the other; of more, all composites
stand on one sheet and all templates below it, as in `leads_weighed`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.captions import records
from ecg_jax.cells.leads import FEW
from ecg_jax.cells.sketch import Sketch
from ecg_jax.cells.weighing import Weighing
from ecg_jax.draw.cells import DASHED, draw_cell
from ecg_jax.draw.layout import ROOM_S, layout
from ecg_jax.draw.leads_weighed import leads_weighed
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
from ecg_jax.draw.weighed import (
    MARKS,
    NAMES,
    key,
    parts,
    reach_of,
    shares,
    template,
)
from ecg_jax.percent import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP, HEAD = 0.14, 0.24
STRIP, FOOT, PANEL = 1.0, 0.92, 2.1
BETWEEN = 0.58
"""Below a lead that is not the last, where the key stands."""
LETTER = 0.06
"""Inches that a bold letter takes."""
LINE, LONG_S = 0.13, 2.0


def weights(
    sketch: Sketch,
    weighing: Weighing,
    *,
    side: str | None = None,
    prototype: Float[np.ndarray, "lead time"] | None = None,
    prototype_record: str | None = None,
    title: str | None = None,
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
    a mark on each bar is the share of the time. So for each of one to three leads,
    templates on one scale; of more, see `leads_weighed`.

    Args:
        sketch: Composite ECG of the cell.
        weighing: What the component weighs.
        side: "normal" or "not normal": the color of the median.
        prototype: The beat that the component is anchored at, in mV.
        prototype_record: The recording that this beat is from.
        title: Name of the component, above.
        max_points: Samples of single beats to draw at most.
        width: Of the figure, in inches.

    Returns:
        The figure.
    """
    whose = f"a beat of {prototype_record}" if prototype_record else "one beat"
    if len(sketch.leads) > FEW:
        return leads_weighed(
            sketch,
            weighing,
            side=side,
            prototype=prototype,
            whose=whose,
            title=title,
            width=width,
        )
    leads: list[_Lead] = []
    foot = 0.2 if title is not None else 0.0
    for k, cell in enumerate(sketch.each_lead):
        beat = None if prototype is None else prototype[k]
        plan = _plan(cell, limits_of([cell], beat), width, foot, beat is not None)
        leads.append(_Lead(cell, weighing.each_lead[k], beat, plan))
        foot = plan.foot + BETWEEN
    last = leads[-1].plan
    figure = new_figure(width, last.foot + (GAP if last.is_long else FOOT))
    figure.patch.set_facecolor(PAPER)
    if title is not None:
        style = {"weight": "bold", "color": SIDE_COLORS.get(side or "", INK)}
        say(figure, GAP / 2, 0.12, title, size=10, **style)
    for one in leads:
        _block(figure, one, weighing, whose=whose, side=side, max_points=max_points)
    left, top = last.boxes["weights"][:2]
    key(figure, weighing, left + 0.02, top + STRIP + NAMES + MARKS + 0.1)
    return figure


def _block(
    figure: "Figure",
    one: "_Lead",
    weighing: Weighing,
    *,
    whose: str,
    side: str | None,
    max_points: int,
) -> None:
    """Draw one lead; `weighing` is that of all, which scales are of."""
    width, height = figure.get_size_inches()
    sketch, own, plan = one.cell, one.own, one.plan
    several = len(weighing.leads) > 1
    where = f" in {own.leads[0]}" if several else ""

    def place(
        name: str, words: str, rest: str, ink: str = INK, up: float = 0.0
    ) -> "Axes":
        left, top, wide, high = plan.boxes[name]
        y = top - HEAD / 2 - up
        say(figure, left, y, words, color=ink, size=7.6, weight="bold")
        if rest:
            say(figure, left + LETTER * len(words) + 0.08, y, rest, size=6.2)
        box = (left / width, 1 - (top + high) / height)
        return figure.add_axes((*box, wide / width, high / height))

    def below(name: str, words: str) -> None:
        left, top = plan.boxes[name][:2]
        say(figure, left, top - HEAD / 2, words, size=6.2)

    laid = layout(("",), sketch.time_s, [plan.limits])
    num = f"{sketch.num_beats:,} beats"
    color = SIDE_COLORS.get(side or "", INK)
    axes = place("cell", f"its cell{where}", num, color, LINE)
    below("cell", records(sketch))
    ecg_paper(axes, plan.span, plan.limits)
    calibration_mark(axes, plan.span[0] + 0.02, 0.08)
    draw_cell(axes, sketch, laid, side=side, max_points=max_points, marks=False)
    if one.beat is not None:
        sheet = place("prototype", f"its prototype{where}", "", PROTOTYPE, LINE)
        below("prototype", whose)
        ecg_paper(sheet, plan.beside, plan.limits)
        sheet.plot(sketch.time_s, one.beat, color=PROTOTYPE, lw=1.2, ls=DASHED)
    strip = place("weights", f"what it weighs{where}", "")
    template(strip, own, plan.span, reach_of(weighing))
    parts(axes, strip, own, STRIP)
    words, rest = "share of the weight", "| share of the time"
    if several:
        words = f"weight{where}: {percent(own.by_lead[0])}"
        rest = "| of the samples"
    shares(place("shares", words, rest), own.parts, weighing)


@dataclass(frozen=True, eq=False)
class _Lead:
    """What is drawn of a lead: its cell, what it weighs, its prototype, and where."""

    cell: Sketch
    own: Weighing
    beat: Float[np.ndarray, " time"] | None
    plan: "_Plan"


@dataclass(frozen=True)
class _Plan:
    """Where everything of a lead lies, in inches from the left and from the top.

    Attributes:
        foot: Lower edge of the lowest part.
        is_long: Whether its parts stand below one another.
        span: Seconds that the cell shows, with room for the calibration mark.
        beside: Seconds that the prototype shows.
        limits: Millivolts that both show.
        boxes: Left, top, width and height of each part.
    """

    foot: float
    is_long: bool
    span: Limits
    beside: Limits
    limits: Limits
    boxes: dict[str, tuple[float, float, float, float]]


def _plan(
    sketch: Sketch, limits: Limits, width: float, top: float, with_prototype: bool
) -> _Plan:
    """Cell and prototype side by side; one below the other where a window is long."""
    start, stop = float(sketch.time_s[0]), float(sketch.time_s[-1])
    span, left = (start - ROOM_S, stop), GAP / 2
    top += HEAD + LINE
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
        return _Plan(top + STRIP, True, span, span, limits, boxes)
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
    return _Plan(below + STRIP, False, span, (start, stop), limits, boxes)
