"""Figures of a tree on beats: the tree, a component, a cell, a beat.

Each function returns a `matplotlib.figure.Figure` and touches neither pyplot nor a
display. Units are mV and seconds from R; leads are named where their names are known.
"""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from ecg_jax import draw
from ecg_jax.cells.sketch import Sketch
from ecg_jax.draw.beat import beat_over_prototype, labelled_paper, lead_of, new_axes
from ecg_jax.draw.cells import draw_cell
from ecg_jax.draw.layout import holding
from ecg_jax.draw.paper import say
from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import DataError, ExampleError
from ecg_jax.percent import percent
from ecg_jax.program.describe import counted
from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Decision, Tree
from ecg_jax.views.components import prototype_of, sketch_of
from ecg_jax.views.explain import explain_rows
from ecg_jax.views.frame import check_beats
from ecg_jax.views.partition import arithmetic, inputs_of
from ecg_jax.views.ranges import Ranges
from ecg_jax.views.weighing import weigh_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["beat", "cell", "component", "flip", "ranges", "tree"]


def tree(tree: Tree, beats: Beats, *, max_columns: int = 12) -> "Figure":
    """Draws the tree: every component as the composite ECG of its cell.

    Args:
      tree: from `ecg_jax.grow`.
      beats: what it decides.
      max_columns: components below the root to draw; those with most beats.

    Returns:
      The figure.

    Raises:
      ExampleError: the tree's function takes no such beats.
    """
    decision = _decision(tree, beats)
    answers = {"normal": decision.normal, "not normal": ~decision.normal}
    nodes = []
    for node in tree.nodes:
        rows = _rows(decision, node.id)
        caption = ""
        if node.id and answers[node.side].any():
            caption = percent(len(rows) / int(answers[node.side].sum()))
        nodes.append(
            draw.TreeNode(
                id=node.id,
                parent=node.parent if node.id else None,
                name=node.name,
                side=node.side or None,
                sketch=sketch_of(beats, decision.value, rows),
                caption=caption,
            )
        )
    figure = draw.tree(nodes, max_columns=max_columns)
    figure.patch.set(facecolor="white", alpha=1)
    few = [beats.lead_names[k] for k in draw.shown_leads(nodes)]
    lead = f"lead{'s' * (len(few) > 1)} {', '.join(few)}; " if any(few) else ""
    root = figure.axes[1] if len(figure.axes) > 1 else figure.axes[0]
    beside = figure.get_figwidth() * root.get_position().x1 + 0.2
    title = f"{tree.nodes[0].name} and its components: the beats they answer for"
    for y, words, size in (
        (0.14, title, 8.5),
        (0.36, f"{lead}a large square is 0.2 s and 0.5 mV", 7.0),
        (0.52, "number: beats; line: their median; bands: the middle 50%, 80%", 7.0),
        (0.68, "percent: share of the side's answers", 7.0),
    ):
        say(figure, beside, y, words, size=size)
    return figure


def component(tree: Tree, name: str, beats: Beats) -> "Figure":
    """Draws a component: its cell, its prototype, and below what it weighs.

    Args:
      tree: from `ecg_jax.grow`.
      name: of the component, such as "P1"; "f" is the whole function.
      beats: what the tree decides.

    Returns:
      The figure.

    Raises:
      PatternError: the tree has no such component.
      DataError: no beat falls into its cell.
    """
    at, rows, sketch = _cell(tree, name, beats)
    weighing = weigh_all(tree, beats, {at: rows}, {at: sketch})[at]
    lead = f", lead {beats.leads[0]}" if len(beats.leads) == 1 else ""
    node, prototype = tree.nodes[at], (None, None)
    if at:
        prototype = prototype_of(beats, node, beats.windows(beats.reference))
    return draw.weights(
        sketch,
        weighing,
        side=node.side or None,
        prototype=prototype[0],
        prototype_record=prototype[1],
        title=f"{name}{lead}; the mark is 1 mV",
    )


def cell(tree: Tree, name: str, beats: Beats, *, ax: "Axes | None" = None) -> "Figure":
    """Draws the cell of a component: the composite ECG of the beats it answers for.

    The thick line is their median, the bands hold the middle 80% and 50% of them, thin
    lines are single beats, the dashed one is the prototype.

    Args:
      tree: from `ecg_jax.grow`.
      name: of the component, such as "P1"; "f" is the whole function.
      beats: what the tree decides.
      ax: axes to draw on.

    Returns:
      The figure.

    Raises:
      PatternError: the tree has no such component.
      DataError: no beat falls into its cell.
    """
    at, _, sketch = _cell(tree, name, beats)
    node, prototype = tree.nodes[at], None
    if at:
        prototype = prototype_of(beats, node, beats.windows(beats.reference))[0]
    axes, side = new_axes(ax), node.side or None
    words = f"{name}: proves {side}" if side else f"{name}: all beats"
    laid = holding(sketch.leads, sketch.time_s, sketch.quantiles, prototype)
    labelled_paper(axes, laid, title=f"{words}; {sketch.num_beats:,} beats", side=side)
    draw_cell(axes, sketch, laid, side=side, prototype=prototype)
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure


def beat(tree: Tree, beats: Beats, i: int, *, ax: "Axes | None" = None) -> "Figure":
    """Draws a beat over the prototype of what answers for it, its bounds above.

    Args:
      tree: from `ecg_jax.grow`.
      beats: what it decides.
      i: which of them.
      ax: axes to draw on.

    Returns:
      The figure.

    Raises:
      DataError: there is no such beat.
    """
    if not -len(beats) <= i < len(beats):
        raise DataError(
            f"no beat {i}: there are {len(beats):,}.\n  try: 0 to {len(beats) - 1}"
        )
    return explain_rows(tree, beats, np.array([i % len(beats)])).figure(ax)


def _decision(tree: Tree, beats: Beats) -> Decision:
    check_beats(tree, beats)
    with arithmetic(tree):
        return decide(tree, inputs_of(tree, beats))


def _rows(decision: Decision, node: int) -> Int[np.ndarray, " row"]:
    """The beats of a node's cell; those of the root are all."""
    inside = np.any(decision.path == node, axis=1) | (node == 0)
    return np.flatnonzero(inside)


def _cell(
    tree: Tree, name: str, beats: Beats
) -> tuple[int, Int[np.ndarray, " row"], Sketch]:
    """A component's id, the beats of its cell, and their composite."""
    at = 0 if name == tree.nodes[0].name else tree.find(name)
    decision = _decision(tree, beats)
    rows = _rows(decision, at)
    sketch = sketch_of(beats, decision.value, rows)
    if sketch is None:
        raise DataError(
            f"none of {len(beats):,} beats falls into the cell of {name}.\n"
            "  try: the beats that the tree was grown on"
        )
    return at, rows, sketch


def ranges(
    found: Ranges,
    rows: Int[np.ndarray, " row"] | slice = slice(None),
    *,
    side: str | None = None,
    ax: "Axes | None" = None,
) -> "Figure":
    """Draws how far each change goes before answers change, in its own unit.

    A bar reaches from where a quarter of the answers has changed to where three
    quarters have, with a mark at the half; at the right the share of answers that
    change before the edge, and the component that most often decides then.

    Args:
      found: from `ecg_jax.ranges`.
      rows: of which beats; by default all.
      side: their answer, "normal" or "not normal", for the color.
      ax: to draw on; by default a new figure's.

    Returns:
      The figure.
    """
    if not isinstance(found, Ranges):
        raise ExampleError(
            f"found is a {type(found).__name__}, not Ranges.\n"
            "  try: ecg_jax.ranges(fn, beats, ecg_jax.changes(beats))"
        )
    num, leads = len(found.low[rows]), found.changes.beats.leads
    whose = f"{counted(num, 'beat')}{f' called {side}' if side else ''}"
    title = f"What flips the answer: {whose}"
    title += f", lead {leads[0]}" if len(leads) == 1 else ""
    figure = draw.ranges(found.reaches(rows), side=side, title=title, axes=ax)
    figure.patch.set(facecolor="white", alpha=1)
    return figure


def flip(found: Ranges, i: int, *, ax: "Axes | None" = None) -> "Figure":
    """Draws a beat, and dashed how it looks where the first change flips its answer.

    Of several leads the one that is changed most.

    Args:
      found: from `ecg_jax.ranges`.
      i: which of its beats.
      ax: axes to draw on.

    Returns:
      The figure.

    Raises:
      DataError: no change flips this beat within its limit.
    """
    first = found.nearest(i, 1)
    if not first:
        raise DataError(
            f"no change flips beat {i} within its limit.\n  try: wider limits"
        )
    (told,), axes, beats = first, new_axes(ax), found.changes.beats
    x = beats.inputs(np.array([i]))[0]
    normal = float(found.value(x)) >= 0
    side, other = ("normal", "not normal")[:: 1 if normal else -1]
    before, after = found.drawn(i, x), found.shown(i, told)
    k = lead_of(before, after)
    beat_over_prototype(
        axes,
        before[[k]],
        after[[k]],
        beats.config.time_s,
        side=side,
        leads=beats.lead_names[k : k + 1],
        title=f"{side}; dashed: {told['words']} ({other})",
    )
    figure = axes.get_figure(root=True)
    assert figure is not None
    return figure
