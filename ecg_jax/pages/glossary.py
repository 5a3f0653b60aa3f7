"""The words of the page: a section that explains them, and a link where each is first.

Texts are plain; words in them that are themselves explained are not linked again.
"""

import re

from ecg_jax.pages.html import esc, slug

TERMS = {
    "margin": "The number f(x) that the network gives for a beat: from 0 upwards it "
    "answers normal, below 0 not normal. It has no unit; only its sign is an answer.",
    "component": "A simpler function made from the network by freezing some of its "
    "units. Each answers for the beats of its cell.",
    "cell": "The beats that one component answers for.",
    "composite": "The median of the beats of a cell at each moment, with bands. It is "
    "a picture of the cell, no beat of a person.",
    "prototype": "The one beat at which a component equals the network.",
    "proven": "An answer is proven if a chosen component alone settles it: no rounding "
    "and no other part of the network can turn it. What is proven concerns the "
    "network, not the patient.",
    "witness": "A component that never exceeds the network. Where it is above 0 the "
    "network is, so it proves “normal”.",
    "refuter": "A component that never falls below the network. Where it is below 0 "
    "the network is, so it proves “not normal”.",
    "sandwich": "Witnesses from below and refuters from above: the margin lies between "
    "them on every beat, seen or not.",
    "frozen": "A unit is frozen if a straight line stands in for it. The more units a "
    "component freezes, the simpler it is.",
    "pattern": "Which of the units are on and which off at a beat.",
    "gate": "A unit of the network that bends, such as a ReLU: all that keeps it from "
    "being one weighted sum.",
    "certificate": "What was checked by calculation: that equation and network agree "
    "and that components are bounds.",
    "AUC": "The chance that of two beats or recordings, one normal and one not, the "
    "normal one has the larger margin: 0.5 is guessing, 1 is perfect.",
    "bSQI": "How well two detectors of R peaks agree on a recording: 1 is on every "
    "beat, below 0.8 it is noisy.",
}
"""Terms and what they mean; the singular, in small letters where it is a word."""

_PLURALS = {"witness": "witnesses"}
_SKIPPED = {"a", "button", "code", "h1", "h2", "h3", "h4", "math", "pre", "summary"}
_SKIPPED |= {"dl", "form", "style", "svg"}
_TAG = re.compile(r"""(<[a-zA-Z/!](?:"[^"]*"|'[^']*'|[^'">])*>)""")
_WORDS = {term: _PLURALS.get(term, f"{term}s") for term in TERMS}
_FIND = re.compile(
    rf"(?<![\w-])({'|'.join(w for pair in _WORDS.items() for w in pair)})(?![\w-])",
    re.IGNORECASE,
)
_TERM = {
    word.lower(): term for term, plural in _WORDS.items() for word in (term, plural)
}


def section() -> str:
    """Every term with what it means, in the order of the alphabet."""
    items = "".join(
        f'<div id="{_id(term)}"><dt>{esc(term)}</dt><dd>{esc(TERMS[term])}</dd></div>'
        for term in sorted(TERMS, key=str.lower)
    )
    return f'<dl class="glossary">{items}</dl>'


def link_first(html: str) -> str:
    """Link every term to its meaning where the text of a page has it first.

    Not inside links, headings, figures, code or lists of numbers.

    Example:
        >>> link_first("<h2>A gate</h2><p>gates, a gate</p>")
        '<h2>A gate</h2><p><a class="term" href="#term-gate">gates</a>, a gate</p>'
    """
    left, inside, out = set(TERMS), [], []

    def link(found: re.Match[str]) -> str:
        term = _TERM[found[0].lower()]
        if term not in left:
            return found[0]
        left.discard(term)
        return f'<a class="term" href="#{_id(term)}">{found[0]}</a>'

    for part in _TAG.split(html):
        if _TAG.fullmatch(part):
            name = part.strip("</>").split()[0].lower()
            if name in _SKIPPED and not part.endswith("/>"):
                inside = inside[:-1] if part.startswith("</") else [*inside, name]
        elif not inside and left:
            part = _FIND.sub(link, part)
        out.append(part)
    return "".join(out)


def _id(term: str) -> str:
    return f"term-{slug(term)}"
