"""The logical reading: the circuit answers as the network does; texts, whole."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import bare, function, grown, node, quarters, with_nodes

import ecg_jax as ej
from ecg_jax.lattice.factor import factor
from ecg_jax.percent import share as share_text
from ecg_jax.tree.circuit import Junction, Literal, circuit, to_latex, to_text
from ecg_jax.tree.tree import Tree

COUNTS = (40, 15, 10, 9, 6, 12, 3, 8, 4)


def counted(name):
    """A tree with figures that a text can tell."""
    tree = grown(name)
    nodes = tuple(
        replace(n, count=count, share_frozen=0.75)
        for n, count in zip(tree.nodes, COUNTS, strict=True)
    )
    return Tree(tree.program, nodes, tree.example, tree.seen)


@pytest.mark.parametrize("name", ["mlp", "pool"])
def test_the_circuit_answers_as_the_network(name):
    tree, data = grown(name), quarters(7, 300)
    of = circuit(tree)
    normal = np.asarray(jax.vmap(function(name))(data)) >= 0
    assert np.array_equal(of.evaluate(data), normal)
    passes = of.passes(data)
    assert not passes[~normal, 1:5].any() and not passes[normal, 5:].any()
    assert passes[:, 1:].any(axis=0).sum() >= 2, "no test says anything"


def test_without_its_rest_the_circuit_is_incomplete():
    tree, data = grown("mlp"), quarters(7, 300)
    of = circuit(tree)
    assert isinstance(of.root, Junction)
    inner = of.root.children[-1]
    assert isinstance(inner, Junction) and inner.children[-1] == Literal(0, "rest")
    passes = of.passes(data)
    assert 0 < passes[:, 1:].any(axis=1).mean() < 1


def test_the_circuit_as_a_formula():
    assert str(circuit(grown("mlp"))) == (
        "(P1.1 or P1.2 or P1) or P2 or "
        "((not Q1.1 and not Q1.2 and not Q1) and not Q2 and rest)"
    )
    root = bare(function("mlp"), quarters(1, 20))
    assert str(circuit(root)) == "rest"
    data = quarters(3, 30)
    assert np.array_equal(
        circuit(root).evaluate(data), np.asarray(jax.vmap(function("mlp"))(data)) >= 0
    )


def test_a_function_that_two_components_share_is_told_once():
    """P1 and P2 differ in their anchors alone, and so in their cells."""
    tree, data = bare(function("mlp"), quarters(1, 40)), quarters(1, 40)
    for name, anchor in (("P1", data[0]), ("P2", data[1]), ("P3", data[3])):
        tree = with_nodes(tree, node(tree, 1, 1, anchor, name=name))
    assert (
        ej.to_text(tree)
        == """\
f(x) = max(P1 = P2, P3, rest)
     = min(rest)

normal if proven by P1 = P2, or P3;
otherwise the rest, f itself, decides: normal if f(x) >= 0.

P1: proves normal; the same function as P2, only its cell differs; freezes 1
    level of gates, 100% of the outermost units; answers for 0 of 0 (0%) normal
    samples.
P2: proves normal; the same function as P1, only its cell differs; freezes 1
    level of gates, 100% of the outermost units; answers for 0 of 0 (0%) normal
    samples.
P3: proves normal; freezes 1 level of gates, 100% of the outermost units;
    answers for 0 of 0 (0%) normal samples."""
    )
    assert (
        r"\max\{W_{\mathrm{P1}}(x) = W_{\mathrm{P2}}(x), W_{\mathrm{P3}}(x), "
        r"\mathrm{rest}(x)\}"
    ) in ej.to_latex(tree)


def test_text_of_a_side_that_starts_deeper():
    """All units of the outermost level are on the min side: P1 freezes two levels."""
    tree = bare(function("margin"), quarters(1, 40))
    tree = with_nodes(tree, node(tree, 1, 2, quarters(1, 40)[0], name="P1"))
    tree = with_nodes(tree, node(tree, -1, 1, quarters(1, 40)[1], name="Q1"))
    assert (
        ej.to_text(tree)
        == """\
f(x) = max(P1, rest)
     = min(Q1, rest)

normal if proven by P1;
not normal if proven by Q1;
otherwise the rest, f itself, decides: normal if f(x) >= 0.

P1: proves normal; freezes 2 levels of gates, 100% of the units of level 2;
    answers for 0 of 0 (0%) normal samples.
Q1: proves not normal; freezes 1 level of gates, 100% of the outermost units;
    answers for 0 of 0 (0%) not normal samples."""
    )


def test_text():
    tree = counted("mlp")
    assert (
        ej.to_text(tree)
        == to_text(tree)
        == (
            """\
f(x) = max(P1, P2, rest)
     = min(Q1, Q2, rest)

normal if proven by P1, or P2;
not normal if proven by Q1, or Q2;
otherwise the rest, f itself, decides: normal if f(x) >= 0.

P1: proves normal; freezes 1 level of gates, 75% of the outermost units; answers
    for 15 of 25 (60%) normal samples; normal is proven also by P1.1 or P1.2.
  P1.1: proves normal; freezes 2 levels of gates, 75% of the outermost units;
      answers for 9 of 25 (36%) normal samples.
  P1.2: proves normal; freezes 2 levels of gates, 75% of the outermost units;
      answers for 6 of 25 (24%) normal samples.
P2: proves normal; freezes 1 level of gates, 75% of the outermost units; answers
    for 10 of 25 (40%) normal samples.
Q1: proves not normal; freezes 1 level of gates, 75% of the outermost units;
    answers for 12 of 15 (80%) not normal samples; not normal is proven also by
    Q1.1 or Q1.2.
  Q1.1: proves not normal; freezes 2 levels of gates, 75% of the outermost
      units; answers for 8 of 15 (53%) not normal samples.
  Q1.2: proves not normal; freezes 2 levels of gates, 75% of the outermost
      units; answers for 4 of 15 (27%) not normal samples.
Q2: proves not normal; freezes 1 level of gates, 75% of the outermost units;
    answers for 3 of 15 (20%) not normal samples."""
        )
    )


def test_phrases_are_woven_in():
    text = to_text(counted("mlp"), {"P1": "narrow QRS, upright T", "Q1.2": "wide QRS"})
    assert "normal if proven by P1 (narrow QRS, upright T), or P2;\n" in text
    assert (
        "Q1.2: proves not normal; freezes 2 levels of gates, 75% of the outermost\n"
        "      units; answers for 4 of 15 (27%) not normal samples; wide QRS.\n"
    ) in text


def test_sentences_stand_below_their_component():
    told = ("Its cell: wide QRS, 20 beats.", "It weighs: QRS 46%, T 25% and so on.")
    text = to_text(counted("mlp"), {"P1": "wide QRS"}, sentences={"P1": told})
    assert "normal if proven by P1 (wide QRS), or P2;\n" in text
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("P1: "))
    own = lines[at : lines.index(f"    {told[1]}") + 1]
    assert own[-2:] == [f"    {told[0]}", f"    {told[1]}"]
    assert "wide QRS" not in " ".join(own[:-2])
    assert max(map(len, lines)) <= 80


def test_shares_of_a_decision():
    tree, data = grown("mlp"), quarters(7, 300)
    decision = ej.decide(tree, data)
    text = " ".join(to_text(tree, decision=decision).split())
    inside = decision.path[:, 0] == 2
    share = inside.sum() / decision.normal.sum()
    proven = (decision.prover[inside] >= 0).mean()
    assert (
        f"{inside.sum()} of {decision.normal.sum()} ({share:.0%}) normal samples, "
        f"{share_text(proven)} of them proven."
    ) in text


def test_a_root_alone():
    tree = bare(function("mlp"), quarters(1, 20))
    assert to_text(tree) == (
        "f(x) = max(rest)\n"
        "     = min(rest)\n"
        "\n"
        "otherwise the rest, f itself, decides: normal if f(x) >= 0."
    )


def test_latex():
    tree = counted("mlp")
    assert ej.to_latex(tree) == to_latex(tree)
    assert to_latex(tree, {"P2": "50% of $x_1$ & more"}) == (
        r"""\begin{align*}
f(x) &= \max\{W_{\mathrm{P1}}(x), W_{\mathrm{P2}}(x), \mathrm{rest}(x)\} \\
&= \min\{R_{\mathrm{Q1}}(x), R_{\mathrm{Q2}}(x), \mathrm{rest}(x)\} \\
\text{normal} &\Leftarrow W_{\mathrm{P1}}(x) \ge 0 \\
&\quad \vee W_{\mathrm{P1.1}}(x) \ge 0 \\
&\quad \vee W_{\mathrm{P1.2}}(x) \ge 0 \\
&\quad \vee W_{\mathrm{P2}}(x) \ge 0 \quad \text{(50\% of \$x\_1\$ \& more)} \\
\text{not normal} &\Leftarrow R_{\mathrm{Q1}}(x) < 0 \\
&\quad \vee R_{\mathrm{Q1.1}}(x) < 0 \\
&\quad \vee R_{\mathrm{Q1.2}}(x) < 0 \\
&\quad \vee R_{\mathrm{Q2}}(x) < 0 \\
\text{rest} &= f(x), \quad \text{normal} \Leftrightarrow f(x) \ge 0
\end{align*}"""
    )


def two_levels(x):
    h = jax.nn.relu(jnp.asarray([[1.0, -1.0], [0.5, 2.0], [1.0, 0.0]]) @ x)
    return jnp.asarray([1.0, -1.0]) @ jnp.abs(h[:2] - 1.0) + jnp.asarray([0.0, 2.0]) @ (
        jnp.minimum(h[1:], 1.0)
    )


def test_the_text_of_one_level():
    eq = factor(two_levels, jnp.zeros(2))
    lines = {e.primitive.name: e.source for e in eq.program.gates}
    assert ej.to_text(eq) == (
        "f(x) = max over mu, min over tau of N[mu, tau](x)\n"
        "N[mu, tau](x): f with these gates frozen to tangents,\n"
        "  units of the max side at mu, units of the min side at tau\n"
        "\n"
        "level 1\n"
        f"  abs at {lines['abs']}: 2 units, 1 on the max side, 1 on the min side\n"
        f"  min at {lines['min']}: 2 units, 0 on the max side, 1 on the min side, "
        "1 on neither"
    )
    assert ej.to_latex(eq) == (
        r"""\begin{align*}
f(x) &= \max_\mu \min_\tau N_{\mu,\tau}(x) \\
N_{\mu,\tau}(x) &= \sum_{u=1}^{1} w^{\mu}_{1,u} T^{\mu}_{1,u}(z_{1}(x)) \\
&\quad + \sum_{u=1}^{1} w^{\tau}_{1,u} T^{\tau}_{1,u}(z_{1}(x)) \\
&\quad + \sum_{u=1}^{1} w^{\tau}_{2,u} T^{\tau}_{2,u}(z_{2}(x)) \\
&\quad + r(x) \\
z_{1} &: \text{operands of abs at ABS} \\
z_{2} &: \text{operands of min at MIN}
\end{align*}""".replace("ABS", lines["abs"].replace("_", r"\_")).replace(
            "MIN", lines["min"].replace("_", r"\_")
        )
    )


def test_the_text_goes_down_to_atoms(tmp_path):
    eq = factor(two_levels, jnp.zeros(2))
    text = ej.to_text(eq, depth=9, x=jnp.asarray([3.0, 1.0]))
    assert text.startswith(ej.to_text(eq))
    relu = eq.program.gates[0].source
    assert text.removeprefix(ej.to_text(eq)) == (
        "\n\nlevel 2 of what decides at x\n"
        f"  max at {relu}: 3 units, 1 on the max side, 1 on the min side, 1 on neither"
        "\n\nbelow: atoms, <template, x> + offset"
    )
    ej.save(eq, tmp_path / "equation")
    again = ej.load(tmp_path / "equation")
    assert ej.to_text(again) == ej.to_text(eq)
    below = ej.to_text(again, depth=9, x=jnp.asarray([3.0, 1.0]))
    assert below == text.replace(f" at {relu}", "")


def test_a_tree_as_a_diagram():
    tree = counted("mlp")
    lines = ej.to_mermaid(tree).splitlines()
    assert lines[:2] == ["flowchart TD", '  f["f(x) >= 0: normal"]']
    for one in tree.nodes[1:]:
        own, above = (n.name.replace(".", "_") for n in (one, tree.nodes[one.parent]))
        arrow = {"normal": "-->|max|", "not normal": "-->|min|"}[one.side]
        arrow = arrow if one.parent == 0 else "-->"
        (line,) = (n for n in lines if n.startswith(f"  {above} {arrow} {own}["))
        assert f'"{one.name} proves {one.side}<br>' in line
    normal = [one.name for one in tree.nodes if one.side == "normal"]
    assert f"  class {','.join(normal).replace('.', '_')} normal" in lines


def test_a_diagram_of_inputs_that_are_no_waves():
    data = {"a": np.arange(-3.0, 4.0), "b": np.ones(7)}
    tree = ej.grow(lambda x: jax.nn.relu(x["a"]) - x["b"], data, depth=1, budget=1)
    assert not set("▁▂▃▄▅▆▇█") & set(ej.to_mermaid(tree))
