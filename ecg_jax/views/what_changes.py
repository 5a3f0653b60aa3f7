"""What would change the answers of a tree: ranges and families of some of its beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ecg_jax.cells.change_paths import TOGETHER, changes_of
from ecg_jax.cells.leads import FEW
from ecg_jax.cells.ranges import Reach
from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.progress import Progress, parts, silent
from ecg_jax.storage.files import plain
from ecg_jax.tree.tree import SIDES, Decision, Tree
from ecg_jax.views.changes import changes
from ecg_jax.views.evaluation import Evaluation
from ecg_jax.views.families import Proof, prove
from ecg_jax.views.ranges import Ranges, ranges

BEATS_EACH, OF_MANY_LEADS = 48, 12
"""Beats of each component that are walked along every change; of more than three leads,
which have more changes, fewer."""

FAMILY: Mapping[str, float] = MappingProxyType(
    {"ST level": 0.05, "wander sine": 0.05, "wander cosine": 0.05, "gain": 0.1}
)
"""Changes that are proven together, and how far: mV, and a fraction."""


def family_of(leads: Sequence[str]) -> dict[str, float]:
    """`FAMILY` of beats of these leads: of several, each change in every lead.

    Of more than three leads the gain alone, which changes all of them: with a wander of
    its own in each of twelve, 25 changes at once, nothing was proven.

    Example:
      >>> list(family_of(["II", "V1"]))[:3]
      ['ST level II', 'ST level V1', 'wander sine II']
    """
    known = changes_of(leads)
    return {
        one.name: most
        for kind, most in FAMILY.items()
        for one in known
        if one.kind == kind and (kind in TOGETHER or len(leads) <= FEW)
    }


TABLE = "ranges.parquet"


@dataclass(frozen=True, eq=False)
class WhatChanges:
    """Ranges of a sample of beats, some of each component.

    Attributes:
      rows: which beats.
      normal: their answers.
      path: the components on the way of each, from the root down.
      ranges: of these beats, in this order; None where the function is refused.
      family: the changes that are proven together, and how far.
      proof: whether the family of each is proven.
      refusal: why there are none; "" where there are.
    """

    rows: Int[np.ndarray, " beat"]
    normal: Bool[np.ndarray, " beat"]
    path: Int[np.ndarray, "beat depth"]
    ranges: Ranges | None
    family: Mapping[str, float]
    proof: Proof | None
    refusal: str = ""

    def of_node(self, node: int) -> list[Reach]:
        """The ranges of a component's beats summed up."""
        return self._of(np.any(self.path == node, axis=1))

    def of_side(self, sign: int) -> list[Reach]:
        """The ranges of all beats of one answer."""
        return self._of(self.normal if sign > 0 else ~self.normal)

    def _of(self, mask: np.ndarray) -> list[Reach]:
        if self.ranges is None or not mask.any():
            return []
        return self.ranges.reaches(np.flatnonzero(mask))

    def families(self) -> dict[str, float] | None:
        """Shares of the beats whose family is proven, broken, open.

        Of those that all its changes are offered for, their share is `offered`.
        """
        if self.proof is None:
            return None
        offered = self.proof.offered
        status = self.proof.status[offered]
        words = ("proven", "broken", "open") if len(status) else ()
        shares = {word: float(np.mean(status == word)) for word in words}
        return {**shares, "offered": float(offered.mean())}

    def metrics(self) -> dict[str, Any]:
        """The figures, with the keys of `metrics.json`."""
        sides = {}
        for sign, side in SIDES.items():
            sides[side] = {
                one.name: {
                    "unit": one.unit,
                    "limit": one.limit,
                    "beats": one.num_beats,
                    "flips_low": one.low.flips,
                    "flips_high": one.high.flips,
                    "quartiles_low": plain(one.low.quartiles),
                    "quartiles_high": plain(one.high.quartiles),
                }
                for one in self.of_side(sign)
            }
        return {
            "beats": len(self.rows),
            "refused": self.refusal or None,
            "sides": sides,
            "family": dict(self.family),
            "families": self.families(),
        }

    def columns(self) -> dict[str, np.ndarray]:
        """The table: one row a beat and change."""
        found, proof = self.ranges, self.proof
        if found is None or proof is None:
            return {}
        num, names = len(self.rows), found.names
        each = np.repeat(np.arange(num), len(names))
        return {
            "beat": self.rows[each],
            "change": np.tile(np.array(names, object), num),
            "unit": np.tile(
                np.array([found.changes.units[n] for n in names], object), num
            ),
            "lead": np.tile(
                np.array([found.changes.leads.get(n, "") for n in names], object), num
            ),
            "limit": np.tile([found.limits[n] for n in names], num),
            "low": found.low.ravel(),
            "high": found.high.ravel(),
            "then_low": found.takes_over[..., 0].ravel(),
            "then_high": found.takes_over[..., 1].ravel(),
            "pieces": found.pieces.sum(axis=2).ravel(),
            "reason": np.stack([found.reasons[n] for n in names], 1).ravel(),
            "family": proof.status[each],
        }


def what_changes(found: Evaluation, progress: Progress = silent) -> WhatChanges:
    """Walks some beats of every component along every change, and proves families.

    Args:
      found: the evaluation; beats that it measures on are drawn from.
      progress: told how far it is.
    """
    part, rng = found.part, np.random.default_rng(0)
    leaf = part.decision.cell[found.rows]
    most = BEATS_EACH if len(part.beats.lead_names) <= FEW else OF_MANY_LEADS
    drawn = [
        rng.permutation(found.rows[leaf == node])[:most] for node in np.unique(leaf)
    ]
    rows = np.sort(np.concatenate(drawn))
    return of_beats(part.tree, part.beats, part.decision, rows, progress)


def of_beats(
    tree: Tree,
    beats: Beats,
    decision: Decision,
    rows: Int[np.ndarray, " beat"],
    progress: Progress = silent,
) -> WhatChanges:
    """Walks some beats along every change, and proves families.

    Args:
      tree: the tree.
      beats: the beats that it decided.
      decision: what it said of them.
      rows: which to walk.
      progress: told how far it is.
    """
    normal, path = decision.normal[rows], decision.path[rows]
    some = beats.take(rows)
    moves, family = changes(some), family_of(beats.lead_names)
    try:
        one, two = parts(progress, 3, 1)
        walked = ranges(tree, some, moves, progress=one)
        proof = prove(tree, some, moves, family, progress=two)
    except UnsupportedPrimitiveError as error:
        return WhatChanges(rows, normal, path, None, family, None, str(error))
    return WhatChanges(rows, normal, path, walked, family, proof)
