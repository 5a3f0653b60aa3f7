"""Axes of ECG paper with units, and a beat over its prototype on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.cells import DASHED
from ecg_jax.draw.layout import Layout, holding, mark_leads
from ecg_jax.draw.paper import (
    INK,
    MAJOR,
    PAPER,
    PROTOTYPE,
    SIDE_COLORS,
    ecg_paper,
    halo,
    new_figure,
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
    laid: Layout,
    *,
    title: str = "",
    side: str | None = None,
) -> None:
    """Turn axes into ECG paper with seconds, millivolts and the lead at its edges.

    Of several leads the names stand on the paper, and the unit is said.
    """
    from matplotlib.ticker import MultipleLocator

    ecg_paper(axes, laid.span, laid.limits)
    mark_leads(axes, laid, marks=False)
    axes.yaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_major_locator(MultipleLocator(0.2))
    if len(laid.names) == 1:
        lead = laid.names[0]
        frame(
            axes, "time from R (s)", f"lead {lead} (mV)" if lead else "mV", title, side
        )
        return
    axes.set_yticks([])
    if laid.num_columns > 1:
        axes.set_xticks([])
    time = "time from R (s)" if laid.num_columns == 1 else ""
    frame(axes, time, "a large square is 0.5 mV, 0.2 s", title, side)


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
    beat: Float[np.ndarray, "lead time"],
    prototype: Float[np.ndarray, "lead time"] | None,
    time_s: Float[np.ndarray, " time"] | None,
    *,
    side: str,
    leads: Sequence[str] = ("",),
    title: str = "",
) -> None:
    """Draw a beat (solid) over the prototype of what answers for it (dashed).

    Args:
        axes: Where to.
        beat: In mV if `time_s` is given, else as a function sees it.
        prototype: As long; `None` to draw the beat alone.
        time_s: Seconds from R; `None`: neither rate nor unit is known.
        side: "normal" or "not normal": the color of the beat.
        leads: Names of the leads.
        title: Above.
    """
    if time_s is not None:
        laid = holding(leads, time_s, beat, prototype, edge_mv=0.0)
        labelled_paper(axes, laid, title=title, side=side)
        x, places = time_s, laid.places
    else:
        both = np.stack([beat] if prototype is None else [beat, prototype])
        low, high = float(both.min()), float(both.max())
        x, edge = np.arange(beat.shape[-1]), EDGE * max(high - low, 1e-6)
        places = [(0.0, -k * (high - low + edge)) for k in range(len(beat))]
        axes.set_xlim(0, len(x) - 1)
        axes.set_ylim(low + places[-1][1] - edge, high + edge)
        frame(axes, "sample", "as the function sees it", title, side)
    for k, (right, up) in enumerate(places):
        halo(axes, x + right, beat[k] + up, color=SIDE_COLORS[side], lw=1.5)
        if prototype is not None:
            style: dict[str, Any] = {"color": PROTOTYPE, "lw": 1.0, "ls": DASHED}
            axes.plot(x + right, prototype[k] + up, zorder=6, **style)


def lead_of(
    beat: Float[np.ndarray, "lead time"], flipped: Float[np.ndarray, "lead time"]
) -> int:
    """The lead in which a beat is changed most."""
    return int(np.abs(flipped - beat).max(axis=-1).argmax())


def changed(
    beat: Float[np.ndarray, "lead time"],
    flipped: Float[np.ndarray, "lead time"],
    time_s: Float[np.ndarray, " time"],
    *,
    side: str,
    leads: Sequence[str] = ("",),
) -> "Figure":
    """Draw a beat (solid) and how it looks where its answer flips (dashed), in mV.

    Of several leads the one that is changed most, with its name.
    """
    figure = new_figure(*CARD)
    figure.set_layout_engine("constrained")
    k = lead_of(beat, flipped)
    beat_over_prototype(
        figure.add_subplot(),
        beat[[k]],
        flipped[[k]],
        time_s,
        side=side,
        leads=leads[k : k + 1] if len(leads) > 1 else ("",),
    )
    return figure
