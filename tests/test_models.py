"""Networks, and what comes back from disk."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecg_jax.errors import ChecksumError, ModelError, RunExistsError
from ecg_jax.networks.card import ModelCard
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import build, cast, init_variables, margins
from ecg_jax.networks.saved import Network, load_network, save_network

SMALL = {
    "mlp": NetworkConfig(num_samples=20, widths=(8, 4), dropout=0.0),
    "authors": NetworkConfig(kind="authors", num_samples=33, bottleneck=4, dropout=0.0),
    "resnet": NetworkConfig(
        kind="resnet", num_leads=2, num_samples=41, channels=(4, 6), widths=(5,)
    ),
}
AFFINE_AND_GATES = {
    "add",
    "add_any",
    "broadcast_in_dim",
    "conv_general_dilated",
    "convert_element_type",
    "copy",
    "div",
    "dot_general",
    "jit",
    "custom_jvp_call",
    "max",
    "mul",
    "reduce_sum",
    "reduce_window_max",
    "reshape",
    "rsqrt",
    "squeeze",
    "sub",
    "transpose",
}


def network(kind: str, seed: int = 0) -> Network:
    config = SMALL[kind]
    variables = init_variables(config, jax.random.key(seed))
    if "batch_stats" in variables:
        keys = iter(jax.random.split(jax.random.key(seed + 1), 99))
        variables["batch_stats"] = jax.tree.map(
            lambda leaf: jax.random.uniform(next(keys), leaf.shape, leaf.dtype, 0.5, 2),
            variables["batch_stats"],
        )
    return Network(config, variables)


def windows(config: NetworkConfig, num: int, dtype=np.float32) -> np.ndarray:
    shape = (num, config.num_leads, config.num_samples)
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("kind", SMALL)
def test_margin_is_a_pure_scalar_function_of_one_window(kind):
    net = network(kind)
    x = windows(net.config, 3)
    value = net.margin(jnp.asarray(x[0]))
    assert value.shape == () and value.dtype == jnp.float32
    many = jax.jit(jax.vmap(net.margin))(x)
    np.testing.assert_allclose(many[0], value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.margins(x), many, rtol=1e-5, atol=1e-6)
    batch = build(net.config).apply(net.variables, x)
    np.testing.assert_allclose(batch, many, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SMALL)
def test_margin_in_float64(kind):
    net = network(kind)
    x = windows(net.config, 1)[0]
    exact = net.cast(jnp.float64).margin(jnp.asarray(x, jnp.float64))
    assert exact.dtype == jnp.float64
    np.testing.assert_allclose(net.margin(jnp.asarray(x)), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_margin_holds_only_operations_that_can_be_factored(kind):
    net = network(kind)
    jaxpr = jax.make_jaxpr(net.margin)(jnp.asarray(windows(net.config, 1)[0]))
    names = set(re.findall(r"= (\w+)", str(jaxpr)))
    assert names <= AFFINE_AND_GATES


@pytest.mark.parametrize("kind", SMALL)
def test_training_mode_pools_the_same_maximum(kind):
    net = network(kind)
    x = windows(net.config, 64)
    module = build(net.config)
    if kind == "resnet":  # batch statistics differ from running averages: compare pools
        from ecg_jax.networks.models import _max_pool

        for length in (1, 2, 7):
            z = jnp.asarray(x[:, 0, :length, None])
            for stride in (1, 2):
                want = _max_pool(z, stride, training=None)
                assert (_max_pool(z, stride, training=0.5) == want).all()
        return
    apart = module.apply(net.variables, x, training=0.5)
    np.testing.assert_allclose(apart, module.apply(net.variables, x), rtol=1e-5)


def test_margins_do_not_depend_on_what_comes_with_them():
    net = network("mlp")
    x = windows(net.config, 300)
    whole = margins(net.config, net.variables, x, block=128)
    apart = np.concatenate(
        [margins(net.config, net.variables, x[i : i + 7], block=128)
         for i in range(0, 300, 7)]
    )  # fmt: skip
    assert (whole == apart).all()


def test_margin_refuses_another_window():
    net = network("mlp")
    with pytest.raises(ModelError) as caught:
        net.margin(jnp.zeros((5, 1, 20)))
    assert str(caught.value) == (
        "the network takes one window [lead, time] of shape (1, 20), not (5, 1, 20): "
        "cut it with the network's own window (its model card), or use jax.vmap for "
        "several"
    )


@pytest.mark.usefixtures("unchecked")
def test_impossible_shapes_are_all_listed():
    with pytest.raises(ModelError) as caught:
        NetworkConfig(kind="lstm", widths=(8, 0), dropout=1.5)  # pyright: ignore
    assert str(caught.value) == (
        "this network cannot be built:\n"
        "  widths: (8, 0) is not made of positive whole numbers\n"
        "  kind: 'lstm' is none of mlp, authors, resnet, templates\n"
        "  dropout: 1.5 is not in [0, 1)"
    )
    with pytest.raises(ModelError, match="widths: without a hidden layer there is no"):
        NetworkConfig(widths=())


@pytest.mark.parametrize("kind", SMALL)
def test_saved_network_comes_back(kind, tmp_path):
    card = ModelCard(
        title="a net", input={"before_s": 0.25}, notes=("one", "two"), split="60/20/20"
    )
    net = replace(network(kind), card=card)
    folder = save_network(tmp_path / "model", net)
    back = load_network(folder)
    assert back.config == net.config and back.card == card
    same = jax.tree.map(np.array_equal, net.variables, back.variables)
    assert all(jax.tree.leaves(same))
    x = jnp.asarray(windows(net.config, 1)[0])
    assert back.margin(x) == net.margin(x)
    assert not list(folder.glob(".*"))
    text = (folder / "README.md").read_text()
    assert text.startswith("# a net\n\n**Research use only.**")
    assert '"before_s": 0.25' in text and "60/20/20" in text


def test_float64_variables_stay_float64(tmp_path):
    net = network("mlp").cast(jnp.float64)
    back = load_network(save_network(tmp_path, net))
    assert back.variables["params"]["head"]["kernel"].dtype == jnp.float64


def test_saving_over_a_network_is_refused(tmp_path):
    net = network("mlp")
    save_network(tmp_path, net)
    with pytest.raises(RunExistsError) as caught:
        save_network(tmp_path, net)
    assert str(caught.value) == (
        f"{tmp_path} holds a network already.\n  try: another folder, or delete it"
    )
    save_network(tmp_path, network("mlp", seed=5), replace=True)


def edit(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def loading(folder) -> str:
    with pytest.raises(ModelError) as caught:
        load_network(folder)
    return str(caught.value)


def test_folder_without_a_network(tmp_path):
    assert loading(tmp_path) == (
        f"{tmp_path} holds no network (manifest.json is missing).\n"
        "  try: a folder that save_network wrote, such as RUN/model"
    )


def test_variables_missing(tmp_path):
    save_network(tmp_path, network("mlp"))
    (tmp_path / "variables.safetensors").unlink()
    assert loading(tmp_path) == (
        f"{tmp_path}/variables.safetensors cannot be read: No such file or directory.\n"
        "  try: copy the whole folder, or train the network again"
    )


def test_damaged_variables(tmp_path):
    save_network(tmp_path, network("mlp"))
    path = tmp_path / "variables.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ChecksumError) as caught:
        load_network(tmp_path)
    assert re.fullmatch(
        re.escape(f"{path} is damaged or was exchanged:\n")
        + "  SHA-256 found:    [0-9a-f]{64}\n"
        "  SHA-256 expected: [0-9a-f]{64}\n"
        "  try: copy it again, or train the network again",
        str(caught.value),
    )


def test_shapes_that_disagree_with_the_configuration_are_all_listed(tmp_path):
    save_network(tmp_path, network("mlp"))
    edit(tmp_path, lambda m: m["config"].update(widths=[8, 5, 3]))
    assert loading(tmp_path) == (
        f"{tmp_path}/variables.safetensors does not fit its configuration:\n"
        "  params/head/kernel: float32[4, 1], expected float32[3, 1]\n"
        "  params/hidden_1/bias: float32[4], expected float32[5]\n"
        "  params/hidden_1/kernel: float32[8, 4], expected float32[8, 5]\n"
        "  params/hidden_2/bias: missing\n"
        "  params/hidden_2/kernel: missing\n"
        "  try: copy or train the network again"
    )


def test_weights_that_are_not_finite(tmp_path):
    net = network("mlp")
    net.variables["params"]["head"]["bias"] = jnp.array([np.nan], jnp.float32)
    save_network(tmp_path, net)
    assert loading(tmp_path) == (
        f"{tmp_path}/variables.safetensors does not fit its configuration:\n"
        "  params/head/bias: NaN or infinite\n"
        "  try: copy or train the network again"
    )


def test_manifest_of_another_format(tmp_path):
    save_network(tmp_path, network("mlp"))
    edit(tmp_path, lambda m: m.update(format="other/3"))
    assert loading(tmp_path) == (
        f"{tmp_path} is of format 'other/3', this version of ecg_jax reads "
        "'ecg_jax.network/1'.\n"
        "  try: save it again with this version, from what it was made of"
    )


def test_manifest_with_an_unknown_field(tmp_path):
    save_network(tmp_path, network("mlp"))
    edit(tmp_path, lambda m: m["config"].update(depth=3))
    assert loading(tmp_path) == (
        f"{tmp_path}/manifest.json: NetworkConfig has no field 'depth': the file is of "
        "another version of ecg_jax"
    )


def test_manifest_that_is_cut_short(tmp_path):
    save_network(tmp_path, network("mlp"))
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text()[:40])
    message = loading(tmp_path)
    assert message.startswith(f"{path} cannot be read: ")
    assert message.endswith(".\n  try: train the network again")


def test_manifest_without_a_part(tmp_path):
    save_network(tmp_path, network("mlp"))
    edit(tmp_path, lambda m: m.pop("files"))
    assert loading(tmp_path) == (
        f"{tmp_path}/manifest.json lacks 'files'.\n  try: train the network again"
    )


def test_cast_leaves_the_original():
    variables = network("mlp").variables
    assert cast(variables, jnp.float64)["params"]["head"]["bias"].dtype == jnp.float64
    assert variables["params"]["head"]["bias"].dtype == jnp.float32
