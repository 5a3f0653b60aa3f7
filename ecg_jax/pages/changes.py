"""What would change the answers: ranges of changes, families, beats that flip."""

from collections.abc import Sequence

import numpy as np

from ecg_jax import draw
from ecg_jax.cells.ranges import Reach
from ecg_jax.pages.data import ChangeFacts, ExplainData, ExplainedBeat, Flip
from ecg_jax.pages.html import esc, number, picture, share

METHOD = (
    "Each beat is changed in one way at a time, as a reader of ECGs would name it: its "
    "ST level raised, its T made taller, its baseline moved. Along such a change the "
    "network is a chain of straight pieces, each one component of its equation, so the "
    "place where the answer first changes is found exactly: two neighbouring numbers "
    "between which the network itself changes its answer. (A network with smooth gates "
    "has no such pieces: there each range is proven up to a narrow bracket.)"
)
RANGE = (
    "A bar reaches from where the first quarter of the answers has changed to where "
    "three quarters have; the mark is at the half. To the left the change falls, to "
    "the right it rises; the edges are as far as it was followed. At the right: the "
    "share of answers that change before the edge, and the component that most often "
    "decides then. A change is left out for a beat where it cannot be measured."
)
BY_LEAD = (
    "Waves, offset and wander are changed in one lead at a time, which is named, as "
    "they are measured in that lead; gain, mains hum and shift change all leads "
    "together. Of more than twelve changes those are drawn that flip the most answers. "
    "Limb leads depend on one another, so that a change of one alone asks what the "
    "network does with it."
)
MOST_REACH = 12
"""Changes that are drawn, those that flip the most answers."""
FAMILIES = (
    "Several changes at once. Proven: no combination of them within these limits "
    "changes the answer, by any evaluation of the network, rounding included. Broken: "
    "one that does is known, and was checked on the network. Open: neither was found."
)


def changes_part(changes: ChangeFacts | None) -> list[tuple[str, str, str]]:
    """The section as a part of a page; none where nothing was measured."""
    if changes is None:
        return []
    return [("changes", "What would change the answer", changes_section(changes))]


def changes_section(changes: ChangeFacts) -> str:
    """How far changes go, by answer, and what is proven of several at once."""
    if changes.refusal:
        first, *rest = changes.refusal.splitlines()
        more = "".join(f"<br>{esc(line.strip())}" for line in rest)
        return (
            "<p>Not measured: an operation of the network is in the way. "
            f"{esc(first)}{more}</p>"
        )
    beats = number(changes.num_beats)
    out = [f"<p>{esc(METHOD)} Measured on {beats} beats.</p>"]
    for side, reach in changes.reach.items():
        if reach:
            kind = "normal" if side == "normal" else "other"
            out.append(f'<h3 class="{kind}">Beats answered “{esc(side)}”</h3>')
            alt = f"how far changes go before beats are no longer answered {side}"
            drawn = draw.svg(draw.ranges(most_flipping(reach), side=side))
            out.append(picture(drawn, alt=alt))
    by_lead = any(one.lead for reach in changes.reach.values() for one in reach)
    out.append(f'<p class="note">{esc(RANGE)}{" " + BY_LEAD if by_lead else ""}</p>')
    if changes.shares:
        told = ", ".join(f"{share(v)} {esc(k)}" for k, v in changes.shares.items())
        out.append(
            f"<h3>Families of changed beats</h3><p>{esc(changes.family)}, together: "
            f"<b>{told}</b>, of the {share(changes.offered)} of these beats that all "
            f'of them can be measured on.</p><p class="note">{esc(FAMILIES)}</p>'
        )
    return "".join(out)


def most_flipping(reaches: Sequence[Reach]) -> list[Reach]:
    """All changes of a single lead; of several those that flip most, in their order."""
    if len(reaches) <= MOST_REACH:
        return list(reaches)
    flips = [-max(one.low.flips, one.high.flips) for one in reaches]
    kept = np.sort(np.argsort(flips, kind="stable")[:MOST_REACH])
    return [reaches[at] for at in kept]


def flips_part(data: ExplainData) -> list[tuple[str, str, str]]:
    """The beats that are drawn with a change that flips them; none: no part."""
    drawn = [
        (beat, flip, flip.millivolts)
        for beat in data.beats
        for flip in beat.flips[:1]
        if flip.millivolts is not None
    ]
    if not drawn:
        return []
    drawn.sort(key=lambda entry: entry[1].share)
    flipping = sum(bool(beat.flips) for beat in data.beats)
    words = (
        "A beat (solid), and the same beat with the smallest single change that gives "
        "it the other answer (dashed): smallest by its share of how far each change "
        f"was followed. Drawn are {number(len(drawn))} of the {number(flipping)} beats "
        "here that some change flips, from the one that needs the least to the one "
        "that needs the most."
    )
    if len(data.leads) > 1:
        words += " The lead is that in which the beat is changed most."
    items = "".join(_flip(data, *entry) for entry in drawn)
    html = f'<p>{words}</p><div class="differs">{items}</div>'
    return [("flips", "Beats changed until the answer flips", html)]


def _flip(
    data: ExplainData, beat: ExplainedBeat, flip: Flip, changed: np.ndarray
) -> str:
    kind = "normal" if beat.answer == "normal" else "other"
    style = {"side": beat.answer, "leads": data.leads}
    figure = draw.changed(beat.millivolts, changed, data.time_s, **style)
    alt = f"the beat at {beat.r_time_s:.2f} s, and changed"
    return (
        f'<div class="differ one {kind}"><p><b>{beat.r_time_s:.2f} s, '
        f"<b class={kind}>{esc(beat.answer)}</b></b><br>{esc(flip.words)}</p>"
        f"{picture(draw.svg(figure), alt=alt, kind='paper')}</div>"
    )
