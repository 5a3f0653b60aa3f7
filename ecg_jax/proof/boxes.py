"""Boxes of changes: does any of them change the answer?

For `x(t)` affine in several numbers `t`, every value of the program is enclosed over a
box of them by an affine form and an error,

    v(t) = c + sum_k G_k s_k +- e,    t_k = m_k + r_k s_k,    |s_k| <= 1

An affine equation takes `c` and `G` along and its rounding into `e`, by the very rules
of `rounding`: `e' = |A| e + gamma |A| m`. The larger of two values `p`, `q` with
`L <= q - p <= U`, `L < 0 < U`, is between `p + l (q - p)` and `p + l (q - p) - l L`,
`l = U / (U - L)`: half of that is error. A smooth unit is between its chord and the
tangents at both ends. So `c - sum_k |G_k| - e <= fn(x(t))` for every `t` of the box and
every evaluation of `fn`, rounding included. At the output errors that cancel need not
be added up: with `y_i` the derivative of the output by what is added to value `i`, and
`e_i` the error made there, `sum_i |y_i| e_i` is an error too, and mostly a smaller one;
`y` is rounded itself, by no more than a small multiple of `e`. A box that is neither
proven so nor broken by a point of it is halved along the number that widens it most
(zonotopes: Singh et al., Fast and Effective Robustness Certification, NeurIPS 2018).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array, Float, Int

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program.blocks import block_rows, block_size
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import refusal
from ecg_jax.program.program import at_places, operation, run
from ecg_jax.program.roles import Equation, Predicate, Refused, Rules
from ecg_jax.program.trace import trace
from ecg_jax.progress import Progress, silent
from ecg_jax.proof.rounding import Walk
from ecg_jax.proof.rounding_rules import Bounded

Path = Callable[[Any, Array], Any]
"""`path(params, t) -> x(t)`, an input of the function; affine in the vector `t`."""

PROVEN, BROKEN, OPEN = 1, -1, 0
MOST_BOXES = 4096
EVALUATIONS = 4.0
"""Roundings of a box: of `fn`, and of the centre, the slopes and the sizes here."""


@dataclass(frozen=True, eq=False)
class Families:
    """What is known of each family `fn(x(t))`, `t` in a box.

    Attributes:
      status: 1: no `t` changes the answer; -1: one does; 0: open.
      example: for broken families such a `t`; NaN elsewhere.
      boxes: how many boxes were looked at.
    """

    status: Int[np.ndarray, " family"]
    example: Float[np.ndarray, "family change"]
    boxes: Int[np.ndarray, " family"]


class _Form(NamedTuple):
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


class _Step(NamedTuple):
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


_Own = tuple[Callable[..., Sequence[Any]], Sequence[Any], Any]
"""The last three of a step: `carry`, `errors` and `shares`."""


class _Boxed(NamedTuple):
    """A box: bounds of `fn`, the worst corner, the number to halve, fn's answers."""

    low: Any
    high: Any
    corner: Any
    widest: Any
    corner_flips: Any
    centre_flips: Any


class Prover:
    """Decides families of one form; compiled once.

    Args:
      fn: the function itself, of one input.
      path: of one family: `path(params, t)` is the input at `t`.
      example: the params of one family, a pytree of arrays.
      num_changes: how many numbers `t` has.
      rules: of the operations.

    Raises:
      UnsupportedPrimitiveError: the function is not piecewise linear on the path.
    """

    def __init__(
        self, fn: Any, path: Path, example: Any, num_changes: int, rules: Rules
    ):
        self.fn, self.path = fn, path
        first = tree_util.tree_leaves(example)[0]
        self.dtype = np.asarray(first).dtype
        self.program = trace(
            lambda params, t: fn(path(params, t)),
            jnp.zeros(num_changes, self.dtype),
            rules,
            params=example,
        )
        _check(self.program)
        self.kernel = jax.jit(jax.vmap(self._box))

    def prove(
        self,
        params: Any,
        radii: Float[np.ndarray, "family change"],
        *,
        max_boxes: int = MOST_BOXES,
        progress: Progress = silent,
    ) -> Families:
        """Proves or breaks each family `|t_k| <= radii_k`, or leaves it open.

        Args:
          params: pytree of arrays whose first axis are the families.
          radii: of each number.
          max_boxes: the most boxes of a family: beyond these it is open.
          progress: called with families done and families in all.
        """
        radii = np.asarray(radii, self.dtype)
        num, count = radii.shape
        status = np.full(num, OPEN, np.int8)
        example = np.full((num, count), np.nan)
        boxes, left = np.zeros(num, np.int32), np.ones(num, np.int32)
        family, middle, radius = np.arange(num), np.zeros_like(radii), radii.copy()
        data = (params, middle, radius)
        size = block_size(lambda box: self._box(*box), data)
        while len(family):
            part, family = np.split(family, [size])
            at, middle = np.split(middle, [size])
            reach, radius = np.split(radius, [size])
            found = self._block(params, part, at, reach, size)
            boxes += np.bincount(part, minlength=num).astype(np.int32)
            for flips, t in (
                (found.centre_flips, at),
                (found.corner_flips, at + reach * found.corner),
            ):
                status[part[flips]] = BROKEN
                example[part[flips]] = t[flips]
            done = (found.low >= 0) | (found.high < 0)
            left -= np.bincount(part[done], minlength=num).astype(np.int32)
            status[(left == 0) & (status == OPEN)] = PROVEN
            keep = ~done & (status[part] == OPEN) & (boxes[part] < max_boxes)
            halves = _halves(part[keep], at[keep], reach[keep], found.widest[keep])
            left += np.bincount(part[keep], minlength=num).astype(np.int32)
            stays = (status[family] == OPEN) & (boxes[family] < max_boxes)
            queue = (family[stays], middle[stays], radius[stays])
            family, middle, radius = (
                np.concatenate(pair) for pair in zip(halves, queue, strict=True)
            )
            progress(num - len(np.unique(family)), num)
        return Families(status, example, boxes)

    def _block(self, params: Any, part: Any, at: Any, reach: Any, size: int) -> _Boxed:
        boxes = block_rows((at, reach), np.arange(len(part)), size)
        found = self.kernel(block_rows(params, part, size), *boxes)
        return _Boxed(*(np.asarray(v)[: len(part)] for v in found))

    def enclose(
        self, params: Any, middle: Array, radius: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Bounds of `fn` over one box, its slopes there, what each number widens."""
        program = self.program.at(tree_util.tree_leaves(params))
        walk = Walk(program, ())
        plain = dict(program.constants)
        run([eqn for eqn in program.equations if eqn.role is None], plain)
        (number,) = program.inputs
        forms = {number: _Form(middle, jnp.diag(radius), jnp.zeros_like(middle))}
        steps: list[_Step] = []
        for eqn in program.equations:
            if eqn.role is None or isinstance(eqn.role, Predicate):
                continue
            args = [forms.get(n, plain.get(n)) for n in eqn.inputs]
            if isinstance(eqn.role, Gate):
                reads = eqn.role.live(eqn.inputs)
                out, step = _gate_form(eqn.role, eqn.role.live(args))
                outs = [out]
            else:
                reads = eqn.inputs
                outs, step = _affine_forms(walk, eqn, args)
            live = [n for n in reads if n in forms]
            steps.append(_Step(live, eqn.outputs, *step))
            forms.update(zip(eqn.outputs, outs, strict=True))
        form = forms[program.output]
        error, widths = _arriving(steps, number, program.output, middle)
        error = jnp.fmin(error + 2 * walk.drift * form.error, form.error)
        error = error * (1 + 1 / 32) + 8 * jnp.finfo(middle.dtype).eps * form.size
        reach = jnp.sum(jnp.abs(form.slopes)) + error
        return form.centre - reach, form.centre + reach, form.slopes, widths

    def _box(self, params: Any, middle: Array, radius: Array) -> _Boxed:
        low, high, slopes, widths = self.enclose(params, middle, radius)
        first = self.fn(self.path(params, jnp.zeros_like(middle))) >= 0
        away = jnp.where(first, -1.0, 1.0).astype(middle.dtype)
        corner = away * jnp.sign(slopes)

        def flips(t: Array) -> Array:
            return (self.fn(self.path(params, t)) >= 0) != first

        return _Boxed(
            low,
            high,
            corner,
            jnp.argmax(widths + jnp.abs(slopes) * 1e-9),
            flips(middle + radius * corner),
            flips(middle),
        )


def _halves(family: Any, at: Any, reach: Any, widest: Any) -> tuple[Any, Any, Any]:
    """Both halves of every box, along its widest number."""
    rows = np.arange(len(family))
    half = reach.copy()
    half[rows, widest] /= 2
    low, high = at.copy(), at.copy()
    low[rows, widest] -= half[rows, widest]
    high[rows, widest] += half[rows, widest]
    return (
        np.concatenate([family, family]),
        np.concatenate([low, high]),
        np.concatenate([half, half]),
    )


def _arriving(
    steps: Sequence[_Step], number: int, output: int, like: Array
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


def _affine_forms(
    walk: Walk, eqn: Equation, args: list[Any]
) -> tuple[list[_Form], _Own]:
    """An affine operation of forms: errors as the rounding rules carry them."""
    live = [i for i, arg in enumerate(args) if isinstance(arg, _Form)]
    apply = at_places(operation(eqn), args, live)
    given = [args[i] for i in live]
    centres, linear = jax.linearize(apply, *(form.centre for form in given))
    slopes = jax.vmap(linear)(*(form.slopes for form in given))

    def errors(of: Callable[[_Form], Any]) -> list[Array]:
        bounded = tuple(
            Bounded(None, arg.size, of(arg))
            if isinstance(arg, _Form)
            else walk.constants[n]
            for n, arg in zip(eqn.inputs, args, strict=True)
        )
        found = walk.errors(eqn, bounded, EVALUATIONS)
        return [
            jnp.broadcast_to(jnp.asarray(e, c.dtype), c.shape)
            for e, c in zip(found, centres, strict=True)
        ]

    forms = map(_Form, centres, slopes, errors(lambda form: form.error))
    return list(forms), (linear, errors(lambda form: None), None)


def _gate_form(gate: Gate, args: tuple[Any, ...]) -> tuple[_Form, _Own]:
    """The larger (or smaller) of pieces, each a form; then what a `_Step` says."""
    if gate.pieces is None:
        return _smooth_form(gate, *args)
    live = [i for i, arg in enumerate(args) if isinstance(arg, _Form)]
    pieces = at_places(gate.pieces, args, live)
    given = [args[i] for i in live]
    c, linear = jax.linearize(pieces, *(form.centre for form in given))
    g = jax.vmap(linear)(*(form.slopes for form in given))
    # Each piece is one operand, up to its sign.
    e = jnp.abs(linear(*(form.error for form in given)))
    sign = jnp.broadcast_to(np.where(np.asarray(gate.curvature) < 0, -1, 1), c.shape)
    sign = sign.astype(c.dtype)
    form, mix, extra, shares = _largest(_Form(sign * c, sign[None] * g, e))
    one = sign[0]
    form = _Form(one * form.centre, one[None] * form.slopes, form.error)
    return form, (lambda *errors: [mix(linear(*errors))], [extra], shares)


def _largest(p: _Form) -> tuple[_Form, Any, Array, Array]:
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
        form, shares = _Form(c + extra, g, e + own), pick(slopes, rival, 1) - g
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
    form = _Form(
        c + share * (rc - c) + extra,
        g + share[None] * (rg - g),
        (1 - share) * e + share * re + own,
    )

    def mix(v: Array) -> Array:
        return (1 - share) * pick(v, best, 0) + share * pick(v, rival, 0)

    return form, mix, own, _shares(rg - g, extra)


def _smooth_form(gate: Gate, z: _Form) -> tuple[_Form, _Own]:
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
    form = _Form(centre, slope[None] * z.slopes, jnp.abs(slope) * z.error + error)
    return form, (lambda v: [slope * v], [error], _shares(z.slopes, error))


def _shares(slopes: Array, extra: Array) -> Array:
    """The error of units, dealt to the numbers by which their doubt moves."""
    total = jnp.sum(jnp.abs(slopes), axis=0)
    part = jnp.abs(slopes) / jnp.where(total > 0, total, 1)[None]
    return part * extra[None]


def _check(program: Any) -> None:
    """Raises `UnsupportedPrimitiveError` where a gate cannot be enclosed."""
    for eqn in program.equations:
        if isinstance(eqn.role, Refused):
            raise UnsupportedPrimitiveError(refusal(program, eqn))
        gate = eqn.role
        if not isinstance(gate, Gate) or gate.pieces is not None:
            continue
        if not gate.elementwise or len(gate.operands) != 1:
            raise UnsupportedPrimitiveError(
                f"cannot bound `{gate.name}` at {eqn.source} over a box.\n"
                "  why:     it is neither piecewise linear nor of one value\n"
                "  try:     gates of one value (relu, softplus, gelu), max, max-pool"
            )
