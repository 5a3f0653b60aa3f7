"""The walk through an ONNX graph, which leaves a list of steps.

It goes through the nodes once, with the shape of the input known. What does not depend
on the input is evaluated then and there, with 64 bits, so that chains of shapes become
numbers; branches on such values are taken, loops unrolled, functions inlined.
"""

from collections.abc import Mapping, Sequence
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
from ecg_jax.networks.onnx_ops.node import Node, Op, OpRefusedError
from ecg_jax.networks.onnx_ops.shapes import BY_SHAPE

EXPORT = "export with opset 13 to 23, in evaluation mode, as far as the logits"
CHECK = "onnx.checker.check_model(path, full_check=True) says what is wrong"
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
        for node in graph.node:
            inputs = [self.lookup(n, scope, "the value") for n in node.input]
            try:
                outputs = self.node(node, inputs, scope)
            except ModelError:
                raise
            except Exception as error:
                raise self.refused(node, scope, error) from error
            scope.values.update(zip(node.output, outputs, strict=False))

    def weight(self, tensor: Any) -> np.ndarray:
        try:
            return self.to_array(tensor)
        except Exception as error:
            raise ModelError(
                f"{self.place}: the weight {tensor.name!r} is damaged or cut off: "
                f"{error}\n  try: export or copy the file again"
            ) from error

    def refused(self, node: Any, scope: Scope, error: Exception) -> ModelError:
        why = str(error).strip() or type(error).__name__
        cure = (isinstance(error, OpRefusedError) and error.try_) or EXPORT
        domain = _domain(node)
        version = scope.opsets.get(domain, "unknown")
        named = f"`{node.op_type}`" + (f" of {domain}" if domain else "")
        first = node.name or (node.output[0] if node.output else "")
        return ModelError(
            f"{self.place}: its graph cannot be run: {named} (node {first!r}, opset "
            f"{version}): {why}\n  try: {cure}"
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
        told = Node(node.op_type, version, attributes, {}, used)
        if not domain and node.op_type in CONTROL:
            return CONTROL[node.op_type](self, attributes, inputs, scope, node)
        if not domain and node.op_type in OPS:
            return self.emit(OPS[node.op_type], told, inputs)
        if not domain and node.op_type in REFUSED:
            raise OpRefusedError(REFUSED[node.op_type])
        return self.taken_apart(node, told, inputs, scope)

    def emit(self, op: Op, node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
        """Evaluates an operation on constants, or writes it down as a step."""
        if any(isinstance(v, np.ndarray) and v.dtype == object for v in inputs):
            raise OpRefusedError("it works on text")
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
            step = Step(op, node, tuple(map(argument, inputs)), ())
            numbers = {v.number: v.aval for v in live}
            avals = jax.eval_shape(
                lambda *args: step(dict(zip(numbers, args, strict=True))),
                *numbers.values(),
            )
        outputs = [self.fresh(aval) for aval in avals]
        made = tuple(v.number for v in outputs)
        self.steps.append(Step(op, node, step.inputs, made))
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
    ) -> Sequence[Value]:
        """A function: its body with names of its own, for the outputs wanted."""
        opsets = _opsets(body)
        defaults = {attribute.name: attribute for attribute in body.attribute_proto}
        given = [*inputs, *[None] * (len(body.input) - len(inputs))]
        names = dict(zip(body.input, given, strict=False))
        scope = Scope(names, opsets, {**defaults, **attributes})
        self.block(body, scope)
        return [
            self.lookup(name, scope, "the output") if used else None
            for name, used in zip(body.output, wanted, strict=False)
        ]

    def taken_apart(
        self, node: Any, told: Node, inputs: list[Value], scope: Scope
    ) -> Sequence[Value]:
        """An operation that the standard itself defines by others."""
        defs, version = self.onnx.defs, told.version
        try:
            schema = defs.get_schema(node.op_type, version, _domain(node))
        except Exception as error:
            raise OpRefusedError(
                "no such operation is known",
                f"{EXPORT}, without operations of your own or of a runtime",
            ) from error
        defaults = {
            name: attribute.default_value
            for name, attribute in schema.attributes.items()
            if attribute.default_value.name
        }
        bound = {**defaults, **self.bound(node, scope)}
        whole = type(node)()
        whole.CopyFrom(node)
        whole.domain = _domain(node)
        del whole.attribute[:]
        for name, attribute in bound.items():
            own = whole.attribute.add()
            own.CopyFrom(attribute)
            own.name = name
        body = self.body(schema, version, whole, inputs)
        if body is None:
            raise OpRefusedError("it is not in the table of operations")
        return self.call(body, inputs, bound, told.outputs)

    def body(self, schema: Any, version: int, node: Any, inputs: list[Value]) -> Any:
        """The definition that is the last at an opset."""
        read = self.onnx.FunctionProto.FromString
        for versions, get in (
            (schema.function_opset_versions, lambda v: (v,)),
            (
                schema.context_dependent_function_opset_versions,
                lambda v: (v, node.SerializeToString(), list(map(self.type, inputs))),
            ),
        ):
            fitting = [v for v in versions if v <= version]
            if fitting:
                args = get(max(fitting))
                made = (
                    schema.get_function_with_opset_version(*args)
                    if len(args) == 1
                    else schema.get_context_dependent_function_with_opset_version(*args)
                )
                return read(made)
        return None

    def type(self, value: Value) -> bytes:
        if value is None:
            return b""
        aval = value.aval if isinstance(value, Live) else value
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(aval.dtype))
        made = self.onnx.helper.make_tensor_type_proto(kind, aval.shape)
        return made.SerializeToString()
