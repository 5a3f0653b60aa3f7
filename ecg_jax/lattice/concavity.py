"""Concave functions, known by their programs.

A minimum of affine functions is concave; so is `<w, phi(z(x))> + r(x)` with `z` and `r`
affine where every unit is on the min side: `w` below 0 for a convex gate, above for a
concave one. A witness that froze all of its max side is such a function where no gate
lies below, and the set of inputs that it proves is convex: whatever it proves of some
inputs it proves of every mixture of them.

Source: S. Boyd, L. Vandenberghe, Convex Optimization, 2004, section 3.2.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import core
from jaxtyping import Array

from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program.levels import level_of, levels
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Refused, Rules
from ecg_jax.program.trace import trace
from ecg_jax.rules import RULES


def is_concave(
    fn: Callable[[Any], Array], example: Any, rules: Rules = RULES, *, sign: int = 1
) -> bool:
    """Whether a function is known to be concave on the whole input space.

    Known by its program: all of its gates are outermost, with affine operands, and
    every unit of theirs is on the min side. A concave function of another form is not
    recognised.

    Args:
      fn: pure function of one example to a scalar.
      example: one input; only its structure, shapes and dtypes matter.
      rules: table from primitives, or named functions, to rules.
      sign: -1 asks whether it is convex.

    Example:
      >>> import jax.numpy as jnp
      >>> is_concave(lambda x: jnp.min(x) - jnp.abs(x[0]), jnp.zeros(3))
      True
    """
    program = trace(fn, example, rules)
    if not one_level(program):
        return False
    if not program.gates:
        return True
    sides = open_gates(program, fn, example).sides
    if any(isinstance(side, core.Tracer) for side in sides):
        return False
    return all(np.isin(side, (0, -sign)).all() for side in sides)


def one_level(program: Program) -> bool:
    """Whether all operations are affine but for the outermost gates."""
    depth = levels(program)
    refused = any(isinstance(eqn.role, Refused) for eqn in program.equations)
    return not refused and all(level_of(depth, eqn) == 0 for eqn in program.gates)
