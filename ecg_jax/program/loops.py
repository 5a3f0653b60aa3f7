"""Loops: the last steps of a `scan` written out, those before them left a loop.

A loop with gates in it is a black box until no gate is left between it and the output.
Then its last step is peeled,

    scan of T steps  =  scan of T - 1 steps, and one step written out

whose gates are the outermost ones now. When these are frozen, the next one follows: a
program grows by one step for each level that is opened, not by all of them at once. A
loop that carries nothing on (`lax.map`) has all of its steps opened together, as one.

A loop counts as one operation: as long as one of its outputs reaches the output by
gates only, those of its gates that do not feed it (what a step puts out) wait too. That
is exact, as for any gate below the opened ones; their turn comes later.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.levels import level_of, levels, levels_below
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Equation, Loop

MAX_UNROLLED = 20_000
"""How many equations of a loop are written out at most."""

GROUP = 16
"""How many outputs of a loop are stacked by one equation."""


def steps_to_peel(program: Program, depth: int | None) -> dict[int, int]:
    """For loops whose turn it is, how many of their last steps to write out.

    Args:
      program: the traced program.
      depth: how many levels are to be opened; None for all.

    Returns:
      By the position of its equation, for the outermost loops above that depth; none
      where more than `MAX_UNROLLED` equations would be written out.
    """
    level = levels(program)
    found: list[tuple[int, int, int]] = []
    for position, eqn in enumerate(program.equations):
        own = level_of(level, eqn) if isinstance(eqn.role, Loop) else None
        if own is None or (depth is not None and own >= depth):
            continue
        outs = [level.get(number, -1) for number in eqn.outputs]
        wanted = [_num_steps(eqn, outs, depth)]
        if own == 0:
            wanted.append(_num_steps(eqn, outs, 1))
        size = 0 if is_map(eqn) else max(1, len(_body(eqn).equations))
        some = [steps for steps in wanted if steps * size <= MAX_UNROLLED]
        found += [(own, position, steps) for steps in some[:1]]
    first = min((own for own, *_ in found), default=0)
    return {at: steps for own, at, steps in found if own == first}


def _num_steps(eqn: Equation, outs: Sequence[int], depth: int | None) -> int:
    """How many last steps have gates above a depth, given the levels of the outputs.

    A level of -1: what does not reach the output.
    """
    length, body = eqn.params["length"], _body(eqn)
    if depth is None:
        return length
    num_consts, num_carry = _jax.scan_split(eqn.params)
    carry, ys = list(outs[:num_carry]), list(outs[num_carry:])
    for steps in range(1, length):
        pairs = zip(body.outputs, (*carry, *ys), strict=True)
        given: dict[int, int] = {}
        for number, level in pairs:
            if level >= 0:
                given[number] = max(given.get(number, -1), level)
        level = levels_below(body.equations, given)
        last = carry
        entering = body.inputs[num_consts : num_consts + num_carry]
        carry = [level.get(n, -1) if n in body.live else -1 for n in entering]
        if not 0 <= max((*carry, *ys)) < depth:
            return steps
        if carry == last:
            break
    return length


def too_long(program: Program) -> Program:
    """The program whose outermost loops, if any, say why they are not written out."""
    level = levels(program)

    def told(eqn: Equation) -> Equation:
        if not isinstance(eqn.role, Loop) or level_of(level, eqn) > 0:
            return eqn
        size = len(_body(eqn).equations)
        role = replace(
            eqn.role,
            why=f"a loop of {eqn.params['length']:,} steps with {size} equations each, "
            "whose gates do not feed one another, so that all steps are opened at "
            f"once; up to {MAX_UNROLLED:,} equations are written out",
            try_="use fewer steps, or one operation such as jnp.cumsum, jax.vmap or a "
            "convolution",
        )
        return replace(eqn, role=role)

    return replace(program, equations=tuple(map(told, program.equations)))


def opened(eqn: Equation, steps: int) -> Callable[..., tuple[Any, ...]]:
    """A loop, as a function of its operands, with its last steps written out."""
    return _mapped(eqn.params) if is_map(eqn) else peeled(eqn.params, steps)


def is_map(eqn: Equation) -> bool:
    """Whether a loop carries on what it was given, so that no step needs another."""
    num_consts, num_carry = _jax.scan_split(eqn.params)
    end, body = num_consts + num_carry, _body(eqn)
    given = body.inputs[num_consts:end]
    return len(body.inputs) > end and given == body.outputs[:num_carry]


def _mapped(params: dict[str, Any]) -> Callable[..., tuple[Any, ...]]:
    """All steps of a loop that carries nothing on, together."""
    num_consts, num_carry = _jax.scan_split(params)
    fixed, body = num_consts + num_carry, _jax.as_function(params["jaxpr"])

    def apply(*args: Any) -> tuple[Any, ...]:
        same, xs = args[:fixed], args[fixed:]
        outs = jax.vmap(
            lambda *entries: body(*same, *entries)[num_carry:],
            axis_size=params["length"],
        )(*xs)
        return (*same[num_consts:], *outs)

    return apply


def peeled(params: dict[str, Any], steps: int) -> Callable[..., tuple[Any, ...]]:
    """A `scan`, as a function of its operands, with its last steps written out."""
    num_consts, num_carry = _jax.scan_split(params)
    length, body = params["length"], _jax.as_function(params["jaxpr"])
    rest = length - steps
    back = params["reverse"]

    def apply(*args: Any) -> tuple[Any, ...]:
        consts, carry = args[:num_consts], args[num_consts : num_consts + num_carry]
        xs, first = args[num_consts + num_carry :], []
        if rest:
            start = steps if back else 0
            part = [lax.slice_in_dim(x, start, start + rest) for x in xs]
            shorter = {**params, "length": rest}
            out = _jax.bind(lax.scan_p, shorter, (*consts, *carry, *part))
            carry, first = out[:num_carry], out[num_carry:]
        last = []
        order = range(rest, length)
        for i in (length - 1 - i for i in order) if back else order:
            out = body(*consts, *carry, *(_entry(x, i) for x in xs))
            carry = out[:num_carry]
            last.append(out[num_carry:])
        stacked = [_stacked(ys) for ys in zip(*last[:: -1 if back else 1], strict=True)]
        if rest:
            pairs = zip(first, stacked, strict=True)
            stacked = [lax.concatenate(p[:: -1 if back else 1], 0) for p in pairs]
        return (*carry, *stacked)

    return apply


def _body(eqn: Equation) -> Any:
    assert eqn.body is not None
    return eqn.body


def _entry(x: Any, i: int) -> Any:
    """`x[i]`, with `i` as an operand: XLA compiles one slice for all steps."""
    starts = (np.int32(i), *(np.int32(0) for _ in x.shape[1:]))
    return lax.squeeze(lax.dynamic_slice(x, starts, (1, *x.shape[1:])), (0,))


def _stacked(values: Sequence[Any]) -> Any:
    """`jnp.stack(values)` in groups of one size, which XLA compiles once."""
    if (num := len(values)) <= GROUP:
        return jnp.stack(values)
    whole = (*values, *[values[-1]] * (-num % GROUP))
    groups = [jnp.stack(whole[i : i + GROUP]) for i in range(0, num, GROUP)]
    stacked = _stacked(groups)
    flat = lax.reshape(stacked, (len(whole), *stacked.shape[2:]))
    return lax.slice_in_dim(flat, 0, num)
