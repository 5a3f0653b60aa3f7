"""One recording explained: every beat with its answer and what proves it."""

from collections import Counter

import numpy as np

from ecg_jax import draw
from ecg_jax.cells.leads import FEW, telling
from ecg_jax.draw.paper import LABEL_NAMES
from ecg_jax.pages.changes import changes_part, flips_part
from ecg_jax.pages.components import sentence_of
from ecg_jax.pages.data import Component, ExplainData, ExplainedBeat
from ecg_jax.pages.html import details, esc, number, pairs, picture, share, table, tiles
from ecg_jax.pages.page import frame
from ecg_jax.pages.sections import BEAT_LABEL_NOTE, LABEL_NOTE

LEAF = "beats in its cell, and in none below"
MOST_PICTURES = 24
MOST_OVERLAID = 12
MOST_ROWS = 200
MOST_NAMED = 40
BEFORE_S, AFTER_S = 0.25, 0.40
"""What is colored of a beat, at most."""

ANSWER_RULE = (
    "The network answers beat by beat. The answer for the recording is that of the "
    "mean margin of its beats: normal from 0 upwards."
)

SPLITS = {
    "train": "The network was trained on this recording, and the equation grown on it: "
    "its answers say nothing of how it does on recordings it has not seen.",
    "validation": "This recording helped to choose the network during its training "
    "(validation): its answers may be better than on recordings it has not seen.",
    "heldout": "This recording was held out: the network was not trained on it.",
}
ALONE = " What the network was trained on is not known here."
"""Said of a recording of a network that was trained elsewhere."""
GROWN = {
    "train": "The equation was grown on this recording." + ALONE,
    "validation": "The equation was not grown on this recording." + ALONE,
    "heldout": "The equation was not grown on this recording." + ALONE,
}


def build_explanation(data: ExplainData) -> str:
    """Write the explanation of one recording as one page that needs nothing else.

    Args:
        data: The recording, its beats, and the components that answer for them.

    Returns:
        HTML. It loads nothing, runs no script, and opens without a network.
    """
    parts = [
        ("strip", "The recording", _strip(data)),
        ("components", "Which components answered", _by_component(data)),
        *changes_part(data.changes),
        *flips_part(data),
        ("open", "Beats without a proof", _unproven(data)),
        ("beats", "Every beat", _beats(data)),
        ("reading", "How to read this", _reading(data)),
    ]
    return frame(f"Recording {data.record}", _summary(data), parts)


def _summary(data: ExplainData) -> str:
    total = len(data.beats)
    normal = sum(beat.answer == "normal" for beat in data.beats)
    proven = sum(beat.component is not None for beat in data.beats)
    margin = data.margin
    if margin is None and total:
        margin = float(np.mean([beat.margin for beat in data.beats]))
    both = f"{number(normal)} : {number(total - normal)}"
    items = [(both, "normal : not normal", f"answers for {_beats_of(total)}")]
    if margin is not None:
        answer = "normal" if margin >= 0 else "not normal"
        note = f"mean margin {_margin(margin)}"
        items.append((answer, "by the mean over its beats", note))
    if data.label is not None:
        note = "its label, of the whole recording"
        items.append((data.label, LABEL_NAMES.get(data.label, "label"), note))
    if total:
        rest = total - proven
        note = f"{rest:,} {'is' if rest == 1 else 'are'} not"
        items.append((share(proven / total), "of the beats proven", note))
    if data.bsqi is not None:
        note = "agreement of two R peak detectors"
        items.append((f"{data.bsqi:.2f}", "bSQI", note))
    words = f"Explained by the run {esc(data.title)}" if data.title else ""
    if data.network:
        words += f", network {esc(data.network)}"
    lead = f'<p class="lead">{words}</p>' if words else ""
    return lead + tiles(items) + _facts(data, normal, margin)


def _margin(value: float) -> str:
    """A margin with two decimals, or as many as tell it from 0."""
    told = f"{value:.2f}" if abs(value) >= 0.005 else f"{value:.1g}"
    return told.replace("-", "\N{MINUS SIGN}")


def _facts(data: ExplainData, normal: int, margin: float | None) -> str:
    """How the answer comes from the beats, and what the run knew of the recording."""
    total = len(data.beats)
    words = []
    if margin is not None and total:
        words.append(
            f"{ANSWER_RULE} Here: {_beats_of(normal)} normal, {number(total - normal)} "
            f"not normal ({share(1 - normal / total)}), mean margin {_margin(margin)}."
        )
    if data.title:
        unknown = "This recording is not known to be one of those of the run."
        known = SPLITS if data.is_trained else GROWN
        words.append(known.get(data.split or "", unknown))
    labels = Counter(beat.label for beat in data.beats if beat.label)
    if labels:
        told = ", ".join(f"{number(n)} {esc(k)}" for k, n in labels.most_common())
        words.append(f"Annotated: {told} (AAMI classes).")
    if data.missed:
        kinds = Counter(label for _, label in data.missed if label)
        told = ", ".join(f"{number(n)} {esc(k)}" for k, n in kinds.most_common())
        words.append(
            f"<b>{_beats_of(len(data.missed))} that the annotations name"
            f"{f' ({told})' if told else ''} got no answer</b>: not found by the "
            "detectors, or at an end."
        )
    return f"<p>{' '.join(words)}</p>" if words else ""


def _strip(data: ExplainData) -> str:
    if not data.signal.size:
        return '<p class="none">There is no signal to show.</p>'
    step = data.time_s[1] - data.time_s[0] if len(data.time_s) > 1 else 0.01
    window = (-float(data.time_s[0]), float(data.time_s[-1] + step))
    named = [(beat.r_time_s, beat.label) for beat in data.beats] + [*data.missed]
    few = _few(data)
    figure = draw.strips(
        data.signal[list(few)],
        data.sample_rate_hz,
        [beat.r_time_s for beat in data.beats],
        [beat.answer for beat in data.beats],
        [beat.component for beat in data.beats],
        leads=[data.leads[k] for k in few],
        before_s=min(BEFORE_S, window[0]),
        after_s=min(AFTER_S, window[1]),
        annotated=[(at, label) for at, label in named if label],
        missed=[at for at, _ in data.missed],
    )
    shown = 12 * 10.0
    seconds = data.signal.shape[-1] / data.sample_rate_hz
    more = f" The first {shown:.0f} s of {seconds:,.0f} s." if seconds > shown else ""
    flipped = ""
    if data.is_turned:
        flipped = " The lead is shown as recorded; its beats are judged upside down."
    caption = (
        "Blue, circle: answered normal. Orange, triangle: answered not normal. The "
        "name is that of the component that proves the answer; dashed, hollow and “?”: "
        "not proven. Colored is what belongs to the beat, halfway to its neighbors and "
        f"at most {min(BEFORE_S, window[0]):.2f} s before R to "
        f"{min(AFTER_S, window[1]):.2f} s after it (the network sees "
        f"{window[0]:.2f} s to {window[1]:.2f} s). Gray: between the beats, or a beat "
        "that was not found or is at an end: nothing answers it."
        f"{_letters(data)}{more}{flipped}{_of_leads(data)}"
    )
    return picture(draw.svg(figure), caption, alt="the recording", kind="paper wide")


def _few(data: ExplainData) -> tuple[int, ...]:
    """The leads to show where few fit: those in which the prototypes differ most."""
    known = [c.prototype for c in data.components.values() if c.prototype is not None]
    return telling(known or [beat.millivolts for beat in data.beats] or [data.signal])


def _of_leads(data: ExplainData) -> str:
    """Which of several leads a small picture shows."""
    few = [data.leads[k] for k in _few(data)]
    if len(data.leads) == 1:
        return ""
    if len(few) == len(data.leads):
        return f" Leads, from above: {', '.join(few)}."
    return (
        f" Leads, from above: {', '.join(few)}, those of {len(data.leads)} in which "
        "the prototypes of these components differ most; the network sees all."
    )


def _letters(data: ExplainData) -> str:
    """What the caption says of annotations, where there are any."""
    words = ""
    if any(beat.label for beat in data.beats):
        words += " Letters below: the annotated class of the beat."
    if data.missed:
        words += " Gray cross: annotated, but not found or at an end."
    return words


def _by_component(data: ExplainData) -> str:
    counts = Counter(b.component for b in data.beats if b.component is not None)
    if not counts:
        none = '<p class="none">No component proves an answer here.</p>'
        return (_counts(data) if data.beats else "") + none
    cards = []
    for name, count in counts.most_common():
        own = [beat for beat in data.beats if beat.component == name]
        known = data.components.get(name)
        side = own[0].answer
        kind = "normal" if side == "normal" else "other"
        sentence = "" if known is None else sentence_of(known)
        margins = [beat.margin for beat in own]
        part = share(count / len(data.beats))
        cards.append(
            f'<article class="card {kind}"><h4>{esc(name)} <span>proves “{esc(side)}” '
            f'for {_beats_of(count)} ({part})</span></h4><div class="cardbody wide">'
            f"{_overlay(data, own, name, side)}<div><p>Its beats here: "
            f"{_range(margins)}{_labels(own)}</p>{_who(sentence)}{_weighs(known)}"
            f"</div></div></article>"
        )
    return (
        f"{_counts(data)}<p>{_sheets(data)} the "
        "prototype of the component that proves them, a training beat. What is said of "
        "a cell was measured on the run's own recordings, those it reports on, and "
        "describes their beats, not the ones shown here.</p>"
        f'<div class="cards">{"".join(cards)}</div>'
    )


def _sheets(data: ExplainData) -> str:
    """Where beats and prototype are: side by side, or one sheet below the other."""
    if len(data.leads) > FEW:
        return "Above the beats of this recording, below (dashed)"
    return "Left the beats of this recording, right (dashed)"


def _counts(data: ExplainData) -> str:
    """How often each component answered, and how often it proved the answer."""
    cells = Counter(b.nearest for b in data.beats if b.nearest is not None)
    proofs = Counter(b.component for b in data.beats if b.component is not None)
    rows = []
    for name in sorted(cells | proofs, key=lambda n: (-cells[n], -proofs[n], n)):
        known = data.components.get(name)
        row: dict[str, object] = {"component": name, LEAF: cells[name]}
        row["of all beats"] = share(cells[name] / len(data.beats))
        row["beats it proves"], row["not proven"] = proofs[name], None
        row["its cell, in the run"] = None if known is None else known.phrase
        rows.append(row)
    rest = sum(beat.component is None for beat in data.beats)
    if rest:
        row = {"component": "none: the network itself", LEAF: None}
        rows.append(row | {"beats it proves": None, "not proven": rest})
    return table(rows, caption="Which components answered, and how often")


def _who(sentence: str) -> str:
    where = "In its cell, on the recordings of the run:"
    return f"<p>{where} {esc(sentence)}</p>" if sentence else ""


def _weighs(known: Component | None) -> str:
    if known is None or not known.weighs:
        return ""
    words = f"It weighs, on those recordings: {esc(known.weighs)}"
    return f'<p class="weighs">{words}</p>'


def _labels(own: list[ExplainedBeat]) -> str:
    """The annotated classes of some beats."""
    labels = Counter(beat.label for beat in own if beat.label)
    told = ", ".join(f"{number(n)} {esc(k)}" for k, n in labels.most_common())
    return f" Annotated: {told}." if told else ""


def _beats_of(count: int) -> str:
    return f"{number(count)} beat{'s' * (count != 1)}"


def _range(margins: list[float]) -> str:
    low, high = number(round(min(margins), 2)), number(round(max(margins), 2))
    return f"margins {low} to {high}." if low != high else f"margin {low}."


def _overlay(data: ExplainData, own: list[ExplainedBeat], name: str, side: str) -> str:
    picks = np.linspace(0, len(own) - 1, min(len(own), MOST_OVERLAID)).round()
    beats = np.stack([own[int(at)].millivolts for at in picks])
    style = {"side": side, "leads": data.leads}
    figure = draw.pair(beats, _prototype(data, name), data.time_s, **style)
    alt = f"beats and prototype of {name}"
    return picture(draw.svg(figure), alt=alt, kind="paper")


def _prototype(data: ExplainData, name: str | None) -> np.ndarray | None:
    known = data.components.get(name) if name is not None else None
    return None if known is None else known.prototype


def _unproven(data: ExplainData) -> str:
    rest = [beat for beat in data.beats if beat.component is None]
    if not rest:
        return "<p>Every answer is proven by one component.</p>"
    ordered = sorted(rest, key=lambda beat: abs(beat.margin))
    items = [_one(data, beat) for beat in ordered[:MOST_PICTURES]]
    more = ""
    if len(rest) > MOST_PICTURES:
        more = f"<p>The {MOST_PICTURES} closest to the boundary are shown.</p>"
    times = ", ".join(f"{beat.r_time_s:.2f}" for beat in rest[:MOST_NAMED])
    if len(rest) > MOST_NAMED:
        times += ", …"
    return (
        f"<p>{number(len(rest))} {'answer is' if len(rest) == 1 else 'answers are'} "
        "given by the network itself; the chosen "
        "components only say between which two numbers the margin lies. R peaks: "
        f"{times} s.</p>"
        f'{more}<div class="differs">{"".join(items)}</div>'
    )


def _beats(data: ExplainData) -> str:
    if not data.beats:
        return '<p class="none">No beat was found.</p>'
    rows = "".join(_row(data, beat) for beat in data.beats[:MOST_ROWS])
    more = ""
    if len(data.beats) > MOST_ROWS:
        more = (
            f"<p>The first {MOST_ROWS} of {number(len(data.beats))} are listed; "
            "explanation.json holds them all.</p>"
        )
    label = "<th>annotated</th>" if any(beat.label for beat in data.beats) else ""
    flips = "<th>first to change the answer, and who answers then</th>"
    flips = flips if any(beat.flips for beat in data.beats) else ""
    listed = (
        "<p>Each beat (solid) over the prototype (dashed) of the component that proves "
        "its answer, or, where none does, of the component of its own cell."
        f"{_of_leads(data)}</p>{more}"
        '<div class="scroll"><table><thead><tr><th>beat and prototype</th>'
        f"<th>R peak</th>{label}<th>answer</th><th class=num>margin</th>"
        "<th class=num>between</th><th>proven by</th><th class=num>RR before</th>"
        f"{flips}</tr>"
        f"</thead><tbody>{rows}</tbody></table></div>"
    )
    shown = data.beats[:MOST_PICTURES]
    items = "".join(_one(data, beat) for beat in shown)
    pictures = f'<div class="differs">{items}</div>'
    title = f"On ECG paper ({len(shown):,} of {len(data.beats):,})"
    return listed + details(title, pictures)


def _row(data: ExplainData, beat: ExplainedBeat) -> str:
    prototype = _prototype(data, beat.component or beat.nearest)
    if prototype is not None and prototype.shape != beat.millivolts.shape:
        prototype = None
    few = list(_few(data))
    sketch = draw.spark(
        beat.millivolts[few],
        None if prototype is None else prototype[few],
        side=beat.answer,
        leads=[data.leads[k] for k in few],
    )
    label = ""
    if any(other.label for other in data.beats):
        label = f"<td>{esc(beat.label or '')}</td>"
    kind = "normal" if beat.answer == "normal" else "other"
    rr = "\N{EM DASH}"
    if beat.rr_before_s is not None and np.isfinite(beat.rr_before_s):
        rr = f"{beat.rr_before_s:.2f} s"
    flips = ""
    if any(other.flips for other in data.beats):
        flips = f"<td>{'<br>'.join(esc(flip.words) for flip in beat.flips)}</td>"
    return (
        f'<tr><td class="spark">{sketch}</td><td class=num>{beat.r_time_s:.2f} s</td>'
        f"{label}<td><b class={kind}>{esc(beat.answer)}</b></td>"
        f"<td class=num>{number(round(beat.margin, 3))}</td>"
        f"<td class=num>{_between(beat)}</td><td>{_proof(beat)}</td>"
        f"<td class=num>{rr}</td>{flips}</tr>"
    )


def _one(data: ExplainData, beat: ExplainedBeat) -> str:
    name = beat.component or beat.nearest
    prototype = _prototype(data, name)
    style = {"side": beat.answer, "leads": data.leads}
    figure = draw.pair(beat.millivolts[None], prototype, data.time_s, **style)
    kind = "normal" if beat.answer == "normal" else "other"
    sketch = picture(draw.svg(figure), alt="beat and prototype", kind="paper")
    return (
        f'<div class="differ two {kind}">{sketch}<div><b>{beat.r_time_s:.2f} s</b>'
        f"<p><b class={kind}>{esc(beat.answer)}</b>, {_proof(beat)}"
        f"{_labels([beat])}</p>"
        f"<p>margin {number(round(beat.margin, 3))}<br>between {_between(beat)}</p>"
        "</div></div>"
    )


def _proof(beat: ExplainedBeat) -> str:
    if beat.component is not None:
        return f"proven by <b>{esc(beat.component)}</b>"
    near = f" (nearest: {esc(beat.nearest)})" if beat.nearest else ""
    return f'<span class="open">not proven{near}</span>'


def _between(beat: ExplainedBeat) -> str:
    return f"{number(round(beat.lower, 3))} … {number(round(beat.upper, 3))}"


def _reading(data: ExplainData) -> str:
    notes = pairs(data.notes) if data.notes else ""
    own = any(beat.label for beat in data.beats)
    note = BEAT_LABEL_NOTE if own else LABEL_NOTE
    return (
        "<ul><li>The <b>margin</b> is what the network says of a beat: from 0 upwards "
        "normal, below not normal.</li><li><b>Between</b>: the chosen components prove "
        "that the margin lies between these two numbers. If the lower is at least 0, "
        "the answer “normal” is proven; if the upper is below 0, “not normal” is."
        "</li><li>The <b>prototype</b> is the beat that the proving component is "
        "anchored at, from a training recording.</li></ul>"
        f'<p class="callout">{note}</p>{notes}'
    )
