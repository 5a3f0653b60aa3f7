"""Figures of one or more sheets of ECG paper, on which leads are laid out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecg_jax.draw.layout import ROOM_S, Layout, mark_leads
from ecg_jax.draw.paper import ASPECT, PAPER, ecg_paper, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 0.12
PRINT = 5.2
"""Inches that a sheet with columns of leads is wide at most."""


def sheets(
    laid: Sequence[Layout],
    *,
    inches_per_s: float = 2.6,
    top: float = 0.0,
    bottom: float = 0.0,
) -> tuple["Figure", list["Axes"]]:
    """Lay out a figure with sheets of paper side by side, margins in inches.

    Below one another where leads stand in columns. Room for the mark of 1 mV is added
    on the left of the first sheet, or of each below another.

    Returns:
        The figure, and the axes of each sheet.
    """
    stacked = any(one.num_columns > 1 for one in laid)
    starts = [one.span[0] - ROOM_S * (stacked or n == 0) for n, one in enumerate(laid)]
    seconds = [one.span[1] - start for one, start in zip(laid, starts, strict=True)]
    if stacked:
        inches_per_s = min(inches_per_s, PRINT / max(seconds))
    wide = [own * inches_per_s for own in seconds]
    high = [(one.limits[1] - one.limits[0]) * ASPECT * inches_per_s for one in laid]
    rest = GAP * (len(laid) - 1)
    if stacked:
        width, height = max(wide), sum(high) + top * len(laid) + rest + bottom
    else:
        width, height = sum(wide) + rest, max(high) + top + bottom
    figure = new_figure(width, height)
    figure.patch.set_facecolor(PAPER)
    axes, left, above = [], 0.0, top
    for n, one in enumerate(laid):
        foot = height - above - high[n]
        box = (left / width, foot / height, wide[n] / width, high[n] / height)
        axes.append(figure.add_axes(box))
        ecg_paper(axes[-1], (starts[n], one.span[1]), one.limits)
        mark_leads(axes[-1], one, marks=stacked or n == 0)
        if stacked:
            above += high[n] + GAP + top
        else:
            left += wide[n] + GAP
    return figure, axes
