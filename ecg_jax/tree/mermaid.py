"""A tree as a Mermaid diagram: text that GitHub and other renderers draw."""

from typing import Any

import jax
import numpy as np

from ecg_jax.percent import share
from ecg_jax.shown import sparkline
from ecg_jax.tree.tree import Node, Tree

COLORS = {"normal": "#0069a8", "not normal": "#c8500a"}
JOINS = {"normal": "max", "not normal": "min"}
LEAST = 8
"""Samples that a prototype has at least, to be drawn as a wave."""
MOST_LEADS = 3


def to_mermaid(tree: Tree) -> str:
    """The equation as a Mermaid flowchart, each component with its prototype's wave.

    `f(x) = max(P1, ..., rest) = min(Q1, ..., rest)`: arrows from `f` bear the max or
    the min, those further down lead to components one level of gates deeper.

    Args:
      tree: from `ecg_jax.grow`.

    Returns:
      The diagram, without a fence: text of a line for each node and arrow.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> data = jax.random.normal(jax.random.key(0), (200, 2))
      >>> print(ej.to_mermaid(ej.grow(f, data, depth=1, budget=1)).splitlines()[0])
      flowchart TD
    """
    totals = {
        side: sum(n.count for n in tree.nodes if n.parent == 0 and n.side == side)
        for side in COLORS
    }
    lines = ["flowchart TD", '  f["f(x) >= 0: normal"]']
    for node in tree.nodes[1:]:
        arrow = f"-->|{JOINS[node.side]}|" if node.parent == 0 else "-->"
        above = "f" if node.parent == 0 else _id(tree.nodes[node.parent])
        label = "<br>".join(filter(None, _label(node, totals[node.side])))
        lines.append(f'  {above} {arrow} {_id(node)}["{label}"]')
    lines.append('  f --> rest["rest: f itself"]')
    for side, color in COLORS.items():
        ids = [_id(node) for node in tree.nodes[1:] if node.side == side]
        if ids:
            name = side.replace(" ", "")
            lines.append(f"  classDef {name} stroke:{color},stroke-width:2px")
            lines.append(f"  class {','.join(ids)} {name}")
    return "\n".join(lines)


def _id(node: Node) -> str:
    return node.name.replace(".", "_")


def _label(node: Node, total: int) -> tuple[str, str, str]:
    """Name and side, the wave of the prototype, the share of the side's samples."""
    part = share(node.count / max(total, 1), 0)
    return f"{node.name} proves {node.side}", _wave(node.anchor), f"decides {part}"


def _wave(anchor: Any) -> str:
    """A prototype, its leads below one another; "" where it is no array over time.

    At most the first three leads.
    """
    leaves = jax.tree.leaves(anchor)
    if len(leaves) != 1 or np.ndim(leaves[0]) == 0 or np.shape(leaves[0])[-1] < LEAST:
        return ""
    values = np.asarray(leaves[0])
    leads = values.reshape(-1, values.shape[-1])[:MOST_LEADS]
    return "<br>".join(sparkline(lead) for lead in leads)
