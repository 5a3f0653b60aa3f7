"""Deciding: the leaf that answers for each sample, and whether it proves the answer."""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array

from ecg_jax.batches import blocks
from ecg_jax.descent import Descent
from ecg_jax.errors import CertificateError
from ecg_jax.kernels import decides, squared_distances
from ecg_jax.proof.certificate import MOST_VACUOUS, check_values, parts_of, vacuous
from ecg_jax.proof.rounding import (
    product_precision,
    rounding_bound,
    tail_bound,
    values_at_cut,
)
from ecg_jax.proof.slack import FROZEN_RULES
from ecg_jax.tree import Decision, Tree, first_level


def decide(tree: Tree, data: Any) -> Decision:
    """The deciding leaf, the proof and the sandwich of every sample.

    At each level one child decides, among witnesses where `f(x) >= 0`, among refuters
    elsewhere; which one, says `kernels.decides`. Where none of those on the way nor of
    the first level proves the answer, every other component is asked.

    Args:
      tree: a grown tree.
      data: examples with a leading axis.

    Returns:
      See `Decision`.

    Raises:
      ExampleError: there are no examples, or of another form.
      NonFiniteError: an example, or the function there, is NaN or infinite.
    """
    tree.program.check_data(data)
    value = blocks(tree.alone, data)
    check_values(value)
    first = blocks(_first_level(tree), (data, value))
    slack = first["slack"]
    sign = np.where(value >= 0, 1, -1)
    witnesses, refuters = first["max"], first["min"]

    def own_side(name: str) -> np.ndarray:
        return np.where(sign > 0, witnesses[name], refuters[name])

    cell, own, room = own_side("cell"), own_side("gap"), np.abs(value) - slack
    path = np.full((len(value), max(tree.depth, 1)), -1)
    path[:, 0] = 0
    path[np.arange(len(value)), own_side("depth") - 1] = cell
    other = np.where(own_side("least") < room, own_side("best"), -1)
    prover = np.where(own < room, cell, other)

    for depth in range(2, tree.depth + 1):
        rows, cells, lost = _descend(tree, data, cell, sign, room, depth)
        if not len(rows):
            continue
        cell[rows], path[rows, depth - 1], own[rows] = cells, cells, lost
        for side, level in ((1, witnesses), (-1, refuters)):
            level["least"][rows] = np.where(
                sign[rows] == side,
                np.minimum(level["least"][rows], lost),
                level["least"][rows],
            )
        deeper = lost < room[rows]
        prover[rows] = np.where(deeper, cells, prover[rows])
    rows = np.flatnonzero(prover < 0)
    if len(rows) and any(node.parent > 0 for node in tree.nodes):
        gap = blocks(tree.gaps, tree_util.tree_map(lambda v: v[rows], data))[1]
        signs = np.array([node.sign for node in tree.nodes])
        for side, level in ((1, witnesses), (-1, refuters)):
            lost = np.where(signs == side, gap, np.inf)
            level["best"][rows] = np.argmin(lost, axis=1)
            level["least"][rows] = np.minimum(level["least"][rows], lost.min(axis=1))
        best, least = own_side("best")[rows], own_side("least")[rows]
        prover[rows] = np.where(least < room[rows], best, -1)
    return Decision(
        value=value,
        path=path,
        cell=cell,
        proven=own < room,
        prover=prover,
        lower=value - witnesses["least"],
        upper=value + refuters["least"],
        slack=slack,
    )


@lru_cache(maxsize=16)
def _first_level(tree: Tree) -> Any:
    sides = {"max": first_level(tree, 1), "min": first_level(tree, -1)}
    slack = tree.slack

    def one(sample: tuple[Any, Any]) -> dict[Any, Any]:
        x, value = sample
        out: dict[str, Any] = {"slack": slack(x)}
        for name, level in sides.items():
            none = {"depth": 1, "cell": 0, "best": -1}
            none = {key: jnp.int32(number) for key, number in none.items()}
            infinite = jnp.full((), jnp.inf, value.dtype)
            out[name] = {**none, "gap": infinite, "least": infinite}
            if level is not None:
                nodes, gap = level.nodes, level.gaps(x)
                away = squared_distances(tree.vector(x)[None], nodes.centres)[0]
                room = jnp.abs(value) - out["slack"]
                cell = decides(gap, room, away, tree.localize)
                best = jnp.argmin(gap)
                ids = jnp.asarray(nodes.ids, jnp.int32)
                out[name] = {
                    "depth": jnp.int32(level.depth),
                    "cell": ids[cell],
                    "best": ids[best],
                    "gap": gap[cell],
                    "least": gap[best],
                }
        return out

    return one


def _descend(
    tree: Tree,
    data: Any,
    cell: np.ndarray,
    sign: np.ndarray,
    room: np.ndarray,
    depth: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One level down: rows whose cell has children, the child, and its gap."""
    ids = _children(tree, depth)
    rows = np.flatnonzero(np.isin(cell, [tree.nodes[i].parent for i in ids]))
    if not ids or not len(rows):
        return rows[:0], rows[:0], np.zeros(0)
    part = tree_util.tree_map(lambda v: v[rows], data)
    own = (part, cell[rows], sign[rows], room[rows])
    child, lost = blocks(_child(tree, depth), own)
    return rows, np.array(ids)[child], lost


def _children(tree: Tree, depth: int) -> list[int]:
    """Ids of the components of a depth that are below another component."""
    return [node.id for node in tree.nodes if node.depth == depth and node.parent > 0]


@lru_cache(maxsize=64)
def _child(tree: Tree, depth: int) -> Any:
    """The child that decides, by number among the nodes of a depth, and its gap."""
    ids = _children(tree, depth)
    nodes = tree.stacked(ids)
    families: dict[int, list[int]] = {}
    for k, i in enumerate(ids):
        families.setdefault(tree.nodes[i].parent, []).append(k)
    widest = max(map(len, families.values()))
    table = np.zeros((len(tree.nodes), widest), np.int32)
    for parent, members in families.items():
        table[parent] = np.resize(members, widest)

    def one(sample: Any) -> tuple[Array, Array]:
        x, parent, s, room = sample
        members = jnp.asarray(table)[parent]
        components = (nodes.patterns, nodes.frozen)
        pick = tree_util.tree_map(lambda v: jnp.asarray(v)[members], components)
        lost = jax.vmap(partial(tree.lost, s, depth, x))(*pick)
        centres = jnp.asarray(nodes.centres)[members]
        away = squared_distances(tree.vector(x)[None], centres)[0]
        child = decides(lost, room, away, tree.localize)
        return members[child], lost[child]

    return one


@dataclass(frozen=True)
class TreeCertificate:
    """What was checked of a tree on a data set.

    Attributes:
      num_inputs: how many samples.
      dtype: of the arithmetic.
      decision_agreement: share of samples whose atom decides as `f` does.
      max_residual: largest `|atom(x) - f(x)|`: the complete equation against `f`.
      max_relative_residual: the same over the largest `|f|`.
      max_bound_ratio: largest residual over the rounding bound; must be `<= 1`.
      wrongly_proven: answers contradicted by a chosen bound; must be 0.
      proven_normal: share of "normal" answers that a chosen component proves.
      proven_not_normal: share of "not normal" answers.
      unseen_patterns: share of samples whose pattern did not occur in growing.
      levels: how many levels of gates were opened.
      refusal: why these are not all and no atoms were reached; empty if they were.
      vacuous: share of samples whose rounding bound is larger than `|f(x)|`: see
        `proof.certificate.vacuous`.
      precision: how products are computed ("highest", "tf32", "bf16").
      backend: what it was computed on; elsewhere the certificate is void.
    """

    num_inputs: int
    dtype: str
    decision_agreement: float
    max_residual: float
    max_relative_residual: float
    max_bound_ratio: float
    wrongly_proven: int
    proven_normal: float
    proven_not_normal: float
    unseen_patterns: float
    levels: int = 0
    refusal: str = ""
    vacuous: float = 0.0
    precision: str = ""
    backend: str = ""

    @property
    def atoms(self) -> bool:
        """Whether all gates were opened, so that the equation ends in atoms."""
        return not self.refusal

    @property
    def holds(self) -> bool:
        """Whether nothing was violated, and the bounds say something."""
        sound = self.max_bound_ratio <= 1 and self.wrongly_proven == 0
        return sound and self.vacuous <= MOST_VACUOUS

    def raise_if_violated(self) -> None:
        """Raises `CertificateError` unless the certificate holds."""
        if not self.holds:
            raise CertificateError(
                f"on {self.num_inputs} samples the complete equation differs from "
                f"the function by up to {self.max_residual:.3g}, "
                f"{self.max_bound_ratio:.3g} times the rounding bound; "
                f"{self.wrongly_proven} answers are contradicted by a bound; "
                f"{self.vacuous:.1%} of the rounding bounds are vacuous.\n"
                "  try: ecg_jax.factor(fn, x).certificate(data) finds the level; a "
                "rule of your own may be wrong"
            )


def certify_tree(
    tree: Tree, data: Any, decision: Decision | None = None
) -> TreeCertificate:
    """Checks the complete equation at every sample, and the chosen bounds.

    The atom of each sample, read off down to the last level, is evaluated as
    `<template, x> + offset` and compared with `f(x)`. Where an operation without a rule
    ends the levels before, it is the deepest component that is compared.

    Args:
      tree: a grown tree.
      data: examples with a leading axis.
      decision: of the tree on these data, where it is known.
    """
    tree.program.check_data(data)
    decision = tree.decide(data) if decision is None else decision
    descent = tree.descent
    value = deepest(descent, data)
    residual = np.abs(value - decision.value)
    limit = blocks(_bound(descent), data)
    unseen = ~np.isin(pattern_hashes(tree.eq, data), tree.seen)
    normal, proven = decision.normal, decision.prover >= 0
    return TreeCertificate(
        num_inputs=len(value),
        dtype=str(value.dtype),
        decision_agreement=float(np.mean((value >= 0) == normal)),
        max_residual=float(residual.max()),
        max_relative_residual=float(residual.max() / np.abs(decision.value).max()),
        max_bound_ratio=float(parts_of(residual, limit).max()),
        wrongly_proven=decision.wrongly_proven,
        proven_normal=_share(proven[normal]),
        proven_not_normal=_share(proven[~normal]),
        unseen_patterns=float(np.mean(unseen)),
        levels=descent.num_levels,
        refusal=descent.refusal,
        vacuous=vacuous(decision.value, limit),
        precision=product_precision(),
        backend=jax.default_backend(),
    )


def deepest(descent: Descent, data: Any) -> np.ndarray:
    """What all opened levels leave of `f` at each sample, evaluated there.

    `<template, x> + offset` of the atom that decides; or, where the descent ends before
    atoms, the component with every opened gate frozen.
    """
    return blocks(_deepest(descent), data)


@lru_cache(maxsize=16)
def _deepest(descent: Descent) -> Any:
    """`deepest` of one example."""

    def component(x: Any) -> Array:
        own = descent.own(descent.patterns(x, descent.num_levels))
        return descent.component(own)(x)

    def atom(x: Any) -> Array:
        template, offset = descent.atom(x)
        leaves = zip(
            tree_util.tree_leaves(template),
            descent.program.check_input(x),
            strict=True,
        )
        return offset + sum(jnp.sum(jnp.asarray(t) * jnp.asarray(v)) for t, v in leaves)

    return atom if descent.end is None else component


@lru_cache(maxsize=16)
def _bound(descent: Descent) -> Any:
    """The rounding of all levels, twice: that of `f` and that of what they leave.

    Where an operation without a rule is below the gates, only what is rounded from the
    gates on: `f` and the component start from the same numbers there. That patterns are
    read off rounded numbers is of second order in these, within the factor 2.
    """
    opened, program, start = descent.gates, descent.program, None
    if descent.end is None:
        live = rounding_bound(program, opened=())
        frozen = rounding_bound(program, opened=opened, rules=FROZEN_RULES)
    else:
        start = values_at_cut(program, opened)
        live = tail_bound(program, opened, live=True)
        frozen = tail_bound(program, opened, rules=FROZEN_RULES)

    def bound(x: Any) -> Array:
        own = descent.patterns(x, descent.num_levels)
        values = x if start is None else start(x)
        return 2 * jnp.maximum(live(values), frozen(values, descent.own(own)))

    return bound


@lru_cache(maxsize=16)
def _pattern_leaves(eq: Any) -> Any:
    return lambda x: tree_util.tree_leaves(eq.pattern(x))


def pattern_hashes(eq: Any, data: Any) -> np.ndarray:
    """A 64-bit hash of the outermost pattern of every sample."""
    patterns = blocks(_pattern_leaves(eq), data)
    rng = np.random.default_rng(0)
    total = np.zeros(len(tree_util.tree_leaves(data)[0]), np.uint64)
    for leaf in patterns:
        rows = np.ascontiguousarray(leaf).reshape(len(leaf), -1).view(np.uint8)
        weights = rng.integers(0, 2**64, rows.shape[1], dtype=np.uint64, endpoint=False)
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096].astype(np.uint64)
            total[start : start + 4096] += part @ weights
    return total


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else float("nan")
