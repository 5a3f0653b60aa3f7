"""Products and quotients of two values that both see the input.

Each is a difference `g - h` of convex functions of the two together:

    x y   = (x + y)^2 / 4 - (x - y)^2 / 4
    x / y = (x + 1)^2 / (2 y) - (x^2 + 1) / (2 y)      y > 0

Values are those of the user's own operation; the two squares serve gaps alone, which
are squares themselves, so nothing cancels. With `dx = x - a`, `dy = y - b` at an anchor
`(a, b)` the gaps of `g` (+) and of `h` (-) are

    (dx +- dy)^2 / 4        of a product, summed over what a matrix product sums over
    (e^2 + (dy / b)^2) / (2 y)  of `h`, (e - dy / b)^2 / (2 y)  of `g`, of a quotient,

where `e = dx - (a / b) dy`.
"""

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ecg_jax.program import _jax
from ecg_jax.program.gates import ULPS, Gate, Split
from ecg_jax.program.roles import Application, Refused, Rewrite, Role, Rules
from ecg_jax.rules.affine import PRODUCT, product, quotient
from ecg_jax.rules.difference import gated_product
from ecg_jax.rules.intervals import is_nonnegative, is_nonpositive
from ecg_jax.rules.pieces import stepped

MOST_TERMS = 2**20
"""How many products a matrix product of two live arrays may add up, all units told."""

Pair = tuple[Array, Array]


def multiplied(application: Application) -> Role:
    """`x y`, entry by entry; `z g(z)` of one value and `z step(z)` have their own."""
    role = gated_product(application)
    if not _of_two(role):
        return role
    if application.avals[0].shape != application.avals[1].shape:
        return _in_one_shape(application)
    if (cases := stepped(application)) is not None:
        return cases
    return _product(lax.mul, lambda x, y: (x, y), lambda v: v, elementwise=True)


def divided(application: Application) -> Role:
    """`x / y` where the sign of `y` is proven."""
    role = quotient(application)
    if not _of_two(role):
        return role
    if application.avals[0].shape != application.avals[1].shape:
        return _in_one_shape(application)
    if is_nonnegative(application, application.inputs[1]):
        return _quotient()
    if is_nonpositive(application, application.inputs[1]):
        return Rewrite(lambda x, y: -(x / -y))
    return Refused(
        "a quotient by a value whose sign is not proven, so it may have a pole",
        "make the sign visible: x / (jnp.abs(y) + eps), x / jnp.sqrt(v + eps), "
        "x / jnp.maximum(y, eps)",
        "make the sign visible: divide by Abs plus a small number, by Sqrt of a value "
        "plus one, or by Max with one",
    )


def contracted(application: Application) -> Role:
    """`A @ B`, both live: every unit a sum of products, one for each pair of entries.

    A pattern holds for every unit the row and the column that it sees.
    """
    role = product(application)
    if not _of_two(role):
        return role
    params, avals = application.params, application.avals
    dtype = params["preferred_element_type"]
    if any(aval.dtype != (dtype or avals[0].dtype) for aval in avals):
        if dtype and all(np.can_cast(aval.dtype, dtype) for aval in avals):
            return Rewrite(
                lambda *z: application.primitive.bind(
                    *(lax.convert_element_type(v, dtype) for v in z), **params
                )
            )
        return Refused(
            "a matrix product of live values in another dtype than theirs",
            "keep every value that sees the input in one dtype",
        )
    pair, shape = _paired(params["dimension_numbers"], *(a.shape for a in avals))
    if math.prod(shape) > MOST_TERMS:
        return Refused(
            f"a matrix product of two values that both depend on the input, of "
            f"{math.prod(shape):,} terms (attention over many steps?); up to "
            f"{MOST_TERMS:,} have a rule",
            "attend over fewer steps (patches, pooling before), or factor the network "
            "up to here",
        )

    def apply(x: Array, y: Array) -> Array:
        return application.primitive.bind(x, y, **params)

    return _product(
        apply,
        pair,
        lambda v: lax.reduce_sum(v, (len(shape) - 1,)),
        terms=shape[-1],
        spread=lambda mask, leaf: mask[..., None],
    )


def multiplied_up(application: Application) -> Role:
    """The product of all entries along axes: of pairs, of pairs of these, ..."""
    axes = tuple(application.params["axes"])

    def reduced(z: Array) -> Array:
        z = jnp.moveaxis(z, axes, range(len(axes)))
        z = z.reshape(math.prod(z.shape[: len(axes)]), *z.shape[len(axes) :])
        while len(z) > 1:
            half, last = len(z) // 2, z[-1:]
            pairs = z[:half] * z[half : 2 * half]
            z = jnp.concatenate([pairs, last]) if len(z) % 2 else pairs
        return z[0] if len(z) else jnp.ones(z.shape[1:], z.dtype)

    return Rewrite(reduced)


def accumulated(application: Application) -> Role:
    """Products of the first 1, 2, 3, ... entries along an axis."""
    axis, reverse = application.params["axis"], application.params["reverse"]
    return Rewrite(lambda z: lax.associative_scan(lax.mul, z, reverse, axis))


def _of_two(role: Role) -> bool:
    """Whether it is refused for being a product of two live values."""
    return isinstance(role, Refused) and role.why == PRODUCT[0]


def _in_one_shape(application: Application) -> Role:
    """Operands of several shapes (a number by an array), brought to one."""
    shape = np.broadcast_shapes(*(aval.shape for aval in application.avals))
    operation = application.primitive.bind

    def spread(x: Array, y: Array) -> Array:
        return operation(*(jnp.broadcast_to(v, shape) for v in (x, y)))

    return Rewrite(spread)


def _paired(
    numbers: Any, left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[Callable[[Array, Array], Pair], tuple[int, ...]]:
    """The factors of each unit's terms, `[*units, terms]`, and that shape."""
    (left_sum, right_sum), (left_batch, right_batch) = numbers
    kept = [
        [i for i in range(len(shape)) if i not in (*summed, *batch)]
        for shape, summed, batch in (
            (left, left_sum, left_batch),
            (right, right_sum, right_batch),
        )
    ]
    batch = [left[i] for i in left_batch]
    rows, columns = (
        [s[i] for i in k] for s, k in zip((left, right), kept, strict=True)
    )
    terms = math.prod(left[i] for i in left_sum)
    shape = (*batch, *rows, *columns, terms)
    num, last = len(batch), len(shape) - 1
    own = (*range(num + len(rows)), last)
    other = (*range(num), *range(num + len(rows), last + 1))

    def pair(x: Array, y: Array) -> Pair:
        x = lax.transpose(x, (*left_batch, *kept[0], *left_sum))
        y = lax.transpose(y, (*right_batch, *kept[1], *right_sum))
        x = lax.reshape(x, (*batch, *rows, terms))
        y = lax.reshape(y, (*batch, *columns, terms))
        return (
            lax.broadcast_in_dim(x, shape, own),
            lax.broadcast_in_dim(y, shape, other),
        )

    return pair, shape


def _product(
    apply: Callable[[Array, Array], Array],
    pair: Callable[[Array, Array], Pair],
    total: Callable[[Array], Array],
    terms: int = 1,
    **fields: Any,
) -> Gate:
    """Sums of products as a gate.

    Args:
      apply: of the operands.
      pair: the factors of each unit's terms.
      total: the sum of each unit's terms.
      terms: how many a unit has.
      **fields: further fields of the gate.
    """

    def steps(p: Pair, *z: Array) -> Pair:
        x, y = pair(*z)
        return x - p[0], y - p[1]

    def tangent(p: Pair, *z: Array) -> Array:
        (a, b), (dx, dy) = p, steps(p, *z)
        return total(a * b + (b * dx + a * dy))

    def of_sum(p: Pair, *z: Array) -> Array:
        dx, dy = steps(p, *z)
        return total(lax.square(dx + dy)) / 4

    def gap(p: Pair, *z: Array) -> Array:
        dx, dy = steps(p, *z)
        return total(lax.square(dx - dy)) / 4

    def shift(p: Pair, q: Pair, *z: Array) -> Array:
        (dx, dy), (ex, ey) = steps(p, *z), steps(q, *z)
        apart = (p[0] - q[0]) - (p[1] - q[1])
        return total(apart * ((dx - dy) + (ex - ey))) / 4

    def value(*z: Array) -> Array:
        x, y = pair(*z)
        return total(lax.square(x - y)) / 4

    def line(p: Pair, *z: Array) -> Array:
        (x, y), own = pair(*z), p[0] - p[1]
        return total(own * (2 * (x - y) - own)) / 4

    def size(p: Pair, *z: Array) -> Array:
        dx, dy = map(jnp.abs, steps(p, *z))
        return (1 + terms / ULPS) * total(lax.square(dx + dy)) / 4

    return Gate(
        name="product",
        operands=(0, 1),
        curvature=1,
        apply=apply,
        pattern=pair,
        tangent=tangent,
        split=Split(gap, shift, value, size, of_sum=of_sum, tangent=line),
        **fields,
    )


def _quotient() -> Gate:
    """`x / y` for `y > 0`, entry by entry, as a gate."""

    def steps(p: Pair, x: Array, y: Array) -> Pair:
        """`y (x / y - a / b)` and `-y (1 / y - 1 / b)`."""
        a, b = p
        dy = y - b
        return (x - a) - (a / b) * dy, dy / b

    def tangent(p: Pair, x: Array, y: Array) -> Array:
        a, b = p
        return a / b + steps(p, x, y)[0] / b

    def of_sum(p: Pair, x: Array, y: Array) -> Array:
        e, d = steps(p, x, y)
        return lax.square(e - d) / y / 2  # `2 y` may overflow

    def gap(p: Pair, x: Array, y: Array) -> Array:
        e, d = steps(p, x, y)
        return (lax.square(e) + lax.square(d)) / y / 2

    def shift(p: Pair, q: Pair, x: Array, y: Array) -> Array:
        (e, d), (f, g) = steps(p, x, y), steps(q, x, y)
        of_x = (p[0] / p[1] - q[0] / q[1]) * (e + f)
        return (of_x - (1 / p[1] - 1 / q[1]) * (d + g)) / 2

    def line(p: Pair, x: Array, y: Array) -> Array:
        q, r = p[0] / p[1], 1 / p[1]
        return q * (x - q * y / 2) + r * (1 - r * y / 2)

    def size(p: Pair, x: Array, y: Array) -> Array:
        a, b = p
        dy = jnp.abs(y - b)
        whole = jnp.abs(x - a) + jnp.abs(a / b) * dy + dy / jnp.abs(b)
        return lax.square(whole) / y

    return Gate(
        name="quotient",
        operands=(0, 1),
        curvature=1,
        apply=lax.div,
        pattern=lambda x, y: (x, y),
        tangent=tangent,
        fill=1.0,
        defined=lambda p: jnp.isfinite(p[0] / p[1]) & jnp.isfinite(1 / p[1]),
        elementwise=True,
        split=Split(
            gap,
            shift,
            lambda x, y: (lax.square(x) + 1) / (2 * y),
            size,
            of_sum=of_sum,
            tangent=line,
        ),
    )


PRODUCT_RULES: Rules = MappingProxyType(
    {
        lax.mul_p: multiplied,
        lax.div_p: divided,
        _jax.primitives.dot_general_p: contracted,
        lax.reduce_prod_p: multiplied_up,
        lax.cumprod_p: accumulated,
    }
)
