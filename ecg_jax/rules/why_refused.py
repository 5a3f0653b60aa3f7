"""Why an index, a truth value or a rounded number depends on the input.

What is refused is often not where the network left the real numbers: an index is used
lines after the `argsort` that made it. These messages name the operation that did, and
what to write instead.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
from jax import lax

from ecg_jax.program.operations import named
from ecg_jax.program.roles import Application, Equation, Refused

Cures = tuple[str, str]
"""What to write in JAX, and what to do about a node of an ONNX file."""

FLOATS: Cures = (
    "export or load the network in float32, without quantization; weights may be "
    "rounded beforehand: w_int8.astype(jnp.float32) * scale",
    "export the network in float32, before it is quantized",
)
STEP: Cures = (
    "z * (z > 0), jnp.where(z > 0, z, a * z) and sign(z) * g(z) with g(0) = 0 have "
    "rules; for a step itself use a slope, jnp.clip(k * z, 0, 1)",
    "train and export with a slope in place of the step: Relu, Clip, HardSigmoid",
)
ENTRIES: Cures = (
    "use the values instead of their places: jnp.max(z), jnp.sort(z), "
    "lax.top_k(z, k)[0]; of class scores ecg_jax.margin(logits, k); or weigh all "
    "entries, jax.nn.softmax(z) @ w",
    "use the values instead of their places: ReduceMax, the values of TopK; of class "
    "scores the logits, ecg_jax.from_onnx(path, output=NAME); or weigh all entries by "
    "Softmax",
)
HALF: Cures = (
    "cast weights and input to float32 before: jax.tree.map(lambda w: "
    "w.astype(jnp.float32), params), and build the layers with dtype=jnp.float32",
    "export the network in float32, without Cast to fewer bits: in PyTorch "
    "network.float() before torch.onnx.export",
)
_ROUNDING: Cures = (
    "leave the rounding out, z itself; of a quantized network, export or load it in "
    "float32 before quantization",
    "leave the node out; of a quantized network, export it before it is quantized",
)


def origin(
    application: Application, number: int, other: Callable[[Any], bool]
) -> Equation | None:
    """The operation that made a value of a kind out of `other` dtypes."""
    waiting, seen = [number], set()
    while waiting:
        n = waiting.pop()
        eqn = application.definition(n)
        if eqn is None or n in seen:
            continue
        seen.add(n)
        live = [i for i in eqn.inputs if application.builder.live[i]]
        if any(other(application.builder.avals[i].dtype) for i in live):
            return eqn
        waiting += live
    return None


def of_index(application: Application, number: int) -> Refused:
    """Why an index is refused, and what to do instead."""
    made = origin(application, number, _is_real)
    why = "an index depends on the input, so the entry taken jumps"
    return Refused(f"{why}{_made_by(made)}", *ENTRIES)


def of_conversion(application: Application) -> Refused:
    """Why a conversion is refused, and what to do instead."""
    source, target = application.avals[0].dtype, application.params["new_dtype"]
    change = f"conversion from {jnp.dtype(source)} to {jnp.dtype(target)}"
    if all(map(_is_real, (source, target))):
        narrow = min(map(jnp.dtype, (source, target)), key=lambda d: d.itemsize)
        made = origin(application, application.inputs[0], lambda d: d != narrow)
        why = f"{change}: what {narrow} holds is rounded to few bits{_made_by(made)}"
        return Refused(why, *HALF)
    if _is_real(source):
        return Refused(f"{change} cuts off digits, a staircase", *FLOATS)
    made = origin(application, application.inputs[0], _is_real)
    why = f"{change} makes a number of one that jumps{_made_by(made)}"
    return Refused(why, *(_CURES.get(made.primitive, FLOATS) if made else FLOATS))


def of_sign(application: Application) -> Refused:
    """Why a function of a value of any sign is refused, and how to show the sign."""
    made = application.definition(application.inputs[0])
    where = "" if made is None else f", made by {named(made)},"
    return Refused(
        f"the sign of the operand{where} is not proven, so the operation is neither "
        "convex nor concave",
        "make the sign visible: jnp.exp(z), jnp.square(z), jnp.abs(z) + eps, "
        "jnp.maximum(z, eps)",
        "make the sign visible: Exp, Mul of a value by itself, Abs plus a small "
        "number, Max with one",
    )


def _is_real(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))


def _made_by(eqn: Equation | None) -> str:
    return "" if eqn is None else f"; it was made by {named(eqn)}"


_CURES: Mapping[Any, Cures] = MappingProxyType(
    {
        **dict.fromkeys((lax.sort_p, lax.argmax_p, lax.argmin_p), ENTRIES),
        **dict.fromkeys((lax.gt_p, lax.ge_p, lax.lt_p, lax.le_p), STEP),
    }
)
JUMPS: Mapping[Any, Cures] = MappingProxyType(
    {
        lax.sign_p: (
            "sign(z) * g(z) with g(0) = 0 has a rule; for the sign itself use a "
            "slope, jnp.clip(k * z, -1, 1), or jnp.tanh(k * z)",
            "train and export with a slope in place of the sign: Clip, Tanh",
        ),
        **dict.fromkeys((lax.floor_p, lax.ceil_p, lax.round_p), _ROUNDING),
        lax.rem_p: (
            "leave the remainder out; of a phase, jnp.sin(z) and jnp.cos(z)",
            "leave the node out; of a phase, Sin and Cos",
        ),
        lax.atan2_p: (
            "use the amplitude, jnp.abs(z), or both parts, jnp.real(z) and "
            "jnp.imag(z); or make the second one positive: jnp.arctan2(y, jnp.exp(x))",
            "use the amplitude, or both parts",
        ),
        **dict.fromkeys((lax.argmax_p, lax.argmin_p), ENTRIES),
    }
)
"""What to write instead of an operation that jumps."""
