"""Charts of a network and of an equation: ROC, calibration, frontier, histograms."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float, Real

from ecg_jax.draw.paper import new_figure
from ecg_jax.draw.render import CHART_INK, CHART_SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SERIES = (*CHART_SIDES.values(), "#00805c", "#a3477a", "#9a7400", "#5f6b76")
STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), "-.", (0, (8, 2)), "-")
MARKERS = ("o", "^", "s", "D", "v", "P")

Curve = tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]


def roc(
    curves: Mapping[str, Curve],
    *,
    operating: Mapping[str, tuple[float, float]] = MappingProxyType({}),
) -> "Figure":
    """Draw ROC curves: share of normals found against that of others let through.

    Args:
        curves: Name to (false positive rate, true positive rate).
        operating: Name to the (false, true) positive rate at margin 0.
    """
    figure, axes = _chart(3.5, 3.3)
    axes.plot([0, 1], [0, 1], color=CHART_INK, lw=0.7, alpha=0.35)
    for at, (name, (false, true)) in enumerate(curves.items()):
        false, true = _thin(np.asarray(false), np.asarray(true))
        style = {"color": SERIES[at % 6], "ls": STYLES[at % 6], "lw": 1.6}
        axes.plot(false, true, label=_plain(name), **style)
        if name in operating:
            axes.plot(*operating[name], MARKERS[at % 6], color=SERIES[at % 6], ms=5)
    axes.set_xlabel("others answered normal (1 - specificity)")
    axes.set_ylabel("normals answered normal (sensitivity)")
    _unit_square(axes)
    _legend(axes, "lower right")
    return figure


def calibration(
    predicted: Float[np.ndarray, " bin"],
    observed: Float[np.ndarray, " bin"],
    count: Real[np.ndarray, " bin"],
) -> "Figure":
    """Draw observed against predicted share of normals; an area is a count."""
    figure, axes = _chart(3.5, 3.3)
    axes.plot([0, 1], [0, 1], color=CHART_INK, lw=0.7, alpha=0.35)
    count = np.asarray(count, float)
    area = 12 + 130 * count / max(float(np.max(count, initial=0)), 1.0)
    axes.plot(predicted, observed, color=SERIES[0], lw=1, alpha=0.6)
    axes.scatter(predicted, observed, s=area, color=SERIES[0], alpha=0.75, lw=0)
    axes.set_xlabel("predicted probability of normal")
    axes.set_ylabel("share with a normal label")
    _unit_square(axes)
    return figure


def frontier(
    points: Mapping[str, Sequence[tuple[float, float, int]]],
    *,
    x_label: str = "purity: variance explained, share of k-means'",
    y_label: str = "answers proven",
) -> "Figure":
    """Draw coverage against purity, one line a series, the number of components.

    Args:
        points: Series to (purity, coverage, number of components) of each setting.
        x_label: Words below.
        y_label: Words on the left.
    """
    figure, axes = _chart(4.6, 3.3)
    for at, (name, series) in enumerate(points.items()):
        if not series:
            continue
        style = {"color": SERIES[at % 6], "ls": STYLES[at % 6], "lw": 1.2}
        label: str | None = _plain(name)
        for number in sorted({point[2] for point in series}):
            line = sorted(point[:2] for point in series if point[2] == number)
            x, y = [p[0] for p in line], [p[1] for p in line]
            axes.plot(x, y, marker=MARKERS[at % 6], ms=4.5, label=label, **style)
            label = None
            where = {"xytext": (3, 4), "textcoords": "offset points"}
            axes.annotate(str(number), line[0], fontsize=6, color=CHART_INK, **where)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.margins(0.08, 0.1)
    _legend(axes, "lower left")
    return figure


def histogram(
    values: Float[np.ndarray, " value"],
    *,
    x_label: str,
    y_label: str = "recordings",
    bins: int = 30,
    limits: tuple[float, float] | None = None,
) -> "Figure":
    """Draw how many values fall into each of some equal intervals."""
    figure, axes = _chart(3.5, 2.1)
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    count, edges = np.histogram(values, bins=bins, range=limits)
    axes.stairs(count, edges, fill=True, color=SERIES[0], alpha=0.85)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.margins(0.01, 0.06)
    return figure


def bars(
    values: Mapping[str, float], *, x_label: str, side: str = "normal"
) -> "Figure":
    """Draw one horizontal bar a name, the largest on top."""
    figure, axes = _chart(3.8, 0.6 + 0.22 * max(1, len(values)))
    names = sorted(values, key=lambda name: values[name])
    axes.barh(names, [values[name] for name in names], color=CHART_SIDES[side])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.set_xlabel(x_label)
    return figure


def _chart(width: float, height: float) -> tuple["Figure", "Axes"]:
    figure = new_figure(width, height)
    figure.patch.set_alpha(0)
    left, right, bottom, top = 0.52, 0.1, 0.45, 0.08
    box = (
        left / width,
        bottom / height,
        1 - (left + right) / width,
        1 - (bottom + top) / height,
    )
    axes = figure.add_axes(box)
    axes.patch.set_alpha(0)
    axes.grid(color=CHART_INK, alpha=0.12, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=7, colors=CHART_INK, length=2.5, width=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set(color=CHART_INK, lw=0.6)
    axes.xaxis.label.set(size=7.5, color=CHART_INK)
    axes.yaxis.label.set(size=7.5, color=CHART_INK)
    return figure, axes


def _unit_square(axes: "Axes") -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)


def _legend(axes: "Axes", where: Literal["lower left", "lower right"]) -> None:
    if not axes.get_legend_handles_labels()[1]:
        return
    legend = axes.legend(
        loc=where, fontsize=7, frameon=False, labelcolor=CHART_INK, handlelength=2.6
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _plain(name: str) -> str:
    return name.lstrip("_") or "unnamed"


def _thin(x: np.ndarray, y: np.ndarray, most: int = 300) -> Curve:
    if len(x) <= most:
        return x, y
    along = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    keep = np.searchsorted(along, np.linspace(0, along[-1], most))
    keep = np.unique(np.clip(keep, 0, len(x) - 1))
    return x[keep], y[keep]
