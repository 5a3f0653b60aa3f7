"""Values of a program over a box: an affine form of its numbers, and an error.

    v(t) = c + sum_k G_k s_k +- e,    t_k = m_k + r_k s_k,    |s_k| <= 1

How equations carry forms on is told in `boxes`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.program.gates import Gate
from ecg_jax.program.program import at_places, operation
from ecg_jax.program.roles import Equation
from ecg_jax.proof.rounding import Walk
from ecg_jax.proof.rounding_rules import Bounded

EVALUATIONS = 4.0
"""Roundings of a box: of `fn`, and of the centre, the slopes and the sizes here."""


class Form(NamedTuple):
    """`centre + slopes . s +- error` over the box, and what error each number makes."""

    centre: Any
    slopes: Any
    error: Any

    @property
    def reach(self) -> Array:
        """How far it may be from its centre."""
        return jnp.sum(jnp.abs(self.slopes), axis=0) + self.error

    @property
    def size(self) -> Array:
        """The largest modulus of any value."""
        return jnp.abs(self.centre) + self.reach


class Step(NamedTuple):
    """An equation: how it carries errors on, and those that it makes itself.

    Attributes:
      inputs: the numbers of the forms that it reads.
      outputs: the numbers of those that it makes.
      carry: what it makes of the errors of the first; linear.
      errors: what it adds to those of the second, in modulus.
      shares: for each number of the box, its part in these errors; None: no gate.
    """

    inputs: Sequence[int]
    outputs: Sequence[int]
    carry: Callable[..., Sequence[Any]]
    errors: Sequence[Any]
    shares: Any


Own = tuple[Callable[..., Sequence[Any]], Sequence[Any], Any]
"""The last three of a step: `carry`, `errors` and `shares`."""


def arriving(
    steps: Sequence[Step], number: int, output: int, like: Array
) -> tuple[Array, Array]:
    """What arrives of every error at the output, `sum_i |y_i| e_i`; each number's part.

    `y_i`, the derivative of the output by the error of value `i`, comes of one pass
    back over the equations, as they carry errors on.
    """

    def carried(own: list[list[Array]]) -> Array:
        errors: dict[int, Any] = {number: jnp.zeros_like(like)}
        for step, new in zip(steps, own, strict=True):
            old = step.carry(*(errors[n] for n in step.inputs))
            outs = [a + b for a, b in zip(old, new, strict=True)]
            errors.update(zip(step.outputs, outs, strict=True))
        return errors[output]

    made = [list(step.errors) for step in steps]
    weights = jax.vjp(carried, made)[1](jnp.ones((), like.dtype))[0]
    total, widths = jnp.zeros((), like.dtype), jnp.zeros_like(like)
    for step, weight in zip(steps, weights, strict=True):
        for y, e in zip(weight, step.errors, strict=True):
            total = total + jnp.sum(jnp.abs(y) * e)
        if step.shares is not None:
            part = jnp.abs(weight[0])[None] * step.shares
            widths = widths + jnp.sum(part.reshape(len(like), -1), axis=1)
    return total, widths


def affine_forms(walk: Walk, eqn: Equation, args: list[Any]) -> tuple[list[Form], Own]:
    """An affine operation of forms: errors as the rounding rules carry them."""
    live = [i for i, arg in enumerate(args) if isinstance(arg, Form)]
    apply = at_places(operation(eqn), args, live)
    given = [args[i] for i in live]
    centres, linear = jax.linearize(apply, *(form.centre for form in given))
    slopes = jax.vmap(linear)(*(form.slopes for form in given))

    def errors(of: Callable[[Form], Any]) -> list[Array]:
        bounded = tuple(
            Bounded(None, arg.size, of(arg))
            if isinstance(arg, Form)
            else walk.constants[n]
            for n, arg in zip(eqn.inputs, args, strict=True)
        )
        found = walk.errors(eqn, bounded, EVALUATIONS)
        return [
            jnp.broadcast_to(jnp.asarray(e, c.dtype), c.shape)
            for e, c in zip(found, centres, strict=True)
        ]

    forms = map(Form, centres, slopes, errors(lambda form: form.error))
    return list(forms), (linear, errors(lambda form: None), None)


def gate_form(gate: Gate, args: tuple[Any, ...]) -> tuple[Form, Own]:
    """The larger (or smaller) of pieces, each a form; then what a `_Step` says."""
    if gate.pieces is None:
        return _smooth_form(gate, *args)
    live = [i for i, arg in enumerate(args) if isinstance(arg, Form)]
    pieces = at_places(gate.pieces, args, live)
    given = [args[i] for i in live]
    c, linear = jax.linearize(pieces, *(form.centre for form in given))
    g = jax.vmap(linear)(*(form.slopes for form in given))
    # Each piece is one operand, up to its sign.
    e = jnp.abs(linear(*(form.error for form in given)))
    sign = jnp.broadcast_to(np.where(np.asarray(gate.curvature) < 0, -1, 1), c.shape)
    sign = sign.astype(c.dtype)
    form, mix, extra, shares = _largest(Form(sign * c, sign[None] * g, e))
    one = sign[0]
    form = Form(one * form.centre, one[None] * form.slopes, form.error)
    return form, (lambda *errors: [mix(linear(*errors))], [extra], shares)


def _largest(p: Form) -> tuple[Form, Any, Array, Array]:
    """The largest of several forms, along the first axis.

    Returns:
      It, what it makes of the pieces' errors, its own error, each number's part in it.
    """
    never = ~jnp.isfinite(p.centre)
    centre = jnp.where(never, -jnp.inf, p.centre)
    slopes = jnp.where(never[None], 0, p.slopes)
    best = jnp.argmax(centre, axis=0)

    def pick(leaf: Array, at: Array, axis: int) -> Array:
        if leaf.shape[axis] == 2:  # many times as fast as a gather and its transpose
            one, other = jnp.moveaxis(leaf, axis, 0)
            return jnp.where(at == 0, one, other)
        index = jnp.expand_dims(at, axis=0)
        index = jnp.broadcast_to(index, (*leaf.shape[:axis], *index.shape))
        return jnp.take_along_axis(leaf, index, axis=axis).squeeze(axis)

    c, g, e = pick(centre, best, 0), pick(slopes, best, 1), pick(p.error, best, 0)
    apart = jnp.sum(jnp.abs(slopes - g[:, None]), axis=0) + p.error + e[None]
    itself = jnp.arange(len(centre)).reshape(-1, *[1] * best.ndim) == best[None]
    ahead = jnp.where(itself | never, -jnp.inf, centre - c[None] + apart)
    rival = jnp.argmax(ahead, axis=0)
    top = pick(ahead, rival, 0)
    unit = 16 * float(jnp.finfo(c.dtype).eps)
    if len(centre) > 2:  # all rivals together: anything from 0 to the farthest ahead
        extra = jnp.maximum(top, 0) / 2
        own = extra + unit * (jnp.abs(c) + extra)
        form, shares = Form(c + extra, g, e + own), pick(slopes, rival, 1) - g
        return form, lambda v: pick(v, best, 0), own, _shares(shares, extra)
    rc = jnp.where(jnp.isfinite(top), pick(centre, rival, 0), c)
    rg, re = pick(slopes, rival, 1), pick(p.error, rival, 0)
    high = jnp.where(jnp.isfinite(top), top, -1)
    low = rc - c - (jnp.sum(jnp.abs(rg - g), axis=0) + re + e)
    open_ = high > 0
    share = jnp.where(open_, high / jnp.where(open_, high - low, 1), 0)
    extra = jnp.where(open_, -share * low / 2, 0)
    size = jnp.abs(c) + jnp.abs(rc) + jnp.sum(jnp.abs(g) + jnp.abs(rg), axis=0) + high
    own = extra + jnp.where(open_, unit * size, 0)
    form = Form(
        c + share * (rc - c) + extra,
        g + share[None] * (rg - g),
        (1 - share) * e + share * re + own,
    )

    def mix(v: Array) -> Array:
        return (1 - share) * pick(v, best, 0) + share * pick(v, rival, 0)

    return form, mix, own, _shares(rg - g, extra)


def _smooth_form(gate: Gate, z: Form) -> tuple[Form, Own]:
    """A smooth function of one value: its chord, and how far it is from that.

    A convex function lies below its chord, by `a b w / (a + b)` at most where its
    slopes at the ends differ from the chord's by `a` and `b`, `w` apart. A difference
    `g - h` of convex functions is below its chord by what `g` is, above by what `h` is.
    """
    low, high = z.centre - z.reach, z.centre + z.reach
    width = high - low
    wide = width > 0
    ends = gate.apply(low), gate.apply(high)
    patterns = gate.pattern(low), gate.pattern(high)
    sign = jnp.broadcast_to(jnp.asarray(gate.curvature), ends[0].shape)
    sign = sign.astype(ends[0].dtype)

    def sag(values: Any, tangents: Any) -> Array:
        """How far a convex function may be below its chord; tangents at other ends."""
        rise = values[1] - values[0]
        a, b = rise - (tangents[0] - values[0]), (values[1] - tangents[1]) - rise
        a, b = jnp.maximum(a, 0), jnp.maximum(b, 0)
        return jnp.where(a + b > 0, a * b / jnp.where(a + b > 0, a + b, 1), 0)

    tangents = gate.tangent(patterns[0], high), gate.tangent(patterns[1], low)
    size = jnp.sum(jnp.abs(jnp.stack([*ends, *tangents])), axis=0)
    if gate.split is None:
        below = sag([sign * v for v in ends], [sign * v for v in tangents])
        below, above = jnp.where(sign > 0, below, 0), jnp.where(sign > 0, 0, below)
    else:
        h = gate.split.value(low), gate.split.value(high)
        gaps = gate.split.gap(patterns[0], high), gate.split.gap(patterns[1], low)
        own = h[1] - gaps[0], h[0] - gaps[1]  # tangents of `h`
        above = sag(h, own)
        whole = [v + w for v, w in zip(ends, h, strict=True)]
        below = sag(whole, [v + w for v, w in zip(tangents, own, strict=True)])
        size = size + jnp.sum(jnp.abs(jnp.stack([*h, *gaps])), axis=0)
    slope = jnp.where(wide, (ends[1] - ends[0]) / jnp.where(wide, width, 1), 0)
    unit = 16 * float(jnp.finfo(size.dtype).eps)
    rounded = sum(
        gate.padding(p, v, x)
        for p, v, x in zip(patterns, ends, (low, high), strict=True)
    )
    error = (below + above) / 2 + 4 * rounded + unit * (size + jnp.abs(slope) * z.size)
    centre = (ends[0] + ends[1]) / 2 + (above - below) / 2
    form = Form(centre, slope[None] * z.slopes, jnp.abs(slope) * z.error + error)
    return form, (lambda v: [slope * v], [error], _shares(z.slopes, error))


def _shares(slopes: Array, extra: Array) -> Array:
    """The error of units, dealt to the numbers by which their doubt moves."""
    total = jnp.sum(jnp.abs(slopes), axis=0)
    part = jnp.abs(slopes) / jnp.where(total > 0, total, 1)[None]
    return part * extra[None]
