"""Objects read well: few lines in a terminal, a static table in a notebook."""

import inspect
import io
import shutil
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_files import command, config, copy_of_run, tiny
from small_trees import function, grown, quarters

import ecg_jax as ej
from ecg_jax import progress
from ecg_jax.program.blocks import blocks
from ecg_jax.progress import Display
from ecg_jax.progress import told as told_of
from ecg_jax.rules.table import RuleTable
from ecg_jax.runs.foreign import FactorRun
from ecg_jax.runs.pipeline import Run, run
from ecg_jax.tree.decide import decide

LINES, LETTERS, SIGNATURE = 5, 400, 600
NAME = "<script>alert('a name that is longer than any line')</script>"


def many(x):
    """A function with many gates, each of another kind."""
    return sum(g(x).sum() for g in (jax.nn.relu, jnp.abs, jnp.exp, jax.nn.softplus))


many.__name__ = NAME


def tree():
    """A tree whose components bear names that nobody expects, and many of them."""
    found = grown("mlp")
    nodes = [replace(n, name=n.name and NAME) for n in found.nodes[1:]]
    more = [replace(n, id=n.id + len(nodes) * k) for k in (1, 2, 3) for n in nodes]
    named = replace(found, nodes=(found.nodes[0], *nodes, *more))
    return replace(named, fn=many)


def beats():
    names = [f"{NAME}{i}" for i in range(9)] * 2
    x = np.random.default_rng(0).normal(size=(18, 40)).astype(np.float32)
    return ej.beats(x, sample_rate_hz=50, r_peak_s=0.2, labels=names, records=names)


def family():
    fn = lambda p, x: p["c"] @ jax.nn.relu(p["A"] @ x)  # noqa: E731
    weights = {"A": jnp.ones((4, 3)), "c": jnp.ones(4), NAME: jnp.ones(2)}
    return ej.factor(fn, jnp.zeros(3), params=weights)


OBJECTS = {
    "Tree": tree,
    "Node": lambda: tree().nodes[1],
    "root": lambda: tree().nodes[0],
    "Decision": lambda: decide(grown("mlp"), quarters(1, 40)),
    "MaxMin": lambda: ej.factor(many, jnp.ones(3)),
    "Family": family,
    "Program": lambda: ej.factor(many, jnp.ones(3)).program,
    "Gate": lambda: ej.factor(many, jnp.ones(3)).gates[-1],
    "Certificate": lambda: ej.certify(
        ej.factor(function("pool"), quarters(1, 1)[0]), quarters(1, 40), num_pairs=64
    ),
    "TreeCertificate": lambda: ej.certify(grown("mlp"), quarters(1, 40)),
    "RuleTable": lambda: ej.RULES,
    "Beats": beats,
    "Explanation": lambda: ej.explain(grown("mlp"), quarters(1, 40)),
    "Changes": lambda: ej.changes(beats()),
    "Ranges": lambda: ranges(),
    "Proof": lambda: ej.prove(bent, (own := beats()), ej.changes(own), {"gain": 0.1}),
}
PICTURES = {"Tree", "MaxMin", "Decision", "Certificate", "TreeCertificate"}
PICTURES |= {"Explanation", "Ranges", "Proof"}


def bent(x):
    return jax.nn.relu(x[3]) - jnp.abs(x[7]) + x[9]


def ranges():
    own = beats()
    path = {NAME: lambda x, t: x + t}
    return ej.ranges(bent, own, ej.changes(own, path), {"shift": 0.02})


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_read_well(name):
    shown = OBJECTS[name]()
    text = repr(shown)
    assert len(text.splitlines()) <= LINES and len(text) <= LETTERS, text
    assert " at 0x" not in text
    html = getattr(shown, "_repr_html_", None)
    assert (html is not None) == (name in PICTURES)
    if html is not None:
        page = html()
        assert page == html() and "<script" not in page and "http" not in page
        assert page.count("<") == page.count(">")


def test_what_a_tree_shows():
    small = grown("mlp")
    assert repr(small) == (
        "Tree of f: 4 witnesses, 4 refuters, depth 2\n"
        "  input: float64[6]\n"
        "  components: P1, P2, P1.1, P1.2, Q1, Q2, Q1.1, Q1.2"
    )
    page = small._repr_html_()
    assert page.count("<li>") == page.count("<svg") == len(small.nodes) - 1
    assert page.count("<ul>") == 3  # the first level, and the children of P1 and Q1
    assert "&lt;script&gt;" in tree()._repr_html_()


def test_inputs_that_are_no_signals_have_no_picture():
    data = {"a": np.arange(40.0).reshape(40) - 20, "b": np.ones(40)}
    found = ej.grow(lambda x: jax.nn.relu(x["a"]) - x["b"], data, depth=1, budget=1)
    assert "float64[], float64[]" in repr(found)
    assert "<svg" not in found._repr_html_()


def test_weights_that_are_traced():
    said = []
    jax.eval_shape(lambda p: said.append(repr(family().at(p))), family().like)
    assert "4 units, their sides by the weights" in said[0]


def test_the_certificate_keeps_its_table():
    found = OBJECTS["Certificate"]()
    assert len(str(found).splitlines()) == 2 + len(found.checks)
    assert repr(found).startswith("Certificate holds: ")
    assert "holds" in repr(OBJECTS["TreeCertificate"]())


def test_rules_are_a_table_that_is_only_read():
    rule = lambda application: None  # noqa: E731
    more = {**ej.RULES, "mine": rule}
    assert len(more) == len(ej.RULES) + 1 and more["mine"] is rule
    assert repr(ej.RULES) == f"RULES: {len(ej.RULES)} rules"
    with pytest.raises(TypeError):
        ej.RULES["mine"] = rule  # type: ignore
    source = {"mine": rule}
    table = RuleTable(source)
    source.clear()
    assert dict(table) == {"mine": rule}


def is_made(value):
    """Whether it is a class whose objects a caller may make."""
    return inspect.isclass(value) and not issubclass(value, Exception)


@pytest.mark.parametrize("name", ej.__all__)
def test_signatures_are_short(name):
    value = getattr(ej, name)
    each = [value]
    if inspect.ismodule(value):
        each = [getattr(value, verb) for verb in value.__all__]
    public = [v for v in each if inspect.isfunction(v) or is_made(v)]
    assert all(len(str(inspect.signature(v))) <= SIGNATURE for v in public)


def calls_of(verb, *args, **options):
    """What a verb tells of its progress."""
    calls = []
    verb(*args, **options, progress=lambda *call: calls.append(call))
    return calls


def told(name):
    data = quarters(1, 40)
    equation = ej.factor(function("pool"), data[0])
    return {
        "grow": lambda: calls_of(ej.grow, function("mlp"), data, depth=2, budget=2),
        "decide": lambda: calls_of(ej.decide, grown("mlp"), data),
        "certify": lambda: calls_of(ej.certify, equation, data, num_pairs=64),
        "certify tree": lambda: calls_of(ej.certify, grown("mlp"), data),
    }[name]()


@pytest.mark.parametrize("verb", ["grow", "decide", "certify", "certify tree"])
def test_progress_rises_to_its_total(verb):
    calls = told(verb)
    done, totals = [d for d, _ in calls], {t for _, t in calls}
    assert len(calls) > 3 and len(totals) == 1
    assert done == sorted(done) and done[-1] == totals.pop()


def test_a_block_is_told_when_it_is_done():
    calls = []
    blocks(jnp.sum, np.ones((10, 3)), block=4, progress=lambda *c: calls.append(c))
    assert calls == [(4, 10), (8, 10), (10, 10)]


def test_a_verb_is_silent_unless_asked(capfd):
    for asked, lines in ((None, 0), (False, 0), (True, 2)):
        ej.decide(grown("mlp"), quarters(1, 40), progress=asked)
        out, err = capfd.readouterr()
        assert (len(out.splitlines()), err) == (lines, "")


def test_what_fails_is_not_told_to_be_done():
    calls = []
    with pytest.raises(ej.NoGateError), told_of(lambda *c: calls.append(c), "x"):
        raise ej.NoGateError
    assert not calls


class Slow(io.StringIO):
    """A pipe, or a terminal, and a clock that runs fast."""

    def __init__(self, is_terminal=False):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


def test_lines_in_a_pipe(monkeypatch):
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = Slow()
    with Display(out) as shown:
        tell = shown.begin("1 of 1: work")
        for done in range(9):
            tell(done, 8)
    assert out.getvalue() == "1 of 1: work\n  25%\n  62%\n"
    assert Display(Slow(), quiet=True).begin("x") and not Slow().getvalue()


def test_a_bar_on_a_terminal():
    for quiet in (False, True):
        out = Slow(is_terminal=True)
        with Display(out, quiet=quiet) as shown:
            shown.begin("1 of 1: [work]")(3, 4)
            time.sleep(0.3)
            shown.say("a line")
        text = out.getvalue()
        assert all(part in text for part in ("75%", "a line\n", "[work]")) != quiet
        assert not (quiet and text)


def test_stages_are_named_in_order(tmp_path):
    said, folder = [], copy_of_run(tmp_path / "run")
    for name in ("metrics.json", "evaluation.json", "partition.parquet"):
        (folder / name).unlink()
    shutil.rmtree(folder / "equation")
    run(config(tiny().data), folder, resume=True, say=said.append)
    stages = [line for line in said if " of 8: " in line]
    work = ("ranges", "sketches", "figures", "report")
    names = ("beats", "factor", "evaluate", *work)
    assert [line.split(": ")[1] for line in stages] == list(names)
    assert stages[1] == "3 of 8: factor"  # what is there already is not begun
    assert said.index("3 of 8: factor") < said.index("4 of 8: evaluate")
    assert said[-1] == f"report: {folder / 'report.html'}"


@pytest.mark.slow
def test_quiet_says_nothing(tmp_path):
    model = tiny().run / "model"
    words = ("factor", model, "--data", tiny().data, "--out", tmp_path / "out")
    small = ("--tree.depth", "1", "--tree.budget", "1", "--beats.no-second-opinion")
    assert command(*words, *small, "--quiet") == (0, "", "")
    there = f"{tmp_path / 'out'} is complete\n"
    assert command(*words, *small, "--resume") == (0, there, "")
    assert FactorRun.stages == (Run.stages[0], *Run.stages[2:])
