"""Measuring a factored function on beats: exactness, quality, coverage, purity."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ecg_jax.ecg.beats import Beats
from ecg_jax.ecg.data_words import left_out
from ecg_jax.errors import DataError
from ecg_jax.lattice.descent import descend
from ecg_jax.program.blocks import blocks
from ecg_jax.statistics import purity, quality
from ecg_jax.tree.certificate import TreeCertificate, certify_tree, deepest, relative
from ecg_jax.tree.kernels import shape_of
from ecg_jax.tree.tree import Tree
from ecg_jax.views.partition import (
    Coverage,
    Partition,
    arithmetic,
    coverage,
    inputs_of,
    partition,
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A function and its equation on the beats of a data set.

    Attributes:
      part: the decisions of the tree, on every beat.
      rows: the beats that quality, coverage and purity are measured on.
      certificate: of the complete equation, on every beat.
      residual_f32: largest `|atom - f| / max |f|` of the network in float32, on every
        beat; None where the tree's own function is all there is.
      contradictions: proven answers that something contradicts, by what does: a bound,
        evaluated from the gaps of the opened units or as a program of its own, that is
        on the wrong side of the function; the function's own answer in float32.
      quality: of the function; None where labels are missing or of one class.
      coverage: of both sides, with controls.
      purity: a row for each depth; empty where no templates can be made.
    """

    part: Partition
    rows: np.ndarray
    certificate: TreeCertificate
    residual_f32: float | None
    contradictions: Mapping[str, int]
    quality: quality.Quality | None
    coverage: tuple[Coverage, ...]
    purity: tuple[Mapping[str, Any], ...]

    def metrics(self) -> dict[str, Any]:
        """The figures, with the keys of `metrics.json`."""
        beats, tree = self.part.beats, self.part.tree
        whole = beats.labelled == "recordings"
        model: dict[str, Any] = dict.fromkeys(
            ("beat_accuracy", "beat_auc", "record_auc")
        )
        if self.quality is not None:
            names = list(model) if whole else ["beat_accuracy", "beat_auc"]
            found = {name: getattr(self.quality, name) for name in names}
            model |= {name: figure.value for name, figure in found.items()}
            model["intervals"] = {
                name: [figure.low, figure.high] for name, figure in found.items()
            }
            if whole:
                model["records"] = asdict(self.quality.records)
        else:
            model["beat_accuracy"] = self._accuracy()
        sides = {row.side: asdict(row) for row in self.coverage}
        proven = {name: row["proven_any"] for name, row in sides.items()}
        residual = self.certificate.max_relative_residual
        double = self.certificate.dtype == "float64"
        return {
            "exactness": {
                "decision_agreement": self.certificate.decision_agreement,
                "max_relative_residual_f64": residual if double else None,
                "max_relative_residual_f32": self.residual_f32 if double else residual,
                "max_bound_ratio": self.certificate.max_bound_ratio,
                "num_beats": self.certificate.num_inputs,
                "levels": self.certificate.levels,
                "atoms": self.certificate.atoms,
            },
            "model": model,
            "coverage": {
                "witnesses": sum(n.kind == "witness" for n in tree.nodes),
                "refuters": sum(n.kind == "refuter" for n in tree.nodes),
                "proven_normal": proven.get("normal"),
                "proven_not_normal": proven.get("not normal"),
                "wrongly_proven": sum(self.contradictions.values()),
                "contradicted_by": dict(self.contradictions),
                "share_frozen": _mean([row.share_frozen for row in self.coverage]),
                "unseen_patterns": self.certificate.unseen_patterns,
                "sides": sides,
            },
            "purity": list(self.purity),
            "data": {
                "recordings": len(beats.records) if beats.is_recorded else None,
                "beats": len(beats),
                "measured_on_beats": len(self.rows),
                "excluded": len(beats.excluded),
                "annotated_beats": beats.annotated,
                "missed_beats": beats.without_window,
                "unmatched_peaks": beats.num_unmatched,
                "leads": list(beats.leads),
                "leads_left_out": left_out(beats),
            },
        }

    def _accuracy(self) -> float | None:
        """Of one class only there is an accuracy, of none not even that."""
        beats = self.part.beats
        rows = self.rows[beats.is_labelled[self.rows]]
        right = self.part.decision.normal[rows] == beats.is_normal[rows]
        return float(right.mean()) if len(rows) else None


def evaluate(
    fn: Callable[[Any], Any] | None,
    tree: Tree,
    beats: Beats,
    split: str | None = "heldout",
) -> Evaluation:
    """Measures a function and its equation.

    Exactness is checked on every beat; quality and coverage on one split.

    Args:
      fn: the network in float32, where the equation is of a copy in float64; None: the
        tree's own function is all there is.
      tree: its equation, in float64 where rounding is to be small.
      beats: of all recordings.
      split: which recordings quality, coverage and purity are measured on; None takes
        all of them, as for recordings that the function has never seen, and no purity.
        Of beats that nobody has split all are taken.

    Returns:
      The evaluation.

    Raises:
      DataError: the split has no beats.
    """
    rows = measured_rows(beats, split)
    if not len(rows):
        raise DataError(
            f"no beats in the split {split!r}.\n  try: more recordings, or split=None"
        )
    residual = None
    with arithmetic(tree):
        narrow = None if fn is None else blocks(fn, beats.inputs())
        part = partition(tree, beats, narrow)
        certificate = certify_tree(tree, inputs_of(tree, beats), part.decision)
        covered = tuple(coverage(part, rows))
        if fn is not None and narrow is not None:
            residual = _residual(fn, beats.inputs(), narrow)
    return Evaluation(
        part=part,
        rows=rows,
        certificate=certificate,
        residual_f32=residual,
        contradictions=part.contradictions(),
        quality=quality_of(beats, part.decision.value, rows),
        coverage=covered,
        purity=tuple(_purity(part, rows)) if split else (),
    )


def measured_rows(beats: Beats, split: str | None) -> Int[np.ndarray, " row"]:
    """The beats that figures are of: those of a split; all, where there is none."""
    if split is None or not beats.is_split:
        return np.arange(len(beats))
    return beats.rows(split)


def _residual(fn: Any, data: np.ndarray, value: np.ndarray) -> float:
    """Largest difference of atoms and function, over the largest value."""
    difference = np.abs(deepest(descend(fn, data[0]), data) - value)
    return relative(difference, value)


def quality_of(
    beats: Beats, margin: Float[np.ndarray, " beat"], rows: Int[np.ndarray, " row"]
) -> quality.Quality | None:
    """Quality of a margin on some beats; None where labels miss, or one class does."""
    rows = rows[beats.is_labelled[rows]]
    normal = beats.is_normal[rows]
    if not len(rows) or normal.all() or not normal.any():
        return None
    whole = beats.is_normal_record if beats.labelled == "recordings" else None
    return quality.measure(margin[rows], normal, beats.record[rows], whole)


def _purity(part: Partition, rows: np.ndarray) -> list[Mapping[str, Any]]:
    """Purity of the cells of each depth, against those of the depth above."""
    train = part.beats.rows("train")
    if not len(train) or not len(rows):
        return []
    chosen = np.concatenate([train, rows])
    fit = np.arange(len(chosen)) < len(train)
    records = part.beats.records
    shapes = blocks(shape_of, part.beats.inputs(chosen))
    whose = part.beats.record[chosen]
    nuisances = {
        "polarity": records.polarity[whose],
        "rate": np.digitize(records.rate_bpm[whose], (60.0, 80.0, 100.0)),
        "bsqi": np.digitize(records.bsqi[whose], (0.8, 0.9, 0.99)),
    }
    out = []
    parents = np.where(part.decision.normal[chosen], 0, 1)
    for depth in range(1, part.tree.depth + 1):
        _, cells = np.unique(part.cells(depth)[chosen], return_inverse=True)
        measured = purity.measure(
            shapes,
            cells,
            whose,
            train=fit,
            parents=parents,
            nuisances=nuisances,
            num_hyperplanes=10,
            num_permutations=199,
            num_bootstraps=500,
        )
        out.append({"depth": depth, **measured.row()})
        parents = cells
    return out


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
