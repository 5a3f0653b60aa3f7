"""Few components that prove most answers, each with a prototype that a reader knows.

On one side of the decision, `g = f` (or `-f`) is non-negative and each candidate anchor
`a` gives a lower bound `g(x) - gap_a(x)`. A cell is the set of samples whose localized
component decides,

    cell(x) = argmin_k  gap_k(x) + strength * |x - a_k|^2

and a sample is proven by its own cell where `g(x) - gap(x)` is positive beyond
rounding. Prototypes are chosen per k-means cell: of the training samples nearest to
its centre, the one that proves most of the cell once the units that cost most are left
alive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Bool, Float, Int

from ecg_jax.cluster import kmeans, means, nearest
from ecg_jax.errors import CoverError
from ecg_jax.kernels import Side, gaps, squared_distances


@dataclass(frozen=True)
class CoverConfig:
    """How components are chosen.

    Attributes:
      least_frozen: every component freezes at least this share of its side's units.
      candidates: how many training samples nearest to a centre may become prototype.
      members: how many samples of a cell judge a candidate.
      rounds: how often cells are reassigned.
      loss: the largest share of proven answers that localizing may cost: the strength
        is the largest of a grid that costs no more on training samples.
      sample: how many training samples of a side take part in choosing.
      seed: of the sampling and of k-means.
    """

    least_frozen: float = 0.75
    candidates: int = 256
    members: int = 512
    rounds: int = 3
    loss: float = 0.03
    sample: int = 20_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Cover:
    """The chosen components of one side.

    Attributes:
      anchors: rows of the samples that are prototypes.
      frozen: for each component, flags over the side's units.
      strength: weight of the squared distance in deciding the cell.
      proven: share of the samples proven by the component of their own cell.
      cells: the component that decides each sample.
    """

    anchors: Int[np.ndarray, " k"]
    frozen: Bool[np.ndarray, "k u"]
    strength: float
    proven: float
    cells: Int[np.ndarray, " n"]


def choose(
    side: Side,
    x: Float[np.ndarray, "n t"],
    g: Float[np.ndarray, " n"],
    slack: Float[np.ndarray, " n"],
    operands: Any,
    patterns: Any,
    features: Float[np.ndarray, "n d"],
    num: int,
    config: CoverConfig,
) -> Cover:
    """Chooses `num` localized components for one side.

    Args:
      side: the side of the equation.
      x: the samples of this side as vectors.
      g: `sign * f`, non-negative.
      slack: what `g - gap` must exceed to count as proof, from the arithmetic.
      operands: of the opened gates at every sample.
      patterns: of this side at every sample.
      features: `side.features` at every sample.
      num: how many components.
      config: how to choose.

    Returns:
      The prototypes, what each freezes, and the strength of localization.

    Raises:
      CoverError: fewer samples than components, or none.
    """
    if len(x) < num or num < 1:
        raise CoverError(
            f"{num} components asked for, {len(x)} samples on this side.\n"
            "  try: a smaller budget, or more data"
        )
    centres = kmeans(x, num, seed=config.seed)
    cells = nearest(x, centres)
    best: Cover | None = None
    judge = _Judge(side, x, g, slack, operands, patterns, config)
    for _ in range(config.rounds):
        picked = [judge.pick(centre, cells == k) for k, centre in enumerate(centres)]
        anchors = np.array([anchor for anchor, _ in picked])
        frozen = np.stack([flags for _, flags in picked])
        rows = jnp.asarray(coefficients(side, patterns, anchors, frozen))
        table = np.asarray(gaps(jnp.asarray(features), rows))
        prototypes = jnp.asarray(x[anchors])
        distance = np.asarray(squared_distances(jnp.asarray(x), prototypes))
        strength, cells = localize(table, distance, g - slack, config.loss)
        own = np.take_along_axis(table, cells[:, None], 1)[:, 0]
        proven = float(np.mean(g - own > slack))
        cover = Cover(anchors, frozen, strength, proven, cells)
        if best is None or cover.proven >= best.proven:
            best = cover
        centres = means(x, cells, centres)
    assert best is not None
    return best


def coefficients(
    side: Side, patterns: Any, anchors: Any, frozen: Bool[np.ndarray, "k u"]
) -> Float[np.ndarray, "k d"]:
    """`side.coefficients` of several components."""
    rows = []
    fn = jax.jit(side.coefficients)
    for anchor, flags in zip(anchors, frozen, strict=True):
        pattern = tree_util.tree_map(lambda v, a=anchor: v[a], patterns)
        rows.append(np.asarray(fn(pattern, side.split(flags))))
    return np.stack(rows)


def localize(
    table: Float[np.ndarray, "n k"],
    distance: Float[np.ndarray, "n k"],
    room: Float[np.ndarray, " n"],
    loss: float,
) -> tuple[float, Int[np.ndarray, " n"]]:
    """The largest strength that costs at most `loss` of the proven share.

    Args:
      table: gap of every component at every sample.
      distance: squared distance of every prototype.
      room: how large a gap may be for a proof.
      loss: share of answers.

    Returns:
      The strength, and the cell of every sample.
    """
    scale = max(float(np.median(np.min(distance, axis=1))), 1e-30)
    unit = max(float(np.median(room)), 1e-30) / scale
    best, chosen = -1.0, (0.0, np.argmin(table, axis=1))
    for strength in (0.0, *(unit * 10.0 ** np.arange(-2.5, 2.01, 0.25))):
        cells = np.argmin(table + strength * distance, axis=1)
        own = np.take_along_axis(table, cells[:, None], 1)[:, 0]
        proven = float(np.mean(own < room))
        best = max(best, proven)
        if proven >= best - loss:
            chosen = (float(strength), cells)
    return chosen


class _Judge:
    """Picks the prototype of a cell, and what it freezes."""

    def __init__(
        self,
        side: Side,
        x: np.ndarray,
        g: np.ndarray,
        slack: np.ndarray,
        operands: Any,
        patterns: Any,
        config: CoverConfig,
    ):
        self.side, self.x, self.room = side, x, g - slack
        self.operands, self.patterns, self.config = operands, patterns, config
        self.rng = np.random.default_rng(config.seed)
        self.steps = int(np.floor((1 - config.least_frozen) * side.num_units + 1e-9))

    def pick(
        self, centre: np.ndarray, inside: Bool[np.ndarray, " n"]
    ) -> tuple[int, Bool[np.ndarray, " u"]]:
        """The prototype nearest to a centre that proves most of a cell."""
        rows = np.flatnonzero(inside)
        if not len(rows):
            rows = np.arange(len(self.x))
        order = np.argsort(np.sum((self.x[rows] - centre) ** 2, axis=1))
        near = rows[order[: self._affordable()]]
        members = self._sampled(rows, self.config.members)
        candidates = self._sampled(near, self._affordable(), keep_order=True)
        gap = _unit_gaps(
            self.side, _at(self.patterns, candidates), _at(self.operands, members)
        )
        frozen, proven = _thaw(gap, jnp.asarray(self.room[members]), self.steps)
        winner = int(jnp.argmax(proven))
        return int(candidates[winner]), np.asarray(frozen[winner])

    def _affordable(self) -> int:
        """Fewer candidates for wide gates: the table of gaps stays under 256 MiB."""
        size = self.config.members * max(self.side.num_units, 1) * 8
        return int(np.clip(2**28 // size, 8, self.config.candidates))

    def _sampled(
        self, rows: np.ndarray, num: int, keep_order: bool = False
    ) -> np.ndarray:
        """Exactly `num` rows: a sample, or all of them repeated (one compilation)."""
        if len(rows) <= num or keep_order:
            return np.resize(rows, num)
        return np.sort(self.rng.choice(rows, num, replace=False))


def _at(tree: Any, rows: np.ndarray) -> Any:
    return tree_util.tree_map(lambda v: v[rows], tree)


@partial(jax.jit, static_argnums=0)
def _unit_gaps(side: Side, patterns: Any, operands: Any) -> Float[Array, "c m u"]:
    rows = jax.vmap(side.unit_gaps, (None, 0))
    return jax.vmap(rows, (0, None))(patterns, operands)


@partial(jax.jit, static_argnums=2)
def _thaw(
    gap: Float[Array, "c m u"], room: Float[Array, " m"], steps: int
) -> tuple[Bool[Array, "c u"], Float[Array, " c"]]:
    """Leaves alive, one after the other, the units whose freezing costs most proofs.

    Greedy: each step thaws the unit that gains most proven members, or, where none
    gains one, the largest mean shortfall.
    """
    candidates, _, units = gap.shape
    at_once = max(1, -(-steps // 8))

    def shortfall(lack: Float[Array, "... m"]) -> Float[Array, "..."]:
        return jnp.mean(lack >= 0, -1, dtype=lack.dtype) + jnp.mean(
            jnp.clip(lack / (jnp.mean(room) + 1e-30), -1, 0), -1
        ) / len(room)

    def step(frozen: Bool[Array, "c u"], left: Any) -> tuple[Any, None]:
        lack = room[None] - jnp.einsum("cmu,cu->cm", gap, frozen.astype(gap.dtype))
        gain = jax.lax.map(
            lambda u: shortfall(lack + gap[:, :, u]), jnp.arange(units)
        ).T
        gain = jnp.where(frozen, gain, -jnp.inf)
        rank = jnp.argsort(jnp.argsort(-gain, axis=1), axis=1)
        return frozen & ~(rank < left), None

    counts = [min(at_once, steps - start) for start in range(0, steps, at_once)]
    frozen = jnp.ones((candidates, units), bool)
    if counts:
        frozen, _ = jax.lax.scan(step, frozen, jnp.asarray(counts))
    lack = room[None] - jnp.einsum("cmu,cu->cm", gap, frozen.astype(gap.dtype))
    return frozen, shortfall(lack)


def frozen_share(frozen: Sequence[Any] | np.ndarray) -> float:
    """Which share of a side's units a set of components freezes, on average."""
    return float(np.mean(frozen)) if np.size(frozen) else 1.0
