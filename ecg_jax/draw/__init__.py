"""Figures: ECG paper, cells, the tree, strips and charts.

Functions return a `matplotlib.figure.Figure` and touch no global state; `svg` and `png`
turn it into bytes that are the same each time, `save` writes them. `spark` alone writes
its SVG by itself: one for every beat of a recording.

Colors are those of Okabe and Ito (2008), made darker where lines need it; what a color
says, a line style, a mark or a word says too.
"""

from ecg_jax.draw.beat import changed
from ecg_jax.draw.cells import cell, pair, sides
from ecg_jax.draw.charts import bars, calibration, frontier, histogram, roc
from ecg_jax.draw.paper import calibration_mark, ecg_paper, limits_of
from ecg_jax.draw.ranges import ranges
from ecg_jax.draw.render import png, save, svg
from ecg_jax.draw.side_by_side import Shown, beside
from ecg_jax.draw.spark import spark
from ecg_jax.draw.strips import strips
from ecg_jax.draw.sweep_grid import spread
from ecg_jax.draw.templates import Template, templates
from ecg_jax.draw.tree import TreeNode, shown_leads, tree
from ecg_jax.draw.weights import weights

__all__ = [
    "Shown",
    "Template",
    "TreeNode",
    "bars",
    "beside",
    "calibration",
    "calibration_mark",
    "cell",
    "changed",
    "ecg_paper",
    "frontier",
    "histogram",
    "limits_of",
    "pair",
    "png",
    "ranges",
    "roc",
    "save",
    "shown_leads",
    "sides",
    "spark",
    "spread",
    "strips",
    "svg",
    "templates",
    "tree",
    "weights",
]
