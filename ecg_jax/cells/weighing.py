"""What a component weighs: its templates, and on which part of the beat they lie.

At every beat a component is affine, `W(x) = <w, x> + b`, with a template `w` and an
offset `b`. They are its own: the cell says only at which beats they are read off. With
the mean `m` and the standard deviation `s` of the training beats,

    W(x) = (b + <w, m>) + sum_S <w, x - m>_S            contributions, part by part
    share of S = sum_S |w s| / sum |w s|                what varies counts, nothing else

over the parts `S` of the beat, the share of the mean template: see `WEIGHING_RULE`.
Arrays and words.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ecg_jax.cells.changes import changes
from ecg_jax.cells.morphology import Segment, segments
from ecg_jax.cells.sketch import Sketch
from ecg_jax.errors import ExampleError
from ecg_jax.shares import percent

LEAST_AGREE = 0.9
LEAST_NET = 0.2
LEAST_SHOWN = 0.05
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
        share: Of all weight, in units of what varies.
        share_up: That of the samples whose weight is positive.
        share_time: Of the window.
        contribution: Mean over the cell of `<w, x - m>` in this part.
        swing: Standard deviation of `<mean w, x>` in this part, over training beats.
        effects: What changes of the composite in this part do.
    """

    segment: Segment
    share: float
    share_up: float
    share_time: float
    contribution: float
    swing: float
    effects: tuple[Effect, ...] = ()

    @property
    def name(self) -> str:
        """Such as "QRS"."""
        return self.segment.name


@dataclass(frozen=True, eq=False)
class Weighing:
    """What a component weighs.

    Attributes:
        time_s: Seconds from the R peak.
        template: Mean template, in margin per unit of input.
        spread: Its standard deviation over the beats.
        likeness: Correlation of the mean template with that at the prototype, both
            in units of what varies; `None` where there is none.
        offset: Mean value that is left for an input of zeros.
        level: Mean over the affine functions at the mean training beat m.
        parts: The parts of the beat, in order of time.
        by_lead: Share of each lead.
        num_beats: Beats that were looked at.
        num_templates: Different templates among them.
        told: Share of the variance of the component's value over these beats that the
            mean template tells; `None` where the value is the same for all.
        unit: Of the input, in words.
        unit_mv: One unit in mV, median over the cell.
        neighbours: Which of "before P", "after T" hold another R peak, by the median
            RR intervals of the cell.
    """

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
    unit_mv: float
    neighbours: tuple[str, ...] = ()

    @property
    def is_typical(self) -> bool:
        """Whether the mean template tells at least 25% of how the value varies."""
        return self.told is None or self.told >= LEAST_TOLD

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
    unit_mv: float = 1.0,
    prototype: Float[np.ndarray, "lead time"] | None = None,
) -> Weighing:
    """Say where on the beat a component's weight lies, by `WEIGHING_RULE`.

    Args:
        template: Of the component, at each of some beats of its cell.
        value: Of the component there.
        inputs: The beats, as the network sees them.
        sketch: Composite of the cell: it places the parts.
        scale: What training beats are like.
        unit_mv: One unit of the input in mV, for the beats of the cell.
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
    parts = []
    for segment in segments(sketch.morphology, sketch.time_s):
        inside = segment.holds(sketch.time_s)
        own = scale.sample[:, :, inside] * mean[:, inside]
        parts.append(
            Part(
                segment=segment,
                share=float(np.abs(flat[:, inside]).sum()) / total,
                share_up=float(np.maximum(flat[:, inside], 0).sum()) / total,
                share_time=float(inside.mean()),
                contribution=float(away[:, :, inside].sum(axis=(1, 2)).mean()),
                swing=float(own.sum(axis=(1, 2)).std()),
                effects=_effects(segment, sketch, template, unit_mv),
            )
        )
    rest = value - (mean * inputs).sum(axis=(1, 2))
    varies = float(np.var(value))
    size = float(np.square(value).mean())
    return Weighing(
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
        unit_mv=unit_mv,
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
    """What changes of the composite do, in one part of it; of mixed beats nothing."""
    if sketch.is_mixed:
        return ()
    beat, out = sketch.median[sketch.lead], []
    made = changes(segment, sketch.morphology, sketch.time_s, beat)
    for (change, short), millivolts in made.items():
        gains = template[:, sketch.lead] @ (millivolts / unit_mv)
        gain = float(gains.mean())
        taken = template[:, sketch.lead].mean(axis=0) * millivolts
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


def words(weighing: Weighing) -> str:
    """One sentence: where the weight lies, and which way it pulls.

    Returns:
        For example "QRS 46% in 12% of the time (larger raises the margin, wider lowers
        it), T 25% in 31% (higher raises it), other parts 29%; one template for all 255
        beats looked at." That comes first where the mean stands for few beats.
    """
    shown = [p for p in weighing.parts if p.share >= LEAST_SHOWN]
    shown.sort(key=lambda part: -part.share / part.share_time)
    listed, first = [], True
    for part in shown:
        clear = [effect for effect in part.effects if effect.is_clear]
        text = f"{part.name} {percent(round(part.share, 9))} in "
        text += percent(part.share_time) + (" of the time" if not listed else "")
        if part.name in weighing.neighbours:
            beat = "beat before" if part.name == "before P" else "next beat"
            text += f" (the {beat} lies in it)"
        if clear:
            told = []
            for effect in clear:
                what = "the margin" if first else "it"
                told.append(f"{effect.short} {effect.verb} {what}")
                first = False
            text += f" ({', '.join(told)})"
        listed.append(text)
    rest = 1 - sum(part.share for part in shown)
    if rest >= 0.005 and listed:
        listed.append(f"other parts {percent(rest)}")
    out = ", ".join(listed) or "nothing: it is constant on these beats"
    out += _leads(weighing)
    if weighing.is_typical:
        return f"{out}; {_templates(weighing)}{_fixed(weighing)}."
    out = f": {out}{_fixed(weighing)}" if listed else ""
    return f"{_templates(weighing)}{out}."


def _leads(weighing: Weighing) -> str:
    shares = weighing.by_lead
    if len(shares) == 1:
        return ""
    most = int(np.argmax(shares))
    return f"; lead {most + 1} of {len(shares)} holds {percent(shares[most])} of it"


def _templates(weighing: Weighing) -> str:
    beats, number = weighing.num_beats, weighing.num_templates
    if beats == 1:
        return "one beat looked at"
    if number == 1:
        return f"one template for all {beats:,} beats looked at"
    text = f"{number:,} templates at {beats:,} beats"
    if weighing.told is None:
        return text
    told = percent(max(weighing.told, 0.0))
    text += f"; their mean tells {told} of how its value varies in the cell"
    return text if weighing.is_typical else f"{text}, so it stands for few of them"


def _fixed(weighing: Weighing) -> str:
    by_name = {part.name: part.segment for part in weighing.parts}
    fixed = [n for n in ("QRS", "T") if n in by_name and not by_name[n].measured]
    if not fixed:
        return ""
    return f"; {' and '.join(fixed)} in fixed windows around R, for none was measured"


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
