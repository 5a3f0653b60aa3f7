"""What a component weighs: networks whose templates are known."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_trees import bare, node, with_nodes

from ecg_jax.cells.morphology import Morphology, measure, segments
from ecg_jax.cells.sketch import composite
from ecg_jax.cells.weighing import WEIGHING_RULE, Scale, weigh
from ecg_jax.cells.weighing_words import words
from ecg_jax.errors import ExampleError
from ecg_jax.tree.atoms import templates

RATE, BEFORE = 100.0, 0.25
TIME = np.arange(65) / RATE - BEFORE


def bump(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


def beats(num=60, seed=0, leads=1, t=0.3):
    """Upright beats whose parts vary, each by itself, and noise."""
    rng = np.random.default_rng(seed)
    size = rng.normal(1, 0.2, (3, num, 1, 1))
    parts = (bump(-0.16, 0.02, 0.15), bump(0, 0.012, 1.2), bump(0.24, 0.04, t))
    whole = sum(s * part for s, part in zip(size, parts, strict=True))
    return whole + rng.normal(0, 0.01, (num, leads, 65))


def sketch_of(x, rr=None):
    record = np.arange(len(x)) % 7
    intervals = None if rr is None else np.full(len(x), rr)
    return composite(
        x,
        record,
        ["N"] * len(x),
        np.ones(len(x)),
        sample_rate_hz=RATE,
        before_s=BEFORE,
        rr_before_s=intervals,
        rr_after_s=intervals,
    )


def network(template, offset=0.5):
    """Affine on beats, yet with gates: they open far away only."""

    def fn(x):
        far = jax.nn.relu(x[0, 0] - 1e3) - jax.nn.relu(x[0, 1] - 1e3)
        return jnp.sum(jnp.asarray(template) * x) + offset + far

    return fn


def weighing_of(fn, x, sign=1, **more):
    """Of a component of a function that is frozen at the first beat."""
    tree = bare(fn, x)
    tree = with_nodes(tree, node(tree, sign, 1, x[0], name="P1"))
    template, value = templates(tree, {1: x})[1]
    scale = Scale.of(x, "mV")
    return weigh(template, value, x, sketch_of(x), scale, **more)


def only(start, stop, weight=1.0):
    """A template on some seconds alone."""
    inside = (start - 1e-6 <= TIME) & (stop - 1e-6 > TIME)
    return np.where(inside, weight, 0.0)[None]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_template_of_a_linear_network_is_found(sign):
    x = beats()
    template = np.random.default_rng(1).normal(size=(1, 65))
    found = weighing_of(network(template), x, sign)
    np.testing.assert_allclose(found.template, template, atol=1e-12)
    np.testing.assert_allclose(found.spread, 0, atol=1e-12)
    assert found.offset == pytest.approx(0.5)
    assert found.level == pytest.approx(0.5 + (template * x.mean(0)).sum())
    assert found.num_templates == 1 and found.num_beats == 60
    assert found.told == pytest.approx(1)


@pytest.mark.parametrize("name", ["P-PR", "QRS", "ST", "T", "after T"])
def test_a_network_that_looks_at_one_part_weighs_that_part(name):
    x = beats()
    parts = segments(sketch_of(x).shapes[0], TIME)
    (own,) = [part for part in parts if part.name == name]
    found = weighing_of(network(only(own.start_s, own.stop_s)), x)
    assert found[name].share == pytest.approx(1)
    assert found[name].share_up == pytest.approx(1)
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    assert words(found).startswith(f"{name} 100% in ")


def test_contributions_add_up_to_the_mean_value():
    rng = np.random.default_rng(2)
    one, two, head = (
        rng.normal(size=(8, 65)),
        rng.normal(size=(6, 8)),
        rng.normal(size=6),
    )

    def fn(x):
        return head @ jax.nn.relu(two @ jax.nn.relu(one @ x[0]))

    x = beats()
    tree = bare(fn, x)
    tree = with_nodes(tree, node(tree, 1, 1, x[0], name="P1"))
    for i, (template, value) in templates(tree, {0: x, 1: x}).items():
        found = weigh(template, value, x, sketch_of(x), Scale.of(x, "mV"))
        total = found.level + sum(part.contribution for part in found.parts)
        assert total == pytest.approx(tree.values(x)[:, i].mean())
        assert found.num_templates > 1 and found.told < 1
        assert f"templates at {len(x)} beats" in words(found)


def test_parts_are_named_by_their_share_over_that_of_the_time():
    x = np.random.default_rng(3).normal(size=(60, 1, 65)) + beats()
    cell = sketch_of(beats())
    template = np.ones((60, 1, 65)) + 2 * only(-0.03, 0.03)
    found = weigh(template, np.ones(60), x, cell, Scale.of(x, "mV"))
    assert max(found.parts, key=lambda part: part.share).name != "QRS"
    assert words(found).startswith("QRS ")
    assert words(found).count("of the time") == 1


def test_it_is_said_where_a_mean_tells_little():
    x = beats()
    sign = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None, None]
    template = sign * only(0.15, 0.35)
    found = weigh(
        template, (template * x).sum((1, 2)), x, sketch_of(x), Scale.of(x, "")
    )
    assert not found.is_typical and found.told < 0.25
    assert words(found).endswith("in the cell, so it stands for few of them.")
    half = weigh(
        template + 0.01, (template * x).sum((1, 2)), x, sketch_of(x), Scale.of(x, "")
    )
    assert words(half).startswith("2 templates at 60 beats; their mean tells ")
    assert "so it stands for few of them: QRS" in words(half)
    steady = weighing_of(network(only(0.15, 0.35)), x)
    assert steady.is_typical and "few of them" not in words(steady)


def test_of_beats_too_different_no_direction_is_said():
    x = beats()
    noisy = x + np.random.default_rng(0).normal(0, 1, x.shape)
    found = weighing_of(network(only(-0.03, 0.03)), noisy)
    assert sketch_of(noisy).is_mixed and not sketch_of(x).is_mixed
    assert all(part.effects == () for part in found.parts)
    assert "QRS and T in fixed windows around R" in words(found)


def test_what_does_not_vary_weighs_nothing():
    x = beats()
    x[:, :, 40:] = 0
    template = np.ones((1, 65))
    found = weighing_of(network(template), x)
    varied = np.flatnonzero(x.std(0)[0])
    assert varied.max() == 39
    late = [part for part in found.parts if part.segment.start_s > TIME[39]]
    assert late and all(part.share == 0 for part in late)


def test_directions_are_those_of_the_weights():
    x = beats()
    shape = sketch_of(x).shapes[0]
    t_wave = bump(shape.t_s, 0.04, 1.0)[None]
    found = weighing_of(network(t_wave), x)
    (effect,) = found["T"].effects
    inside = found["T"].segment.holds(TIME)
    median = np.median(x, 0)[0] - shape.zero_mv
    wave = 0.1 * np.clip(median / shape.t_mv, 0, 1) * inside
    assert effect.gain == pytest.approx((t_wave * wave).sum())
    assert (effect.agree, effect.net) == (1, pytest.approx(1))
    assert effect.is_clear and effect.verb == "raises"
    assert words(found).startswith(
        "T >99% in 31% of the time (higher raises the margin); one template"
    )
    lowered = weighing_of(network(-t_wave), x)
    assert "(higher lowers the margin)" in words(lowered)


def test_an_inverted_t_is_raised_toward_the_line():
    x = beats(t=-0.3)
    shape = sketch_of(x).shapes[0]
    assert shape.t_polarity == "inverted"
    found = weighing_of(network(bump(shape.t_s, 0.03, 1.0)[None]), x)
    assert found["T"].effects[0].gain > 0


def test_what_slopes_before_the_qrs_is_no_wave():
    x = beats()
    wave = weighing_of(network(np.ones((1, 65))), x)["P-PR"].effects[0]
    assert wave.change == "a deflection before the QRS 0.1 mV higher"
    x = x - bump(-0.16, 0.02, 0.15) + 0.5 * np.exp(-(TIME + 0.25) / 0.06)
    found = weighing_of(network(np.ones((1, 65))), x)["P-PR"]
    assert found.effects[0].change == "a level before the QRS 0.1 mV higher"
    inside = found.segment.holds(TIME)
    assert found.effects[0].gain == pytest.approx(0.1 * inside.sum())


def test_a_qrs_is_made_larger_and_wider():
    x = beats()
    larger = weighing_of(network(bump(0, 0.012, 1.0)[None]), x)
    assert [e.short for e in larger["QRS"].effects] == ["larger", "wider"]
    shape = sketch_of(x).shapes[0]
    own = larger["QRS"].segment.holds(TIME)
    deflection = (np.median(x, 0)[0] - shape.zero_mv) * own
    gain = (bump(0, 0.012, 1.0) * deflection).sum() * 0.1
    assert larger["QRS"].effects[0].gain == pytest.approx(gain)
    flanks = bump(-0.025, 0.008, 1.0) + bump(0.025, 0.008, 1.0)
    wider = weighing_of(network(-flanks[None]), x)["QRS"].effects[1]
    assert wider.gain < 0 and wider.is_clear


def test_weights_that_cancel_have_no_direction():
    x = beats()
    part = segments(sketch_of(x).shapes[0], TIME)[3]
    assert part.name == "ST"
    inside = part.holds(TIME)
    zigzag = np.zeros((1, 65))
    zigzag[0, inside] = (-1.0) ** np.arange(inside.sum())
    found = weighing_of(network(zigzag), x)
    (effect,) = found["ST"].effects
    assert not effect.is_clear and effect.net < 0.2
    assert words(found) == (
        "ST 100% in 17% of the time; one template for all 60 beats looked at."
    )


def test_templates_that_disagree_have_no_direction():
    x = beats(num=40)
    inside = only(0.2, 0.3)
    value = np.ones(40)
    template = inside[None] * np.where(np.arange(40) < 25, 1.0, -1.0)[:, None, None]
    found = weigh(template, value, x, sketch_of(x), Scale.of(x, "mV"))
    (effect,) = found["T"].effects
    assert effect.agree == 25 / 40 and not effect.is_clear
    assert found.num_templates == 2 and found.told is None


def test_a_unit_of_the_input_in_millivolts():
    x = beats()
    template = only(0.05, 0.4)
    one = weighing_of(network(template), x)
    half = weighing_of(network(template), x, unit_mv=0.5)
    for a, b in zip(one.parts, half.parts, strict=True):
        gains = [(e.gain, f.gain) for e, f in zip(a.effects, b.effects, strict=True)]
        assert all(g == pytest.approx(2 * f) for f, g in gains)


def test_several_leads_share_the_weight():
    x = beats(leads=2)
    template = np.concatenate([only(-0.03, 0.04), 3 * only(-0.03, 0.04)])
    found = weighing_of(network(template), x)
    spread = x.std(0)
    expected = np.abs(template * spread).sum(1)
    np.testing.assert_allclose(found.by_lead, expected / expected.sum())
    qrs = [found[f"QRS lead {k}"].share for k in (1, 2)]
    np.testing.assert_allclose(qrs, found.by_lead, atol=0.1)
    assert words(found).startswith("lead 2 75%: QRS 75% in 5% of the samples (larger ")
    assert " | lead 1 25%: QRS 25% in 5% (larger raises it" in words(found)
    for k, own in enumerate(found.each_lead):
        assert own.leads == (f"lead {k + 1}",) and own.template.shape == (1, 65)
        assert sum(part.share for part in own.parts) == pytest.approx(found.by_lead[k])


def test_neighbouring_beats_are_named():
    x = beats()
    near = sketch_of(x, rr=0.3)
    template = np.tile(only(0.35, 0.4), (60, 1, 1))
    found = weigh(template, np.ones(60), x, near, Scale.of(x, "mV"))
    assert found.neighbours == ("after T",)
    told = "after T 100% in 8% of the time (the next beat lies in it); one "
    assert words(found).startswith(told)


def test_a_window_of_several_beats():
    time = np.arange(500) / RATE - 2.5
    x = np.zeros((6, 1, 500))
    for center in (-1.6, -0.8, 0, 0.8, 1.6):
        x += 1.2 * np.exp(-0.5 * ((time - center) / 0.012) ** 2)
    x *= np.linspace(0.5, 1.5, 6)[:, None, None]
    sketch = composite(
        x, np.arange(6), ["N"] * 6, np.ones(6), sample_rate_hz=RATE, before_s=2.5
    )
    template = np.ones((6, 1, 500))
    found = weigh(template, np.ones(6), x, sketch, Scale.of(x, "mV"))
    assert found.parts[0].name == "before P"
    assert found["before P"].share == pytest.approx(0.4, abs=0.01)
    assert found["QRS"].share == pytest.approx(0.2, abs=0.01)


def test_where_nothing_is_measured_windows_are_fixed():
    x = np.random.default_rng(0).normal(0, 0.001, (5, 1, 65))
    found = weigh(
        np.ones((5, 1, 65)), np.arange(5.0), x, sketch_of(x), Scale.of(x, "mV")
    )
    assert [round(part.segment.start_s, 2) for part in found.parts] == [
        -0.25,
        -0.05,
        0.05,
        0.16,
    ]
    assert not any(part.segment.measured for part in found.parts)
    assert words(found).endswith(
        "QRS and T in fixed windows around R, for none was measured."
    )


def test_nothing_is_weighed():
    x = beats()
    found = weighing_of(network(np.zeros((1, 65))), x)
    assert words(found) == (
        "nothing: it is constant on these beats; one template for all 60 beats looked "
        "at."
    )


def test_parts_follow_one_another():
    shape = measure(beats().mean(0)[0], RATE, BEFORE)
    parts = segments(shape, TIME)
    names = ["before P", "P-PR", "QRS", "ST", "T", "after T"]
    assert [part.name for part in parts] == names
    assert shape.t_s == pytest.approx(0.24, abs=0.01)
    held = np.stack([part.holds(TIME) for part in parts])
    np.testing.assert_array_equal(held.sum(0), 1)
    for before, after in pairwise(parts):
        assert before.stop_s == after.start_s
    assert segments(Morphology(onset_s=-0.3, offset_s=-0.2), TIME)[0].name == "QRS"


@pytest.mark.usefixtures("unchecked")
def test_arrays_that_do_not_belong_together():
    x = beats(num=4)
    with pytest.raises(ExampleError) as caught:
        weigh(np.ones((3, 2, 65)), np.ones(3), x, sketch_of(x), Scale.of(x, "mV"))
    assert str(caught.value) == (
        "weigh: 3 templates, 3 values and 4 inputs for a composite of shape [1, 65]; "
        "template has shape [2, 65]\n"
        "  why:  a template weighs the samples of a beat, one by one\n"
        "  try:  templates, values and inputs of the same beats, at least one"
    )
    with pytest.raises(KeyError):
        weighing_of(network(np.ones((1, 65))), beats())["U"]


def test_the_rule_says_what_cannot_be_claimed():
    assert "60 ms" in WEIGHING_RULE
    assert "share over their share of the time" in WEIGHING_RULE
    assert "says nothing on whether a P wave is there" in WEIGHING_RULE
