"""The page around the sections: head, warning, contents, style."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from ecg_jax.draw.render import write_bytes
from ecg_jax.report import components as tree
from ecg_jax.report import equation, sections
from ecg_jax.report.data import ReportData
from ecg_jax.report.html import esc, share, slug, tiles

PROOF = "A proof here concerns the network, not the patient."
RESEARCH = "Research use only; not a medical device."
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def build(run: ReportData) -> str:
    """Write the report of a run as one page that needs nothing else.

    Args:
        run: Everything that the page shows.

    Returns:
        HTML. It loads nothing, runs no script, and opens without a network.
    """
    components = list(run.components)
    parts = [
        ("data", "Recordings", sections.data_section(run.data)),
        ("network", "The network", sections.network_section(list(run.networks))),
        (
            "equation",
            "The network as an equation",
            equation.mathematics(run.equation)
            + "<h3>In words</h3>"
            + equation.words(components)
            + equation.as_text(run.equation),
        ),
        (
            "tree",
            "What each component answers for",
            f'<p class="callout">{sections.LABEL_NOTE}</p>{sections.label_key()}'
            + (tree.tree_figure(components) if components else "")
            + tree.cards(components),
        ),
        ("proof", "How much is proven", sections.proof_section(run)),
        ("purity", "Are the cells pure?", sections.purity_section(run)),
        ("limits", "What cannot be claimed", sections.limits_section()),
        ("run", "The run", sections.run_section(run)),
        ("sources", "Sources", sections.citations_section(run.data)),
    ]
    return frame(run.title, _summary(run), parts)


def write_report(run: ReportData, path: Path | str) -> Path:
    """Write the page to a file, all of it or nothing.

    Raises:
        DiskFullError: No space is left.
    """
    return write_bytes(Path(path), build(run).encode("utf-8"))


def frame(title: str, summary: str, parts: Sequence[tuple[str, str, str]]) -> str:
    """Put sections (id, heading, HTML) into a page; `summary` is HTML."""
    contents = "".join(
        f'<li><a href="#{slug(name)}">{esc(heading)}</a></li>'
        for name, heading, _ in parts
    )
    body = "".join(
        f'<section id="{slug(name)}"><h2>{esc(heading)}</h2>{html}</section>'
        for name, heading, html in parts
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{esc(title)}</title><style>{_style()}</style></head><body>"
        f'<nav aria-label="Contents"><b>Contents</b><ol>{contents}</ol></nav>'
        f'<main><header><p class="brand">ecg_jax</p><h1>{esc(title)}</h1>'
        f'<div class="warning" role="note"><p>{PROOF}</p><p>{RESEARCH}</p></div>'
        f"{summary}</header>{body}"
        f"<footer><p>{PROOF} {RESEARCH}</p></footer></main></body></html>"
    )


def _summary(run: ReportData) -> str:
    exact = _of(run, "exactness")
    cover = _of(run, "coverage")
    model = _of(run, "model")
    items = []
    if "decision_agreement" in exact:
        compared = exact.get("num_beats")
        note = f"of {compared:,} beats" if isinstance(compared, int) else ""
        value = share(exact["decision_agreement"])
        items.append((value, "equation and network agree", note))
    for key, what in (
        ("proven_normal", "of “normal” answers proven"),
        ("proven_not_normal", "of “not normal” answers proven"),
    ):
        if key in cover:
            count = "witnesses" if key == "proven_normal" else "refuters"
            note = f"by {cover[count]:,} {count}" if count in cover else ""
            items.append((share(cover[key]), what, note))
    if "wrongly_proven" in cover:
        note = "must be 0; on recordings not seen in training"
        items.append((f"{cover['wrongly_proven']:,}", "proven wrongly", note))
    areas = {
        unit: f"{model[key]:.3f}"
        for unit, key in (("recording", "record_auc"), ("beat", "beat_auc"))
        if model.get(key) is not None  # none where all labels are alike
    }
    if areas:
        unit, value = next(iter(areas.items()))
        note = f"by beat {areas['beat']}" if len(areas) > 1 else ""
        items.append((value, f"AUC by {unit}, held out", note))
    count = f"{run.data.num_recordings:,}"
    items.append((count, "recordings", f"{run.data.num_beats:,} beats"))
    return (
        '<p class="lead">A trained network says of each beat whether it is normal. '
        "Here it is rewritten, exactly, as an equation of a few components, and each "
        "component is shown by the ECGs that it answers for.</p>" + tiles(items)
    )


def _of(run: ReportData, key: str) -> dict:
    value = run.metrics.get(key, {})
    return dict(value) if hasattr(value, "keys") else {}


@cache
def _style() -> str:
    return resources.files("ecg_jax.report").joinpath("style.css").read_text("utf-8")
