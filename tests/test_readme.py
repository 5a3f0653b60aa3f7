"""What README and pages say is true: Python runs, commands exist, links lead somewhere.

python tests/test_readme.py     writes what the Python prints into README and pages
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "notebooks").glob("*.md"))
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *PAGES,
    *(ROOT / "ecg_jax").rglob("*.md"),
    *(ROOT / "experiments").rglob("*.md"),
    *(ROOT / "notebooks").glob("[0-9]*.py"),
]
EXAMPLE = re.compile(
    r"(?:```python\n(?P<code>.*?)```\n\n|<!-- drawn by:\n(?P<hidden>.*?)-->\n)"
    r"```(?:text|mermaid)\n(?P<shown>.*?)```",
    re.DOTALL,
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")
COMMANDS = re.compile(r"```bash\n(.*?)```", re.DOTALL)
MARK = "<end of example>"


def text(page: Path = README) -> str:
    return page.read_text("utf-8")


def codes(page: Path) -> list[str]:
    """The Python of a page, shown or not: one program."""
    return [m["code"] or m["hidden"] for m in EXAMPLE.finditer(text(page))]


def prose(page: Path) -> str:
    """A page without its code; of a notebook, the comments."""
    words = text(page)
    if page.suffix == ".py":
        words = "\n".join(line[2:] for line in words.splitlines() if line[:2] == "# ")
    return re.sub(r"```.*?```|`[^`\n]*`", "", words, flags=re.DOTALL)


def with_examples() -> list[Path]:
    return [page for page in (README, *PAGES) if codes(page)]


def anchors(page: Path) -> set[str]:
    """The names that headings of a page have as targets of links."""
    heads = re.findall(r"^(?:# )?#+ (.*)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in heads}


def outputs(blocks: list[str], folder: Path) -> list[str]:
    """What the blocks print, one after the other in one program."""
    parts = [f"{block}\nprint({MARK!r})\n" for block in blocks]
    script = folder / "readme.py"
    script.write_text("\n".join(parts), "utf-8")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(f"{MARK}\n")[:-1]


def make_onnx(path: Path) -> None:
    """A network as PyTorch exports it, which looks at the T: is it upright or not."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    shapes = {"w0": (65, 16), "b0": (16,), "w1": (16, 2), "b1": (2,)}
    arrays = {k: 0.02 * rng.normal(size=shape) for k, shape in shapes.items()}
    arrays["w0"][44:55, :2] += [0.5, -0.5]
    arrays["w1"][:2] += np.eye(2)
    weights = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in arrays.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"]),
        helper.make_node("Add", ["h0", "b0"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("MatMul", ["h2", "w1"], ["h3"]),
        helper.make_node("Add", ["h3", "b1"], ["logits"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "network",
        [value("x", TensorProto.FLOAT, ["batch", 65])],
        [value("logits", TensorProto.FLOAT, ["batch", 2])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)


def make_arrays(folder: Path) -> None:
    """Beats that somebody might have, and their labels."""
    import numpy as np
    from small_beats import arrays, names

    x, upright = arrays(200)
    np.save(folder / "X.npy", x)
    np.save(folder / "labels.npy", names(upright))


@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.stem)
def test_every_python_block_shows_its_output(page):
    shown = [m for m in EXAMPLE.finditer(text(page)) if m["code"]]
    assert text(page).count("```python\n") == len(shown) > 0


@pytest.mark.parametrize("page", with_examples(), ids=lambda page: page.stem)
def test_python_blocks_print_what_they_show(page, tmp_path):
    make_onnx(tmp_path / "network.onnx")
    make_arrays(tmp_path)
    got = outputs(codes(page), tmp_path)
    shown = [m["shown"] for m in EXAMPLE.finditer(text(page))]
    assert got == shown, "python tests/test_readme.py"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for name, anchor in LINK.findall(prose(page)):
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page}: {name}"
        assert not anchor or anchor in anchors(target), f"{page}: {name}#{anchor}"


def test_the_reference_has_every_public_name():
    import ecg_jax

    page = text(ROOT / "notebooks" / "reference.md")
    named = set(re.findall(r"\.\. auto\w+:: (\w+)$", page, re.MULTILINE))
    assert named | {"RULES", "plot"} == set(ecg_jax.__all__)


def test_the_readme_is_short():
    assert len(text().splitlines()) <= 220


def test_commands_exist():
    from ecg_jax.cli import COMMANDS as known

    used = set(re.findall(r"`ecg-jax (\w+)", text()))
    for block in COMMANDS.findall(text()):
        used |= set(re.findall(r"ecg-jax (\w+)", block))
    assert used == set(known)


@pytest.mark.parametrize("block", COMMANDS.findall(text()))
def test_commands_are_whole_lines(block):
    """Each is one line to paste; what it names in the repository is there."""
    assert len(block.splitlines()) == 1
    for word in shlex.split(block):
        name = word.partition("[")[0]
        if name.endswith((".lock", ".toml")):
            assert (ROOT / name).exists(), name


def test_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    used = re.findall(r"'\.\[([\w,]+)\]'", text())
    extras = {name for names in used for name in names.split(",")}
    assert extras and extras <= set(project["optional-dependencies"])


def test_the_two_sentences():
    head = text()[:1200]
    assert "A proof here concerns the network, not the patient." in head
    assert "Research use only; not a medical device." in head


if __name__ == "__main__":
    import tempfile

    for page in with_examples():
        with tempfile.TemporaryDirectory() as scratch:
            make_onnx(Path(scratch) / "network.onnx")
            make_arrays(Path(scratch))
            printed = iter(outputs(codes(page), Path(scratch)))
        parts = EXAMPLE.sub(
            lambda m, new=printed: (
                m[0].removesuffix(f"{m['shown']}```") + f"{next(new)}```"
            ),
            text(page),
        )
        page.write_text(parts, "utf-8")
