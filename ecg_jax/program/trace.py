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
from jax import lax, tree_util

from ecg_jax.program import _jax
from ecg_jax.program.checks import (
    check_arrays,
    check_dtype,
    check_output,
    check_purity,
    check_weights,
    traced_at,
)
from ecg_jax.program.loops import opened, steps_to_peel, too_long
from ecg_jax.program.program import Program, run, scanned
from ecg_jax.program.roles import (
    GIVE,
    Affine,
    Application,
    Body,
    Equation,
    FreeValueError,
    Known,
    Loop,
    Refused,
    Rewrite,
    Role,
    Rule,
    Rules,
    Same,
)


def trace(
    fn: Callable[..., Any],
    example: Any,
    rules: Rules,
    params: Any = None,
    depth: int | None = 1,
) -> Program:
    """Traces a pure function of one example to a `Program`.

    Args:
      fn: pure function of one example, a pytree of float32 or float64 arrays, to a
        real scalar.
      example: an input; only its structure, shapes and dtypes matter.
      rules: table from primitives (or named functions) to rules.
      params: pytree of arrays; with it the function is `fn(params, x)`, and its leaves
        are the program's free constants: only their shapes and dtypes matter.
      depth: how many levels of gates are to be opened: so many steps of loops are
        written out, see `loops`; None for all levels.

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

    built = _built(rules, jaxpr, consts, avals, len(weights), in_tree)
    return _peeled(built, depth)


def _built(
    rules: Rules,
    jaxpr: Any,
    consts: Sequence[Any],
    avals: Sequence[Any],
    num_free: int,
    in_tree: Any,
) -> Program:
    """The program of a jaxpr whose first inputs are free constants."""
    builder = _Builder(rules)
    free = tuple(builder.fresh(aval, live=False) for aval in avals[:num_free])
    builder.free.update(free)
    inputs = tuple(builder.fresh(aval, live=True) for aval in avals[num_free:])
    output = builder.inline(jaxpr, consts, (*free, *inputs))[0]
    equations, constants = builder.needed((output,))
    return Program(
        inputs=inputs,
        output=output,
        equations=equations,
        constants=constants,
        avals=builder.avals,
        in_tree=in_tree,
        rules=rules,
        free=free,
    )


def _peeled(whole: Program, depth: int | None) -> Program:
    """A program with the last steps of its loops written out, see `loops`."""
    if not any(isinstance(eqn.role, Loop) for eqn in whole.equations):
        return replace(whole, depth=depth)
    program = whole
    while steps := steps_to_peel(program, depth):
        numbers = (*program.free, *program.inputs)
        avals = [program.avals[n] for n in numbers]

        def flat(*args: Any, program: Program = program, steps: Any = steps) -> Any:
            given = zip((*program.free, *program.inputs), args, strict=True)
            env = {**program.constants, **dict(given)}
            for position, eqn in enumerate(program.equations):
                if position not in steps:
                    run([eqn], env)
                    continue
                with _jax.user_source(eqn.made):
                    fn = opened(eqn, steps[position])
                    outs = fn(*(env[n] for n in eqn.inputs))
                env.update(zip(eqn.outputs, outs, strict=True))
            return env[program.output]

        jaxpr, consts, _ = _jax.trace(flat, *avals)
        program = _built(
            program.rules, jaxpr, consts, avals, len(program.free), program.in_tree
        )
    return replace(too_long(program), whole=whole, depth=depth)


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
        body = role.body if isinstance(role, Affine | Loop) else None
        if role is None and eqn.primitive is lax.scan_p:
            no = [False] * len(inputs)
            body, _ = self.body(eqn.params["jaxpr"], no, {}, {})
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
            body=body,
        )
        self.equations.append(equation)
        self.definitions.update(dict.fromkeys(outs, equation))
        if role is None and self.free.intersection(inputs):
            self.free.update(outs)
        if role is None or body is None or body.live.issuperset(body.outputs):
            return outs
        known = iter(self._same_for_all(eqn, inputs, body))
        pairs = zip(outs, body.outputs, strict=True)
        return [out if n in body.live else next(known) for out, n in pairs]

    def needed(
        self, outputs: Sequence[int]
    ) -> tuple[tuple[Equation, ...], dict[int, Any]]:
        """Equations and constants that outputs need; what is known already stays so."""
        wanted = set(outputs)
        kept: list[Equation] = []
        for eqn in reversed(self.equations):
            known = eqn.role is None and all(n in self._values for n in eqn.outputs)
            if wanted.intersection(eqn.outputs) and not known:
                kept.append(eqn)
                wanted.update(eqn.inputs)
        values = {**self._values, **self.constants}
        constants = {n: v for n, v in values.items() if n in wanted}
        return tuple(reversed(kept)), constants

    def body(
        self,
        closed: Any,
        live: Sequence[bool],
        values: Mapping[int, Any],
        notes: Mapping[Any, Any],
    ) -> tuple[Body, Application]:
        """A step of a loop, traced for itself: see `Application.body`."""
        inner, jaxpr = _Builder(self.rules), _jax.open_jaxpr(closed)
        inputs = [
            inner.fresh(v.aval, live=sees)
            for v, sees in zip(jaxpr.invars, live, strict=True)
        ]
        for i, number in enumerate(inputs):
            if i in values:
                inner.constants[number] = values[i]
            elif not live[i]:
                inner.free.add(number)
        inner.notes.update(((key, inputs[i]), v) for (key, i), v in notes.items())
        outputs = inner.inline(jaxpr, getattr(closed, "consts", ()), inputs)
        equations, constants = inner.needed(outputs)
        body = Body(
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            equations=equations,
            constants={n: v for n, v in constants.items() if n not in inputs},
            avals=inner.avals,
            live=frozenset(n for n, sees in enumerate(inner.live) if sees),
        )
        return body, Application(lax.scan_p, {}, body.outputs, inner)

    def _same_for_all(self, eqn: Any, inputs: Sequence[int], body: Body) -> list[int]:
        """Those outputs of a loop that do not see the input, such as its counter."""
        sees = [n in body.live for n in body.inputs]
        steps = [step for step in body.equations if step.role is None]
        operands = tuple(n for n, live in zip(inputs, sees, strict=True) if not live)

        def step(args: list[Any]) -> list[Any]:
            env = {**body.constants, **dict(zip(body.inputs, args, strict=True))}
            run(steps, env)
            return [None if n in body.live else env[n] for n in body.outputs]

        def loop(*args: Any) -> list[Any]:
            given = iter(args)
            every = [None if live else next(given) for live in sees]
            return [out for out in scanned(eqn.params, step, every) if out is not None]

        jaxpr, consts, _ = _jax.trace(loop, *(self.avals[n] for n in operands))
        return self.inline(jaxpr, consts, operands, eqn.source_info)


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
