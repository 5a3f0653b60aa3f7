"""ONNX files as they lie on disk: the model with all its weights, or what is wrong."""

from importlib import import_module
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ecg_jax.errors import MissingExtraError, MissingFileError, ModelError


def load_onnx_model(source: str | Path | bytes) -> Any:
    """The model in a file, weights in files beside it included.

    Args:
      source: the path of an ONNX file, or its bytes.

    Returns:
      An `onnx.ModelProto`.

    Raises:
      MissingExtraError: `onnx` is not installed.
      MissingFileError: there is no such file, or none of those with its weights.
      ModelError: it is no ONNX model, it is cut off, or a name of a file with weights
        leads out of its folder.
    """
    onnx, place = _extra(), named(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise MissingFileError(
            f"{source}: no such file.\n  try: the path of a .onnx file"
        )
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelError(
            f"{place} is no ONNX model, or it is cut off: {error}\n"
            "  try: export or copy the file again"
        ) from error
    if not model.graph.node or not model.opset_import:
        lacks = "does not say its opset" if model.graph.node else "holds no operations"
        raise ModelError(
            f"{place} is no ONNX model, or it is cut off: it {lacks}.\n"
            "  try: export or copy the file again"
        )
    folder = None if isinstance(source, bytes) else Path(source).parent
    _load_weights(model, folder, place)
    return model


def named(source: str | Path | bytes) -> str:
    """What errors call the model."""
    return "the ONNX bytes given" if isinstance(source, bytes) else str(source)


def _extra() -> Any:
    try:
        return import_module("onnx")
    except ImportError as error:
        raise MissingExtraError(
            "reading ONNX files needs `onnx`.\n  try: pip install 'ecg_jax[onnx]'"
        ) from error


def _load_weights(model: Any, folder: Path | None, place: str) -> None:
    """Reads the weights that lie in other files, of the model's own folder only."""
    outside = import_module("onnx.external_data_helper")
    for tensor in outside._get_all_tensors(model):
        if not outside.uses_external_data(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name = entries.get("location", "")
        if folder is None:
            raise ModelError(
                f"{place}: the weight {tensor.name!r} lies in another file, {name!r}.\n"
                "  try: give the path of the .onnx file instead of its bytes"
            )
        path = _inside(folder, name, place)
        start, size = int(entries.get("offset", 0)), path.stat().st_size
        length = int(entries.get("length", size - start))
        if start < 0 or length < 0 or start + length > size:
            raise ModelError(
                f"{path} is cut off: it has {size:,} bytes, the weight {tensor.name!r} "
                f"of {place} ends at {start + length:,}.\n"
                "  try: export or copy both files again"
            )
        with path.open("rb") as file:
            file.seek(start)
            tensor.raw_data = file.read(length)
        tensor.data_location = 0
        del tensor.external_data[:]


def _inside(folder: Path, name: str, place: str) -> Path:
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    path = folder / name
    leaves = not path.resolve().is_relative_to(folder.resolve())
    if not name or absolute or leaves or path.is_symlink():
        raise ModelError(
            f"{place}: its weights are said to lie in {name!r}, outside of its own "
            "folder; that is not read.\n  try: export with the weights beside the file"
        )
    if not path.is_file():
        raise MissingFileError(
            f"{path}: no such file; {place} has its weights there.\n"
            "  try: copy it beside the .onnx file, or export with the weights inside"
        )
    return path
