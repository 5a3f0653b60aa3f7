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

from collections.abc import Callable
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
from ecg_jax.program.program import run
from ecg_jax.program.roles import Predicate, Refused, Rules
from ecg_jax.program.trace import trace
from ecg_jax.progress import Progress, silent
from ecg_jax.proof.corners import corner_bounds, has_corner_bounds
from ecg_jax.proof.forms import Form, Step, affine_forms, arriving, gate_form
from ecg_jax.proof.rounding import Walk

Path = Callable[[Any, Array], Any]
"""`path(params, t) -> x(t)`, an input of the function; affine in the vector `t`."""

PROVEN, BROKEN, OPEN = 1, -1, 0
MOST_BOXES = 4096


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
            depth=None,
        )
        _check(self.program)
        self.has_corners = has_corner_bounds(self.program)
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
        size = block_size(lambda part: self.kernel.trace(*part), data)
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
        forms = {number: Form(middle, jnp.diag(radius), jnp.zeros_like(middle))}
        steps: list[Step] = []
        for eqn in program.equations:
            if eqn.role is None or isinstance(eqn.role, Predicate):
                continue
            args = [forms.get(n, plain.get(n)) for n in eqn.inputs]
            if isinstance(eqn.role, Gate):
                reads = eqn.role.live(eqn.inputs)
                out, step = gate_form(eqn.role, eqn.role.live(args))
                outs = [out]
            else:
                reads = eqn.inputs
                outs, step = affine_forms(walk, eqn, args)
            live = [n for n in reads if n in forms]
            steps.append(Step(live, eqn.outputs, *step))
            forms.update(zip(eqn.outputs, outs, strict=True))
        form = forms[program.output]
        error, widths = arriving(steps, number, program.output, middle)
        error = jnp.fmin(error + 2 * walk.drift * form.error, form.error)
        error = error * (1 + 1 / 32) + 8 * jnp.finfo(middle.dtype).eps * form.size
        reach = jnp.sum(jnp.abs(form.slopes)) + error
        low, high = form.centre - reach, form.centre + reach
        if self.has_corners:
            above, below = corner_bounds(program, forms)
            low, high = jnp.maximum(low, above), jnp.minimum(high, below)
        return low, high, form.slopes, widths

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
