"""Equations on disk: a folder of JSON and safetensors with SHA-256 sums. No pickle.

    program.json          primitives by name, their parameters, the input's structure
    tree.json             the nodes; absent if a function alone was saved
    arrays.safetensors    constants, prototypes, frozen masks, hashes of patterns seen
    manifest.json         format, versions, SHA-256 of the other files

Reading runs nothing that the folder holds: it looks primitives up by name, binds them
in a function and traces that again, so the rules are asked again.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from ecg_jax.errors import EcgJaxError, ExampleError, StoreError
from ecg_jax.lattice.maxmin import MaxMin
from ecg_jax.lattice.open_gates import open_gates
from ecg_jax.program._jax import is_concrete
from ecg_jax.program.encoding import ArrayStore
from ecg_jax.program.program import Program
from ecg_jax.program.roles import Rules
from ecg_jax.program.stored import read_program, write_program
from ecg_jax.rules import RULES
from ecg_jax.storage.manifest import Form
from ecg_jax.storage.sealed import check_free, seal, unseal
from ecg_jax.tree.kernels import METRICS
from ecg_jax.tree.tree import Node, Tree

FORM = Form(
    format="ecg_jax.equation/2",
    noun="equation",
    folder="a folder that ecg_jax.save wrote, such as RUN/equation",
    again="save the equation again",
    error=StoreError,
)
PROGRAM, TREE = "program.json", "tree.json"
ARRAYS = "arrays.safetensors"
_FIELDS = ("id", "parent", "name", "side", "kind", "depth")
_FIGURES = ("share_frozen", "count")
_NO_EQUATION = (
    KeyError,
    TypeError,
    ValueError,
    IndexError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def save(
    equation: Tree | MaxMin | Program, path: Path | str, *, replace: bool = False
) -> Path:
    """Writes an equation to a folder, which appears whole or not at all.

    Before it is written, it is read back and compared. Threads and processes may save
    over one another, and load meanwhile: the last to come stays.

    Args:
      equation: a tree, one level of a function (of a component at any depth), or a
        traced program.
      path: the folder to make.
      replace: write over an equation that is there.

    Returns:
      The folder.

    Raises:
      StoreError: the folder holds something; or a primitive, a parameter or the
        input's structure cannot be written.
      DiskFullError: no space is left.

    Example:
      >>> import jax, jax.numpy as jnp, ecg_jax as ej, pathlib, tempfile
      >>> eq = ej.factor(lambda x: jax.nn.relu(x[0]) - x[1], jnp.zeros(2))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     again = ej.load(save(eq, pathlib.Path(folder) / "equation"))
      >>> float(again(jnp.array([3.0, 1.0])))
      2.0
    """
    path = Path(path)
    check_free(path, FORM, replace)
    program = equation if isinstance(equation, Program) else equation.program
    store = ArrayStore()
    documents = {PROGRAM: write_program(program, store)}
    if isinstance(equation, Tree):
        documents[TREE] = _write_tree(equation, store)
    kind = {Tree: "tree", Program: "program"}.get(type(equation), "equation")
    _read(kind, documents, store, program.rules)
    files = {
        name: (json.dumps(document, indent=1) + "\n").encode()
        for name, document in documents.items()
    }
    files[ARRAYS] = _safetensors(store.arrays)
    seal(path, files, form=FORM, kind=kind, replace=replace)
    return path


def load(path: Path | str, rules: Rules = RULES) -> Any:
    """Reads what `save` wrote: a `Tree`, a `MaxMin` or a `Program`.

    Args:
      path: the folder.
      rules: table from primitives, or named functions, to rules; must hold those that
        the equation was made with.

    Returns:
      The equation; its function runs the primitives that were saved, so it gives the
      same bits on the same machine.

    Raises:
      ChecksumError: a file is not the one that was saved.
      StoreError: the folder holds no equation, or one that cannot be read here.
    """
    path = Path(path)
    kind, files = unseal(path, FORM)
    try:
        store = ArrayStore(_arrays(files.pop(ARRAYS)))
        documents = {name: json.loads(data) for name, data in files.items()}
        return _read(kind, documents, store, rules)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    except _NO_EQUATION as error:
        if isinstance(error, EcgJaxError) and not isinstance(error, ExampleError):
            raise
        raise StoreError(
            f"{path} is no equation that can be read: {type(error).__name__}: {error}."
            "\n  try: save it again"
        ) from error


def _read(
    kind: str, documents: Mapping[str, Any], store: ArrayStore, rules: Rules
) -> Any:
    program = read_program(documents[PROGRAM], store, rules)
    if kind == "tree":
        return _read_tree(documents[TREE], store, program)
    return program if kind == "program" else _equation(program)


def _equation(program: Program) -> MaxMin:
    avals = [program.avals[number] for number in program.inputs]
    zeros = [jnp.zeros(aval.shape, aval.dtype) for aval in avals]
    return open_gates(program, program.evaluate, program.in_tree.unflatten(zeros))


def _write_tree(tree: Tree, store: ArrayStore) -> dict[str, Any]:
    _put_input("example", tree.example, store, tree.program)
    if tree.seen is not None:
        store.put("seen", tree.seen)
    return {
        "metric": tree.metric,
        "localize": tree.localize,
        "seen": tree.seen is not None,
        "nodes": [_write_node(node, store, tree) for node in tree.nodes],
    }


def _write_node(node: Node, store: ArrayStore, tree: Tree) -> dict[str, Any]:
    if node.sign:
        _put_input(f"nodes/{node.id}/anchor", node.anchor, store, tree.program)
        store.put(f"nodes/{node.id}/centre", node.centre)
        flags = np.concatenate([np.ravel(mask) for mask in node.frozen])
        store.put(f"nodes/{node.id}/frozen", np.packbits(flags.astype(bool)))
    figures = {name: float(getattr(node, name)) for name in _FIGURES}
    figures["count"] = int(node.count)
    return {**{name: getattr(node, name) for name in _FIELDS}, **figures}


def _read_tree(data: Mapping[str, Any], store: ArrayStore, program: Program) -> Tree:
    example = _input("example", store, program)
    metric, localize = data["metric"], data.get("localize")
    if not isinstance(metric, str) or metric not in METRICS:
        raise StoreError(f"the metric {metric!r} is none of {sorted(METRICS)}.")
    if localize is not None and not _is_number(localize, 0):
        raise StoreError(f"localize is {localize!r}, neither 0 or more nor absent.")
    seen = store.get({"array": "seen"}) if data["seen"] else None
    if seen is not None and (seen.dtype != np.uint64 or seen.ndim != 1):
        raise StoreError(
            f"the patterns seen are {seen.dtype}{list(seen.shape)}, not hashes."
        )
    example = tree_util.tree_map(jnp.asarray, example)
    bare = Tree(program, (), example, seen, metric, localize)
    nodes: list[Node] = []
    for row in data["nodes"]:
        nodes.append(_read_node(row, store, replaced(bare, nodes=tuple(nodes))))
    if not nodes:
        raise StoreError("the tree has no nodes, not even its root.")
    return replaced(bare, nodes=tuple(nodes))


def _read_node(row: Mapping[str, Any], store: ArrayStore, tree: Tree) -> Node:
    """The next node of a tree; it is checked against those before it."""
    values = {name: row[name] for name in (*_FIELDS, *_FIGURES)}
    position, name = len(tree.nodes), row["name"]
    _check_figures(position, values)
    if any(node.name == name for node in tree.nodes):
        raise StoreError(f"two nodes have the name {name!r}.")

    above = range(position) if position else (-1,)
    sound = row["id"] == position and row["parent"] in above
    levels = tree.descent.num_levels if position else 0
    deep = (1 if position else 0) <= row["depth"] <= levels
    kinds = {"witness": "normal", "refuter": "not normal"} if position else {"root": ""}
    if not sound or not deep or kinds.get(row["kind"]) != row["side"]:
        raise StoreError(f"node {position} ({name}) is none of this function.")

    if not position:
        return Node(**values, anchor=None, frozen=(), centre=None)
    parent = tree.nodes[row["parent"]]
    if parent.id and (parent.side != row["side"] or parent.depth >= row["depth"]):
        raise StoreError(f"node {position} ({name}) cannot be below {parent.name}.")
    prefix = f"nodes/{position}"
    shapes = tree.descent.unit_shapes(row["depth"])
    centre = store.get({"array": f"{prefix}/centre"})
    if centre.shape != jax.eval_shape(tree.vector, tree.example).shape:
        raise StoreError(f"the centre of {name} does not fit the inputs.")
    if centre.dtype.kind != "f":
        raise StoreError(f"the centre of {name} is {centre.dtype}, not a float.")
    _check_finite(f"the centre of {name}", centre)
    return Node(
        **values,
        anchor=_input(f"{prefix}/anchor", store, tree.program),
        centre=centre,
        frozen=_masks(store.get({"array": f"{prefix}/frozen"}), shapes, name),
    )


def _check_figures(position: int, values: Mapping[str, Any]) -> None:
    """Text is text, counts are whole numbers, a share is one."""
    for name in ("name", "side", "kind"):
        if not isinstance(values[name], str):
            raise StoreError(f"{name} of node {position} is {values[name]!r}, no text.")
    if not values["name"]:
        raise StoreError(f"node {position} has an empty name.")
    least = {"id": 0, "parent": -1, "depth": 0, "count": 0}
    for name, low in least.items():
        if type(value := values[name]) is not int or value < low:
            raise StoreError(
                f"{name} of node {position} is {value!r}, not a whole number from "
                f"{low} up."
            )
    if not _is_number(value := values["share_frozen"], 0, 1):
        raise StoreError(
            f"share_frozen of node {position} is {value!r}, not from 0 to 1."
        )


def _is_number(value: Any, low: float, high: float = sys.float_info.max) -> bool:
    """Whether a value of a JSON file is a number within limits; NaN never is."""
    return type(value) in (int, float) and low <= value <= high


def _check_finite(what: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise StoreError(f"{what} holds NaN or infinite numbers.")


def _masks(
    bits: np.ndarray, shapes: Sequence[tuple[int, ...]], name: str
) -> tuple[np.ndarray, ...]:
    sizes = [int(np.prod(shape)) for shape in shapes]
    if bits.dtype != np.uint8 or bits.ndim != 1:
        raise StoreError(
            f"what node {name} freezes is {bits.dtype}{list(bits.shape)}, not bits."
        )
    if len(bits) != -(-sum(sizes) // 8):
        raise StoreError(
            f"node {name} freezes {8 * len(bits)} units, the function has {sum(sizes)}."
        )
    flags = np.unpackbits(bits, count=sum(sizes)).astype(bool)
    parts = np.split(flags, np.cumsum(sizes)[:-1])
    return tuple(p.reshape(s) for p, s in zip(parts, shapes, strict=True))


def _put_input(name: str, x: Any, store: ArrayStore, program: Program) -> None:
    """An input, in the dtypes in which the program sees it."""
    leaves = tree_util.tree_leaves(x)
    for i, (leaf, number) in enumerate(zip(leaves, program.inputs, strict=True)):
        dtype = program.avals[number].dtype
        store.put(f"{name}/{i}", np.asarray(leaf, dtype) if is_concrete(leaf) else leaf)


def _input(name: str, store: ArrayStore, program: Program) -> Any:
    """An input of the program; its shapes, its dtypes and its numbers are checked."""
    leaves = [store.get({"array": f"{name}/{i}"}) for i in range(len(program.inputs))]
    for leaf, number in zip(leaves, program.inputs, strict=True):
        aval = program.avals[number]
        if leaf.shape != aval.shape:
            raise StoreError(
                f"{name} has the shape {leaf.shape}, the input {aval.shape}."
            )
        if leaf.dtype != aval.dtype:
            raise StoreError(f"{name} is {leaf.dtype}, the input {aval.dtype}.")
        _check_finite(name, leaf)
    return program.in_tree.unflatten(leaves)


def _safetensors(arrays: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save as to_bytes

    return to_bytes(dict(arrays), metadata={"format": FORM.format})


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    try:
        return from_bytes(data)
    except SafetensorError as error:
        raise StoreError(f"{ARRAYS} is no safetensors file ({error}).") from error
