"""Named changes of beats, each a path through what a function sees of the beat."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from ecg_jax.cells.change_paths import (
    SHIFT,
    Change,
    Waves,
    changes_of,
    direction,
    shifted,
)
from ecg_jax.cells.morphology import measure
from ecg_jax.cells.ranges import amount
from ecg_jax.ecg.beats import UNITS as UNITS_OF_INPUT
from ecg_jax.ecg.beats import Beats
from ecg_jax.errors import DataError
from ecg_jax.views.frame import need_beats

LIMITS = {"mV": 0.5, "fraction": 0.5, "s": 0.05, "": 1.0}
"""How far a change goes where nothing else is said, by unit."""

MOST = {"mV": 20.0, "fraction": 5.0}
"""What is beyond these is in another unit; a shift, beyond the window."""

_LONG = {"mV": "mV", "fraction": "(a fraction: 1 is 100%)", "s": "seconds", "": ""}

Own = Callable[[Any, Any], Any]
"""A path of one's own: `own(x, t)`, `own(x, 0) = x`, piecewise affine in `t`."""


@dataclass(frozen=True, eq=False)
class Directions(Mapping[str, np.ndarray]):
    """What one unit of each change adds to the inputs, `[beat, *input]`, by name.

    Kept without the leads to which nothing is added: of many leads these are most.

    Attributes:
      kept: for each name `[beat, lead, time]`, of all leads or of the one changed.
      lead: for each name that lead; None: all.
      window: leads and samples of a beat.
      shape: of an input.
    """

    kept: Mapping[str, np.ndarray]
    lead: Mapping[str, int | None]
    window: tuple[int, ...]
    shape: tuple[int, ...]

    def __getitem__(self, name: str) -> np.ndarray:
        kept, lead = self.kept[name], self.lead[name]
        out = kept
        if lead is not None:
            out = np.zeros((len(kept), *self.window), kept.dtype)
            out[:, lead] = kept[:, 0]
        return out.reshape(len(kept), *self.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes of some beats: names, units, and the changed beats.

    Attributes:
      beats: what is changed.
      names: of the changes; of several leads, those of one lead end with its name.
      leads: of each name the lead that it changes; "" or nothing where all are
        changed, or there is one.
      units: of each name: "mV", "fraction", "s"; "" for a path of one's own.
      directions: for each name but shifts and paths of one's own, what one unit adds
        to the input of each beat.
      reasons: for each name, why it is not offered for a beat: "" where it is.
      own: paths of one's own, by name.
    """

    beats: Beats
    names: tuple[str, ...]
    leads: Mapping[str, str]
    units: Mapping[str, str]
    directions: Mapping[str, np.ndarray] = field(repr=False)
    reasons: Mapping[str, np.ndarray] = field(repr=False)
    own: Mapping[str, Own] = field(repr=False)

    def apply(self, i: int | np.integer, name: str, t: float) -> np.ndarray:
        """Beat `i` as the function sees it, changed by `t` units.

        Raises:
          DataError: there is no such change, or it is not offered for this beat.
        """
        self.check(name)
        if reason := str(self.reasons[name][i]):
            raise DataError(
                f"{name!r} is not offered for beat {i}: {reason}.\n"
                "  try: another change"
            )
        inputs = self.beats.inputs(np.array([i]))
        path, params = self.path(name, np.array([i]), abs(t), inputs.dtype)
        one = [param[0] for param in params]
        return np.asarray(path(one, np.asarray(t, inputs.dtype)))

    def path(
        self, name: str, rows: np.ndarray, limit: float, dtype: Any
    ) -> tuple[Callable[[Any, Any], Any], list[np.ndarray]]:
        """A change as a path: `path(params, t)`, and the params of some beats."""
        inputs = self.beats.inputs(rows).astype(dtype)
        if name in self.own:
            return partial(_own, self.own[name]), [inputs]
        if name == SHIFT:
            rate = self.beats.config.sample_rate_hz
            return partial(_shift, rate, int(np.ceil(rate * limit))), [inputs]
        return straight, [inputs, self.directions[name][rows].astype(dtype)]

    def check(self, name: str) -> None:
        """Raises `DataError` unless there is such a change."""
        if name not in self.names:
            raise DataError(
                f"there is no change {name!r}.\n  try: one of {', '.join(self.names)}"
            )

    def check_of(self, beats: Beats) -> None:
        """Raises `DataError` unless the changes are of these beats."""
        if self.beats is not beats:
            raise DataError("the changes are of other beats.\n  try: ej.changes(beats)")

    def check_limit(self, name: str, value: float) -> None:
        """Raises `DataError` where a limit is in another unit, to judge by its size."""
        unit, config = self.units[name], self.beats.config
        window = max(config.before_s + config.after_s, LIMITS["s"])
        most = {**MOST, "s": window}.get(unit, np.inf)
        if value > most:
            raise DataError(
                f"{name!r} within {value:g} {_LONG[unit]}: that is no small change.\n"
                f"  try: {LIMITS[unit]:g}, which is {amount(LIMITS[unit], unit)}"
            )

    def __repr__(self) -> str:
        offered = [
            f"{name} ({self.units[name] or 'own'}, {np.sum(self.reasons[name] == '')})"
            for name in self.names
        ]
        shown = ", ".join(offered[:6]) + (", ..." if len(offered) > 6 else "")
        return f"Changes of {len(self.beats):,} beats: {shown}"


def straight(params: Any, t: Any) -> Any:
    """`x + t v`."""
    x, v = params
    return x + t * v


def _own(own: Own, params: Any, t: Any) -> Any:
    return own(params[0], t)


def _shift(rate: float, most: int, params: Any, t: Any) -> Any:
    x = jnp.asarray(params[0])
    return shifted(x, jnp.asarray(t * rate, x.dtype), most)


def changes(
    beats: Beats,
    own: Mapping[str, Own] | None = None,
    *,
    wander_hz: float = 0.3,
    mains_hz: float = 50.0,
) -> Changes:
    """Changes that a cardiologist has a name for, measured on each beat.

    `x(t) = x + t v`, in the unit of the change: ST level, T amplitude (at its peak),
    P-PR level, offset, wander and hum in mV; QRS amplitude and gain as a fraction, so
    that 0.1 is 10% more; a shift in seconds. They act on the beat in mV, and go on
    through polarity and scale to what the function sees. Of several leads, waves,
    offset and wander are changed lead by lead ("ST level V1"), as they are measured
    there; gain, hum and shift change all leads together. Where a wave cannot be
    measured, a change is not offered, with the reason. Where every beat is normalised
    by its own mean and deviation, none is: such a beat moves on no line.

    Args:
      beats: what is changed.
      own: paths of one's own: name to `path(x, t)`, a JAX function of what the
        function sees of one beat, piecewise affine in `t`, with `path(x, 0) = x`.
      wander_hz: frequency of baseline wander.
      mains_hz: frequency of mains hum.

    Raises:
      DataError: a frequency that is no positive number, a name that is taken.
    """
    need_beats(beats)
    for name, value in (("wander_hz", wander_hz), ("mains_hz", mains_hz)):
        if not (np.isfinite(value) and value > 0):
            raise DataError(f"{name}={value!r} is no positive number.\n  try: 0.3, 50")
    own = dict(own or {})
    known = changes_of(beats.lead_names)
    if taken := sorted(set(own) & {one.name for one in known}):
        raise DataError(f"there is a change {taken[0]!r} already.\n  try: another name")
    reasons = {n: np.full(len(beats), "", object) for n in (*_names(known), *own)}
    return Changes(
        beats,
        (*_names(known), *own),
        {**{one.name: one.where for one in known}, **dict.fromkeys(own, "")},
        {**{one.name: one.unit for one in known}, **dict.fromkeys(own, "")},
        _directions(beats, known, Waves(wander_hz, mains_hz), reasons),
        reasons,
        own,
    )


def _names(known: tuple[Change, ...]) -> list[str]:
    return [one.name for one in known]


def _directions(
    beats: Beats,
    known: tuple[Change, ...],
    waves: Waves,
    reasons: Mapping[str, np.ndarray],
) -> Directions:
    """What the changes add, but for shifts; `reasons` are told why one adds nothing."""
    config, window = beats.config, beats.millivolts.shape[1:]
    linear = [one for one in known if one.kind != SHIFT]
    num = {one.name: window[0] if one.lead is None else 1 for one in linear}
    kept = {n: np.zeros((len(beats), k, window[1]), np.float32) for n, k in num.items()}
    if beats.unit == UNITS_OF_INPUT["beat"]:
        why = "each beat is normalised by its own mean and deviation, which it changes"
        undone = "normalising each beat by its own mean and deviation undoes it"
        for one in linear:
            reasons[one.name][:] = undone if one.kind in ("gain", "offset") else why
        linear = []
    per_mv = 1 / beats.unit_mv()
    for i, beat in enumerate(beats.upright() if linear else ()):
        shapes = [measure(own, config.sample_rate_hz, config.before_s) for own in beat]
        for one in linear:
            leads = range(len(beat)) if one.lead is None else (one.lead,)
            found = [
                direction(one.kind, beat[k], config.time_s, shapes[k], waves)
                for k in leads
            ]
            added = [
                own * per_mv[i, k] for k, (own, _) in zip(leads, found, strict=True)
            ]
            kept[one.name][i] = added
            whys = [why for _, why in found]
            reasons[one.name][i] = whys[0] if all(whys) else ""
    shape = beats.inputs(slice(0, 1)).shape[1:]
    return Directions(kept, {one.name: one.lead for one in known}, window, shape)
