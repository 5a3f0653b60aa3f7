"""A traced program as JSON and arrays, and back: primitives by name.

What comes back is an ordinary function that binds the stored primitives; it is traced
again, so the rules are asked again, and compared with what was written, equation by
equation; of a loop a step is written, and as many are written out again. Equations that
do not see the input and cannot be written (loops, random numbers) are written as the
values that they have.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, tree_util

from ecg_jax.errors import StoreError
from ecg_jax.program import _jax
from ecg_jax.program.digest import digest
from ecg_jax.program.encoding import ArrayStore, decode, dtype_named, encode
from ecg_jax.program.gates import Gate
from ecg_jax.program.program import Program, run, scanned
from ecg_jax.program.roles import Body, Equation, Rules
from ecg_jax.program.trace import trace


def write_program(program: Program, store: ArrayStore) -> dict[str, Any]:
    """A program as a JSON object; its constants go to `store`.

    Raises:
      StoreError: an equation that sees the input has a primitive or a parameter that
        cannot be written, or the input is another structure than tuples, lists and
        dictionaries.
    """
    program = replace(program.whole or program, depth=program.depth)
    known = primitives(program.rules)
    rows: dict[int, dict[str, Any]] = {}
    unwritten: list[Equation] = []
    for i, eqn in enumerate(program.equations):
        try:
            rows[i] = _row(eqn, known, program, store, i)
        except StoreError:
            if eqn.role is not None:
                raise
            unwritten.append(eqn)
    folded = {n for eqn in unwritten for n in eqn.outputs}
    values = _values(program, folded)
    needed = {program.output}
    kept: list[dict[str, Any]] = []
    for row in (rows[i] for i in sorted(rows, reverse=True)):
        if needed.intersection(row["outputs"]):
            needed.update(row["inputs"])
            kept.append(row)
    constants = {}
    for number in sorted(needed & (program.constants.keys() | folded)):
        value, dtype = values[number], program.avals[number].dtype
        if np.dtype(dtype).kind in "biufc" and _jax.is_concrete(value):
            value = np.asarray(value, dtype)
        constants[str(number)] = store.put(f"constants/{number}", value)
    inputs = list(program.inputs)
    return {
        "structure": _structure(program.in_tree.unflatten(inputs)),
        "inputs": inputs,
        "output": program.output,
        "types": {str(n): _type(program, n) for n in inputs},
        "constants": constants,
        "equations": kept[::-1],
        "depth": program.depth,
    }


def read_program(data: Mapping[str, Any], store: ArrayStore, rules: Rules) -> Program:
    """The program that `write_program` wrote, traced again.

    Raises:
      StoreError: a primitive or a type is unknown, or the trace is not the program
        that was written (other rules, another version of JAX).
    """
    known = primitives(rules)
    equations = data["equations"]
    steps = [_step(row, known, rules, store) for row in equations]
    constants = {int(n): store.get(ref) for n, ref in data["constants"].items()}
    inputs, output = data["inputs"], data["output"]
    example = _example(data)
    _check_x64(example, constants)
    constants = {n: jnp.asarray(v) if v.ndim else v for n, v in constants.items()}

    def fn(x: Any) -> Any:
        env = {**constants, **dict(zip(inputs, tree_util.tree_leaves(x), strict=True))}
        for row, step in zip(equations, steps, strict=True):
            outs = step([env[n] for n in row["inputs"]])
            env.update(zip(row["outputs"], outs, strict=True))
        return env[output]

    program = trace(fn, example, rules, depth=data.get("depth", 1))
    if program.whole is None:
        return _checked(program, equations)
    return replace(program, whole=_checked(program.whole, equations))


def primitives(rules: Rules) -> dict[str, Any]:
    """Primitives by name: those of `jax.lax`, and those that the rules know.

    Calls of outside code (callbacks, foreign functions) are not among them.
    """
    homes = (lax, lax.linalg)
    found = [getattr(m, name) for m in homes for name in dir(m) if name.endswith("_p")]
    found += [key for key in rules if hasattr(key, "bind")]
    return {p.name: p for p in found if isinstance(p, _jax.Primitive)}


def _row(
    eqn: Equation,
    known: Mapping[str, Any],
    program: Program | Body,
    store: ArrayStore,
    position: int | str,
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "inputs": list(eqn.inputs),
        "outputs": list(eqn.outputs),
        "types": [_type(program, n) for n in eqn.outputs],
        "role": _role(eqn),
        "source": eqn.source,
    }
    if eqn.function is not None:
        operands = [program.avals[n] for n in eqn.inputs]
        try:
            sha256 = digest(eqn.function, operands)
        except (TypeError, ValueError) as error:
            raise StoreError(
                f"the function of `{_jax.call_name(eqn)}` at {eqn.source} cannot be "
                f"traced again: {str(error).splitlines()[0]}"
            ) from error
        types = [_type(program, n) for n in eqn.inputs]
        name = _jax.call_name(eqn)
        return {**row, "function": name, "operands": types, "sha256": sha256}
    name = eqn.primitive.name
    if known.get(name) is not eqn.primitive:
        raise StoreError(
            f"the primitive `{name}` at {eqn.source} is none of `jax.lax` and of the "
            "rules, and cannot be stored."
        )
    if name == "scatter" and not _jax.is_replacement(eqn.params["update_jaxpr"]):
        raise StoreError(
            f"`{name}` at {eqn.source} applies a function of its own, which cannot be "
            "stored."
        )
    for number in eqn.inputs:
        if jnp.issubdtype(program.avals[number].dtype, jax.dtypes.extended):
            raise StoreError(f"an operand of `{name}` at {eqn.source} has no bytes.")
    if eqn.body is not None and eqn.role is not None:
        consts, carry = _jax.scan_split(eqn.params)
        params = {key: eqn.params[key] for key in ("length", "reverse")}
        split = {"num_consts": consts, "num_carry": carry}
        body = _body(eqn.body, known, store, position)
        return {**row, "primitive": name, "params": {**params, **split}, "body": body}
    params = {
        key: encode(value, store, f"{name}.{key}/{position}")
        for key, value in sorted(eqn.params.items())
        if name not in _jax.SCATTERS or key not in _jax.UPDATE
    }
    return {**row, "primitive": name, "params": params}


def _body(
    body: Body, known: Mapping[str, Any], store: ArrayStore, position: int | str
) -> dict[str, Any]:
    """One step of a loop."""
    return {
        "inputs": list(body.inputs),
        "outputs": list(body.outputs),
        "constants": {
            str(n): store.put(f"constants/{position}.{n}", value)
            for n, value in body.constants.items()
        },
        "equations": [
            _row(eqn, known, body, store, f"{position}.{i}")
            for i, eqn in enumerate(body.equations)
        ],
    }


def _step(
    row: Mapping[str, Any], known: Mapping[str, Any], rules: Rules, store: ArrayStore
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """An equation as a function of its operands."""
    if "function" in row:
        return _function(row, rules)
    name = row["primitive"]
    if name not in known:
        raise StoreError(
            f"the primitive `{name}` is unknown to JAX {jax.__version__} and to the "
            "rules.\n  try: ecg_jax.load(path, rules={**ecg_jax.RULES, primitive: "
            "rule})"
        )
    params = {key: decode(value, store) for key, value in row["params"].items()}
    if "body" in row:
        body = _stored_step(row["body"], known, rules, store)
        return lambda args: scanned(params, body, args)
    return lambda args: _jax.bind(known[name], params, args)


def _stored_step(
    data: Mapping[str, Any], known: Mapping[str, Any], rules: Rules, store: ArrayStore
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """One step of a loop as a function of its inputs."""
    steps = [_step(row, known, rules, store) for row in data["equations"]]
    constants = {int(n): store.get(ref) for n, ref in data["constants"].items()}
    constants = {n: jnp.asarray(v) if v.ndim else v for n, v in constants.items()}

    def fn(args: Sequence[Any]) -> list[Any]:
        env = {**constants, **dict(zip(data["inputs"], args, strict=True))}
        for row, step in zip(data["equations"], steps, strict=True):
            outs = step([env[n] for n in row["inputs"]])
            env.update(zip(row["outputs"], outs, strict=True))
        return [env[n] for n in data["outputs"]]

    return fn


def _function(
    row: Mapping[str, Any], rules: Rules
) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A call of a function that the rules know: of that name, and of that body."""
    name = row["function"]
    avals = [_aval(*operand) for operand in row["operands"]]
    fns = [
        k
        for k in rules
        if not hasattr(k, "bind") and getattr(k, "__name__", "") == name
    ]
    if not fns:
        raise StoreError(
            f"the rules know no function `{name}`.\n"
            "  try: ecg_jax.load(path, rules={**ecg_jax.RULES, fn: rule})"
        )
    for fn in fns:
        if _is_function(fn, avals, row["sha256"]):
            call, dtype = _jax.as_call(fn, avals), row["types"][0][0]
            if str(jax.eval_shape(call, *avals).dtype) == dtype:
                return lambda args: [call(*args)]
            # A number of Python's is a constant that leaves the other's dtype alone.
            return lambda args: [call(*map(_as_number, args))]
    raise StoreError(
        f"the function `{name}` that was saved computes something else than the "
        f"`{name}` that the rules know here.\n{_TRY}"
    )


def _as_number(value: Any) -> Any:
    return value.item() if np.ndim(value) == 0 and _jax.is_concrete(value) else value


def _is_function(fn: Any, avals: Sequence[Any], sha256: str) -> bool:
    try:
        return digest(fn, avals) == sha256
    except (TypeError, ValueError):  # another number of operands
        return False


def _values(program: Program, wanted: set[int]) -> dict[int, Any]:
    """Given constants, and those wanted ones that the program computes."""
    values = dict(program.constants)
    if wanted:
        run([eqn for eqn in program.equations if eqn.role is None], values)
    return values


def _structure(tree: Any) -> Any:
    """Tuples, lists, dictionaries and None around the numbers of the inputs."""
    try:
        text = encode(tree, ArrayStore(), "the input")
    except StoreError as error:
        raise StoreError(
            f"{error}\n  an input is stored as arrays in tuples, lists, dictionaries"
        ) from None
    return text


def _example(data: Mapping[str, Any]) -> Any:
    shapes = {}
    for number in data["inputs"]:
        shapes[number] = _aval(*data["types"][str(number)])
    return tree_util.tree_map(shapes.__getitem__, decode(data["structure"], _NOTHING))


_NOTHING = ArrayStore()


def _called(eqn: Any) -> str | None:
    """The name of the function that an equation calls; None if it calls none."""
    return None if _jax.call_body(eqn) is None else _jax.call_name(eqn)


def _type(program: Program | Body, number: int) -> list[Any]:
    aval = program.avals[number]
    return [str(aval.dtype), list(aval.shape)]


def _aval(dtype: str, shape: Sequence[int]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(shape), dtype_named(dtype))


def _role(eqn: Equation) -> str:
    """What a rule said of an equation: "constant", "affine", "gate max", ..."""
    if eqn.role is None:
        return "constant"
    kind = type(eqn.role).__name__.lower()
    return f"{kind} {eqn.role.name}" if isinstance(eqn.role, Gate) else kind


def _check_x64(example: Any, constants: Mapping[int, np.ndarray]) -> None:
    wide = [*tree_util.tree_leaves(example), *constants.values()]
    needs = any(np.dtype(v.dtype).name in ("float64", "int64", "uint64") for v in wide)
    if needs and not jax.config.read("jax_enable_x64"):
        raise StoreError(
            "the equation is in 64-bit numbers, which JAX would cut to 32.\n"
            '  try: jax.config.update("jax_enable_x64", True) before loading'
        )


def _checked(program: Program, equations: Sequence[Mapping[str, Any]]) -> Program:
    """The trace, with the lines of the user, if it is what was written.

    What sees the input is compared; of constants JAX drops what changes nothing.
    """
    rows = [row for row in equations if row["role"] != "constant"]
    live = [eqn for eqn in program.equations if eqn.role is not None]
    for row, eqn in zip(rows, live, strict=False):
        name = row["function"] if "function" in row else row["primitive"]
        written = (name, row["types"], row["role"])
        types = [_type(program, n) for n in eqn.outputs]
        traced = (_called(eqn) or eqn.primitive.name, types, _role(eqn))
        if written != traced:
            raise StoreError(
                f"{_told(*written)} was written, it is now {_told(*traced)}.\n{_TRY}"
            )
    if len(rows) != len(live):
        raise StoreError(
            f"{len(rows)} equations were written, {len(live)} came back.\n{_TRY}"
        )
    lines = {id(eqn): str(row["source"]) for row, eqn in zip(rows, live, strict=True)}
    sourced = (
        replace(eqn, source=lines.get(id(eqn), eqn.source)) for eqn in program.equations
    )
    return replace(program, equations=tuple(sourced))


_TRY = "  try: the rules, and the version of JAX, that it was saved with"


def _told(name: str, types: Sequence[Any], role: str) -> str:
    return f"`{name}` ({role}) of " + ", ".join(f"{d}{shape}" for d, shape in types)
