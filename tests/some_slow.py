"""Cases of a test of which only some run by default."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def some_slow(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """Params of a test: those that are not `quick` are slow.

    Args:
      cases: arguments, or tuples of such.
      quick: those of them that run by default.
    """
    return [
        pytest.param(
            *(case if isinstance(case, tuple) else (case,)),
            marks=() if case in quick else (pytest.mark.slow,),
        )
        for case in cases
    ]
