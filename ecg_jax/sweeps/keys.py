"""Options of a run by their dotted names, as on the command line of `ecg-jax run`."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ecg_jax.errors import SweepError
from ecg_jax.runs.config import RunConfig

WHOLE = ("data", "data-dir", "labels")
PARTS = ("beats", "network", "training", "tree", "cover")
SEED = "seed"
SEEDS = ("training.seed", "cover.seed")
"""What `seed` stands for."""

_BY_BEATS = ("network.num-leads", "network.num-samples")


@cache
def known() -> Mapping[str, Any]:
    """The type of every option, by its dotted name; `seed` is that of all parts."""
    hints = get_type_hints(RunConfig)
    found = {name: hints[name.replace("-", "_")] for name in WHOLE} | {SEED: int}
    for part in PARTS:
        for name, hint in get_type_hints(hints[part]).items():
            found[f"{part}.{name.replace('_', '-')}"] = hint
    return MappingProxyType({k: v for k, v in found.items() if k not in _BY_BEATS})


def flat(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A table's values by the dotted names of options, tables in it opened.

    Args:
      table: of a configuration file: `{"network.widths": ...}`, or
        `{"network": {"widths": ...}}`.
      where: what a message calls the table.

    Raises:
      SweepError: there is no such option, or one is named twice.

    Example:
      >>> flat({"seed": 1, "network": {"widths": [8], "dropout": 0.1}}, "base")
      {'seed': 1, 'network.widths': [8], 'network.dropout': 0.1}
    """
    found: dict[str, Any] = {}
    for written, value in _opened(table):
        key = written.replace("_", "-")
        if key not in known():
            raise SweepError(
                f"{where}: there is no option {written!r}.\n"
                f"  try: {nearest(key, known())}"
            )
        if key in found:
            raise SweepError(f"{where}: {key} is there twice.\n  try: one of them")
        found[key] = value
    return found


def nearest(key: str, names: Iterable[str]) -> str:
    """The name that is most like another."""
    return get_close_matches(key, list(names), n=1, cutoff=0.0)[0]


def typed(key: str, value: Any, where: str) -> Any:
    """A value of a configuration file as its option takes it.

    Raises:
      SweepError: it is of another type.

    Example:
      >>> typed("network.widths", [16, 8], "base"), typed("beats.low-hz", 1, "base")
      ((16, 8), 1.0)
    """
    try:
        return _typed(known()[key], value)
    except TypeError:
        raise SweepError(
            f"{where}: {key} = {value!r} is not of its type.\n"
            f"  try: {_words(known()[key])}"
        ) from None


def configured(base: RunConfig, options: Mapping[str, Any]) -> RunConfig:
    """A configuration with other values for some options.

    Raises:
      EcgJaxError: of the part that refuses a value.

    Example:
      >>> configured(RunConfig(), {"seed": 3}).cover.seed
      3
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, value in options.items():
        for name in SEEDS if key == SEED else (key,):
            part, _, field = name.replace("-", "_").partition(".")
            parts.setdefault(part, {})[field] = value
    changed = {
        part: values[""] if "" in values else replace(getattr(base, part), **values)
        for part, values in parts.items()
    }
    return replace(base, **changed)


def _opened(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if key in PARTS and isinstance(value, Mapping):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def _typed(hint: Any, value: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_typed(inner[0], item) for item in value)
    if origin is UnionType:
        return None if value is None else _typed(_other(inner), value)
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if origin is None and type(value) is hint:
        return value
    raise TypeError


def _other(hints: tuple[Any, ...]) -> Any:
    """The type beside None."""
    (hint,) = (hint for hint in hints if hint is not NoneType)
    return hint


def _words(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(inner)}"
    if origin is tuple:
        return f"a list, each {_words(inner[0])}"
    if origin is UnionType:
        return _words(_other(inner))
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(hint, "a text in quotes")
