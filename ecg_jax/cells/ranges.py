"""How far changes go before the answers of some beats change: quartiles, and words."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.change_paths import SHIFT
from ecg_jax.percent import percent

QUARTILES = (0.25, 0.5, 0.75)
LEAST_FLIPS = 0.05
"""Of a change that flips fewer answers than this nothing is said."""

MOST_TOLD = 3


@dataclass(frozen=True)
class Side:
    """One side of a change.

    Attributes:
        quartiles: How far the change goes until a quarter, half and three quarters of
            the answers have changed, `>= 0`; infinite beyond the limit.
        flips: Share of the answers that change within the limit.
        takes_over: Which component most often decides then; "" where none is known.
    """

    quartiles: tuple[float, float, float]
    flips: float
    takes_over: str


@dataclass(frozen=True)
class Reach:
    """One change of some beats.

    Attributes:
        name: Of the change.
        unit: Of it: "mV", "fraction", "s".
        limit: How far it was followed to either side.
        num_beats: Beats that it is offered for.
        low: Downwards.
        high: Upwards.
        lead: The lead that is changed, which ends the name; "" where all are, or where
            there is one.
    """

    name: str
    unit: str
    limit: float
    num_beats: int
    low: Side
    high: Side
    lead: str = ""

    @property
    def kind(self) -> str:
        """The name without the lead."""
        return kind_of(self.name, self.lead)


def kind_of(name: str, lead: str) -> str:
    """The name of a change without its lead.

    Example:
        >>> kind_of("ST level V1", "V1"), kind_of("gain", "")
        ('ST level', 'gain')
    """
    return name.removesuffix(f" {lead}") if lead else name


def reach(
    name: str,
    unit: str,
    limit: float,
    low: Float[np.ndarray, " beat"],
    high: Float[np.ndarray, " beat"],
    takes_over: np.ndarray,
    lead: str = "",
) -> Reach | None:
    """Sums up the ranges of some beats.

    Args:
        name: Of the change.
        unit: Of it.
        limit: How far it was followed.
        low: Last `t` before the flip downwards, `<= 0`; NaN where not offered.
        high: Upwards, `>= 0`.
        takes_over: For both sides, what decides beyond the flip: `[beat, side]`.
        lead: The lead that is changed.

    Returns:
        The quartiles; None where the change is offered for no beat.

    Example:
        >>> low, high = np.full(4, -np.inf), np.array([0.1, 0.2, 0.3, np.inf])
        >>> one = reach("ST level", "mV", 0.5, low, high, np.full((4, 2), "Q1"))
        >>> one.high.flips, one.high.quartiles, one.low.flips
        (0.75, (0.1, 0.2, 0.3), 0.0)
    """
    known = ~(np.isnan(low) | np.isnan(high))
    if not known.any():
        return None
    sides = []
    for value, over in ((-low, takes_over[:, 0]), (high, takes_over[:, 1])):
        ends = np.sort(value[known])
        at = [max(0, int(np.ceil(q * len(ends))) - 1) for q in QUARTILES]
        one, two, three = (float(ends[i]) for i in at)
        names = Counter(str(n) for n in over[known & np.isfinite(value)] if n)
        most = names.most_common(1)[0][0] if names else ""
        flips = float(np.mean(np.isfinite(ends)))
        sides.append(Side((one, two, three), flips, most))
    return Reach(name, unit, limit, int(known.sum()), *sides, lead=lead)


def amount(value: float, unit: str) -> str:
    """A change in words.

    Example:
        >>> amount(0.213, "mV"), amount(0.1, "fraction"), amount(0.012, "s")
        ('0.21 mV', '10%', '12 ms')
    """
    if unit == "fraction":
        return f"{100 * value:.0f}%"
    if unit == "s":
        return f"{1000 * value:.0f} ms"
    return f"{value:.2g} {unit}".rstrip()


HALF = 20
"""Letters from the middle of a bar, no change, to either edge, the limit."""


def bars(reaches: Sequence[Reach]) -> str:
    """The ranges of some beats as bars of letters, change by change.

    From where a quarter of the answers has changed to where three quarters have, `=`,
    with `|` at the half; `:` in the middle is the beat as it is, either edge the limit.

    Example:
        >>> low = Side((np.inf, np.inf, np.inf), 0.0, "")
        >>> high = Side((0.1, 0.2, np.inf), 0.6, "")
        >>> print(bars([Reach("ST level", "mV", 0.5, 40, low, high)]))
        ST level ±0.5 mV  [....................:....====|===========]  rises: 60% flip
    """
    names = [f"{r.name} ±{amount(r.limit, r.unit)}" for r in reaches]
    wide = max(map(len, names), default=0)
    lines = []
    for name, one in zip(names, reaches, strict=True):
        left, right = _half(one.low, one.limit)[::-1], _half(one.high, one.limit)
        then = [
            f"{way}: {flips_words(side)}"
            for way, side in (("falls", one.low), ("rises", one.high))
            if side.flips > 0
        ]
        words = ", ".join(then) or "none flips"
        lines.append(f"{name:<{wide}}  [{left}:{right}]  {words}")
    return "\n".join(lines)


def _half(side: Side, limit: float) -> str:
    """One side of a bar, from the middle outwards."""
    first, half, last = (
        min(int(q / limit * HALF), HALF) if np.isfinite(q) else HALF
        for q in side.quartiles
    )
    letters = ["."] * HALF
    for at in range(first, min(last + 1, HALF)):
        letters[at] = "="
    if half < HALF:
        letters[half] = "|"
    return "".join(letters)


def flips_words(side: Side) -> str:
    """How many answers flip on one side, and which component most often decides then.

    Example:
        >>> flips_words(Side((0.1, 0.2, np.inf), 0.6, "Q3"))
        '60% flip, mostly to Q3'
    """
    then = f", mostly to {side.takes_over}" if side.takes_over else ""
    return f"{percent(side.flips)} flip{then}"


def flip_words(name: str, unit: str, t: float, then: str, lead: str = "") -> str:
    """A change that flips one beat, in words.

    Example:
        >>> flip_words("ST level", "mV", 0.213, "Q3")
        'ST level 0.21 mV higher: Q3'
        >>> flip_words("offset V1", "mV", -0.1, "", "V1")
        'baseline in V1 0.1 mV lower'
    """
    kind = kind_of(name, lead)
    higher, lower = _MORE.get(kind, ("higher", "lower"))
    told = {SHIFT: "", "gain": "amplitudes ", "offset": "baseline "}.get(
        kind, f"{kind} "
    )
    told += f"in {lead} " if lead else ""
    words = f"{told}{amount(abs(t), unit)} {higher if t >= 0 else lower}"
    return f"{words}: {then}" if then else words


_MORE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        SHIFT: ("later", "earlier"),
        "gain": ("larger", "smaller"),
        "QRS amplitude": ("larger", "smaller"),
        **dict.fromkeys(
            ("wander sine", "wander cosine", "mains sine", "mains cosine"),
            ("added", "taken away"),
        ),
    }
)


def reach_words(reaches: Sequence[Reach], answer: str, most: int = MOST_TOLD) -> str:
    """Which changes matter most, in a sentence or two.

    Args:
        reaches: Of the changes.
        answer: "normal" or "not normal".
        most: Changes to tell of.

    Example:
        >>> low = Side((np.inf, np.inf, np.inf), 0.0, "")
        >>> high = Side((0.1, 0.2, np.inf), 0.6, "Q3")
        >>> reach_words([Reach("ST level", "mV", 0.5, 40, low, high)], "normal")
        'Half of these beats stay normal until the ST level rises by 0.2 mV; then Q3.'
    """
    told = []
    for one in reaches:
        for way, side in (("falls", one.low), ("rises", one.high)):
            if side.flips >= LEAST_FLIPS:
                told.append(
                    (side.quartiles[1] / one.limit, -side.flips, one, way, side)
                )
    if not told:
        return f"None of these changes, alone, moves many of these beats from {answer}."
    told.sort(key=lambda entry: entry[:2])
    sentences = []
    for _, _, one, way, side in told[:most]:
        where = f" in {one.lead}" if one.lead else ""
        verb = _VERBS.get(one.kind, {}).get(way, f"the {one.kind} {way}") + where
        then = f"; then {side.takes_over}" if side.takes_over else ""
        if np.isfinite(side.quartiles[1]):
            by = amount(side.quartiles[1], one.unit)
            sentences.append(
                f"Half of these beats stay {answer} until {verb} by {by}{then}."
            )
        else:
            within = amount(one.limit, one.unit)
            sentences.append(
                f"{percent(side.flips)} leave {answer} before {verb} by {within}{then}."
            )
    return " ".join(sentences)


def of_waves(reaches: Sequence[Reach]) -> list[Reach]:
    """Changes of waves that flip 5% of the answers; where none does, all changes.

    The others change how a beat was recorded: gain, baseline, hum, place of R.
    """
    waves = [
        one
        for one in reaches
        if one.kind not in _VERBS and max(one.low.flips, one.high.flips) >= LEAST_FLIPS
    ]
    return waves or list(reaches)


_VERBS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "gain": {"falls": "all amplitudes fall", "rises": "all amplitudes rise"},
        "offset": {"falls": "the baseline falls", "rises": "the baseline rises"},
        "shift": {"falls": "the beat comes earlier", "rises": "the beat comes later"},
        "wander sine": {
            "falls": "the baseline wanders down through R",
            "rises": "the baseline wanders up through R",
        },
        "wander cosine": {
            "falls": "the baseline sags at R",
            "rises": "the baseline bulges at R",
        },
        "mains sine": {"falls": "mains hum grows", "rises": "mains hum grows"},
        "mains cosine": {"falls": "mains hum grows", "rises": "mains hum grows"},
    }
)
