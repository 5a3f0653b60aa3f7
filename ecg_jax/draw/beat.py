"""Axes of ECG paper with units, and a beat over its prototype on them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.cells import DASHED
from ecg_jax.draw.paper import (
    INK,
    MAJOR,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    Limits,
    ecg_paper,
    halo,
    new_figure,
    squares,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HIGH = 5.0, 3.2
CARD = (3.4, 2.3)
EDGE = 0.08


def new_axes(ax: "Axes | None" = None, *, high: float = HIGH) -> "Axes":
    """The axes given, or those of a new figure that no global state knows."""
    if ax is not None:
        return ax
    figure = new_figure(WIDE, high)
    axes = figure.add_subplot()
    figure.set_layout_engine("constrained")
    return axes


def labelled_paper(
    axes: "Axes",
    time_s: Float[np.ndarray, " time"],
    limits: Limits,
    *,
    lead: str = "",
    title: str = "",
    side: str | None = None,
) -> None:
    """Turn axes into ECG paper with seconds, millivolts and the lead at its edges."""
    from matplotlib.ticker import MultipleLocator

    ecg_paper(axes, (float(time_s[0]), float(time_s[-1])), limits)
    axes.yaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    frame(axes, "time from R (s)", f"lead {lead} (mV)" if lead else "mV", title, side)


def frame(
    axes: "Axes", x_label: str, y_label: str, title: str, side: str | None
) -> None:
    """Name the axes, and write a title in the color of a side."""
    axes.set_axis_on()
    axes.set_facecolor(PAPER)
    for spine in axes.spines.values():
        spine.set_color(MAJOR)
    style: dict[str, Any] = {"fontsize": 8, "color": INK, "parse_math": False}
    axes.tick_params(labelsize=7, colors=INK)
    axes.set_xlabel(x_label, **style)
    axes.set_ylabel(y_label, **style)
    color = SIDE_COLORS.get(side or "", INK)
    axes.set_title(title, loc="left", **{**style, "color": color})


def beat_over_prototype(
    axes: "Axes",
    beat: Float[np.ndarray, " time"],
    prototype: Float[np.ndarray, " time"] | None,
    time_s: Float[np.ndarray, " time"] | None,
    *,
    side: str,
    lead: str = "",
    title: str = "",
) -> None:
    """Draw a beat (solid) over the prototype of what answers for it (dashed).

    Args:
        axes: Where to.
        beat: One lead; in mV if `time_s` is given, else as a function sees it.
        prototype: As long; `None` to draw the beat alone.
        time_s: Seconds from R; `None`: neither rate nor unit is known.
        side: "normal" or "not normal": the color of the beat.
        lead: Its name.
        title: Above.
    """
    both = [beat] if prototype is None else [beat, prototype]
    low, high = min(map(np.min, both)), max(map(np.max, both))
    if time_s is not None:
        limits = squares(float(low), float(high))
        labelled_paper(axes, time_s, limits, lead=lead, title=title, side=side)
        x = time_s
    else:
        x, edge = np.arange(len(beat)), EDGE * max(float(high - low), 1e-6)
        axes.set_xlim(0, len(beat) - 1)
        axes.set_ylim(float(low) - edge, float(high) + edge)
        frame(axes, "sample", "as the function sees it", title, side)
    halo(axes, x, np.asarray(beat), color=SIDE_COLORS[side], lw=1.5)
    if prototype is not None:
        style: dict[str, Any] = {"color": PROTOTYPE, "lw": 1.0, "ls": DASHED}
        axes.plot(x, prototype, zorder=6, **style)


def changed(
    beat: Float[np.ndarray, " time"],
    flipped: Float[np.ndarray, " time"],
    time_s: Float[np.ndarray, " time"],
    *,
    side: str,
) -> "Figure":
    """Draw a beat (solid) and how it looks where its answer flips (dashed), in mV."""
    figure = new_figure(*CARD)
    figure.set_layout_engine("constrained")
    beat_over_prototype(figure.add_subplot(), beat, flipped, time_s, side=side)
    return figure
