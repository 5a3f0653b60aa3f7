"""The README's architecture is the tree of files, each with its first line.

python tests/test_layout.py     writes the tree into the README
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- tree: [^\n]* -->\n```text\n)(.*?)(```)", re.DOTALL)


def first_line(path: Path) -> str:
    """What a module says that it is."""
    document = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return document.splitlines()[0] if document else ""


def modules() -> list[Path]:
    """Every module of the package, folders after the files beside them."""
    found = (ROOT / "ecg_jax").rglob("*.py")
    inner = [path.relative_to(ROOT) for path in found]
    return sorted(inner, key=lambda p: (p.parent.parts, p.name != "__init__.py", p))


def tree() -> str:
    """The files with their first lines, as the README shows them."""
    lines, width = [], 22
    for path in modules():
        depth = len(path.parts) - 2
        says = first_line(ROOT / path).removesuffix(".")
        if path.name == "__init__.py":
            lines.append(f"{'  ' * depth + path.parent.name + '/':{width}}{says}")
        else:
            lines.append(f"{'  ' * (depth + 1) + path.name:{width}}{says}")
    for folder, says in {
        "experiments/": "one folder per question: README, run.py, results",
        "notebooks/": "prose and calls",
        "tests/": "flat: test_<module>.py, or of the package that it is in",
    }.items():
        lines.append(f"{folder:{width}}{says}")
    return "\n".join(lines) + "\n"


def test_every_module_says_what_it_is():
    assert [str(p) for p in modules() if not first_line(ROOT / p)] == []


def test_readme_shows_the_files():
    shown = BLOCK.search(README.read_text("utf-8"))
    assert shown, "README.md has no tree"
    want, have = tree().splitlines(), shown[2].splitlines()
    missing = [line for line in want if line not in have]
    stale = [line for line in have if line not in want]
    assert (missing, stale) == ([], []), "run: python tests/test_layout.py"


def test_nothing_private_to_a_machine_is_tracked():
    tracked = [ROOT / "pyproject.toml", ROOT / "requirements.lock", README]
    for path in tracked:
        text = path.read_text("utf-8")
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text, path
    assert "://" not in (ROOT / "requirements.lock").read_text("utf-8")


if __name__ == "__main__":
    text = README.read_text("utf-8")
    README.write_text(BLOCK.sub(lambda m: m[1] + tree() + m[3], text), "utf-8")
