"""Arithmetic, comparisons and truth values, entry by entry."""

from functools import reduce
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import (
    TEXT,
    Node,
    OpRefusedError,
    Ops,
    is_floating,
    plain,
    to_dtype,
)


def divide(node: Node, x: Any, y: Any) -> Array:
    """`x / y`; of whole numbers, rounded towards zero."""
    if is_floating(x):
        return jnp.divide(x, y)
    x, y = jnp.broadcast_arrays(jnp.asarray(x), jnp.asarray(y))
    return lax.div(x, y)


def power(node: Node, x: Any, y: Any) -> Array:
    """`x^y` in the dtype of `x`; a small whole exponent is a product."""
    exponent = node.constants.get(1)
    if exponent is not None and exponent.size == 1 and is_floating(x):
        value = float(exponent.reshape(()))
        shape = jnp.broadcast_shapes(jnp.shape(x), exponent.shape)
        if value.is_integer() and 1 <= value <= 8:
            return jnp.broadcast_to(lax.integer_pow(x, int(value)), shape)
        if value == 0.5:
            return jnp.broadcast_to(jnp.sqrt(x), shape)
    return jnp.power(x, y).astype(jnp.result_type(x))


def modulo(node: Node, x: Any, y: Any) -> Array:
    """The remainder with the sign of the divisor, or of the dividend (`fmod`)."""
    return jnp.fmod(x, y) if node.get("fmod", 0) else jnp.mod(x, y)


def is_infinite(node: Node, x: Any) -> Array:
    """Whether entries are infinite, of one sign or of both."""
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    return (jnp.isposinf(x) & bool(positive)) | (jnp.isneginf(x) & bool(negative))


def shift_bits(node: Node, x: Any, y: Any) -> Array:
    """Bits moved to the left or to the right."""
    left = node.get("direction") == "LEFT"
    return jnp.left_shift(x, y) if left else jnp.right_shift(x, y)


def mean(node: Node, *values: Any) -> Array:
    """The mean of several values."""
    return reduce(jnp.add, values) / len(values)


def clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Array:
    """`min(max(x, low), high)`; the bounds were attributes before opset 11."""
    low = node.get("min") if low is None else low
    high = node.get("max") if high is None else high
    dtype = jnp.result_type(x)
    if low is not None:
        x = jnp.maximum(x, jnp.asarray(low, dtype))
    return x if high is None else jnp.minimum(x, jnp.asarray(high, dtype))


def cast(node: Node, x: Any) -> Array:
    """Another dtype; whole numbers are cut off, truth is what is not zero."""
    return _cast(x, node.get("to"), bool(node.get("saturate", 1)))


def cast_like(node: Node, x: Any, like: Any) -> Array:
    """The dtype of another value."""
    return _cast(x, np.dtype(jnp.result_type(like)), bool(node.get("saturate", 1)))


def _cast(x: Any, dtype: Any, saturate: bool) -> Array:
    if dtype == np.dtype(object):
        raise OpRefusedError(*TEXT)
    if dtype == np.dtype(bool):
        return jnp.not_equal(x, 0)
    if dtype.name == "float8_e8m0fnu":
        raise OpRefusedError(
            "it rounds to powers of two, which is not in the table",
            "export the network in float32, before it is quantized",
        )
    if dtype.name.endswith(("int4", "int2")) and is_floating(x):
        x = jnp.asarray(x).astype(jnp.int32)  # the higher bits are cut off
    if not saturate or not dtype.name.startswith(("float8_", "float6_", "float4_")):
        return to_dtype(x, dtype)
    largest = float(jnp.finfo(dtype).max)
    bounded = jnp.clip(jnp.asarray(x).astype(jnp.float32), -largest, largest)
    return jnp.where(jnp.isnan(x), jnp.nan, bounded).astype(dtype)


def bit_cast(node: Node, x: Any) -> Array:
    """The same bits, read as another dtype."""
    return lax.bitcast_convert_type(x, node.get("to"))


def dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    """Nothing, as in inference; the mask is true everywhere."""
    mode = node.constant(2, (x, ratio, training))
    share = node.constant(1, (x, ratio, training)) if mode else None
    if mode is not None and mode.any() and (share is None or share.any()):
        raise OpRefusedError("it drops entries by chance", "export in evaluation mode")
    return x, jnp.ones(jnp.shape(x), bool)


ELEMENTWISE: Ops = MappingProxyType(
    {
        "Add": plain(jnp.add),
        "Sub": plain(jnp.subtract),
        "Mul": plain(jnp.multiply),
        "Div": divide,
        "Pow": power,
        "Mod": modulo,
        "Neg": plain(jnp.negative),
        "Abs": plain(jnp.abs),
        "Reciprocal": plain(lambda x: 1 / x),
        "Sqrt": plain(jnp.sqrt),
        "Exp": plain(jnp.exp),
        "Log": plain(jnp.log),
        "Erf": plain(lax.erf),
        "Sign": plain(jnp.sign),
        "Floor": plain(jnp.floor),
        "Ceil": plain(jnp.ceil),
        "Round": plain(jnp.round),
        "Sin": plain(jnp.sin),
        "Cos": plain(jnp.cos),
        "Tan": plain(jnp.tan),
        "Asin": plain(jnp.arcsin),
        "Acos": plain(jnp.arccos),
        "Atan": plain(jnp.arctan),
        "Sinh": plain(jnp.sinh),
        "Cosh": plain(jnp.cosh),
        "Asinh": plain(jnp.arcsinh),
        "Acosh": plain(jnp.arccosh),
        "Atanh": plain(jnp.arctanh),
        "Max": plain(lambda *values: reduce(jnp.maximum, values)),
        "Min": plain(lambda *values: reduce(jnp.minimum, values)),
        "Sum": plain(lambda *values: reduce(jnp.add, values)),
        "Mean": mean,
        "Clip": clip,
        "Equal": plain(jnp.equal),
        "Greater": plain(jnp.greater),
        "GreaterOrEqual": plain(jnp.greater_equal),
        "Less": plain(jnp.less),
        "LessOrEqual": plain(jnp.less_equal),
        "And": plain(jnp.logical_and),
        "Or": plain(jnp.logical_or),
        "Xor": plain(jnp.logical_xor),
        "Not": plain(jnp.logical_not),
        "BitwiseAnd": plain(jnp.bitwise_and),
        "BitwiseOr": plain(jnp.bitwise_or),
        "BitwiseXor": plain(jnp.bitwise_xor),
        "BitwiseNot": plain(jnp.bitwise_not),
        "BitShift": shift_bits,
        "IsNaN": plain(jnp.isnan),
        "IsInf": is_infinite,
        "Where": plain(jnp.where),
        "Cast": cast,
        "CastLike": cast_like,
        "BitCast": bit_cast,
        "Identity": plain(lambda x: x),
        "Dropout": dropout,
    }
)
