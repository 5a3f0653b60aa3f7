"""The check that every tree carries: the complete equation, and what is proven."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array

from ecg_jax.errors import CertificateError
from ecg_jax.lattice.descent import Descent
from ecg_jax.percent import share
from ecg_jax.program.blocks import blocks
from ecg_jax.program.describe import counted
from ecg_jax.program.memo import once
from ecg_jax.progress import Progress, Shown, parts, silent, told
from ecg_jax.proof.certificate import MOST_VACUOUS, parts_of, vacuous
from ecg_jax.proof.rounding import (
    product_precision,
    rounding_bound,
    tail_bound,
    values_at_cut,
)
from ecg_jax.proof.slack import FROZEN_RULES, counts_all
from ecg_jax.shown import table
from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Decision, Tree


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

    def __repr__(self) -> str:
        return (
            f"TreeCertificate {'holds' if self.holds else 'VIOLATED'}: "
            f"{self.num_inputs:,} inputs, {counted(self.levels, 'level')} of gates\n"
            f"  largest part of a rounding bound used: {self.max_bound_ratio:.3g} "
            f"(holds up to 1); {share(self.vacuous)} of the bounds vacuous\n"
            f"  decisions agree: {share(self.decision_agreement)}; "
            f"wrongly proven: {self.wrongly_proven:,}\n"
            f"  proven: {share(self.proven_normal)} of normal, "
            f"{share(self.proven_not_normal)} of not normal\n"
            f"  {self.dtype}, products {self.precision}, on {self.backend}"
        )

    def _repr_html_(self) -> str:
        """The figures as a table. No script."""
        rows = [
            ("holds", "yes" if self.holds else "NO"),
            ("inputs", f"{self.num_inputs:,}"),
            ("levels of gates", f"{self.levels}"),
            ("decisions agree", share(self.decision_agreement)),
            ("largest residual", f"{self.max_residual:.2e}"),
            ("largest part of a rounding bound used", f"{self.max_bound_ratio:.3g}"),
            ("bounds vacuous", share(self.vacuous)),
            ("wrongly proven", f"{self.wrongly_proven:,}"),
            ("proven, of normal", share(self.proven_normal)),
            ("proven, of not normal", share(self.proven_not_normal)),
            ("arithmetic", f"{self.dtype}, {self.precision}, on {self.backend}"),
        ]
        return table(("certificate", ""), rows)

    def raise_if_violated(self) -> None:
        """Raises `CertificateError` unless the certificate holds."""
        if not self.holds:
            raise CertificateError(
                f"on {self.num_inputs} samples the complete equation differs from "
                f"the function by up to {self.max_residual:.3g}, "
                f"{self.max_bound_ratio:.3g} times the rounding bound; "
                f"{self.wrongly_proven} answers are contradicted by a bound; "
                f"{self.vacuous:.1%} of the rounding bounds are vacuous.\n"
                "  try: ecg_jax.certify(ecg_jax.factor(fn, x), data) finds the level; "
                "a rule of your own may be wrong"
            )


def certify_tree(
    tree: Tree,
    data: Any,
    decision: Decision | None = None,
    *,
    progress: Shown = None,
) -> TreeCertificate:
    """Checks the complete equation at every sample, and the chosen bounds.

    The atom of each sample, read off down to the last level, is evaluated as
    `<template, x> + offset` and compared with `f(x)`. Where an operation without a rule
    ends the levels before, it is the deepest component that is compared.

    Args:
      tree: a grown tree.
      data: examples with a leading axis.
      decision: of the tree on these data, where it is known.
      progress: called as `progress(done, total)`; True for a bar, None for silence.
    """
    tree.program.check_data(data)
    with told(progress, "certify") as tell:
        return _checked(tree, data, decision, tell)


def _checked(
    tree: Tree, data: Any, decision: Decision | None, tell: Progress
) -> TreeCertificate:
    """`certify_tree` on data that fit."""
    deciding, evaluating, bounding, hashing = parts(tell, 4, 1, 2, 1)
    if decision is None:
        decision = decide(tree, data, progress=deciding)
    descent = tree.descent
    value = deepest(descent, data, evaluating)
    residual = np.abs(value - decision.value)
    limit = blocks(_bound(descent), data, progress=bounding)
    unseen = ~np.isin(pattern_hashes(tree.eq, data, hashing), tree.seen)
    normal, proven = decision.normal, decision.prover >= 0
    return TreeCertificate(
        num_inputs=len(value),
        dtype=str(value.dtype),
        decision_agreement=float(np.mean((value >= 0) == normal)),
        max_residual=float(residual.max()),
        max_relative_residual=relative(residual, decision.value),
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


def relative(residual: np.ndarray, value: np.ndarray) -> float:
    """The largest residual over the largest value; 0 where there is none."""
    largest, scale = float(residual.max()), float(np.abs(value).max())
    if not largest:
        return 0.0
    return largest / scale if scale else np.inf


def deepest(descent: Descent, data: Any, progress: Progress = silent) -> np.ndarray:
    """What all opened levels leave of `f` at each sample, evaluated there.

    `<template, x> + offset` of the atom that decides; or, where the descent ends before
    atoms, the component with every opened gate frozen.
    """
    return blocks(_deepest(descent), data, progress=progress)


@once
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


@once
def _bound(descent: Descent) -> Any:
    """The rounding of all levels, twice: that of `f` and that of what they leave.

    Where an operation without a rule is below the gates, only what is rounded from the
    gates on: `f` and the component start from the same numbers there. That patterns are
    read off rounded numbers is of second order in these, within the factor 2.
    """
    opened, program, start = descent.gates, descent.program, None
    if counts_all(descent):
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


@once
def _pattern_leaves(eq: Any) -> Any:
    return lambda x: tree_util.tree_leaves(eq.pattern(x))


def pattern_hashes(eq: Any, data: Any, progress: Progress = silent) -> np.ndarray:
    """A 64-bit hash of the outermost pattern of every sample."""
    patterns = blocks(_pattern_leaves(eq), data, progress=progress)
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
