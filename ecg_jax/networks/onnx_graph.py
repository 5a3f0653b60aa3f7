"""What the graph of an ONNX file becomes: steps that JAX runs, one after the other."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Op


@dataclass(frozen=True, eq=False)
class Live:
    """A value that depends on the network's input."""

    number: int
    aval: jax.ShapeDtypeStruct


Value = np.ndarray | Live | None


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: its inputs are numbers of values, or constants.

    It is run in a scope of JAX that names its `source`, the node in the file, which
    messages of refusals say instead of a line of code.
    """

    op: Op
    node: Node
    inputs: tuple[Any, ...]
    outputs: tuple[int, ...]
    source: str

    def __call__(self, env: Mapping[int, Any]) -> tuple[Any, ...]:
        """Its outputs, from the values so far."""
        args = [env[v] if isinstance(v, int) else v for v in self.inputs]
        with jax.named_scope(self.source):
            found = self.op(self.node, *args)
        return found if isinstance(found, tuple) else (found,)


@dataclass(frozen=True, eq=False)
class Graph:
    """The steps from live inputs to outputs; a pure function.

    Attributes:
      inputs: numbers of the live inputs.
      outputs: numbers, or constants.
      steps: in the order in which they are run.
    """

    inputs: tuple[int, ...]
    outputs: tuple[Any, ...]
    steps: tuple[Step, ...]

    def __call__(self, *inputs: Any) -> list[Array]:
        """The outputs; the rules of shapes and dtypes are the file's own."""
        env = dict(zip(self.inputs, map(jnp.asarray, inputs), strict=True))
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            for step in self.steps:
                env.update(zip(step.outputs, step(env), strict=False))
        return [jnp.asarray(env[v] if isinstance(v, int) else v) for v in self.outputs]


@dataclass(frozen=True, eq=False)
class Scope:
    """Names and what they stand for, in a graph or in the body of a function.

    In the standard's definition of an operation, `source` is the node that it defines.
    """

    values: MutableMapping[str, Value]
    opsets: Mapping[str, int]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def inside(self) -> "Scope":
        """For a graph within a node, which sees all names around it."""
        return replace(self, values=ChainMap({}, self.values))


def needed(
    inputs: tuple[int, ...], outputs: tuple[Any, ...], steps: list[Step]
) -> Graph:
    """The steps that the outputs need."""
    wanted, kept = {v for v in outputs if isinstance(v, int)}, []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            kept.append(step)
            wanted.update(v for v in step.inputs if isinstance(v, int))
    return Graph(inputs, outputs, tuple(reversed(kept)))


def argument(value: Value) -> Any:
    """A value as a step keeps it: whole numbers stay with NumPy, which has 64 bits."""
    if isinstance(value, Live):
        return value.number
    if value is None or value.dtype.kind in "biu":
        return value
    return jnp.asarray(value)
