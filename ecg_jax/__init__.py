"""Exact max-min factorization of neural ECG models, in JAX."""

import sys
from importlib import import_module
from types import ModuleType

_HOMES = {
    "factor": "factor",
    "margin": "factor",
    "RULES": "rules",
    "MaxMin": "maxmin",
    "Family": "family",
    "Gate": "maxmin",
    "grow": "grow",
    "Tree": "tree",
    "load": "storage.store",
    "from_onnx": "onnx",
    "NoGateError": "errors",
    "UnsupportedPrimitiveError": "errors",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    """Public names are imported on first use, so that `ecg-jax --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ecg_jax' has no attribute '{name}'")
    value = getattr(import_module(f"ecg_jax.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


class _Package(ModuleType):
    """Some functions live in modules of their own name: the function is the name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
