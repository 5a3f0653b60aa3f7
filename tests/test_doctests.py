"""The examples in docstrings run and print what they show."""

import doctest
import importlib
import pkgutil

import pytest

import ecg_jax

MODULES = [
    module.name
    for module in pkgutil.walk_packages(ecg_jax.__path__, "ecg_jax.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
