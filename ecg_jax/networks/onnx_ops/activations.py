"""Activations, written so that `RULES` recognises each as a gate."""

from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.networks.onnx_ops.node import Node, Ops, plain


def relu(node: Node, x: Any) -> Array:
    """`max(x, 0)`."""
    return jnp.maximum(x, 0)


def leaky_relu(node: Node, x: Any) -> Array:
    """`x` above zero, `alpha x` below."""
    return jax.nn.leaky_relu(x, node.get("alpha", 0.01))


def prelu(node: Node, x: Any, slope: Any) -> Array:
    """`x` above zero, `slope x` below."""
    return jnp.where(x >= 0, x, slope * x)


def thresholded_relu(node: Node, x: Any) -> Array:
    """`x` above `alpha`, zero below: it jumps."""
    return jnp.where(x > node.get("alpha", 1.0), x, jnp.zeros_like(x))


def elu(node: Node, x: Any) -> Array:
    """`x` above zero, `alpha (e^x - 1)` below."""
    return _elu(x, node.get("alpha", 1.0))


def selu(node: Node, x: Any) -> Array:
    """`gamma elu(x)`."""
    alpha = node.get("alpha", 1.67326319217681884765625)
    return node.get("gamma", 1.05070102214813232421875) * _elu(x, alpha)


def celu(node: Node, x: Any) -> Array:
    """`x` above zero, `alpha (e^(x / alpha) - 1)` below."""
    alpha = node.get("alpha", 1.0)
    return alpha * _elu(x / alpha, 1.0)


def _elu(x: Any, alpha: float) -> Array:
    return jax.nn.elu(x) if alpha == 1 else jax.nn.elu(x, alpha)


def hard_sigmoid(node: Node, x: Any) -> Array:
    """`alpha x + beta` between 0 and 1."""
    line = node.get("alpha", 0.2) * x + node.get("beta", 0.5)
    return jnp.minimum(jnp.maximum(line, 0), 1)


def gelu(node: Node, x: Any) -> Array:
    """`x` times the normal distribution function of `x`, or its form by tanh."""
    return jax.nn.gelu(x, approximate=node.get("approximate", "none") == "tanh")


def swish(node: Node, x: Any) -> Array:
    """`x / (1 + e^(-alpha x))`."""
    alpha = node.get("alpha", 1.0)
    return jax.nn.silu(x) if alpha == 1 else x * lax.logistic(alpha * x)


def shrink(node: Node, x: Any) -> Array:
    """`x` moved towards zero by `bias`, zero where it is within `lambd`."""
    bias, lambd = node.get("bias", 0.0), node.get("lambd", 0.5)
    zero = jnp.zeros_like(x)
    above = jnp.where(x > lambd, x - jnp.asarray(bias, x.dtype), zero)
    return jnp.where(x < -lambd, x + jnp.asarray(bias, x.dtype), above)


def softmax(node: Node, x: Any) -> Array:
    """`e^x` over its sum; before opset 13 over all axes from `axis` on."""
    return _over_classes(node, x, jax.nn.softmax)


def log_softmax(node: Node, x: Any) -> Array:
    """`x - log sum e^x`, over the same axes."""

    def less_total(z: Array, axis: int) -> Array:
        return z - jax.nn.logsumexp(z, axis=axis, keepdims=True)

    return _over_classes(node, x, less_total)


def hardmax(node: Node, x: Any) -> Array:
    """1 at the first of the largest entries, 0 elsewhere."""

    def first(z: Array, axis: int) -> Array:
        best = jnp.argmax(z, axis)
        return jax.nn.one_hot(best, z.shape[axis], dtype=z.dtype, axis=axis)

    return _over_classes(node, x, first)


def _over_classes(node: Node, x: Any, fn: Any) -> Array:
    if node.version >= 13:
        return fn(x, axis=node.get("axis", -1))
    axis = node.get("axis", 1) % max(np.ndim(x), 1)
    rows = jnp.reshape(x, (int(np.prod(np.shape(x)[:axis])), -1))
    return jnp.reshape(fn(rows, axis=1), np.shape(x))


ACTIVATIONS: Ops = MappingProxyType(
    {
        "Relu": relu,
        "LeakyRelu": leaky_relu,
        "PRelu": prelu,
        "ThresholdedRelu": thresholded_relu,
        "Elu": elu,
        "Selu": selu,
        "Celu": celu,
        "Sigmoid": plain(lax.logistic),
        "HardSigmoid": hard_sigmoid,
        "HardSwish": plain(jax.nn.hard_silu),
        "Tanh": plain(lax.tanh),
        "Softplus": plain(jax.nn.softplus),
        "Softsign": plain(jax.nn.soft_sign),
        "Gelu": gelu,
        "Swish": swish,
        "Mish": plain(jax.nn.mish),
        "Shrink": shrink,
        "Softmax": softmax,
        "LogSoftmax": log_softmax,
        "Hardmax": hardmax,
    }
)
