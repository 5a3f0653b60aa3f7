"""ONNX files as pure functions, so that networks from PyTorch and elsewhere come in.

The graph is run by `jaxonnxruntime`, the extra `onnx`; what comes out is traced and
factored like any other function.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ecg_jax.errors import MissingExtraError, MissingFileError, ModelError


def from_onnx(path: str | Path | bytes) -> Callable[[Any], Float[Array, "..."]]:
    """The network in an ONNX file, as a pure function of one example.

    A first axis of the file's input that is free, or 1, is taken for the batch: the
    function takes one example without it, and its result has none either.

    Args:
      path: an ONNX file with one input and one output, its weights inside it; or the
        bytes of one.

    Returns:
      A pure function of one example of the file's shape and dtype; make it a margin
      with `ecg_jax.margin(fn, k)` and `factor` that. `fn.example` is an example, zeros.

    Raises:
      MissingExtraError: `jaxonnxruntime` is not installed.
      MissingFileError: there is no such file.
      ModelError: the file is no ONNX model, has several inputs or outputs, an input of
        unknown shape, or an operation that `jaxonnxruntime` does not know.

    Source: jaxonnxruntime, Google, 2023; ONNX, onnx.ai.
    """
    onnx, call_onnx = _extra()
    place = "the ONNX bytes given" if isinstance(path, bytes) else str(path)
    if not isinstance(path, bytes) and not Path(path).is_file():
        raise MissingFileError(
            f"{path}: no such file.\n  try: the path of a .onnx file"
        )
    try:
        is_bytes = isinstance(path, bytes)
        model = onnx.load_model_from_string(path) if is_bytes else onnx.load(path)
    except Exception as error:
        raise ModelError(f"{place} is no ONNX model: {error}") from error
    to_numpy = import_module("onnx.helper").tensor_dtype_to_np_dtype
    shape, dtype, batched = _input(place, model, to_numpy)
    example = jnp.zeros(shape[1:] if batched else shape, dtype)
    name, output = _free_inputs(model.graph)[0].name, model.graph.output[0].name

    def arranged(x: Any) -> dict[str, Any]:
        return {name: x[None] if batched else x}

    try:
        run, weights = call_onnx.call_onnx_model(model, arranged(example))
        weights = jax.tree.map(jnp.asarray, weights)

        def fn(x: Any) -> Array:
            found = run(weights, arranged(x))[0]
            return found[0] if batched and found.ndim and found.shape[0] == 1 else found

        jax.eval_shape(fn, example)
    except Exception as error:
        raise ModelError(
            f"{place}: its graph cannot be run, output {output!r}: {error}\n"
            "  try: export with opset 16 to 19, in which `jaxonnxruntime` knows every "
            "version of what it knows; or without operations of your own"
        ) from error
    fn.__dict__["example"] = example
    fn.__name__ = "ONNX model" if isinstance(path, bytes) else Path(path).name
    return fn


def _extra() -> tuple[Any, Any]:
    try:
        call_onnx = import_module("jaxonnxruntime.call_onnx")
        onnx = import_module("onnx")
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX files needs `jaxonnxruntime` and `onnx`.\n"
            "  try: pip install 'ecg_jax[onnx]'"
        ) from error
    return onnx, call_onnx


def _free_inputs(graph: Any) -> list[Any]:
    """The graph's inputs that no weight is stored for."""
    stored = {weight.name for weight in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def _input(
    path: str, model: Any, to_numpy: Callable[[int], Any]
) -> tuple[tuple[int, ...], Any, bool]:
    """Shape and dtype of the one input, and whether its first axis is the batch."""
    free, outputs = _free_inputs(model.graph), model.graph.output
    if len(free) != 1 or len(outputs) != 1:
        raise ModelError(
            f"{path} has {len(free)} inputs and {len(outputs)} outputs, not one each.\n"
            "  try: export the part of the network that gives the logits"
        )
    tensor = free[0].type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    if not dims or any(size <= 0 for size in dims[1:]):
        raise ModelError(
            f"{path}: the input {free[0].name!r} has the shape {dims}, 0 where it is "
            "free; only the first axis, the batch, may be.\n"
            "  try: export with fixed sizes for all other axes"
        )
    dtype = np.dtype(to_numpy(tensor.elem_type))
    return (1, *dims[1:]) if dims[0] <= 1 else tuple(dims), dtype, dims[0] <= 1
