"""Frozen dataclasses from JSON objects."""

import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ecg_jax.errors import ModelError

Config = TypeVar("Config")


def from_json(cls: type[Config], data: Mapping[str, Any]) -> Config:
    """A frozen dataclass from its JSON object; lists become tuples.

    Args:
        cls: the dataclass.
        data: the object; fields that are missing take their defaults.

    Returns:
        The dataclass.

    Raises:
        ModelError: a field is unknown, or a value is impossible.

    Example:
        >>> from ecg_jax.networks.config import NetworkConfig
        >>> from_json(NetworkConfig, {"kind": "mlp", "widths": [8, 4]}).widths
        (8, 4)
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ModelError(
            f"{cls.__name__} has no field {', '.join(map(repr, unknown))}: the file is "
            "of another version of ecg_jax"
        )
    values = {}
    for name, value in data.items():
        is_tuple = typing.get_origin(hints[name]) is tuple
        values[name] = tuple(value) if is_tuple else value
    return cls(**values)
