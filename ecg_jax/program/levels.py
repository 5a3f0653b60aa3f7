"""Which gates are outermost, and with what weight they reach the output.

The level of a gate is the largest number of other gates (or refused operations) on a
path from it to the output. Level 0 is what `factor` opens; when these are frozen,
level 1 becomes level 0. Levels depend on the program alone, not on what is frozen.
A loop with gates in it counts as one, until its last steps are peeled (see `loops`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.errors import NoGateError, UnsupportedPrimitiveError
from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.operations import named
from ecg_jax.program.program import Program, run
from ecg_jax.program.roles import Equation, Refused


def levels(program: Program) -> dict[int, int]:
    """For each value that sees the input: the gates on its longest way out.

    Returns:
      Map from value number to the number of gates and refused operations that lie
      strictly between the value and the output.
    """
    return levels_below(program.equations, {program.output: 0})


def levels_below(
    equations: Sequence[Equation], given: Mapping[int, int]
) -> dict[int, int]:
    """The same for some equations, given the levels of what they put out."""
    depth = dict(given)
    for eqn in reversed(equations):
        own = max(depth.get(number, -1) for number in eqn.outputs)
        if eqn.role is None or own < 0:
            continue
        step = own + isinstance(eqn.role, Gate | Refused)
        for number in eqn.inputs:
            depth[number] = max(depth.get(number, 0), step)
    return depth


def level_of(depth: Mapping[int, int], eqn: Equation) -> int:
    """The level of an equation, `depth` being what `levels` gives."""
    return max(depth.get(number, 0) for number in eqn.outputs)


def outermost(program: Program) -> tuple[Equation, ...]:
    """The gates from which every path to the output is affine.

    Raises:
      UnsupportedPrimitiveError: an operation without a rule is among them.
      NoGateError: there is none; the program is an atom.
    """
    depth = levels(program)
    gates = []
    for eqn in program.equations:
        if eqn.role is None or level_of(depth, eqn) > 0:
            continue
        if isinstance(eqn.role, Refused):
            raise UnsupportedPrimitiveError(refusal(program, eqn))
        if isinstance(eqn.role, Gate):
            gates.append(eqn)
    if not gates:
        raise NoGateError(
            "no live gate is left: the function is an atom, affine in its input.\n"
            "  try: stop here; jax.grad gives its template, its value at 0 the offset"
        )
    return tuple(gates)


def refusal(program: Program, eqn: Equation) -> str:
    """The message for an operation that has no exact rule."""
    assert isinstance(eqn.role, Refused)
    live = [n for n in eqn.inputs if n in program.live]
    aval = program.avals[live[0]]
    count = len(_gates_before(program, eqn))
    through = f"through {count} gate{'s' if count != 1 else ''}"
    cure = eqn.role.try_onnx if _jax.node_of(eqn.made) else eqn.role.try_
    return (
        f"cannot factor {named(eqn)}.\n"
        f"  operand: {aval.dtype}{list(aval.shape)}, depends on the input {through}\n"
        f"  why:     {eqn.role.why}\n"
        f"  try:     {cure}"
    )


def tail_weights(program: Program, gates: Sequence[Equation]) -> tuple[Any, ...]:
    """The constant weight of every opened unit in the output: one reverse pass.

    The weights are `d f / d phi` of the affine tail; the derivatives are those of the
    primitives, never ones that a function declares for itself.
    """
    opened = {eqn.outputs[0] for eqn in gates}
    reached = set(opened)
    tail = []
    for eqn in program.equations:
        if eqn.role is not None and reached.intersection(eqn.inputs):
            tail.append(eqn)
            reached.update(eqn.outputs)
    return _gradient(program, tail, [eqn.outputs[0] for eqn in gates])


def _gradient(
    program: Program, tail: Sequence[Equation], numbers: Sequence[int]
) -> tuple[Any, ...]:
    live = program.live
    env: dict[int, Any] = dict(program.constants)
    needed = {n for eqn in tail for n in eqn.inputs}
    constant = [eqn for eqn in program.equations if eqn.role is None]
    run(_needed(constant, needed - live), env)

    def f(*values: Array) -> Any:
        inner = dict(env)
        for number in needed & live:
            aval = program.avals[number]
            inner[number] = jnp.zeros(aval.shape, aval.dtype)
        inner.update(zip(numbers, values, strict=True))
        run(tail, inner)
        return inner[program.output]

    avals = [program.avals[number] for number in numbers]
    zeros = [jnp.zeros(aval.shape, aval.dtype) for aval in avals]
    return tuple(map(_as_numpy, jax.grad(f, argnums=tuple(range(len(zeros))))(*zeros)))


def sides(gates: Sequence[Equation], weights: Sequence[Any]) -> tuple[Any, ...]:
    """For each gate's units: see `MaxMin.sides`."""
    return tuple(
        _as_numpy(eqn.role.sides(w))
        for eqn, w in zip(gates, weights, strict=True)
        if isinstance(eqn.role, Gate)
    )


def _as_numpy(value: Any) -> Any:
    return np.asarray(value) if _jax.is_concrete(value) else value


def _needed(equations: Sequence[Equation], wanted: set[int]) -> list[Equation]:
    """The equations, in order, that the wanted values depend on."""
    wanted, kept = set(wanted), []
    for eqn in reversed(equations):
        if wanted.intersection(eqn.outputs):
            kept.append(eqn)
            wanted.update(eqn.inputs)
    return kept[::-1]


def _gates_before(program: Program, eqn: Equation) -> list[Equation]:
    earlier = program.equations[: program.equations.index(eqn)]
    return [e for e in _needed(earlier, set(eqn.inputs)) if isinstance(e.role, Gate)]
