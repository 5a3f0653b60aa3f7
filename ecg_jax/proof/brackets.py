"""Certified brackets of a first flip: of functions that are smooth along a path.

From `t = 0` on, step after step is proven to hold no flip (see `boxes`), doubled where
that succeeds and halved where it does not, until a step is shorter than the least one:
up to there no flip is possible, and soon after there is one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util
from jaxtyping import Array, Float

from ecg_jax.program.blocks import block_rows, block_size
from ecg_jax.program.roles import Rules
from ecg_jax.progress import Progress, silent
from ecg_jax.proof.boxes import Prover
from ecg_jax.proof.walk import ENDED, FOUND, RUNNING, Flips, Path, rounds

LEAST = 2.0**-20
"""The shortest step, over the limit."""

ROUND = 32
"""Steps that all paths of a block go before finished ones make room for others."""

HALVINGS = 60
OPEN = 3
"""Beside the states of a walk: neither proven nor known to flip."""


class _State(NamedTuple):
    """Proven up to `start`; the next step; the first flip known; steps so far."""

    start: Any
    step: Any
    beyond: Any
    status: Any
    steps: Any


class Bracketer:
    """Brackets the first flip on paths of one form; compiled once. See `Walker`.

    Args:
      fn: the function itself, of one input.
      path: of one path: `path(params, t)` is the input at `t`; affine in `t`.
      example: the params of one path, a pytree of arrays.
      rules: of the operations.

    Raises:
      UnsupportedPrimitiveError: a gate cannot be enclosed.
    """

    def __init__(self, fn: Any, path: Path, example: Any, rules: Rules):
        def along(params: Any, t: Array) -> Any:
            own, side = params
            return path(own, side * t[0])

        first = tree_util.tree_leaves(example)[0]
        self.dtype = np.asarray(first).dtype
        one = (example, np.ones((), self.dtype))
        self.prover = Prover(fn, along, one, 1, rules)
        self.fn, self.along = fn, along
        self.forward = jax.jit(jax.vmap(self._go_on))
        self.halve = jax.jit(jax.vmap(self._nearest))

    def flips(
        self,
        params: Any,
        limits: Float[np.ndarray, " path"],
        *,
        max_pieces: int,
        progress: Progress = silent,
    ) -> Flips:
        """Where each of many paths first flips: proven up to `time`, flipped `beyond`.

        Args:
          params: pytree of arrays whose first axis are the paths.
          limits: where each path ends; those below 0 go down from 0.
          max_pieces: the most steps of a path.
          progress: called with paths done and paths in all.
        """
        num, dtype = len(limits), self.dtype
        sides = np.where(np.asarray(limits) < 0, -1, 1).astype(dtype)
        limits = np.abs(limits).astype(dtype)
        whole = (params, sides), limits
        state = _State(
            np.zeros(num, dtype),
            limits.copy(),
            np.full(num, np.inf, dtype),
            np.full(num, RUNNING, np.int32),
            np.zeros(num, np.int32),
        )
        data = (*whole, state)
        size = block_size(lambda part: self.forward.trace(*part), data)
        while len(running := np.flatnonzero(state.status == RUNNING)):
            part = running[:size]
            data = block_rows((*whole, state), part, size)
            for old, new in zip(state, self.forward(*data), strict=True):
                old[part] = np.asarray(new)[: len(part)]
            state.status[(state.status == RUNNING) & (state.steps >= max_pieces)] = OPEN
            progress(int(np.sum(state.status != RUNNING)), num)
        time = np.where(state.status == ENDED, np.inf, np.nan)
        beyond = np.full(num, np.nan)
        found = np.flatnonzero(state.status == FOUND)
        for at in range(0, len(found), size):
            part = found[at : at + size]
            data = block_rows((whole[0], state.start, state.beyond), part, size)
            beyond[part] = np.asarray(self.halve(*data))[: len(part)]
            time[part] = state.start[part]
        nothing = np.zeros(num, np.int32)
        return Flips(sides * time, sides * beyond, state.steps, nothing)

    def _normal(self, params: Any, t: Array) -> Array:
        return self.fn(self.along(params, t[None])) >= 0

    def _go_on(self, params: Any, limit: Array, state: _State) -> _State:
        normal = self._normal(params, jnp.zeros_like(limit))

        def step(state: _State) -> _State:
            start, length, beyond, _, steps = state
            end = jnp.minimum(start + length, limit)
            middle, radius = (start + end) / 2, (end - start) / 2
            radius = radius * (1 + 4 * jnp.finfo(limit.dtype).eps)
            low, high, *_ = self.prover.enclose(params, middle[None], radius[None])
            proven = jnp.where(normal, low >= 0, high < 0)
            flips = self._normal(params, end) != normal
            beyond = jnp.where(flips, jnp.minimum(beyond, end), beyond)
            least = LEAST * limit
            short = length <= least
            known = jnp.isfinite(beyond)
            stopped = jnp.where(known, FOUND, OPEN)
            status = jnp.where(~proven & short, stopped, RUNNING)
            status = jnp.where(proven & (end >= limit), ENDED, status)
            return _State(
                jnp.where(proven, end, start),
                jnp.where(proven, 2 * length, jnp.maximum(length / 2, least)),
                beyond,
                status.astype(state.status.dtype),
                steps + 1,
            )

        return rounds(step, state, ROUND)

    def _nearest(self, params: Any, low: Array, high: Array) -> Array:
        """A flip of `fn` between a number without one and one with it, by halving."""
        normal = self._normal(params, jnp.zeros_like(low))

        def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = ends
            middle = low + (high - low) / 2
            over = self._normal(params, middle) != normal
            return jnp.where(over, low, middle), jnp.where(over, middle, high)

        return lax.fori_loop(0, HALVINGS, halve, (low, high))[1]
