"""How messages name an operation: by what the user wrote, and in which layer."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.program import Program, run
from ecg_jax.program.roles import Equation

WRITTEN: Mapping[Any, str] = MappingProxyType(
    {
        **dict.fromkeys((lax.gather_p, lax.dynamic_slice_p), "indexing, x[i]"),
        lax.scatter_p: "x.at[i].set",
        lax.scatter_add_p: "x.at[i].add",
        lax.scatter_mul_p: "x.at[i].multiply",
        lax.dynamic_update_slice_p: "x.at[i].set",
        lax.select_n_p: "jnp.where",
        lax.convert_element_type_p: "astype",
        lax.mul_p: "a product",
        lax.div_p: "a quotient",
        _jax.primitives.dot_general_p: "a matrix product",
        lax.conv_general_dilated_p: "a convolution",
        lax.cond_p: "lax.cond",
        lax.while_p: "a loop",
        lax.scan_p: "a loop",
        lax.sort_p: "sort, argsort or top_k",
        lax.rem_p: "a remainder, %",
    }
)
"""Primitives whose name is not what users write."""

_LAYER = re.compile(r"(?:^|\.)([A-Za-z]\w*)\.(?:__call__|call|forward)$")


def named(eqn: Equation) -> str:
    """An equation as messages name it: primitive, what was written, layer, line.

    Of an ONNX file nothing was written in JAX: there the node says it all.
    """
    written = None if _jax.node_of(eqn.made) else WRITTEN.get(eqn.primitive)
    layer = layer_of(eqn.made)
    return (
        f"`{eqn.primitive}`{f' ({written})' if written else ''}"
        f"{f' in the layer `{layer}`' if layer else ''} at {eqn.source}"
    )


def layer_of(made: Any) -> str:
    """The class of the innermost layer that an equation was made in; "" for none."""
    for name in _jax.functions_of(made):
        if (found := _LAYER.search(name)) is not None:
            return found.group(1)
    return ""


def not_finite(program: Program, x: Any) -> str:
    """The operation whose result is the first NaN at an example, else infinite one.

    Named as in messages; "" where all results are finite.
    """
    env = dict(program.constants)
    env.update(zip(program.inputs, program.check_input(x), strict=True))
    infinite = ""
    for eqn in program.equations:
        run([eqn], env)
        values = [np.asarray(env[n]) for n in eqn.outputs]
        real = [v for v in values if jnp.issubdtype(v.dtype, jnp.inexact)]
        if any(np.isnan(v).any() for v in real):
            return named(eqn)
        if not infinite and any(np.isinf(v).any() for v in real):
            infinite = named(eqn)
    return infinite
