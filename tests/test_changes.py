"""Small changes of a beat, by the part that is changed."""

import numpy as np
import pytest

from ecg_jax.cells.changes import changes
from ecg_jax.cells.morphology import Morphology, measure, segments

RATE, BEFORE = 100.0, 0.25
TIME = np.arange(65) / RATE - BEFORE


def bump(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


BEAT = bump(-0.16, 0.02, 0.15) + bump(0, 0.012, 1.2) + bump(0.24, 0.04, 0.3)
SHAPE = measure(BEAT, RATE, BEFORE)
PARTS = {part.name: part for part in segments(SHAPE, TIME)}


def change(name, beat=BEAT, shape=SHAPE):
    return changes(PARTS[name], shape, TIME, beat)


def test_each_part_has_its_changes():
    assert {name: [short for _, short in change(name)] for name in PARTS} == {
        "before P": [],
        "P-PR": ["higher"],
        "QRS": ["larger", "wider"],
        "ST": ["higher"],
        "T": ["higher"],
        "after T": [],
    }


def test_a_larger_qrs_is_a_tenth_of_its_deflection():
    larger = change("QRS")["a QRS 10% larger", "larger"]
    inside = PARTS["QRS"].holds(TIME)
    np.testing.assert_allclose(larger[inside], 0.1 * (BEAT - SHAPE.zero_mv)[inside])
    assert not larger[~inside].any()


def test_a_wider_qrs_measures_wider_and_as_high():
    wider = BEAT + change("QRS")["a QRS 10% wider", "wider"]
    found = measure(wider, RATE, BEFORE)
    assert found.qrs_ms == pytest.approx(1.1 * SHAPE.qrs_ms, rel=0.05)
    assert found.r_mv == pytest.approx(SHAPE.r_mv, abs=0.02)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_higher_t_is_a_tenth_of_a_millivolt_higher(sign):
    beat = BEAT - bump(0.24, 0.04, 0.3) * (1 - sign)
    shape = measure(beat, RATE, BEFORE)
    higher = beat + change("T", beat, shape)["a T 0.1 mV higher", "higher"]
    found = measure(higher, RATE, BEFORE)
    assert found.t_mv == pytest.approx(shape.t_mv + 0.1, abs=0.01)


def test_a_level_is_raised_where_no_wave_stands_out():
    flat = bump(0, 0.012, 1.2)
    shape = measure(flat, RATE, BEFORE)
    for name, where in (("P-PR", "before the QRS"), ("T", "at the T")):
        added = change(name, flat, shape)[f"a level {where} 0.1 mV higher", "higher"]
        np.testing.assert_allclose(added, 0.1 * PARTS[name].holds(TIME))


def test_a_slope_before_the_qrs_is_no_wave():
    slope = BEAT - bump(-0.16, 0.02, 0.15) + 0.5 * np.exp(-(TIME + 0.25) / 0.06)
    shape = measure(slope, RATE, BEFORE)
    ((words, _),) = change("P-PR", slope, shape)
    assert words == "a level before the QRS 0.1 mV higher"


def test_a_qrs_that_was_not_measured_is_not_changed():
    parts = segments(Morphology(), TIME)
    assert parts[1].name == "QRS" and not parts[1].measured
    assert changes(parts[1], Morphology(), TIME, BEAT) == {}
