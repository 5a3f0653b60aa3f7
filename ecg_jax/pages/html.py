"""Pieces of HTML; whatever comes from outside is escaped here."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ecg_jax.draw.paper import label_color
from ecg_jax.pages.data import Component
from ecg_jax.pages.names import COLUMNS, HELP, METRICS, SHARES
from ecg_jax.percent import percent
from ecg_jax.percent import share as in_percent

Row = Mapping[str, Any]
LONG = 90
"""Letters from which on a cell of a table holds a sentence."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def esc(value: object) -> str:
    """Escape a text; characters that no page may hold become a question mark."""
    return html.escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def slug(name: str) -> str:
    """Turn a name into an id that is safe in an attribute and in a link."""
    return re.sub(r"[^A-Za-z0-9_.-]", lambda m: f"-{ord(m[0]):x}", name) or "-"


def anchor(component: Component) -> str:
    """Id of the card of a component."""
    return f"c{component.id}-{slug(component.name)}"


def number(value: object) -> str:
    """Write a number, a list or anything else the way a table shows it."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "\N{EM DASH}"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\N{MINUS SIGN}")
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return ", ".join(number(v) for v in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{esc(k)} {number(v)}" for k, v in value.items())
    return esc(value)


def share(value: float | None) -> str:
    """Write a share in per cent; "—" where it is unknown."""
    if value is None or not math.isfinite(value):
        return "\N{EM DASH}"
    return in_percent(value)


def shown(key: str, value: object) -> str:
    """Write a value as a table shows it: what is a share by its name in per cent."""
    if key in SHARES and isinstance(value, float | np.floating):
        return share(float(value))
    return number(value)


def table(
    rows: Sequence[Row], *, caption: str = "", columns: Sequence[str] | None = None
) -> str:
    """A table of one row a mapping; columns are named and explained by `names`."""
    if not rows:
        return '<p class="none">Nothing to show.</p>'
    keys = list(columns or dict.fromkeys(key for row in rows for key in row))
    head = "".join(
        f"<th{_hint(key)}{_right(rows, key)}>{esc(COLUMNS.get(key, key))}</th>"
        for key in keys
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_right(rows, key) or _long(rows, key)}>{shown(key, row.get(key))}"
            "</td>"
            for key in keys
        )
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{esc(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def pairs(values: Mapping[str, Any], *, keys: bool = False) -> str:
    """A two-column table of names and values; nested names are joined by dots.

    With `keys`, names are shown as code, those of metrics.json with their meaning.
    """
    rows = []
    for key, value in flatten(values):
        words = METRICS.get(key, "") if keys else ""
        note = f'<span class="note">{esc(words)}</span>' if words else ""
        name = f"<code>{esc(key)}</code>" if keys else esc(key)
        rows.append(f"<tr><th>{name}{note}</th><td>{number(value)}</td></tr>")
    if not rows:
        return '<p class="none">Nothing to show.</p>'
    return (
        '<div class="scroll"><table class="pairs"><tbody>'
        f"{''.join(rows)}</tbody></table></div>"
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Walk nested mappings and lists of mappings: ("purity.0.gain", .1), ..."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from flatten(value, name + ".")
        elif _is_rows(value):
            for at, row in enumerate(value):
                yield from flatten(row, f"{name}.{at}.")
        else:
            yield name, value


def details(summary: str, body: str, *, kind: str = "") -> str:
    """Something long, behind a line that opens it; `summary` is escaped."""
    state = f' class="{kind}"' if kind else ""
    return f"<details{state}><summary>{esc(summary)}</summary>{body}</details>"


def picture(svg: str, caption: str = "", *, alt: str, kind: str = "chart") -> str:
    """A figure with its caption (HTML); `alt` is read aloud in place of it.

    One that holds links stays open to a screen reader.
    """
    role = "group" if "<a " in svg else "img"
    label = f'<svg role="{role}" aria-label="{esc(alt)}"'
    body = svg.replace("<svg", label, 1)
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{body}{words}</figure>'


def label_bar(shares: Mapping[str, float]) -> str:
    """A bar with the share of each label, in words below."""
    parts, words = [], []
    for name, value in shares.items():
        color = label_color(name)
        text = f"{esc(name)} {percent(value)}"
        shown = text if value > 0.13 else ""
        parts.append(
            f'<span style="flex:{value:.4f};background:{color}" '
            f'title="{text}">{shown}</span>'
        )
        words.append(f"{text}")
    small = ", ".join(words)
    return (
        f'<div class="bar" role="img" aria-label="labels: {small}">'
        f'{"".join(parts)}</div><div class="barwords">{small}</div>'
    )


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (number, what it is, what to think of it), all escaped."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><b>{esc(value)}</b><span>{esc(what)}</span>'
            f"<small>{esc(note)}</small></div>"
            for value, what, note in items
        )
        + "</div>"
    )


def _float(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "\N{MINUS SIGN}∞"}.get(value, "\N{EM DASH}")
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-3 or size >= 1e7:
        text = f"{value:.2e}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 100:
        text = f"{value:.1f}"
    else:
        text = f"{value:.4f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number)


def _long(rows: Sequence[Row], key: str) -> str:
    """A class for a column of sentences, which a narrow screen must not squeeze."""
    longest = max(len(v) if isinstance(v := row.get(key), str) else 0 for row in rows)
    return ' class="long"' if longest > LONG else ""


def _right(rows: Sequence[Row], key: str) -> str:
    return " class=num" if any(_is_number(row.get(key)) for row in rows) else ""


def _hint(key: str) -> str:
    words = HELP.get(key)
    return f' title="{esc(words)}"' if words else ""


def _is_rows(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(isinstance(row, Mapping) for row in value)
    )
