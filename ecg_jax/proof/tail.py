"""An equation from its cut on: a function of the values that enter the tail."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from ecg_jax.lattice.maxmin import Hook, MaxMin
from ecg_jax.program.levels import outermost
from ecg_jax.program.program import Equation, Program, run
from ecg_jax.proof.rounding import cut


def tail_equation(eq: MaxMin, program: Program) -> MaxMin:
    """The same equation, of the values at the cut in the order that `cut` gives.

    Args:
      eq: the equation of the program's outermost gates.
      program: the traced program.
    """
    opened = outermost(program)
    numbers, tail = cut(program, opened)
    index = {id(eqn): i for i, eqn in enumerate(opened)}
    constants = dict(program.constants)
    run([eqn for eqn in program.equations if eqn.role is None], constants)

    def follow(values: Any, hook: Hook | None = None) -> Any:
        def gate(eqn: Equation, z: tuple[Any, ...]) -> Any:
            return None if hook is None else hook(index[id(eqn)], z)

        env = constants | dict(zip(numbers, values, strict=True))
        run(tail, env, gate)
        return env[program.output]

    avals = [program.avals[number] for number in numbers]
    example = [jnp.zeros(aval.shape, aval.dtype) for aval in avals]
    return replace(eq, fn=follow, run=follow, evaluate=follow, example=example)
