"""Branches and loops of an ONNX graph: taken and unrolled while the file is read."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.networks.onnx_graph import Live, Scope, Value
from ecg_jax.networks.onnx_ops.node import Node, Op, OpRefusedError

MOST_STEPS = 10_000
"""How many steps of a loop are unrolled."""


@runtime_checkable
class Walk(Protocol):
    """What goes through the nodes of a graph."""

    def lookup(self, name: str, scope: Scope, what: str) -> Value:
        """What a name stands for."""
        ...

    def block(self, graph: Any, scope: Scope) -> None:
        """Goes through all nodes of a graph."""
        ...

    def emit(self, op: Op, node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
        """Evaluates an operation, or writes it down."""
        ...


def branch(
    walk: Walk, attributes: Any, inputs: list[Value], scope: Scope, node: Any
) -> Sequence[Value]:
    """`If`: the branch that is taken."""
    (condition,) = inputs
    if not isinstance(condition, np.ndarray):
        raise OpRefusedError(
            "which branch is taken depends on the network's input",
            "export one branch, or write it with torch.where",
        )
    graph = attributes["then_branch" if condition.all() else "else_branch"]
    return _body(walk, graph, [], scope)


def _body(walk: Walk, graph: Any, inputs: Sequence[Value], scope: Scope) -> list[Value]:
    inner = scope.inside()
    inner.values.update(zip((v.name for v in graph.input), inputs, strict=False))
    walk.block(graph, inner)
    return [walk.lookup(v.name, inner, "the output") for v in graph.output]


def loop(
    walk: Walk, attributes: Any, inputs: list[Value], scope: Scope, node: Any
) -> Sequence[Value]:
    """`Loop`, unrolled: how often must be known."""
    limit, condition, *carried = inputs
    body = attributes["body"]
    unknown = (
        "how often it runs depends on the network's input",
        "export with a fixed number of steps",
    )
    if isinstance(limit, Live):
        raise OpRefusedError(*unknown)
    most = MOST_STEPS + 1 if limit is None else int(np.ravel(limit)[0])
    rows: list[list[Value]] = []
    while len(rows) < most:
        if isinstance(condition, Live):
            raise OpRefusedError(*unknown)
        if condition is not None and not condition.all():
            break
        if len(rows) == MOST_STEPS:
            raise OpRefusedError(
                f"it runs more than {MOST_STEPS:,} times", "export with fewer steps"
            )
        step = np.asarray(len(rows), np.int64)
        true = np.asarray(True) if condition is None else condition
        condition, *rest = _body(walk, body, [step, true, *carried], scope)
        carried, row = rest[: len(carried)], rest[len(carried) :]
        rows.append(row)
    return [*carried, *_stacked(walk, rows, len(node.output) - len(carried))]


def scan(
    walk: Walk, attributes: Any, inputs: list[Value], scope: Scope, node: Any
) -> Sequence[Value]:
    """`Scan`, unrolled over the slices of its inputs."""
    if scope.opsets[""] < 9:
        raise OpRefusedError(
            "it was another operation before opset 9", "export again with opset 17"
        )
    num = attributes["num_scan_inputs"]
    states, sequences = inputs[: len(inputs) - num], inputs[len(inputs) - num :]
    outs = len(node.output) - len(states)
    zeros, more = (0,) * num, (0,) * outs
    axes = attributes.get("scan_input_axes", zeros)
    backwards = attributes.get("scan_input_directions", zeros)
    out_axes = attributes.get("scan_output_axes", more)
    out_backwards = attributes.get("scan_output_directions", more)
    first = sequences[0]
    assert first is not None
    shape = first.aval.shape if isinstance(first, Live) else first.shape
    rows: list[list[Value]] = []
    for t in range(shape[axes[0]]):
        parts = []
        for value, axis, back in zip(sequences, axes, backwards, strict=True):
            at = shape[axes[0]] - 1 - t if back else t
            take = _taking(at, axis)
            parts.append(walk.emit(take, Node("Gather"), [value])[0])
        made = _body(walk, attributes["body"], [*states, *parts], scope)
        states = made[: len(states)]
        rows.append(made[len(states) :])
    return [*states, *_stacked(walk, rows, outs, out_axes, out_backwards)]


def _taking(at: int, axis: int) -> Op:
    return lambda node, x: jnp.take(x, at, axis)


def _stacked(
    walk: Walk,
    rows: list[list[Value]],
    count: int,
    axes: Sequence[int] | None = None,
    backwards: Sequence[int] | None = None,
) -> list[Value]:
    """What the steps of a loop give, one after the other along an axis."""
    if not rows and count:
        raise OpRefusedError(
            "it does not run at all, so its outputs have no shape",
            "export without the loop",
        )
    made = []
    for i in range(count):
        axis = axes[i] if axes else 0
        column = [row[i] for row in rows]
        column = column[::-1] if backwards and backwards[i] else column

        def stack(node: Node, *values: Any, axis: int = axis) -> Array:
            return jnp.stack([jnp.asarray(v) for v in values], axis)

        made.append(walk.emit(stack, Node("Concat"), column)[0])
    return made


CONTROL: Mapping[str, Callable[..., Sequence[Value]]] = MappingProxyType(
    {
        "If": branch,
        "Loop": loop,
        "Scan": scan,
    }
)
