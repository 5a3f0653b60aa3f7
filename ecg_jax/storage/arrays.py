"""Pytrees of arrays as safetensors files, written atomically."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ecg_jax.errors import ModelError
from ecg_jax.storage.files import write_atomic


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf of a pytree under its path, such as `params/head/kernel`.

    Args:
        tree: any pytree of arrays.

    Returns:
        NumPy arrays by path.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): np.array(leaf, order="C") for path, leaf in leaves}


def unflatten(arrays: Mapping[str, np.ndarray], like: Any, path: Path | str) -> Any:
    """The pytree that `flatten` took apart.

    Args:
        arrays: NumPy arrays by path.
        like: a pytree of arrays, or of shapes and dtypes, of the wanted structure.
        path: the file that is named if something is wrong.

    Returns:
        JAX arrays in the structure of `like`.

    Raises:
        ModelError: names, shapes or dtypes differ, or a number is not finite; every
            difference is listed.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(key): leaf for key, leaf in leaves}
    wrong = [f"  {name}: missing" for name in wanted if name not in arrays]
    wrong += [f"  {name}: unknown" for name in arrays if name not in wanted]
    for name in wanted.keys() & arrays.keys():
        have, want = arrays[name], wanted[name]
        if have.shape != want.shape or have.dtype.kind != np.dtype(want.dtype).kind:
            wrong.append(
                f"  {name}: {have.dtype}{list(have.shape)}, expected "
                f"{want.dtype}{list(want.shape)}"
            )
        elif not np.isfinite(have).all():
            wrong.append(f"  {name}: NaN or infinite")
    if wrong:
        raise ModelError(
            f"{path} does not fit its configuration:\n"
            + "\n".join(sorted(wrong))
            + "\n  try: copy or train the network again"
        )
    values = [jnp.asarray(arrays[name]) for name in wanted]
    return jax.tree_util.tree_unflatten(structure, values)


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write arrays and their metadata as one safetensors file, atomically.

    Args:
        path: the file.
        arrays: by name.
        metadata: text by name.

    Raises:
        DiskFullError: no space is left.
    """
    from safetensors.numpy import save

    write_atomic(path, save(dict(arrays), metadata=dict(metadata)))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Args:
        path: the file.

    Returns:
        Arrays by name, text by name.

    Raises:
        ModelError: the file is missing or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            return arrays, dict(file.metadata() or {})
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: nothing was saved there") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is no readable safetensors file ({error}): delete it and make it "
            "again"
        ) from error


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
