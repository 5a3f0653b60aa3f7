"""Prototypes of cells at any depth, and which units their components freeze.

As at the outermost level (`cover`): of some samples near the mean of a cell, the one
whose component proves the wanted share with the fewest units left alive. Deeper, what
a unit takes depends on what is frozen above it, so every step measures anew.
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

from ecg_jax.tree.cover import CoverConfig, Samples
from ecg_jax.tree.tree import Tree

CANDIDATES, MEMBERS = 8, 256
STEPS = 4  # in how many steps units are unfrozen

Masks = tuple[np.ndarray, ...]


@dataclass(eq=False)
class Prototypes:
    """Prototypes for the cells of one side.

    Attributes:
      tree: its root: the function and its gates.
      part: the samples of this side, as inputs.
      samples: the same, as `cover` sees them.
      sign: +1 for witnesses, -1 for refuters.
      config: what share is wanted, and how many units are frozen at least.
    """

    tree: Tree
    part: Any
    samples: Samples
    sign: int
    config: CoverConfig

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.config.seed)
        self._judges: dict[int, Any] = {}
        self._jitted: dict[int, Any] = {}

    def at(self, rows: Any) -> Any:
        """Samples by row."""
        return tree_util.tree_map(lambda v: v[rows], self.part)

    def share(self, row: int, masks: Sequence[np.ndarray], depth: int) -> float:
        """Which share a component freezes of the units on its side at its anchor.

        Args:
          row: of its anchor.
          masks: for each gate, what it freezes.
          depth: the first at which this side has units; theirs count.
        """
        sides, levels = self._sides(depth)(self.at(row)), self.tree.descent.level
        level = [i for i in range(len(masks)) if levels[i] == depth - 1]
        flags = [masks[i][np.asarray(sides[i])] for i in level]
        whole = np.concatenate(flags)
        return float(whole.mean()) if whole.size else 0.0

    def _sides(self, depth: int) -> Any:
        """Jitted: the units on this side at an input, of the gates above a depth."""
        if depth not in self._jitted:
            sides = partial(self.tree.descent.sides, sign=self.sign, depth=depth)
            self._jitted[depth] = jax.jit(sides)
        return self._jitted[depth]

    def pick(self, rows: Int[np.ndarray, " r"], depth: int) -> tuple[int, Masks]:
        """The prototype of some samples, and for each gate the units it freezes.

        Args:
          rows: of a cell.
          depth: how many levels of gates its component freezes.
        """
        x = self.samples.vectors[rows]
        away = np.sum((x - x.mean(0)) ** 2, axis=1)
        candidates = np.resize(rows[np.argsort(away)[:CANDIDATES]], CANDIDATES)
        members = np.resize(self.rng.permutation(rows), MEMBERS)
        weights = self.samples.others(candidates, members).T
        weights = weights.astype(self.samples.room.dtype)
        judge, unfreeze = self._judge(depth)
        given = self.at(candidates), self.at(members), self.samples.room[members]
        most = 1 - self.config.least_frozen_deeper
        shapes = self.tree.descent.unit_shapes(depth)
        frozen = [[np.ones((CANDIDATES, *shape), bool) for shape in shapes]]
        proven, lost = judge(*given, weights, frozen[0])
        shares = [np.asarray(proven)]
        for step in range(1, STEPS + 1):
            if shares[-1].max() >= self.config.wanted or most <= 0:
                break
            masks = unfreeze(given[0], lost, frozen[-1], most * step / STEPS)
            proven, lost = judge(*given, weights, masks)
            frozen.append([np.asarray(mask) for mask in masks])
            shares.append(np.asarray(proven))
        reached = np.minimum(shares, self.config.wanted)
        step, winner = np.unravel_index(np.argmax(reached), reached.shape)
        return int(candidates[winner]), tuple(
            np.asarray(mask[winner]) for mask in frozen[step]
        )

    def _judge(self, depth: int) -> tuple[Any, Any]:
        """Jitted, for one depth.

        The share that candidates prove, with what each unit takes from the members that
        they do not; and what they freeze when more units are unfrozen.
        """
        if depth in self._judges:
            return self._judges[depth]
        descent, sign = self.tree.descent, self.sign

        def judge(
            candidates: Any,
            members: Any,
            room: Float[Array, " m"],
            weights: Float[Array, "c m"],
            frozen: list[Array],
        ) -> tuple[Float[Array, " c"], list[Array]]:
            def one(candidate: Any) -> Any:
                anchor, weight, masks = candidate
                pattern = descent.patterns(anchor, depth)

                def units(x: Any) -> list[Array]:
                    return descent.unit_gaps(pattern, x, sign, masks, depth)

                gaps = jax.vmap(units)(members)
                lost = sum(jnp.sum(g.reshape(len(g), -1), 1) for g in gaps)
                proves = lost < room
                missed = jnp.where(proves, 0, weight)
                share = jnp.sum(jnp.where(proves, weight, 0)) / jnp.sum(weight)
                return share, [jnp.tensordot(missed, g, 1) for g in gaps]

            return jax.lax.map(one, (candidates, weights, frozen))

        def unfreeze(candidates: Any, lost: Any, frozen: Any, share: Any) -> Any:
            def one(anchor: Any, lost: Any, frozen: Any) -> Any:
                sides = descent.sides(anchor, sign, depth)
                fewer = []
                for v, mask, side in zip(lost, frozen, sides, strict=True):
                    most = share * jnp.sum(side, dtype=v.dtype)
                    alive = jnp.sum(side & ~mask, dtype=v.dtype)
                    fewer.append(mask & ~_largest(v, most - alive))
                return fewer

            return jax.vmap(one)(candidates, lost, frozen)

        self._judges[depth] = jax.jit(judge), jax.jit(unfreeze)
        return self._judges[depth]


def _largest(values: Float[Array, "*u"], count: Any) -> Bool[Array, "*u"]:
    """The largest of some values that are above 0; `count` at most, rounded down."""
    flat = jnp.ravel(values)
    rank = jnp.argsort(jnp.argsort(-flat)).astype(flat.dtype)
    largest = (rank < jnp.floor(count + 1e-9)) & (flat > 0)
    return largest.reshape(values.shape)
