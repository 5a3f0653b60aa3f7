"""The page around the sections: head, warning, contents, style."""

from collections.abc import Sequence
from functools import cache
from importlib import resources

from ecg_jax.pages import components as tree
from ecg_jax.pages import equation, explore, glossary, sections
from ecg_jax.pages.changes import changes_part
from ecg_jax.pages.data import ReportData
from ecg_jax.pages.html import esc, share, slug, tiles

PROOF = "A proof here concerns the network, not the patient."
RESEARCH = "Research use only; not a medical device."
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def build(run: ReportData) -> str:
    """Write the report of a run as one page that needs nothing else.

    Args:
        run: Everything that the page shows.

    Returns:
        HTML. It loads nothing and opens without a network; without JavaScript it lacks
        filters, comparisons and single beats.
    """
    components, measured = list(run.components), run.data.measured
    controls = explore.controls(components, run.data)
    whole = "Recordings" if run.data.is_recorded else "The beats"
    made = "The run" if run.command else "Versions and numbers"
    parts = [
        (
            "tree",
            "What each component answers for",
            sections.label_key(run.data)
            + (tree.tree_figure(components, measured) if components else "")
            + tree.cards(components, measured, controls),
        ),
        (
            "equation",
            "The network as an equation",
            equation.mathematics(run.equation)
            + equation.pictures(run.equation)
            + "<h3>In words</h3>"
            + equation.words(components, run.equation)
            + equation.as_text(run.equation),
        ),
        *changes_part(run.changes),
        ("proof", "How much is proven", sections.proof_section(run)),
        ("purity", "Are the cells pure?", sections.purity_section(run)),
        ("data", whole, sections.data_section(run.data)),
        ("network", "The network", sections.network_section(run)),
        ("limits", "What cannot be claimed", sections.limits_section(run.data)),
        ("run", made, sections.run_section(run)),
        ("glossary", "Glossary", glossary.section()),
        ("sources", "Sources", sections.citations_section(run.data)),
    ]
    data = explore.page_data(components, run.data) if controls else ""
    return frame(run.title, _summary(run), parts, data)


def frame(
    title: str, summary: str, parts: Sequence[tuple[str, str, str]], data: str = ""
) -> str:
    """Put sections (id, heading, HTML) into a page.

    Args:
        title: Of the page.
        summary: HTML at its head.
        parts: The sections.
        data: What the script explores, from `explore.page_data`; "": no script.

    Returns:
        HTML.
    """
    script = explore.script() if data else ""
    source = f"; script-src {explore.source_of(script)}" if data else ""
    contents = "".join(
        f'<li><a href="#{slug(name)}">{esc(heading)}</a></li>'
        for name, heading, _ in parts
    )
    body = f"{summary}</header>" + "".join(
        f'<section id="{slug(name)}"><h2>{esc(heading)}</h2>{html}</section>'
        for name, heading, html in parts
    )
    if any(name == "glossary" for name, _, _ in parts):
        body = glossary.link_first(body)
    tail = f"{explore.windows()}{data}<script>{script}</script>" if data else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}{source}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)}</title><style>{_style()}</style></head><body>"
        f'<nav aria-label="Contents"><b>Contents</b><ol>{contents}</ol></nav>'
        f'<main><header><p class="brand">ecg_jax</p><h1>{esc(title)}</h1>'
        f'<div class="warning" role="note"><p>{PROOF}</p><p>{RESEARCH}</p></div>'
        f"{body}<footer><p>{PROOF} {RESEARCH}</p></footer></main>{tail}</body></html>"
    )


def _summary(run: ReportData) -> str:
    exact = _of(run, "exactness")
    cover = _of(run, "coverage")
    model = _of(run, "model")
    controls = {row["side"]: row.get("one_everywhere") for row in run.coverage}
    items = []
    if "decision_agreement" in exact:
        compared = exact.get("num_beats")
        too = ", training too" if run.data.is_split else ""
        beats = f"{compared:,} beats{too}" if compared else "beats"
        note = f"all {beats}; by construction: a check of the arithmetic"
        value = share(exact["decision_agreement"])
        items.append((value, "complete equation and network agree", note))
    for key, side, count in (
        ("proven_normal", "normal", "witnesses"),
        ("proven_not_normal", "not normal", "refuters"),
    ):
        if key in cover:
            own = [c for c in run.components if c.side == side]
            note = f"{_side(run)}; by "
            note += f"{cover[count]:,} {count}" if count in cover else count
            if (distinct := tree.num_functions(own)) < len(own):
                note += f", {distinct:,} different functions"
            if (alone := controls.get(side)) is not None:
                note += f"; by the best one alone {share(alone)}"
            items.append((share(cover[key]), f"of “{side}” answers proven", note))
    if "wrongly_proven" in cover:
        note = "all beats; 0 by construction: a check of the arithmetic"
        items.append((f"{cover['wrongly_proven']:,}", "proven wrongly", note))
    ends = model.get("intervals") or {}
    areas = {
        unit: (f"{model[key]:.3f}", ends.get(key))
        for unit, key in (("recording", "record_auc"), ("beat", "beat_auc"))
        if model.get(key) is not None  # none where all labels are alike
        and (unit == "beat" or run.data.labelled == "recordings")
    }
    if areas:
        unit, (value, interval) = next(iter(areas.items()))
        note = _measured(run)
        if interval:
            note += "; 95% interval {:.3f} to {:.3f}".format(*interval)
        note += f"; by beat {areas['beat'][0]}" if len(areas) > 1 else ""
        items.append((value, f"AUC by {unit}", note))
    count, beats = f"{run.data.num_recordings:,}", f"{run.data.num_beats:,}"
    if run.data.is_recorded:
        items.append((count, "recordings", f"{beats} beats"))
    else:
        items.append((beats, "beats", "whose recordings are not known"))
    return f'<p class="lead">{_lead(run)}</p>' + tiles(items)


def _side(run: ReportData) -> str:
    return "held-out recordings" if run.data.is_split else "the beats given"


def _measured(run: ReportData) -> str:
    """The recordings that figures are of, counted where the root's beats are known."""
    roots = [c.sketch for c in run.components if c.parent is None and c.sketch]
    number = f"{roots[0].num_records:,} " if roots and run.data.is_split else ""
    return f"{number}{_side(run)}"


def _lead(run: ReportData) -> str:
    patterns = run.equation.num_patterns
    which = (
        f"all patterns ({patterns:,} occur in the data)" if patterns else "all patterns"
    )
    return (
        f"{esc(run.subject)} says of each beat whether it is normal. Here it is "
        f"rewritten, exactly, as an equation of components over {which}. A few of them "
        "are shown, each by the ECGs that it answers for. What these prove needs no "
        "others; what none of them proves is left to the network itself."
    )


def _of(run: ReportData, key: str) -> dict:
    value = run.metrics.get(key, {})
    return dict(value) if hasattr(value, "keys") else {}


@cache
def _style() -> str:
    return resources.files("ecg_jax.pages").joinpath("style.css").read_text("utf-8")
