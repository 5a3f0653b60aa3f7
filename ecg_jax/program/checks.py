"""What `trace` demands of a function: a pure map of floats to one real scalar.

And what every verb demands of its data: arrays of numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax.errors import (
    DTypeError,
    EcgJaxError,
    ExampleError,
    NonFiniteError,
    NotPureError,
    NotScalarError,
    ParamsError,
)
from ecg_jax.program import _jax

ROWS = 4096
"""How many examples are looked at at once."""

_OF_JAX = (jax.errors.JAXTypeError, jax.errors.JAXIndexError)
"""What JAX says of functions that cannot be traced; they are told by themselves."""


@runtime_checkable
class HasInputs(Protocol):
    """Data that know what a function sees of them, such as `ecg_jax.Beats`."""

    def inputs(self) -> Any:
        """Examples along the first axis."""
        ...


def examples(data: Any, like: Any = None) -> Any:
    """The examples that a verb works on: those of `data.inputs()`, or data themselves.

    Args:
      data: examples along the first axis, or something with `inputs()`.
      like: an example; what comes from `inputs()` in float32 is widened to its float64.
    """
    if not isinstance(data, HasInputs):
        return data
    found, wide = data.inputs(), getattr(like, "dtype", None)
    narrow = getattr(found, "dtype", None) == np.float32
    return found.astype(wide) if narrow and wide == np.float64 else found


def check_dtype(dtype: Any, what: str) -> None:
    """Only float32 and float64 are exact."""
    if dtype not in (jnp.float32, jnp.float64):
        raise DTypeError(
            f"{what} is {dtype}; factoring is exact for float32 and float64 only.\n"
            "  try: cast the input, jnp.asarray(x, jnp.float32), and keep the network "
            "in that dtype."
        )


def check_arrays(data: Any) -> None:
    """Raises `ExampleError` unless every leaf is a NumPy or JAX array of numbers.

    Single numbers are leaves too, but for a list of them, which is meant as an array.
    """
    leaves = tree_util.tree_leaves(data, is_leaf=_is_list_of_numbers)
    for leaf in [None] if data is None else leaves:
        if found := _no_array(leaf):
            raise ExampleError(
                f"the input holds {found}, not an array of numbers.\n"
                "  try: np.asarray(x, np.float32), with what is missing left out"
            )


def num_examples(data: Any) -> int:
    """How many examples there are: the length of the common first axis.

    Raises:
      ExampleError: there are none, the arrays have no common first axis, or something
        is no array of numbers.
    """
    check_arrays(data)
    shapes = [np.shape(leaf) for leaf in tree_util.tree_leaves(data)]
    lengths = {shape[:1] for shape in shapes}
    if () in lengths or len(lengths) > 1:
        raise ExampleError(
            f"the data have no common first axis: shapes {shapes[:4]}.\n"
            "  try: an array of examples, or a pytree of such, as long as each other"
        )
    if lengths <= {(0,)}:
        raise ExampleError(
            "no examples.\n  try: data with a leading axis of at least 1"
        )
    return lengths.pop()[0]


def check_finite(data: Any) -> None:
    """Raises `NonFiniteError` where an example holds NaN or infinite numbers."""
    for leaf in tree_util.tree_leaves(data):
        for start in range(0, len(leaf), ROWS):  # a memory map is read part by part
            rows = np.asarray(leaf[start : start + ROWS])
            finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
            if not finite.all():
                raise NonFiniteError(
                    f"data[{start + np.argmin(finite)}] holds NaN or infinite "
                    "numbers.\n  try: leave such examples out"
                )


def check_examples(data: Any) -> int:
    """What every verb asks of data, whatever the function: see `Program.check_data`."""
    num = num_examples(data)
    check_finite(data)
    return num


def told(tree: Any) -> str:
    """What a pytree is, in words; of its content only the names."""
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(repr, tree)) or 'nothing'}"
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return f"a {type(tree).__name__} of {len(tree)}"
    if tree is None:
        return "None"
    return f"a {type(tree).__name__}" if _no_array(tree) else "an array"


def _is_list_of_numbers(value: Any) -> bool:
    """A list, nested or not, of nothing but Python's own numbers."""
    if not isinstance(value, list) or not value:
        return False
    leaves = tree_util.tree_leaves(value)
    return bool(leaves) and all(type(v) in (bool, int, float, complex) for v in leaves)


def _no_array(leaf: Any) -> str:
    """What a leaf is, if it is no array of numbers; else nothing."""
    if leaf is None or isinstance(leaf, list):
        return "None" if leaf is None else "a list of numbers"
    if isinstance(leaf, np.ma.MaskedArray):
        return "a masked array"
    if isinstance(leaf, np.ndarray | np.generic):
        # kind V: bfloat16 and its like, which JAX knows
        plain = leaf.dtype.kind in "biufc" or jnp.issubdtype(leaf.dtype, jnp.floating)
        return "" if plain else f"an array of dtype {leaf.dtype}"
    numbers = (jax.Array, jax.ShapeDtypeStruct, bool, int, float, complex)
    return "" if isinstance(leaf, numbers) else f"a {type(leaf).__name__}"


def traced_at(
    fn: Callable[..., Any], avals: Sequence[Any], start: int = 0
) -> tuple[Any, tuple[Any, ...], Any]:
    """`_jax.trace(fn, *avals)`, or an error with what was given from `start` on."""
    try:
        return _jax.trace(fn, *avals)
    except (EcgJaxError, *_OF_JAX):
        raise
    except (TypeError, ValueError, IndexError) as error:
        shapes = ", ".join(f"{aval.dtype}{list(aval.shape)}" for aval in avals[start:])
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExampleError(
            f"the function cannot be evaluated at an example of {shapes}.\n"
            f"  why: called with this one example, it raised {type(error).__name__}: "
            f"{reason}\n"
            "  try: one example of the form that the function takes, not a batch: "
            "X[0]; of a function that takes a batch, lambda x: fn(x[None])[0]"
        ) from error


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
        if (nan := np.isnan(np.asarray(leaf))).any():
            raise _nan_error(nan, name)


def _nan_error(nan: np.ndarray, name: str) -> NonFiniteError:
    """Of a weight, by which of its entries are NaN."""
    return NonFiniteError(
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
        if (nan := np.isnan(np.asarray(value))).any():
            place = _jax.source_line(_jax.first_use(jaxpr, var))
            raise _nan_error(nan, f"a weight of shape {nan.shape}, used at {place},")
    for eqn in jaxpr.eqns:
        if (body := _jax.call_body(eqn)) is not None:
            check_weights(*body)
