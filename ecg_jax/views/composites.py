"""Composites as ECGs of their own: what the function says of a median, a mean.

A composite is a picture of a cell, not of its answer: the function may say otherwise of
the picture than of every beat in it. So each is asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Decision, Tree
from ecg_jax.views.evaluation import Evaluation
from ecg_jax.views.partition import arithmetic, inputs_of

NUM_BEATS = 2000
"""Beats of a cell that its median and mean are taken over."""

KINDS = ("median", "mean", "prototype")


@dataclass(frozen=True)
class Composite:
    """What the function says of the composites of a component.

    Attributes:
      answers: "normal" or "not normal", by composite.
      provers: the component that proves it, by composite; "" where none does.
      medoid: the beat nearest to the median, where the function says otherwise of the
        median than of the cell; else None.
      medoid_prover: the component that proves the medoid's answer; "": none does.
    """

    answers: Mapping[str, str]
    provers: Mapping[str, str]
    medoid: int | None = None
    medoid_prover: str = ""

    @property
    def shown_proven(self) -> bool:
        """Whether the answer of what is shown, median or medoid, is proven."""
        shown = self.provers["median"] if self.medoid is None else self.medoid_prover
        return bool(shown)

    def words(self) -> str:
        """All of it, in words."""
        told = [
            f"the {kind} is answered “{answer}” ({_by(self.provers[kind])})"
            for kind, answer in self.answers.items()
        ]
        text = f"As ECGs of their own: {', '.join(told)}."
        if self.medoid is None:
            return text
        return (
            f"{text} So the median is a picture of the cell, not of its answer; drawn "
            "in its place is the medoid, the beat of the cell that is nearest to it "
            f"({_by(self.medoid_prover)})."
        )


def composites(found: Evaluation) -> dict[int, Composite]:
    """What the function says of the composites of every component with beats."""
    part, tree = found.part, found.part.tree
    path = part.decision.path[found.rows]
    inside = {n.id: found.rows[(path == n.id).any(axis=1)] for n in tree.nodes[1:]}
    rows = {
        i: np.random.default_rng(i).permutation(own)[:NUM_BEATS]
        for i, own in inside.items()
        if len(own)
    }
    if not rows:
        return {}
    cells = {i: inputs_of(tree, part.beats, own) for i, own in rows.items()}
    shapes = [_of_cell(tree, i, cells[i]) for i in rows]
    with arithmetic(tree):
        said = decide(tree, np.concatenate(shapes))
    out = {}
    for at, i in enumerate(rows):
        own = range(at * len(KINDS), (at + 1) * len(KINDS))
        answers = {k: _answer(said, j) for k, j in zip(KINDS, own, strict=True)}
        provers = {k: _prover(tree, said, j) for k, j in zip(KINDS, own, strict=True)}
        medoid, by = None, ""
        if answers["median"] != tree.nodes[i].side:
            medoid, by = _medoid(found, rows[i], cells[i], shapes[at][0])
        out[i] = Composite(answers, provers, medoid, by)
    return out


def _of_cell(tree: Tree, node: int, cell: np.ndarray) -> np.ndarray:
    """Median, mean and prototype, in the order of `KINDS`."""
    anchor = np.asarray(tree.nodes[node].anchor, cell.dtype).reshape(cell.shape[1:])
    return np.stack([np.median(cell, axis=0), cell.mean(axis=0), anchor])


def _medoid(
    found: Evaluation, rows: np.ndarray, cell: np.ndarray, median: np.ndarray
) -> tuple[int, str]:
    """The beat nearest to the median, of those that are proven where there are any."""
    decision, tree = found.part.decision, found.part.tree
    away = np.square(cell - median).reshape(len(cell), -1).sum(axis=1)
    unproven = decision.prover[rows] < 0
    row = int(rows[np.lexsort((away, unproven))[0]])
    return row, _prover(tree, decision, row)


def _answer(decision: Decision, at: int) -> str:
    return "normal" if decision.normal[at] else "not normal"


def _prover(tree: Tree, decision: Decision, at: int) -> str:
    return tree.nodes[decision.prover[at]].name if decision.prover[at] >= 0 else ""


def _by(prover: str) -> str:
    return f"proven by {prover}" if prover else "not proven"


def composite_metrics(asked: Mapping[int, Composite], tree: Tree) -> dict[str, Any]:
    """How many composites are drawn, proven, answered otherwise than their cell."""
    return {
        "shown": len(asked),
        "proven": sum(one.shown_proven for one in asked.values()),
        "median_answered_otherwise": [
            tree.nodes[i].name for i, one in asked.items() if one.medoid is not None
        ],
    }
