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

What counts is what carries over to other people: a component is judged on samples of
recordings other than its prototype's, and no recording gives more than a part of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Bool, Float, Int

from ecg_jax.errors import CoverError
from ecg_jax.progress import Progress, parts, silent
from ecg_jax.statistics.cluster import Cells, kmeans, take_turns
from ecg_jax.tree.kernels import Side, decides, squared_distances

JUDGED = 2**22  # entries of the table of gaps that judges the candidates of one cell
FEWEST = 8  # candidates that this leaves of a wide gate, and whose units are unfrozen
STEPS = 8  # in how many steps units are unfrozen, at most
AT_ONCE = 64  # units whose unfreezing is weighed together
SAME = 1e-5  # shares of answers are equal up to this part: rounding


@dataclass(frozen=True)
class CoverConfig:
    """How components are chosen.

    Attributes:
      wanted: the share of answers that the components are to prove, each judged on
        recordings other than its prototype's: units are left alive only as long as it
        is not reached, and only in cells that miss it.
      least_frozen: every component of the outermost level freezes at least this share
        of its side's units.
      least_frozen_deeper: the same for components that freeze more levels, of the
        units of each gate.
      candidates: how many training samples nearest to a centre may become prototype,
        at most; fewer for wide gates.
      members: how many samples judge a candidate: of its cell, and where they are of
        few recordings, those of others that are nearest to its centre.
      most_of_one: no recording gives more than this share of them, where there are
        enough recordings (outermost level only, as `candidates` and `members`).
      rounds: how often prototypes are chosen and cells taken anew.
      sample: how many training samples of a side take part in choosing.
      seed: of the sampling and of k-means.
    """

    wanted: float = 0.995
    least_frozen: float = 0.75
    least_frozen_deeper: float = 0.5
    candidates: int = 256
    members: int = 512
    most_of_one: float = 0.125
    rounds: int = 3
    sample: int = 120_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse counts below 1, and shares that are none."""
        for name in ("candidates", "members", "rounds", "sample"):
            if (value := getattr(self, name)) < 1:
                raise CoverError(f"CoverConfig: {name}={value} is not 1 or more")
        if self.seed < 0:
            raise CoverError(f"CoverConfig: seed={self.seed} is not 0 or more")
        shares = ("wanted", "least_frozen", "least_frozen_deeper", "most_of_one")
        for name in shares:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise CoverError(f"CoverConfig: {name}={value} is not from 0 to 1")


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of one side, and what every component needs of them.

    Attributes:
      vectors: what distances are taken of.
      room: what a gap must be smaller than to count as proof: `sign * f` less what
        rounding may do.
      operands: of the opened gates at every sample.
      patterns: of this side at every sample.
      features: `side.features` at every sample.
      records: the recording of each sample; None where nothing is known of them.
    """

    vectors: Float[np.ndarray, "n t"]
    room: Float[np.ndarray, " n"]
    operands: Any
    patterns: Any
    features: Float[np.ndarray, "n d"]
    records: Int[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.room)

    def others(self, anchors: Any, rows: Any = slice(None)) -> Bool[np.ndarray, "n k"]:
        """Which samples are of another recording than each anchor.

        All, where an anchor's recording is the only one, or recordings are not known.
        """
        if self.records is None:
            return np.ones((len(self.room[rows]), len(anchors)), bool)
        other = self.records[rows][:, None] != self.records[anchors][None]
        return other | ~other.any(axis=0)


@dataclass(frozen=True, eq=False)
class Cover:
    """The chosen components of one side.

    Attributes:
      anchors: rows of the samples that are prototypes.
      frozen: for each component, flags over the side's units.
      centres: of the cells, as vectors.
      proven: share of the samples that a component of another recording proves.
      cells: the component that decides each sample.
    """

    anchors: Int[np.ndarray, " k"]
    frozen: Bool[np.ndarray, "k u"]
    centres: Float[np.ndarray, "k t"]
    proven: float
    cells: Int[np.ndarray, " n"]


def choose(
    side: Side,
    samples: Samples,
    num: int,
    config: CoverConfig,
    localize: float | None = None,
    progress: Progress = silent,
) -> Cover:
    """Chooses `num` components for one side, for coverage and purity together.

    Args:
      side: the side of the equation.
      samples: of this side.
      num: how many components.
      config: how to choose.
      localize: what a squared distance costs; see `decides`.
      progress: told of every cell in every round.

    Returns:
      The prototypes, what each freezes, and the centres of their cells.

    Raises:
      CoverError: fewer samples than components, or none.
    """
    check_count(samples, num)
    judge = _Judge(side, samples, config, localize)
    start, *rounds = parts(progress, 1, *[2] * config.rounds)
    centres = kmeans(samples.vectors, num, seed=config.seed, progress=start)
    return take_turns(samples.vectors, centres, judge.cover, rounds)


def check_count(samples: Samples, num: int) -> None:
    """Raises `CoverError` where there are fewer samples than components, or none."""
    if len(samples) < num or num < 1:
        raise CoverError(
            f"{num} components asked for, {len(samples)} samples on this side.\n"
            "  try: a smaller budget, or more data"
        )


def coefficients(
    side: Side, patterns: Any, anchors: Any, frozen: Bool[np.ndarray, "k u"]
) -> Float[np.ndarray, "k d"]:
    """`side.coefficients` of several components."""
    masks = [np.stack(mask) for mask in zip(*map(side.split, frozen), strict=True)]
    return np.asarray(_coefficients(side, _at(patterns, anchors), masks))


@partial(jax.jit, static_argnums=0)
def _coefficients(side: Side, patterns: Any, masks: Any) -> Float[Array, "k d"]:
    return jax.vmap(side.coefficients)(patterns, masks)


def proven_by_others(
    samples: Samples, gap: Float[np.ndarray, "n k"], anchors: Int[np.ndarray, " k"]
) -> float:
    """Share of the samples that a component of another recording proves."""
    proves = (gap < samples.room[:, None]) & samples.others(anchors)
    return float(np.mean(proves.any(axis=1)))


@dataclass(eq=False)
class _Cell:
    """Candidates for the prototype of a cell, and what each freezes and proves by step.

    Attributes:
      candidates: rows, the nearest to the centre first.
      members: rows of the samples that judge them.
      weights: 1 for the members that count for a candidate, 0 for the others.
      frozen: for each step of unfreezing, what each candidate freezes.
      proven: and which share of the members it proves.
    """

    candidates: Int[np.ndarray, " c"]
    members: Int[np.ndarray, " m"]
    weights: Float[np.ndarray, "c m"]
    frozen: list[np.ndarray] = field(default_factory=list)
    proven: list[np.ndarray] = field(default_factory=list)

    def picked(self, wanted: float) -> tuple[int, Bool[np.ndarray, " u"]]:
        """The fewest units alive, then the nearest candidate, that prove the most."""
        reached = np.minimum(self.proven, wanted)
        step, winner = np.unravel_index(np.argmax(reached), reached.shape)
        return int(self.candidates[winner]), self.frozen[step][winner]


@dataclass(eq=False)
class _Judge:
    """Picks the prototype of every cell, and what it freezes."""

    side: Side
    samples: Samples
    config: CoverConfig
    localize: float | None

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.config.seed)

    @cached_property
    def counts(self) -> list[int]:
        """How many units each step unfreezes."""
        units = (1 - self.config.least_frozen) * self.side.num_units
        whole = int(np.floor(units + 1e-9))
        at_once = max(1, -(-whole // STEPS))
        return [min(at_once, whole - start) for start in range(0, whole, at_once)]

    def cover(
        self, centres: np.ndarray, inside: Int[np.ndarray, " n"], progress: Progress
    ) -> tuple[tuple[float, float], Cells, Cover]:
        """The cover with the fewest units alive that proves what is wanted.

        Its merit comes first: the share that it proves, then how compact its cells are.
        """
        samples, wanted = self.samples, self.config.wanted
        away = squared_distances(jnp.asarray(samples.vectors), jnp.asarray(centres))
        away = np.asarray(away)
        cells: list[_Cell] = []
        for k in range(len(centres)):
            cells.append(self._cell(away[:, k], inside == k))
            progress(len(cells), len(centres))
        anchors, frozen, gap = self._gaps(cells)
        for count in self.counts:
            proven = proven_by_others(samples, gap, anchors)
            missing = [
                cell
                for cell in cells
                if cell.proven[-1].max() < min(wanted, self._most(cell))
            ]
            if proven >= wanted or not missing:
                break
            for cell in missing:
                self._unfreeze(cell, count)
                progress(len(cells), len(cells))
            anchors, frozen, gap = self._gaps(cells)
        own = np.asarray(decides(gap, samples.room, away, self.localize))
        spread = float(np.mean(np.take_along_axis(away, own[:, None], 1)))
        proven = proven_by_others(samples, gap, anchors)
        merit = min(proven, wanted), -spread
        return merit, own, Cover(anchors, frozen, centres, proven, own)

    def _most(self, cell: _Cell) -> float:
        """What a candidate can prove at most: answers that have room at all."""
        rooms = self.samples.room[cell.members] > 0
        share = (cell.weights @ rooms) / cell.weights.sum(axis=1)
        return float(share.max()) * (1 - SAME)

    def _gaps(self, cells: Sequence[_Cell]) -> tuple[np.ndarray, np.ndarray, Any]:
        """Prototypes, what they freeze, and what they take at every sample."""
        picked = [cell.picked(self.config.wanted) for cell in cells]
        anchors = np.array([anchor for anchor, _ in picked])
        frozen = np.stack([flags for _, flags in picked])
        rows = coefficients(self.side, self.samples.patterns, anchors, frozen)
        with np.errstate(invalid="ignore"):  # a BLAS may raise it where all is finite
            return anchors, frozen, self.samples.features @ rows.T

    def _cell(self, away: np.ndarray, inside: Bool[np.ndarray, " n"]) -> _Cell:
        """Candidates of a cell with all units frozen."""
        if not inside.any():
            inside = ~inside
        config, rows = self.config, np.flatnonzero(inside)
        size = config.members * max(self.side.num_units, 1)
        num = int(np.clip(JUDGED // size, FEWEST, config.candidates))
        candidates = np.resize(rows[np.argsort(away[rows])[:num]], num)
        members = self._members(rows, away)
        weights = self.samples.others(candidates, members).T
        weights = weights.astype(self.samples.room.dtype)
        gap, room = self._judged(candidates, members)
        frozen = np.ones((num, self.side.num_units), bool)
        proven = np.array(_proven(gap, room, weights, frozen))
        proven[len(rows) :] = -1  # these are there twice
        order = np.argsort(-np.minimum(proven, config.wanted), kind="stable")
        best = np.sort(order[:FEWEST])
        return _Cell(
            candidates[best], members, weights[best], [frozen[best]], [proven[best]]
        )

    def _members(
        self, rows: Int[np.ndarray, " r"], away: Float[np.ndarray, " n"]
    ) -> Int[np.ndarray, " m"]:
        """Samples that judge: of a cell, then the nearest; of enough recordings."""
        config, records = self.config, self.samples.records
        members = self.rng.permutation(rows)
        if records is not None:
            most = max(1, int(config.most_of_one * config.members))
            members = _capped(members, records, most)
            if len(members) < config.members:
                outside = np.setdiff1d(np.arange(len(away)), rows)
                outside = outside[np.argsort(away[outside])]
                members = _capped(np.concatenate([members, outside]), records, most)
        num = min(config.members, len(away))
        return np.sort(np.resize(members[:num], num))

    def _judged(
        self, candidates: np.ndarray, members: np.ndarray
    ) -> tuple[Float[Array, "c m u"], Float[np.ndarray, " m"]]:
        """What each unit of each candidate takes at each member, and its room."""
        gap = _unit_gaps(
            self.side,
            _at(self.samples.patterns, candidates),
            _at(self.samples.operands, members),
        )
        return gap, self.samples.room[members]

    def _unfreeze(self, cell: _Cell, count: int) -> None:
        """Leaves more units of a cell's candidates alive."""
        gap, room = self._judged(cell.candidates, cell.members)
        frozen = _fewer_frozen(gap, room, cell.weights, cell.frozen[-1], count)
        cell.frozen.append(np.asarray(frozen))
        cell.proven.append(np.asarray(_proven(gap, room, cell.weights, frozen)))


def _capped(
    rows: Int[np.ndarray, " r"], records: Int[np.ndarray, " n"], most: int
) -> Int[np.ndarray, " m"]:
    """The rows in their order, the first few of each recording only."""
    own = records[rows]
    order = np.argsort(own, kind="stable")
    _, first, count = np.unique(own[order], return_index=True, return_counts=True)
    rank = np.empty(len(rows), int)
    rank[order] = np.arange(len(rows)) - np.repeat(first, count)
    return rows[rank < most]


def _at(tree: Any, rows: np.ndarray) -> Any:
    return tree_util.tree_map(lambda v: v[rows], tree)


@partial(jax.jit, static_argnums=0)
def _unit_gaps(side: Side, patterns: Any, operands: Any) -> Float[Array, "c m u"]:
    rows = jax.vmap(side.unit_gaps, (None, 0))
    return jax.vmap(rows, (0, None))(patterns, operands)


def _lack(gap: Any, room: Any, frozen: Any) -> Float[Array, "c m"]:
    """By how much each gap stays below its room: a proof where it is above 0."""
    return room[None] - jnp.einsum("cmu,cu->cm", gap, frozen.astype(gap.dtype))


@jax.jit
def _proven(
    gap: Float[Array, "c m u"],
    room: Float[Array, " m"],
    weights: Float[Array, "c m"],
    frozen: Bool[Array, "c u"],
) -> Float[Array, " c"]:
    """The share of the members that count that each candidate proves."""
    lack = _lack(gap, room, frozen)
    return jnp.sum(jnp.where(lack > 0, weights, 0), 1) / jnp.sum(weights, 1)


@jax.jit
def _fewer_frozen(
    gap: Float[Array, "c m u"],
    room: Float[Array, " m"],
    weights: Float[Array, "c m"],
    frozen: Bool[Array, "c u"],
    count: int | Int[Array, ""],
) -> Bool[Array, "c u"]:
    """Leaves `count` more units alive, those whose freezing costs most proofs.

    Where none gains a proof, those with the largest mean shortfall.
    """
    scale = jnp.mean(room) + 1e-30
    lack = _lack(gap, room, frozen)

    def merit(u: Any) -> Float[Array, " c"]:
        left = lack + gap[:, :, u]
        short = jnp.clip(left / scale, -1, 0) / len(room)
        return jnp.sum(weights * jnp.where(left > 0, 1 + short, short), -1)

    gain = jax.lax.map(merit, jnp.arange(gap.shape[2]), batch_size=AT_ONCE).T
    gain = jnp.where(frozen, gain, -jnp.inf)
    rank = jnp.argsort(jnp.argsort(-gain, axis=1), axis=1)
    return frozen & ~(rank < count)
