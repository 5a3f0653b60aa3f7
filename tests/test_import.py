"""Importing: what is public, what it needs, what it leaves alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ecg_jax

OPTIONAL = (
    "duckdb",
    "flax",
    "matplotlib",
    "onnx",
    "optax",
    "pandas",
    "plotly",
    "rich",
    "safetensors",
    "scipy",
    "sleepecg",
    "tyro",
    "wfdb",
)

REFUSE = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(name + " is refused")

sys.meta_path.insert(0, Refuse())
"""

SETTINGS = "{k: str(v) for k, v in jax.config.values.items()}"


def python(script: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_exist():
    assert list(ecg_jax.__all__) == sorted(set(ecg_jax.__all__))
    assert set(ecg_jax.__all__) <= set(dir(ecg_jax))
    for name in ecg_jax.__all__:
        assert getattr(ecg_jax, name) is not None


def test_a_wrong_name():
    with pytest.raises(AttributeError) as error:
        ecg_jax.factorize  # noqa: B018
    assert str(error.value) == "module 'ecg_jax' has no attribute 'factorize'"


def test_factor_needs_jax_and_numpy_only():
    out = python(
        REFUSE
        + """
import jax, jax.numpy as jnp
import ecg_jax as ej

fn = lambda x: jax.nn.relu(x[0]) - jax.nn.relu(x[1]) + jnp.max(x)
x = jnp.array([3.0, 1.0])
eq = ej.factor(fn, x)
data = jax.random.normal(jax.random.key(0), (200, 2))
ej.certify(eq, data).raise_if_violated()
tree = ej.grow(fn, data, depth=1, budget=2)
print(eq(x) == fn(x), eq.component(*eq.pattern(x))(x) == fn(x), tree(x) == fn(x))
"""
    )
    assert out == "True True True\n"


def test_importing_changes_no_setting():
    everything = [
        ".".join(path.relative_to(Path(ecg_jax.__path__[0]).parent).parts)
        for path in sorted(Path(ecg_jax.__path__[0]).rglob("*.py"))
    ]
    names = [name.removesuffix(".py").removesuffix(".__init__") for name in everything]
    before, after = python(
        f"""
import importlib, json, jax, numpy as np, warnings
def settings():
    return json.dumps([{SETTINGS}, np.geterr(), len(warnings.filters)])
import flax.linen, optax
print(settings())
for name in {names}:
    importlib.import_module(name)
print(settings())
"""
    ).splitlines()
    assert json.loads(after) == json.loads(before)


@pytest.mark.parametrize("args", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(args):
    out = python(
        f"""
import sys
from ecg_jax.cli import main
main({args})
print([m for m in {("jax", "numpy", *OPTIONAL)} if m in sys.modules])
"""
    )
    assert out.splitlines()[-1] == "[]"


@pytest.mark.parametrize("imported", [False, True])
def test_commands_keep_what_is_compiled(imported, tmp_path):
    script = f"""
if {imported}:
    import jax
from ecg_jax.storage.cache import keep_compiled
keep_compiled()
import jax, jax.numpy as jnp
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append("hits" in name))
jax.jit(lambda x: jnp.linalg.svd(jnp.sort(x @ x))[1].sum())(jnp.ones((9, 9)))
print(any(hits))
"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    hits = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={
                **env,
                "ECG_JAX_CACHE": str(tmp_path),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
            capture_output=True,
            text=True,
        ).stdout
        for _ in range(2)
    ]
    assert hits == ["False\n", "False\n" if imported else "True\n"]
