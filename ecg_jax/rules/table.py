"""A table of rules: read-only, and short where it is shown, as in `help`."""

from collections.abc import Iterator, Mapping
from typing import Any

from ecg_jax.program.roles import Rule


class RuleTable(Mapping[Any, Rule]):
    """Rules by primitive or named function; `{**table, p: rule}` has one more."""

    def __init__(self, rules: Mapping[Any, Rule]):
        self._rules = dict(rules)

    def __getitem__(self, key: Any) -> Rule:
        return self._rules[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"RULES: {len(self)} rules"
