"""Composites and prototypes of two components, a sheet of ECG paper each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.cells import DASHED
from ecg_jax.draw.layout import holding
from ecg_jax.draw.paper import PROTOTYPE, SIDE_COLORS, UNPROVEN, halo, say
from ecg_jax.draw.sheet import sheets

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Shown:
    """What is drawn of a component.

    Attributes:
        title: Above its sheet.
        time_s: Times of the samples, in seconds from R.
        composite: Median of the beats of its cell, in mV; `None`: not known.
        prototype: The beat that it is anchored at, in mV; `None`: not known.
        side: "normal" or "not normal": the color of the composite.
        leads: Names of the leads.
    """

    title: str
    time_s: Float[np.ndarray, " time"]
    composite: Float[np.ndarray, "lead time"] | None = None
    prototype: Float[np.ndarray, "lead time"] | None = None
    side: str | None = None
    leads: tuple[str, ...] = ("",)


def beside(shown: Sequence[Shown], *, inches_per_s: float = 1.7) -> "Figure":
    """Draw components beside each other, those of the same leads at the same height.

    Composites are solid, prototypes dashed. Components of the same leads have the
    window of the first.
    """
    laid = []
    for one in shown:
        alike = [other for other in shown if other.leads == one.leads]
        waves = [w for other in alike for w in (other.composite, other.prototype)]
        laid.append(holding(one.leads, alike[0].time_s, *waves, edge_mv=0.0))
    figure, axes = sheets(laid, top=0.24, inches_per_s=inches_per_s)
    width, height = figure.get_size_inches()
    for one, place, paper in zip(shown, laid, axes, strict=True):
        color = SIDE_COLORS.get(one.side or "", UNPROVEN)
        box = paper.get_position()
        left, above = box.x0 * width + 0.05, (1 - box.y1) * height - 0.12
        say(figure, left, above, one.title, size=7, weight="bold", color=color)
        for k, (right, up) in enumerate(place.places):
            time = one.time_s + right
            if one.composite is not None:
                halo(paper, time, one.composite[k] + up, color=color, lw=1.4)
            if one.prototype is not None:
                style = {"color": PROTOTYPE, "lw": 1.1, "ls": DASHED, "zorder": 6}
                paper.plot(time, one.prototype[k] + up, **style)
    return figure
