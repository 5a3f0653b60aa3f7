"""What is declared is imported, and what is imported is declared."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", each)[0] for each in requirements}


def imported(folder: str) -> set[str]:
    """Top-level packages that a folder's modules import, from outside Python."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    local = {path.stem for path in (ROOT / folder).glob("*.py")}
    return found - set(sys.stdlib_module_names) - local - {"ecg_jax"}


def called_by_name() -> set[str]:
    """Packages that are imported by a string, as `import_module("...")`."""
    text = "".join(p.read_text("utf-8") for p in (ROOT / "ecg_jax").rglob("*.py"))
    return {n.partition(".")[0] for n in re.findall(r'import_module\("([\w.]+)"', text)}


def asked_for() -> set[str]:
    """Packages of the extra `sweep`, which the drivers and the search ask for."""
    text = "".join(p.read_text("utf-8") for p in (ROOT / "ecg_jax/sweeps").glob("*.py"))
    return set(re.findall(r'extra\("(\w+)"\)', text))


def test_every_dependency_is_imported():
    used = imported("ecg_jax") | called_by_name()
    extras = PROJECT["optional-dependencies"]
    assert names(PROJECT["dependencies"]) <= used
    assert names(extras["onnx"]) <= used | imported("tests")
    assert names(extras["sweep"]) <= asked_for()


@pytest.mark.parametrize("folder", ["ecg_jax", "tests"])
def test_every_import_is_declared(folder):
    extras = PROJECT["optional-dependencies"]
    known = names(PROJECT["dependencies"]) | names(extras["onnx"])
    if folder == "tests":
        test = names(extras["test"])
        known |= test | {name.removeprefix("pytest-") for name in test}
    assert imported(folder) <= known
