"""What a component weighs, in words."""

import numpy as np

from ecg_jax.cells.leads import FEW, listed
from ecg_jax.cells.weighing import Weighing
from ecg_jax.percent import percent

LEAST_SHOWN = 0.05
"""Of a smaller share of the weight nothing is said; of several leads, so much less."""
LEAST_LEAD = 0.005
"""Of a lead with a smaller share nothing is said."""


def words(weighing: Weighing) -> str:
    """One sentence: where the weight lies, and which way it pulls.

    Returns:
        For example "QRS 46% in 12% of the time (larger raises the margin, wider lowers
        it), T 25% in 31% (higher raises it), other parts 29%; one template for all 255
        beats looked at." That comes first where the mean stands for few beats. Of
        several leads the heaviest first: "V1 61%: QRS 46% in 6% of the samples, ...".
    """
    least = LEAST_SHOWN / len(weighing.leads)
    if len(weighing.leads) == 1:
        out = _parts(weighing, "of the time", least)
    else:
        order = np.argsort([-share for share in weighing.by_lead], kind="stable")
        order = [k for k in order if weighing.by_lead[k] >= LEAST_LEAD]
        each, out = weighing.each_lead, ""
        for k in order[:FEW]:
            held = percent(weighing.by_lead[k])
            parts = _parts(each[k], "of the samples", least, first=not out)
            out += f"{' | ' if out else ''}{weighing.leads[k]} {held}: {parts}"
        out = out or "nothing: it is constant on these beats"
        if len(order) > FEW:
            rest = percent(sum(weighing.by_lead[k] for k in order[FEW:]))
            out += f" | {len(order) - FEW} other leads {rest}"
    if weighing.is_typical:
        return f"{out}; {_templates(weighing)}{_fixed(weighing)}."
    out = f": {out}{_fixed(weighing)}" if any(weighing.by_lead) else ""
    return f"{_templates(weighing)}{out}."


def _parts(weighing: Weighing, of: str, least: float, *, first: bool = True) -> str:
    """The parts of one lead by their share of the weight over that of the time."""
    shown = [p for p in weighing.parts if p.share >= least]
    shown.sort(key=lambda part: -part.share / part.share_time)
    out = []
    for part in shown:
        clear = [effect for effect in part.effects if effect.is_clear]
        text = f"{part.segment.name} {percent(round(part.share, 9))} in "
        text += percent(part.share_time) + (f" {of}" if not out and first else "")
        if part.segment.name in weighing.neighbours:
            beat = "beat before" if part.segment.name == "before P" else "next beat"
            text += f" (the {beat} lies in it)"
        if clear:
            told = []
            for effect in clear:
                what = "the margin" if first else "it"
                told.append(f"{effect.short} {effect.verb} {what}")
                first = False
            text += f" ({', '.join(told)})"
        out.append(text)
    rest = sum(weighing.by_lead) - sum(part.share for part in shown)
    if rest >= 0.005:
        out.append(f"other parts {percent(rest)}" if out else "spread over it")
    return ", ".join(out) or "nothing: it is constant on these beats"


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
    fixed = []
    for name in ("QRS", "T"):
        own = [p for p in weighing.parts if p.segment.name == name]
        lost = [p.lead for p in own if not p.segment.measured]
        if lost and len(lost) == len(weighing.leads):
            fixed.append(name)
        elif lost:
            fixed.append(f"{name} in {listed(lost)}")
    if not fixed:
        return ""
    return f"; {' and '.join(fixed)} in fixed windows around R, for none was measured"
