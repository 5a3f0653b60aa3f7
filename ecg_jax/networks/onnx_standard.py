"""What the ONNX standard says of an operation: inputs, attributes, its definition."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def schema_of(operation: str, version: int, domain: str) -> Any:
    """The schema of an operation at an opset; None where the standard knows none."""
    defs = import_module("onnx").defs
    try:
        return defs.get_schema(operation, version, domain)
    except defs.SchemaError:
        return None


def fault(schema: Any, inputs: Sequence[Any], attributes: Mapping[str, Any]) -> str:
    """What a node lacks, or has too much of; "" where it is as the schema says."""
    single = import_module("onnx").defs.OpSchema.FormalParameterOption.Single
    given = [*inputs, *[None] * len(schema.inputs)]
    for formal, value in zip(schema.inputs, given, strict=False):
        if formal.option == single and value is None:
            return f"its input {formal.name!r} is missing"
    if not schema.min_input <= len(inputs) <= schema.max_input:
        return f"it has {len(inputs)} inputs"
    for name, attribute in schema.attributes.items():
        if attribute.required and name not in attributes:
            return f"its attribute {name!r} is missing"
    for name in attributes:
        if name not in schema.attributes:
            return f"it has no attribute {name!r} at this opset"
    return ""


def with_defaults(schema: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as protobuf, those included that the node leaves to the standard."""
    defaults = {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }
    return {**defaults, **attributes}


def definition(
    schema: Any,
    version: int,
    node: Any,
    attributes: Mapping[str, Any],
    types: Sequence[bytes],
) -> Any:
    """An operation written in others, the last of its definitions at an opset.

    Args:
      schema: of the operation.
      version: the opset.
      node: the node, an `onnx.NodeProto`.
      attributes: the node's, as protobuf, none of them a reference.
      types: of its inputs, as protobuf.

    Returns:
      An `onnx.FunctionProto`; None if the standard has no definition.
    """
    read = import_module("onnx").FunctionProto.FromString
    if fitting := [v for v in schema.function_opset_versions if v <= version]:
        return read(schema.get_function_with_opset_version(max(fitting)))
    versions = schema.context_dependent_function_opset_versions
    if fitting := [v for v in versions if v <= version]:
        whole = _whole(schema, node, attributes).SerializeToString()
        get = schema.get_context_dependent_function_with_opset_version
        return read(get(max(fitting), whole, list(types)))
    return None


def _whole(schema: Any, node: Any, attributes: Mapping[str, Any]) -> Any:
    """A node that says all of its attributes itself."""
    whole = type(node)()
    whole.CopyFrom(node)
    whole.domain = schema.domain
    del whole.attribute[:]
    for name, attribute in attributes.items():
        own = whole.attribute.add()
        own.CopyFrom(attribute)
        own.name = name
    return whole
