"""Bounds over a box from its corners, where all gates read affine operands.

There `W[mu]` is concave for every `mu` and so smallest at a corner, `R[tau]` convex and
largest at one:

    min over corners c of W[mu](c) <= W[mu] <= fn <= R[tau] <= max over c of R[tau](c)

on the whole box, for any `mu` and `tau`; here those of its middle. Corners of `fn`
alone bound nothing. The operands at a corner follow from their form over the box;
rounding is counted from there on by the rules of `rounding`.
"""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ecg_jax.lattice.concavity import one_level
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program.gates import Gate
from ecg_jax.program.levels import outermost
from ecg_jax.program.program import Program
from ecg_jax.proof.forms import EVALUATIONS, Form
from ecg_jax.proof.rounding import Walk, cut
from ecg_jax.proof.rounding_rules import Bounded
from ecg_jax.proof.tail import tail_equation

MOST = 6
"""Numbers of a box, at most: it has `2^6` corners."""


def has_corner_bounds(program: Program) -> bool:
    """Whether all gates are piecewise linear and read affine operands."""
    gates = [eqn.role for eqn in program.gates if isinstance(eqn.role, Gate)]
    (number,) = program.inputs
    return (
        0 < len(gates)
        and program.avals[number].shape[0] <= MOST
        and all(gate.pieces is not None for gate in gates)
        and one_level(program)
    )


def corner_bounds(program: Program, forms: Mapping[int, Form]) -> tuple[Array, Array]:
    """What every evaluation of a program stays above, and below, over a box.

    Args:
      program: of one vector; see `has_corner_bounds`.
      forms: of the values that see it, over the box; exact but for rounding.
    """
    opened = outermost(program)
    numbers, tail = cut(program, opened)
    own = [forms[n] for n in numbers]
    signs = itertools.product((-1, 1), repeat=len(own[0].slopes))
    corners = np.array(list(signs), own[0].centre.dtype)
    values = [f.centre[None] + jnp.tensordot(corners, f.slopes, 1) for f in own]
    middle = [f.centre for f in own]
    eq = tail_equation(open_gates(program, program.evaluate, None), program)
    mu, tau = eq.pattern(middle)
    low = jnp.min(jax.vmap(eq.witness(mu))(values))
    high = jnp.max(jax.vmap(eq.refuter(tau))(values))
    unit = 2 * len(corners[0]) * float(jnp.finfo(low.dtype).eps)
    entering = {
        n: Bounded(None, f.size, f.error + unit * f.size)
        for n, f in zip(numbers, own, strict=True)
    }
    walk = Walk(program, opened)
    error = EVALUATIONS * walk.bound(tail, entering, None)
    return low - error, high + error
