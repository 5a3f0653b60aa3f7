"""The architecture page is the tree of files, with what each package may import.

python tests/test_layout.py     writes the packages into ecg_jax/README.md
"""

import ast
import re
import textwrap
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ecg_jax"
PAGE = PACKAGE / "README.md"
BLOCK = re.compile(
    r"(<!-- packages: [^\n]* -->\n)(.*?)(<!-- end of packages -->\n)", re.DOTALL
)


def first_line(path: Path) -> str:
    """What a module says that it is."""
    document = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    return document.splitlines()[0] if document else ""


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def contracts(kind: str) -> list[dict]:
    """The import contracts of a kind."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found = project["tool"]["importlinter"]["contracts"]
    return [contract for contract in found if contract["type"] == kind]


def floors() -> list[list[str]]:
    """Packages and single modules, the lowest floor first."""
    (layers,) = contracts("layers")
    return [re.split(r"\s*\|\s*", layer) for layer in reversed(layers["layers"])]


def may_import(name: str) -> list[str]:
    """What lies below, less what a contract of its own forbids; the nearest first."""
    below: list[str] = []
    for floor in floors():
        if name in floor:
            break
        below = floor + below
    forbidden = {
        other.removeprefix("ecg_jax.")
        for contract in contracts("forbidden")
        if f"ecg_jax.{name}" in contract["source_modules"]
        for other in contract["forbidden_modules"]
    }
    return [other for other in below if other not in forbidden]


def section(name: str, floor: int) -> str:
    """A package: its floor, what it may import, and its modules by first lines."""
    allowed = ", ".join(f"`{other}`" for other in may_import(name)) or "nothing"
    rules = textwrap.fill(f"Floor {floor}. May import: {allowed}.", 88) + "\n"
    if not (PACKAGE / name).is_dir():
        return f"## `{name}.py`\n\n{first_line(PACKAGE / f'{name}.py')}\n\n{rules}"
    inside = [path for path in modules() if path.parts[0] == name]
    rest = [path for path in inside if path.name != "__init__.py"]
    names = [str(path.relative_to(name)) for path in rest]
    width = max(map(len, names)) + 2
    lines = [
        f"{short:{width}}{first_line(PACKAGE / path).removesuffix('.')}\n"
        for short, path in zip(names, rest, strict=True)
    ]
    says = first_line(PACKAGE / name / "__init__.py")
    return f"## `{name}/`\n\n{says}\n\n{rules}\n```text\n{''.join(lines)}```\n"


def packages() -> str:
    """All sections, the highest floor first; then the contracts between modules."""
    sections = [
        section(name, number)
        for number, floor in reversed(list(enumerate(floors(), start=1)))
        for name in floor
    ]
    single = [
        contract
        for contract in contracts("forbidden")
        if any(name.count(".") > 1 for name in contract["source_modules"])
    ]
    further = ["## Contracts between modules\n"]
    for contract in single:
        sources, others = (
            ", ".join(f"`{name.removeprefix('ecg_jax.')}`" for name in contract[key])
            for key in ("source_modules", "forbidden_modules")
        )
        further.append(f"{contract['name'].capitalize()}:\n{sources}\ndo not import\n")
        further[-1] += f"{others}.\n"
    return "\n".join(sections + further)


def test_every_module_says_what_it_is():
    assert [str(p) for p in modules() if not first_line(PACKAGE / p)] == []


def test_every_part_has_a_floor():
    parts = {path.parts[0].removesuffix(".py") for path in modules()} - {"__init__"}
    assert parts == {name for floor in floors() for name in floor}


def test_what_may_be_imported():
    assert may_import("errors") == []
    assert may_import("percent") == ["errors"]
    assert {"runs", "tree", "errors"} <= set(may_import("cli"))
    assert not {"tree", "program", "ecg"} & set(may_import("pages"))


def test_the_page_shows_the_packages():
    shown = BLOCK.search(PAGE.read_text("utf-8"))
    assert shown, f"{PAGE} has no block of packages"
    want, have = packages().splitlines(), shown[2].splitlines()
    missing = [line for line in want if line not in have]
    stale = [line for line in have if line not in want]
    assert (missing, stale) == ([], []), "run: python tests/test_layout.py"
    assert want == have, "run: python tests/test_layout.py"


def test_nothing_private_to_a_machine_is_tracked():
    tracked = [ROOT / "pyproject.toml", ROOT / "requirements.lock"]
    for path in [*tracked, *ROOT.glob("*.md"), PAGE]:
        text = path.read_text("utf-8")
        assert str(ROOT) not in text and str(Path.home()) + "/" not in text, path
    assert "://" not in (ROOT / "requirements.lock").read_text("utf-8")


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(BLOCK.sub(lambda m: m[1] + packages() + m[3], text), "utf-8")
