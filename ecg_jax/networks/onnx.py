"""ONNX files as pure functions, so that networks from PyTorch and elsewhere come in.

The graph is run by a table of operations of this package, in the primitives that the
rules know; what comes out is traced and factored like any other function.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ecg_jax.errors import ExampleError, ModelError
from ecg_jax.networks.onnx_file import load_onnx_model, named
from ecg_jax.networks.onnx_walk import read_graph


def from_onnx(
    path: str | Path | bytes, output: str | None = None
) -> Callable[[Any], Float[Array, "..."]]:
    """The network in an ONNX file, as a pure function of one example.

    A first axis of the file's input that is free, or 1, is taken for the batch: the
    function takes one example without it, and its result has none either.

    Args:
      path: an ONNX file with one input; or the bytes of one, its weights inside.
      output: the name of a value of the graph to give instead of the file's output,
        such as the logits before a softmax; needed where there are several outputs.

    Returns:
      A pure function of one example of the file's shape and dtype; make it a margin
      with `ecg_jax.margin(fn, k)` and `factor` that. `fn.example` is an example, zeros.
      `fn.logits` is the name of what goes into a softmax or sigmoid at the end, to be
      given as `output`, all of them where one class of several is taken; None where
      there is none.

    Raises:
      MissingExtraError: `onnx` is not installed.
      MissingFileError: there is no such file, or none with its weights.
      ModelError: the file is no ONNX model or is cut off, has several inputs, several
        outputs and none is named, an input of unknown shape, or an operation that is
        not known.
      ExampleError: the function is given an input of another shape.

    Source: ONNX, onnx.ai.
    """
    model, place = load_onnx_model(path), named(path)
    inputs = _free_inputs(model.graph)
    outputs = [value.name for value in model.graph.output]
    if len(inputs) != 1:
        raise ModelError(
            f"{place} has {len(inputs)} inputs, not one.\n"
            "  try: export the network as a function of the recording alone"
        )
    if len(outputs) != 1 and output is None:
        raise ModelError(
            f"{place} has {len(outputs)} outputs, not one.\n"
            f"  try: output=NAME (--output NAME): {', '.join(map(repr, outputs))}"
        )
    shape, dtype, batched = _input(place, inputs[0])
    example = jnp.asarray(np.zeros(shape[1:] if batched else shape, dtype))
    aval = jax.ShapeDtypeStruct(shape, example.dtype)
    wanted = outputs[0] if output is None else _value(model.graph, output, place)
    graph = read_graph(model, {inputs[0].name: aval}, [wanted], place)

    def fn(x: Any) -> Array:
        if np.shape(x) != example.shape:
            raise ExampleError(
                f"{fn.__name__} takes one example of shape {list(example.shape)}, not "
                f"{list(np.shape(x))}.\n  try: jax.vmap(fn) for several"
            )
        x = jnp.asarray(x)
        found = graph(x[None] if batched else x)[0]
        return found[0] if batched and found.ndim and found.shape[0] == 1 else found

    fn.__dict__.update(example=example, logits=_logits(model.graph, wanted))
    fn.__name__ = "ONNX model" if isinstance(path, bytes) else Path(path).name
    return fn


def _free_inputs(graph: Any) -> list[Any]:
    """The graph's inputs that no weight is stored for."""
    stored = {weight.name for weight in graph.initializer}
    stored |= {weight.values.name for weight in graph.sparse_initializer}
    return [value for value in graph.input if value.name not in stored]


_MOVES = frozenset(
    {
        "Cast",
        "Dropout",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operations whose output holds entries of their first input."""


def _logits(graph: Any, output: str) -> str | None:
    """What goes into a softmax or a sigmoid that gives the output, or has it inside."""
    made = {name: node for node in graph.node for name in node.output}
    node = made.get(output)
    while node is not None and node.op_type in _MOVES:
        node = made.get(node.input[0])
    if node is None or node.op_type not in ("Softmax", "Sigmoid"):
        return None
    return node.input[0]


def _value(graph: Any, name: str, place: str) -> str:
    """A name that some node gives to its output."""
    known = [each for node in graph.node for each in node.output if each]
    if name not in known:
        raise ModelError(
            f"{place} has no value {name!r}.\n"
            f"  try: one of the last: {', '.join(map(repr, known[-5:]))}"
        )
    return name


def _input(path: str, value: Any) -> tuple[tuple[int, ...], Any, bool]:
    """Shape and dtype of the one input, and whether its first axis is the batch."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise ModelError(
            f"{path}: the shape of the input {value.name!r} is not in the file.\n"
            "  try: export with fixed sizes for all axes but the first"
        )
    dims = [dim.dim_value for dim in tensor.shape.dim]
    if not dims:
        raise ModelError(
            f"{path}: the input {value.name!r} is a single number.\n"
            "  try: export the network as a function of an array"
        )
    if any(size <= 0 for size in dims[1:]):
        raise ModelError(
            f"{path}: the input {value.name!r} has the shape {dims}, 0 where it is "
            "free; only the first axis, the batch, may be.\n"
            "  try: export with fixed sizes for all other axes"
        )
    to_numpy = import_module("onnx.helper").tensor_dtype_to_np_dtype
    dtype = np.dtype(to_numpy(tensor.elem_type))
    if dtype.kind == "O":
        raise ModelError(
            f"{path}: the input {value.name!r} is text.\n"
            "  try: export the part of the network that takes numbers"
        )
    return (1, *dims[1:]) if dims[0] <= 1 else tuple(dims), dtype, dims[0] <= 1
