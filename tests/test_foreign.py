"""Models from elsewhere: saved networks, runs, functions of any shape."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_files import command, tiny

from ecg_jax.ecg.beats import BeatConfig
from ecg_jax.errors import ModelError
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.from_json import from_json
from ecg_jax.runs.config import RunConfig, TreeConfig
from ecg_jax.runs.foreign import beats_of_first, factor_model, find_model
from ecg_jax.runs.onnx_model import OnnxModel, load_onnx, save_onnx, to_margin
from ecg_jax.runs.saved_run import load_run

SMALL = TreeConfig(depth=1, budget=1, min_count=20)


@pytest.fixture(scope="module")
def factored(tmp_path_factory):
    out = tmp_path_factory.mktemp("factored") / "out"
    words = ("--tree.depth", 1, "--tree.budget", 1, "--tree.min-count", 20)
    run, data = tiny().run, tiny().data
    said = command("factor", run, "--data", data, "--out", out, *words, "--quiet")
    return out, said


def test_a_run_is_factored_anew(factored):
    out, said = factored
    assert said == (0, "", "")
    found = json.loads((out / "metrics.json").read_text())
    before = json.loads((tiny().run / "metrics.json").read_text())
    assert found["model"] == before["model"]  # the same network, nothing trained
    assert "train" not in found["timing"]
    assert found["exactness"]["decision_agreement"] == 1
    assert found["coverage"]["wrongly_proven"] == 0
    names = {path.name for path in out.iterdir()}
    assert names == {path.name for path in tiny().run.iterdir()}


def test_its_configuration_says_what_was_factored(factored):
    out, _ = factored
    config = json.loads((out / "config.json").read_text())
    before = json.loads((tiny().run / "config.json").read_text())
    assert config["model"] == "run" and len(config["sha256"]) == 64
    assert config["beats"] == before["beats"] and config["tree"]["budget"] == 1
    assert "training" not in config and "network" not in config
    page = (out / "report.html").read_text()
    assert "ecg-jax factor run --data" in page and "--tree.depth 1" in page


def test_it_is_a_run_for_evaluate_and_explain(factored):
    network, tree, beats = load_run(factored[0])
    assert network.window == (1, 65) and beats.num_samples == 65
    assert tree.depth == 1


def test_it_is_not_overwritten(factored):
    out, _ = factored
    status, _, err = command("factor", tiny().run, "--data", tiny().data, "--out", out)
    assert status == 2 and err == (
        f"ecg-jax factor: RunExistsError: {out} holds a run already.\n"
        "  try: another --out, or --resume to go on\n"
    )


def test_windows_of_another_shape(tmp_path):
    with pytest.raises(ModelError) as caught:
        factor_model(
            tiny().run / "model",
            str(tiny().data),
            None,
            tmp_path / "out",
            beats=BeatConfig(second_opinion=False, after_s=0.5),
            tree=SMALL,
            say=lambda line: None,
        )
    assert str(caught.value) == (
        "the network 'mlp on data' takes windows of [1 lead, 65 samples], the beats "
        "are [1 lead, 75 samples].\n  try: beats cut as the network was trained "
        "(--beats.sample-rate-hz, --beats.before-s, --beats.after-s)"
    )
    assert not (tmp_path / "out").exists()


def test_what_is_no_model(tmp_path):
    (tmp_path / "model.txt").write_text("")
    with pytest.raises(ModelError) as caught:
        find_model(tmp_path / "model.txt")
    assert str(caught.value) == (
        f"{tmp_path / 'model.txt'} is no model: files end in .onnx.\n"
        "  try: a folder with a saved network, a run folder, or a file model.onnx"
    )
    with pytest.raises(ModelError, match="holds no network"):
        find_model(tmp_path)


def test_beats_are_cut_as_the_card_says():
    card = find_model(tiny().run).what.card
    known = from_json(BeatConfig, card.input)
    assert beats_of_first(["--out", "x", str(tiny().run)]) == known
    assert beats_of_first(["--out", "x"]) == RunConfig().beats


@pytest.mark.parametrize(
    "shape", [(2, 5), (1, 2, 5), (1, 10), (10,), (1, 5, 2)], ids=str
)
def test_a_window_is_given_in_the_shape_that_fits(shape):
    weights = jnp.arange(10.0, dtype=jnp.float32).reshape(shape)

    def fn(x):
        if x.shape != shape:
            raise TypeError(f"no {x.shape} here")
        return jnp.sum(weights * x)[None, None]

    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5)), jnp.float32)
    want = x.T.reshape(shape) if shape == (1, 5, 2) else x.reshape(shape)
    got = to_margin(fn, (2, 5), 0)(x)
    assert got.shape == () and got == jnp.sum(weights * want)


def test_several_logits_are_a_margin():
    def fn(x):
        return jnp.stack([x[0, 0], x[0, 1], x[0, 2]])

    x = jnp.array([[1.0, 5.0, 3.0]])
    assert to_margin(fn, (1, 3), 1)(x) == 2 and to_margin(fn, (1, 3), 0)(x) == -4
    with pytest.raises(ModelError) as caught:
        to_margin(fn, (1, 3), 3)
    assert str(caught.value) == (
        "the model has 3 logits, none is number 3.\n  try: --normal-class 0 to 2"
    )


def test_a_function_that_takes_no_such_window():
    def fn(x):
        raise TypeError(f"{x.ndim} axes")

    with pytest.raises(ModelError) as caught:
        to_margin(fn, (1, 3), 0)
    assert str(caught.value) == (
        "the model takes no window of 1 leads, 3 samples:\n"
        "  [1, 3]: 2 axes\n  [1, 1, 3]: 3 axes\n  [3]: 1 axes\n  [1, 3, 1]: 3 axes\n"
        "  try: --beats.leads, --beats.sample-rate-hz, --beats.before-s, "
        "--beats.after-s as the model was trained"
    )
    with pytest.raises(ModelError) as caught:
        to_margin(lambda x: (jnp.sum(x), jnp.sum(x)), (1, 3), 0)
    assert str(caught.value) == (
        "the model has 2 outputs, a margin needs one.\n  try: export the logits only"
    )


def test_a_function_may_say_what_it_takes():
    def fn(x):
        return jnp.sum(x)

    fn.__dict__["example"] = jnp.zeros((10, 1))
    x = jnp.ones((2, 5))
    assert to_margin(fn, (2, 5), 0)(x) == 10
    with pytest.raises(ModelError) as caught:
        to_margin(fn, (1, 65), 0)
    assert str(caught.value) == (
        "the model takes an input of shape [10, 1], the beats are [1 lead, 65 samples]."
        "\n  try: beats cut as the model was trained (--beats.leads, "
        "--beats.sample-rate-hz, --beats.before-s, --beats.after-s)"
    )


def test_an_onnx_file_is_kept_with_its_sum(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"bytes")
    card = ModelCard(title="net.onnx")
    model = OnnxModel(tmp_path / "net.onnx", (1, 150), 1, card, "z")
    save_onnx(tmp_path, model)
    again = load_onnx(tmp_path)
    assert (again.data, again.window, again.normal_class) == (b"bytes", (1, 150), 1)
    assert again.card == model.card and again.kind == "onnx" and again.output == "z"
    (tmp_path / "model.onnx").write_bytes(b"other")
    with pytest.raises(OSError, match=r"model\.onnx is damaged or was exchanged:"):
        load_onnx(tmp_path)


@pytest.mark.parametrize(
    "quotient",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["relu", "quotient"],
)
def test_an_onnx_file(quotient, tmp_path):
    """Also with a quotient of any sign below its gates: opened as far as that."""
    onnx = pytest.importorskip("onnx")
    TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

    rng = np.random.default_rng(0)
    arrays = {
        "w0": rng.normal(size=(65, 8)) / 8,
        "b0": rng.normal(size=8),
        "w1": rng.normal(size=(8, 2)),
    }
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"]),
            helper.make_node("Mul", ["a", "a"], ["square"]),
            helper.make_node("Div", ["square", "a"], ["quotient"]),
            helper.make_node("Add", ["quotient" if quotient else "a", "b0"], ["b"]),
            helper.make_node("Relu", ["b"], ["c"]),
            helper.make_node("MatMul", ["c", "w1"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["shares"]),
        ],
        "network",
        [value("x", TensorProto.FLOAT, [1, 65])],
        [value("shares", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(v.astype("f4"), k) for k, v in arrays.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(
        helper.make_model(graph, opset_imports=opset, ir_version=9),
        tmp_path / "net.onnx",
    )
    out = tmp_path / "out"
    found = factor_model(
        tmp_path / "net.onnx",
        str(tiny().data),
        None,
        out,
        1,
        load_run(tiny().run)[2],
        SMALL,
        lambda line: None,
        output="logits",
    )
    assert found["exactness"]["decision_agreement"] == 1
    assert found["coverage"]["wrongly_proven"] == 0
    assert found["exactness"]["levels"] == 1
    assert found["exactness"]["atoms"] is not quotient
    page = (out / "report.html").read_text()
    assert ("not opened: div at ONNX node `quotient` (Div)" in page) is quotient
    assert "--normal-class 1 --output logits" in page
    network, tree, _ = load_run(out)
    x = jnp.asarray(rng.normal(size=(1, 65)), jnp.float32)
    with jax.enable_x64(True):
        assert abs(float(tree(x.astype(jnp.float64))) - network.margin(x)) < 1e-4
