"""From a Python function to a flat program that knows what each equation does.

`trace` runs a function once on abstract values and walks the jaxpr it leaves: calls
are inlined, equal subexpressions get one number, dead code is dropped, and every
equation that sees the input is asked of the rule table what it is. The result is
evaluated with the very primitives it was traced from, so a program *is* the function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax.program import _jax
from ecg_jax.program.checks import (
    check_arrays,
    check_dtype,
    check_output,
    check_purity,
    check_weights,
    traced_at,
)
from ecg_jax.program.program import Program
from ecg_jax.program.roles import (
    GIVE,
    Application,
    Equation,
    FreeValueError,
    Known,
    Refused,
    Rewrite,
    Role,
    Rule,
    Rules,
    Same,
)


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
          caller: where all of them count as made.
          guarded: whether they guard one of JAX's own functions; None: as they say.
        """
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        env.update(zip(jaxpr.constvars, map(self.given, consts), strict=True))
        for eqn in jaxpr.eqns:
            given = tuple(self._read(v, env) for v in eqn.invars)
            outs = self.apply(eqn, given, caller, guarded)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [self._read(v, env) for v in jaxpr.outvars]

    def _read(self, atom: Any, env: Mapping[Any, int]) -> int:
        if isinstance(atom, _jax.Literal):
            return self.given(np.asarray(atom.val, _jax.dtype_of(atom)))
        return env[atom]

    def apply(
        self,
        eqn: Any,
        inputs: tuple[int, ...],
        caller: Any = None,
        guarded: bool | None = None,
    ) -> Sequence[int]:
        own, caller = eqn.source_info, caller or eqn.source_info
        body, function = _jax.call_body(eqn), None
        is_guarded = partial(_is_guarded, own, guarded)
        application = Application(eqn.primitive, eqn.params, inputs, self, is_guarded)
        live = any(application.live)
        if body is not None:
            known = self.named(eqn) if live else None
            if known is None:
                return self.inline(*body, inputs, *_inside(eqn, caller, guarded))
            function, rule = known
        else:
            rule = self.rules.get(eqn.primitive, _no_rule)
        key = ("equation", eqn.primitive, _frozen(eqn.params), inputs)
        if key in self._numbers:
            return self._numbers[key]
        role = self.ask(rule, application) if live and rule is not None else None
        if body is not None and isinstance(role, Refused):
            return self.inline(*body, inputs, *_inside(eqn, caller, guarded))
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
            return replace(role, why=why, try_=f"{role.try_}; or {GIVE}")
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
            inputs = inputs if role.operands is None else role.operands
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
            made=caller,
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


def _is_guarded(made: Any, guarded: bool | None) -> bool:
    return _jax.is_guarded(made) if guarded is None else guarded


def _inside(eqn: Any, caller: Any, guarded: bool | None) -> tuple[Any, bool | None]:
    """For the equations of a call: where they count as made, and `guarded`.

    JAX caches the bodies of its functions: their lines are others' calls.
    """
    if guarded is None and _jax.is_jax_function(eqn):
        named = _jax.call_name(eqn).lstrip("_") in _jax.GUARDED
        guarded = named or _jax.is_guarded(eqn.source_info)
    return _jax.caller_of(eqn, caller), guarded


def _no_rule(application: Application) -> Role:
    return Refused(f"no rule for `{application.primitive}` is in the table")


def _frozen(params: dict[str, Any]) -> Any:
    try:
        key = tuple(sorted(params.items()))
        hash(key)
    except TypeError:
        return object()
    return key
