import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_files import command

import ecg_jax as ej
from ecg_jax.errors import (
    ExampleError,
    MissingExtraError,
    MissingFileError,
    ModelError,
)

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
NODES = EXPERIMENTS / "networks_elsewhere" / "onnx_nodes.py"
EYE = np.eye(3, dtype=np.float32)
REFUSED = {
    ("", "MelWeightMatrix"),
    ("", "OneHot"),  # by its depth, which is the first real number of the test
    ("", "Range"),  # by its start, likewise
    ("", "Scan"),  # as it was before opset 9
    ("", "Unique"),
}


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


def write(onnx, path, batch="batch", size=3, op="Relu", outputs=1, opset=17):
    """input [batch, size] -> MatMul -> Relu -> MatMul -> logits [batch, 2]"""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    first = (rng.integers(-4, 5, (3, 5)) / 4).astype(np.float32)
    last = (rng.integers(-4, 5, (5, 2)) / 4).astype(np.float32)
    names = [f"logits{i}" for i in range(outputs)]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "first"], ["hidden"]),
            helper.make_node(op, ["hidden"], ["active"]),
            *(helper.make_node("MatMul", ["active", "last"], [name]) for name in names),
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


def bytes_of(onnx, nodes, shape, opset=17, **weights):
    """A model of `(operation, inputs, output, attributes)` from `x` to `y`."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node(op, inputs.split(), [output], **attributes)
            for op, inputs, output, attributes in nodes
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets).SerializeToString()


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


MALFORMED = {
    "Einsum": (("Einsum", "x", "y", {}), "its attribute 'equation' is missing"),
    "LSTM": (("LSTM", "x", "y", {"hidden_size": 3}), "its input 'W' is missing"),
    "Conv": (("Conv", "x", "y", {}), "its input 'W' is missing"),
    "Attention": (("Attention", "x", "y", {}), "its input 'K' is missing"),
    "RotaryEmbedding": (
        ("RotaryEmbedding", "x", "y", {}),
        "its input 'cos_cache' is missing",
    ),
    "Concat": (("Concat", "", "y", {"axis": 0}), "it has 0 inputs"),
    "Relu": (("Relu", "x x", "y", {}), "it has 2 inputs"),
    "Add": (
        ("Add", "x x", "y", {"axis": 1}),
        "it has no attribute 'axis' at this opset",
    ),
}
CHECK = "onnx.checker.check_model(path, full_check=True) says what is wrong"


@pytest.mark.parametrize("op", MALFORMED)
def test_a_malformed_node(onnx, op):
    node, why = MALFORMED[op]
    with pytest.raises(ModelError) as caught:
        ej.from_onnx(bytes_of(onnx, [node], (1, 3), opset=23))
    assert str(caught.value) == (
        f"the ONNX bytes given: its graph cannot be run: `{op}` (node 'y', opset 23): "
        f"the node is malformed: {why}\n  try: {CHECK}"
    )


@pytest.mark.parametrize(
    "node, why, cure",
    [
        (("MatMul", "x w", "y", {}), "it does not fit its inputs: dot_general", CHECK),
        (("Conv", "image k", "y", {}), "it does not fit its inputs: conv_", CHECK),
        (
            ("Reshape", "x sizes", "y", {}),
            "[1, 4] has other entries than [32, 4]; is a size of the batch",
            "export with a batch of 1, or x.size(0) in place of the number",
        ),
        (
            ("SplitToSequence", "x", "y", {}),
            "sequences of arrays and optional values are no arrays",
            "export with arrays only, such as Split, Concat and Gather",
        ),
        (
            ("RandomNormalLike", "x", "y", {}),
            "it draws random numbers",
            "export in evaluation mode, or with the numbers as a constant",
        ),
        (
            ("StringSplit", "x", "y", {}),
            "it works on text",
            "export the part of the network that takes numbers",
        ),
        (
            ("GridSample", "x x", "y", {}),
            "it belongs to the detection of objects in images",
            "export the part of the network that has no such node",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_node_that_is_refused_has_a_cure_of_its_own(onnx, node, why, cure):
    weights = {
        "w": EYE,
        "k": np.ones((2, 3, 2), np.float32),
        "sizes": np.array([32, 4]),
    }
    nodes = [("Unsqueeze", "x first", "image", {}), node]
    with pytest.raises(ModelError) as caught:
        data = bytes_of(onnx, nodes, (1, 4), opset=20, first=np.array([1]), **weights)
        ej.from_onnx(data)
    said, tried = str(caught.value).split("\n  try: ")
    assert why in said and tried == cure


def test_weights_that_are_sparse(onnx):
    from onnx import helper, numpy_helper

    dense = np.diag(np.arange(3, dtype=np.float32))
    x = jnp.asarray([1.0, -2.0, 0.5], jnp.float32)
    flat, pairs = np.array([4, 8]), np.array([[1, 1], [2, 2]])
    for places in (flat, pairs):
        model = onnx.load_model_from_string(
            bytes_of(onnx, [("MatMul", "x w", "y", {})], (1, 3))
        )
        sparse = helper.make_sparse_tensor(
            numpy_helper.from_array(np.array([1, 2], np.float32), "w"),
            numpy_helper.from_array(places, "places"),
            [3, 3],
        )
        held = onnx.ModelProto.FromString(model.SerializeToString())
        model.graph.sparse_initializer.append(sparse)
        held.graph.node.insert(0, helper.make_node("Constant", [], ["w"]))
        held.graph.node[0].attribute.append(
            helper.make_attribute("sparse_value", sparse)
        )
        for each in (model, held):
            fn = ej.from_onnx(each.SerializeToString())
            assert np.array_equal(fn(x), x @ dense)


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
            " has 2 outputs, not one.\n"
            "  try: output=NAME (--output NAME): 'logits0', 'logits1'",
        ),
        (
            {"size": "time"},  # a free axis
            ": the input 'x' has the shape [0, 0], 0 where it is free; only the first "
            "axis, the batch, may be.\n"
            "  try: export with fixed sizes for all other axes",
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
    with pytest.raises(ModelError, match="its graph cannot be run") as caught:
        ej.from_onnx(path)
    assert str(caught.value) == (
        f"{path}: its graph cannot be run: `Mystery` (node 'active', opset 17): no "
        "such operation is known\n  try: export with opset 13 to 23, in evaluation "
        "mode, as far as the logits, without operations of your own or of a runtime"
    )


@pytest.mark.parametrize("opset", [7, 11, 13, 17, 21, 23])
def test_opsets(onnx, tmp_path, opset):
    by_hand = write(onnx, tmp_path / "network.onnx", opset=opset)
    fn = ej.from_onnx(tmp_path / "network.onnx")
    x = jnp.asarray([1.0, -2.0, 0.5], jnp.float32)
    assert np.array_equal(fn(x), by_hand(x))


@pytest.mark.parametrize("opset, nearest", [(6, 7), (29, 28)])
def test_an_opset_of_another_meaning(onnx, opset, nearest):
    nodes = [("Add", "x b", "y", {"broadcast": 1, "axis": 1} if opset == 6 else {})]
    with pytest.raises(ModelError) as caught:
        ej.from_onnx(bytes_of(onnx, nodes, (1, 3, 3), opset, b=np.arange(3.0)))
    assert str(caught.value) == (
        f"the ONNX bytes given is of opset {opset}; opsets 7 to 28 are known.\n"
        "  try: export again with opset 17, or "
        f"onnx.version_converter.convert_version(model, {nearest})"
    )


@pytest.mark.parametrize(
    "op, attributes", [("Relu", {}), ("MeanVarianceNormalization", {"axes": [1]})]
)
def test_the_standards_domain_may_be_written_out(onnx, op, attributes):
    x = jnp.asarray([1.0, -2.0, 0.5], jnp.float32)
    plain, written = (
        ej.from_onnx(bytes_of(onnx, [(op, "x", "y", {**attributes, **more})], (1, 3)))
        for more in ({}, {"domain": "ai.onnx"})
    )
    assert np.array_equal(plain(x), written(x))


CASTS = [
    ("Cast", "x", "b", {"to": 11, "name": "/wide"}),
    ("Cast", "b", "c", {"to": 10, "name": "/half"}),
    ("Cast", "c", "a", {"to": 1, "name": "/back"}),
]


@pytest.mark.parametrize(
    "nodes, where, why, cure",
    [
        (
            [("Round", "x", "a", {"name": "/block1/Round"})],
            "`round` at ONNX node `/block1/Round` (Round)",
            "`round` is discontinuous in the input",
            "leave the node out; of a quantized network, export it before it is "
            "quantized",
        ),
        (
            [("ThresholdedRelu", "x", "a", {})],
            "`select_n` at ONNX node `a` (ThresholdedRelu)",
            "the condition is not the sign of the difference of the two cases, so the "
            "selection may jump",
            "train and export with operations that do not jump: Relu, LeakyRelu, "
            "PRelu, Clip",
        ),
        (
            CASTS,
            "`convert_element_type` at ONNX node `/back` (Cast)",
            "conversion from float16 to float32: what float16 holds is rounded to few "
            "bits; it was made by `convert_element_type` at ONNX node `/half` (Cast)",
            "export the network in float32, without Cast to fewer bits: in PyTorch "
            "network.float() before torch.onnx.export",
        ),
    ],
    ids=["round", "threshold", "casts"],
)
def test_a_refusal_names_the_node(onnx, nodes, where, why, cure):
    """Also a level down, where the program is another trace of the network's."""
    nodes = [*nodes, ("MatMul", "a w", "z", {})]
    x = jnp.asarray([2.0, -1.0, 3.0], jnp.float32)
    flat = ej.from_onnx(
        bytes_of(onnx, [*nodes, ("Identity", "z", "y", {})], (1, 3), w=EYE)
    )
    deep = ej.from_onnx(bytes_of(onnx, [*nodes, ("Relu", "z", "y", {})], (1, 3), w=EYE))
    eq = ej.factor(ej.margin(deep, 0), x)
    for fn in (ej.margin(flat, 0), eq.component(*eq.pattern(x))):
        with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
            while True:
                eq = ej.factor(fn, x)
                fn = eq.component(*eq.pattern(x))
        first, _, *rest = str(caught.value).splitlines()
        assert first == f"cannot factor {where}."
        assert rest == [f"  why:     {why}", f"  try:     {cure}"]


def test_the_node_of_a_standard_definition_is_the_files(onnx):
    nodes = [
        ("DynamicQuantizeLinear", "x", "a", {"name": "/quantized"}),
        ("Cast", "a", "b", {"to": 1}),
        ("ReduceSum", "b", "y", {"keepdims": 0}),
    ]
    fn = ej.from_onnx(bytes_of(onnx, nodes, (1, 3)))
    with pytest.raises(ej.UnsupportedPrimitiveError) as caught:
        ej.factor(fn, fn.example)
    made = "made by `convert_element_type` at ONNX node `/quantized` (Dynamic"
    assert made in str(caught.value)


@jax.enable_x64(True)
def test_a_cast_to_float64_keeps_what_float64_holds(onnx):
    """Whole numbers, too, do not go through float32."""
    nodes = [
        ("Cast", "x", "n", {"to": 7}),
        ("Add", "n big", "a", {}),
        ("Cast", "a", "y", {"to": 11}),
    ]
    data = bytes_of(onnx, nodes, (1, 1), big=np.int64(2**40))
    assert ej.from_onnx(data)(jnp.ones(1, jnp.float32)) == 2.0**40 + 1


def test_an_input_of_another_shape(onnx, tmp_path):
    write(onnx, tmp_path / "network.onnx")
    fn = ej.from_onnx(tmp_path / "network.onnx")
    with pytest.raises(ExampleError) as caught:
        fn(jnp.zeros((7, 3)))
    assert str(caught.value) == (
        "network.onnx takes one example of shape [3], not [7, 3].\n"
        "  try: jax.vmap(fn) for several"
    )


def test_a_value_within_the_graph(onnx, tmp_path):
    by_hand = write(onnx, tmp_path / "network.onnx", outputs=2)
    x = jnp.asarray([1.0, -2.0, 0.5], jnp.float32)
    fn = ej.from_onnx(tmp_path / "network.onnx", output="logits1")
    assert np.array_equal(fn(x), by_hand(x))
    with pytest.raises(ModelError, match="has no value 'logit'") as caught:
        ej.from_onnx(tmp_path / "network.onnx", output="logit")
    assert "'hidden', 'active', 'logits0', 'logits1'" in str(caught.value)


def test_probabilities_name_their_logits(onnx):
    data = bytes_of(
        onnx, [("MatMul", "x w", "z", {}), ("Softmax", "z", "y", {})], (1, 3), w=EYE
    )
    fn = ej.from_onnx(data)
    x = jnp.asarray([1.0, 2.0, -1.0], jnp.float32)
    assert np.allclose(fn(x), jax.nn.softmax(x)) and fn.logits == "z"
    logits = ej.from_onnx(data, output=fn.logits)
    assert np.array_equal(logits(x), x) and logits.logits is None


AFTER = {
    "Cast": ("p", {"to": 1}),
    "Dropout": ("p", {}),
    "Flatten": ("p", {}),
    "Gather": ("p first", {"axis": 1}),
    "Slice": ("p first second second", {}),
    "Transpose": ("p", {}),
    "Unsqueeze": ("p first", {}),
}


@pytest.mark.parametrize("op", AFTER)
def test_probabilities_are_followed(onnx, op):
    inputs, attributes = AFTER[op]
    nodes = [
        ("MatMul", "x w", "z", {}),
        ("Softmax", "z", "p", {}),
        (op, inputs, "y", attributes),
    ]
    numbers = {"first": np.array([0]), "second": np.array([1])}
    fn = ej.from_onnx(bytes_of(onnx, nodes, (1, 3), w=EYE, **numbers))
    assert fn.logits == "z" and np.all(fn(fn.example) > 0)


def test_a_file_without_an_opset_or_a_shape(onnx):
    model = onnx.load_model_from_string(
        bytes_of(onnx, [("Relu", "x", "y", {})], (1, 3))
    )
    tensor = model.graph.input[0].type.tensor_type
    del tensor.shape.dim[:]
    with pytest.raises(ModelError, match="the input 'x' is a single number"):
        ej.from_onnx(model.SerializeToString())
    tensor.ClearField("shape")
    with pytest.raises(ModelError, match="the shape of the input 'x' is not in the"):
        ej.from_onnx(model.SerializeToString())
    del model.opset_import[:]
    with pytest.raises(ModelError, match="cut off: it does not say its opset"):
        ej.from_onnx(model.SerializeToString())


def test_the_command_refuses_probabilities(onnx, tmp_path):
    nodes = [("MatMul", "x w", "z", {}), ("Softmax", "z", "y", {})]
    path, out = tmp_path / "net.onnx", tmp_path / "out"
    path.write_bytes(bytes_of(onnx, nodes, (1, 3), w=EYE))
    status, _, wrong = command("factor", path, "--data", "synthetic", "--out", out)
    assert status == 2 and not out.exists()
    assert (
        "gives probabilities, not logits" in wrong and "\n  try: --output z " in wrong
    )


def external(onnx, path, location="w.bin", length=None, data=None):
    """A file whose weight lies in another one."""
    data = EYE.tobytes() if data is None else data
    made = bytes_of(onnx, [("MatMul", "x w", "y", {})], (1, 3), w=EYE)
    model = onnx.load_model_from_string(made)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "length": length or len(data)}.items():
        tensor.external_data.add(key=key, value=str(value))
    (path.parent / "w.bin").write_bytes(data)
    path.write_bytes(model.SerializeToString())


def test_weights_beside_the_file(onnx, tmp_path):
    path = tmp_path / "network.onnx"
    external(onnx, path)
    x = jnp.asarray([1.0, 2.0, -1.0], jnp.float32)
    assert np.array_equal(ej.from_onnx(path)(x), x)
    with pytest.raises(ModelError, match=r"lies in another file, 'w\.bin'"):
        ej.from_onnx(path.read_bytes())
    external(onnx, path, length=40)
    with pytest.raises(ModelError) as caught:
        ej.from_onnx(path)
    assert str(caught.value) == (
        f"{tmp_path / 'w.bin'} is cut off: it has 36 bytes, the weight 'w' of {path} "
        "ends at 40.\n  try: export or copy both files again"
    )
    (tmp_path / "w.bin").unlink()
    with pytest.raises(MissingFileError) as caught:
        ej.from_onnx(path)
    assert str(caught.value) == (
        f"{tmp_path / 'w.bin'}: no such file; {path} has its weights there.\n"
        "  try: copy it beside the .onnx file, or export with the weights inside"
    )


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "link.bin", ""])
def test_weights_elsewhere_are_not_read(onnx, tmp_path, location):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(EYE.tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")
    external(onnx, folder / "network.onnx", location)
    with pytest.raises(ModelError, match="outside of its own folder; that is not read"):
        ej.from_onnx(folder / "network.onnx")


def test_a_file_that_is_cut_off(onnx, tmp_path):
    path = tmp_path / "network.onnx"
    write(onnx, path)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError) as caught:
            ej.from_onnx(path)
        assert str(path) in str(caught.value) and "\n  try: " in str(caught.value)


def test_what_is_known_only_when_it_runs(onnx):
    """A shape that depends on the input, and one that does not."""
    nodes = [("NonZero", "x", "places", {}), ("Gather", "x places", "y", {"axis": 1})]
    with pytest.raises(ModelError) as caught:
        ej.from_onnx(bytes_of(onnx, nodes, (1, 3)))
    assert str(caught.value) == (
        "the ONNX bytes given: its graph cannot be run: `NonZero` (node 'places', "
        "opset 17): its input 0 depends on the network's input, so the shape of what "
        "it gives does too\n  try: export with fixed sizes"
    )


def test_a_chain_of_shapes_is_known(onnx):
    nodes = [
        ("Shape", "x", "s", {}),
        ("Gather", "s zero", "n", {}),
        ("Unsqueeze", "n first", "n1", {}),
        ("Concat", "n1 minus", "shape", {"axis": 0}),
        ("Reshape", "x shape", "y", {}),
    ]
    constants = {
        "zero": np.int64(0),
        "first": np.array([0]),
        "minus": np.array([-1]),
    }
    fn = ej.from_onnx(bytes_of(onnx, nodes, (1, 2, 3), **constants))
    x = jnp.arange(6.0, dtype=jnp.float32).reshape(2, 3)
    assert np.array_equal(fn(x), x.ravel())
    assert [eqn.primitive.name for eqn in jax.make_jaxpr(fn)(x).eqns] == [
        "broadcast_in_dim",
        "reshape",
        "squeeze",
    ]


GATES = {
    "Relu": ({}, "max"),
    "LeakyRelu": ({"alpha": 0.1}, "select"),
    "Elu": ({"alpha": 0.5}, "elu"),
    "Selu": ({}, "max"),
    "Celu": ({}, "elu"),
    "HardSigmoid": ({}, "min"),
    "HardSwish": ({}, "hard_silu"),
    "Softplus": ({}, "softplus"),
    "Softsign": ({}, "soft_sign"),
    "Sigmoid": ({}, "logistic"),
    "Tanh": ({}, "tanh"),
    "Gelu": ({}, "gelu"),
    "Swish": ({}, "silu"),
    "Mish": ({}, "mish"),
    "Clip": ({}, "max"),
    "Abs": ({}, "abs"),
    "MaxPool": ({"kernel_shape": [2], "ceil_mode": 1, "strides": [2]}, "max_pool"),
    "GlobalMaxPool": ({}, "reduce_max"),
}


@pytest.mark.parametrize("op", GATES)
def test_gates_are_recognised(onnx, op):
    attributes, gate = GATES[op]
    given = "x low" if op == "Clip" else "x"
    nodes = [(op, given, "a", attributes), ("ReduceSum", "a", "y", {"keepdims": 0})]
    low = np.float32(-0.5)
    fn = ej.from_onnx(bytes_of(onnx, nodes, (1, 2, 5), opset=24, low=low))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), jnp.float32)
    eq = ej.factor(fn, x)
    assert [found.name.removeprefix("convex_part_of_") for found in eq.gates][:1] == [
        gate
    ]
    assert np.allclose(eq.component(*eq.pattern(x))(x), fn(x), rtol=1e-5)


@pytest.fixture(scope="module")
def node_tests():
    pytest.importorskip("onnx")
    return runpy.run_path(str(NODES))


@pytest.mark.timeout(600)
def test_a_node_test_of_every_operation(node_tests):
    """One of the ONNX project's tests for each operation that a network has."""
    first = {}
    for operation, test in node_tests["cases"]():
        if node_tests["is_of_networks"](*operation) and "_expanded" not in test.name:
            first.setdefault(operation, test)
    verdicts = {key: node_tests["judge"](test) for key, test in first.items()}
    assert len(verdicts) > 120
    assert {key for key, (found, _) in verdicts.items() if found != "equal"} == REFUSED


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_node_tests(node_tests):
    found = [
        (node_tests["judge"](test), test.name)
        for operation, test in node_tests["cases"]()
        if node_tests["is_of_networks"](*operation)
    ]
    assert [entry for entry in found if entry[0][0] == "wrong"] == []
    equal = sum(entry[0][0] == "equal" for entry in found)
    assert equal >= 0.98 * len(found)


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError) as caught:
        ej.from_onnx(tmp_path / "network.onnx")
    assert str(caught.value) == (
        "reading ONNX files needs `onnx`.\n  try: pip install 'ecg_jax[onnx]'"
    )
