"""How far changes go before answers change: a bar to either side, change by change."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecg_jax.cells.ranges import LEAST_FLIPS, Reach, Side, amount, flips_words
from ecg_jax.draw.paper import new_figure, say
from ecg_jax.draw.render import CHART_INK, CHART_SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_IN, WIDTH_IN = 0.38, 6.2
LEFT, RIGHT = 0.29, 0.71
LETTER, MOST_LEFT = 0.0115, 0.42
"""Share of the width that a letter of a name takes, and all of them at most."""
HEAD_IN, FOOT_IN = 0.26, 0.22
TITLE_IN, NOTE_IN = 0.28, 0.36
NOTE = (
    "bar: from where a quarter of the answers has flipped to where three quarters "
    "have; mark: half\n"
    "arrows: share that flips within the limit to either side, and the component that "
    "most often decides then"
)


def ranges(
    reaches: Sequence[Reach],
    *,
    side: str | None = None,
    title: str = "",
    axes: "Axes | None" = None,
) -> "Figure":
    """Draw the ranges of some beats, each change on an axis of its own unit.

    A bar reaches from the quarter of the beats that changes its answer first to that
    which does last, with a mark at the half; from the middle, no change, to either
    edge, the limit. A bar that ends at the edge goes on beyond it.

    Args:
        reaches: Of the changes.
        side: Their answer, "normal" or "not normal", for the color.
        title: Above; with it, what bars and arrows mean is said below. Only where a
            new figure is made.
        axes: To draw on; by default a new figure's.

    Returns:
        The figure.
    """
    if axes is None:
        head, foot = HEAD_IN + TITLE_IN * bool(title), FOOT_IN + NOTE_IN * bool(title)
        height = ROW_IN * max(len(reaches), 1) + head + foot
        figure = new_figure(WIDTH_IN, height)
        low, high = foot / height, 1 - head / height
        longest = max((len(_name(one)) for one in reaches), default=0)
        left = min(max(LEFT, LETTER * longest), MOST_LEFT)
        axes = figure.add_axes((left, low, RIGHT - left, high - low))
        if title:
            style = {"size": 8.5, "color": CHART_SIDES.get(side or "", CHART_INK)}
            say(figure, 0.1, 0.16, title, weight="bold", **style)
            say(figure, 0.1, height - 0.22, NOTE, size=6.8, color=CHART_INK)
    figure = axes.get_figure(root=True)
    assert figure is not None
    color = CHART_SIDES.get(side or "", CHART_INK)
    axes.set(xlim=(-1, 1), ylim=(len(reaches) - 0.5, -0.5))
    axes.axvline(0, color=CHART_INK, lw=0.9)
    for edge in (-1, 1):
        axes.axvline(edge, color=CHART_INK, lw=0.5, alpha=0.35)
    for row, one in enumerate(reaches):
        axes.axhline(row, color=CHART_INK, lw=0.4, alpha=0.2)
        for sign, end in ((-1, one.low), (1, one.high)):
            _bar(axes, row, sign, end, one.limit, color)
        axes.text(
            -1.03, row, _name(one), ha="right", va="center", size=9, color=CHART_INK
        )
        words = _words(one)
        style = {"size": 8.5, "linespacing": 1.15, "color": CHART_INK}
        axes.text(1.03, row, words, ha="left", va="center", **style)
    axes.set_axis_off()
    for x, text in ((-0.5, "falls"), (0.5, "rises")):
        axes.text(x, -0.55, text, ha="center", va="bottom", size=8.5, color=CHART_INK)
    axes.text(0, -0.55, "as it is", ha="center", va="bottom", size=8.5, color=CHART_INK)
    return figure


def _bar(
    axes: "Axes", row: int, sign: int, side: Side, limit: float, color: str
) -> None:
    """From the first quartile to the last, and a mark at the median."""
    first, half, last = (min(q / limit, 1.0) for q in side.quartiles)
    if side.flips < LEAST_FLIPS or not np.isfinite(side.quartiles[0]):
        if side.flips >= LEAST_FLIPS:
            axes.plot(sign, row, "|", color=color, ms=7, mew=1.5)
        return
    axes.barh(
        row, sign * max(last - first, 0.006), left=sign * first, height=0.42,
        color=color, alpha=0.55, lw=0,
    )  # fmt: skip
    if np.isfinite(side.quartiles[1]):
        axes.plot([sign * half] * 2, [row - 0.28, row + 0.28], color=color, lw=2)


def _name(one: Reach) -> str:
    return f"{one.name}  (\N{PLUS-MINUS SIGN}{amount(one.limit, one.unit)})"


def _words(one: Reach) -> str:
    """Who takes over on either side, and how often."""
    told = []
    for arrow, side in (
        ("\N{LEFTWARDS ARROW}", one.low),
        ("\N{RIGHTWARDS ARROW}", one.high),
    ):
        if side.flips > 0:
            told.append(f"{arrow} {flips_words(side)}")
    return "\n".join(told) or "none flips"
