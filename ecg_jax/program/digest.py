"""What a function computes, as one SHA-256: names, lines and calls do not count.

Rules may be keyed by functions such as `jax.nn.softplus`. A name proves nothing: beside
it stands the digest of what the function traces to, its variables numbered in order and
its calls written out.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ecg_jax.program import _jax

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def digest(fn: Callable[..., Any], avals: Sequence[jax.ShapeDtypeStruct]) -> str:
    """The SHA-256 of the equations that a function traces to.

    Args:
      fn: pure function of arrays.
      avals: their shapes and dtypes.

    Returns:
      64 hexadecimal digits, the same whether JAX has 64-bit numbers switched on or off.

    Raises:
      TypeError, ValueError: the function does not take such arrays.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> number = [jax.ShapeDtypeStruct((), jnp.float32)]
      >>> one, two = (digest(f, number) for f in (jnp.sin, lambda x: jnp.sin(x)))
      >>> one == two != digest(jnp.cos, number)
      True
    """
    wide = any(np.dtype(aval.dtype).itemsize == 8 for aval in avals)
    with jax.enable_x64(wide):
        jaxpr, consts, _ = _jax.trace(lambda *args: fn(*args), *avals)
    return hashlib.sha256(_text(jaxpr, consts).encode()).hexdigest()


def _text(jaxpr: Any, consts: Sequence[Any]) -> str:
    """A program line by line; equal texts mean equal programs."""
    lines = [f"({', '.join(map(_type, jaxpr.invars))})"]
    count = 0

    def fresh() -> str:
        nonlocal count
        count += 1
        return f"v{count}"

    def write(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[str]) -> list[str]:
        names = dict(zip(jaxpr.invars, inputs, strict=True))
        names.update(zip(jaxpr.constvars, map(_value, consts), strict=True))

        def read(atom: Any) -> str:
            if isinstance(atom, _jax.Literal):
                return _value(np.asarray(atom.val, _jax.dtype_of(atom)))
            return names[atom]

        for eqn in jaxpr.eqns:
            inputs = list(map(read, eqn.invars))
            if (body := _jax.call_body(eqn)) is not None:
                outs = write(*body, inputs)
            else:
                outs = [fresh() for _ in eqn.outvars]
                types = map(_type, eqn.outvars)
                left = ", ".join(map(" ".join, zip(outs, types, strict=True)))
                params = _value(dict(sorted(eqn.params.items())))
                lines.append(f"{left} = {eqn.primitive}{params}({', '.join(inputs)})")
            names.update(zip(eqn.outvars, outs, strict=True))
        return list(map(read, jaxpr.outvars))

    outs = write(jaxpr, consts, [fresh() for _ in jaxpr.invars])
    return "\n".join([*lines, f"return {', '.join(outs)}"])


def _type(atom: Any) -> str:
    return f"{_jax.dtype_of(atom)}{list(atom.aval.shape)}"


def _value(value: Any) -> str:
    """A parameter or a constant, without addresses in memory."""
    if _jax.is_jaxpr(value):
        return "{" + _text(_jax.open_jaxpr(value), getattr(value, "consts", ())) + "}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}[{', '.join(map(_value, value))}]"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        array = np.asarray(value)
        content = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype}{list(array.shape)} {content}"
    if callable(value) and not isinstance(value, type):
        return "a function"
    return f"{type(value).__name__} {_ADDRESS.sub('', repr(value))}"
