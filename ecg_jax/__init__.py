"""Exact max-min factorization of neural ECG models, in JAX.

Three wings that do not know one another: equations (`program`, `rules`, `lattice`,
`proof`, `tree`), recordings and networks (`ecg`, `networks`), figures (`cells`, `draw`,
`pages`). `views` joins them; `runs`, `sweeps` and `cli` stand on it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ecg_jax.ecg.beats import Beats
    from ecg_jax.ecg.own_beats import beats
    from ecg_jax.errors import NoGateError, UnsupportedPrimitiveError
    from ecg_jax.lattice.factor import factor, margin
    from ecg_jax.lattice.family import Family
    from ecg_jax.lattice.maxmin import MaxMin
    from ecg_jax.networks.onnx import from_onnx
    from ecg_jax.networks.saved import Network, load_network
    from ecg_jax.program.gates import Gate
    from ecg_jax.rules import RULES
    from ecg_jax.tree.decide import decide
    from ecg_jax.tree.edit import merged, replace, without
    from ecg_jax.tree.equation import certify, to_latex, to_text
    from ecg_jax.tree.grow import grow
    from ecg_jax.tree.mermaid import to_mermaid
    from ecg_jax.tree.store import load, save
    from ecg_jax.tree.tree import Tree
    from ecg_jax.views import plot
    from ecg_jax.views.changes import Changes, changes
    from ecg_jax.views.distill import distill
    from ecg_jax.views.explain import Explanation, explain
    from ecg_jax.views.families import Proof, prove
    from ecg_jax.views.ranges import Ranges, ranges
    from ecg_jax.views.report import report

_HOMES = {
    "Beats": "ecg.beats",
    "beats": "ecg.own_beats",
    "NoGateError": "errors",
    "UnsupportedPrimitiveError": "errors",
    "factor": "lattice.factor",
    "margin": "lattice.factor",
    "Family": "lattice.family",
    "MaxMin": "lattice.maxmin",
    "from_onnx": "networks.onnx",
    "Network": "networks.saved",
    "load_network": "networks.saved",
    "Gate": "program.gates",
    "RULES": "rules",
    "decide": "tree.decide",
    "merged": "tree.edit",
    "replace": "tree.edit",
    "without": "tree.edit",
    "certify": "tree.equation",
    "to_latex": "tree.equation",
    "to_text": "tree.equation",
    "grow": "tree.grow",
    "to_mermaid": "tree.mermaid",
    "load": "tree.store",
    "save": "tree.store",
    "Tree": "tree.tree",
    "Changes": "views.changes",
    "changes": "views.changes",
    "distill": "views.distill",
    "Explanation": "views.explain",
    "explain": "views.explain",
    "plot": "views.plot",
    "Proof": "views.families",
    "prove": "views.families",
    "Ranges": "views.ranges",
    "ranges": "views.ranges",
    "report": "views.report",
}
_MODULES = ("plot",)

__all__ = [  # noqa: RUF022
    "Beats",
    "Changes",
    "Explanation",
    "Family",
    "Gate",
    "MaxMin",
    "Network",
    "NoGateError",
    "Proof",
    "RULES",
    "Ranges",
    "Tree",
    "UnsupportedPrimitiveError",
    "beats",
    "certify",
    "changes",
    "decide",
    "distill",
    "explain",
    "factor",
    "from_onnx",
    "grow",
    "load",
    "load_network",
    "margin",
    "merged",
    "plot",
    "prove",
    "ranges",
    "replace",
    "report",
    "save",
    "to_latex",
    "to_mermaid",
    "to_text",
    "without",
]


def __getattr__(name: str) -> object:
    """Public names are imported on first use, so that `ecg-jax --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ecg_jax' has no attribute '{name}'")
    home = import_module(f"ecg_jax.{_HOMES[name]}")
    value = home if name in _MODULES else getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
