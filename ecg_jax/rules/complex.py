"""Complex numbers inside a program: linear maps, and the modulus.

A complex value that sees the input is a pair of real ones. What is linear over complex
numbers is affine in the pair; `|z|` is a norm of it, convex. Any other function of a
complex value is refused: what is convex on the real line says nothing there.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Application, Refused, Role, Rule


@jax.jit
def modulus(re: Array, im: Array) -> Array:
    """`|re + i im|`, computed as `jnp.abs` of a complex value computes it."""
    return lax.abs(lax.complex(re, im))


def modulus_gate(application: Application) -> Role:
    """`|z|`, a norm of two: convex, `T_a(z) = (re_a re + im_a im) / |a|`.

    At `a = 0` the tangent is 0, a subgradient like any other there.
    """
    operands, every = application.operands()

    def pair(values: tuple[Array, ...]) -> tuple[Array, Array]:
        re, im = every(*values)
        return re, im

    def apply(*z: Array) -> Array:
        return modulus(*pair(z))

    def pattern(*z: Array) -> Any:
        return pair(z)

    def tangent(anchor: Any, *z: Array) -> Array:
        length = modulus(*anchor)
        known = (length > 0) & jnp.isfinite(length)
        whole = jnp.where(known, length, jnp.ones_like(length))
        parts = [
            jnp.where(known, a / whole, jnp.zeros_like(length)) * part
            for a, part in zip(anchor, pair(z), strict=True)
        ]
        return parts[0] + parts[1]

    whole = len(operands) == 2
    return Gate(
        name="modulus",
        operands=operands,
        curvature=1,
        apply=modulus if whole else apply,
        pattern=pattern,
        tangent=tangent,
        fill=0.0,
        elementwise=True,
        bounds=(0.0, np.inf),
        lipschitz=1.0,
    )


def of_complex(z: Array) -> Array:
    """`|z|` of a complex value, as a function of its two parts."""
    return modulus(lax.real(z), lax.imag(z))


def sees_complex(application: Application) -> bool:
    """Whether an operand that sees the input is complex."""
    return any(
        live and jnp.issubdtype(aval.dtype, jnp.complexfloating)
        for live, aval in zip(application.live, application.avals, strict=True)
    )


def on_reals(rule: Rule) -> Rule:
    """A rule that holds for real operands; complex ones are refused."""

    def asked(application: Application) -> Role:
        if sees_complex(application):
            return Refused(
                f"`{_name(application)}` of complex values that depend on the input",
                "write it with jnp.abs, jnp.real and jnp.imag of these values",
            )
        return rule(application)

    asked.__doc__ = rule.__doc__
    return asked


def of_reals(rule: Rule) -> Rule:
    """A rule for products: of complex values only by those that are constant."""
    refusing = on_reals(rule)

    def asked(application: Application) -> Role:
        inverse = application.primitive is lax.div_p and application.live[1]
        several = sum(application.live) > 1 or inverse
        return (refusing if several else rule)(application)

    asked.__doc__ = rule.__doc__
    return asked


def _name(application: Application) -> str:
    return str(application.params.get("name", application.primitive))
