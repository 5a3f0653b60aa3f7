"""What a wheel and a source archive hold, and which version they say."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
DATA = PROJECT["tool"]["setuptools"]["package-data"]


def test_one_version_is_said_everywhere():
    said = PROJECT["project"]["version"]
    cited = re.search(
        r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE
    )
    assert said == version("ecg_jax") and cited and cited[1] == said


def test_every_file_of_the_package_is_in_the_wheel():
    folder = ROOT / "ecg_jax"
    named = {
        path
        for package, patterns in DATA.items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    there = {path for path in folder.rglob("*") if path.is_file()}
    code = {path for path in there if path.suffix in (".py", ".pyc", ".md")}
    assert there - code == named and folder / "py.typed" in named


@pytest.mark.parametrize(
    ("package", "pattern"), [(k, p) for k, patterns in DATA.items() for p in patterns]
)
def test_no_pattern_is_idle(package, pattern):
    assert list((ROOT / package.replace(".", "/")).glob(pattern))


def test_the_source_archive_holds_what_the_tests_need():
    lines = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    grafted = {line.removeprefix("graft ") for line in lines if line[:6] == "graft "}
    assert grafted == {"tests", "notebooks", "experiments"}
    included = " ".join(line for line in lines if line.startswith("include ")).split()
    at_root = {
        p.name for pattern in ("*.md", "*.cff", "*.lock") for p in ROOT.glob(pattern)
    }
    assert at_root - {"README.md"} == set(included) - {"include"}
