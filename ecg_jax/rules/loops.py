"""Loops and branches whose course does not see the input: `scan`, `while`, `cond`."""

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from jax import lax

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.program.loops import peeled
from ecg_jax.program.roles import (
    Affine,
    Application,
    FreeValueError,
    Loop,
    Predicate,
    Refused,
    Rewrite,
    Role,
    Rules,
)
from ecg_jax.rules.intervals import interval, widened

MOST_STEPS = 20_000
"""How many steps of a loop without a fixed number of them are counted at most."""


def loop(application: Application) -> Role:
    """`scan` of static length: affine if its step is; else its last steps are peeled.

    What holds in every step of what it carries (does it see the input? what are its
    bounds?) is found by tracing one step until nothing changes.
    """
    params = application.params
    if params["length"] <= 1:
        return Rewrite(peeled(params, params["length"]))
    num_consts, num_carry = _jax.scan_split(params)
    end = num_consts + num_carry
    num = len(application.inputs)
    live = list(application.live)
    known = [k and i < num_consts for i, k in enumerate(application.known)]
    bounds = [interval(application, n) for n in application.inputs]
    while True:
        notes = {(interval, i): bounds[i] for i in range(num) if not known[i]}
        body, inner = application.body(live, known, notes)
        outs = [interval(inner, n) for n in body.outputs]
        sees = [n in body.live for n in body.outputs]
        carried = [*range(num_consts, end)]
        after = [widened(bounds[i], o) for i, o in zip(carried, outs, strict=False)]
        seen = [live[i] or s for i, s in zip(carried, sees, strict=False)]
        if after == bounds[num_consts:end] and seen == live[num_consts:end]:
            break
        bounds[num_consts:end], live[num_consts:end] = after, seen
    body = replace(body, bounds=tuple(outs))
    roles = [eqn.role for eqn in body.equations]
    if not any(isinstance(role, Gate | Refused | Predicate) for role in roles):
        return Affine(body)
    return Loop(
        why=f"a loop of {params['length']:,} steps with gates in it: its turn comes "
        "when no gate is left between it and the output",
        try_="factor the components, level by level",
        body=body,
    )


def repeat(application: Application) -> Role:
    """`while` whose condition does not see the input: a loop of so many steps."""
    params = application.params
    num_cond, num_body = params["cond_nconsts"], params["body_nconsts"]
    cond, body = params["cond_jaxpr"], params["body_jaxpr"]
    start = num_cond + num_body

    def end_sees(operands: Sequence[bool]) -> bool:
        carry = operands[start:]
        for _ in carry:
            outs = _jax.seen(body, [*operands[num_cond:start], *carry])
            carry = [a or b for a, b in zip(carry, outs, strict=True)]
        return any(_jax.seen(cond, [*operands[:num_cond], *carry]))

    if end_sees(application.live):
        return Refused(
            "a loop whose end depends on the input is discontinuous",
            "use a fixed number of steps: lax.fori_loop(0, n, ...) or lax.scan",
        )
    if end_sees([not known for known in application.known]):
        raise FreeValueError
    known = [_stand_in(application, i) for i in range(len(application.inputs))]
    if not all(map(_jax.is_concrete, known)):
        return Refused("the number of steps is not known while the function is traced")
    with jax.ensure_compile_time_eval():
        steps, carry = 0, known[start:]
        go_on, step = map(jax.jit, map(_jax.as_function, (cond, body)))
        while bool(go_on(*known[:num_cond], *carry)[0]):
            steps += 1
            if steps > MOST_STEPS:
                return Refused(
                    f"a loop of over {MOST_STEPS:,} steps, or without end",
                    "use fewer steps, or a fixed number: lax.fori_loop(0, n, ...)",
                )
            carry = step(*known[num_cond:start], *carry)

    def counted(*args: Any) -> tuple[Any, ...]:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            return tuple(_jax.as_function(body)(*args[num_cond:start], *carry)), None

        return lax.scan(step, tuple(args[start:]), length=steps)[0]

    return Rewrite(counted)


def _stand_in(application: Application, index: int) -> Any:
    """The value of an operand, zeros for one that sees the input or is given later."""
    aval = application.avals[index]
    if not application.known[index]:
        return np.zeros(aval.shape, aval.dtype)
    return application.constant(index)


def branch(application: Application) -> Role:
    """`cond` whose index does not see the input: the branch taken."""
    if application.live[0]:
        return Refused(
            "a branch that depends on the input is discontinuous",
            "write it with jnp.maximum, jnp.minimum or jnp.where on its own sign",
        )
    if not _jax.is_concrete(application.constant(0)):
        return Refused("the branch taken is not known while the function is traced")
    branches = application.params["branches"]
    index = min(max(int(application.constant(0)), 0), len(branches) - 1)
    taken = _jax.as_function(branches[index])
    return Rewrite(lambda _, *args: tuple(taken(*args)))


LOOP_RULES: Rules = MappingProxyType(
    {lax.scan_p: loop, lax.while_p: repeat, lax.cond_p: branch}
)
