"""What `trace` demands of a function: a pure map of floats to one real scalar.

And what every verb demands of its data: arrays of numbers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax import _jax
from ecg_jax.errors import (
    DTypeError,
    ExampleError,
    NonFiniteError,
    NotPureError,
    NotScalarError,
    ParamsError,
)


def check_dtype(dtype: Any, what: str) -> None:
    """Only float32 and float64 are exact."""
    if dtype not in (jnp.float32, jnp.float64):
        raise DTypeError(
            f"{what} is {dtype}; factoring is exact for float32 and float64 only.\n"
            "  try: cast the input, jnp.asarray(x, jnp.float32), and keep the network "
            "in that dtype."
        )


def check_arrays(data: Any) -> None:
    """Raises `ExampleError` unless every leaf is a NumPy or JAX array of numbers."""
    for leaf in tree_util.tree_leaves(data):
        if found := _no_array(leaf):
            raise ExampleError(
                f"the input holds {found}, not an array of numbers.\n"
                "  try: np.asarray(x, np.float32), with what is missing left out"
            )


def _no_array(leaf: Any) -> str:
    """What a leaf is, if it is no array of numbers; else nothing."""
    if isinstance(leaf, np.ma.MaskedArray):
        return "a masked array"
    if isinstance(leaf, np.ndarray | np.generic):
        # kind V: bfloat16 and its like, which JAX knows
        plain = leaf.dtype.kind in "biufc" or jnp.issubdtype(leaf.dtype, jnp.floating)
        return "" if plain else f"an array of dtype {leaf.dtype}"
    numbers = (jax.Array, jax.ShapeDtypeStruct, bool, int, float, complex)
    return "" if isinstance(leaf, numbers) else f"a {type(leaf).__name__}"


def check_output(out: Any) -> None:
    """One real scalar comes out."""
    leaves = tree_util.tree_leaves(out)
    if len(leaves) != 1 or leaves[0].shape != ():
        shapes = [leaf.shape for leaf in leaves]
        raise NotScalarError(
            f"the function returns shapes {shapes}, not one scalar.\n"
            "  try: a margin, e.g. ecg_jax.margin(logits_fn, k), and one example, "
            "not a batch."
        )
    check_dtype(leaves[0].dtype, "the output")


def check_purity(jaxpr: Any, consts: Sequence[Any], again: Any) -> None:
    """No side effects, and a second trace is the same."""
    if jaxpr.effects:
        raise NotPureError(
            f"the function has side effects: {sorted(map(str, jaxpr.effects))}.\n"
            "  try: remove prints, callbacks and mutable references from it."
        )
    difference = _jax.first_difference((jaxpr, consts), again)
    if difference:
        raise NotPureError(
            f"two traces of the function differ: {difference}.\n"
            "  try: remove Python state and NumPy randomness from it; pass keys and "
            "weights as constants."
        )


def check_params(params: Any, like: Any) -> None:
    """Raises `ParamsError` unless the leaves of `params` are those of `like`.

    And `NonFiniteError` where one is NaN, as far as values are known.
    """
    have, wanted = _leaves(params), _leaves(like)
    wrong = [f"{name} is missing" for name in wanted if name not in have]
    for name, leaf in have.items():
        if name not in wanted:
            wrong.append(f"{name} is not among them")
        elif found := _no_array(leaf):
            wrong.append(f"{name} is {found}")
        elif _type(leaf) != _type(wanted[name]):
            wrong.append(f"{name} is {_type(leaf)}, not {_type(wanted[name])}")
    tree, other = map(tree_util.tree_structure, (params, like))
    if not wrong and tree != other:
        wrong.append(f"the structure is {tree}, not {other}")
    if wrong:
        raise ParamsError(
            "these are no params of this equation:\n  "
            + "\n  ".join(wrong)
            + "\n  try: one set of params, like those it was factored with; "
            "jax.vmap over a stack of them"
        )
    for name, leaf in have.items():
        if isinstance(leaf, jax.ShapeDtypeStruct) or not _jax.is_concrete(leaf):
            continue
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            continue
        nan = np.isnan(np.asarray(leaf))
        if nan.any():
            raise NonFiniteError(
                f"{nan.sum()} of the {nan.size} entries of {name} are NaN.\n"
                "  try: check the training, or the file the weights came from."
            )


def _leaves(params: Any) -> dict[str, Any]:
    """The leaves of params, by their paths."""
    leaves, _ = tree_util.tree_flatten_with_path(params)
    return {f"params{tree_util.keystr(path)}": leaf for path, leaf in leaves}


def _type(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{list(np.shape(leaf))}"


def check_weights(jaxpr: Any, consts: Sequence[Any]) -> None:
    """No array constant of the program, or of a function it calls, is NaN."""
    for var, value in zip(jaxpr.constvars, consts, strict=True):
        if not _jax.is_concrete(value) or not jnp.issubdtype(
            jnp.result_type(value), jnp.floating
        ):
            continue
        bad = int(np.isnan(np.asarray(value)).sum())
        if bad:
            place = _jax.source_line(_jax.first_use(jaxpr, var))
            raise NonFiniteError(
                f"{bad} of the {np.size(value)} entries of a weight of shape "
                f"{np.shape(value)}, used at {place}, are NaN.\n"
                "  try: check the training, or the file the weights came from."
            )
    for eqn in jaxpr.eqns:
        if (body := _jax.call_body(eqn)) is not None:
            check_weights(*body)
