"""Networks of templates: what they compute, where they start, how they factor."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from some_slow import some_slow

import ecg_jax as ej
from ecg_jax.errors import DataError, ModelError
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import build, init_variables, margins
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.networks.saved import Network
from ecg_jax.networks.templates import begin
from ecg_jax.networks.train import train

RNG = np.random.default_rng(0)
WINDOW = {"num_leads": 2, "num_samples": 12}
FORMS = {
    "free": NetworkConfig(kind="templates", templates=3, **WINDOW),
    "short": NetworkConfig(kind="templates", templates=3, length=8, **WINDOW),
    "max-min": NetworkConfig(
        kind="templates", form="max-min", templates=3, group=2, **WINDOW
    ),
    "prototypes": NetworkConfig(
        kind="templates", form="prototypes", templates=3, **WINDOW
    ),
    "metric": NetworkConfig(kind="templates", form="metric", templates=3, **WINDOW),
}


def beats(num=240):
    """Two kinds of waves on either side, with noise."""
    waves = RNG.normal(size=(4, 2, 12))
    kind = np.arange(num) % 4
    x = waves[kind] + 0.3 * RNG.normal(size=(num, 2, 12))
    return x.astype(np.float32), (kind < 2).astype(np.float32)


X, Y = beats()


def network(form):
    config = FORMS[form]
    variables = init_variables(config, jax.random.key(0))
    params = begin(config, X, Y, variables["params"])
    noise = jax.tree.map(
        lambda leaf: leaf + 0.1 * RNG.normal(size=leaf.shape).astype(np.float32), params
    )
    return Network(config, {"params": noise})


def plain(config, params, x):
    """The formulas of the module, one beat at a time, in NumPy."""
    p = {name: np.asarray(value, np.float64) for name, value in params.items()}
    if config.form == "max-min":
        t, c = p["all_templates"], p["all_offsets"]
        return max(
            min(np.sum(t[k, j] * x) + c[k, j] for j in range(config.group))
            for k in range(config.templates)
        )
    if config.form == "free":
        length = config.length or config.num_samples
        best = [
            max(
                np.sum(t * x[:, at : at + length]) + c
                for t, c in zip(p[f"{s}_templates"], p[f"{s}_offsets"], strict=True)
                for at in range(config.num_samples - length + 1)
            )
            for s in ("normal", "other")
        ]
        return best[0] - best[1]
    w, scale = p.get("metric", np.zeros((1, *x.shape))), np.exp(p["log_scale"])

    def far(q, offset):
        d = x - q / np.sqrt(scale)
        square = np.sum(d * d) + np.sum(np.tensordot(w, d, 2) ** 2)
        return scale * square / 2 - offset

    near = [
        min(map(far, p[f"{s}_prototypes"], p[f"{s}_offsets"]))
        for s in ("normal", "other")
    ]
    return near[1] - near[0]


@pytest.mark.parametrize("form", FORMS)
def test_margins_are_those_of_the_formulas(form):
    net = network(form)
    params = net.variables["params"]
    want = [plain(net.config, params, x.astype(np.float64)) for x in X[:40]]
    np.testing.assert_allclose(net.margins(X[:40]), want, rtol=1e-4, atol=1e-4)
    single = net.cast(np.float64).margin(jnp.asarray(X[0], jnp.float64))
    np.testing.assert_allclose(single, want[0], rtol=1e-9)


@pytest.mark.parametrize("form", some_slow(FORMS, ["free", "max-min"]))
def test_every_answer_is_proven_by_the_components_of_one_level(form):
    narrow = network(form)
    net = narrow.cast(np.float64)
    data = X.astype(np.float64)
    tree = ej.grow(net.margin, data, depth=1, budget=24, min_count=1)
    assert ej.certify(tree, data).holds
    found = ej.decide(tree, data)
    assert (found.normal == (narrow.margins(X) >= 0)).all()
    assert found.wrongly_proven == 0
    if form != "max-min":  # its refuters lie a level deeper
        assert (found.prover > 0).all()
        assert all(tree.is_concave(node.name) for node in tree.nodes[1:])
        assert all(node.share_frozen == 1 for node in tree.nodes[1:])


@pytest.mark.parametrize("form", FORMS)
def test_training_starts_where_nearest_means_leave_it_and_gets_better(form, tmp_path):
    config = FORMS[form]
    training = TrainingConfig(num_epochs=6, batch_size=32, learning_rate=0.02, shift=0)
    record = np.arange(len(X)) // 8
    params = begin(config, X, Y, init_variables(config, jax.random.key(0))["params"])
    at_first = (margins(config, {"params": params}, X) >= 0) == (Y > 0.5)
    assert at_first.mean() > 0.9
    variables = train(config, training, X, Y, record, X, Y, record, tmp_path)
    answers = (margins(config, variables, X) >= 0) == (Y > 0.5)
    assert answers.mean() >= at_first.mean() - 0.02
    softened = build(config).apply(variables, X, training=1.0)
    np.testing.assert_allclose(
        softened, build(config).apply(variables, X), atol=0.01, rtol=0.01
    )


def test_rough_templates_cost():
    config = FORMS["free"]
    variables = {"params": init_variables(config, jax.random.key(0))["params"]}
    _, sown = build(config).apply(variables, X, training=0.5, mutable=["penalty"])
    t = np.asarray(variables["params"]["normal_templates"])
    want = config.smoothness * np.sum(np.diff(t, 2) ** 2)
    np.testing.assert_allclose(sown["penalty"]["normal"][0], want, rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_impossible_templates():
    with pytest.raises(ModelError) as caught:
        NetworkConfig(
            kind="templates", form="rbf", templates=1, length=-1, smoothness=-1.0
        )  # pyright: ignore
    assert str(caught.value) == (
        "this network cannot be built:\n"
        "  form: 'rbf' is none of free, max-min, prototypes, metric\n"
        "  smoothness: -1.0 is not finite, 0 or more\n"
        "  templates: one a side is an affine function, so there is nothing to factor\n"
        "  length: -1 is no whole number from 0 up"
    )
    with pytest.raises(ModelError, match="one group of one is an affine function"):
        NetworkConfig(kind="templates", form="max-min", templates=1, group=1)
    with pytest.raises(ModelError, match="metric are compared with whole windows"):
        NetworkConfig(kind="templates", form="metric", length=5)
    long = NetworkConfig(kind="templates", length=99, num_samples=12)
    with pytest.raises(ModelError) as caught:
        init_variables(long, jax.random.key(0))
    assert str(caught.value) == (
        "a template of 99 samples for windows of 12.\n"
        "  try: a shorter template (length), 0 for the whole window"
    )


def test_more_templates_than_beats():
    config = NetworkConfig(kind="templates", templates=9, **WINDOW)
    with pytest.raises(DataError) as caught:
        begin(config, X[:12], Y[:12], {})
    assert str(caught.value) == (
        "9 templates for 6 normal training beats.\n"
        "  try: fewer templates, or more recordings"
    )
