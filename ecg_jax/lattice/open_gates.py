"""A program's outermost gates opened: the equation of one level."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from ecg_jax.lattice.maxmin import Hook, MaxMin
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import outermost, sides, tail_weights
from ecg_jax.program.program import Equation, Program


def open_gates(
    program: Program,
    fn: Callable[[Any], Any],
    example: Any,
    evaluate: Callable[[Any], Array] | None = None,
) -> MaxMin:
    """The equation of a traced program: see `ecg_jax.factor`.

    Its value is `evaluate(x)`, by default that of `fn` itself.
    """
    opened = outermost(program)
    index = {id(eqn): i for i, eqn in enumerate(opened)}

    def run(x: Any, hook: Hook) -> Any:
        def gate(eqn: Equation, operands: tuple[Any, ...]) -> Any:
            i = index.get(id(eqn))
            return None if i is None else hook(i, operands)

        return program.evaluate(x, gate)

    def itself(x: Any) -> Array:
        return jnp.asarray(fn(program.as_given(x)))

    weights = tail_weights(program, opened)
    return MaxMin(
        fn=fn,
        gates=tuple(eqn.role for eqn in opened if isinstance(eqn.role, Gate)),
        weights=weights,
        sides=sides(opened, weights),
        run=run,
        example=example,
        program=program,
        evaluate=evaluate or itself,
    )
