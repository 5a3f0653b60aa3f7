"""The one door to `jax.extend`: what the package needs of JAX's inside.

Sub-programs sit under different names in different primitives and are open or
closed jaxprs depending on the JAX version; nothing outside this module knows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.core
import numpy as np
from jax import lax
from jax.extend import core, source_info_util
from jax.extend.core import primitives as primitives

Jaxpr = core.Jaxpr
Literal = core.Literal
Primitive = core.Primitive
JaxprEqn = core.JaxprEqn

_FRAME = re.compile(r"^(.*?):(\d+)(?::\d+)? \(", re.MULTILINE)
_MACHINERY = re.compile(
    re.escape(str(Path(__file__).parents[1]))
    + r".(program|rules|lattice|proof|tree)\b.*\.py$"
    + r"|site-packages.jaxtyping\b"  # which checks annotations from frames of its own
)
UNKNOWN = "an unknown line"
_NODE = "ONNX node "
"""How a `jax.named_scope` begins in which a node of an ONNX file is run."""
GUARDED = frozenset(
    {
        "logsumexp",
        "logaddexp",
        "logaddexp2",
        "softplus",
        "log_sigmoid",
        "softmax",
        "log_softmax",
        "logmeanexp",
        "cumlogsumexp",
        "quantile",
        "percentile",
        "median",
    }
)
"""Functions of JAX that guard themselves against overflow, or pass NaN on."""
_JAX_ROOT = str(Path(jax.__file__).parent)
_BODIES = ("call_jaxpr", "jaxpr", "fun_jaxpr")
_CALLS = frozenset(
    {
        "jit",
        "pjit",
        "closed_call",
        "core_call",
        "remat",
        "remat2",
        "checkpoint",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
    }
)

SCATTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "scatter": lax.scatter,
        "scatter-add": lax.scatter_add,
        "scatter-sub": lax.scatter_sub,
        "scatter-mul": lax.scatter_mul,
        "scatter-min": lax.scatter_min,
        "scatter-max": lax.scatter_max,
    }
)
"""Primitives whose parameters hold a program that JAX makes: its functions make it."""
UPDATE = ("update_jaxpr", "update_consts")


def optional_primitives(*names: str) -> tuple[Primitive, ...]:
    """Those of the named primitives of `jax.lax` that this version of JAX has."""
    return tuple(getattr(lax, name) for name in names if hasattr(lax, name))


def trace(fn: Callable[..., Any], *args: Any) -> tuple[Any, tuple[Any, ...], Any]:
    """Traces `fn`; returns its jaxpr, the constants, and the output's shape tree."""
    closed, out = jax.make_jaxpr(fn, return_shape=True)(*args)
    return open_jaxpr(closed), tuple(closed.consts), out


def open_jaxpr(jaxpr: Any) -> Any:
    """The open jaxpr of a closed one (from JAX 0.11 they are the same class)."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def call_body(eqn: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """The sub-program that an equation calls once on its inputs, and its constants.

    Returns None for an equation that is no plain call (`scan`, `while`, `add`).
    """
    if eqn.primitive.name not in _CALLS:
        return None
    for name in _BODIES:
        if (body := eqn.params.get(name)) is not None:
            return open_jaxpr(body), tuple(getattr(body, "consts", ()))
    return None


def call_name(eqn: Any) -> str:
    """The name of the function that a call equation calls."""
    if "name" in eqn.params:
        return str(eqn.params["name"])
    body = call_body(eqn)
    info = getattr(body and body[0], "debug_info", None)
    return str(getattr(info, "func_name", eqn.primitive.name))


def bind(
    primitive: Primitive, params: dict[str, Any], args: Sequence[Any]
) -> list[Any]:
    """Applies a primitive to values or tracers; always returns a list.

    A scatter that lacks its program of one update, or has that of another dtype, gets
    the one for its operands.
    """
    if primitive.name in SCATTERS and not _is_typed_for(params, args):
        kept = {key: value for key, value in params.items() if key not in UPDATE}
        return [SCATTERS[primitive.name](*args, **kept)]
    ready = primitive.get_bind_params(dict(params))
    subfuns, ready = ready if isinstance(ready, tuple) else ((), ready)
    out = primitive.bind(*subfuns, *_varying_together(args), **ready)
    return list(out) if primitive.multiple_results else [out]


def _is_typed_for(params: dict[str, Any], args: Sequence[Any]) -> bool:
    body = params.get(UPDATE[0])
    if body is None:
        return False
    return all(dtype_of(v) == args[0].dtype for v in open_jaxpr(body).invars)


def is_replacement(update: Any) -> bool:
    """Whether a scatter's program of one update is `(old, new) -> new`, or none."""
    if update is None:
        return True
    body = open_jaxpr(update)
    return not body.eqns and body.outvars[0] is body.invars[1]


def reduction(body: Any) -> Any:
    """The primitive that a reducer `(y, z) -> y + z` applies; None for another one."""
    body = open_jaxpr(body)
    if len(body.eqns) != 1 or len(body.outvars) != 1:
        return None
    (eqn,) = body.eqns
    same = {id(v) for v in eqn.invars} == {id(v) for v in body.invars}
    whole = len(body.invars) == 2 and body.outvars[0] is eqn.outvars[0]
    return eqn.primitive if same and whole else None


def size_of(body: Any) -> int:
    """How many equations a jaxpr has, those of the calls in it counted too."""
    total = 0
    for eqn in open_jaxpr(body).eqns:
        inner = call_body(eqn)
        total += 1 if inner is None else size_of(inner[0])
        if eqn.primitive is lax.scan_p:
            total += eqn.params["length"] * size_of(eqn.params["jaxpr"])
    return total


def seen(body: Any, live: Sequence[bool]) -> list[bool]:
    """Which outputs of a jaxpr depend on those of its inputs that are `live`."""
    body = open_jaxpr(body)
    known = {v for v, sees in zip(body.invars, live, strict=True) if sees}
    for eqn in body.eqns:
        if any(not isinstance(v, Literal) and v in known for v in eqn.invars):
            known.update(eqn.outvars)
    return [not isinstance(v, Literal) and v in known for v in body.outvars]


def retraced(body: Any, apply: Callable[[JaxprEqn, list[Any]], list[Any]]) -> Any:
    """A jaxpr evaluated by `apply(equation, operands)` on its inputs, and traced again.

    Inputs and constants are float64 and complex128 instead of any narrower dtype.
    """
    jaxpr, consts = open_jaxpr(body), tuple(getattr(body, "consts", ()))

    def evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        env = dict(zip(jaxpr.invars, args, strict=True))
        env.update(zip(jaxpr.constvars, map(widened, consts), strict=True))

        def read(atom: Any) -> Any:
            if isinstance(atom, Literal):
                return widened(np.asarray(atom.val, dtype_of(atom)))
            return env[atom]

        for eqn in jaxpr.eqns:
            operands, inner = [read(v) for v in eqn.invars], call_body(eqn)
            outs = apply(eqn, operands) if inner is None else evaluate(*inner, operands)
            env.update(zip(eqn.outvars, outs, strict=True))
        return [read(v) for v in jaxpr.outvars]

    avals = [
        jax.ShapeDtypeStruct(v.aval.shape, wide_dtype(dtype_of(v)))
        for v in jaxpr.invars
    ]
    closed = jax.make_jaxpr(lambda *args: evaluate(jaxpr, consts, args))(*avals)
    return closed if hasattr(body, "consts") else open_jaxpr(closed)


def wide_dtype(dtype: Any) -> Any:
    """Float64 for a real dtype, complex128 for a complex one; others stay."""
    if jax.numpy.issubdtype(dtype, np.complexfloating):
        return np.dtype(np.complex128)
    floating = jax.numpy.issubdtype(dtype, np.floating)
    return np.dtype(np.float64) if floating else dtype


def widened(value: Any) -> Any:
    """A constant in float64 or complex128; truth values and integers stay."""
    dtype = jax.numpy.result_type(value)
    wide = wide_dtype(dtype)
    return value if wide is dtype else np.asarray(value, wide)


def peak_bytes(jaxpr: Any) -> int:
    """What a program's values fill at most, each kept until its last use, in bytes.

    Without what XLA fuses, and without the constants.
    """
    body = open_jaxpr(jaxpr)
    last = {v: i for i, eqn in enumerate(body.eqns) for v in _variables(eqn.invars)}
    last.update(dict.fromkeys(_variables(body.outvars), len(body.eqns)))
    living = sum(map(_num_bytes, body.invars))
    peak = living
    for i, eqn in enumerate(body.eqns):
        parts = (p for value in eqn.params.values() for p in _bodies(value))
        inner = max((peak_bytes(part) for part in parts), default=0)
        living += sum(map(_num_bytes, eqn.outvars))
        peak = max(peak, living + inner)
        ended = {v for v in _variables(eqn.invars) if last[v] == i}
        ended |= {v for v in eqn.outvars if v not in last}
        living -= sum(map(_num_bytes, ended - set(body.constvars)))
    return peak


def _variables(atoms: Sequence[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, Literal)]


def _num_bytes(var: Any) -> int:
    aval = var.aval
    return int(np.prod(aval.shape)) * aval.dtype.itemsize


def _bodies(value: Any) -> list[Any]:
    """The sub-programs in a parameter of an equation."""
    values = value if isinstance(value, tuple | list) else [value]
    return [v for v in values if is_jaxpr(v)]


def is_jaxpr(value: Any) -> bool:
    """Whether a parameter of an equation is a sub-program."""
    return hasattr(open_jaxpr(value), "eqns")


def _varying_together(args: Sequence[Any]) -> Sequence[Any]:
    """Inside `jax.shard_map`, operands must vary over the same axes of the mesh."""
    axes = [_varying_axes(arg) for arg in args]
    every = frozenset().union(*axes)
    if not every:
        return args
    return [
        lax.pcast(arg, tuple(every - own), to="varying") if every - own else arg
        for arg, own in zip(args, axes, strict=True)
    ]


def _varying_axes(arg: Any) -> frozenset[str]:
    aval = jax.typeof(arg)
    kind = getattr(aval, "manual_axis_type", None)
    return frozenset(kind.varying if kind else getattr(aval, "vma", ()))


def is_concrete(value: Any) -> bool:
    """Whether a value has numbers in it (is not a tracer)."""
    return not isinstance(value, jax.core.Tracer)


def source_line(made: Any) -> str:
    """`file.py:line` of the user's code where an equation was made, as far as known.

    The innermost frame that is neither in an installed package nor in the machinery
    of this one; else the innermost in a package. Of a network from a file, the node.

    Args:
      made: an equation's `source_info`; None is unknown.
    """
    if made is None:
        return UNKNOWN
    if node := node_of(made):
        return node
    found = _FRAME.findall(source_info_util.summarize(made, num_frames=1000))
    frames = [frame for frame in found[::-1] if not _MACHINERY.search(frame[0])]
    users = [frame for frame in frames if "site-packages" not in frame[0]]
    if not frames:
        return UNKNOWN
    file, line = (users or frames)[0]
    return f"{Path(file).name}:{line}"


def node_of(made: Any) -> str:
    """The node of an ONNX file that an equation was made by; "" for none."""
    scopes = [part.name for part in made.name_stack.stack]
    return next((name for name in scopes[::-1] if name.startswith(_NODE)), "")


def functions_of(made: Any) -> list[str]:
    """The functions of the user and of libraries in which an equation was made.

    Innermost first, with their classes, as `Dense.__call__`; those of JAX and of this
    package left out.
    """
    frames = getattr(made.traceback, "frames", ())
    own = (_JAX_ROOT, str(Path(__file__).parents[1]))
    return [f.function_name for f in frames if not f.file_name.startswith(own)]


def first_use(jaxpr: Any, var: Any) -> Any:
    """Where the first equation is made that reads a variable, inside calls too."""
    for eqn in jaxpr.eqns:
        if var in [v for v in eqn.invars if not isinstance(v, Literal)]:
            if (body := call_body(eqn)) is not None:
                inner = dict(zip(map(id, eqn.invars), body[0].invars, strict=True))
                return first_use(body[0], inner[id(var)])
            return eqn.source_info
    return None


def caller_of(eqn: JaxprEqn, caller: Any) -> Any:
    """Where the body of a call counts as made; None: its own lines.

    JAX caches the bodies of its own functions, and with them the line of the first
    call: what `jax.nn.relu` is made of was made where `jax.nn.relu` was called.
    """
    body = call_body(eqn)
    assert body is not None
    info = getattr(body[0], "debug_info", None)
    file = getattr(info, "func_filename", None)
    return None if file and not file.startswith(_JAX_ROOT) else caller


def is_guarded(made: Any) -> bool:
    """Whether an equation was made inside one of JAX's `GUARDED` functions."""
    frames = getattr(made.traceback, "frames", ())
    return any(
        frame.file_name.startswith(_JAX_ROOT)
        and frame.function_name.split(".")[-1].lstrip("_") in GUARDED
        for frame in frames
    )


def is_jax_function(eqn: JaxprEqn) -> bool:
    """Whether the body of a call was written in JAX itself."""
    body = call_body(eqn)
    info = getattr(body and body[0], "debug_info", None)
    return str(getattr(info, "func_filename", None) or "").startswith(_JAX_ROOT)


def user_source(made: Any) -> AbstractContextManager[None]:
    """Equations traced inside count as made there too: the user's line stays."""
    return source_info_util.user_context(made.traceback, name_stack=made.name_stack)


def key_of(value: Any) -> Any:
    """A hashable key: equal keys mean equal constants."""
    if is_concrete(value) and np.size(value) <= 64:
        array = np.asarray(value)
        return (str(array.dtype), array.shape, array.tobytes())
    return id(value)


def calls_function(eqn: JaxprEqn, fn: Callable[..., Any]) -> bool:
    """Whether a call's body is, equation by equation, what `fn` itself traces to."""
    body = call_body(eqn)
    assert body is not None
    try:
        jaxpr, consts, _ = trace(lambda *a: fn(*a), *(v.aval for v in body[0].invars))
    except (TypeError, ValueError):  # another number of operands
        return False
    if len(jaxpr.eqns) == 1 and (inner := call_body(jaxpr.eqns[0])) is not None:
        jaxpr, consts = inner
    return first_difference((jaxpr, consts), body) == ""


def as_call(fn: Callable[..., Any], avals: Sequence[Any]) -> Callable[..., Any]:
    """The function, such that a trace shows it as a call of its name."""
    eqns = trace(lambda *args: fn(*args), *avals)[0].eqns
    calls = len(eqns) == 1 and call_body(eqns[0]) is not None
    return fn if calls else jax.jit(fn)


def first_difference(one: tuple[Any, Any], two: tuple[Any, Any]) -> str:
    """The first place where two jaxprs (each with its constants) differ, or ''."""
    (jaxpr, consts), (other, others) = one, two
    sizes = [(len(j.eqns), len(j.invars), len(j.constvars)) for j in (jaxpr, other)]
    if sizes[0] != sizes[1]:
        return f"{len(jaxpr.eqns)} and {len(other.eqns)} equations"
    names: dict[Any, Any] = dict(zip(jaxpr.invars, other.invars, strict=True))
    names.update(zip(jaxpr.constvars, other.constvars, strict=True))
    for a, b in zip(consts, others, strict=True):
        if not same_value(a, b):
            return f"a constant of shape {np.shape(a)} has two values"
    for eqn, twin in zip(jaxpr.eqns, other.eqns, strict=True):
        difference = _equation_difference(eqn, twin, names)
        if difference:
            return f"{difference} at {source_line(eqn.source_info)}"
        names.update(zip(eqn.outvars, twin.outvars, strict=True))
    same = all(map(lambda a, b: _same_atom(a, b, names), jaxpr.outvars, other.outvars))
    return "" if same else "the outputs"


def _equation_difference(eqn: JaxprEqn, twin: JaxprEqn, names: dict[Any, Any]) -> str:
    if eqn.primitive is not twin.primitive or len(eqn.invars) != len(twin.invars):
        return f"`{eqn.primitive}` and `{twin.primitive}`"
    if not all(map(lambda a, b: _same_atom(a, b, names), eqn.invars, twin.invars)):
        return f"the operands of `{eqn.primitive}`"
    body, other = call_body(eqn), call_body(twin)
    if body is not None and other is not None:
        return first_difference(body, other)
    for name, value in eqn.params.items():
        if not same_value(value, twin.params.get(name)):
            return f"the parameter `{name}` of `{eqn.primitive}`"
    return ""


def _same_atom(a: Any, b: Any, names: dict[Any, Any]) -> bool:
    if isinstance(a, Literal) or isinstance(b, Literal):
        both = isinstance(a, Literal) and isinstance(b, Literal)
        return both and same_value(a.val, b.val)
    return names.get(a) is b


def same_value(a: Any, b: Any) -> bool:
    """Whether two constants or parameters are the same."""
    if a is b or not (is_concrete(a) and is_concrete(b)):
        return a is b
    if hasattr(a, "shape") and hasattr(b, "shape") and hasattr(a, "dtype"):
        return np.array_equal(
            np.asarray(a), np.asarray(b), equal_nan=a.dtype.kind == "f"
        )
    if hasattr(open_jaxpr(a), "eqns") and hasattr(open_jaxpr(b), "eqns"):
        bodies = [(open_jaxpr(j), tuple(getattr(j, "consts", ()))) for j in (a, b)]
        return first_difference(*bodies) == ""
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(same_value, a, b))
    both_nan = isinstance(a, float) and a != a and b != b
    return type(a) is type(b) and (callable(a) or both_nan or bool(a == b))


def scan_split(params: dict[str, Any]) -> tuple[int, int]:
    """How many operands of a `scan` are constants, and how many are carried."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()  # from JAX 0.11
    return len(list(consts)), len(list(carry))


def as_function(body: Any) -> Callable[..., Any]:
    """A closed jaxpr as a function of its inputs."""
    if not hasattr(body, "consts"):
        body = core.ClosedJaxpr(body, ())
    return core.jaxpr_as_fun(body)


def dtype_of(atom: Any) -> Any:
    """The dtype of a variable or literal."""
    return atom.aval.dtype
