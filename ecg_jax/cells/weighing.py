"""What a component weighs: its templates, and on which part of the beat they lie.

At every beat a component is affine, `W(x) = <w, x> + b`, with a template `w` and an
offset `b`. They are its own: the cell says only at which beats they are read off. With
the mean `m` and the standard deviation `s` of the training beats,

    W(x) = (b + <w, m>) + sum_S <w, x - m>_S            contributions, part by part
    share of S = sum_S |w s| / sum |w s|                what varies counts, nothing else

over the parts `S` of the beat, lead by lead, the share of the mean template: see
`WEIGHING_RULE`. Arrays; in words, `weighing_words`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.changes import changes
from ecg_jax.cells.morphology import Segment, segments
from ecg_jax.cells.sketch import Sketch
from ecg_jax.errors import ExampleError

LEAST_AGREE = 0.9
LEAST_NET = 0.2
LEAST_TOLD = 0.25
SAME = 1e-9  # of the largest, what rounding tells apart

WEIGHING_RULE = (
    "At each of up to 255 beats of its cell a component is an affine function: a "
    "template (how much the margin rises for one unit more at that moment) and an "
    "offset. Drawn is the mean template with one standard deviation to either side, "
    "cut at the frame. "
    "Share of a part: of the sum over all samples of |mean template| times the "
    "standard deviation of the reference beats there (those of training recordings; "
    "without such all beats), so that a moment at which they do not differ counts for "
    "nothing. A long part has a large share by its length "
    "alone: parts are named in the order of their share over their share of the time, "
    "which stands beside it. A mean template that tells less than 25% of how the "
    "component's value varies in the cell is drawn faint. Level: what these affine "
    "functions give at the mean reference beat, on average; what a part adds to it "
    "(template times beat less mean beat, mean over the cell) is its contribution, and "
    "all of them add up to the mean value in the cell. P-PR: "
    "the 200 ms before the QRS; ST: from the end of the QRS to the T; T: 100 ms to "
    "either side of its turning point; ends are those measured on the composite, as "
    "uncertain as they are (60 ms), or fixed where nothing was measured (QRS: R "
    "\N{PLUS-MINUS SIGN} 50 ms, T: R + 160 to 400 ms). "
    "Directions: the mean template times a change of the composite (QRS 10% larger, or "
    "10% wider about R; the ST level, the T, the deflection before the QRS 0.1 mV "
    "higher; the whole level where no wave of 0.03 mV stands out). Said only where at "
    "least 90% of the templates agree on the sign and at least 20% of the weights "
    "within the change do not cancel, and not where the beats differ too much for the "
    "composite to be measured. A direction is what the component's value would "
    "do if the beat were changed there and nowhere else; it is no statement on hearts, "
    "and weight before the QRS says nothing on whether a P wave is there."
)
WEIGHING_RULE_OF_LEADS = (
    "Of several leads each has parts of its own, measured on its own composite; shares "
    "are of the weight in all leads, and the share of the time is that of the samples "
    "of all leads. All templates of a component are drawn on one scale."
)


@dataclass(frozen=True)
class Effect:
    """What a change of the beat does to the component's value.

    Attributes:
        change: Such as "a T 0.1 mV higher".
        short: Such as "higher".
        gain: By how much the value rises, by the mean template.
        agree: Share of the templates with the sign of `gain`.
        net: `|sum w d| / sum |w d|`: 1 if no weight cancels another.
    """

    change: str
    short: str
    gain: float
    agree: float
    net: float

    @property
    def is_clear(self) -> bool:
        """Whether a direction may be said: see `WEIGHING_RULE`."""
        return self.agree >= LEAST_AGREE and self.net >= LEAST_NET

    @property
    def verb(self) -> str:
        """Raises or lowers the margin."""
        return "raises" if self.gain > 0 else "lowers"


@dataclass(frozen=True)
class Part:
    """What a component weighs in one part of the beat.

    Attributes:
        segment: The part.
        lead: Name of its lead; "" of a single lead.
        share: Of all weight, in units of what varies.
        share_up: That of the samples whose weight is positive.
        share_time: Of the window, of several leads of all samples.
        contribution: Mean over the cell of `<w, x - m>` in this part.
        swing: Standard deviation of `<mean w, x>` in this part, over training beats.
        effects: What changes of the composite in this part do.
    """

    segment: Segment
    lead: str
    share: float
    share_up: float
    share_time: float
    contribution: float
    swing: float
    effects: tuple[Effect, ...] = ()

    @property
    def name(self) -> str:
        """Such as "QRS"; of several leads "QRS V1"."""
        return f"{self.segment.name} {self.lead}".rstrip()


@dataclass(frozen=True, eq=False)
class Weighing:
    """What a component weighs.

    Attributes:
        leads: Names of the leads; "" of a single one that nobody has named.
        time_s: Seconds from the R peak.
        template: Mean template, in margin per unit of input.
        spread: Its standard deviation over the beats.
        likeness: Correlation of the mean template with that at the prototype, both
            in units of what varies; `None` where there is none.
        offset: Mean value that is left for an input of zeros.
        level: Mean over the affine functions at the mean training beat m.
        parts: The parts of the beat, lead by lead, in order of time.
        by_lead: Share of each lead.
        num_beats: Beats that were looked at.
        num_templates: Different templates among them.
        told: Share of the variance of the component's value over these beats that the
            mean template tells; `None` where the value is the same for all.
        unit: Of the input, in words.
        units_mv: One unit in mV, median over the cell, lead by lead.
        neighbours: Which of "before P", "after T" hold another R peak, by the median
            RR intervals of the cell.
    """

    leads: tuple[str, ...]
    time_s: Float[np.ndarray, " time"]
    template: Float[np.ndarray, "lead time"]
    spread: Float[np.ndarray, "lead time"]
    likeness: float | None
    offset: float
    level: float
    parts: tuple[Part, ...]
    by_lead: tuple[float, ...]
    num_beats: int
    num_templates: int
    told: float | None
    unit: str
    units_mv: tuple[float, ...]
    neighbours: tuple[str, ...] = ()

    @property
    def is_typical(self) -> bool:
        """Whether the mean template tells at least 25% of how the value varies."""
        return self.told is None or self.told >= LEAST_TOLD

    @property
    def each_lead(self) -> tuple["Weighing", ...]:
        """What is weighed in each lead."""
        named = [
            [part for part in self.parts if part.lead in (name, "")]
            for name in self.leads
        ]
        return tuple(
            replace(
                self,
                leads=self.leads[k : k + 1],
                template=self.template[[k]],
                spread=self.spread[[k]],
                parts=tuple(named[k]),
                by_lead=self.by_lead[k : k + 1],
                units_mv=self.units_mv[k : k + 1],
            )
            for k in range(len(self.leads))
        )

    def __getitem__(self, name: str) -> Part:
        """The part of a name.

        Raises:
            KeyError: The window has no such part.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)


@dataclass(frozen=True, eq=False)
class Scale:
    """What the inputs of a network are like, over all training beats.

    Attributes:
        mean: The mean beat.
        spread: The standard deviation of each sample.
        sample: Some of the beats.
        unit: One unit of the input, in words.
    """

    mean: Float[np.ndarray, "lead time"]
    spread: Float[np.ndarray, "lead time"]
    sample: Float[np.ndarray, "beat lead time"]
    unit: str

    @classmethod
    def of(
        cls, inputs: Float[np.ndarray, "beat lead time"], unit: str, most: int = 4096
    ) -> "Scale":
        """The scale of some inputs."""
        mean = inputs.mean(axis=0, dtype=np.float64)
        spread = inputs.std(axis=0, dtype=np.float64)
        return cls(mean, spread, inputs[:: max(1, len(inputs) // most)], unit)


def weigh(
    template: Float[np.ndarray, "beat lead time"],
    value: Float[np.ndarray, " beat"],
    inputs: Float[np.ndarray, "beat lead time"],
    sketch: Sketch,
    scale: Scale,
    *,
    unit_mv: float | Sequence[float] = 1.0,
    prototype: Float[np.ndarray, "lead time"] | None = None,
) -> Weighing:
    """Say where on the beat a component's weight lies, by `WEIGHING_RULE`.

    Args:
        template: Of the component, at each of some beats of its cell.
        value: Of the component there.
        inputs: The beats, as the network sees them.
        sketch: Composite of the cell: it places the parts.
        scale: What training beats are like.
        unit_mv: One unit of the input in mV, for the beats of the cell; or one for
            each lead.
        prototype: The template at the prototype.

    Returns:
        The weighing.

    Raises:
        ExampleError: The arrays do not belong together.
    """
    shape = sketch.median.shape
    sizes = {
        "template": template.shape[1:],
        "inputs": inputs.shape[1:],
        "scale": scale.mean.shape,
    }
    wrong = {name: size for name, size in sizes.items() if size != shape}
    if wrong or not len(template) == len(value) == len(inputs) > 0:
        raise ExampleError(
            f"weigh: {len(template)} templates, {len(value)} values and {len(inputs)} "
            f"inputs for a composite of shape {list(shape)}"
            + "".join(f"; {k} has shape {list(v)}" for k, v in wrong.items())
            + "\n  why:  a template weighs the samples of a beat, one by one"
            "\n  try:  templates, values and inputs of the same beats, at least one"
        )
    mean, spread = template.mean(axis=0), template.std(axis=0)
    flat = mean * scale.spread
    total = float(np.abs(flat).sum()) or 1.0
    away = template * (inputs - scale.mean)
    offset = value - (template * inputs).sum(axis=(1, 2))
    level = offset + (template * scale.mean).sum(axis=(1, 2))
    units = np.broadcast_to(np.asarray(unit_mv, np.float64), shape[:1])
    parts = []
    for k, one in enumerate(sketch.each_lead):
        for segment in segments(one.shapes[0], one.time_s):
            inside = segment.holds(one.time_s)
            own = scale.sample[:, k, inside] * mean[k, inside]
            parts.append(
                Part(
                    segment=segment,
                    lead=one.leads[0] if len(sketch.leads) > 1 else "",
                    share=float(np.abs(flat[k, inside]).sum()) / total,
                    share_up=float(np.maximum(flat[k, inside], 0).sum()) / total,
                    share_time=float(inside.mean()) / len(sketch.leads),
                    contribution=float(away[:, k, inside].sum(axis=1).mean()),
                    swing=float(own.sum(axis=1).std()),
                    effects=_effects(segment, one, template[:, k], float(units[k])),
                )
            )
    rest = value - (mean * inputs).sum(axis=(1, 2))
    varies = float(np.var(value))
    size = float(np.square(value).mean())
    return Weighing(
        leads=sketch.leads,
        time_s=sketch.time_s,
        template=mean,
        spread=spread,
        likeness=_likeness(mean * scale.spread, prototype, scale.spread),
        offset=float(offset.mean()),
        level=float(level.mean()),
        parts=tuple(parts),
        by_lead=tuple((np.abs(flat).sum(axis=1) / total).tolist()),
        num_beats=len(template),
        num_templates=count_different(template),
        told=1 - float(np.var(rest)) / varies if varies > 1e-18 * size else None,
        unit=scale.unit,
        units_mv=tuple(units.tolist()),
        neighbours=_neighbours(sketch),
    )


def _likeness(
    flat: np.ndarray, prototype: np.ndarray | None, spread: np.ndarray
) -> float | None:
    if prototype is None:
        return None
    other = prototype * spread
    size = float(np.linalg.norm(flat) * np.linalg.norm(other))
    return float(np.sum(flat * other)) / size if size else None


def _neighbours(sketch: Sketch) -> tuple[str, ...]:
    """Where a neighbouring R peak lies inside the window, by the median intervals."""
    before, after = sketch.rr_before_s, sketch.rr_after_s
    start, stop = float(sketch.time_s[0]), float(sketch.time_s[-1])
    found = []
    if before is not None and -before >= start:
        found.append("before P")
    if after is not None and after <= stop:
        found.append("after T")
    return tuple(found)


def _effects(
    segment: Segment, sketch: Sketch, template: np.ndarray, unit_mv: float
) -> tuple[Effect, ...]:
    """What changes of a lead do, in one part of it; of mixed beats nothing."""
    if sketch.is_mixed:
        return ()
    out = []
    made = changes(segment, sketch.shapes[0], sketch.time_s, sketch.median[0])
    for (change, short), millivolts in made.items():
        gains = template @ (millivolts / unit_mv)
        gain = float(gains.mean())
        taken = template.mean(axis=0) * millivolts
        gross = float(np.abs(taken).sum())
        out.append(
            Effect(
                change,
                short,
                gain,
                agree=float(np.mean(np.sign(gains) == np.sign(gain))) if gain else 0.0,
                net=abs(gain) * unit_mv / gross if gross else 0.0,
            )
        )
    return tuple(out)


def count_different(template: Float[np.ndarray, "beat ..."]) -> int:
    """How many of some templates differ, by more than rounding.

    Example:
        >>> count_different(np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.5]]))
        2
    """
    rows = template.reshape(len(template), -1)
    along = rows @ np.random.default_rng(0).normal(size=rows.shape[1])
    scale = float(np.linalg.norm(rows, axis=1).max())
    return 1 + int(np.sum(np.diff(np.sort(along)) > SAME * scale))
