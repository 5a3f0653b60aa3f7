"""The logical reading: an equation as a circuit of OR and AND, as text and as LaTeX.

Read with `>= 0`, a max is an OR and a min is an AND:

    normal  =  P1 or P2 or ... or (not Q1 and not Q2 and ... and rest)

`P` proves "normal" where its lower bound of `f` is above 0 by more than rounding, `Q`
proves "not normal" where its upper bound is below 0; so do the children of each. The
rest is `f` itself, so the circuit answers as the network does, on every input. The text
writes `P1 = P2` of components that are the same function: only their cells differ.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import numpy as np
from jaxtyping import Bool

from ecg_jax.lattice.text import escaped
from ecg_jax.percent import share
from ecg_jax.program.blocks import blocks
from ecg_jax.tree.duplicates import same_functions
from ecg_jax.tree.tree import Decision, Node, Tree

WIDTH = 80
Phrases = Mapping[str, str]
Same = Mapping[int, Sequence[int]]


@dataclass(frozen=True)
class Literal:
    """Whether one component proves the answer of its side: an input of the circuit.

    Attributes:
      node: the component; 0 for the rest, which tests `f >= 0`.
      name: of the component, or "rest".
      negated: True where it is asked that it does *not* prove.
    """

    node: int
    name: str
    negated: bool = False

    def __str__(self) -> str:
        """For example "not Q1"."""
        return f"not {self.name}" if self.negated else self.name


@dataclass(frozen=True)
class Junction:
    """An OR or an AND of tests and of other junctions."""

    kind: str
    children: "tuple[Literal | Junction, ...]"

    def __str__(self) -> str:
        """For example "(P1 or (not Q1 and rest))"."""
        return f"({f' {self.kind} '.join(map(str, self.children))})"


@dataclass(frozen=True, eq=False)
class Circuit:
    """The logical circuit of a tree.

    Attributes:
      tree: the equation.
      root: its outermost OR; the rest alone if the tree has no components.
    """

    tree: Tree
    root: Literal | Junction

    def evaluate(self, data: Any) -> Bool[np.ndarray, " n"]:
        """The circuit's answer for every sample: True means normal."""
        return _evaluated(self.root, self.passes(data))

    def passes(self, data: Any) -> Bool[np.ndarray, "n nodes"]:
        """Which nodes prove the answer of their side; column 0: the rest, `f >= 0`."""
        tree = self.tree
        signs = np.array([node.sign for node in tree.nodes])
        values, slack = tree.values(data), blocks(tree.slack, data)
        proven = signs * values > slack[:, None]
        return np.where(signs == 0, values >= 0, proven)

    def __str__(self) -> str:
        """The circuit as one formula."""
        return str(self.root).removeprefix("(").removesuffix(")")


def circuit(tree: Tree) -> Circuit:
    """The AND/OR circuit of a tree, with its rest.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej
      >>> f = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1])
      >>> data = jax.random.normal(jax.random.key(0), (200, 2))
      >>> print(circuit(ej.grow(f, data, depth=1, budget=1)))
      P1 or (not Q1 and rest)
    """
    above = [_junction(tree, node) for node in _first(tree, 1)]
    below = [_junction(tree, node) for node in _first(tree, -1)]
    rest = Literal(0, "rest")
    inner = Junction("and", (*below, rest)) if below else rest
    return Circuit(tree, Junction("or", (*above, inner)) if above else inner)


def _junction(tree: Tree, node: Node) -> Literal | Junction:
    """A component and those below it: any of them is enough."""
    test = Literal(node.id, node.name, negated=node.sign < 0)
    below = [_junction(tree, tree.nodes[i]) for i in tree.children(node.id)]
    kind = "or" if node.sign > 0 else "and"
    return Junction(kind, (*below, test)) if below else test


def _evaluated(part: Literal | Junction, passes: np.ndarray) -> np.ndarray:
    if isinstance(part, Literal):
        return passes[:, part.node] ^ part.negated
    join = np.logical_or if part.kind == "or" else np.logical_and
    return join.reduce([_evaluated(child, passes) for child in part.children])


def _first(tree: Tree, sign: int) -> list[Node]:
    return [n for n in tree.nodes if n.parent == 0 and n.sign == sign]


def to_text(
    tree: Tree,
    phrases: Phrases | None = None,
    decision: Decision | None = None,
    sentences: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The equation in words.

    Args:
      tree: the equation.
      phrases: sentences by component name, such as "narrow QRS, upright T".
      decision: of samples; their shares are then told instead of the training counts.
      sentences: by component name, each on lines of its own below the component, such
        as who is in its cell, and what it weighs; the phrase is then not repeated.

    Returns:
      Text of a few lines, then a line for each component.

    Example: see `notebooks/equations.md`.
    """
    phrases, same = phrases or {}, same_functions(tree)
    lines = [_bound("f(x) = max(", tree, 1, same)]
    lines += [_bound("     = min(", tree, -1, same), ""]
    for sign, side in ((1, "normal"), (-1, "not normal")):
        names = [
            " = ".join(_with_phrase(node.name, phrases) for node in group)
            for group in _functions(_first(tree, sign), same)
        ]
        if names:
            lines.append(_filled(f"{side} if proven by {', or '.join(names)};"))
    lines += ["otherwise the rest, f itself, decides: normal if f(x) >= 0.", ""]
    notes = sentences or {}
    told = [
        _told(tree, node, phrases, decision, notes.get(node.name, ()), same[node.id])
        for node in _ordered(tree)
    ]
    return "\n".join([*lines, *(line for block in told for line in block)]).strip()


def _functions(nodes: Sequence[Node], same: Same) -> list[list[Node]]:
    """Components with those that are the same function beside each other."""
    groups: dict[int, list[Node]] = {}
    for node in nodes:
        groups.setdefault(min((node.id, *same[node.id])), []).append(node)
    return list(groups.values())


def _bound(start: str, tree: Tree, sign: int, same: Same) -> str:
    groups = _functions(_first(tree, sign), same)
    names = [" = ".join(node.name for node in group) for group in groups]
    return _filled(f"{start}{', '.join([*names, 'rest'])})", " " * len(start))


def _with_phrase(name: str, phrases: Phrases) -> str:
    return f"{name} ({phrases[name]})" if name in phrases else name


def _ordered(tree: Tree, parent: int = 0) -> Iterator[Node]:
    """Components from the top down, children below their parents."""
    for i in tree.children(parent):
        yield tree.nodes[i]
        yield from _ordered(tree, i)


def _told(
    tree: Tree,
    node: Node,
    phrases: Phrases,
    decision: Decision | None,
    sentences: Sequence[str],
    same: Sequence[int],
) -> list[str]:
    indent = "  " * node.name.count(".")
    levels = f"{node.depth} level{'s' if node.depth > 1 else ''}"
    text = f"{indent}{node.name}: proves {node.side}; "
    if same:
        others = ", ".join(tree.nodes[i].name for i in same)
        text += f"the same function as {others}, only its cell differs; "
    text += f"freezes {levels} of gates, "
    text += f"{share(node.share_frozen, 0)} of {_units(tree, node)}; "
    text += _share(tree, node, decision)
    below = [tree.nodes[i].name for i in tree.children(node.id)]
    if below:
        text += f"; {node.side} is proven also by {' or '.join(below)}"
    if node.name in phrases and not sentences:
        text += f"; {phrases[node.name]}"
    inner = indent + "    "
    return [
        _filled(text + ".", inner),
        *(_filled(inner + sentence, inner + "  ") for sentence in sentences),
    ]


def _units(tree: Tree, node: Node) -> str:
    """Which units a component's share is of: the first that its side has."""
    level = min(n.depth for n in _first(tree, node.sign))
    return "the outermost units" if level == 1 else f"the units of level {level}"


def _share(tree: Tree, node: Node, decision: Decision | None) -> str:
    """Of how many answers a component decides, and proves."""
    if decision is None:
        total = sum(n.count for n in _first(tree, node.sign))
        return f"answers for {_of(node.count, total)} {node.side} samples"
    side = decision.normal if node.sign > 0 else ~decision.normal
    inside = np.any(decision.path == node.id, axis=1)
    proven, decided = int(np.sum(inside & (decision.prover >= 0))), int(inside.sum())
    return (
        f"answers for {_of(decided, int(side.sum()))} {node.side} samples, "
        f"{share(proven / max(decided, 1))} of them proven"
    )


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({share(part / max(whole, 1), 0)})"


def _filled(text: str, indent: str = "  ") -> str:
    return fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def to_latex(tree: Tree, phrases: Phrases | None = None) -> str:
    """The equation as a LaTeX `align*` environment, for `amsmath`."""
    phrases, same = phrases or {}, same_functions(tree)
    above, below = _first(tree, 1), _first(tree, -1)
    rows = [
        r"f(x) &= " + _latex_bound(r"\max", "W", _functions(above, same)),
        r"&= " + _latex_bound(r"\min", "R", _functions(below, same)),
    ]
    for side, nodes in (("normal", above), ("not normal", below)):
        tests = [t for node in nodes for t in (node, *_ordered(tree, node.id))]
        for i, node in enumerate(tests):
            start = rf"\text{{{side}}} &\Leftarrow " if i == 0 else r"&\quad \vee "
            phrase = phrases.get(node.name)
            note = rf" \quad \text{{({escaped(phrase)})}}" if phrase else ""
            rows.append(start + _latex_test(node) + note)
    rows.append(r"\text{rest} &= f(x), \quad \text{normal} \Leftrightarrow f(x) \ge 0")
    rows = [" \\\\\n".join(rows)]
    return "\n".join([r"\begin{align*}", *rows, r"\end{align*}"])


def _latex_bound(kind: str, letter: str, functions: list[list[Node]]) -> str:
    terms = [
        " = ".join(rf"{letter}_{{\mathrm{{{node.name}}}}}(x)" for node in group)
        for group in functions
    ]
    terms.append(r"\mathrm{rest}(x)")
    groups = [", ".join(terms[i : i + 6]) for i in range(0, len(terms), 6)]
    return kind + r"\{" + ", \\\\\n&\\qquad ".join(groups) + r"\}"


def _latex_test(node: Node) -> str:
    letter, sign = ("W", r"\ge 0") if node.sign > 0 else ("R", "< 0")
    return rf"{letter}_{{\mathrm{{{node.name}}}}}(x) {sign}"
