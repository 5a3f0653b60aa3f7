"""`explain`: which component answers for a beat, and what proves the answer."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Array, Float, Int

from ecg_jax.cells.leads import lead_names, telling
from ecg_jax.draw import spark
from ecg_jax.draw.beat import beat_over_prototype, new_axes
from ecg_jax.draw.paper import SIDE_COLORS, new_figure
from ecg_jax.ecg.beats import Beats
from ecg_jax.pages.html import esc
from ecg_jax.pages.page import PROOF, RESEARCH
from ecg_jax.percent import share
from ecg_jax.storage.files import plain
from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Decision, Tree
from ecg_jax.views.components import by_lead, prototype_of
from ecg_jax.views.frame import check_beats, check_tree
from ecg_jax.views.partition import arithmetic, inputs_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS, MOST_PICTURES, COLUMNS = 20, 12, 3
MOST_NAMED = 4
SMALL, LARGE = (160, 54), (320, 120)
"""Pixels of a beat among others, and of a single one."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """What a tree says of some beats, and by which component.

    It shows itself in a notebook.

    Attributes:
      decision: values, bounds and proofs, an entry for each beat.
      provers: the component that proves each answer; None where none does.
      cells: the component that answers for each beat.
      beats: each beat in all its leads: in mV if `time_s` is known, else as the
        function sees it.
      prototypes: the prototype of every component that is named, likewise.
      time_s: seconds from R; None where nobody has said.
      leads: names of the leads; "" of a single one that nobody has named.
    """

    decision: Decision
    provers: tuple[str | None, ...]
    cells: tuple[str, ...]
    beats: Float[np.ndarray, "beat lead time"]
    prototypes: Mapping[str, Float[np.ndarray, "lead time"] | None]
    time_s: Float[np.ndarray, " time"] | None
    leads: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def answers(self) -> tuple[str, ...]:
        """The answer for each beat: "normal" or "not normal"."""
        return tuple("normal" if v else "not normal" for v in self.decision.normal)

    def proof(self, i: int) -> str:
        """What proves the answer for a beat, in words."""
        prover = self.provers[i]
        return f"proven by {prover}" if prover else f"in {self.cells[i]}, not proven"

    def bounds(self, i: int) -> str:
        """The margin of a beat between its bounds, in words."""
        d = self.decision
        return f"{d.lower[i]:.4g} <= f(x) = {d.value[i]:.4g} <= {d.upper[i]:.4g}"

    def __repr__(self) -> str:
        if len(self) == 1:
            return (
                f"Explanation: {self.answers[0]}, {self.proof(0)}\n"
                f"  {self.bounds(0)}; slack {self.decision.slack[0]:.2g}\n"
                f"  answers for it: {self.cells[0]}"
            )
        normal = int(self.decision.normal.sum())
        by = Counter(name for name in self.provers if name)
        named = ", ".join(f"{name} {n:,}" for name, n in by.most_common(MOST_NAMED))
        more = f" and {len(by) - MOST_NAMED} more" if len(by) > MOST_NAMED else ""
        return (
            f"Explanation of {len(self):,} beats: {normal:,} normal, "
            f"{len(self) - normal:,} not normal\n"
            f"  proven: {share(float(np.mean(self.decision.prover >= 0)))}"
            + (f", by {named}{more}" if by else "")
        )

    def _repr_html_(self) -> str:
        """A row for each beat: its picture, answer, bounds and proof. No script."""
        rows = "".join(self._row(i) for i in range(min(len(self), MOST_ROWS)))
        rest = len(self) - MOST_ROWS
        more = f"<p>and {rest:,} more beats</p>" if rest > 0 else ""
        heads = ("beat over prototype", "answer", "margin and bounds", "proof")
        head = "".join(
            f'<th style="text-align:left">{esc(name)}</th>' for name in heads
        )
        return (
            f"<div><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            f"{more}<p><small>{esc(PROOF)} {esc(RESEARCH)}</small></p></div>"
        )

    def _row(self, i: int) -> str:
        answer = self.answers[i]
        wide, high = LARGE if len(self) == 1 else SMALL
        few, prototype = list(self._few), self.prototype(i)
        picture = spark(
            self.beats[i, few],
            None if prototype is None else prototype[few],
            side=answer,
            leads=[self.leads[k] for k in few],
            width=wide,
            height=high,
        )
        color = SIDE_COLORS[answer]
        cells = (
            picture,
            f'<b style="color:{color}">{esc(answer)}</b>',
            esc(self.bounds(i)),
            esc(self.proof(i)),
        )
        style = "text-align:left;white-space:nowrap"
        row = "".join(f'<td style="{style}">{cell}</td>' for cell in cells)
        return f"<tr>{row}</tr>"

    @property
    def _few(self) -> tuple[int, ...]:
        """The leads to show where few fit: those in which prototypes differ most."""
        known = [wave for wave in self.prototypes.values() if wave is not None]
        return telling(known or list(self.beats))

    def prototype(self, i: int) -> Float[np.ndarray, "lead time"] | None:
        """The prototype of what proves a beat's answer, or else answers for it."""
        return self.prototypes.get(self.provers[i] or self.cells[i])

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain values, for a JSON file."""
        d = self.decision
        return {
            "num_beats": len(self),
            "num_normal": int(d.normal.sum()),
            "share_proven": float(np.mean(d.prover >= 0)),
            "beats": [
                {
                    "answer": self.answers[i],
                    "margin": plain(float(d.value[i])),
                    "lower": plain(float(d.lower[i])),
                    "upper": plain(float(d.upper[i])),
                    "slack": plain(float(d.slack[i])),
                    "proven_by": self.provers[i],
                    "cell": self.cells[i],
                }
                for i in range(len(self))
            ],
            "leads": list(self.leads),
            "prototypes": {k: plain(by_lead(v)) for k, v in self.prototypes.items()},
            "notes": [PROOF, RESEARCH],
        }

    def figure(self, ax: "Axes | None" = None) -> "Figure":
        """Each beat over the prototype of what answers for it; the first twelve.

        Args:
          ax: axes for the first beat alone.
        """
        num = 1 if ax is not None else min(len(self), MOST_PICTURES)
        if num == 1:
            axes = [new_axes(ax)]
        else:
            across = min(COLUMNS, num)
            down = -(-num // across)
            figure = new_figure(3.6 * across, 2.6 * down)
            figure.set_layout_engine("constrained")
            axes = [figure.add_subplot(down, across, i + 1) for i in range(num)]
        for i, one in enumerate(axes):
            beat_over_prototype(
                one,
                self.beats[i],
                self.prototype(i),
                self.time_s,
                side=self.answers[i],
                leads=self.leads,
                title=f"{self.answers[i]}, {self.proof(i)}\n{self.bounds(i)}",
            )
        whole = axes[0].get_figure(root=True)
        assert whole is not None
        return whole


def explain(
    tree: Tree,
    beat: Beats | Float[Array, "..."] | Float[np.ndarray, "..."],
    beats: Beats | None = None,
) -> Explanation:
    """Says which component answers for a beat, what proves the answer, and how firmly.

    Args:
      tree: from `ecg_jax.grow`.
      beat: one beat as the function sees it; several of them along a first axis; or
        `Beats`.
      beats: where arrays are from: says of them what a sample is in seconds and mV.

    Returns:
      The explanation, which shows itself in a notebook.

    Raises:
      ExampleError: the tree's function takes no such beats.
      NonFiniteError: a beat is NaN or infinite.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> data = jax.random.normal(jax.random.key(0), (200, 2))
      >>> tree = ej.grow(f, data, depth=1, budget=1)
      >>> print(ej.explain(tree, jnp.array([2.0, -1.0])))  # doctest: +ELLIPSIS
      Explanation: normal, proven by P1
        ... <= f(x) = 2 <= ...
        answers for it: P1
    """
    if isinstance(beat, Beats):
        return explain_rows(tree, beat, np.arange(len(beat)))
    check_tree(tree)
    if beats is not None:
        check_beats(tree, beats)
    data = np.asarray(beat)
    data = data[None] if data.shape == tree.example.shape else data
    with arithmetic(tree):
        decision = decide(tree, data)
    in_mv = beats is not None and beats.given is not None
    anchors = {
        node.name: _by_lead(np.asarray(node.anchor)[None])[0] for node in tree.nodes[1:]
    }
    waves = _by_lead(data)
    return _explanation(
        tree,
        decision,
        waves,
        anchors,
        beats.config.time_s if in_mv and beats is not None else None,
        lead_names(waves.shape[1]) if beats is None else beats.lead_names,
    )


def explain_rows(
    tree: Tree, beats: Beats, rows: Int[np.ndarray, " row"]
) -> Explanation:
    """The explanation of some of `Beats`, drawn in mV and upright."""
    check_beats(tree, beats)
    with arithmetic(tree):
        decision = decide(tree, inputs_of(tree, beats, rows))
    fitted = beats.windows(beats.reference)
    used = set(decision.prover.tolist()) | set(decision.cell.tolist())
    prototypes = {
        node.name: prototype_of(beats, node, fitted)[0]
        for node in tree.nodes[1:]
        if node.id in used
    }
    return _explanation(
        tree,
        decision,
        beats.upright(rows),
        prototypes,
        beats.config.time_s,
        beats.lead_names,
    )


def _explanation(
    tree: Tree,
    decision: Decision,
    waves: np.ndarray,
    prototypes: Mapping[str, np.ndarray | None],
    time_s: np.ndarray | None,
    leads: tuple[str, ...],
) -> Explanation:
    names = [node.name for node in tree.nodes]
    provers = tuple(names[i] if i >= 0 else None for i in decision.prover)
    cells = tuple(names[i] for i in decision.cell)
    named = {*provers, *cells}
    return Explanation(
        decision=decision,
        provers=provers,
        cells=cells,
        beats=waves,
        prototypes={k: v for k, v in prototypes.items() if k in named},
        time_s=time_s,
        leads=leads,
    )


def _by_lead(data: np.ndarray) -> np.ndarray:
    """Arrays `[beat, ..., time]` as `[beat, lead, time]`."""
    return data.reshape(len(data), -1, data.shape[-1])
