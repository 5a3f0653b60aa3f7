"""A flat program: equations over numbered values, and what evaluates them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util
from jaxtyping import Array

from ecg_jax.errors import ExampleError
from ecg_jax.program import _jax
from ecg_jax.program.checks import check_arrays, check_finite, num_examples, told
from ecg_jax.program.describe import counted, forms_of, short
from ecg_jax.program.gates import Gate
from ecg_jax.program.roles import Body, Equation, Rules

MOST_NAMED = 4
GateHook = Callable[[Equation, tuple[Any, ...]], Any]


@dataclass(frozen=True, eq=False)
class Program:
    """A flat program `x -> scalar`: equations over numbered values, in order.

    The numbers in `free` are constants that have no value yet, see `at`. Of loops, the
    last steps are written out, as many as `depth` levels of gates need; `whole` has
    them as the function itself has.
    """

    inputs: tuple[int, ...]
    output: int
    equations: tuple[Equation, ...]
    constants: dict[int, Any]
    avals: Sequence[jax.ShapeDtypeStruct]
    in_tree: Any
    rules: Rules = field(repr=False)
    free: tuple[int, ...] = ()
    whole: "Program | None" = None
    depth: int | None = 1

    def __repr__(self) -> str:
        roles = [e.role for e in self.equations if isinstance(e.role, Gate)]
        gates = Counter(short(gate.name, 24) for gate in roles)
        named = ", ".join(f"{n} {name}" for name, n in gates.most_common(MOST_NAMED))
        more = ", ..." if len(gates) > MOST_NAMED else ""
        free = counted(len(self.free), "constant")
        return (
            f"Program: {counted(len(self.equations), 'equation')}, "
            f"{counted(len(roles), 'gate')}{f' ({named}{more})' * bool(gates)}"
            + f", {free} without a value" * bool(self.free)
            + f"\n  input: {forms_of([self.avals[n] for n in self.inputs])}"
        )

    def at(self, values: Sequence[Any]) -> "Program":
        """The program with its free constants at these values."""
        given = dict(zip(self.free, values, strict=True))
        whole = self.whole and self.whole.at(values)
        constants = {**self.constants, **given}
        return replace(self, constants=constants, free=(), whole=whole)

    @cached_property
    def live(self) -> frozenset[int]:
        """The values that see the input."""
        seen = (n for e in self.equations if e.role is not None for n in e.outputs)
        return frozenset((*self.inputs, *seen))

    @property
    def gates(self) -> tuple[Equation, ...]:
        """The equations that are gates, in the order of evaluation."""
        return tuple(eqn for eqn in self.equations if isinstance(eqn.role, Gate))

    def check_input(self, x: Any) -> list[Any]:
        """The leaves of an input; raises `ExampleError` if its form is another.

        Every verb that takes one example comes through here.
        """
        leaves = self._leaves(x)
        for leaf, number in zip(leaves, self.inputs, strict=True):
            have, want = np.shape(leaf), self.avals[number].shape
            if have == want:
                continue
            cure = f"an input of the shape {want}"
            if have[1:] == want and have:
                cure = "one example, not a batch: X[0], or jax.vmap over the batch"
            raise ExampleError(
                f"the input has the shape {have}, the example had {want}.\n"
                f"  try: {cure}"
            )
        return [
            jnp.asarray(_as_example(leaf, self.avals[number].dtype))
            for leaf, number in zip(leaves, self.inputs, strict=True)
        ]

    def check_data(self, data: Any) -> int:
        """How many examples data hold; every verb that takes data comes through here.

        Raises:
          ExampleError: there are none, or of another form than the example.
          NonFiniteError: one of them holds NaN or infinite numbers.
        """
        leaves = self._leaves(data)
        num = num_examples(data)
        for leaf, number in zip(leaves, self.inputs, strict=True):
            have, want = np.shape(leaf), self.avals[number].shape
            if have[1:] != want:
                cure = f"data of the shape {('n', *want)}".replace("'", "")
                if have == want:
                    cure = "a leading axis of examples: X[None] where X is one"
                raise ExampleError(
                    f"the data have the shape {have}, the example had {want}.\n"
                    f"  try: {cure}"
                )
            _as_example(leaf[:1], self.avals[number].dtype)
        check_finite(data)
        return num

    def _leaves(self, x: Any) -> list[Any]:
        """The arrays of an input or of data, if their structure is the example's."""
        leaves, tree = tree_util.tree_flatten(x)
        check_arrays(x if tree != self.in_tree else tuple(leaves))
        if tree != self.in_tree:
            whole = self.in_tree.unflatten([self.avals[n] for n in self.inputs])
            have, want = told(x), told(whole)
            if have == want:  # they differ further in
                have, want = str(tree), str(self.in_tree)
            raise ExampleError(
                f"the input is {have}, the example was {want}.\n"
                "  try: an input of the structure of the example"
            )
        return leaves

    def as_example(self, x: Any) -> Any:
        """An input in the dtypes of the example, if that loses nothing."""
        return tree_util.tree_unflatten(self.in_tree, self.check_input(x))

    def as_given(self, x: Any) -> Any:
        """An input as it is, a NumPy array too, where its dtypes are the example's."""
        example = self.as_example(x)
        have, want = (tree_util.tree_leaves(v) for v in (x, example))
        same = [
            isinstance(h, np.ndarray | Array) and h.dtype == w.dtype
            for h, w in zip(have, want, strict=True)
        ]
        return x if all(same) else example

    def evaluate(self, x: Any, gate: GateHook | None = None) -> Any:
        """The program's value at `x`, an opened gate's output replaced by a hook's.

        Args:
          x: one example.
          gate: called as `gate(equation, operands)` for every gate equation; returns
            its output, or None to apply the gate itself.
        """
        if gate is None and self.whole is not None:
            return self.whole.evaluate(x)
        env = dict(self.constants)
        env.update(zip(self.inputs, self.check_input(x), strict=True))
        run(self.equations, env, gate)
        return env[self.output]

    def is_nan(self, x: Any) -> Array:
        """Whether the function is NaN at `x`, whatever a compiler makes of its maxima.

        A compiled maximum of NaN and a number may be the number (XLA on CPUs, where it
        fuses). Here NaN is told apart at every maximum and minimum.
        """
        if self.whole is not None:
            return self.whole.is_nan(x)
        env = dict(self.constants)
        env.update(zip(self.inputs, self.check_input(x), strict=True))
        _run_nan(self.equations, env)
        return jnp.isnan(env[self.output])


def _run_nan(equations: Sequence[Equation], env: dict[int, Any]) -> None:
    """Evaluates equations with NaN at every maximum and minimum of one."""
    for eqn in equations:
        if eqn.body is not None and eqn.role is not None:
            step = partial(_step_nan, eqn.body)
            outs = scanned(eqn.params, step, [env[n] for n in eqn.inputs])
            env.update(zip(eqn.outputs, outs, strict=True))
            continue
        run([eqn], env)
        if (sign := _EXTREMA.get(eqn.primitive)) and eqn.role is not None:
            (number,) = eqn.outputs
            out = env[number]
            marks = [sign * jnp.isnan(env[n]).astype(out.dtype) for n in eqn.inputs]
            (met,) = _jax.bind(eqn.primitive, eqn.params, marks)
            nan = jnp.asarray(jnp.nan, out.dtype)
            env[number] = jnp.where(sign * met > 0, nan, out)


def _step_nan(body: Body, args: Sequence[Any]) -> list[Any]:
    env = {**body.constants, **dict(zip(body.inputs, args, strict=True))}
    _run_nan(body.equations, env)
    return [env[n] for n in body.outputs]


_EXTREMA = MappingProxyType(
    {
        lax.max_p: 1,
        lax.min_p: -1,
        lax.reduce_max_p: 1,
        lax.reduce_min_p: -1,
        lax.reduce_window_max_p: 1,
        lax.reduce_window_min_p: -1,
        lax.cummax_p: 1,
        lax.cummin_p: -1,
    }
)
"""Operations that choose: +1 the largest, -1 the smallest."""


def _as_example(leaf: Any, dtype: Any) -> Any:
    """A leaf in the example's dtype, if that loses nothing."""
    given = jnp.result_type(leaf)
    if given == dtype:
        return leaf
    if dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ExampleError(
            "the equation is in float64, and JAX has 64-bit numbers switched off.\n"
            "  try: with jax.enable_x64(True): ..., or "
            "jax.config.update('jax_enable_x64', True)"
        )
    if isinstance(leaf, int) or np.can_cast(given, dtype):
        return jnp.asarray(leaf, dtype)
    cure = f"jnp.asarray(x, jnp.{dtype})"
    if jnp.issubdtype(given, jnp.floating):
        cure += f", or factor at an example in {given}"
    raise ExampleError(f"the input is {given}, the example was {dtype}.\n  try: {cure}")


def run(
    equations: Sequence[Equation], env: dict[int, Any], gate: GateHook | None = None
) -> None:
    """Evaluates equations in order; `env` maps value numbers to values."""
    for eqn in equations:
        args = [env[number] for number in eqn.inputs]
        with _jax.user_source(eqn.made):
            out = None
            if gate is not None and isinstance(eqn.role, Gate):
                out = gate(eqn, eqn.role.live(args))
            outs = _jax.bind(eqn.primitive, eqn.params, args) if out is None else [out]
        env.update(zip(eqn.outputs, outs, strict=True))


def operation(eqn: Equation) -> Callable[..., list[Any]]:
    """What an equation does, as a function of its operands."""

    def apply(*args: Any) -> list[Any]:
        with _jax.user_source(eqn.made):
            return list(_jax.bind(eqn.primitive, eqn.params, args))

    return apply


def scanned(
    params: dict[str, Any], step: Callable[[list[Any]], Sequence[Any]], args: Any
) -> list[Any]:
    """The `scan` with these parameters of another step.

    Args:
      params: of the loop; its length, its direction, how its operands are used.
      step: function of the inputs of a `Body` to its outputs; pytrees, None too.
      args: the operands.
    """
    num_consts, num_carry = _jax.scan_split(params)
    consts, carry = args[:num_consts], args[num_consts : num_consts + num_carry]

    def body(carry: Any, xs: Any) -> tuple[Any, Any]:
        outs = step([*consts, *carry, *xs])
        return tuple(outs[:num_carry]), tuple(outs[num_carry:])

    carry, ys = lax.scan(
        body,
        tuple(carry),
        tuple(args[num_consts + num_carry :]),
        length=params["length"],
        reverse=params["reverse"],
    )
    return [*carry, *ys]


def at_places(
    fn: Callable[..., Any], args: Sequence[Any], places: Sequence[int]
) -> Callable[..., Any]:
    """A function of some of its arguments; the others stay as they are."""

    def of_some(*values: Any) -> Any:
        full = list(args)
        for place, value in zip(places, values, strict=True):
            full[place] = value
        return fn(*full)

    return of_some
