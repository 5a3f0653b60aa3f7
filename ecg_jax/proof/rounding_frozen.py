"""Bounds of a frozen gate, whose tangents are several operations themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate
from ecg_jax.proof.rounding_rules import (
    Bounded,
    Bounds,
    Operation,
    RoundingRule,
)
from ecg_jax.proof.rounding_smooth import tangent

RoundingRules = Mapping[Any, RoundingRule]


def frozen_bounds(op: Operation, entry: Any, rules: RoundingRules) -> Bounds:
    """Sizes and errors of a gate frozen as `entry` says.

    A difference of two operands is bounded as its tangents are computed, operation by
    operation: these are affine, and the anchors constants.
    """
    gate = op.equation.role
    assert isinstance(gate, Gate)
    if gate.split is None or len(gate.operands) == 1:
        return tangent(op, entry)
    leaves, tree = tree_util.tree_flatten(entry)
    zs = gate.live(op.args)
    count = len(leaves)

    def frozen(*args: Any) -> Any:
        return gate.frozen(tree.unflatten(args[:count]), *args[count:])

    shapes = [jax.ShapeDtypeStruct(np.shape(z.size), z.size.dtype) for z in zs]
    jaxpr, consts, _ = _jax.trace(frozen, *leaves, *shapes)
    anchors = [Bounded(leaf, jnp.abs(leaf)) for leaf in leaves]
    (out,) = _follow(op, rules, jaxpr, consts, [*anchors, *zs])
    return [out.size], [out.slack]


def _follow(
    op: Operation,
    rules: RoundingRules,
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[Bounded],
) -> list[Bounded]:
    """The bounds of what a jaxpr, run inside an operation, returns."""
    env = dict(zip(jaxpr.invars, args, strict=True))
    known = [Bounded(c, size_of(c)) for c in consts]
    env.update(zip(jaxpr.constvars, known, strict=True))

    def read(atom: Any) -> Bounded:
        if not isinstance(atom, _jax.Literal):
            return env[atom]
        value = np.asarray(atom.val, _jax.dtype_of(atom))
        return Bounded(value, size_of(value))

    for eqn in jaxpr.eqns:
        given = tuple(map(read, eqn.invars))
        if (body := _jax.call_body(eqn)) is not None:
            outs = _follow(op, rules, *body, given)
        else:
            outs = _inner(op, rules, eqn, given)
        env.update(zip(eqn.outvars, outs, strict=True))
    return list(map(read, jaxpr.outvars))


def _inner(
    op: Operation, rules: RoundingRules, eqn: Any, args: tuple[Bounded, ...]
) -> list[Bounded]:
    """One equation of what an operation computes."""
    inner = replace(
        op,
        equation=replace(op.equation, primitive=eqn.primitive, params=eqn.params),
        args=args,
        opened=False,
        dtypes=tuple(v.aval.dtype for v in eqn.outvars),
        shapes=tuple(v.aval.shape for v in eqn.outvars),
    )
    sizes, errors = rules[eqn.primitive](inner)
    if any(arg.value is None for arg in args):
        return [Bounded(None, s, e) for s, e in zip(sizes, errors, strict=True)]
    values = inner.apply(*(arg.value for arg in args))
    return [
        Bounded(v, size_of(v) + (0 if e is None else 2 * e), e)
        for v, e in zip(values, errors, strict=True)
    ]


def floating(value: Any) -> bool:
    """Whether a value is of a floating (or complex) dtype."""
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.inexact))


def size_of(value: Any) -> Any:
    """`|v|`; infinite entries (padding of a max-pool) are never selected: 0."""
    if not floating(value):
        return value
    if _jax.is_concrete(value):
        value = np.abs(np.asarray(value))
        return np.where(np.isinf(value), 0, value).astype(value.dtype)
    return jnp.where(jnp.isinf(value), 0, jnp.abs(value))
