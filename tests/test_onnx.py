import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.errors import MissingExtraError, MissingFileError, ModelError


@pytest.fixture
def onnx():
    pytest.importorskip("jaxonnxruntime")
    return pytest.importorskip("onnx")


def write(onnx, path, batch="batch", size=3, op="Relu", outputs=1, opset=17):
    """input [batch, size] -> Gemm -> Relu -> Gemm -> logits [batch, 2]"""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    first = (rng.integers(-4, 5, (3, 5)) / 4).astype(np.float32)
    last = (rng.integers(-4, 5, (5, 2)) / 4).astype(np.float32)
    names = [f"logits{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "first"], ["hidden"]),
            helper.make_node(op, ["hidden"], ["active"]),
            *(helper.make_node("Gemm", ["active", "last"], [name]) for name in names),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 2])
            for name in names
        ],
        [
            numpy_helper.from_array(first, "first"),
            numpy_helper.from_array(last, "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    onnx.save(model, path)
    return lambda x: jax.nn.relu(x @ first) @ last


@pytest.mark.parametrize("batch", ["batch", 1])
def test_a_file_is_a_function_that_factors(onnx, tmp_path, batch):
    by_hand = write(onnx, tmp_path / "network.onnx", batch)
    fn = ej.from_onnx(tmp_path / "network.onnx")
    x = jnp.asarray([1.0, -2.0, 0.5], jnp.float32)
    assert np.array_equal(fn(x), by_hand(x))
    f = ej.margin(fn, 0)
    eq = ej.factor(f, fn.example)
    assert eq.component(*eq.pattern(x))(x) == f(x)


def test_a_fixed_first_axis_is_part_of_the_example(onnx, tmp_path):
    by_hand = write(onnx, tmp_path / "network.onnx", 4)
    fn = ej.from_onnx(tmp_path / "network.onnx")
    assert fn.example.shape == (4, 3)
    x = jnp.ones((4, 3), jnp.float32)
    assert np.array_equal(fn(x), by_hand(x))


def test_the_bytes_of_a_file_will_do(onnx, tmp_path):
    by_hand = write(onnx, tmp_path / "network.onnx")
    fn = ej.from_onnx((tmp_path / "network.onnx").read_bytes())
    assert np.array_equal(fn(fn.example), by_hand(fn.example))


def test_no_file(onnx, tmp_path):
    with pytest.raises(MissingFileError) as caught:
        ej.from_onnx(tmp_path / "absent.onnx")
    assert str(caught.value) == (
        f"{tmp_path / 'absent.onnx'}: no such file.\n  try: the path of a .onnx file"
    )


def test_no_onnx_file(onnx, tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("not a model")
    with pytest.raises(ModelError, match="is no ONNX model"):
        ej.from_onnx(path)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"outputs": 2},
            " has 1 inputs and 2 outputs, not one each.\n"
            "  try: export the part of the network that gives the logits",
        ),
        (
            {"size": "time"},  # a free axis
            ": the input 'x' has the shape [0, 0], 0 where it is free; only the first "
            "axis, the batch, may be.\n"
            "  try: export with fixed sizes for all other axes",
        ),
        (
            {"opset": 13},  # has a version of an operation that is not known
            ": its graph cannot be run, output 'logits0': Relu version 13 is not "
            "implemented. Only have those versions: ['version_14', 'version_6'].\n"
            "  try: export with opset 16 to 19, in which `jaxonnxruntime` knows every "
            "version of what it knows; or without operations of your own",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_file_that_cannot_be_used(onnx, tmp_path, options, message):
    path = tmp_path / "network.onnx"
    write(onnx, path, **options)
    with pytest.raises(ModelError) as caught:
        ej.from_onnx(path)
    assert str(caught.value) == f"{path}{message}"


def test_an_operation_nobody_knows(onnx, tmp_path):
    path = tmp_path / "network.onnx"
    write(onnx, path, op="Mystery")
    with pytest.raises(ModelError, match="its graph cannot be run"):
        ej.from_onnx(path)


@pytest.mark.parametrize("opset", [16, 17, 18, 19])
def test_opsets_of_which_every_version_is_known(onnx, opset):
    from jaxonnxruntime import call_onnx

    for handler in call_onnx.Handler.__subclasses__():
        since = handler.get_since_version(opset)
        assert since < 0 or hasattr(handler, f"version_{since}"), handler


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jaxonnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError) as caught:
        ej.from_onnx(tmp_path / "network.onnx")
    assert str(caught.value) == (
        "reading ONNX files needs `jaxonnxruntime` and `onnx`.\n"
        "  try: pip install 'ecg_jax[onnx]'"
    )
