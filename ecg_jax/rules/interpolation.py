"""`jnp.interp` with constant knots: piecewise linear, a difference of convex functions.

With slope `s_j` to the right of knot `t_j`, and `s_-1`, `s_n-1` those beyond the ends,

    phi = (phi + h) - h        h(z) = sum_j max(s_j-1 - s_j, 0) max(z - t_j, 0)

is convex where no slope decreases, concave where none increases. Values stay those of
`jnp.interp` itself.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.program import _jax
from ecg_jax.program.gates import Split
from ecg_jax.program.roles import Application, Refused, Role, Rule, Rules
from ecg_jax.rules.difference import difference_gate
from ecg_jax.rules.smooth import tangent_gate

_TRY = "give xp and fp as constants, xp strictly increasing"


def interpolated(fn: Callable[..., Array], beyond: str) -> Rule:
    """The rule of `fn(x, xp, fp, *ends)`; `beyond` the knots: "constant" or "line"."""

    def rule(application: Application) -> Role:
        if any(application.live[1:]):
            return Refused("knots of an interpolation depend on the input", _TRY)
        known = [application.constant(i) for i in range(1, len(application.inputs))]
        if not all(map(_jax.is_concrete, known)):
            return Refused("the knots are not known while the function is traced", _TRY)
        xp, fp, *ends = (np.asarray(v, np.float64) for v in known)
        if len(xp) < 2 or not np.all(np.diff(xp) > np.spacing(np.spacing(1.0))):
            return Refused("the knots of an interpolation do not increase", _TRY)
        if any(end != value for end, value in zip(ends, fp[[0, -1]], strict=False)):
            return Refused(
                "an interpolation jumps to another value beyond its knots",
                "leave out left and right, or give the values at the first and last "
                "knot",
            )
        return _piecewise(lambda z: fn(z, *known), xp, fp, beyond)

    return rule


def _piecewise(
    fn: Callable[[Array], Array], xp: np.ndarray, fp: np.ndarray, beyond: str
) -> Role:
    slopes = np.diff(fp) / np.diff(xp)
    ends = slopes[[0, -1]] if beyond == "line" else np.zeros(2)
    before, after = np.concatenate([ends[:1], slopes]), np.append(slopes, ends[1])
    fields: dict[str, Any] = {  # errors of `fp` count like those of `z`
        "lipschitz": max(1.0, float(np.max(np.abs([*before, *after])))),
        "level": float(np.max(np.abs(fp))),
        "bounds": (fp.min(), fp.max()) if beyond == "constant" else (-np.inf, np.inf),
    }
    if np.all(after >= before) or np.all(after <= before):
        curvature = 1 if np.all(after >= before) else -1
        return tangent_gate("interp", fn, curvature, **fields)
    bent = np.flatnonzero(after < before)
    split = _kinks(xp[bent], before[bent], after[bent], bent == len(xp) - 1)
    return difference_gate("interp", fn, split, **fields)


def _kinks(
    knots: np.ndarray, before: np.ndarray, after: np.ndarray, last: np.ndarray
) -> Split:
    """`h`: at the knots where the slope decreases, each on an axis of its own."""

    def over(v: np.ndarray, z: Array) -> Array:
        return jnp.asarray(v, z.dtype).reshape(*(1,) * z.ndim, -1)

    def step(z: Array) -> Array:
        return z[..., None] - over(knots, z)

    def total(terms: Array) -> Array:
        return jnp.sum(over(before - after, terms[..., 0]) * terms, axis=-1)

    def right(a: Array) -> Array:
        """Whether `phi` at an anchor has the slope right of a knot, as JAX has it."""
        at = a[..., None]
        shape = (1,) * a.ndim
        ends = jnp.asarray(last).reshape(*shape, -1)
        return jnp.where(ends, at > over(knots, a), at >= over(knots, a))

    def gap(a: Array, z: Array) -> Array:
        across = jnp.where(right(a), -step(z), step(z))
        return total(jnp.maximum(across, 0))

    def shift(p: Array, q: Array, z: Array) -> Array:
        one, other = (right(a).astype(z.dtype) for a in (p, q))
        return total((one - other) * step(z))

    def size(a: Array, z: Array) -> Array:
        steep = over(np.abs(before) + np.abs(after), z)
        far = jnp.abs(z)[..., None] + jnp.abs(over(knots, z))
        return jnp.sum(steep * far, axis=-1)

    return Split(gap, shift, lambda z: total(jnp.maximum(step(z), 0)), size)


def _interp(*args: Array) -> Array:
    return jnp.interp(*args)


def _extrapolated(*args: Array) -> Array:
    return jnp.interp(*args, left="extrapolate", right="extrapolate")


_extrapolated.__name__ = "_interp"  # what JAX calls both

INTERPOLATION_RULES: Rules = MappingProxyType(
    {
        _interp: interpolated(_interp, "constant"),
        _extrapolated: interpolated(_extrapolated, "line"),
    }
)
