"""What an operation of an ONNX graph is told: its attributes, opset and constants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Op = Callable[..., Any]
"""`op(node, *inputs) -> output`, or a tuple of outputs; an input left out is None."""

Ops = Mapping[str, Op]


CHECK = "onnx.checker.check_model(path, full_check=True) says what is wrong"
TEXT = ("it works on text", "export the part of the network that takes numbers")


class OpRefusedError(Exception):
    """An operation cannot be run as its node asks; the walk says which node it is."""

    def __init__(self, why: str, try_: str):
        super().__init__(why)
        self.try_ = try_


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a graph, as its operation sees it.

    Attributes:
      op: the operation's name, such as `Conv`.
      version: the opset of the operation's domain that the file declares.
      attributes: by name; tensors are NumPy arrays.
      constants: inputs that do not depend on the network's input, by position.
      outputs: which outputs are used.
    """

    op: str
    version: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    outputs: tuple[bool, ...] = (True,)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or what it is when the node does not say."""
        return self.attributes.get(name, default)

    def constant(self, index: int, inputs: tuple[Any, ...]) -> np.ndarray | None:
        """An input that must be known when the file is read; None if it is left out."""
        if index >= len(inputs) or inputs[index] is None:
            return None
        if index not in self.constants:
            raise OpRefusedError(
                f"its input {index} depends on the network's input, so the shape of "
                "what it gives does too",
                "export with fixed sizes",
            )
        return self.constants[index]

    def listed(
        self, name: str, index: int, inputs: tuple[Any, ...]
    ) -> tuple[int, ...] | None:
        """Whole numbers: an attribute in older opsets, an input in newer ones."""
        value = self.get(name)
        if value is None:
            value = self.constant(index, inputs)
        if value is None:
            return None
        return tuple(int(v) for v in np.ravel(value))

    def sizes(self, name: str, index: int, inputs: tuple[Any, ...]) -> tuple[int, ...]:
        """Whole numbers that the node must have."""
        value = self.listed(name, index, inputs)
        if value is None:
            raise OpRefusedError(f"its {name!r} is missing", CHECK)
        return value

    def number(
        self, index: int, inputs: tuple[Any, ...], default: int | None = None
    ) -> int:
        """A whole number: an input, or what it is when there is none."""
        value = self.constant(index, inputs)
        if value is not None:
            return int(np.ravel(value)[0])
        if default is None:
            raise OpRefusedError(f"its input {index} is missing", CHECK)
        return default

    def uses(self, index: int) -> bool:
        """Whether somebody reads this output."""
        return index < len(self.outputs) and self.outputs[index]


def plain(fn: Callable[..., Any]) -> Op:
    """An operation without attributes: a function of its inputs alone."""
    return lambda node, *inputs: fn(*inputs)


def to_dtype(x: Any, dtype: Any) -> Array:
    """`x` in a dtype, or in its 32-bit form where JAX has 64 bits switched off."""
    return jnp.asarray(x).astype(jax.dtypes.canonicalize_dtype(dtype))


def alike(*values: Any) -> tuple[Array, ...]:
    """Values brought to one dtype, as convolutions and products want them."""
    dtype = jnp.result_type(*values)
    return tuple(jnp.asarray(v, dtype) for v in values)


def is_floating(x: Any) -> bool:
    """Whether a value holds real numbers that are not whole."""
    return jnp.issubdtype(jnp.result_type(x), jnp.floating)
