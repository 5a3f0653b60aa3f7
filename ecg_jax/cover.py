"""Few components that prove most answers, each with a prototype that a reader knows.

On one side of the decision, `g = f` (or `-f`) is non-negative, and a component with
anchor `a` gives a lower bound `g(x) - gap_a(x)`: a proof where the gap is smaller than
`g(x)`, beyond rounding. Several components may prove one answer. The cell of a sample
is the nearest of those that do, and where none does the nearest of all:

    cell(x) = argmin_k |x - c_k|^2    over the k with  gap_k(x) < g(x)

with `c_k` the centre of the cell: its mean. So proofs come first, at no price, and a
cell looks like one ECG. (It is the limit of localizing `W_a(x) - d(x, a)` by a penalty
that is small beside any gap too large for a proof: a bound stays a bound.)

Cells begin as those of k-means. The prototype of a cell is the sample nearest to its
centre whose component proves the wanted share of the cell with the fewest units left
alive; then cells and centres are taken anew.
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
from ecg_jax.kernels import Side, gaps, nearest_proof, squared_distances

JUDGED = 2**22  # entries of the table of gaps that judges the candidates of one cell
Judged = tuple[np.ndarray, np.ndarray, np.ndarray]
STEPS = 8  # in how many steps units are thawed, at most


@dataclass(frozen=True)
class CoverConfig:
    """How components are chosen.

    Attributes:
      wanted: the share of answers that the components are to prove: units are left
        alive only as long as it is not reached, and only in cells that miss it.
      least_frozen: every component of the outermost level freezes at least this share
        of its side's units.
      candidates: how many training samples nearest to a centre may become prototype,
        at most; fewer for wide gates.
      members: how many samples of a cell judge a candidate.
      rounds: how often prototypes are chosen and cells taken anew.
      sample: how many training samples of a side take part in choosing.
      seed: of the sampling and of k-means.
    """

    wanted: float = 0.995
    least_frozen: float = 0.75
    candidates: int = 256
    members: int = 512
    rounds: int = 3
    sample: int = 120_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Cover:
    """The chosen components of one side.

    Attributes:
      anchors: rows of the samples that are prototypes.
      frozen: for each component, flags over the side's units.
      centres: of the cells, as vectors.
      proven: share of the samples that a component proves.
      cells: the component that decides each sample.
    """

    anchors: Int[np.ndarray, " k"]
    frozen: Bool[np.ndarray, "k u"]
    centres: Float[np.ndarray, "k t"]
    proven: float
    cells: Int[np.ndarray, " n"]


def choose(
    side: Side,
    x: Float[np.ndarray, "n t"],
    room: Float[np.ndarray, " n"],
    operands: Any,
    patterns: Any,
    features: Float[np.ndarray, "n d"],
    num: int,
    config: CoverConfig,
) -> Cover:
    """Chooses `num` components for one side.

    Args:
      side: the side of the equation.
      x: the samples of this side as vectors.
      room: what a gap must be smaller than to count as proof: `sign * f` less what
        rounding may do.
      operands: of the opened gates at every sample.
      patterns: of this side at every sample.
      features: `side.features` at every sample.
      num: how many components.
      config: how to choose.

    Returns:
      The prototypes, what each freezes, and the centres of their cells.

    Raises:
      CoverError: fewer samples than components, or none.
    """
    if len(x) < num or num < 1:
        raise CoverError(
            f"{num} components asked for, {len(x)} samples on this side.\n"
            "  try: a smaller budget, or more data"
        )
    judge = _Judge(side, x, room, operands, patterns, config)
    centres = kmeans(x, num, seed=config.seed)
    cells = nearest(x, centres)
    best: tuple[tuple[float, float], Cover] | None = None
    for _ in range(config.rounds):
        cover, spread = judge.cover(centres, cells, features)
        merit = min(cover.proven, config.wanted), -spread
        if best is None or merit >= best[0]:
            best = merit, cover
        cells = cover.cells
        centres = means(x, cells, centres)
    assert best is not None
    return best[1]


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


class _Judge:
    """Picks the prototype of every cell, and what it freezes."""

    def __init__(
        self,
        side: Side,
        x: np.ndarray,
        room: np.ndarray,
        operands: Any,
        patterns: Any,
        config: CoverConfig,
    ):
        self.side, self.x, self.room = side, x, room
        self.operands, self.patterns, self.config = operands, patterns, config
        self.rng = np.random.default_rng(config.seed)
        self.limit = 0  # steps of thawing that the round before needed
        self.thawed = int(np.floor((1 - config.least_frozen) * side.num_units + 1e-9))

    def cover(
        self, centres: np.ndarray, cells: np.ndarray, features: np.ndarray
    ) -> tuple[Cover, float]:
        """The cover with the fewest units alive that proves what is wanted."""
        judged = [self._judged(c, cells == k) for k, c in enumerate(centres)]
        away = squared_distances(jnp.asarray(self.x), jnp.asarray(centres))
        limit = max(self.limit - 1, 0)
        anchors, frozen, table, proven = self._tried(judged, limit, features)
        while proven < self.config.wanted and limit + 1 < len(judged[0][1]):
            limit += 1
            anchors, frozen, table, proven = self._tried(judged, limit, features)
        self.limit = limit
        own = np.asarray(nearest_proof(table, jnp.asarray(self.room), away))
        spread = float(np.mean(np.take_along_axis(np.asarray(away), own[:, None], 1)))
        return Cover(anchors, frozen, centres, proven, own), spread

    def _tried(
        self, judged: Sequence[Judged], limit: int, features: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, Array, float]:
        """Prototypes, what they freeze, their gaps, and the share that is proven."""
        picked = [self._picked(*entry, limit) for entry in judged]
        anchors = np.array([anchor for anchor, _ in picked])
        frozen = np.stack([flags for _, flags in picked])
        rows = coefficients(self.side, self.patterns, anchors, frozen)
        table = gaps(jnp.asarray(features), jnp.asarray(rows))
        proven = np.any(np.asarray(table) < self.room[:, None], axis=1)
        return anchors, frozen, table, float(np.mean(proven))

    def _judged(self, centre: np.ndarray, inside: Bool[np.ndarray, " n"]) -> Judged:
        """Candidates of a cell, nearest first; what each freezes and proves by step."""
        rows = np.flatnonzero(inside)
        if not len(rows):
            rows = np.arange(len(self.x))
        order = np.argsort(np.sum((self.x[rows] - centre) ** 2, axis=1))
        members = rows
        if len(rows) > self.config.members:
            members = self.rng.choice(rows, self.config.members, replace=False)
        members = np.resize(np.sort(members), self.config.members)
        candidates = np.resize(rows[order[: self._affordable()]], self._affordable())
        gap = _unit_gaps(
            self.side, _at(self.patterns, candidates), _at(self.operands, members)
        )
        frozen, proven = _thaw(gap, jnp.asarray(self.room[members]), self.thawed)
        return candidates, np.asarray(frozen), np.asarray(proven)

    def _picked(
        self, candidates: np.ndarray, frozen: np.ndarray, proven: np.ndarray, limit: int
    ) -> tuple[int, Bool[np.ndarray, " u"]]:
        """The fewest units alive, then the nearest candidate, that prove the most."""
        reached = np.minimum(proven[: limit + 1], self.config.wanted)
        step, winner = np.unravel_index(np.argmax(reached), reached.shape)
        return int(candidates[winner]), frozen[step, winner]

    def _affordable(self) -> int:
        """Fewer candidates for wide gates."""
        size = self.config.members * max(self.side.num_units, 1)
        return int(np.clip(JUDGED // size, 8, self.config.candidates))


def _at(tree: Any, rows: np.ndarray) -> Any:
    return tree_util.tree_map(lambda v: v[rows], tree)


@partial(jax.jit, static_argnums=0)
def _unit_gaps(side: Side, patterns: Any, operands: Any) -> Float[Array, "c m u"]:
    rows = jax.vmap(side.unit_gaps, (None, 0))
    return jax.vmap(rows, (0, None))(patterns, operands)


@partial(jax.jit, static_argnums=2)
def _thaw(
    gap: Float[Array, "c m u"], room: Float[Array, " m"], thawed: int
) -> tuple[Bool[Array, "s c u"], Float[Array, "s c"]]:
    """Leaves units alive, those first whose freezing costs most proofs.

    Greedy, in at most `STEPS` steps: each thaws the units that gain most proven
    members, or, where none gains one, the largest mean shortfall.

    Returns:
      After each step, from none thawed to `thawed`: what is frozen, and the share of
      the members that is proven.
    """
    candidates, _, units = gap.shape
    at_once = max(1, -(-thawed // STEPS))

    def lack_of(frozen: Bool[Array, "c u"]) -> Float[Array, "c m"]:
        return room[None] - jnp.einsum("cmu,cu->cm", gap, frozen.astype(gap.dtype))

    def proven(lack: Float[Array, "... m"]) -> Float[Array, "..."]:
        return jnp.mean(lack > 0, -1, dtype=lack.dtype)

    def merit(lack: Float[Array, "... m"]) -> Float[Array, "..."]:
        shortfall = jnp.mean(jnp.clip(lack / (jnp.mean(room) + 1e-30), -1, 0), -1)
        return proven(lack) + shortfall / len(room)

    def step(frozen: Bool[Array, "c u"], num: Any) -> tuple[Any, Any]:
        lack = lack_of(frozen)
        gain = jax.lax.map(lambda u: merit(lack + gap[:, :, u]), jnp.arange(units)).T
        gain = jnp.where(frozen, gain, -jnp.inf)
        rank = jnp.argsort(jnp.argsort(-gain, axis=1), axis=1)
        frozen = frozen & ~(rank < num)
        return frozen, (frozen, proven(lack_of(frozen)))

    counts = [min(at_once, thawed - start) for start in range(0, thawed, at_once)]
    whole = jnp.ones((candidates, units), bool)
    _, (frozen, shares) = jax.lax.scan(step, whole, jnp.asarray(counts, int))
    return (
        jnp.concatenate([whole[None], frozen]),
        jnp.concatenate([proven(lack_of(whole))[None], shares]),
    )
