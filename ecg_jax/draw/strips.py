"""A recording as strips of ECG paper, every beat with its answer and its proof."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.paper import (
    ASPECT,
    INK,
    PAPER,
    SIDE_COLORS,
    SIDE_MARKS,
    UNPROVEN,
    calibration_mark,
    ecg_paper,
    new_figure,
    say,
    squares,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def strips(
    millivolts: Float[np.ndarray, " time"],
    sample_rate_hz: float,
    r_time_s: Sequence[float],
    answers: Sequence[str],
    components: Sequence[str | None],
    *,
    before_s: float = 0.25,
    after_s: float = 0.40,
    row_s: float = 10.0,
    max_rows: int = 12,
    start_s: float = 0.0,
) -> "Figure":
    """Draw a recording row by row.

    A beat's part of the signal has the color of its answer; above its R peak stand a
    mark (circle: normal, triangle: not normal; hollow: not proven) and the component
    that proves the answer.

    Args:
        millivolts: One lead of the recording, in mV.
        sample_rate_hz: Samples a second.
        r_time_s: R peak of each beat, in seconds.
        answers: "normal" or "not normal", one a beat.
        components: Name of the component that proves the answer; `None`: not proven.
        before_s: Start of a beat's colored part, in seconds before R.
        after_s: Its end, in seconds after R.
        row_s: Seconds a row.
        max_rows: Rows at most.
        start_s: Where the first row starts.

    Returns:
        The figure.
    """
    signal = np.asarray(millivolts, float)
    time = np.arange(len(signal)) / sample_rate_hz
    finite = signal[np.isfinite(signal)]
    ends = np.quantile(finite, [0.002, 0.998]) if len(finite) else np.array([0.0, 1.0])
    low, high = squares(float(ends[0]) - 0.1, float(ends[1]) + 0.1)
    left_s, scale, above, gap = 0.35, 0.98, 0.5, 0.12
    duration = max(float(time[-1]) - start_s, 1.0)
    span = min(row_s, float(np.ceil(duration / 0.2)) * 0.2)
    num_rows = int(np.clip(np.ceil(duration / span - 1e-9), 1, max_rows))
    limits = (low, high + above)
    paper = (limits[1] - limits[0]) * ASPECT * scale
    width = (span + left_s) * scale
    height = num_rows * (paper + gap) + 0.1
    figure = new_figure(width, height)
    figure.patch.set_facecolor(PAPER)
    marks = np.asarray(r_time_s, float)
    for row in range(num_rows):
        begin = start_s + row * span
        top = row * (paper + gap) + 0.1
        box = (0, 1 - (top + paper) / height, 1, paper / height)
        axes = figure.add_axes(box)
        ecg_paper(axes, (begin - left_s, begin + span), limits)
        calibration_mark(axes, begin - left_s + 0.06)
        inside = (time >= begin) & (time < begin + span)
        axes.plot(time[inside], signal[inside], color=INK, lw=0.6, alpha=0.75, zorder=3)
        here = np.flatnonzero((marks >= begin) & (marks < begin + span))
        for at in here.tolist():
            name = components[at]
            proven = name is not None
            color = SIDE_COLORS[answers[at]]
            start, stop = marks[at] - before_s, marks[at] + after_s
            if at + 1 < len(marks):
                stop = min(stop, marks[at + 1] - before_s)
            own = inside & (time >= start) & (time <= stop)
            style: dict[str, Any] = (
                {"lw": 1.3} if proven else {"lw": 1.2, "ls": (0, (2, 1.2))}
            )
            axes.plot(time[own], signal[own], color=color, zorder=4, **style)
            axes.plot(
                [marks[at]],
                [high + 0.12],
                marker=SIDE_MARKS[answers[at]],
                ms=4.2,
                mfc=color if proven else PAPER,
                mec=color,
                mew=1,
                zorder=5,
            )
            axes.text(
                marks[at],
                high + 0.24,
                name or "?",
                ha="center",
                va="bottom",
                fontsize=6,
                color=color if proven else UNPROVEN,
                weight="bold",
                parse_math=False,
                clip_on=True,
            )
        say(figure, 0.06, top + 0.1, f"{begin:g} s", size=6.5)
    return figure
