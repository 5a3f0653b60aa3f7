"""Exact ranges: how far each change of a beat goes before the answer changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ecg_jax.cells.ranges import Reach, amount, bars, flip_words, reach
from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import DataError
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.percent import percent
from ecg_jax.program.blocks import blocks
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Rules
from ecg_jax.program.trace import trace
from ecg_jax.progress import Shown, parts, told
from ecg_jax.proof.brackets import Bracketer
from ecg_jax.proof.walk import Walker, is_piecewise_linear
from ecg_jax.rules import RULES
from ecg_jax.shown import table
from ecg_jax.tree.decide import decide
from ecg_jax.tree.tree import Tree
from ecg_jax.views.changes import LIMITS, Changes, straight
from ecg_jax.views.frame import exact

SIDES = ("low", "high")
MOST_ULPS = 2**20
OPEN = "open: too many pieces, or too near to 0 for its rounding"


@dataclass(frozen=True, eq=False)
class Ranges:
    """How far each change of each beat goes with the same answer.

    Attributes:
      changes: the changes.
      fn: the function.
      low: `<= 0`, the last `t` before the first flip downwards; -inf where there is
        none within the limit, NaN where the change is not offered or the walk is open.
        Of smooth functions no flip is possible up to there, by proof.
      high: `>= 0`, likewise upwards.
      beyond: where the answer is another, downwards and upwards: the neighbour of `low`
        or `high`, of smooth functions the far end of a bracket; NaN without a flip.
      pieces: how many linear pieces each walk went, downwards and upwards.
      touches: how often a walk came to zero within rounding and the answer stayed.
      takes_over: for a tree, the component that decides just beyond the flip, "" where
        there is none.
      limits: how far each change went, by name.
      reasons: for each name, why a beat has no range.
      dtype: what the function computes in.
    """

    changes: Changes = field(repr=False)
    fn: Callable[[Any], Any] = field(repr=False)
    low: Float[np.ndarray, "beat change"]
    high: Float[np.ndarray, "beat change"]
    beyond: Float[np.ndarray, "beat change side"]
    pieces: Int[np.ndarray, "beat change side"]
    touches: Int[np.ndarray, "beat change side"]
    takes_over: np.ndarray
    limits: Mapping[str, float]
    reasons: Mapping[str, np.ndarray] = field(repr=False)
    dtype: np.dtype = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the changes."""
        return self.changes.names

    def reason(self, i: int | np.integer, name: str) -> str:
        """Why there is no range of a beat: "" where there is one."""
        self.changes.check(name)
        return str(self.reasons[name][i])

    def flipped(
        self, i: int | np.integer, name: str, side: Literal["low", "high"]
    ) -> np.ndarray:
        """Beat `i` just beyond its range, where the function gives the other answer.

        At `beyond`; where single evaluations round otherwise than those of a batch, as
        many units in the last place further as it takes.

        Raises:
          DataError: there is no flip on this side.
        """
        self.changes.check(name)
        if side not in SIDES:
            raise DataError(f"there is no side {side!r}.\n  try: 'low' or 'high'")
        at = self.names.index(name)
        last = float((self.low, self.high)[SIDES.index(side)][i, at])
        if not np.isfinite(last):
            raise DataError(
                f"beat {i} has no flip at its {side} side of {name!r}: "
                f"{self.reason(i, name) or 'none within the limit'}.\n"
                "  try: wider limits, or another change"
            )
        row, most, dtype = np.array([i]), self.limits[name], self.dtype
        path, params = self.changes.path(name, row, most, dtype)
        one = [param[0] for param in params]
        away = dtype.type(-np.inf if side == "low" else np.inf)
        with exact(dtype):
            ways = (self.fn, jax.jit(self.fn), lambda x: self.fn(np.asarray(x)))
            first = float(self.fn(jnp.asarray(one[0]))) >= 0
            t, step = dtype.type(self.beyond[i, at, SIDES.index(side)]), 1
            while True:
                x = np.asarray(path(one, t))
                if all((float(way(jnp.asarray(x))) >= 0) != first for way in ways):
                    return x
                if step > MOST_ULPS:
                    raise DataError(
                        f"beat {i} flips {name!r} at {last:g} only within rounding"
                    )
                t, step = t + step * (np.nextafter(t, away) - t), 2 * step

    def nearest(self, i: int | np.integer, most: int = 3) -> list[dict[str, Any]]:
        """The changes that flip beat `i` first, by their share of the limit.

        Returns:
          Of each its name `change`, the `lead` that it changes ("": all), `t` in its
          `unit`, the `share` of the limit, `then`, the component that decides beyond,
          and all of it in `words`.
        """
        found = []
        for at, name in enumerate(self.names):
            for side, t in enumerate((self.low[i, at], self.high[i, at])):
                if np.isfinite(t):
                    unit, then = self.changes.units[name], self.takes_over[i, at, side]
                    lead = self.changes.leads.get(name, "")
                    found.append(
                        {
                            "change": name,
                            "lead": lead,
                            "t": float(t),
                            "unit": unit,
                            "share": abs(float(t)) / self.limits[name],
                            "then": str(then),
                            "words": flip_words(name, unit, float(t), str(then), lead),
                        }
                    )
        found.sort(key=lambda flip: flip["share"])
        return found[:most]

    def shown(self, i: int | np.integer, flip: Mapping[str, Any]) -> np.ndarray:
        """Beat `i` just beyond one of its `nearest` flips, as `drawn`.

        Raises:
          DataError: it flips within rounding only.
        """
        side = "low" if flip["t"] < 0 else "high"
        return self.drawn(i, self.flipped(i, flip["change"], side))

    def value(self, x: Any) -> float:
        """`fn(x)` of one input."""
        with exact(self.dtype):
            return float(self.fn(jnp.asarray(x, self.dtype)))

    def drawn(self, i: int | np.integer, x: np.ndarray) -> np.ndarray:
        """An input of beat `i`, changed or not, as `[lead, time]` in mV, upright."""
        beats = self.changes.beats
        shown = np.asarray(x).reshape(beats.millivolts.shape[1:])
        return shown * beats.unit_mv(np.array([i]))[0][:, None]

    def reaches(
        self, rows: Int[np.ndarray, " row"] | slice = slice(None)
    ) -> list[Reach]:
        """The ranges of some beats summed up, change by change, where offered."""
        found = [
            reach(
                name,
                self.changes.units[name],
                self.limits[name],
                self.low[rows, at],
                self.high[rows, at],
                self.takes_over[rows, at],
                self.changes.leads.get(name, ""),
            )
            for at, name in enumerate(self.names)
        ]
        return [one for one in found if one is not None]

    def to_text(
        self, rows: Int[np.ndarray, " row"] | slice = slice(None), *, most: int = 12
    ) -> str:
        """The ranges of some beats as bars of letters, a line for each change.

        From where a quarter of the answers has flipped to where three quarters have,
        `=`, with `|` at the half; `:` is the beat as it is, either edge the limit.

        Args:
          rows: of which beats; by default all.
          most: changes to show, those that flip the most answers.
        """
        found = self.reaches(rows)
        flips = [-max(one.low.flips, one.high.flips) for one in found]
        kept = np.sort(np.argsort(flips, kind="stable")[:most])
        return bars([found[i] for i in kept])

    def _repr_html_(self) -> str:
        """How far each change goes, as a table. No script."""
        rows = []
        for one in self.reaches():
            halves = [
                amount(side.quartiles[1], one.unit)
                if np.isfinite(side.quartiles[1])
                else "-"
                for side in (one.low, one.high)
            ]
            flips = [percent(side.flips) for side in (one.low, one.high)]
            limit = amount(one.limit, one.unit)
            rows.append((one.name, limit, *flips, *halves, f"{one.num_beats:,}"))
        head = ("change", "within", "flip below", "flip above")
        head = (*head, "half flip below", "half flip above", "beats")
        return table(head, rows, title=repr(self).splitlines()[0])

    def __repr__(self) -> str:
        lines = [
            f"Ranges of {len(self.low):,} beats and {len(self.names)} changes, those "
            "of most flips:"
        ]
        known = ~(np.isnan(self.low) | np.isnan(self.high))
        flips = known & (np.isfinite(self.low) | np.isfinite(self.high))
        share = flips.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        order = np.argsort(-share, kind="stable")
        for at in order[:3]:
            name = self.names[at]
            lines.append(
                f"  {name}: {share[at]:.0%} flip within "
                f"{self.limits[name]:g} {self.changes.units[name]}".rstrip()
            )
        return "\n".join(lines)


def ranges(
    fn: Callable[[Any], Any],
    beats: Beats,
    changes: Changes,
    limits: float | Mapping[str, float] | None = None,
    *,
    rules: Rules | None = None,
    max_pieces: int = 10_000,
    progress: Shown = None,
) -> Ranges:
    """For each beat and change the first flip of the answer on either side.

    Along `x(t)` the function is piecewise linear: the walk goes from piece to piece,
    each one component of the equation, to the exact place where `fn(x(t)) >= 0`
    changes, which two neighbouring numbers with different answers of `fn` bracket. A
    function with smooth gates has no such pieces: there a bracket is given, which has
    no flip before it by proof, a millionth of the limit wide where its rounding allows.

    Args:
      fn: a function of what `beats.inputs()` holds of one beat; a tree; one level of
        an equation. Smooth gates of several values (logsumexp, norm) are refused.
      beats: the beats, those of `changes`.
      changes: what `changes(beats)` gives.
      limits: how far a change goes to either side, in its own unit: one number for
        all, or by name; by default 0.5 mV, 50%, 50 ms.
      rules: of the operations; by default those of the package.
      max_pieces: the most pieces of a walk; beyond these it is open.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      The ranges.

    Raises:
      DataError: a limit that is no positive number, a name that is none, other beats.
      UnsupportedPrimitiveError: an operation is in the way.
    """
    changes.check_of(beats)
    most = _limits(changes, limits)
    inputs = beats.inputs()
    call, program = traced(fn, inputs[0], rules)
    dtype = np.dtype(program.avals[program.output].dtype)
    inputs = inputs.astype(dtype)
    num, count = len(inputs), len(changes.names)
    low, high = np.full((num, count), np.nan), np.full((num, count), np.nan)
    beyond = np.full((num, count, 2), np.nan)
    pieces = np.zeros((num, count, 2), np.int32)
    touches = np.zeros((num, count, 2), np.int32)
    over = np.full((num, count, 2), "", object)
    reasons = {name: changes.reasons[name].copy() for name in changes.names}
    walkers: dict[Any, Walker | Bracketer] = {}
    straight_only = is_piecewise_linear(program)
    flipped: list[tuple[Any, np.ndarray]] = []
    with exact(dtype), told(progress, "ranges") as tell:
        known = known_beats(call, inputs, reasons)
        each = parts(tell, *[1] * count)
        for at, name in enumerate(changes.names):
            rows = np.flatnonzero(known & (reasons[name] == ""))
            if not len(rows):
                continue
            path, params = changes.path(name, rows, most[name], dtype)
            key = path if path is straight else name
            if key not in walkers:
                example = [param[0] for param in params]
                walkers[key] = (
                    Walker(call, program, path, example)
                    if straight_only
                    else Bracketer(call, path, example, program.rules)
                )
            both = [np.repeat(param, 2, axis=0) for param in params]
            signed = np.tile([-most[name], most[name]], len(rows))
            found = walkers[key].flips(
                both, signed, max_pieces=max_pieces, progress=each[at]
            )
            low[rows, at], high[rows, at] = found.time[0::2], found.time[1::2]
            beyond[rows, at] = found.beyond.reshape(-1, 2)
            pieces[rows, at] = found.pieces.reshape(-1, 2)
            touches[rows, at] = found.touches.reshape(-1, 2)
            if isinstance(fn, Tree):
                flips = np.flatnonzero(np.isfinite(found.beyond))
                beats_at = _beyond(path, both, found.beyond, flips)
                flipped.append(((rows[flips // 2], at, flips % 2), beats_at))
            opened = np.isnan(found.time.reshape(-1, 2)).any(axis=1)
            reasons[name][rows[opened]] = OPEN
        if isinstance(fn, Tree) and any(len(x) for _, x in flipped):
            cells = decide(fn, np.concatenate([x for _, x in flipped])).cell
            names = np.array([node.name for node in fn.nodes], object)
            for where, x in flipped:
                over[where], cells = names[cells[: len(x)]], cells[len(x) :]
    return Ranges(
        changes, call, low, high, beyond, pieces, touches, over, most, reasons, dtype
    )


def traced(
    fn: Callable[[Any], Any], example: np.ndarray, rules: Rules | None
) -> tuple[Callable[[Any], Any], Program]:
    """What is evaluated, and its program: of a function, a tree, one level."""
    if isinstance(fn, Tree | MaxMin):
        assert isinstance(fn.program, Program)
        return fn.fn or fn.program.evaluate, fn.program
    with exact(example.dtype):
        return fn, trace(fn, jnp.asarray(example), RULES if rules is None else rules)


def _limits(
    changes: Changes, limits: float | Mapping[str, float] | None
) -> dict[str, float]:
    """How far each change goes."""
    given = limits if isinstance(limits, Mapping) else {}
    for name in given:
        changes.check(name)
    out = {}
    for name in changes.names:
        usual = LIMITS[changes.units[name]]
        if limits is not None and not isinstance(limits, Mapping):
            usual = limits
        value = given.get(name, usual)
        if not isinstance(value, int | float) or not 0 < value < np.inf:
            raise DataError(
                f"the limit of {name!r} is {value!r}, not a positive number.\n"
                f"  try: {LIMITS[changes.units[name]]:g}"
            )
        changes.check_limit(name, value)
        out[name] = float(value)
    return out


def known_beats(
    fn: Callable[[Any], Any], inputs: np.ndarray, reasons: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Which beats can be walked; the others are told why not."""
    whole = np.isfinite(inputs).reshape(len(inputs), -1).all(axis=1)
    safe = np.where(whole.reshape(-1, *[1] * (inputs.ndim - 1)), inputs, 0)
    value = np.isfinite(blocks(fn, safe))
    for why in reasons.values():
        why[~value] = "the function is not finite here"
        why[~whole] = "the beat holds NaN or infinite numbers"
    return whole & value


def _beyond(
    path: Any, params: list[np.ndarray], times: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The beats at some times on their paths."""
    part = [param[rows] for param in params]
    if not len(rows):
        return part[0]
    return np.asarray(jax.jit(jax.vmap(path))(part, times[rows].astype(part[0].dtype)))
