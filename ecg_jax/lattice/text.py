"""One level of a function's equation, or several, as text and as LaTeX."""

from typing import Any

import numpy as np

from ecg_jax.errors import NoGateError
from ecg_jax.lattice.factor import factor
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.program._jax import UNKNOWN
from ecg_jax.program.gates import Gate, on


def to_text(eq: MaxMin, depth: int = 1, x: Any = None) -> str:
    """One level of a function's equation in words, or several.

    Args:
      eq: the equation.
      depth: how many levels; below the first, of the component that decides at `x`.
      x: an input; default the example.

    Returns:
      Text: the formula, and for each opened gate its units on either side.
    """
    lines = ["f(x) = max over mu, min over tau of N[mu, tau](x)"]
    lines += ["N[mu, tau](x): f with these gates frozen to tangents,"]
    lines += ["  units of the max side at mu, units of the min side at tau"]
    for level in range(1, depth + 1):
        lines += ["", f"level {level}" + (" of what decides at x" if level > 1 else "")]
        lines += [f"  {_gate_text(eq, i)}" for i in range(eq.num_gates)]
        component = eq.component(*eq.pattern(eq.example if x is None else x))
        rules = {} if eq.program is None else {"rules": eq.program.rules}
        try:
            eq = factor(component, eq.example, **rules)
        except NoGateError:
            lines += ["", "below: atoms, <template, x> + offset"]
            break
    return "\n".join(lines)


def _gate_text(eq: MaxMin, i: int) -> str:
    above, below, neither = _units(eq, i)
    text = f"{_name(eq, i)}: {np.size(eq.sides[i])} units, "
    text += f"{above} on the max side, {below} on the min side"
    return text + (f", {neither} on neither" if neither else "")


def _name(eq: MaxMin, i: int) -> str:
    gate = eq.gates[i]
    lines = {} if eq.program is None else _lines(eq)
    return gate.name + (f" at {lines[id(gate)]}" if id(gate) in lines else "")


def _lines(eq: MaxMin) -> dict[int, str]:
    """Where the user wrote each gate; below a loaded equation, nobody knows."""
    return {
        id(eqn.role): eqn.source
        for eqn in eq.program.equations
        if isinstance(eqn.role, Gate) and eqn.source != UNKNOWN
    }


def _units(eq: MaxMin, i: int) -> tuple[int, int, int]:
    side = np.asarray(eq.sides[i])
    return int(np.sum(on(side, 1))), int(np.sum(on(side, -1))), int(np.sum(side == 0))


def to_latex(eq: MaxMin) -> str:
    """One level of a function's equation as a LaTeX `align*` environment."""
    rows = [r"f(x) &= \max_\mu \min_\tau N_{\mu,\tau}(x)"]
    terms = []
    for i in range(eq.num_gates):
        above, below, _ = _units(eq, i)
        for side, count in ((r"\mu", above), (r"\tau", below)):
            if count:
                g = i + 1
                terms.append(
                    rf"\sum_{{u=1}}^{{{count}}} w^{{{side}}}_{{{g},u}} "
                    rf"T^{{{side}}}_{{{g},u}}(z_{{{g}}}(x))"
                )
    rows.append(r"N_{\mu,\tau}(x) &= " + " \\\\\n&\\quad + ".join([*terms, "r(x)"]))
    for i in range(eq.num_gates):
        name = escaped(_name(eq, i))
        rows.append(rf"z_{{{i + 1}}} &: \text{{operands of {name}}}")
    return "\n".join([r"\begin{align*}", " \\\\\n".join(rows), r"\end{align*}"])


def escaped(text: str) -> str:
    """Plain text for LaTeX."""
    table = {c: f"\\{c}" for c in "&%$#_{}"}
    table |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    table |= {"^": r"\textasciicircum{}"}
    return text.translate(str.maketrans(table))
