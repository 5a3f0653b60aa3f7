"""Values as JSON: a whitelist of types, arrays by reference. No pickle, no eval.

What an equation's parameters and an input's structure are made of is written as plain
JSON; a type that is not in the tables is refused, by name. Arrays go to a safetensors
file, JSON holds their names.
"""

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.errors import StoreError
from ecg_jax.program import _jax

ENUMS: Mapping[str, type[enum.Enum]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            lax.GatherScatterMode,
            lax.Precision,
            lax.RoundingMethod,
            lax.AccuracyMode,
            lax.DotAlgorithmPreset,
            lax.FftType,
        )
    }
)
TUPLES: Mapping[str, type[Any]] = MappingProxyType(
    {
        cls.__name__: cls
        for cls in (
            lax.ConvDimensionNumbers,
            lax.GatherDimensionNumbers,
            lax.ScatterDimensionNumbers,
        )
    }
)
_PLAIN = (type(None), bool, int, str)
_SIZES = ("8", "16", "32", "64")
_NATIVE = frozenset(
    {"bool", "float16", "float32", "float64"}
    | {"int" + size for size in _SIZES}
    | {"uint" + size for size in _SIZES}
)


class ArrayStore:
    """Named arrays of a file; JSON refers to them as `{"array": name}`."""

    def __init__(self, arrays: Mapping[str, np.ndarray] | None = None):
        self.arrays = dict(arrays or {})

    def put(self, name: str, value: Any) -> dict[str, Any]:
        """Adds an array; returns its reference.

        Raises:
          StoreError: the value is known only while a function is traced, or has a
            dtype without bytes (random keys).
        """
        if not _jax.is_concrete(value):
            raise StoreError(
                f"{name} has no value outside of jit.\n"
                "  try: factor and save outside of jit, vmap and grad"
            )
        dtype = jnp.result_type(value)
        if jnp.issubdtype(dtype, jax.dtypes.extended):
            raise StoreError(f"{name} has the dtype {dtype}, which has no bytes.")
        array = np.array(value, order="C")
        dtype = array.dtype.name
        if dtype in _NATIVE:
            self.arrays[name] = array
            return {"array": name}
        self.arrays[name] = np.frombuffer(array.tobytes(), np.uint8)
        return {"array": name, "dtype": dtype, "shape": list(array.shape)}

    def get(self, reference: Mapping[str, Any]) -> np.ndarray:
        """The array that a reference names.

        Raises:
          StoreError: there is none of that name or shape.
        """
        name = reference["array"]
        if name not in self.arrays:
            raise StoreError(f"the array {name!r} is missing.")
        array = self.arrays[name]
        if "dtype" in reference:
            array = array.view(dtype_named(reference["dtype"]))
            array = array.reshape(reference["shape"])
        return array


def dtype_named(name: Any) -> np.dtype:
    """The dtype of a name, float32 and bfloat16 alike."""
    try:
        return np.dtype(jnp.dtype(name))
    except TypeError:
        raise StoreError(f"the dtype {name!r} is unknown to this JAX.") from None


def encode(value: Any, store: ArrayStore, name: str) -> Any:
    """A parameter as JSON.

    Args:
      value: None, bool, int, float, str, tuple, list, dict with such keys, a dtype, an
        array, or one of the types in `ENUMS` and `TUPLES`.
      store: takes the arrays.
      name: what messages and arrays call the value, e.g. "pad.padding_config".

    Raises:
      StoreError: the value is of another type.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return {"float": repr(value)}
    if kind in (list, tuple):
        items = [encode(v, store, f"{name}.{i}") for i, v in enumerate(value)]
        return items if kind is list else {"tuple": items}
    if kind is dict:
        pairs = enumerate(value.items())
        return {
            "dict": [
                [encode(k, store, f"{name}.{i}"), encode(v, store, f"{name}.{i}")]
                for i, (k, v) in pairs
            ]
        }
    if TUPLES.get(kind.__name__) is kind:
        fields = {f: getattr(value, f) for f in value._fields}
        encoded = {f: encode(v, store, f"{name}.{f}") for f, v in fields.items()}
        return {"named": kind.__name__, "fields": encoded}
    if ENUMS.get(kind.__name__) is kind:
        return {"enum": kind.__name__, "member": value.name}
    if isinstance(value, np.dtype):
        return {"dtype": value.name}
    if isinstance(value, np.generic):
        return {"scalar": store.put(name, value)}
    if isinstance(value, np.ndarray) or hasattr(value, "addressable_shards"):
        return store.put(name, value)
    raise StoreError(
        f"{name} is of type {kind.__module__}.{kind.__qualname__}, which cannot be "
        "stored.\n  try: write the function without it, or report the type"
    )


def decode(value: Any, store: ArrayStore) -> Any:
    """The parameter that `encode` wrote.

    Raises:
      StoreError: a type is unknown, or an array is missing.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [decode(v, store) for v in value]
    if isinstance(value, dict):
        for key, reader in _READERS.items():
            if key in value:
                return reader(value, store)
    raise StoreError(f"{value!r} is no stored value of a known type.")


def _named(value: Any, store: ArrayStore) -> Any:
    cls = _known(TUPLES, value["named"])
    return cls(**{f: decode(v, store) for f, v in value["fields"].items()})


def _member(value: Any, store: ArrayStore) -> Any:
    cls = _known(ENUMS, value["enum"])
    if value["member"] not in cls.__members__:
        raise StoreError(f"{value['enum']} has no member {value['member']!r}.")
    return cls[value["member"]]


def _known(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise StoreError(f"a value of the unknown type {name!r} is stored.")
    return table[name]


_READERS: Mapping[str, Callable[[Any, ArrayStore], Any]] = MappingProxyType(
    {
        "float": lambda v, s: float(v["float"]),
        "tuple": lambda v, s: tuple(decode(i, s) for i in v["tuple"]),
        "dict": lambda v, s: {decode(k, s): decode(i, s) for k, i in v["dict"]},
        "named": _named,
        "enum": _member,
        "scalar": lambda v, s: s.get(v["scalar"])[()],
        "array": lambda v, s: s.get(v),
        "dtype": lambda v, s: dtype_named(v["dtype"]),
    }
)
