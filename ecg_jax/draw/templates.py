"""The templates of an equation, each over the median of the beats it answers for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.leads import telling
from ecg_jax.draw.paper import INK, PAPER, SIDE_COLORS, new_figure
from ecg_jax.percent import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE, HIGH, COLUMNS = 1.62, 1.12, 4
MORE = 0.8
"""Inches that a panel is higher for each further lead."""
RAISES, LOWERS = SIDE_COLORS["normal"], SIDE_COLORS["not normal"]


@dataclass(frozen=True, eq=False)
class Template:
    """An affine function of a beat, as a waveform.

    Attributes:
        name: Of its component.
        side: "normal" or "not normal".
        time_s: Of the samples, in seconds from the R peak.
        weight: What a higher value at each sample does to the margin, per mV.
        median: Of the beats that it answers for, in mV; None: there are none.
        share: Of the answers of its side, those that it decides.
        leads: Names of the leads.
    """

    name: str
    side: str
    time_s: Float[np.ndarray, " time"]
    weight: Float[np.ndarray, "lead time"]
    median: Float[np.ndarray, "lead time"] | None = None
    share: float | None = None
    leads: tuple[str, ...] = ("",)


def templates(shown: Sequence[Template]) -> "Figure":
    """Draw templates side by side, those of a side together, all on one scale.

    The height is the template: the more a beat is like it, the more it counts for its
    side. Filled blue where a higher value raises the margin, orange where it lowers it;
    the line is the median of the beats that the component answers for, on a scale of
    its own. Leads stand below one another; of more than three, those in which the
    templates differ most.

    Args:
        shown: The templates.

    Returns:
        The figure.
    """
    groups = [[t for t in shown if t.side == side] for side in SIDE_COLORS]
    rows = [g[i : i + COLUMNS] for g in groups for i in range(0, len(g), COLUMNS)]
    leads = telling([t.weight for t in shown]) if shown else (0,)
    num = len(leads)
    figure = new_figure(COLUMNS * WIDE, max(len(rows), 1) * (HIGH + (num - 1) * MORE))
    figure.patch.set_facecolor(PAPER)
    most = max((float(np.abs(t.weight).max()) for t in shown), default=1.0) or 1.0
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            box = (j + 0.03) / COLUMNS, 1 - (i + 0.95) / len(rows)
            size = (
                0.94 / COLUMNS,
                (1 - 0.26 / (1 + (num - 1) * MORE / HIGH)) / len(rows),
            )
            axes = figure.add_axes((*box, *size))
            axes.set_axis_off()
            span = one.time_s[0], one.time_s[-1]
            axes.set(xlim=span, ylim=(1.05 - 2.1 * num, 1.05))
            axes.axvline(0, color=INK, lw=0.4, alpha=0.5, ls=(0, (1.2, 1.2)))
            for down, k in enumerate(leads):
                _one(axes, one, k, -2.1 * down, most)
            share = "" if one.share is None else f"  {percent(one.share)}"
            axes.set_title(
                f"{one.name}{share}", size=7.5, color=SIDE_COLORS[one.side], pad=2
            )
    return figure


def _one(axes: "Axes", one: Template, k: int, up: float, most: float) -> None:
    """Draw one lead of a template, moved up."""
    axes.axhline(up, color=INK, lw=0.4, alpha=0.5)
    weight = one.weight[k]
    height = up + weight / most * (1 if one.side == "normal" else -1)
    for color, does in ((RAISES, weight > 0), (LOWERS, weight < 0)):
        style = {"where": does, "color": color, "alpha": 0.7, "lw": 0}
        axes.fill_between(one.time_s, up, height, **style)
    if one.median is not None:
        peak = max(float(np.abs(one.median).max()), 1e-6)
        axes.plot(one.time_s, up + one.median[k] / peak, color=INK, lw=0.9)
    if len(one.leads) > 1:
        style = {"size": 6, "color": INK, "va": "top", "parse_math": False}
        axes.text(one.time_s[0], up + 1, one.leads[k], **style)
