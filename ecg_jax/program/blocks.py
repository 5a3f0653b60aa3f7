"""A function over a whole data set, block by block, within the memory at hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import tree_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ecg_jax.program import _jax
from ecg_jax.program.checks import num_examples
from ecg_jax.progress import Progress, silent

BLOCK = 512
"""The most examples in flight at once on a device."""

STEP = 2
"""Blocks are a power of this smaller: few shapes to compile, few rows too many."""

MEMORY = 2**30
"""What the values that live at once in a block may take of a memory, in bytes."""

CACHE = 2**26
"""The same where a loop reads them again and again: a CPU's last cache holds them."""


def blocks(
    fn: Callable[..., Any],
    data: Any,
    *args: Any,
    block: int = BLOCK,
    progress: Progress = silent,
) -> Any:
    """`vmap(fn)` over a data set, block by block; results as NumPy arrays.

    Args:
      fn: function of one example and of `args`.
      data: pytree of arrays with a common first axis.
      args: further arguments, the same for every example.
      block: the most examples in flight at once on a device. Fewer are, where the data
        are fewer or their values fill more than `MEMORY`. All blocks have one shape,
        and all devices of the process share them; one that `jax.default_device` names
        computes alone.
      progress: told of the examples done after every block.

    Returns:
      The results with the first axis of `data`.

    Raises:
      ExampleError: there are no examples, or not as many in every array.
    """
    num = num_examples(data)
    block = block_size(partial(_mapped.trace, fn), data, *args, block=block)
    out: list[Any] = []
    for start in range(0, num, block):
        part = tree_util.tree_map(partial(_block, start, block), data)
        out.append(tree_util.tree_map(np.asarray, _mapped(fn, part, *args)))
        progress(min(start + block, num), num)
    whole = tree_util.tree_map(lambda *leaves: np.concatenate(leaves)[:num], *out)
    return whole


def block_size(
    trace: Callable[..., Any],
    data: Any,
    *args: Any,
    block: int = BLOCK,
    loops: bool = False,
) -> int:
    """How many examples at once fit the data and `MEMORY`: see `blocks`.

    Args:
      trace: of a jitted function of a block and of `args`, which a call uses again.
      data: pytree of arrays with a common first axis.
      args: further arguments, the same for every example.
      block: the most examples at once on a device.
      loops: whether the function loops over its values, which then fit a CPU's `CACHE`.
    """
    num, shared = num_examples(data), num_devices()
    block *= shared
    while block // STEP >= num:
        block //= STEP
    on_cpu = jax.default_backend() == "cpu"
    memory = CACHE if loops and on_cpu else MEMORY * (1 if on_cpu else shared)
    while block > 1 and _peak_bytes(trace, block, data, args) > memory:
        block = max(1, block // STEP)
    return block


@partial(jax.jit, static_argnums=0)
def _mapped(fn: Callable[..., Any], part: Any, *args: Any) -> Any:
    return jax.vmap(jax.jit(lambda x: fn(x, *args), inline=True))(part)


def _peak_bytes(trace: Callable[..., Any], block: int, data: Any, args: Any) -> int:
    part = tree_util.tree_map(partial(_block, 0, block), data)
    return _jax.peak_bytes(trace(part, *args).jaxpr)


def _block(start: int, size: int, data: Any) -> Any:
    """Rows of one block; a short last one repeats its last row: one compilation."""
    part = data[start : start + size]
    missing = size - len(part)
    if missing:
        part = np.concatenate([part, np.repeat(part[-1:], missing, axis=0)])
    return _spread(part)


def block_rows(data: Any, rows: np.ndarray, size: int) -> Any:
    """Some rows of a data set as one block; the last row is repeated to fill it."""
    rows = rows[np.minimum(np.arange(size), len(rows) - 1)]
    return tree_util.tree_map(lambda leaf: _spread(np.asarray(leaf)[rows]), data)


def num_devices() -> int:
    """How many devices share a block: those of this process, unless one is chosen."""
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    return len(jax.local_devices()) if chosen is None else 1


def _spread(rows: Any) -> Any:
    """The rows of a block, as many on each device, where they can be shared out."""
    num = num_devices()
    if num == 1 or len(rows) % num:
        return rows
    mesh = Mesh(np.array(jax.local_devices()), ("examples",))
    return jax.device_put(rows, NamedSharding(mesh, PartitionSpec("examples")))
