"""What a certificate claims of an equation, measured on batches of anchors and inputs.

A `Bench` compiles four things in each dtype: the function itself, the program up to the
cut where its opened gates begin, and from there its tail with all of the equation's
forms and the bound on their rounding. Behind the cut an equation is a `MaxMin` like any
other: its inputs are the numbers that enter the tail.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util
from jaxtyping import Array

from ecg_jax.lattice.maxmin import MaxMin, Pattern
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program import _jax
from ecg_jax.program.gates import on
from ecg_jax.program.levels import outermost
from ecg_jax.program.program import Program, run
from ecg_jax.program.widen import widen
from ecg_jax.proof.rounding import cut, lawless, rounding_bound, tail_bound
from ecg_jax.proof.slack import TAIL
from ecg_jax.proof.tail import tail_equation

EQUALITY = ("N[x](x) = ", "W[x](x) = ", "R[x](x) = ")
SANDWICH = ("W[a](x) <= ", "R[a](x) >= ")
GAPS = ("N[a,x](x) = f(x)-gap", "N[x,a](x) = f(x)+gap")
PADDED = "gap >= in float64"
AFFINE = "N[a] is affine"

Rows = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


class Bench:
    """The values of an equation, and what rounding allows them to be off.

    Args:
      eq: the equation; it carries its traced program.
      precision: of float32 products, see `rounding_bound`.
    """

    def __init__(self, eq: MaxMin, precision: str):
        program = eq.program
        assert isinstance(program, Program), "an equation carries its traced program"
        dtype = program.avals[program.output].dtype
        self.program, self.dtype = program, str(dtype)
        self.fn, self.is_nan = _batched(eq.fn), _batched(program.is_nan)
        self.boxes = boxes = any(map(lawless, program.equations))
        limit, opened = _infinite, outermost(program)
        if not boxes:
            limit = rounding_bound(program, opened=opened, precision=precision)

        def full(a: Any, x: Any) -> tuple[Any, ...]:
            values, frozen, defined = _forms(eq, a, x)
            return values, _largest(limit, x, frozen), defined

        self.full = _batched(full)
        self.own = _Tail(eq, program, precision)
        self.wide = self.own
        with jax.enable_x64(True):
            wide = program
            ends = (*program.inputs, program.output)
            if any(program.avals[n].dtype != jnp.float64 for n in ends):
                wide = widen(program)
                example = tree_util.tree_map(_wide, eq.example)
                wide_eq = open_gates(wide, wide.evaluate, example)
                self.wide = _Tail(wide_eq, wide, precision)
                weights = tuple(map(_wide, eq.weights))
                same = replace(wide_eq, weights=weights, sides=eq.sides)
                self.short = _batched(_short_of(same, dtype))
            own = _infinite if boxes else rounding_bound(wide, opened=())
            self.exact = _batched(lambda x: (wide.evaluate(x), own(x)))

    def measure(
        self, a: Any, x: Any, own: bool
    ) -> tuple[Rows, np.ndarray, np.ndarray, np.ndarray]:
        """Every claim at every pair of an anchor and an input.

        Args:
          a: batch of anchors.
          x: batch of inputs.
          own: the anchors are the inputs: equality is claimed, else the sandwich.

        Returns:
          For each claim and dtype the excess and its bound; where the function is
          finite and its gates have tangents; the function's values; and the bound that
          these are checked within, that of the tail where there is no other.
        """
        fn = np.where(self.is_nan(x), np.nan, _wide(self.fn(x)))
        values, bound, defined = self.full(a, x)
        bound = _wide(bound)
        ok = np.isfinite(fn) & np.isfinite(_wide(self.fn(a))) & np.asarray(defined)
        # A pattern read off rounded operands is that of a point two errors away.
        limit = (4 if own else 2) * bound
        rows = _claims(own, "fn(x)", self.dtype, values, fn, limit)
        rows |= self.own.measure(a, x, own, self.dtype)
        taken = None
        if not own:
            rows |= self.own.takes(a, x, self.dtype)
            if self.wide is not self.own:
                taken = self.own.taken(self.own.enter(a), self.own.enter(x))
        if self.boxes:
            limit = rows[
                EQUALITY[0] + "f(x)" if own else SANDWICH[0] + "f(x)", self.dtype
            ][1]
        with jax.enable_x64(True):
            a, x = tree_util.tree_map(_wide, (a, x))
            if self.wide is not self.own:
                rows |= self.wide.measure(a, x, own, "float64")
                if taken is not None:
                    rows |= self.wide.takes(a, x, "float64")
                    short, most = self.short(*taken)
                    rows[PADDED, self.dtype] = _wide(short), _wide(most)
            if own:
                exact, rest = map(_wide, self.exact(x))
                with np.errstate(invalid="ignore"):
                    off = np.abs(exact - fn)
                rows["f(x) = fn(x)", "float64"] = off, bound + rest
        return rows, ok, fn, limit


class _Tail:
    """An equation from its cut on, whose inputs are the values that enter the tail."""

    def __init__(self, eq: MaxMin, program: Program, precision: str):
        opened = outermost(program)
        numbers, tail = cut(program, opened)
        inside = {id(eqn) for eqn in tail}
        rest = [eqn for eqn in program.equations if id(eqn) not in inside]
        constants = dict(program.constants)
        run([eqn for eqn in rest if eqn.role is None], constants)

        def enter(x: Any) -> list[Any]:
            leaves = program.check_input(x)
            env = {**constants, **dict(zip(program.inputs, leaves, strict=True))}
            run([eqn for eqn in rest if eqn.role is not None], env)
            return [env[number] for number in numbers]

        pinned = tail_equation(eq, program)
        follow = pinned.fn
        limit = tail_bound(program, opened, precision=precision)

        def forms(a: Any, x: Any) -> tuple[Any, ...]:
            values, frozen, _ = _forms(pinned, a, x)
            return values, follow(x), _largest(limit, x, frozen)

        def freezing(a: Any, x: Any) -> Any:
            """What freezing takes, by gaps and by evaluation; a component halfway."""
            (mu, tau), (at_mu, at_tau) = pinned.pattern(a), pinned.pattern(x)
            f, z, ways = follow(x), pinned.operands(x), ((mu, at_tau), (at_mu, tau))
            forms = [pinned.frozen(*way) for way in (*ways, (at_mu, at_tau))]
            *bounds, alone = jax.vmap(limit, (None, 0))(x, _stacked(forms))
            found = []
            for sign, own, way, bound in zip(
                (1, -1), (mu, tau), ways, bounds, strict=True
            ):
                gap, padding = (sum(map(jnp.sum, v)) for v in _gaps(eq, own, z, sign))
                off = pinned.component(*way)(x) - (f - sign * gap)
                # The difference of two operands, and of the gap and `f`, are rounded.
                last = 2 * jnp.finfo(f.dtype).eps * (jnp.abs(f) + gap)
                bound = (TAIL + 1) * (alone + bound) + padding + last
                found.append((off, bound))
            component, frozen = pinned.component(mu, tau), pinned.frozen(mu, tau)
            half = [_middle(one, other) for one, other in zip(a, x, strict=True)]
            points = _stacked([a, x, half])
            at_a, at_x, between = jax.vmap(component)(points)
            wide = jax.vmap(limit, (0, None))(points, frozen)
            return *found, (between - (at_a / 2 + at_x / 2), 4 * jnp.max(wide))

        def taken(a: Any, x: Any) -> tuple[Any, ...]:
            pair, z = pinned.pattern(a), pinned.operands(x)
            rounded = _largest(limit, x, _forms(pinned, a, x)[1])
            return pair, z, _both_gaps(eq, pair, z), (TAIL - 1) * rounded

        self.enter, self.forms = _batched(enter), _batched(forms)
        self.freezing, self.taken = _batched(freezing), _batched(taken)

    def takes(self, a: Any, x: Any, dtype: str) -> Rows:
        """What freezing takes: by gaps as by evaluation; a component is affine."""
        found = self.freezing(self.enter(a), self.enter(x))
        return {
            (claim, dtype): (np.abs(_wide(off)), _wide(bound))
            for claim, (off, bound) in zip((*GAPS, AFFINE), found, strict=True)
        }

    def measure(self, a: Any, x: Any, own: bool, dtype: str) -> Rows:
        """The claims on the tail alone; two evaluations, so twice the bound."""
        at = self.enter(x)
        values, f, bound = self.forms(at if own else self.enter(a), at)
        return _claims(own, "f(x)", dtype, values, _wide(f), 2 * _wide(bound))


def _forms(eq: MaxMin, a: Any, x: Any) -> tuple[tuple[Any, ...], list[list[Any]], Any]:
    """Component, witness, refuter of an anchor at `x`; what is frozen; is it defined?

    A witness is the component with its min side frozen at `x`, in value and in what is
    rounded; where all gates are straight, one form is as good as another.
    """
    mu, tau = eq.pattern(a)
    frozen, defined = [eq.frozen(mu, tau)], jnp.ones((), bool)
    if not all(gate.straight for gate in eq.gates):
        at_mu, at_tau = eq.pattern(x)
        frozen += [eq.frozen(mu, at_tau), eq.frozen(at_mu, tau)]
    for gate, side, m, t in zip(eq.gates, eq.sides, mu, tau, strict=True):
        if gate.defined is not None:
            either = gate.select(on(side, 1), m, t)
            defined &= jnp.all(gate.defined(either) | (side == 0))
    values = eq.component(mu, tau)(x), eq.witness(mu)(x), eq.refuter(tau)(x)
    return values, frozen, defined


def _gaps(
    eq: MaxMin, pattern: Pattern, operands: Any, sign: int
) -> tuple[list[Array], list[Array]]:
    """For each gate, what freezing its units on one side takes, and its padding.

    The sum of the first is `f(x) - W[mu](x)`, or `R[tau](x) - f(x)`, rounded up.
    """
    gaps, paddings = [], []
    parts = (eq.gates, eq.weights, eq.sides, pattern, operands)
    for gate, weight, side, p, z in zip(*parts, strict=True):
        value, size = gate.apply(*z), jnp.where(on(side, sign), abs(weight), 0)
        gaps.append(size * gate.gap(p, sign * weight, value, *z))
        paddings.append(size * gate.padding(p, value, *z))
    return gaps, paddings


def _both_gaps(eq: MaxMin, pair: tuple[Pattern, Pattern], z: Any) -> list[Array]:
    """Of the gates on the max side, then of those on the min side."""
    return [
        gap
        for p, sign in zip(pair, (1, -1), strict=True)
        for gap in _gaps(eq, p, z, sign)[0]
    ]


def _short_of(wide: MaxMin, dtype: Any) -> Callable[..., tuple[Array, Array]]:
    """How far the gaps of units fall short of those of the same in float64, and may.

    A gap is rounded up, but for its weight, and for a difference of two operands; what
    a component may be off is part of the slack.
    """

    def short(pair: Any, z: Any, gaps: Any, rounded: Any) -> tuple[Array, Array]:
        pair, z, gaps = tree_util.tree_map(_widened, (pair, z, gaps))
        exact = _both_gaps(wide, pair, z)
        unit, tiny = (float(v) for v in (jnp.finfo(dtype).eps, jnp.finfo(dtype).tiny))
        missing, most = jnp.zeros(()), _widened(rounded)
        for e, g in zip(exact, gaps, strict=True):
            missing += jnp.sum(jnp.maximum(e - g, 0))
            most += jnp.sum(unit * e + tiny)
        return missing, most

    return short


def _middle(one: Any, other: Any) -> Any:
    """Halfway between two numbers; of what is no number, the other."""
    real = jnp.issubdtype(one.dtype, jnp.inexact)
    return one / 2 + other / 2 if real else other


def _largest(limit: Callable[..., Any], x: Any, frozen: list[list[Any]]) -> Any:
    """The largest bound of some frozen forms."""
    return jnp.max(jax.vmap(limit, (None, 0))(x, _stacked(frozen)))


def _stacked(trees: list[Any]) -> Any:
    """Pytrees of one form as one, with an axis in front."""
    return tree_util.tree_map(lambda *leaves: jnp.stack(leaves), *trees)


def _claims(
    own: bool,
    of: str,
    dtype: str,
    values: tuple[Any, ...],
    reference: np.ndarray,
    bound: np.ndarray,
) -> Rows:
    component, witness, refuter = map(_wide, values)
    with np.errstate(invalid="ignore"):  # where a value overflows, nothing is claimed
        if own:
            names = EQUALITY
            excess = [np.abs(v - reference) for v in (component, witness, refuter)]
        else:
            names, excess = SANDWICH, [witness - reference, reference - refuter]
    return {(n + of, dtype): (e, bound) for n, e in zip(names, excess, strict=True)}


def _infinite(x: Any, frozen: Any = None) -> Any:
    """Of a program that jumps, below its opened gates: nothing bounds its rounding."""
    del x, frozen
    return jnp.array(jnp.inf)


def _batched(fn: Callable) -> Callable:
    return jax.jit(jax.vmap(fn))


def _wide(value: Any) -> Any:
    return np.asarray(value, np.float64)


def _widened(value: Array) -> Array:
    """A number in float64; masks and winners stay."""
    return value.astype(_jax.wide_dtype(value.dtype))
