"""Which component answers for each beat: the table of a data set, as Parquet."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import RunError
from ecg_jax.program.blocks import blocks
from ecg_jax.tree.decide import decide
from ecg_jax.tree.duplicates import same_functions
from ecg_jax.tree.tree import SIDES, Decision, Tree, first_level
from ecg_jax.views.frame import exact

TABLE = "partition.parquet"


def arithmetic(tree: Tree) -> AbstractContextManager[Any]:
    """A context in which JAX computes in a tree's own dtype.

    A tree in float64 needs x64, whatever the user has set; one in float32 leaves that
    alone.
    """
    return exact(np.result_type(*(v.dtype for v in jax.tree.leaves(tree.example))))


@dataclass(frozen=True, eq=False)
class Partition:
    """The decisions of a tree on the beats of a data set.

    Attributes:
      tree: the tree that decided.
      beats: the beats.
      decision: one entry a beat, in the dtype of the tree.
      float32: the margin of every beat by the network in float32; None where the
        tree's own function is all there is.
      evaluated: for each beat the component of its cell below the root, evaluated
        as a program of its own; NaN without one.
    """

    tree: Tree
    beats: Beats
    decision: Decision
    float32: np.ndarray | None
    evaluated: np.ndarray

    def cells(self, depth: int) -> Int[np.ndarray, " beat"]:
        """The node at a depth that each beat falls to, or its leaf above that."""
        path = self.decision.path[:, :depth]
        return np.where(path > 0, path, 0).max(axis=1)

    def contradictions(self) -> dict[str, int]:
        """Answers that a component proves and something contradicts; all must be 0."""
        decision = self.decision
        sign = np.where(decision.normal, 1, -1)
        beyond = sign * (self.evaluated - decision.value) > decision.slack
        claimed = decision.prover == decision.first
        failed = claimed & (sign * self.evaluated < -decision.slack)
        found = {
            "sandwich": decision.wrongly_proven,
            "component": int(np.sum(beyond | failed)),
        }
        if self.float32 is not None:
            other = (self.float32 >= 0) != decision.normal
            found["float32"] = int(np.sum(other & (decision.prover >= 0)))
        return found

    def columns(self) -> dict[str, np.ndarray]:
        """The table: one row a beat."""
        beats, decision = self.beats, self.decision
        records = beats.records
        narrow = {} if self.float32 is None else {"margin_float32": self.float32}
        return {
            "beat": np.arange(len(beats)),
            "record": records.name[beats.record].astype(object),
            "split": records.split[beats.record].astype(object),
            "label": beats.label.astype(object),
            "is_normal": beats.is_normal,
            "r_time_s": beats.r_time_s,
            "rr_before_s": beats.rr_before_s,
            "rr_after_s": beats.rr_after_s,
            "margin": decision.value,
            **narrow,
            "lower": decision.lower,
            "upper": decision.upper,
            "cell": decision.cell,
            **{
                f"cell_depth{depth}": self.cells(depth)
                for depth in range(1, self.tree.depth + 1)
            },
            "proven": decision.prover >= 0,
            "proven_by_cell": decision.proven,
            "prover": decision.prover,
            "component": self.evaluated,
            "slack": decision.slack,
        }

    @classmethod
    def from_columns(
        cls, tree: Tree, beats: Beats, columns: Mapping[str, np.ndarray]
    ) -> "Partition":
        """The inverse of `columns`, for the same tree and beats.

        Raises:
          RunError: the table is of other beats.
        """
        if not np.array_equal(columns["r_time_s"], beats.r_time_s, equal_nan=True):
            raise RunError(
                f"partition.parquet holds {len(columns['r_time_s']):,} other beats "
                f"than the {len(beats):,} of this data set: recordings have changed.\n"
                "  try: the same recordings, or another --out"
            )
        path = np.full((len(beats), max(tree.depth, 1)), -1)
        path[:, 0] = columns["cell_depth1"]
        for node in tree.nodes[1:]:
            inside = columns[f"cell_depth{node.depth}"] == node.id
            path[inside, node.depth - 1] = node.id
        decision = Decision(
            value=columns["margin"],
            path=path,
            cell=columns["cell"],
            proven=columns["proven_by_cell"],
            prover=columns["prover"],
            lower=columns["lower"],
            upper=columns["upper"],
            slack=columns["slack"],
        )
        evaluated = columns["component"]
        return cls(tree, beats, decision, columns.get("margin_float32"), evaluated)


def partition(tree: Tree, beats: Beats, float32: np.ndarray | None = None) -> Partition:
    """Decides every beat of a data set.

    Args:
      tree: the equation.
      beats: the beats.
      float32: the margin of every beat by the network in float32, if there is one.
    """
    inputs = inputs_of(tree, beats)
    decision = decide(tree, inputs)
    evaluated = components(tree, inputs, decision)
    return Partition(tree, beats, decision, float32, evaluated)


def inputs_of(
    tree: Tree, beats: Beats, rows: np.ndarray | slice = slice(None)
) -> Float[np.ndarray, "beat ..."]:
    """What the function sees of some beats, in the dtype of its equation."""
    return beats.inputs(rows).astype(tree.example.dtype, copy=False)


def components(
    tree: Tree, data: Any, decision: Decision
) -> Float[np.ndarray, " sample"]:
    """The component of each sample's cell below the root, run as a program.

    Other than the gaps that a tree decides by, this evaluates the witness or refuter
    itself: the traced function with its gates replaced by tangents.
    """
    out = np.full(len(decision.value), np.nan)
    for sign in SIDES:
        ids = [i for i in tree.children(0) if tree.nodes[i].sign == sign]
        rows = np.flatnonzero(np.isin(decision.first, ids))
        if not len(rows):
            continue
        nodes, depth = tree.stacked(ids), tree.nodes[ids[0]].depth
        frozen = [np.asarray(mask) for mask in nodes.frozen]

        def one(
            sample: Any, nodes: Any, frozen: Any, sign: int = sign, depth: int = depth
        ) -> Any:
            x, at = sample
            pattern = jax.tree_util.tree_map(lambda v: v[at], nodes)
            masks = [mask[at] for mask in frozen]
            if depth > 1:
                return tree.descent.bound(pattern, x, sign, masks, depth)
            bound = tree.eq.witness if sign > 0 else tree.eq.refuter
            return bound(pattern, masks)(x)

        at = np.searchsorted(ids, decision.first[rows]).astype(np.int32)
        part = jax.tree_util.tree_map(lambda v, rows=rows: v[rows], data)
        out[rows] = blocks(one, (part, at), nodes.patterns, frozen)
    return out


def proves(
    tree: Tree, data: Any, sign: int
) -> tuple[list[int], Bool[np.ndarray, "n k"]]:
    """Which components below the root of a side prove each sample's answer.

    Args:
      tree: a grown tree.
      data: examples with a leading axis, of any answer.
      sign: +1 for witnesses, -1 for refuters.

    Returns:
      Ids of the components, and a table of samples by components.
    """
    level = first_level(tree, sign)
    if level is None:
        return [], np.zeros((len(data), 0), bool)
    gaps, slack = level.gaps, tree.slack

    def one(x: Any) -> Any:
        return sign * tree.program.evaluate(x) - gaps(x) > slack(x)

    return level.nodes.ids.tolist(), blocks(one, data)


def proven_by_each(
    part: Partition, rows: Int[np.ndarray, " row"]
) -> dict[int, tuple[Int[np.ndarray, " inside"], Bool[np.ndarray, " inside"]]]:
    """For every component: which of some beats reach it, and which of these it proves.

    A beat reaches all components on its way down, not its leaf alone.
    """
    tree, decision = part.tree, part.decision
    gaps_at: dict[tuple[int, int], Any] = {}
    out = {}
    for node in tree.nodes[1:]:
        inside = rows[np.any(decision.path[rows] == node.id, axis=1)]
        key = (node.depth, node.sign)
        if key not in gaps_at:
            gaps_at[key] = partial(tree.lost, node.sign, node.depth)
        room = np.abs(decision.value[inside]) - decision.slack[inside]
        if len(inside):
            nodes = tree.stacked([node.id])
            lost = blocks(
                gaps_at[key],
                inputs_of(tree, part.beats, inside),
                jax.tree.map(lambda leaf: leaf[0], nodes.patterns),
                [mask[0] for mask in nodes.frozen],
            )
            out[node.id] = inside, lost < room
        else:
            out[node.id] = inside, room < 0
    return out


@dataclass(frozen=True)
class Coverage:
    """How many answers of a side are proven, beside the controls.

    Attributes:
      side: "normal" or "not normal".
      num_answers: answers of this side.
      num_components: components below the root.
      num_distinct: distinct functions among them.
      share_frozen: share of the side's units that a component freezes, mean.
      proven: share proven by the component of the beat's own cell below the root.
      proven_leaf: share proven by the deciding leaf itself, at its depth.
      proven_any: share proven by any component, of whatever depth.
      proven_all: share proven by every component below the root.
      one_everywhere: control: the one best component used for every cell.
      shuffled: control: the components dealt to other cells, mean of ten.
    """

    side: str
    num_answers: int
    num_components: int
    num_distinct: int
    share_frozen: float
    proven: float
    proven_leaf: float
    proven_any: float
    proven_all: float
    one_everywhere: float
    shuffled: float


def coverage(part: Partition, rows: Sequence[int] | np.ndarray) -> list[Coverage]:
    """Coverage of both sides on some beats, with controls."""
    tree, decision = part.tree, part.decision
    inputs = inputs_of(tree, part.beats, np.asarray(rows))
    normal, same = decision.normal[rows], same_functions(tree)
    out = []
    for sign, side in ((1, "normal"), (-1, "not normal")):
        on = normal if sign > 0 else ~normal
        if not on.any():
            continue
        ids, table = proves(tree, inputs[on], sign)
        if not ids:
            continue
        mine = np.asarray(rows)[on]
        column = np.searchsorted(ids, decision.first[mine])
        nodes = [tree.nodes[i] for i in ids]
        rng = np.random.default_rng(0)
        deals = [rng.permutation(len(ids)) for _ in range(10)]
        each = np.arange(len(mine))
        out.append(
            Coverage(
                side=side,
                num_answers=len(mine),
                num_components=len(ids),
                num_distinct=len({min((i, *same[i])) for i in ids}),
                share_frozen=float(np.mean([n.share_frozen for n in nodes])),
                proven=float(table[each, column].mean()),
                proven_leaf=float(decision.proven[mine].mean()),
                proven_any=float((decision.prover[mine] >= 0).mean()),
                proven_all=float(table.all(1).mean()),
                one_everywhere=float(table.mean(0).max()),
                shuffled=float(np.mean([table[each, d[column]].mean() for d in deals])),
            )
        )
    return out
