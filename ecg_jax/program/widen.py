"""A program in float64: what its rounding is measured against."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import lax, tree_util

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program import _jax
from ecg_jax.program.convolution import as_product, is_product
from ecg_jax.program.program import Program, run
from ecg_jax.program.roles import Equation
from ecg_jax.program.trace import trace


def widen(program: Program) -> Program:
    """The same program in float64, traced again so that the rules see it wide.

    Constants are evaluated in their own dtype first: both programs share them.
    Evaluate it under `jax.enable_x64(True)`.
    """
    env = dict(program.constants)
    run([eqn for eqn in program.equations if eqn.role is None], env)
    env = {number: _jax.widened(value) for number, value in env.items()}
    live = [eqn for eqn in program.equations if eqn.role is not None]

    def wide(x: Any) -> Any:
        leaves = tree_util.tree_leaves(x)
        values = {**env, **dict(zip(program.inputs, leaves, strict=True))}
        for eqn in live:
            with _jax.user_source(eqn.made):
                outs = _apply_wide(eqn, [values[n] for n in eqn.inputs])
            values.update(zip(eqn.outputs, outs, strict=True))
        return values[program.output]

    shapes = [program.avals[number].shape for number in program.inputs]
    example = [jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes]
    with jax.enable_x64(True):
        example = program.in_tree.unflatten(example)
        return trace(wide, example, program.rules, depth=program.depth)


def _apply_wide(eqn: Equation, args: Sequence[Any]) -> list[Any]:
    """Applies an equation to float64 operands; a call of a function stays one."""
    if eqn.function is not None:
        call = _jax.as_call(eqn.function, list(map(jax.typeof, args)))
        return [call(*args)]
    try:
        return _bind_wide(eqn, args)
    except (TypeError, ValueError) as error:
        raise UnsupportedPrimitiveError(
            f"cannot evaluate `{eqn.primitive}` at {eqn.source} in float64.\n"
            f"  why:     {str(error).splitlines()[0]}\n"
            "  try:     factor the function in float64"
        ) from error


def _bind_wide(eqn: Any, args: Sequence[Any]) -> list[Any]:
    """A primitive with dtypes, and the programs in its parameters, made wide.

    A convolution becomes a matrix product, which is faster in float64.
    """
    if eqn.primitive is lax.conv_general_dilated_p and is_product(eqn.params):
        return [as_product(eqn.params, *args)]
    params = {k: _wide_parameter(v) for k, v in eqn.params.items()}
    for key in ("preferred_element_type", "new_dtype", "dtype"):
        if params.get(key) is not None:
            params[key] = _jax.wide_dtype(params[key])
    if "precision" in params:
        params["precision"] = None
    return _jax.bind(eqn.primitive, params, args)


def _wide_parameter(value: Any) -> Any:
    if _jax.is_jaxpr(value):
        return _jax.retraced(value, _bind_wide)
    if isinstance(value, tuple) and any(map(_jax.is_jaxpr, value)):
        wide = [_wide_parameter(v) for v in value]
        return type(value)(*wide) if hasattr(value, "_fields") else tuple(wide)
    return value
