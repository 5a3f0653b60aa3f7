"""Which component answers for each beat: the table of a data set, as Parquet."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Int

from ecg_jax.decide import decide
from ecg_jax.ecg.beats import Beats
from ecg_jax.kernels import blocks, gaps
from ecg_jax.tree import Decision, Tree, first_level


@dataclass(frozen=True, eq=False)
class Partition:
    """The decisions of a tree on the beats of a data set.

    Attributes:
      tree: the tree that decided.
      beats: the beats.
      decision: one entry a beat.
    """

    tree: Tree
    beats: Beats
    decision: Decision

    def cells(self, depth: int) -> Int[np.ndarray, " beat"]:
        """The node at a depth that each beat falls to, or its leaf above that."""
        path = self.decision.path[:, :depth]
        return np.where(path > 0, path, 0).max(axis=1)

    def columns(self) -> dict[str, np.ndarray]:
        """The table: one row a beat."""
        beats, decision = self.beats, self.decision
        records = beats.records
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
        }


def partition(tree: Tree, beats: Beats) -> Partition:
    """Decides every beat of a data set."""
    return Partition(tree, beats, decide(tree, beats.inputs()))


def write_parquet(columns: dict[str, np.ndarray], path: Path) -> None:
    """Writes columns of equal length to one Parquet file, atomically."""
    import duckdb

    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".parquet")
    os.close(handle)
    try:
        with duckdb.connect() as connection:
            connection.register("columns", columns)
            quoted = name.replace("'", "''")
            connection.execute(
                f"COPY (SELECT * FROM columns) TO '{quoted}' (FORMAT parquet)"
            )
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def read_parquet(path: Path) -> dict[str, np.ndarray]:
    """The columns of a Parquet file."""
    import duckdb

    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        return {k: np.asarray(v) for k, v in found.fetchnumpy().items()}


def proves(
    tree: Tree, data: Any, sign: int
) -> tuple[list[int], Bool[np.ndarray, "n k"]]:
    """Which components of the first level of a side prove each sample's answer.

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
    side, nodes, table = level
    slack = tree.slack

    def one(x: Any) -> Any:
        value, features = side.features(x)
        gap = gaps(features[None], table)[0]
        return sign * value - gap > slack(x)

    return nodes.ids.tolist(), blocks(one, data)


@dataclass(frozen=True)
class Coverage:
    """How many answers of a side are proven, beside the controls.

    Attributes:
      side: "normal" or "not normal".
      num_answers: answers of this side.
      num_components: components of the first level.
      num_distinct: distinct functions among them.
      share_frozen: share of the side's units that a component freezes, mean.
      proven: share proven by the component of the beat's own cell, first level.
      proven_leaf: share proven by the deciding leaf itself, at its depth.
      proven_any: share proven by any chosen component.
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
    one_everywhere: float
    shuffled: float


def coverage(part: Partition, rows: Sequence[int] | np.ndarray) -> list[Coverage]:
    """Coverage of both sides on some beats, with controls."""
    tree, decision = part.tree, part.decision
    inputs = part.beats.inputs(np.asarray(rows))
    normal = decision.normal[rows]
    out = []
    for sign, side in ((1, "normal"), (-1, "not normal")):
        on = normal if sign > 0 else ~normal
        ids, table = proves(tree, inputs[on], sign)
        if not ids or not on.any():
            continue
        mine = np.asarray(rows)[on]
        column = np.searchsorted(ids, decision.path[mine, 0])
        nodes = [tree.nodes[i] for i in ids]
        rng = np.random.default_rng(0)
        deals = [rng.permutation(len(ids)) for _ in range(10)]
        each = np.arange(len(mine))
        out.append(
            Coverage(
                side=side,
                num_answers=len(mine),
                num_components=len(ids),
                num_distinct=_distinct(tree, ids),
                share_frozen=float(np.mean([n.share_frozen for n in nodes])),
                proven=float(table[each, column].mean()),
                proven_leaf=float(decision.proven[mine].mean()),
                proven_any=float((decision.prover[mine] >= 0).mean()),
                one_everywhere=float(table.mean(0).max()),
                shuffled=float(np.mean([table[each, d[column]].mean() for d in deals])),
            )
        )
    return out


def _distinct(tree: Tree, ids: Sequence[int]) -> int:
    """How many of some components of one depth are different functions."""
    nodes = tree.stacked(ids)
    sign = tree.nodes[ids[0]].sign
    fill = [
        gate.keep(np.asarray(frozen) & (sign * side > 0), pattern)
        for gate, side, pattern, frozen in zip(
            tree.eq.gates,
            tree.eq.sides,
            nodes.patterns,
            nodes.frozen,
            strict=False,
        )
    ]
    rows = [
        np.asarray(leaf).reshape(len(ids), -1).astype(np.float64)
        for leaf in jax.tree_util.tree_leaves([fill, nodes.frozen])
    ]
    return len(np.unique(np.concatenate(rows, axis=1), axis=0))
