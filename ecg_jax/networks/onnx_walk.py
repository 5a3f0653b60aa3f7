"""The walk through an ONNX graph, which leaves a list of steps.

It goes through the nodes once, with the shape of the input known. What does not depend
on the input is evaluated then and there, with 64 bits, so that chains of shapes become
numbers; branches on such values are taken, loops unrolled, functions inlined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import jax
import numpy as np

from ecg_jax.errors import ModelError
from ecg_jax.networks.onnx_control import CONTROL
from ecg_jax.networks.onnx_graph import (
    Graph,
    Live,
    Scope,
    Step,
    Value,
    argument,
    needed,
)
from ecg_jax.networks.onnx_ops import OPS, OPSETS, REFUSED
from ecg_jax.networks.onnx_ops.node import CHECK, TEXT, Node, Op, OpRefusedError
from ecg_jax.networks.onnx_ops.shapes import BY_SHAPE
from ecg_jax.networks.onnx_standard import (
    definition,
    fault,
    schema_of,
    with_defaults,
)

EXPORT = "export with opset 13 to 23, in evaluation mode, as far as the logits"
_DTYPES = ("to", "dtype", "output_dtype")


def read_graph(
    model: Any,
    inputs: Mapping[str, jax.ShapeDtypeStruct | np.ndarray],
    outputs: Sequence[str],
    place: str,
) -> Graph:
    """Walks a model's graph.

    Args:
      model: an `onnx.ModelProto`, its weights loaded.
      inputs: shape and dtype of live inputs by name, arrays of the known ones.
      outputs: names of the values wanted.
      place: where the model is from, for errors.

    Raises:
      ModelError: an operation or its opset is unknown, or it cannot be run as the file
        asks.
    """
    _check_opsets(model, place)
    walk = _Walk(model, place)
    scope = Scope({}, _opsets(model))
    for name, value in inputs.items():
        is_known = isinstance(value, np.ndarray)
        scope.values[name] = value if is_known else walk.fresh(value)
    live = [v.number for v in scope.values.values() if isinstance(v, Live)]
    walk.block(model.graph, scope)
    found = [walk.lookup(name, scope, "its output") for name in outputs]
    return needed(tuple(live), tuple(map(argument, found)), walk.steps)


def _opsets(proto: Any) -> dict[str, int]:
    return {_domain(entry): entry.version for entry in proto.opset_import}


def _domain(proto: Any) -> str:
    """A domain; the standard's own may be written out."""
    return "" if proto.domain == "ai.onnx" else proto.domain


def _name(node: Any) -> str:
    """A node's own name, or that of what it gives."""
    return node.name or next(iter(node.output), "")


def _check_opsets(model: Any, place: str) -> None:
    """Operations of other opsets have other meanings."""
    first, last = OPSETS[0], OPSETS[-1]
    for proto in (model, *model.functions):
        version = _opsets(proto).get("", first)
        if version not in OPSETS:
            nearest = min(max(version, first), last)
            raise ModelError(
                f"{place} is of opset {version}; opsets {first} to {last} are known.\n"
                "  try: export again with opset 17, or "
                f"onnx.version_converter.convert_version(model, {nearest})"
            )


class _Walk:
    """Goes through nodes and writes down steps."""

    def __init__(self, model: Any, place: str):
        self.onnx = import_module("onnx")
        self.to_array = import_module("onnx.numpy_helper").to_array
        self.place = place
        self.steps: list[Step] = []
        self.source = ""
        self.functions = {(_domain(f), f.name): f for f in model.functions}
        self.count = 0

    def fresh(self, aval: Any) -> Live:
        self.count += 1
        return Live(self.count, jax.ShapeDtypeStruct(aval.shape, aval.dtype))

    def lookup(self, name: str, scope: Scope, what: str) -> Value:
        if not name:
            return None
        if name not in scope.values:
            raise ModelError(
                f"{self.place}: its graph cannot be run: {what} {name!r} is made by no "
                f"node before it.\n  try: {CHECK}"
            )
        return scope.values[name]

    def block(self, graph: Any, scope: Scope) -> None:
        """A graph, or the body of a function."""
        for weight in getattr(graph, "initializer", ()):
            scope.values[weight.name] = self.weight(weight)
        for weight in getattr(graph, "sparse_initializer", ()):
            scope.values[weight.values.name] = self.dense(weight)
        outer = self.source
        for node in graph.node:
            inputs = [self.lookup(n, scope, "the value") for n in node.input]
            named = f"ONNX node `{_name(node)}` ({node.op_type})"
            self.source = scope.source or named
            try:
                outputs = self.node(node, inputs, scope)
            except ModelError:
                raise
            except Exception as error:
                if scope.source:  # told of the node that is defined by this one
                    raise
                raise self.refused(node, scope, error) from error
            scope.values.update(zip(node.output, outputs, strict=False))
        self.source = outer

    def weight(self, tensor: Any) -> np.ndarray:
        try:
            return self.to_array(tensor)
        except Exception as error:
            raise ModelError(
                f"{self.place}: the weight {tensor.name!r} is damaged or cut off: "
                f"{error}\n  try: export or copy the file again"
            ) from error

    def dense(self, sparse: Any) -> np.ndarray:
        """A weight of which the file holds the entries other than 0."""
        values, places = self.weight(sparse.values), self.weight(sparse.indices)
        flat = places
        if places.ndim == 2:
            flat = np.ravel_multi_index(tuple(places.T), tuple(sparse.dims))
        found = np.zeros(tuple(sparse.dims), values.dtype)
        found.flat[flat] = values
        return found

    def refused(self, node: Any, scope: Scope, error: Exception) -> ModelError:
        if not isinstance(error, OpRefusedError):
            why = str(error).strip() or type(error).__name__
            error = OpRefusedError(f"it does not fit its inputs: {why}", CHECK)
        domain = _domain(node)
        version = scope.opsets.get(domain, "unknown")
        named = f"`{node.op_type}`" + (f" of {domain}" if domain else "")
        return ModelError(
            f"{self.place}: its graph cannot be run: {named} (node {_name(node)!r}, "
            f"opset {version}): {error}\n  try: {error.try_}"
        )

    def node(self, node: Any, inputs: list[Value], scope: Scope) -> Sequence[Value]:
        """The values of a node's outputs."""
        domain = _domain(node)
        attributes = self.attributes(node, scope)
        used = tuple(bool(name) for name in node.output)
        if (domain, node.op_type) in self.functions:
            body = self.functions[domain, node.op_type]
            return self.call(body, inputs, self.bound(node, scope), used)
        if domain not in scope.opsets:
            raise OpRefusedError("the file does not say of which opset it is", CHECK)
        version = scope.opsets[domain]
        schema = schema_of(node.op_type, version, domain)
        if schema is not None and (why := fault(schema, inputs, attributes)):
            raise OpRefusedError(f"the node is malformed: {why}", CHECK)
        told = Node(node.op_type, version, attributes, {}, used)
        if not domain and node.op_type in CONTROL:
            return CONTROL[node.op_type](self, attributes, inputs, scope, node)
        if not domain and node.op_type in OPS:
            return self.emit(OPS[node.op_type], told, inputs)
        if not domain and node.op_type in REFUSED:
            raise OpRefusedError(*REFUSED[node.op_type])
        return self.taken_apart(node, told, inputs, scope)

    def emit(self, op: Op, node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
        """Evaluates an operation on constants, or writes it down as a step."""
        if any(isinstance(v, np.ndarray) and v.dtype == object for v in inputs):
            raise OpRefusedError(*TEXT)
        constants = {i: v for i, v in enumerate(inputs) if isinstance(v, np.ndarray)}
        node = Node(node.op, node.version, node.attributes, constants, node.outputs)
        live = [v for v in inputs if isinstance(v, Live)]
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
            if not live or node.op in BY_SHAPE:
                known = [v.aval if isinstance(v, Live) else v for v in inputs]
                with jax.enable_x64(True):
                    found = op(node, *known)
                found = found if isinstance(found, tuple) else (found,)
                return [np.asarray(v) for v in found]
            step = Step(op, node, tuple(map(argument, inputs)), (), self.source)
            numbers = {v.number: v.aval for v in live}
            avals = jax.eval_shape(
                lambda *args: step(dict(zip(numbers, args, strict=True))),
                *numbers.values(),
            )
        outputs = [self.fresh(aval) for aval in avals]
        self.steps.append(replace(step, outputs=tuple(v.number for v in outputs)))
        return outputs

    def attributes(self, node: Any, scope: Scope) -> dict[str, Any]:
        """Attributes by name; those that refer to a function's own are looked up."""
        return {
            name: self.attribute(value)
            for name, value in self.bound(node, scope).items()
        }

    def bound(self, node: Any, scope: Scope) -> dict[str, Any]:
        found = {}
        for attribute in node.attribute:
            reference = attribute.ref_attr_name
            if not reference:
                found[attribute.name] = attribute
            elif reference in scope.attributes:
                found[attribute.name] = scope.attributes[reference]
        return found

    def attribute(self, proto: Any) -> Any:
        """An attribute's value: dtypes as NumPy's, text decoded, tensors as arrays."""
        kinds = self.onnx.AttributeProto
        value = self.onnx.helper.get_attribute_value(proto)
        if proto.type == kinds.TENSOR:
            return self.weight(value)
        if proto.type == kinds.SPARSE_TENSOR:
            return self.dense(value)
        if proto.type == kinds.STRING:
            return value.decode()
        if proto.type == kinds.STRINGS:
            return tuple(v.decode() for v in value)
        if proto.type in (kinds.INTS, kinds.FLOATS):
            return tuple(value)
        if proto.type == kinds.INT and value and proto.name in _DTYPES:
            return np.dtype(self.onnx.helper.tensor_dtype_to_np_dtype(value))
        return value

    def call(
        self,
        body: Any,
        inputs: Sequence[Value],
        attributes: Mapping[str, Any],
        wanted: Sequence[bool],
        source: str = "",
    ) -> Sequence[Value]:
        """A function: its body with names of its own, for the outputs wanted."""
        opsets = _opsets(body)
        defaults = {attribute.name: attribute for attribute in body.attribute_proto}
        given = [*inputs, *[None] * (len(body.input) - len(inputs))]
        names = dict(zip(body.input, given, strict=False))
        scope = Scope(names, opsets, {**defaults, **attributes}, source)
        self.block(body, scope)
        return [
            self.lookup(name, scope, "the output") if used else None
            for name, used in zip(body.output, wanted, strict=False)
        ]

    def taken_apart(
        self, node: Any, told: Node, inputs: list[Value], scope: Scope
    ) -> Sequence[Value]:
        """An operation that the standard itself defines by others."""
        schema = schema_of(told.op, told.version, _domain(node))
        if schema is None:
            raise OpRefusedError(
                "no such operation is known",
                f"{EXPORT}, without operations of your own or of a runtime",
            )
        bound = with_defaults(schema, self.bound(node, scope))
        types = list(map(self.type, inputs))
        body = definition(schema, told.version, node, bound, types)
        if body is None:
            raise OpRefusedError("it is not in the table of operations", EXPORT)
        return self.call(body, inputs, bound, told.outputs, self.source)

    def type(self, value: Value) -> bytes:
        if value is None:
            return b""
        aval = value.aval if isinstance(value, Live) else value
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(aval.dtype))
        made = self.onnx.helper.make_tensor_type_proto(kind, aval.shape)
        return made.SerializeToString()
