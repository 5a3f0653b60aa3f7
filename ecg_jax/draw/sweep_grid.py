"""Settings that were tried: a figure of each, over the values of every option."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ecg_jax.draw.paper import new_figure
from ecg_jax.draw.render import CHART_INK, CHART_SIDES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_IN, HEIGHT_IN = 2.4, 2.6


def spread(
    options: Mapping[str, Sequence[Any]], values: Sequence[float], *, y_label: str
) -> "Figure":
    """Draw one figure of many settings: a panel for each option, a dot a setting.

    Args:
        options: Name to its value in every setting; values are laid out in their
            order, at equal distances.
        values: The figure of every setting.
        y_label: Words on the left.

    Returns:
        The figure.
    """
    figure = new_figure(PANEL_IN * max(len(options), 1), HEIGHT_IN)
    figure.patch.set_alpha(0)
    panels = figure.subplots(1, max(len(options), 1), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.6 / figure.get_figwidth(), bottom=0.3, right=0.98)
    for axes, (name, chosen) in zip(panels, options.items(), strict=False):
        known = sorted(set(chosen), key=_order)
        axes.plot(
            [known.index(value) for value in chosen],
            values,
            "o",
            color=CHART_SIDES["normal"],
            alpha=0.6,
            ms=4,
        )
        words = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in known]
        axes.set_xticks(range(len(known)), words, rotation=30, ha="right")
        for label in axes.get_xticklabels():
            label.set_parse_math(False)
        axes.tick_params(labelsize=7, colors=CHART_INK, length=2.5, width=0.6)
        axes.set_xlabel(name, size=7.5, color=CHART_INK)
        axes.margins(0.12)
        axes.grid(color=CHART_INK, alpha=0.12, lw=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(y_label, size=7.5, color=CHART_INK)
    return figure


def _order(value: Any) -> tuple[int, Any]:
    """Nothing, then numbers, then words."""
    if value is None:
        return 0, 0
    return (2, value) if isinstance(value, str) else (1, value)
