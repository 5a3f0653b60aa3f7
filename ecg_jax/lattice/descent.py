"""Down through all levels of gates at once: atoms, deep witnesses and refuters.

Going down from the output, a reverse pass carries the weight of every unit. A unit on
the max side *at x* is frozen at an anchor `a`; one on the min side stays alive, that
is, at its own tangent at `x`. Every freezing takes away a non-negative gap, so

    W_deep[a](x) = f(x) - sum_units w_u (phi_u(z(x)) - T_{a,u}(z(x)))  <=  f(x)

with equality at `x = a`; likewise `R_deep >= f`. With depth 1 these are `witness` and
`refuter`. Frozen at `x` itself down to the last level, a function is an atom, affine:
`f(x) = <template, x> + offset`.

An operation without a rule, or a loop whose steps are not written out, ends the descent
at its own level: no gate above that has it on its way to the output, so what follows
the opened gates is affine, and whatever lies below them, the operation included, is a
black box that nothing is claimed of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import tree_util
from jaxtyping import Array, Float, Int

from ecg_jax.errors import UnsupportedPrimitiveError
from ecg_jax.program import _jax
from ecg_jax.program.gates import Gate, on
from ecg_jax.program.levels import level_of, levels, refusal
from ecg_jax.program.memo import Immutable
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Equation, Refused, Rules
from ecg_jax.program.trace import trace
from ecg_jax.rules import RULES

Sign = int | Int[Array, ""]


@dataclass(frozen=True, eq=False)
class Descent(Immutable):
    """All gates of a program, each with its level, outermost first.

    Attributes:
      program: the traced function.
      gates: gate equations that can be opened, ordered by level.
      level: the level of each gate; those of level 0 are what `factor` opens.
      end: the outermost operation without a rule, or loop; None where atoms are
        reached.
    """

    program: Program
    gates: tuple[Equation, ...]
    level: tuple[int, ...]
    end: Equation | None = None

    @property
    def num_levels(self) -> int:
        """How many times the function can be factored: to atoms, or to the end."""
        return max(self.level, default=-1) + 1

    @property
    def refusal(self) -> str:
        """Why the descent ends before atoms; empty where it does not."""
        return "" if self.end is None else refusal(self.program, self.end)

    def opened(self, depth: int) -> tuple[int, ...]:
        """Indices of the gates that are frozen at a depth: levels below it.

        Raises:
          UnsupportedPrimitiveError: the descent ends above this depth.
        """
        if depth > self.num_levels and self.end is not None:
            raise UnsupportedPrimitiveError(self.refusal)
        return tuple(i for i, level in enumerate(self.level) if level < depth)

    def unit_shapes(self, depth: int) -> list[tuple[int, ...]]:
        """The shape of the units of each gate above a depth."""
        numbers = [self.gates[i].outputs[0] for i in self.opened(depth)]
        return [tuple(self.program.avals[n].shape) for n in numbers]

    def patterns(self, x: Any, depth: int) -> list[Any]:
        """The patterns of all gates above a depth at an input. Traceable."""
        seen: dict[int, Any] = {}
        index = {id(self.gates[i]): i for i in self.opened(depth)}

        def record(eqn: Equation, z: tuple[Any, ...]) -> None:
            if (i := index.get(id(eqn))) is not None:
                seen[i] = _gate(eqn).pattern(*z)

        self.program.evaluate(x, record)
        return [seen[i] for i in self.opened(depth)]

    def own(self, patterns: Sequence[Any]) -> list[Any]:
        """The first gates frozen at one pattern each, on either side."""
        return [_gate(self.gates[i]).own(p) for i, p in enumerate(patterns)]

    def component(self, frozen: Sequence[Any]) -> Callable[[Any], Array]:
        """The function with the first gates frozen, each as `Gate.frozen` takes it."""
        index = {id(self.gates[i]): entry for i, entry in enumerate(frozen)}

        def component(x: Any) -> Array:
            def hook(eqn: Equation, z: tuple[Any, ...]) -> Any:
                if id(eqn) not in index:
                    return None
                return _gate(eqn).frozen(index[id(eqn)], *z)

            return self.program.evaluate(x, hook)

        return component

    def atom(self, x: Any) -> tuple[Any, Float[Array, ""]]:
        """The affine function that decides at `x`: a template and an offset.

        `f(x) = <template, x> + offset`; both come from the program with all gates
        frozen, not from `f(x)`.

        Raises:
          UnsupportedPrimitiveError: an operation without a rule is below the gates.
        """
        if self.end is not None:
            raise UnsupportedPrimitiveError(self.refusal)
        frozen = self.component(self.own(self.patterns(x, self.num_levels)))
        zeros = tree_util.tree_map(jnp.zeros_like, self.program.as_example(x))
        offset, template = jax.value_and_grad(frozen)(zeros)
        return template, offset

    def gap(
        self,
        anchor: Sequence[Any],
        x: Any,
        sign: Sign,
        frozen: Sequence[Any] | None = None,
        depth: int | None = None,
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """`f(x)`, and what freezing at an anchor takes from it (adds, on the min side).

        Args:
          anchor: `patterns(a, depth)`.
          x: one example.
          sign: +1 for the witness, -1 for the refuter.
          frozen: for each of these gates, a mask over its units; default all.
          depth: how many levels to freeze; default as many as `anchor` holds.

        Returns:
          `(f(x), gap)`: `f - gap <= f` is the witness, `f + gap >= f` the refuter.
        """
        value, steps = _freeze(self, anchor, x, sign, frozen, depth)
        total = jnp.zeros_like(value)
        for step in steps.values():
            total = total + jnp.sum(step.gap)
        return value, total

    def unit_gaps(
        self,
        anchor: Sequence[Any],
        x: Any,
        sign: Sign,
        frozen: Sequence[Any],
        depth: int,
    ) -> list[Array]:
        """For each gate above a depth, what freezing takes at each of its units.

        `gap` is their sum. Arguments as for `gap`.
        """
        value, steps = _freeze(self, anchor, x, sign, frozen, depth)
        return [
            steps[i].gap if i in steps else jnp.zeros(shape, value.dtype)
            for i, shape in enumerate(self.unit_shapes(depth))
        ]

    def bound(
        self,
        anchor: Sequence[Any],
        x: Any,
        sign: Sign,
        frozen: Sequence[Any] | None = None,
        depth: int | None = None,
    ) -> Float[Array, ""]:
        """The witness or refuter itself, evaluated: `f(x) - gap` by another road.

        The program run forwards with its gates frozen, those of the anchor at `anchor`
        and the others at `x`. Arguments as for `gap`.
        """
        _, steps = _freeze(self, anchor, x, sign, frozen, depth)
        own = self.own(self.patterns(x, self._depth(anchor, depth)))
        return self.component(
            [steps[i].frozen if i in steps else entry for i, entry in enumerate(own)]
        )(x)

    def sides(self, x: Any, sign: Sign, depth: int) -> list[Array]:
        """For each gate above a depth, the units that are on one side at `x`.

        Args:
          x: one example.
          sign: +1 for the max side, -1 for the min side.
          depth: how many levels.
        """
        patterns = self.patterns(x, depth)
        _, steps = _freeze(self, patterns, x, sign, None, depth)
        return [
            steps[i].side if i in steps else jnp.zeros(shape, bool)
            for i, shape in enumerate(self.unit_shapes(depth))
        ]

    def _depth(self, anchor: Sequence[Any], depth: int | None) -> int:
        """How many levels an anchor's patterns freeze."""
        if depth is not None:
            return depth
        return 1 + max((self.level[i] for i in range(len(anchor))), default=-1)


def descend(
    fn: Callable[[Any], Any],
    example: Any,
    rules: Rules = RULES,
    depth: int | None = None,
) -> Descent:
    """Traces a function and orders all of its gates by level.

    Args:
      fn: pure function of one example to a scalar.
      example: one input; only its structure, shapes and dtypes matter.
      rules: table from primitives, or named functions, to rules.
      depth: how many levels are needed; steps of loops below them are not written out,
        and the descent ends there. None for all.

    Raises:
      UnsupportedPrimitiveError: an outermost operation has no exact rule.
    """
    return descent_of(trace(fn, example, rules, depth=depth))


def descent_of(program: Program) -> Descent:
    """The levels of a traced program: see `descend`."""
    depth = levels(program)
    gates, refused = [], []
    for position, eqn in enumerate(program.equations):
        if isinstance(eqn.role, Gate | Refused):
            level = level_of(depth, eqn)
            found = gates if isinstance(eqn.role, Gate) else refused
            found.append((level, position, eqn))
    last, _, end = min(refused, key=lambda entry: entry[:2], default=(None, 0, None))
    if end is not None and last == 0:
        raise UnsupportedPrimitiveError(refusal(program, end))
    gates.sort(key=lambda entry: entry[:2])
    opened = [gate for gate in gates if last is None or gate[0] < last]
    return Descent(
        program,
        tuple(eqn for _, _, eqn in opened),
        tuple(level for level, _, _ in opened),
        end,
    )


@dataclass(frozen=True, eq=False)
class _Frozen:
    """A gate as the reverse pass leaves it: on this side, lost, frozen how."""

    side: Array
    gap: Array
    frozen: Any


def _freeze(
    descent: Descent,
    anchor: Sequence[Any],
    x: Any,
    sign: Sign,
    frozen: Sequence[Any] | None,
    depth: int | None,
) -> tuple[Array, dict[int, _Frozen]]:
    """`f(x)`, and what becomes of every opened gate that the reverse pass meets."""
    program = descent.program
    opened = descent.opened(descent._depth(anchor, depth))
    index = {id(descent.gates[i]): i for i in opened}
    env = dict(program.constants)
    env.update(zip(program.inputs, program.check_input(x), strict=True))
    for eqn in program.equations:
        args = [env[n] for n in eqn.inputs]
        outs = _jax.bind(eqn.primitive, eqn.params, args)
        env.update(zip(eqn.outputs, outs, strict=True))

    value = env[program.output]
    weight: dict[int, Any] = {program.output: jnp.ones_like(value)}
    steps: dict[int, _Frozen] = {}
    for eqn in reversed(program.equations):
        outs = [weight.get(n) for n in eqn.outputs]
        black_box = eqn.role is None or isinstance(eqn.role, Refused)
        if black_box or all(w is None for w in outs):
            continue
        args = [env[n] for n in eqn.inputs]
        if isinstance(eqn.role, Gate):
            if (i := index.get(id(eqn))) is None:
                continue
            w = jnp.asarray(outs[0])
            gate, z = eqn.role, eqn.role.live(args)
            signed = jnp.asarray(sign, w.dtype) * w
            sides = gate.sides(signed)
            side = on(sides, 1)
            mask = side if frozen is None else side & frozen[i]
            own = gate.pattern(*z)
            gap = gate.gap(anchor[i], signed, env[eqn.outputs[0]], *z)
            entry = gate.freeze(gate.select(mask, anchor[i], own), own, sides, signed)
            steps[i] = _Frozen(side, jnp.where(mask, jnp.abs(w) * gap, 0), entry)
            pushed = _transpose(_tangent(gate, entry), z, [w])
            numbers = [eqn.inputs[k] for k in gate.operands]
        else:
            sees = [n in program.live for n in eqn.inputs]
            numbers = [n for n, live in zip(eqn.inputs, sees, strict=True) if live]
            z = [a for a, live in zip(args, sees, strict=True) if live]
            pushed = _transpose(_applied(eqn, args, sees), z, outs)
        for number, w in zip(numbers, pushed, strict=True):
            if w is not None:
                weight[number] = w if number not in weight else weight[number] + w
    return value, steps


def _tangent(gate: Gate, entry: Any) -> Callable[..., list[Any]]:
    """A frozen gate as an affine function of its operands."""
    return lambda *z: [gate.frozen(entry, *z)]


def _applied(
    eqn: Equation, args: Sequence[Any], sees: Sequence[bool]
) -> Callable[..., list[Any]]:
    """An affine equation as a function of its operands that see the input."""

    def fn(*z: Any) -> list[Any]:
        live = iter(z)
        full = [next(live) if s else a for a, s in zip(args, sees, strict=True)]
        return _jax.bind(eqn.primitive, eqn.params, full)

    return fn


def _transpose(
    fn: Callable[..., list[Any]], z: Sequence[Any], weights: Sequence[Any]
) -> list[Any]:
    """The weights of an affine function's operands from those of its outputs."""
    smooth = [jnp.issubdtype(jnp.result_type(v), jnp.inexact) for v in z]
    floats = [v for v, s in zip(z, smooth, strict=True) if s]

    def of_floats(*values: Any) -> list[Any]:
        given = iter(values)
        return fn(*(next(given) if s else v for v, s in zip(z, smooth, strict=True)))

    outs, pull = jax.vjp(of_floats, *floats)
    full = [
        jnp.zeros_like(out) if w is None else w
        for out, w in zip(outs, weights, strict=True)
    ]
    pulled = iter(pull(full))
    return [next(pulled) if s else None for s in smooth]


def _gate(eqn: Equation) -> Gate:
    assert isinstance(eqn.role, Gate)
    return eqn.role
