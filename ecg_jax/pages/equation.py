"""The equation, in MathML (which browsers render by themselves) and in words."""

from ecg_jax import draw
from ecg_jax.pages.data import Component, EquationFacts
from ecg_jax.pages.html import anchor, details, esc, number, pairs, picture

MOST_NAMED = 12
MOST_TERMS = 4
SPACE = '<mspace width="0.6em"/>'
SAME = (
    " Components joined by “=” are one and the same function; which of them answers is "
    "decided by that distance alone."
)
THIN = '<mspace width="0.22em"/>'


def mathematics(equation: EquationFacts) -> str:
    """The equation, its bounds, and what each letter means."""
    lines = [
        (
            "The network, exactly, on every input: μ and τ range over all patterns, "
            "not over the few components shown on this page, which give bounds.",
            _row(_f("x"), _o("="), _largest("μ"), _smallest("τ"), _n("x"))
            + SPACE
            + _row(_o("="), _smallest("τ"), _largest("μ"), _n("x")),
        ),
        (
            "A component: the network with the opened gates z replaced by straight "
            "lines, tangent at μ where they raise the margin and at τ where they lower "
            "it.",
            _row(
                _n("x"),
                _o("="),
                _product("+", "μ"),
                _o("\N{MINUS SIGN}"),
                _product("\N{MINUS SIGN}", "τ"),
                _o("+"),
                _call("r", "x"),
            ),
        ),
        (
            "One-sided components are bounds everywhere: a witness W lies below the "
            "network, a refuter R above it.",
            _row(_indexed("W", "a"), _o("≤"), _f("x"), _o("≤"), _indexed("R", "b")),
        ),
    ]
    shown = "".join(
        f'<div class="eq"><math display="block">{math}</math><p>{esc(words)}</p></div>'
        for words, math in lines
    )
    facts = {
        "opened gates, level by level": " \N{RIGHTWARDS ARROW} ".join(equation.opened)
        or None,
        "units opened first": equation.num_units,
        "on the max side": equation.num_max_units,
        "on the min side": equation.num_min_units,
        "patterns that occur in the data": equation.num_patterns,
    }
    known = {key: value for key, value in facts.items() if value is not None}
    table = pairs(known) if known else ""
    return f'<div class="equations">{shown}</div>{table}'


def pictures(equation: EquationFacts) -> str:
    """The equation with a picture for each template, where it is made of these."""
    shown = equation.templates
    if not shown:
        return ""
    normal, other = (
        [t.name for t in shown if t.side == side] for side in ("normal", "not normal")
    )
    math = _row(
        _f("x"),
        _o("="),
        *_largest_of(normal),
        _o("\N{MINUS SIGN}"),
        *_largest_of(other),
    )
    most = max(float(abs(t.weight).max()) for t in shown)
    caption = (
        "Each term is one template, a weight for every sample of the beat, plus a "
        "number: on either side the one that the beat fits best decides. Height: the "
        "template, all on one scale, its largest weight "
        f"{most:.2g} per mV at one sample; blue where a higher value raises the "
        "margin, orange where it lowers it. Line: the median of the beats that the "
        "component answers for, not to scale; per cent: of the answers of its side."
    )
    if len(shown[0].leads) > 1:
        caption += " Leads stand below one another."
    figure = picture(
        draw.svg(draw.templates(shown)), caption, alt="the templates", kind="paper"
    )
    return f'<div class="eq"><math display="block">{math}</math></div>{figure}'


def as_text(equation: EquationFacts) -> str:
    """The equation as text: who is in each cell, what each component weighs."""
    if not equation.text:
        return ""
    title = "The equation as text, with who is in each cell and what is weighed"
    text = f'<pre class="long">{esc(equation.text)}</pre>'
    return details(title, text)


def words(components: list[Component], equation: EquationFacts) -> str:
    """The equation as sentences, with the names of the components."""
    top = [c for c in components if c.parent is not None]
    roots = {c.id for c in components if c.parent is None}
    first = [c for c in top if c.parent in roots]
    names = {
        side: [c for c in first if c.side == side] for side in ("normal", "not normal")
    }
    items = [
        "<li><b>f(x)</b> is the margin of the network on a beat <i>x</i>: from 0 "
        "upwards it answers <i>normal</i>, below 0 <i>not normal</i>.</li>"
    ]
    if names["normal"]:
        items.append(
            f"<li>The answer <b class=normal>normal</b> is <b>proven by</b> "
            f"{_any(names['normal'])}, where that is above 0. A witness never exceeds "
            "the network, so where one is above 0, the network is.</li>"
        )
    if names["not normal"]:
        items.append(
            f"<li>The answer <b class=other>not normal</b> is <b>proven by</b> "
            f"{_any(names['not normal'])}, where that is below 0. A refuter never "
            "falls below the network, so where one is below 0, the network is.</li>"
        )
    items.append(
        f"<li>{_decides(equation)}"
        + (SAME if any(c.same_as for c in first) else "")
        + "</li>"
    )
    items.append(
        "<li>If none of them decides, the answer stands <b>not proven</b>: the network "
        "itself gives it, and the components only say between which two numbers the "
        "margin lies.</li>"
    )
    return f'<ul class="words">{"".join(items)}</ul>'


def _decides(equation: EquationFacts) -> str:
    """Which of several components answers for a beat."""
    of = "of the gates' input" if equation.metric == "cut" else "of a cell"
    if equation.localize == 0:
        return (
            "Of the components of a side, the one whose bound is best answers for a "
            "beat: it takes least from the margin."
        )
    if equation.localize is not None:
        return (
            "Of the components of a side, the one answers for a beat that takes least "
            f"from the margin, {equation.localize:g} times the squared distance to its "
            f"mean {of} added."
        )
    if equation.metric == "cut":
        return (
            "Where several components prove an answer, the one whose cell has the "
            f"nearest mean {of} answers for it."
        )
    return (
        "Where several components prove an answer, the one whose cell the beat looks "
        f"most like (the nearest mean {of}) answers for it."
    )


def _any(components: list[Component]) -> str:
    """The functions with the phrases of their cells, joined by "or"; at most twelve."""
    groups: dict[frozenset[str], list[Component]] = {}
    for c in components:
        groups.setdefault(frozenset((c.name, *c.same_as)), []).append(c)
    shown = [
        " = ".join(
            f'<a href="#{anchor(c)}">{esc(c.name)}</a>'
            + (f" ({esc(c.phrase)})" if c.phrase else "")
            for c in group
        )
        for group in [*groups.values()][:MOST_NAMED]
    ]
    hidden = len(groups) - len(shown)
    if hidden:
        return f"{', '.join(shown)}, or one of {number(hidden)} more"
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _i(name: str) -> str:
    return f"<mi>{name}</mi>"


def _o(sign: str) -> str:
    return f"<mo>{sign}</mo>"


def _call(name: str, argument: str) -> str:
    return f"{_i(name)}<mo stretchy=false>(</mo>{_i(argument)}<mo stretchy=false>)</mo>"


def _f(argument: str) -> str:
    return _call("f", argument)


def _largest(over: str) -> str:
    return f"<munder><mi>max</mi>{_i(over)}</munder>{THIN}"


def _smallest(over: str) -> str:
    return f"<munder><mi>min</mi>{_i(over)}</munder>{THIN}"


def _largest_of(names: list[str]) -> list[str]:
    """`max(P1(x), ..., P9(x))`, the middle left out where there are many."""
    calls = [_call(esc(name), "x") for name in names]
    if len(calls) > MOST_TERMS:
        calls = [*calls[:2], _o("\N{HORIZONTAL ELLIPSIS}"), calls[-1]]
    inner = "<mo>,</mo>".join(calls)
    return [
        "<mi>max</mi>",
        "<mo stretchy=false>(</mo>",
        inner,
        "<mo stretchy=false>)</mo>",
    ]


def _indexed(name: str, index: str) -> str:
    return (
        f"<msub>{_i(name)}{_i(index)}</msub>"
        f"<mo stretchy=false>(</mo>{_i('x')}<mo stretchy=false>)</mo>"
    )


def _n(argument: str) -> str:
    index = _row(_i("μ"), "<mo>,</mo>", _i("τ"))
    return (
        f"<msub>{_i('N')}{index}</msub>"
        f"<mo stretchy=false>(</mo>{_i(argument)}<mo stretchy=false>)</mo>"
    )


def _product(sign: str, index: str) -> str:
    weight = f"<msup>{_i('w')}<mo>{sign}</mo></msup>"
    tangent = f"<msub>{_i('T')}{_i(index)}</msub>"
    inner = f"<mo stretchy=false>(</mo>{_call('z', 'x')}<mo stretchy=false>)</mo>"
    return _row(_o("⟨"), weight, "<mo>,</mo>", tangent, inner, _o("⟩"))
