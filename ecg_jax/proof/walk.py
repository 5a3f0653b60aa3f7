"""Exact walks: where a piecewise linear function first changes its answer on a path.

A path `x(t)`, `x(0) = x`, is piecewise affine, so `g(t) = fn(x(t))` is piecewise
linear: each piece is one component, read off the gates. A walk carries value and
right-hand slope through the program, finds the nearest `t` at which any unit changes
its piece, and goes on from there,

    g(t) = g(s) + g'(s+) (t - s)    for s <= t <= the next change of a piece after s,

until the line crosses zero or the limit is reached. The walk is made in float64; what
it finds is then bracketed by two neighbouring numbers between which `fn` itself, in
its own dtype, changes sign (Sotoudeh & Thakur, ExactLine, NeurIPS 2019, walk so along
lines).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util
from jaxtyping import Array, Float, Int

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program.blocks import block_rows, block_size
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import refusal
from ecg_jax.program.program import Program, at_places, operation, run
from ecg_jax.program.roles import Equation, Predicate, Refused
from ecg_jax.program.trace import trace
from ecg_jax.program.widen import widen
from ecg_jax.progress import Progress, silent

Path = Callable[[Any, Array], Any]
"""`path(params, t) -> x(t)`, an input of the function; piecewise affine in `t`."""

TIED = 2.0**-40
"""Pieces of a unit closer than this, over the largest value beside them, are tied."""

SHORT = 2.0**-40
"""Pieces of a walk shorter than this, over its limit, are passed over."""

PIECES = 10_000
"""The most pieces of a walk: beyond these it is open."""

ROUND = 16
"""Pieces that all walks of a block go before finished ones make room for others."""


@dataclass(frozen=True, eq=False)
class Flips:
    """Where each walk ends.

    Attributes:
      time: the last number before the first flip; infinite where there is none up to
        the limit, NaN where the walk is open.
      beyond: its neighbour, where `fn` gives the other answer; NaN without a flip.
      pieces: how many pieces the walk went.
      touches: how often the line reached zero and `fn` kept its answer.
    """

    time: Float[np.ndarray, " walk"]
    beyond: Float[np.ndarray, " walk"]
    pieces: Int[np.ndarray, " walk"]
    touches: Int[np.ndarray, " walk"]


class _State(NamedTuple):
    """A walk at a piece: it is from `start` to `end`, zero at `zero`; all count up."""

    start: Any
    end: Any
    zero: Any
    status: Any
    pieces: Any


class _Piece(NamedTuple):
    """Value, right-hand slope, and how far the piece goes on."""

    value: Array
    slope: Array
    length: Array


RUNNING, FOUND, ENDED = 0, 1, 2


class Walker:
    """Finds the first change of the answer `fn(x(t)) >= 0` on paths of one form.

    Everything is compiled once; see `flips`.

    Args:
      fn: the function itself, of one input; what is found is checked on it.
      program: its trace.
      path: of one walk: `path(params, t)` is the input at `t`.
      example: the params of one walk, a pytree of arrays.

    Raises:
      UnsupportedPrimitiveError: the function is not piecewise linear on the path.
    """

    def __init__(self, fn: Any, program: Program, path: Path, example: Any):
        self.dtype = program.avals[program.output].dtype
        with jax.enable_x64(True):
            wide = widen(program)

            def line(params: Any, t: Any) -> Array:
                return wide.evaluate(path(params, t))

            params = _cast(example, np.float64)
            self.line = trace(line, jnp.zeros(()), program.rules, params, depth=None)
        self.early, self.late = _split(self.line)
        self.forward = jax.jit(jax.vmap(self._advance))
        self.between = jax.jit(jax.vmap(partial(_bracket, fn, path)))

    def flips(
        self,
        params: Any,
        limits: Float[np.ndarray, " walk"],
        *,
        max_pieces: int = PIECES,
        progress: Progress = silent,
    ) -> Flips:
        """Where each of many walks first flips.

        A walk that ends makes room in its block for the next one.

        Args:
          params: pytree of arrays whose first axis are the walks.
          limits: where each walk ends; those below 0 go down from 0.
          max_pieces: the most pieces of a walk.
          progress: called with walks done and walks in all.
        """
        job = _Job(self, params, np.asarray(limits, np.float64))
        num = len(limits)
        out = Flips(
            time=np.full(num, np.nan),
            beyond=np.full(num, np.nan),
            pieces=np.zeros(num, np.int32),
            touches=np.zeros(num, np.int32),
        )
        start, end, zero = np.zeros(num), np.zeros(num), np.zeros(num)
        running, found = np.arange(num), np.zeros(0, np.int64)
        while len(running) or len(found):
            if len(running):
                part, running = np.split(running, [job.size])
                state = job.advance(part, start, out.pieces)
                start[part], end[part], zero[part] = state.start, state.end, state.zero
                out.pieces[part] = state.pieces
                out.time[part[state.status == ENDED]] = np.inf
                going = (state.status == RUNNING) & (state.pieces < max_pieces)
                running = np.append(part[going], running)
                found = np.append(found, part[state.status == FOUND])
            if len(found) >= job.size or (len(found) and not len(running)):
                part, found = np.split(found, [job.size])
                last, beyond, flips = job.bracket(part, zero, end)
                at = part[flips]
                out.time[at], out.beyond[at] = last[flips], beyond[flips]
                part = part[~flips]
                out.touches[part] += 1
                start[part] = end[part]
                ended = end[part] >= np.abs(limits[part])
                out.time[part[ended]] = np.inf
                going = ~ended & (out.pieces[part] < max_pieces)
                running = np.append(part[going], running)
            progress(num - len(running) - len(found), num)
        sign = np.where(limits < 0, -1.0, 1.0)
        return replace(out, time=sign * out.time, beyond=sign * out.beyond)

    def _advance(
        self, params: Any, side: Array, limit: Array, start: Array, pieces: Array
    ) -> _State:
        free = tree_util.tree_leaves(params)
        constants = self.line.at(free).constants
        run([eqn for eqn in self.line.equations if eqn.role is None], constants)
        front = self._front(constants, side)
        begin = self._piece(constants, front, jnp.zeros(()))
        sign = jnp.where(begin.value >= 0, 1.0, -1.0)

        def step(state: _State) -> _State:
            t = jnp.where(state.status == RUNNING, state.end, state.start)
            piece = self._piece(constants, front, t)
            end = jnp.minimum(t + jnp.maximum(piece.length, SHORT * limit), limit)
            value, slope = sign * piece.value, sign * piece.slope
            zero = jnp.where(slope < 0, t - value / slope, jnp.inf)
            zero = jnp.where(value < 0, t, zero)
            status = jnp.where(end >= limit, ENDED, RUNNING)
            status = jnp.where(zero <= end, FOUND, status)
            return _State(t, end, zero, status, state.pieces + 1)

        state = _State(start, start, start, jnp.asarray(RUNNING), pieces)
        return rounds(step, state, ROUND)

    def _front(self, constants: dict[int, Any], side: Array) -> dict[int, Any]:
        """The values before any gate that gates and what follows read: affine in `t`.

        By number, each at `t = 0` and its slope.
        """
        wanted = {n for eqn in self.late for n in eqn.inputs} | {self.line.output}
        (time,) = self.line.inputs
        made = [n for eqn in self.early for n in eqn.outputs]
        numbers = [n for n in (time, *made) if n in wanted]

        def values(t: Array) -> list[Array]:
            env = {**constants, time: side * t}
            run(self.early, env)
            return [env[n] for n in numbers]

        at, slopes = jax.jvp(values, (jnp.zeros(()),), (jnp.ones(()),))
        return dict(zip(numbers, zip(at, slopes, strict=True), strict=True))

    def _piece(
        self, constants: dict[int, Any], front: dict[int, Any], t: Array
    ) -> _Piece:
        """The piece that begins at `t`: value and slope there, and its length."""
        env = {**constants, **{n: at + slope * t for n, (at, slope) in front.items()}}
        slopes = {n: slope for n, (_, slope) in front.items()}
        length = jnp.asarray(jnp.inf)
        for eqn in self.late:
            if isinstance(eqn.role, Predicate):
                continue
            z = [env.get(n) for n in eqn.inputs]
            dz = [slopes.get(n) for n in eqn.inputs]
            if isinstance(eqn.role, Gate):
                value, slope, own = _gate_piece(
                    eqn.role, eqn.role.live(z), eqn.role.live(dz)
                )
                length = jnp.minimum(length, own)
                values, changes = [value], [slope]
            else:
                values, changes = _slopes(operation(eqn), z, dz)
            env.update(zip(eqn.outputs, values, strict=True))
            slopes.update(zip(eqn.outputs, changes, strict=True))
        out = self.line.output
        return _Piece(env[out], slopes.get(out, jnp.zeros(())), length)


class _Job:
    """Some walks, ready for the kernels, which count up whichever side they go to."""

    def __init__(self, walker: Walker, params: Any, limits: np.ndarray):
        self.walker = walker
        sides = np.where(limits < 0, -1.0, 1.0)
        self.wide = _cast(params, np.float64), sides, np.abs(limits)
        self.narrow = _cast(params, walker.dtype), sides.astype(walker.dtype)
        first = np.zeros(len(limits))
        with jax.enable_x64(True):
            data = (*self.wide, first, first.astype(np.int32))
            self.size = block_size(
                lambda part: walker.forward.trace(*part), data, loops=True
            )

    def advance(self, part: np.ndarray, start: np.ndarray, pieces: Any) -> _State:
        """`ROUND` pieces on, or up to where the line reaches zero, or the limit."""
        with jax.enable_x64(True):
            data = block_rows((*self.wide, start, pieces), part, self.size)
            state = self.walker.forward(*data)
            return _State(*(np.asarray(v)[: len(part)] for v in state))

    def bracket(self, part: np.ndarray, zero: np.ndarray, end: np.ndarray) -> Any:
        """Neighbours around `zero` between which `fn` changes; whether it does."""
        dtype = self.walker.dtype
        ends = zero.astype(dtype), end.astype(dtype)
        data = block_rows((*self.narrow, *ends), part, self.size)
        found = self.walker.between(*data)
        return tuple(np.asarray(v)[: len(part)] for v in found)


def rounds(step: Callable[[Any], Any], state: Any, most: int) -> Any:
    """Some steps of a state, a named tuple, as long as its `status` is `RUNNING`."""

    def body(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        count, state = carry
        going = state.status == RUNNING
        pairs = zip(step(state), state, strict=True)
        return count + 1, type(state)(*(jnp.where(going, n, o) for n, o in pairs))

    def go_on(carry: tuple[Array, Any]) -> Array:
        return (carry[0] < most) & (carry[1].status == RUNNING)

    return lax.while_loop(go_on, body, (jnp.zeros((), int), state))[1]


def _slopes(
    fn: Callable[..., Any], z: Sequence[Any], dz: Sequence[Any]
) -> tuple[Any, Any]:
    """Values of a function and their slopes; operands without a slope are constant."""
    live = [i for i, slope in enumerate(dz) if slope is not None]
    some = at_places(fn, z, live)
    return jax.jvp(some, tuple(z[i] for i in live), tuple(dz[i] for i in live))


def _gate_piece(gate: Gate, z: Any, dz: Any) -> tuple[Array, Array, Array]:
    """Values of the units, their right-hand slopes, the first change of any unit.

    Of pieces that are tied the steepest wins: it is ahead a moment later.
    """
    assert gate.pieces is not None
    p, dp = _slopes(gate.pieces, z, dz)
    sign = np.where(np.asarray(gate.curvature) < 0, -1.0, 1.0)
    sign = jnp.broadcast_to(sign, p.shape)
    p, dp = sign * p, sign * dp
    best = jnp.max(p, axis=0, keepdims=True)
    tied = p >= best - TIED * jnp.max(jnp.abs(best), initial=0)
    slope = jnp.max(jnp.where(tied, dp, -jnp.inf), axis=0, keepdims=True)
    gains = dp - slope
    meets = ~tied & (gains > 0) & jnp.isfinite(p)
    length = jnp.where(meets, (best - p) / jnp.where(meets, gains, 1.0), jnp.inf)
    return (sign * best)[0], (sign * slope)[0], jnp.min(length, initial=jnp.inf)


def _bracket(
    fn: Callable[[Any], Any], path: Path, params: Any, side: Array, zero: Any, end: Any
) -> tuple[Array, Array, Array]:
    """Two neighbouring numbers between which the answer changes, near `zero`.

    Returns:
      The number with the answer of 0, its neighbour, and whether that has another.
    """
    normal = fn(path(params, jnp.zeros_like(zero))) >= 0

    def flipped(t: Array) -> Array:
        return (fn(path(params, side * t)) >= 0) != normal

    info = jnp.finfo(zero.dtype)
    zero = jnp.minimum(zero, end)
    reach = jnp.maximum(256 * info.eps * jnp.maximum(zero, end - zero), info.tiny)

    def wider(carry: Any) -> Any:
        low, high, below, above, reach = carry
        low = jnp.where(below, jnp.maximum(low - reach, 0), low)
        high = jnp.where(above, high, jnp.minimum(high + reach, end))
        below = (low > 0) & flipped(low)
        return low, high, below, flipped(high), 8 * reach

    def unknown(carry: Any) -> Array:
        _, high, below, above, _ = carry
        return below | (~above & (high < end))

    carry = wider((zero, zero, jnp.asarray(True), jnp.asarray(False), reach))
    low, high, _, above, _ = lax.while_loop(unknown, wider, carry)

    def middle(low: Array, high: Array) -> Array:
        return low + (high - low) / 2

    def apart(carry: Any) -> Array:
        low, high = carry
        between = middle(low, high)
        return above & (between > low) & (between < high)

    def halve(carry: Any) -> Any:
        low, high = carry
        between = middle(low, high)
        over = flipped(between)
        return jnp.where(over, low, between), jnp.where(over, between, high)

    low, high = lax.while_loop(apart, halve, (low, high))
    return low, high, above


def is_piecewise_linear(program: Program) -> bool:
    """Whether all of its gates are, so that a `Walker` can walk along them."""
    return _has_pieces((program.whole or program).equations)


def _has_pieces(equations: Sequence[Equation]) -> bool:
    for eqn in equations:
        if isinstance(eqn.role, Gate) and eqn.role.pieces is None:
            return False
        if eqn.body is not None and not _has_pieces(eqn.body.equations):
            return False
    return True


def _split(line: Program) -> tuple[list[Equation], list[Equation]]:
    """The equations that see `t`: before any gate, and the others.

    Raises:
      UnsupportedPrimitiveError: one of them is not piecewise linear.
    """
    early, late = [], []
    for eqn in line.equations:
        if isinstance(eqn.role, Refused):
            raise UnsupportedPrimitiveError(refusal(line, eqn))
        if isinstance(eqn.role, Gate) and eqn.role.pieces is None:
            raise UnsupportedPrimitiveError(
                f"cannot walk along `{eqn.role.name}` at {eqn.source}.\n"
                "  why:     it is not piecewise linear, so a flip is at no point that "
                "a finite number of pieces leads to\n"
                "  try:     a network of piecewise linear gates (relu, leaky_relu, max)"
            )
    after: set[int] = set()
    for eqn in line.equations:
        if eqn.role is None:
            continue
        if isinstance(eqn.role, Gate | Predicate) or after.intersection(eqn.inputs):
            after.update(eqn.outputs)
            late.append(eqn)
        else:
            early.append(eqn)
    return early, late


def _cast(params: Any, dtype: Any) -> Any:
    """Numbers in a dtype; integers and truth values stay."""

    def cast(leaf: Any) -> np.ndarray:
        leaf = np.asarray(leaf)
        return leaf.astype(dtype) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return tree_util.tree_map(cast, params)
