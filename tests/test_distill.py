"""Networks that answer as others do: of arrays, and by a command."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_files import command, tiny

import ecg_jax as ej
from ecg_jax.errors import DataError, ExampleError, NonFiniteError
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.sampling import TrainingConfig
from ecg_jax.runs import foreign
from ecg_jax.runs.config import RunConfig, TreeConfig
from ecg_jax.runs.saved_run import load_run
from ecg_jax.tree.atoms import own_templates
from ecg_jax.views.distill import agreement, teacher_margins

FEW = NetworkConfig(kind="templates", templates=3)
QUICK = TrainingConfig(num_epochs=8, batch_size=64, learning_rate=0.02, shift=0)


def teacher(x):
    """Wide or narrow: piecewise linear, and of no form that a student has."""
    return jnp.abs(x[4] - x[9]) - jax.nn.relu(x[2] + x[7]) - 0.1


def arrays(num=800, **given):
    x = np.random.default_rng(0).normal(size=(num, 12)).astype(np.float32)
    return ej.beats(x, sample_rate_hz=50, r_peak_s=0.1, **given)


def test_a_student_answers_mostly_as_its_teacher():
    beats = arrays(records=np.arange(800) // 8)
    told = []
    student = ej.distill(
        teacher,
        beats,
        network=FEW,
        training=QUICK,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1]
    said = teacher_margins(teacher, beats.inputs())
    alike = agreement(said, student.margins(beats.windows()), beats, np.arange(800))
    assert alike.share > alike.constant + 0.05
    assert set(alike.kinds) == {"label none", "teacher: normal", "teacher: not normal"}
    assert repr(alike).startswith("Agreement on 800 beats: ")
    assert student.card.title == "templates, distilled from teacher"
    tree = ej.grow(student.margin, beats, depth=1, budget=3, select="frequent")
    assert (ej.decide(tree, beats).prover > 0).all()


def test_labels_have_a_part_where_they_are_known():
    labels = np.where(np.arange(800) % 2, "N", "V")
    beats = arrays(labels=labels, records=np.arange(800) // 8)
    some = {"network": FEW, "training": QUICK}
    by_teacher = ej.distill(teacher, beats, **some)
    again = ej.distill(teacher, beats, **some)
    by_label = ej.distill(lambda x: -teacher(x), beats, share=0.0, **some)
    both = ej.distill(teacher, beats, share=0.0, **some)
    for one, other, same in ((by_teacher, again, True), (by_label, both, True),
                             (by_teacher, by_label, False)):  # fmt: skip
        a, b = (net.margins(beats.windows()) for net in (one, other))
        assert np.array_equal(a, b) is same


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda x: x @ jnp.ones((5, 5), x.dtype), ExampleError,
         "the teacher takes no beat of shape [12]: "),
        (lambda x: x[:2], ExampleError,
         "the teacher gives float32[2] of one beat, not one number.\n"
         "  try: ecg_jax.margin(fn, k) of a vector of logits"),
        (lambda x: jnp.log(x[0]), NonFiniteError, "the teacher gives nan of beat "),
    ],
)  # fmt: skip
def test_what_is_no_teacher(fn, error, message):
    with pytest.raises(error) as caught:
        ej.distill(fn, arrays(50), network=FEW)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("share", [-0.1, 1.5, True, "all"])
@pytest.mark.usefixtures("unchecked")
def test_a_share_that_is_none(share):
    with pytest.raises(DataError) as caught:
        ej.distill(teacher, arrays(50), network=FEW, share=share)
    assert str(caught.value) == f"share is {share!r}.\n  try: a number from 0 to 1"


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    out = tmp_path_factory.mktemp("distilled") / "run"
    words = (
        "distill", tiny().run, "--data", tiny().data, "--out", out,
        "--beats.no-second-opinion", "--network.templates", 2,
        "--training.num-epochs", 3, "--training.batch-size", 64,
        "--training.learning-rate", 0.02,
    )  # fmt: skip
    status, said, wrong = command(*words)
    assert status == 0, wrong
    return out, said, words


def test_the_command_trains_factors_and_reports(distilled):
    out, said, _ = distilled
    metrics = json.loads((out / "metrics.json").read_text())
    found = metrics["distillation"]
    assert 0.5 < found["share"] <= 1 and found["num"] > 0
    assert any(name.startswith("component P") for name in found["kinds"])
    assert "Agreement on " in said
    assert metrics["coverage"]["proven_normal"] == 1
    assert metrics["coverage"]["proven_not_normal"] == 1
    page = (out / "report.html").read_text()
    assert "answers as its teacher" in page and "The network as an equation" in page
    assert "Each term is one template" in page
    config = json.loads((out / "config.json").read_text())
    assert config["teacher"] == "run" and len(config["sha256"]) == 64
    assert config["tree"]["select"] == "frequent"
    status, again, _ = command(*distilled[2], "--resume")
    assert status == 0 and "is complete" in again


def test_pictures_are_the_networks_own_templates(distilled):
    network, tree, _ = load_run(distilled[0])
    params = network.variables["params"]
    with jax.enable_x64(True):
        own = own_templates(tree)
    assert len(own) == len(tree.nodes) - 1
    for i, template in own.items():
        sign = tree.nodes[i].sign
        side = params["normal_templates" if sign > 0 else "other_templates"]
        away = np.abs(sign * np.asarray(side) - template).max((1, 2))
        assert away.min() < 1e-6
    assert own_templates(load_run(tiny().run)[1]) == {}


def test_each_template_is_a_component_unless_told_otherwise():
    config = RunConfig(network=NetworkConfig(kind="templates", templates=5))
    assert config.grown.budget == 5 and config.grown.select == "frequent"
    assert config.to_json()["tree"]["budget"] == 5
    told = replace(config, tree=TreeConfig(budget=3))
    assert told.grown == TreeConfig(budget=3)
    assert RunConfig().grown == TreeConfig()


def test_factored_anew_each_template_is_a_component(distilled, monkeypatch):
    def ended(run, resume):
        return {"tree": run.config.grown}

    monkeypatch.setattr(foreign, "complete", ended)
    data = str(tiny().data)
    grown = foreign.factor_model(distilled[0], data, None, Path("unused"))["tree"]
    assert (grown.depth, grown.budget, grown.select) == (1, 2, "frequent")


def test_its_card_names_the_teacher(distilled):
    card = json.loads((distilled[0] / "model" / "manifest.json").read_text())["card"]
    assert card["title"] == "templates on data, distilled from run"


def test_a_teacher_with_another_window(tmp_path):
    status, _, wrong = command(
        "distill", tiny().run, "--data", tiny().data, "--out", tmp_path / "o",
        "--beats.no-second-opinion", "--beats.before-s", 0.2,
    )  # fmt: skip
    assert status == 2
    assert "takes windows of [1 lead, 65 samples], the beats are" in wrong
