"""What pictures of weights are made of: a template, parts of the beat, shares."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ecg_jax.cells.weighing import Part, Weighing
from ecg_jax.draw.paper import INK, PAPER, SIDE_COLORS, Limits, say
from ecg_jax.percent import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RAISES, LOWERS = SIDE_COLORS["normal"], SIDE_COLORS["not normal"]
SPREAD, BAND = "#8b98a4", "#e9edf0"
NAMES, MARKS = 0.24, 0.16
"""Inches below a strip for the names of the parts, and for times."""
FIRM, FAINT = 0.75, 0.25
LONG_S = 2.0
FIDUCIAL: dict[str, Any] = {"color": INK, "lw": 0.55, "ls": (0, (1.2, 1.2))}


def key(figure: "Figure", weighing: Weighing, left: float, top: float) -> None:
    """Say what colors and numbers are, and where a mean tells little, at inches."""
    legend = [
        ("higher here raises the margin", RAISES, 1.95),
        ("lowers it", LOWERS, 0.75),
        ("\N{PLUS-MINUS SIGN}1 SD of the templates", SPREAD, 0),
    ]
    x = left
    for words, ink, step in legend:
        say(figure, x, top, "\N{BLACK SQUARE}", size=9, color=ink)
        say(figure, x + 0.13, top, words, size=7)
        x += step
    say(figure, left, top + 0.15, _scale_words(weighing), size=6.2)
    if not weighing.is_typical:
        told = percent(max(weighing.told or 0.0, 0.0))
        words = (
            f"faint: this mean tells {told} of how the component's value varies here"
        )
        say(figure, left, top + 0.28, words, size=6.2, weight="bold")


def _scale_words(weighing: Weighing) -> str:
    """What the numbers at the strip are: in each figure a scale of its own."""
    unit = weighing.unit.replace("standard deviation", "SD")
    words = f"scale of its own: margin per {unit}"
    if weighing.unit != "mV":
        low, high = min(weighing.units_mv), max(weighing.units_mv)
        told = f"{low:.2g}" if low == high else f"{low:.2g} to {high:.2g}"
        words += f" ({told} mV)"
    words += ", at one sample"
    return words + (", the same in all leads" if len(weighing.leads) > 1 else "")


def reach_of(weighing: Weighing) -> float:
    """How far templates reach from zero: the largest, or nearly all of their spread."""
    size = np.abs(weighing.template)
    far = np.quantile(size + weighing.spread, 0.97)
    return max(float(size.max()), float(far), 1e-12)


def alpha_of(weighing: Weighing) -> float:
    """How firm a template is drawn: faint where it tells little."""
    return FIRM if weighing.is_typical else FAINT


def template(axes: "Axes", own: Weighing, span: Limits, reach: float) -> None:
    """Draw the mean template of one lead, filled by its sign, with its spread."""
    axes.set_xlim(*span)
    axes.patch.set_facecolor(PAPER)
    axes.spines[:].set_visible(False)
    axes.set_ylim(-1.12 * reach, 1.12 * reach)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.axhline(0, color=INK, lw=0.6, zorder=3)
    draw_template(axes, own)
    tick = _round(float(np.abs(own.template).max()) or 1.0)
    for at in (tick, -tick):
        axes.axhline(at, color=INK, lw=0.4, ls=(0, (1, 3)), alpha=0.6, zorder=0)
        text = f"{at:+g}".replace("-", "\N{MINUS SIGN}")
        where = {"ha": "left", "va": "bottom", "fontsize": 6.5, "color": INK}
        axes.text(span[0], at, text, **where)


def draw_template(
    axes: "Axes",
    own: Weighing,
    right: float = 0.0,
    up: float = 0.0,
    scale: float = 1.0,
    edge: float = 0.5,
) -> None:
    """Draw the mean template of one lead, moved and scaled, on axes that are there."""
    time = own.time_s + right
    mean, spread = up + scale * own.template[0], scale * own.spread[0]
    band = {"color": SPREAD, "alpha": 0.3, "lw": 0, "zorder": 1}
    axes.fill_between(time, mean - spread, mean + spread, **band)
    for color, keep in ((RAISES, mean >= up), (LOWERS, mean <= up)):
        style = {"color": color, "alpha": alpha_of(own), "lw": 0, "zorder": 2}
        axes.fill_between(time, up, mean, where=keep, interpolate=True, **style)
    axes.plot(time, mean, color=INK, lw=min(edge, 60 / len(time)), zorder=3)


def parts(above: "Axes", below: "Axes", own: Weighing, high: float) -> None:
    """Draw the parts of one lead: bands in both, their names and a time axis below.

    Args:
        above: Axes of the composite.
        below: Axes of the template.
        own: What is weighed in the lead.
        high: Height of the axes of the template, in inches.
    """
    for row, part in enumerate(own.parts):
        start, stop = part.segment.start_s, part.segment.stop_s
        if row % 2:
            below.axvspan(start, stop, color=BAND, lw=0, zorder=0)
        if row:
            above.axvline(start, zorder=4, **FIDUCIAL)
            below.axvline(start, ymin=-NAMES / high, clip_on=False, **FIDUCIAL)
        style = {"ha": "center", "va": "center", "fontsize": 6.2, "color": INK}
        y = -(0.25 if row % 2 == 0 else 0.75) * NAMES / high
        where = below.get_xaxis_transform()
        name = part.segment.name
        below.text((start + stop) / 2, y, name, transform=where, **style)
    start, stop = float(own.time_s[0]), float(own.time_s[-1])
    step = 0.2 if stop - start < LONG_S else 1.0
    for at in np.arange(np.ceil(start / step), np.floor(stop / step) + 1) * step:
        text = f"{1000 * at:.0f}".replace("-", "\N{MINUS SIGN}")
        text += " ms" if at == 0 else ""
        y = -(NAMES + MARKS / 2) / high
        where = below.get_xaxis_transform()
        below.text(at, y, text, transform=where, ha="center", va="center", fontsize=6.2)


def shares(axes: "Axes", shown: Sequence[Part], weighing: Weighing) -> None:
    """Draw a bar for each part, in order of time: its share, divided by sign.

    Args:
        axes: Where to.
        shown: The parts of a lead.
        weighing: That of all leads, whose bars are on one scale.
    """
    bars = [
        (part.segment.name, part.share_up, part.share, part.share_time)
        for part in shown
    ]
    longest = max([max(p.share, p.share_time) for p in weighing.parts] + [1e-9])
    draw_bars(axes, bars, longest, weighing)


def draw_bars(
    axes: "Axes",
    bars: Sequence[tuple[str, float, float, float]],
    longest: float,
    weighing: Weighing,
) -> None:
    """Draw bars of a name, the share that raises, the whole share, that of the time."""
    axes.set_axis_off()
    alpha = alpha_of(weighing)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(-0.52 * longest, 1.38 * longest)
    for row, (name, up, whole, time) in enumerate(bars):
        axes.barh(row, up, 0.62, color=RAISES, alpha=alpha, lw=0)
        axes.barh(row, whole - up, 0.62, left=up, color=LOWERS, alpha=alpha, lw=0)
        axes.vlines(time, row - 0.4, row + 0.4, color=INK, lw=0.9)
        style = {"va": "center", "fontsize": 7.2, "color": INK}
        axes.text(-0.03 * longest, row, name, ha="right", **style)
        share = percent(round(whole, 9))
        weight = "bold" if weighing.is_typical else "normal"
        axes.text(1.06 * longest, row, share, weight=weight, **style)


def _round(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    known = [step for step in (1, 2, 5) if step * power <= value]
    return float(max(known, default=1) * power)  # 0.1 less rounding is 0.1
