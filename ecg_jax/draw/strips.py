"""A recording as strips of ECG paper, every beat with its answer and its proof."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.draw.layout import layout
from ecg_jax.draw.paper import (
    ASPECT,
    INK,
    PAPER,
    SIDE_COLORS,
    SIDE_MARKS,
    UNPROVEN,
    Limits,
    calibration_mark,
    ecg_paper,
    new_figure,
    say,
    squares,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def strips(
    millivolts: Float[np.ndarray, "lead time"],
    sample_rate_hz: float,
    r_time_s: Sequence[float],
    answers: Sequence[str],
    components: Sequence[str | None],
    *,
    leads: Sequence[str] = ("",),
    before_s: float = 0.25,
    after_s: float = 0.40,
    row_s: float = 10.0,
    max_rows: int = 12,
    start_s: float = 0.0,
    annotated: Sequence[tuple[float, str]] = (),
    missed: Sequence[float] = (),
) -> "Figure":
    """Draw a recording row by row, its leads below one another in each.

    A beat's part of the signal has the color of its answer; above its R peak stand a
    mark (circle: normal, triangle: not normal; hollow: not proven) and the component
    that proves the answer. The part ends halfway to the next beat, found or missed:
    what belongs to no beat stays gray.

    Args:
        millivolts: The recording, in mV.
        sample_rate_hz: Samples a second.
        r_time_s: R peak of each beat, in seconds.
        answers: "normal" or "not normal", one a beat.
        components: Name of the component that proves the answer; `None`: not proven.
        leads: Names of the leads.
        before_s: Start of a beat's colored part, in seconds before R.
        after_s: Its end, in seconds after R.
        row_s: Seconds a row.
        max_rows: Rows at most.
        start_s: Where the first row starts.
        annotated: Time and class of each annotated beat; written at the bottom.
        missed: Times of the annotated beats that nobody answered for: a gray cross.

    Returns:
        The figure.
    """
    signals = np.asarray(millivolts, float)
    time = np.arange(signals.shape[-1]) / sample_rate_hz
    laid = layout(leads, time[[0, -1]], [_limits(signal) for signal in signals])
    low, high = laid.limits
    left_s, right_s, scale, above, gap = 0.5, 0.15, 0.98, 0.5, 0.12
    duration = max(float(time[-1]) - start_s, 1.0)
    span = min(row_s, float(np.ceil(duration / 0.2)) * 0.2)
    num_rows = int(np.clip(np.ceil(duration / span - 1e-9), 1, max_rows))
    limits = (low, high + above)
    paper = (limits[1] - limits[0]) * ASPECT * scale
    width = (left_s + span + right_s) * scale
    height = num_rows * (paper + gap) + 0.1
    figure = new_figure(width, height)
    figure.patch.set_facecolor(PAPER)
    marks = np.asarray(r_time_s, float)
    starts, stops = _parts(marks, np.asarray(missed, float), before_s, after_s)
    for row in range(num_rows):
        begin = start_s + row * span
        top = row * (paper + gap) + 0.1
        box = (0, 1 - (top + paper) / height, 1, paper / height)
        axes = figure.add_axes(box)
        ecg_paper(axes, (begin - left_s, begin + span + right_s), limits)
        inside = (time >= begin) & (time < begin + span)
        for signal, name, (_, up) in zip(signals, laid.names, laid.places, strict=True):
            calibration_mark(axes, begin - left_s + 0.06, foot_mv=up)
            line = signal[inside] + up
            axes.plot(time[inside], line, color=INK, lw=0.6, alpha=0.75, zorder=3)
            if name:
                _write(axes, begin - left_s + 0.16, up - 0.4, name, INK)
        end = begin + span
        for at in np.flatnonzero((stops > begin) & (starts < end)).tolist():
            name = components[at]
            proven = name is not None
            color = SIDE_COLORS[answers[at]]
            own = inside & (time >= starts[at]) & (time <= stops[at])
            style: dict[str, Any] = (
                {"lw": 1.3} if proven else {"lw": 1.2, "ls": (0, (2, 1.2))}
            )
            for signal, (_, up) in zip(signals, laid.places, strict=True):
                axes.plot(time[own], signal[own] + up, color=color, zorder=4, **style)
            if not begin <= marks[at] < end:  # its R is in the row before or after
                continue
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
            _write(
                axes, marks[at], high + 0.24, name or "?", color if proven else UNPROVEN
            )
        for at in (t for t in missed if begin <= t < end):
            axes.plot([at], [high + 0.12], "x", ms=4.2, color=UNPROVEN, zorder=5)
        for at, label in annotated:
            if begin <= at < end:
                _write(axes, at, low + 0.02, label, INK)
        say(figure, 0.06, top + 0.1, f"{begin:g} s", size=6.5)
    return figure


def _limits(signal: Float[np.ndarray, " time"]) -> Limits:
    """Millivolts that hold nearly all of a lead."""
    finite = signal[np.isfinite(signal)]
    ends = np.quantile(finite, [0.002, 0.998]) if len(finite) else np.array([0.0, 1.0])
    return squares(float(ends[0]) - 0.1, float(ends[1]) + 0.1)


def _parts(
    marks: Float[np.ndarray, " beat"],
    missed: Float[np.ndarray, " missed"],
    before_s: float,
    after_s: float,
) -> tuple[Float[np.ndarray, " beat"], Float[np.ndarray, " beat"]]:
    """Where the part of each beat starts and ends, at most halfway to its neighbors."""
    every = np.unique(np.concatenate([marks, missed]))
    middle = (every[1:] + every[:-1]) / 2
    row = np.searchsorted(every, marks)
    first = np.concatenate([[-np.inf], middle])[row]
    last = np.concatenate([middle, [np.inf]])[row]
    return np.maximum(marks - before_s, first), np.minimum(marks + after_s, last)


def _write(axes: Any, x: float, y: float, text: str, color: str) -> None:
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="bottom",
        fontsize=6,
        color=color,
        weight="bold",
        parse_math=False,
        clip_on=True,
    )
