"""ECG paper with its usual proportions.

One large square is 200 ms wide and 0.5 mV high, a small one 40 ms and 0.1 mV: a second
is 25 mm when a millivolt is 10 mm, whatever the size on the screen.
"""

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.sketch import UNLABELLED, Group, Sketch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER, MINOR, MAJOR, INK = "#fffaf7", "#f8e3de", "#edbdb4", "#1c2630"
PROTOTYPE = "#7a2182"
UNPROVEN = "#5f6b76"
SIDE_COLORS = {"normal": "#0069a8", "not normal": "#c8500a"}
SIDE_MARKS = {"normal": "o", "not normal": "^"}
LABEL_COLORS = {
    "N": "#56b4e9",
    "A": "#cc79a7",
    "O": "#e69f00",
    "~": "#9aa3ab",
    "S": "#009e73",
    "V": "#d55e00",
    "F": "#f0e442",
    "Q": "#c3c9ce",
}
LABEL_NAMES = {
    "N": "normal",
    "A": "atrial fibrillation",
    "O": "other rhythm",
    "~": "too noisy",
    "S": "supraventricular beat",
    "V": "ventricular beat",
    "F": "fusion beat",
    "Q": "unclassifiable beat",
    "?": "no label",
}
NO_LABEL = "#d9dde0"
OWN_LABELS = ("#8fb7d9", "#d9b38f", "#a9cfa4", "#cfa4c8", "#d6cf8a", "#9fcfcf")
ASPECT = 0.4

Limits = tuple[float, float]


def label_color(name: str) -> str:
    """The color of a label: its own, or one by its name where it has none."""
    if name.lower() in ("normal", "norm", "nsr", "snr"):
        return LABEL_COLORS["N"]
    if name in LABEL_COLORS:
        return LABEL_COLORS[name]
    own = OWN_LABELS[zlib.crc32(name.encode()) % len(OWN_LABELS)]
    return NO_LABEL if name in ("", UNLABELLED) else own


def ecg_paper(axes: "Axes", time_s: Limits, millivolts: Limits) -> None:
    """Turn axes into ECG paper between the given seconds and millivolts."""
    axes.set_xlim(*time_s)
    axes.set_ylim(*millivolts)
    axes.set_aspect(ASPECT)
    axes.set_axis_off()
    for wide, high, color, width in ((0.04, 0.1, MINOR, 0.4), (0.2, 0.5, MAJOR, 0.6)):
        ends = [
            ((at, millivolts[0]), (at, millivolts[1])) for at in _ruled(time_s, wide)
        ]
        ends += [((time_s[0], at), (time_s[1], at)) for at in _ruled(millivolts, high)]
        points = np.array([p for a, b in ends for p in (a, b, (np.nan, np.nan))])
        points = points.reshape(-1, 2)
        axes.plot(points[:, 0], points[:, 1], color=color, lw=width, zorder=0)


def calibration_mark(
    axes: "Axes", start_s: float, width_s: float = 0.2, foot_mv: float = 0.0
) -> None:
    """Draw the pulse of 1 mV, its feet at 0 mV, or where a lead was moved to."""
    steps = [start_s + share * width_s for share in (0, 0.2, 0.2, 0.8, 0.8, 1)]
    pulse = [foot_mv + up for up in (0, 0, 1, 1, 0, 0)]
    axes.plot(steps, pulse, color=INK, lw=0.8, solid_joinstyle="miter", zorder=4)


EDGE_MV = 0.05


def limits_of(
    composites: Sequence[Sketch | Group],
    beat: Float[np.ndarray, " time"] | None = None,
) -> Limits:
    """Millivolts, in whole large squares, that hold the given composites and a beat."""
    shown = [s.quantiles for s in composites] + ([] if beat is None else [beat])
    low = min([float(values.min()) for values in shown], default=0.0)
    high = max([float(values.max()) for values in shown], default=0.0)
    return squares(low - EDGE_MV, high + EDGE_MV)


def squares(low: float, high: float) -> Limits:
    """Widen millivolts to whole large squares, and so that 0 and 1 mV are inside."""
    low, high = max(min(low, -0.3), -4.0), min(max(high, 1.1), 6.0)
    return 0.5 * float(np.floor(2 * low)), 0.5 * float(np.ceil(2 * high))


def new_figure(width: float, height: float) -> "Figure":
    """Make a figure, in inches, that no global state knows."""
    from ecg_jax.draw.figure import Shown

    return Shown(width, height)


def lines(
    axes: "Axes",
    time_s: Float[np.ndarray, " time"],
    beats: Float[np.ndarray, "beat time"],
    **style: Any,
) -> None:
    """Draw beats over one another, each see-through by itself."""
    from matplotlib.collections import LineCollection

    points = [np.column_stack([time_s, beat]) for beat in beats]
    axes.add_collection(LineCollection(points, **style), autolim=False)


def halo(axes: "Axes", x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """Draw a line on a paper-colored one, so that it stands out from those below."""
    width, order = style.pop("lw"), style.pop("zorder", 5)
    axes.plot(x, y, color=PAPER, lw=width + 1.4, alpha=0.85, zorder=order - 0.5)
    axes.plot(x, y, lw=width, zorder=order, **style)


def say(
    figure: "Figure", x: float, y: float, words: str, *, size: float, **style: Any
) -> None:
    """Write words at inches from the left and from the top; `$` has no meaning."""
    width, height = figure.get_size_inches()
    style = {"color": INK, "va": "center", "parse_math": False, **style}
    figure.text(x / width, 1 - y / height, words, fontsize=size, **style)


def _ruled(limits: Limits, step: float) -> Float[np.ndarray, " line"]:
    first, last = np.ceil(limits[0] / step - 1e-6), np.floor(limits[1] / step + 1e-6)
    return np.arange(first, last + 1) * step
