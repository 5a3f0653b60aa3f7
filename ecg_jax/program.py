"""From a Python function to a flat program that knows what each equation does.

`trace` runs a function once on abstract values and walks the jaxpr it leaves: calls
are inlined, equal subexpressions get one number, dead code is dropped, and every
equation that sees the input is asked of the rule table what it is. The result is
evaluated with the very primitives it was traced from, so a program *is* the function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax import _jax
from ecg_jax.checks import (
    check_arrays,
    check_dtype,
    check_finite,
    check_output,
    check_purity,
    check_weights,
    num_examples,
    told,
    traced_at,
)
from ecg_jax.errors import ExampleError, UnsupportedPrimitiveError
from ecg_jax.maxmin import Gate


@dataclass(frozen=True)
class Affine:
    """Affine in the operands that see the input, taken together."""


@dataclass(frozen=True)
class Predicate:
    """A truth value that depends on the input; only a gate may read it."""


@dataclass(frozen=True)
class Same:
    """The output is operand number `index`, unchanged."""

    index: int


@dataclass(frozen=True, eq=False)
class Known:
    """The output has this value for every finite input."""

    value: Any


@dataclass(frozen=True)
class Rewrite:
    """The equation equals `fn` of all its operands, written with other operations."""

    fn: Callable[..., Any]


@dataclass(frozen=True)
class Refused:
    """No exact rule: `why`, and what the user can `try_` instead."""

    why: str
    try_: str = "pass your own rule: factor(fn, x, rules={**RULES, primitive: rule})"


class FreeValueError(LookupError):
    """A rule asked for a value that is given later: its operation is refused."""


GIVE = "give the weights as constants: factor(lambda x: fn(params, x), x)"

Role = Affine | Predicate | Same | Known | Rewrite | Refused | Gate
Rule = Callable[["Application"], Role]
Rules = Mapping[Any, Rule]


@dataclass(frozen=True, eq=False)
class Equation:
    """`outputs = primitive(inputs; params)`; role None: it does not see the input.

    A call of a function that the rules know by itself, such as `jax.nn.softplus`, has
    this `function`; its body is the function's own.
    """

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    role: Affine | Predicate | Refused | Gate | None
    source: str
    traceback: Any
    function: Callable[..., Any] | None = None


@dataclass(frozen=True, eq=False)
class Program:
    """A flat program `x -> scalar`: equations over numbered values, in order.

    The numbers in `free` are constants that have no value yet, see `at`.
    """

    inputs: tuple[int, ...]
    output: int
    equations: tuple[Equation, ...]
    constants: dict[int, Any]
    avals: Sequence[jax.ShapeDtypeStruct]
    in_tree: Any
    rules: Rules = field(repr=False)
    free: tuple[int, ...] = ()

    def at(self, values: Sequence[Any]) -> "Program":
        """The program with its free constants at these values."""
        given = dict(zip(self.free, values, strict=True))
        return replace(self, constants={**self.constants, **given}, free=())

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
            _as_example(leaf, self.avals[number].dtype)
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

    def evaluate(self, x: Any, gate: "GateHook | None" = None) -> Any:
        """The program's value at `x`, an opened gate's output replaced by a hook's.

        Args:
          x: one example.
          gate: called as `gate(equation, operands)` for every gate equation; returns
            its output, or None to apply the gate itself.
        """
        env = dict(self.constants)
        env.update(zip(self.inputs, self.check_input(x), strict=True))
        run(self.equations, env, gate)
        return env[self.output]

    def widen(self) -> "Program":
        """The same program in float64, traced again so that the rules see it wide.

        Constants are evaluated in their own dtype first: both programs share them.
        Evaluate it under `jax.enable_x64(True)`.
        """
        env = dict(self.constants)
        run([eqn for eqn in self.equations if eqn.role is None], env)
        env = {number: _jax.widened(value) for number, value in env.items()}
        live = [eqn for eqn in self.equations if eqn.role is not None]

        def wide(x: Any) -> Any:
            leaves = tree_util.tree_leaves(x)
            values = {**env, **dict(zip(self.inputs, leaves, strict=True))}
            for eqn in live:
                with _jax.user_source(eqn.traceback):
                    outs = _apply_wide(eqn, [values[n] for n in eqn.inputs])
                values.update(zip(eqn.outputs, outs, strict=True))
            return values[self.output]

        shapes = [self.avals[number].shape for number in self.inputs]
        example = [jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes]
        with jax.enable_x64(True):
            return trace(wide, self.in_tree.unflatten(example), self.rules)


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


GateHook = Callable[[Equation, tuple[Any, ...]], Any]


def run(
    equations: Sequence[Equation], env: dict[int, Any], gate: GateHook | None = None
) -> None:
    """Evaluates equations in order; `env` maps value numbers to values."""
    for eqn in equations:
        args = [env[number] for number in eqn.inputs]
        with _jax.user_source(eqn.traceback):
            out = None
            if gate is not None and isinstance(eqn.role, Gate):
                out = gate(eqn, eqn.role.live(args))
            outs = _jax.bind(eqn.primitive, eqn.params, args) if out is None else [out]
        env.update(zip(eqn.outputs, outs, strict=True))


def _apply_wide(eqn: Equation, args: Sequence[Any]) -> list[Any]:
    """Applies an equation to float64 operands; a call of a function stays one."""
    if eqn.function is not None:
        return [eqn.function(*args)]
    try:
        return _bind_wide(eqn, args)
    except (TypeError, ValueError) as error:
        raise UnsupportedPrimitiveError(
            f"cannot evaluate `{eqn.primitive}` at {eqn.source} in float64.\n"
            f"  why:     {str(error).splitlines()[0]}\n"
            "  try:     factor the function in float64"
        ) from error


def _bind_wide(eqn: Any, args: Sequence[Any]) -> list[Any]:
    """A primitive with dtypes, and the programs in its parameters, made wide."""
    params = {k: _wide_parameter(v) for k, v in eqn.params.items()}
    for key in ("preferred_element_type", "new_dtype", "dtype"):
        if params.get(key) is not None:
            params[key] = _jax.wide_dtype(params[key])
    if "precision" in params:
        params["precision"] = None
    return _jax.bind(eqn.primitive, params, args)


def _wide_parameter(value: Any) -> Any:
    if _jax.is_jaxpr(value):
        return _jax.retraced(value, _bind_wide)
    if isinstance(value, tuple) and any(map(_jax.is_jaxpr, value)):
        wide = [_wide_parameter(v) for v in value]
        return type(value)(*wide) if hasattr(value, "_fields") else tuple(wide)
    return value


def trace(
    fn: Callable[..., Any], example: Any, rules: Rules, params: Any = None
) -> Program:
    """Traces a pure function of one example to a `Program`.

    Args:
      fn: pure function of one example, a pytree of float32 or float64 arrays, to a
        real scalar.
      example: an input; only its structure, shapes and dtypes matter.
      rules: table from primitives (or named functions) to rules.
      params: pytree of arrays; with it the function is `fn(params, x)`, and its leaves
        are the program's free constants: only their shapes and dtypes matter.

    Returns:
      The program, with dead code dropped and equal subexpressions merged.

    Raises:
      ExampleError: the example holds something else than arrays of numbers, or `fn`
        cannot be evaluated at it.
      NotScalarError: `fn` returns something else than one real scalar.
      NotPureError: two traces of `fn` differ, or it has side effects.
      DTypeError: the example or the output is not float32 or float64.
      NonFiniteError: a weight is NaN.
    """
    leaves, in_tree = tree_util.tree_flatten(example)
    weights, tree = tree_util.tree_flatten(params)
    check_arrays(example)
    for leaf in leaves:
        check_dtype(jnp.result_type(leaf), "the example")
    avals = [
        jax.ShapeDtypeStruct(np.shape(v), jnp.result_type(v))
        for v in (*weights, *leaves)
    ]

    def flat(*args: Any) -> Any:
        x = tree_util.tree_unflatten(in_tree, args[len(weights) :])
        if params is None:
            return fn(x)
        return fn(tree_util.tree_unflatten(tree, args[: len(weights)]), x)

    jaxpr, consts, out = traced_at(lambda *args: flat(*args), avals, len(weights))
    check_output(out)
    check_purity(jaxpr, consts, _jax.trace(lambda *args: flat(*args), *avals)[:2])
    check_weights(jaxpr, consts)

    builder = _Builder(rules)
    free = tuple(builder.fresh(aval, live=False) for aval in avals[: len(weights)])
    builder.free.update(free)
    inputs = tuple(builder.fresh(aval, live=True) for aval in avals[len(weights) :])
    output = builder.inline(jaxpr, consts, (*free, *inputs))[0]
    return replace(builder.program(inputs, output, in_tree), free=free)


@dataclass(frozen=True)
class Application:
    """A primitive about to be applied: what a rule sees."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    builder: "_Builder" = field(repr=False)
    guarded: Callable[[], bool] = field(default=lambda: False, repr=False)
    """Is it a guard of one of JAX's own functions, such as `jax.nn.logsumexp`?"""

    @property
    def live(self) -> tuple[bool, ...]:
        """For each operand: does it see the input?"""
        return tuple(self.builder.live[number] for number in self.inputs)

    @property
    def avals(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shape and dtype of each operand."""
        return tuple(self.builder.avals[number] for number in self.inputs)

    @property
    def known(self) -> tuple[bool, ...]:
        """For each operand: is it a constant whose value is given already?"""
        return tuple(map(self.builder.is_known, self.inputs))

    def constant(self, index: int) -> Any:
        """The value of an operand that does not see the input.

        Raises:
          FreeValueError: it is given later; uncaught, the operation is refused.
        """
        return self.builder.value(self.inputs[index])

    def operands(self) -> tuple[tuple[int, ...], Callable[..., list[Any]]]:
        """The operands that a gate is a function of, and all of them, given these.

        Those left out are constants of known value.
        """
        numbers = tuple(i for i, known in enumerate(self.known) if not known)
        others = {i: self.constant(i) for i, known in enumerate(self.known) if known}

        def every(*z: Any) -> list[Any]:
            values = {**others, **dict(zip(numbers, z, strict=True))}
            return [values[i] for i in range(len(values))]

        return numbers, every

    def definition(self, number: int) -> Equation | None:
        """The equation that made a value; None for an input or a given constant."""
        return self.builder.definitions.get(number)

    @property
    def notes(self) -> dict[Any, Any]:
        """What rules remember of the values of this program, while it grows."""
        return self.builder.notes

    def constant_of(self, number: int) -> Any:
        """The value numbered `number`; None if it sees the input or is given later."""
        return self.builder.value(number) if self.builder.is_known(number) else None


class _Builder:
    """Grows a flat program, numbering equal values once."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.avals: list[jax.ShapeDtypeStruct] = []
        self.live: list[bool] = []
        self.constants: dict[int, Any] = {}
        self.definitions: dict[int, Equation] = {}
        self.equations: list[Equation] = []
        self.notes: dict[Any, Any] = {}
        self.free: set[int] = set()
        self._asked_free = False
        self._numbers: dict[Any, tuple[int, ...]] = {}
        self._values: dict[int, Any] = {}
        self._named: dict[Any, tuple[Any, Any]] = {}

    def fresh(self, aval: Any, live: bool) -> int:
        self.avals.append(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        self.live.append(live)
        return len(self.avals) - 1

    def given(self, value: Any) -> int:
        key = ("constant", _jax.key_of(value))
        if key not in self._numbers:
            aval = jax.ShapeDtypeStruct(np.shape(value), jnp.result_type(value))
            number = self.fresh(aval, live=False)
            self.constants[number] = value
            self._numbers[key] = (number,)
        return self._numbers[key][0]

    def is_known(self, number: int) -> bool:
        """Whether a value neither sees the input nor depends on a free constant."""
        self._asked_free |= number in self.free
        return not self.live[number] and number not in self.free

    def value(self, number: int) -> Any:
        """Evaluates a constant on demand, once."""
        if number in self.free:
            raise FreeValueError
        wanted = [number]
        while wanted:  # a chain of constants may be longer than Python recurses
            last = wanted[-1]
            if last in self.constants or last in self._values:
                wanted.pop()
                continue
            eqn = self.definitions[last]
            known = self._known(eqn.inputs)
            if missing := [n for n in eqn.inputs if n not in known]:
                wanted += missing
                continue
            args = [known[n] for n in eqn.inputs]
            outs = _jax.bind(eqn.primitive, eqn.params, args)
            self._values.update(zip(eqn.outputs, outs, strict=True))
        return self._known((number,))[number]

    def _known(self, numbers: Sequence[int]) -> dict[int, Any]:
        """Those of the values that are given, or evaluated already."""
        homes = (self.constants, self._values)
        return {n: home[n] for home in homes for n in numbers if n in home}

    def inline(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        inputs: Sequence[int],
        caller: Any = None,
        guarded: bool | None = None,
    ) -> list[int]:
        """Adds a jaxpr's equations.

        Args:
          jaxpr: the equations.
          consts: its constants.
          inputs: the numbers of its inputs.
          caller: the line that all of them count as made at.
          guarded: whether they guard one of JAX's own functions; None: as they say.
        """
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        env.update(zip(jaxpr.constvars, map(self.given, consts), strict=True))

        def read(atom: Any) -> int:
            if isinstance(atom, _jax.Literal):
                return self.given(np.asarray(atom.val, _jax.dtype_of(atom)))
            return env[atom]

        for eqn in jaxpr.eqns:
            outs = self.apply(eqn, tuple(read(v) for v in eqn.invars), caller, guarded)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    def apply(
        self,
        eqn: Any,
        inputs: tuple[int, ...],
        caller: Any = None,
        guarded: bool | None = None,
    ) -> Sequence[int]:
        own, caller = eqn.source_info.traceback, caller or eqn.source_info.traceback

        def is_guarded() -> bool:
            return _jax.is_guarded(own) if guarded is None else guarded

        body, function = _jax.call_body(eqn), None

        def inlined() -> Sequence[int]:
            # JAX caches the bodies of its functions: their lines are others' calls.
            inner = guarded
            if guarded is None and _jax.is_jax_function(eqn):
                named = _jax.call_name(eqn).lstrip("_") in _jax.GUARDED
                inner = named or _jax.is_guarded(own)
            line = _jax.caller_of(eqn, caller)
            assert body is not None
            return self.inline(*body, inputs, line, inner)

        application = Application(eqn.primitive, eqn.params, inputs, self, is_guarded)
        live = any(application.live)
        if body is not None:
            known = self.named(eqn) if live else None
            if known is None:
                return inlined()
            function, rule = known
        else:
            rule = self.rules.get(eqn.primitive, _no_rule)
        key = ("equation", eqn.primitive, _frozen(eqn.params), inputs)
        if key in self._numbers:
            return self._numbers[key]
        role = self.ask(rule, application) if live and rule is not None else None
        if body is not None and isinstance(role, Refused):
            return inlined()
        outs = self.place(eqn, inputs, role, caller, function)
        if not isinstance(role, Known):  # a guard is known in some places only
            self._numbers[key] = tuple(outs)
        return outs

    def ask(self, rule: Rule, application: Application) -> Role:
        """What a rule answers; it never learns the value of a free constant."""
        self._asked_free = False
        try:
            role = rule(application)
        except FreeValueError:
            why = "its rule needs a value that depends on the params"
            return Refused(f"{why}, which are given later", GIVE)
        if isinstance(role, Refused) and self._asked_free:
            why = f"{role.why}, as far as can be told without the params' values"
            return Refused(why, f"{role.try_}; or {GIVE}")
        return role

    def named(self, eqn: Any) -> tuple[Callable[..., Any], Rule] | None:
        """`named_rule`, asked once of a body: the steps of a loop share theirs."""
        body = _jax.call_body(eqn)
        assert body is not None
        key = (_jax.call_name(eqn), id(body[0]), tuple(map(id, body[1])))
        if key not in self._named:  # the body is kept: its id is not used again
            self._named[key] = (named_rule(self.rules, eqn), body)
        return self._named[key][0]

    def place(
        self,
        eqn: Any,
        inputs: tuple[int, ...],
        role: Role | None,
        caller: Any,
        function: Callable[..., Any] | None = None,
    ) -> list[int]:
        if isinstance(role, Same):
            return [inputs[role.index]]
        if isinstance(role, Known):
            return [self.given(role.value)]
        if isinstance(role, Rewrite):
            with _jax.user_source(caller):
                jaxpr, consts, _ = _jax.trace(role.fn, *(self.avals[n] for n in inputs))
            return self.inline(jaxpr, consts, inputs, caller)
        outs = [self.fresh(v.aval, live=role is not None) for v in eqn.outvars]
        equation = Equation(
            primitive=eqn.primitive,
            params=eqn.params,
            inputs=inputs,
            outputs=tuple(outs),
            role=role,
            source=_jax.source_line(caller),
            traceback=caller,
            function=function,
        )
        self.equations.append(equation)
        self.definitions.update(dict.fromkeys(outs, equation))
        if role is None and self.free.intersection(inputs):
            self.free.update(outs)
        return outs

    def program(self, inputs: tuple[int, ...], output: int, in_tree: Any) -> Program:
        """Drops what the output does not need; constants already known stay known."""
        needed = {output}
        kept: list[Equation] = []
        for eqn in reversed(self.equations):
            known = eqn.role is None and all(n in self._values for n in eqn.outputs)
            if needed.intersection(eqn.outputs) and not known:
                kept.append(eqn)
                needed.update(eqn.inputs)
        values = {**self._values, **self.constants}
        constants = {n: v for n, v in values.items() if n in needed}
        return Program(
            inputs=inputs,
            output=output,
            equations=tuple(reversed(kept)),
            constants=constants,
            avals=self.avals,
            in_tree=in_tree,
            rules=self.rules,
        )


def named_rule(rules: Rules, eqn: Any) -> tuple[Callable[..., Any], Rule] | None:
    """The function of the table that a call equation calls, and its rule.

    A rule may be keyed by a function such as `jax.nn.softplus`. The name alone proves
    nothing: the body must be the one that the function itself traces to.
    """
    name = _jax.call_name(eqn)
    for key, rule in rules.items():
        if getattr(key, "__name__", None) == name and not hasattr(key, "bind"):
            if _jax.calls_function(eqn, key):
                return key, rule
    return None


def _no_rule(application: Application) -> Role:
    return Refused(f"no rule for `{application.primitive}` is in the table")


def _frozen(params: dict[str, Any]) -> Any:
    try:
        key = tuple(sorted(params.items()))
        hash(key)
    except TypeError:
        return object()
    return key
