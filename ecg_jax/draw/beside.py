"""Composites and prototypes of two components, a sheet of ECG paper each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.cells import DASHED
from ecg_jax.draw.paper import (
    PROTOTYPE,
    SIDE_COLORS,
    UNPROVEN,
    halo,
    say,
    sheet,
    squares,
)

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
    """

    title: str
    time_s: Float[np.ndarray, " time"]
    composite: Float[np.ndarray, " time"] | None = None
    prototype: Float[np.ndarray, " time"] | None = None
    side: str | None = None


def beside(shown: Sequence[Shown], *, inches_per_s: float = 1.7) -> "Figure":
    """Draw components beside each other, on sheets of the same height.

    Composites are solid, prototypes dashed. All sheets have the window of the first.
    """
    waves = [
        wave
        for one in shown
        for wave in (one.composite, one.prototype)
        if wave is not None
    ]
    limits = squares(
        min((float(wave.min()) for wave in waves), default=0.0),
        max((float(wave.max()) for wave in waves), default=0.0),
    )
    figure, axes = sheet(
        shown[0].time_s, limits, top=0.24, copies=len(shown), inches_per_s=inches_per_s
    )
    width, _ = figure.get_size_inches()
    for one, paper in zip(shown, axes, strict=True):
        color = SIDE_COLORS.get(one.side or "", UNPROVEN)
        left = paper.get_position().x0 * width
        say(figure, left + 0.05, 0.12, one.title, size=7, weight="bold", color=color)
        if one.composite is not None:
            halo(paper, one.time_s, one.composite, color=color, lw=1.4)
        if one.prototype is not None:
            style = {"color": PROTOTYPE, "lw": 1.1, "ls": DASHED, "zorder": 6}
            paper.plot(one.time_s, one.prototype, **style)
    return figure
