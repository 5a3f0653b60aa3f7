"""Families of changed beats: is the answer proven for all of them?"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import DataError
from ecg_jax.program.roles import Rules
from ecg_jax.progress import Shown, told
from ecg_jax.proof.boxes import BROKEN, MOST_BOXES, PROVEN, Prover
from ecg_jax.shown import table
from ecg_jax.views.changes import Changes
from ecg_jax.views.frame import exact
from ecg_jax.views.ranges import known_beats, traced

WORDS = {PROVEN: "proven", BROKEN: "broken"}


@dataclass(frozen=True, eq=False)
class Proof:
    """What is known of every beat under several changes at once.

    Attributes:
      changes: the changes.
      within: how far each of them goes to either side, by name.
      fn: the function.
      status: of each beat "proven": no changes within these limits change the answer;
        "broken": some do; "open": neither was found, or a change is not offered.
      boxes: how many boxes of changes were looked at for each beat.
      times: of broken beats the changes that do, in the order of `within`.
      reasons: why a beat is open; "" elsewhere.
      dtype: what the function computes in.
    """

    changes: Changes = field(repr=False)
    within: Mapping[str, float]
    fn: Callable[[Any], Any] = field(repr=False)
    status: np.ndarray
    boxes: Int[np.ndarray, " beat"]
    times: np.ndarray
    reasons: np.ndarray
    dtype: np.dtype

    @property
    def offered(self) -> Bool[np.ndarray, " beat"]:
        """Whether all the changes are offered, and the function is known there."""
        return (self.boxes > 0) | (self.status != "open")

    def reason(self, i: int | np.integer) -> str:
        """Why beat `i` is open; "" where it is not."""
        return str(self.reasons[i])

    def example(self, i: int | np.integer) -> np.ndarray:
        """Beat `i`, broken, so changed that the function gives the other answer.

        Raises:
          DataError: it is not broken.
        """
        if self.status[i] != "broken":
            raise DataError(
                f"beat {i} is {self.status[i]}, so there is no example.\n"
                "  try: a beat whose status is 'broken'"
            )
        x, v = _params(self.changes, self.within, np.array([i]), self.dtype)
        with exact(self.dtype):
            return np.asarray(_moved((x[0], v[0]), self.times[i].astype(self.dtype)))

    def _repr_html_(self) -> str:
        """How many beats are proven, broken, open, as a table. No script."""
        counts = Counter(self.status[self.offered].tolist())
        rows = [(word, f"{counts[word]:,}") for word in ("proven", "broken", "open")]
        rows.append(("not offered", f"{int((~self.offered).sum()):,}"))
        return table(("status", "beats"), rows, title=" ".join(repr(self).split()))

    def __repr__(self) -> str:
        counts = Counter(self.status[self.offered].tolist())
        words = ("proven", "broken", "open")
        shown = ", ".join(f"{counts[word]:,} {word}" for word in words)
        left = Counter(self.reasons[~self.offered].tolist()).most_common(1)
        why = f"\n  not offered for {len(self.status) - sum(counts.values()):,}"
        more = f"{why}, most often: {left[0][0]}"[:150] if left else ""
        within = ", ".join(
            f"{name} {value:g} {self.changes.units[name]}"
            for name, value in self.within.items()
        )
        return (
            f"Proof of {len(self.status):,} beats: {shown}\n"
            f"  within {within[:150]}{more}"
        )


def prove(
    fn: Callable[[Any], Any],
    beats: Beats,
    changes: Changes,
    within: Mapping[str, float],
    *,
    rules: Rules | None = None,
    max_boxes: int = MOST_BOXES,
    progress: Shown = None,
) -> Proof:
    """Whether changes of a beat, several at once, leave its answer as it is.

    Of each beat `x` the family `x + sum_k t_k v_k`, `|t_k| <= within[k]`: proven where
    `fn` gives one answer for all of it, by every evaluation, rounding included; broken
    where an example of the other answer is found; open where neither is within
    `max_boxes` parts of it.

    Args:
      fn: a function of what `beats.inputs()` holds of one beat; a tree; one level of
        an equation. Smooth gates of several values (logsumexp, norm) are refused.
      beats: the beats, those of `changes`.
      changes: what `changes(beats)` gives; but for shifts and paths of one's own.
      within: how far each change goes to either side, in its own unit.
      rules: of the operations; by default those of the package.
      max_boxes: the most parts that a family is cut into.
      progress: called as `progress(done, total)`; True for a bar, None for silence.

    Returns:
      The proof.

    Raises:
      DataError: an unknown change, one that is no line, a limit that is no positive
        number, other beats.
      UnsupportedPrimitiveError: an operation is in the way.
    """
    changes.check_of(beats)
    _check(changes, within)
    call, program = traced(fn, beats.inputs(slice(0, 1))[0], rules)
    dtype = np.dtype(program.avals[program.output].dtype)
    inputs = beats.inputs().astype(dtype)
    num, names = len(inputs), list(within)
    reasons = {name: changes.reasons[name].copy() for name in names}
    status = np.full(num, "open", object)
    boxes, times = np.zeros(num, np.int32), np.full((num, len(names)), np.nan)
    with exact(dtype), told(progress, "prove") as tell:
        known = known_beats(call, inputs, reasons)
        why = np.full(num, "", object)
        for name in reversed(names):
            missing = reasons[name] != ""
            why[missing] = [f"{name}: {text}" for text in reasons[name][missing]]
        rows = np.flatnonzero(known & (why == ""))
        if len(rows):
            params = _params(changes, within, rows, dtype)
            example = [param[0] for param in params]
            prover = Prover(call, _moved, example, len(names), program.rules)
            radii = np.tile([within[name] for name in names], (len(rows), 1))
            found = prover.prove(params, radii, max_boxes=max_boxes, progress=tell)
            status[rows] = [WORDS.get(int(s), "open") for s in found.status]
            boxes[rows], times[rows] = found.boxes, found.example
            left = rows[status[rows] == "open"]
            why[left] = f"neither proven nor broken by {max_boxes:,} parts"
    return Proof(changes, dict(within), call, status, boxes, times, why, dtype)


def _check(changes: Changes, within: Mapping[str, float]) -> None:
    if not within:
        raise DataError("no change is named.\n  try: within={'ST level': 0.05}")
    for name, value in within.items():
        changes.check(name)
        if name not in changes.directions:
            raise DataError(
                f"{name!r} moves a beat on no straight line, so it is in no box.\n"
                "  try: ej.ranges, which walks along it alone"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < np.inf:
            raise DataError(
                f"{name!r} is within {value!r}, not a positive number.\n"
                f"  try: 0.05, in its unit, {changes.units[name]}"
            )
        changes.check_limit(name, value)


def _params(
    changes: Changes, within: Mapping[str, float], rows: np.ndarray, dtype: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The inputs of some beats, and what one unit of each change adds."""
    directions = [changes.directions[name][rows] for name in within]
    inputs = changes.beats.inputs(rows)
    return inputs.astype(dtype), np.stack(directions, axis=1).astype(dtype)


def _moved(params: Any, t: Any) -> Array:
    """`x + sum_k t_k v_k`."""
    x, v = params
    return x + jnp.tensordot(jnp.asarray(t), jnp.asarray(v), 1)
