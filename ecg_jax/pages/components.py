"""The tree and its cards: what each component answers for."""

from collections.abc import Sequence

import numpy as np

from ecg_jax import draw
from ecg_jax.cells.captions import describe, phrase
from ecg_jax.cells.morphology import MEASUREMENT_RULE
from ecg_jax.cells.ranges import of_waves, reach_words
from ecg_jax.cells.sketch import Sketch
from ecg_jax.cells.weighing import WEIGHING_RULE, WEIGHING_RULE_OF_LEADS, Weighing
from ecg_jax.draw.paper import PROTOTYPE
from ecg_jax.pages.changes import most_flipping
from ecg_jax.pages.data import Component
from ecg_jax.pages.html import (
    anchor,
    details,
    esc,
    label_bar,
    number,
    pairs,
    picture,
    share,
    table,
)
from ecg_jax.percent import percent

SIDES = ("normal", "not normal")
HEADINGS = {
    "normal": "Witnesses: they prove “normal”",
    "not normal": "Refuters: they prove “not normal”",
}
PX_PER_INCH, LEAST_TREE_PX = 130, 1000
"""Size of a small tree; a wide one shrinks to the page, not below so many pixels."""

FROZEN = (
    "Frozen: the share of the opened units of its side that a component replaces by "
    "straight lines. The more are frozen, the simpler the component and the more its "
    "proof says; with none frozen it would be the network itself."
)
LEGEND = f"""<ul class="legend">
<li><svg viewBox="0 0 40 14"><path d="M2 7h36" stroke="#0069a8" stroke-width="3"/></svg>
median of all beats (blue: proves normal, orange: proves not normal)</li>
<li><svg viewBox="0 0 40 14"><path d="M2 0h36v14H2z" fill="#0069a8" opacity=".15"/>
<path d="M2 4h36v6H2z" fill="#0069a8" opacity=".35"/></svg>
bands with the middle 80% and 50% of the beats</li>
<li><svg viewBox="0 0 40 14"><path d="M2 4h36M2 7h36M2 11h36" stroke="#54616d"
stroke-width=".7"/></svg> single beats, spread over recordings that are known; what is
higher or lower than the paper is cut</li>
<li><svg viewBox="0 0 40 14"><path d="M2 7h36" stroke="{PROTOTYPE}" stroke-width="2"
stroke-dasharray="6 3"/></svg> the prototype: the beat the component is anchored at</li>
<li><svg viewBox="0 0 40 14"><path d="M8 3v7h24v-7" fill="none" stroke="currentColor"
stroke-width="1.5"/></svg> what was measured as QRS</li>
<li><svg viewBox="0 0 40 14"><path d="M8 13h5V2h14v11h5" fill="none"
stroke="currentColor" stroke-width="1.5"/></svg> 1 mV; a large square is 0.5 mV and
200 ms (10 mm/mV, 25 mm/s)</li>
<li><svg viewBox="0 0 40 14"><path d="M2 7q9 -14 18 0z" fill="#0069a8" opacity=".75"/>
<path d="M20 7q9 14 18 0z" fill="#c8500a" opacity=".75"/></svg> what the component
weighs: blue where a higher value raises the margin (towards normal), orange where it
lowers it; grey: one standard deviation over the beats of the cell</li>
<li><svg viewBox="0 0 40 14"><path d="M20 0v14" stroke="currentColor"
stroke-dasharray="2 2"/></svg> where the named parts of the beat end, as
measured on the median; a mark on a bar: the part's share of the time</li>
</ul>"""


def tree_figure(
    components: list[Component], measured: str = "beats of held-out recordings"
) -> str:
    """The tree as one picture; every node leads to its card."""
    names = [c.name for c in components]
    nodes = [
        draw.TreeNode(
            id=c.id,
            parent=c.parent,
            name=c.name,
            side=c.side,
            sketch=c.sketch,
            caption="" if c.sketch is None else _short(c, names[:at]),
            href=None if c.parent is None else f"#{anchor(c)}",
        )
        for at, c in enumerate(components)
    ]
    caption = (
        f"{measured[0].upper()}{measured[1:]}. Each node with its number of beats and, "
        "below it, its share of the answers of its side; a click leads to its card. "
        "“= P1”: the same function as P1, only its cell differs. Line: median; band: "
        "the middle 50% of the beats; both are cut at the frame."
    )
    caption += _of_leads(components, draw.shown_leads(nodes))
    figure = draw.tree(nodes)
    full = round(PX_PER_INCH * figure.get_figwidth())
    size = f"min-width:{min(full, LEAST_TREE_PX)}px;max-width:{full}px"
    svg = draw.svg(figure).replace("<svg", f'<svg style="{size}"', 1)
    for c in components:
        link = f'<a href="#{anchor(c)}"'
        beats = 0 if c.sketch is None else c.sketch.num_beats
        svg = svg.replace(link, f'{link} aria-label="{esc(c.name)}, {beats:,} beats"')
    return picture(svg, caption, alt="tree of components", kind="chart wide tree")


def _of_leads(components: Sequence[Component], shown: Sequence[int]) -> str:
    """Which of several leads are drawn."""
    leads = components[0].leads if components else ("",)
    if len(leads) == 1:
        return ""
    if len(shown) == len(leads):
        return f" Leads: {', '.join(leads)}."
    told = ", ".join(leads[k] for k in shown)
    return (
        f" Of {len(leads)} leads {told}: those in which the medians differ most. The "
        "cards show all."
    )


def cards(
    components: list[Component],
    measured: str = "beats of held-out recordings",
    controls: str = "",
) -> str:
    """One card a component: sides, then depth; `controls` (HTML) stand before them."""
    by_id = {c.id: c for c in components}
    roots = [c for c in components if c.parent is None]
    points = points_each(len(components))
    out = [LEGEND, f'<p class="note">{FROZEN}</p>']
    for c in roots:
        out.append("<h3>All beats together</h3>")
        out.append(f'<div class="cards one">{card(c, points, measured)}</div>')
    out += [controls, '<div id="decks">']
    for side in SIDES:
        own = [c for c in components if c.parent is not None and c.side == side]
        if not own:
            continue
        first = [c for c in own if _depth(c, by_id) == 1]
        kind = "normal" if side == "normal" else "other"
        out.append(f'<h3 class="{kind}">{esc(HEADINGS[side])}</h3>')
        out.append(_deck(first, points))
        for parent in own:
            children = [c for c in own if c.parent == parent.id]
            if children:
                plural = "s" if children[1:] else ""
                title = f"Below {parent.name}: {len(children)} deeper component{plural}"
                out.append(details(title, _deck(children, points), kind="deck"))
    out.append("</div>")
    rule = esc(MEASUREMENT_RULE)
    out.append(f'<p class="note">How shapes are measured. {rule}</p>')
    if any(c.weighing is not None for c in components):
        rule = esc(WEIGHING_RULE)
        if len(components[0].leads) > 1:
            rule += f" {esc(WEIGHING_RULE_OF_LEADS)}"
        out.append(f'<p class="note">How weights are measured. {rule}</p>')
    return "".join(out)


def card(
    component: Component,
    max_points: int = 2000,
    measured: str = "beats of held-out recordings",
) -> str:
    """A component: its sketch, a sentence, its numbers.

    Args:
        component: What is shown.
        max_points: Samples of single beats to draw.
        measured: The beats that are shown, in words.

    Returns:
        HTML.
    """
    c = component
    kind = {"normal": "normal", "not normal": "other"}.get(c.side or "", "root")
    role = (
        f"the network, all {measured.removeprefix('the ')}"
        if c.parent is None
        else f"proves “{c.side}”"
    )
    head = f"<h4>{esc(c.name)} <span>{esc(role)}</span></h4>"
    head += same_words(c) + _opening(c)
    if c.sketch is None:
        body = '<p class="none">No beat falls into its cell.</p>'
        return f'<article class="card {kind}" id="{anchor(c)}">{head}{body}</article>'
    sketch = _picture(c, max_points)
    facts = [("beats", number(c.sketch.num_beats))]
    if c.sketch.num_records:
        facts.append(("recordings", number(c.sketch.num_records)))
    if c.share_answers is not None:
        facts.append((f"of “{esc(c.side or 'all')}” answers", share(c.share_answers)))
    if c.share_proven is not None:
        facts.append(("of its cell proven by itself", share(c.share_proven)))
    if c.share_frozen is not None:
        facts.append(("of its units frozen", share(c.share_frozen)))
    numbers = "".join(f"<div><dd>{v}</dd><dt>{k}</dt></div>" for k, v in facts)
    wide = " wide" if c.weighing is not None else ""
    return (
        f'<article class="card {kind}" id="{anchor(c)}">{head}'
        f'<div class="cardbody{wide}">{sketch}<div><dl>{numbers}</dl>'
        f"{label_bar(c.sketch.label_share)}</div></div>{_reach(c)}{_more(c)}</article>"
    )


def _opening(component: Component) -> str:
    """What it answers for, what would change the answer, how much of that it proves."""
    c = component
    if c.sketch is None:
        return ""
    shape = phrase(c.sketch)
    if c.side is None:
        return f'<p class="opening">All beats together: {esc(shape)}.</p>'
    told = [f"{shape[0].upper()}{shape[1:]}: the network says {c.side}."]
    if c.reach:
        told.append(reach_words(of_waves(c.reach), c.side, most=1))
    if c.share_proven is not None:
        told.append(f"By itself it proves {share(c.share_proven)} of these answers.")
    return f'<p class="opening">{esc(" ".join(told))}</p>'


def _who(component: Component) -> str:
    """Who is in its cell, in numbers."""
    shape, _, rest = sentence_of(component).partition(";")
    words = f"<b>{esc(shape)}</b>{esc(';' + rest) if rest else ''}"
    return f'<p class="who">Who is in its cell. {words}</p>'


def _composites(component: Component) -> str:
    """What the function says of the picture itself."""
    if not component.composites:
        return ""
    return f'<p class="note">{esc(component.composites)}</p>'


REACH_LEGEND = (
    "Bar: from where a quarter of the answers has flipped to where three quarters "
    "have; mark: half. Edges: as far as each change was followed. Arrows: how many "
    "flip before that edge, and the component that decides for most of these."
)


def _reach(component: Component) -> str:
    """What would change the answers of its beats."""
    c = component
    if not c.reach or c.side is None:
        return ""
    words = reach_words(c.reach, c.side)
    alt = f"how far changes go before the answers of {c.name} change"
    drawn = draw.svg(draw.ranges(most_flipping(c.reach), side=c.side))
    legend = REACH_LEGEND
    if len(most_flipping(c.reach)) < len(c.reach):
        legend += f" Of {len(c.reach)} changes those that flip the most answers."
    figure = picture(drawn, legend, alt=alt)
    num = max(one.num_beats for one in c.reach)
    note = f'<p class="note">Exact, on {number(num)} of its beats.</p>'
    return (
        f'<div class="reach"><p><b>What would change the answer.</b> {esc(words)}</p>'
        f"{figure}{note}</div>"
    )


def same_words(component: Component) -> str:
    """Which other components are the same function; nothing where none is."""
    if not component.same_as:
        return ""
    others = esc(", ".join(component.same_as))
    return f'<p class="same">The same function as {others}; only its cell differs.</p>'


def num_functions(components: Sequence[Component]) -> int:
    """How many different functions some components are."""
    return len({frozenset((c.name, *c.same_as)) for c in components})


def _picture(component: Component, max_points: int) -> str:
    """The composite of the cell; below it what the component weighs, if known."""
    c = component
    assert c.sketch is not None
    style = {"side": c.side, "prototype": c.prototype, "max_points": max_points}
    if c.weighing is None:
        figure = draw.cell(c.sketch, label_bar=False, **style)
    else:
        figure = draw.weights(
            c.sketch, c.weighing, prototype_record=c.prototype_record, **style
        )
    what = "" if c.weighing is None else ", its prototype, and what it weighs"
    where = f", leads {', '.join(c.leads)}" if len(c.leads) > 1 else ""
    alt = f"composite ECG of {c.name}{what}{where}"
    return picture(draw.svg(figure), alt=alt, kind="paper")


def points_each(num_components: int) -> int:
    """Samples of single beats to draw on each card, so that the page stays small."""
    return int(np.clip(300_000 // max(1, num_components), 800, 2400))


def sentence_of(component: Component) -> str:
    """The sentence given, or else what is measured on the sketch."""
    if component.sentence is not None or component.sketch is None:
        return component.sentence or ""
    return describe(
        component.sketch, share=component.share_answers, answer=component.side
    )


def _deck(components: list[Component], points: int) -> str:
    cards = "".join(card(c, points) for c in components)
    return f'<div class="cards">{cards}</div>'


def _weighs(component: Component) -> str:
    if not component.weighs:
        return ""
    first, sign, rest = component.weighs.partition(";")
    if component.weighing is None or component.weighing.is_typical:
        first = f"<b>{esc(first)}</b>"
    else:  # nothing to stress: it stands for few beats
        first = esc(first)
    return (
        f'<p class="weighs">It weighs (apart from who is in the cell): '
        f"{first}{esc(sign + rest)}</p>"
    )


def _more(component: Component) -> str:
    sketch = component.sketch
    if sketch is None:
        return ""
    out = [_who(component), _weighs(component), _composites(component)]
    if sketch.normal is not None and sketch.not_normal is not None:
        svg = draw.svg(draw.sides(sketch))
        out.append(picture(svg, alt="beats on both sides of the margin", kind="paper"))
        for name, group in (("normal", sketch.normal), ("not", sketch.not_normal)):
            words = "Answered normal" if name == "normal" else "Answered not normal"
            of = ""
            if group.num_records:
                of = f" of {number(group.num_records)} recordings"
            out.append(
                f"<p>{words}: {number(group.num_beats)} beats{of}</p>"
                f"{label_bar(group.label_share)}"
            )
    if len(sketch.leads) > 1:
        rows = [{"lead": s.leads[0], **_shape_facts(s)} for s in sketch.each_lead]
        out.append(table(rows, caption="Measured on the median of each lead"))
    facts = _measured(sketch)
    if component.prototype_record is not None:
        facts["prototype from recording"] = component.prototype_record
    facts.update(component.notes)
    out.append(pairs(facts))
    title = "In numbers: its cell, both sides of the margin, measurements"
    if component.weighing is not None:
        out.append(_parts(component.weighing))
        title += ", weights"
    return details(title, "".join(out))


def _parts(weighing: Weighing) -> str:
    """What the component weighs in each part of the beat, and for how much."""
    of = "of time" if len(weighing.leads) == 1 else "of all samples"
    rows = [
        {
            "part": part.name,
            "from (ms)": round(1000 * part.segment.start_s),
            "to (ms)": round(1000 * part.segment.stop_s),
            "ends": "measured" if part.segment.measured else "fixed",
            "share of weight": share(part.share),
            of: share(part.share_time),
            "contribution": round(part.contribution, 3),
            "swing": round(part.swing, 3),
            "a change, and what it adds to the margin": "; ".join(
                f"{effect.change} {effect.gain:+.3f}"
                + ("" if effect.is_clear else " (no clear direction)")
                for effect in part.effects
            ).replace("-", "\N{MINUS SIGN}"),
        }
        for part in weighing.parts
    ]
    facts = {
        "value at the mean reference beat (level)": weighing.level,
        "mean value on the beats of the cell": weighing.level
        + sum(part.contribution for part in weighing.parts),
        "beats looked at": weighing.num_beats,
        "different templates among them": weighing.num_templates,
        "variance of its value that the mean template tells": share(weighing.told),
        "mean template and that at the prototype, correlation": weighing.likeness,
    }
    for name, unit_mv in zip(weighing.leads, weighing.units_mv, strict=True):
        where = f" in {name}" if len(weighing.leads) > 1 else ""
        facts[f"one {weighing.unit}{where}, median (mV)"] = unit_mv
    caption = (
        "What it weighs. Contribution: mean over the cell of template times (beat less "
        "mean reference beat); swing: standard deviation of mean template times beat "
        "over reference beats."
    )
    shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}
    return table(rows, caption=caption) + pairs(shown)


def _shape_facts(sketch: Sketch) -> dict[str, object]:
    """What is measured on the median of one lead."""
    m = sketch.shapes[0]
    facts = {
        "QRS width (ms)": m.qrs_ms,
        "R, largest deflection (mV)": m.r_mv,
        "ST level, 60 ms after the QRS (mV)": m.st_mv,
        "T (mV)": m.t_mv,
        "turning point of T (s)": m.t_s,
        "deflection before the QRS (mV)": m.p_mv,
        "width of the 80% band, mean (mV)": sketch.spreads_mv[0],
    }
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}


def _measured(sketch: Sketch) -> dict[str, object]:
    band = sketch.rr_band_s
    facts: dict[str, object] = {
        **(_shape_facts(sketch) if len(sketch.leads) == 1 else {}),
        "RR before, median (s)": sketch.rr_before_s,
        "RR before, middle 80% (s)": None if band is None else list(band),
        "RR after, median (s)": sketch.rr_after_s,
        "bSQI of the recordings, median": sketch.quality,
        "turned upside down for showing": share(sketch.share_flipped),
    }
    if len(sketch.leads) > 1:
        del facts["turned upside down for showing"]
    facts = {name: value for name, value in facts.items() if value is not None}
    if sketch.label_records:
        facts["recordings of each label"] = ", ".join(
            f"{k} {v:,}" for k, v in sketch.label_records.items()
        )
    if sketch.weighting == "recording":
        facts["weighting"] = "every recording counts once"
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in facts.items()}


def _short(component: Component, before: Sequence[str]) -> str:
    """Its share, and the first component before it that is the same function."""
    same = [f"= {name}" for name in component.same_as if name in before][:1]
    if component.share_answers is not None and component.side is not None:
        same = [percent(component.share_answers), *same]
    return "  ".join(same)


def _depth(component: Component, by_id: dict[int, Component]) -> int:
    depth, seen = 0, set()
    while component.parent in by_id and component.id not in seen:
        seen.add(component.id)
        component = by_id[component.parent]
        depth += 1
    return depth
