"""Exploring the page: filter and order of the cards, numbers and script for a browser.

Without JavaScript nothing of it shows: the form is hidden until the script finds it.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from ecg_jax.cells.leads import telling
from ecg_jax.cells.sketch import UNLABELLED
from ecg_jax.pages.data import CellBeat, Component, DataFacts
from ecg_jax.pages.html import anchor

FILES = ("paper.js", "filter.js", "explore.js")
UNIT_MV = 0.01
"""Beats are written in whole numbers of this, a tenth of a small square of paper."""

ORDERS = {
    "": "as in the tree",
    "beats -1": "most beats first",
    "beats 1": "fewest beats first",
    "normal -1": "most normal labels first",
    "normal 1": "fewest normal labels first",
    "proven -1": "most proven first",
    "proven 1": "least proven first",
}


def controls(components: Sequence[Component], data: DataFacts) -> str:
    """The form that filters and orders the cards; hidden, for it needs the script."""
    facts = [_facts(c, data) for c in components if c.parent is not None]
    if not facts:
        return ""
    known = {
        k for k in ("beats", "normal", "proven") if any(f[k] is not None for f in facts)
    }
    radios = "".join(
        f'<label><input type="radio" name="side" value="{value}"'
        f"{'' if value else ' checked'}> {words}</label>"
        for value, words in (
            ("", "both"),
            ("normal", "normal"),
            ("not normal", "not normal"),
        )
    )
    fields = f"<fieldset><legend>Answer</legend>{radios}</fieldset>"
    if "normal" in known:
        fields += _between("normal", "Labels that are normal, % of its beats")
    if "proven" in known:
        fields += _between("proven", "Proven by itself, % of its beats")
    orders = "".join(
        f'<option value="{value}">{words}</option>'
        for value, words in ORDERS.items()
        if not value or value.split()[0] in known
    )
    fields += (
        "<fieldset><legend>Beats</legend><label>at least "
        '<input type="number" name="beats" min="0" value="0"></label></fieldset>'
        "<fieldset><legend>Find and order</legend>"
        '<label>name, words, recording <input type="search" name="find"></label>'
        f'<label>order <select name="order">{orders}</select></label></fieldset>'
    )
    return (
        '<form class="explore" id="explore" aria-label="Filter the components" hidden>'
        f'{fields}<p><output aria-live="polite"></output> '
        '<button type="reset">Show all</button></p></form>'
        '<div class="cards" id="found" hidden></div>'
    )


def _between(name: str, legend: str) -> str:
    ends = "".join(
        f'<label>{word} <input type="number" name="{name}-{word}" min="0" max="100" '
        f'value="{value}"></label>'
        for word, value in (("from", 0), ("to", 100))
    )
    return f"<fieldset><legend>{legend}</legend>{ends}</fieldset>"


def windows() -> str:
    """Where pinned components are named, and where two of them are compared."""
    return (
        '<div class="pinned" id="pinned" hidden></div>'
        '<dialog id="compare" aria-labelledby="compare-title"></dialog>'
    )


def page_data(components: Sequence[Component], data: DataFacts) -> str:
    """Composites and beats of the components as JSON that no text can break out of.

    Of more than three leads those in which the composites differ most.
    """
    times = [c.sketch.time_s for c in components if c.sketch is not None]
    if not times:
        return ""
    time = times[0]
    leads = telling([c.sketch.median for c in components if c.sketch is not None])
    values = {
        "unit_mv": UNIT_MV,
        "start_s": round(float(time[0]), 6),
        "step_s": round(float(time[-1] - time[0]) / max(len(time) - 1, 1), 9),
        "num": len(time),
        "leads": [data.leads[k] for k in leads],
        "components": {
            anchor(c): _facts(c, data) | _waves(c, list(leads)) for c in components
        },
    }
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return f'<script type="application/json" id="page-data">{text}</script>'


def _facts(component: Component, data: DataFacts) -> dict[str, Any]:
    """What cards are filtered and ordered by."""
    sketch, normal = component.sketch, None
    if sketch is not None and set(sketch.label_share) != {UNLABELLED}:
        shares = sketch.label_share
        normal = round(sum(shares.get(name, 0.0) for name in data.normal_names), 6)
    proven = component.share_proven
    return {
        "name": component.name,
        "side": component.side,
        "beats": 0 if sketch is None else sketch.num_beats,
        "normal": normal,
        "proven": None if proven is None else round(proven, 6),
    }


def _waves(component: Component, leads: list[int]) -> dict[str, Any]:
    """The composite, the middle half of the beats, and the few beats, as numbers."""
    c, sketch = component, component.sketch
    out: dict[str, Any] = dict.fromkeys(("composite", "first", "third"))
    if sketch is not None:
        _, first, third, _ = sketch.quantiles[:, leads]
        out |= {"composite": _whole(sketch.median[leads])}
        out |= {"first": _whole(first), "third": _whole(third)}
    otherwise = c.median_answer is not None and c.median_answer != c.side
    out["kind"] = "medoid" if otherwise else "median"
    out["shown"] = [_beat(beat, leads) for beat in c.beats]
    return out


def _beat(beat: CellBeat, leads: list[int]) -> dict[str, Any]:
    return {
        "kind": beat.kind,
        "mv": _whole(beat.millivolts[leads]),
        "distance_mv": round(beat.distance_mv, 4),
        "margin": float(f"{beat.margin:.4g}"),
        "cell": beat.cell,
        "prover": beat.prover,
        "record": beat.record,
        "r_time_s": None if beat.r_time_s is None else round(beat.r_time_s, 3),
        "label": beat.label,
        "flip": beat.flip,
    }


def _whole(millivolts: np.ndarray) -> list[list[int]]:
    return np.round(millivolts / UNIT_MV).astype(int).tolist()


@cache
def script() -> str:
    """The JavaScript of the page, in one scope of its own."""
    folder = resources.files("ecg_jax.pages")
    parts = "\n".join(folder.joinpath(name).read_text("utf-8") for name in FILES)
    return f'"use strict";{{\n{parts}}}\n'


def source_of(text: str) -> str:
    """What a content security policy lets run: this script and no other."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
