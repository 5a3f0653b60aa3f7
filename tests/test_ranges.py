"""Named changes of beats, their exact ranges, and families of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ecg_jax as ej
from ecg_jax.cells.change_paths import UNITS, shifted
from ecg_jax.errors import DataError, ExampleError, UnsupportedPrimitiveError

RATE, NUM, TIME = 100.0, 24, 125
TIME_S = (np.arange(TIME) - 50) / RATE


def beat(st_mv, t_mv, gain):
    """P, QRS, T as humps, and a raised or lowered ST."""
    x = gain * np.exp(-((TIME_S / 0.012) ** 2))
    x -= 0.2 * gain * np.exp(-(((np.abs(TIME_S) - 0.03) / 0.012) ** 2))
    x += 0.1 * np.exp(-(((TIME_S + 0.16) / 0.025) ** 2))
    x += t_mv * np.exp(-(((TIME_S - 0.3) / 0.05) ** 2))
    inside = 1 / (1 + np.exp(-(TIME_S - 0.06) / 0.006))
    return x + st_mv * inside / (1 + np.exp((TIME_S - 0.25) / 0.02))


def arrays(dtype=np.float32):
    rng = np.random.default_rng(0)
    rows = [beat(0.1 * rng.normal(), 0.3, 1 + 0.1 * rng.normal()) for _ in range(NUM)]
    return (np.stack(rows) + 0.003 * rng.normal(size=(NUM, TIME))).astype(dtype)


ST = np.where((TIME_S > 0.1) & (TIME_S < 0.2), 0.1, 0)
HIDDEN = 0.02 * np.random.default_rng(1).normal(size=(TIME, 16))


def st_is_low(x):
    """Normal where the ST level is below 0.12 mV, and a little of everything."""
    bent = jnp.sum(jax.nn.relu(x @ HIDDEN.astype(x.dtype) - x.dtype.type(0.1)))
    return x.dtype.type(0.12) - x @ ST.astype(x.dtype) - x.dtype.type(0.05) * bent


def given(**options):
    return ej.beats(arrays(), sample_rate_hz=RATE, r_peak_s=0.5, **options)


@pytest.fixture(scope="module")
def found():
    beats = given()
    return ej.ranges(st_is_low, beats, ej.changes(beats))


def test_changes_have_names_and_units_and_are_measured():
    beats = given()
    changes = ej.changes(beats)
    assert dict(changes.units) == dict(UNITS) and changes.names == tuple(UNITS)
    x = beats.inputs()[3]
    for name in changes.names:
        if changes.reasons[name][3]:
            continue
        assert np.allclose(changes.apply(3, name, 0.0), x, atol=1e-7)
    added = changes.apply(3, "ST level", 0.2) - x
    st = (TIME_S > 0.1) & (TIME_S < 0.18)
    assert np.allclose(added[st], 0.2, atol=1e-6)
    assert not added[(TIME_S < 0.02) | (TIME_S > 0.4)].any()
    peak = np.argmax(x * (TIME_S > 0.2))
    taller = changes.apply(3, "T amplitude", 0.1) - x
    assert abs(taller[peak] - 0.1) < 0.02 and not taller[TIME_S < 0.1].any()
    assert np.allclose(changes.apply(3, "gain", 0.5), 1.5 * x, atol=1e-6)
    assert np.allclose(changes.apply(3, "offset", -0.3), x - 0.3, atol=1e-6)
    larger = changes.apply(3, "QRS amplitude", 0.1) - x
    assert larger[50] == pytest.approx(0.1 * x[50], rel=0.2)
    assert not larger[np.abs(TIME_S) > 0.15].any()


def test_hum_that_is_sampled_at_its_zeros_is_not_offered():
    changes = ej.changes(given())
    assert set(changes.reasons["mains sine"]) == {
        "the change leaves every sample as it is"
    }
    assert set(ej.changes(given(), mains_hz=60.0).reasons["mains sine"]) == {""}


def test_a_shift_moves_whole_samples_exactly():
    x = jnp.asarray(arrays()[0])
    assert (shifted(x, jnp.float32(2), 3)[2:] == x[:-2]).all()
    assert (shifted(x, jnp.float32(-3), 3)[:-3] == x[3:]).all()
    half = shifted(x, jnp.float32(0.5), 3)
    assert np.allclose(half[1:], (x[1:] + x[:-1]) / 2, atol=1e-7)
    changes = ej.changes(given())
    moved = changes.apply(0, "shift", 0.02)
    assert np.allclose(moved[2:], x[:-2], atol=1e-6)


def test_ranges_are_those_of_a_grid(found):
    changes, beats = found.changes, found.changes.beats
    assert found.low.shape == found.high.shape == (NUM, len(UNITS))
    evaluate = jax.jit(jax.vmap(st_is_low))
    first = np.asarray(evaluate(beats.inputs())) >= 0
    flips = 0
    for at, name in enumerate(found.names):
        if name == "mains sine":
            assert np.isnan(found.low[:, at]).all() and found.reason(0, name)
            continue
        limit = found.limits[name]
        for t in np.linspace(-limit, limit, 41):
            changed = np.stack([changes.apply(i, name, t) for i in range(NUM)])
            other = (np.asarray(evaluate(changed)) >= 0) != first
            inside = (found.low[:, at] <= t) & (t <= found.high[:, at])
            assert not (inside & other).any()
            flips += other.sum()
        for i in range(0, NUM, 5):
            for side, value in (("low", found.low), ("high", found.high)):
                if np.isfinite(value[i, at]):
                    x = found.flipped(i, name, side)
                    assert (float(st_is_low(x)) >= 0) != first[i]
                    assert (float(jax.jit(st_is_low)(x)) >= 0) != first[i]
    assert flips > 100


def test_the_change_that_a_network_was_made_for_is_the_nearest(found):
    beats = found.changes.beats
    at, normal = found.names.index("ST level"), found.low[:, 0] == -np.inf
    high = found.high[normal, at]
    level = beats.inputs()[normal] @ ST.astype(np.float32)
    assert np.isfinite(high).all() and normal.sum() > 8
    assert np.allclose(high + level, 0.12, atol=0.05)


def test_bars_of_letters_say_where_answers_flip(found):
    lines = found.to_text().splitlines()
    reaches = found.reaches()
    assert len(lines) == len(reaches)
    for line, one in zip(lines, reaches, strict=True):
        bar = line[line.index("[") + 1 : line.index("]")]
        assert line.startswith(one.name) and bar[20] == ":"
        for half, side in ((bar[:20][::-1], one.low), (bar[21:], one.high)):
            at = 20 * side.quartiles[1] / one.limit
            assert half.find("|") == (int(at) if at < 20 else -1)
    most = sorted(reaches, key=lambda r: -max(r.low.flips, r.high.flips))[:2]
    few = found.to_text(most=2)
    assert len(few.splitlines()) == 2 and all(one.name in few for one in most)


def test_a_flip_is_drawn_over_its_beat(found):
    i = int(np.isfinite(found.high[:, 0]).argmax())
    axes = ej.plot.flip(found, i).axes[0]
    dashed = axes.lines[-1].get_ydata()
    told = found.nearest(i, 1)[0]
    side = "low" if told["t"] < 0 else "high"
    assert np.allclose(dashed, found.flipped(i, told["change"], side), atol=1e-6)
    assert told["words"] in axes.get_title(loc="left")
    far = ej.ranges(st_is_low, found.changes.beats, found.changes, 1e-9)
    with pytest.raises(DataError, match="no change flips beat 0 within its limit"):
        ej.plot.flip(far, 0)


def test_a_tree_says_what_takes_over(found):
    beats = found.changes.beats
    tree = ej.grow(st_is_low, beats, depth=1, budget=3)
    of_tree = ej.ranges(tree, beats, found.changes)
    assert np.allclose(of_tree.low, found.low, atol=1e-5, equal_nan=True)
    names = {node.name for node in tree.nodes}
    flips = np.stack([np.isfinite(of_tree.low), np.isfinite(of_tree.high)], axis=2)
    assert set(of_tree.takes_over[flips]) <= names and flips.any()
    assert set(of_tree.takes_over[~flips]) == {""}


def test_paths_of_ones_own():
    def stretched(x, t):  # the second half, louder
        return x + t * jnp.where(np.arange(TIME) > 60, x, 0)

    beats = given()
    changes = ej.changes(beats, {"louder end": stretched})
    few = {name: 1e-6 for name in changes.names} | {"louder end": 3.0}
    found = ej.ranges(st_is_low, beats, changes, few)
    at = found.names.index("louder end")
    for i in np.flatnonzero(np.isfinite(found.high[:, at]))[:3]:
        first = float(st_is_low(beats.inputs()[i])) >= 0
        assert (float(st_is_low(found.flipped(i, "louder end", "high"))) >= 0) != first


def test_families_are_proven_or_broken():
    beats = given()
    changes = ej.changes(beats)
    within = {"ST level": 0.03, "gain": 0.05, "wander cosine": 0.02}
    proof = ej.prove(st_is_low, beats, changes, within)
    assert {"proven", "broken"} <= set(proof.status)
    rng = np.random.default_rng(2)
    for i in range(NUM):
        first = float(st_is_low(beats.inputs()[i])) >= 0
        if proof.status[i] == "broken":
            assert (float(st_is_low(proof.example(i))) >= 0) != first
        elif proof.status[i] == "proven":
            x = beats.inputs()[i].copy()
            for name, most in within.items():
                t = most * rng.choice([-1, 1, rng.uniform(-1, 1)])
                x += changes.apply(i, name, t) - beats.inputs()[i]
            assert (float(st_is_low(x)) >= 0) == first
    assert len(repr(proof)) <= 400 and "proven" in repr(proof)


def test_beats_that_are_not_known_go_on():
    beats = given()
    changes = ej.changes(beats)
    changes.reasons["ST level"][2] = "no T wave with a turning point is found"

    found = ej.ranges(st_is_low, beats, changes)
    assert np.isnan(found.high[2, 0]) and not np.isnan(found.high[3, 0])
    assert found.reason(2, "ST level") == "no T wave with a turning point is found"
    proof = ej.prove(st_is_low, beats, changes, {"ST level": 0.1})
    assert proof.status[2] == "open" and proof.status[3] != "open"
    assert proof.reason(2) == "ST level: no T wave with a turning point is found"
    with pytest.raises(DataError, match="beat 2 has no flip at its high side"):
        found.flipped(2, "ST level", "high")


WRONG = {
    "a limit of zero": (
        lambda b, c: ej.ranges(st_is_low, b, c, 0),
        "the limit of 'ST level' is 0, not a positive number",
    ),
    "an infinite limit": (
        lambda b, c: ej.ranges(st_is_low, b, c, np.inf),
        "the limit of 'ST level' is inf, not a positive number",
    ),
    "a shift in milliseconds": (
        lambda b, c: ej.ranges(st_is_low, b, c, {"shift": 50}),
        "'shift' within 50 seconds: that is no small change",
    ),
    "a gain in per cent": (
        lambda b, c: ej.prove(st_is_low, b, c, {"gain": 10}),
        "'gain' within 10 (a fraction: 1 is 100%): that is no small change",
    ),
    "an unknown limit": (
        lambda b, c: ej.ranges(st_is_low, b, c, {"U wave": 1.0}),
        "there is no change 'U wave'",
    ),
    "other beats": (
        lambda b, c: ej.ranges(st_is_low, given(), c),
        "the changes are of other beats",
    ),
    "an unknown box": (
        lambda b, c: ej.prove(st_is_low, b, c, {"U wave": 1.0}),
        "there is no change 'U wave'",
    ),
    "an empty box": (
        lambda b, c: ej.prove(st_is_low, b, c, {}),
        "no change is named",
    ),
    "a shift in a box": (
        lambda b, c: ej.prove(st_is_low, b, c, {"shift": 0.01}),
        "'shift' moves a beat on no straight line",
    ),
    "a box of no size": (
        lambda b, c: ej.prove(st_is_low, b, c, {"gain": -0.1}),
        "'gain' is within -0.1, not a positive number",
    ),
    "a name that is taken": (
        lambda b, c: ej.changes(b, {"gain": lambda x, t: x}),
        "there is a change 'gain' already",
    ),
    "a frequency of zero": (
        lambda b, c: ej.changes(b, mains_hz=0),
        "mains_hz=0 is no positive number",
    ),
    "no such change": (
        lambda b, c: c.apply(0, "U wave", 0.1),
        "there is no change 'U wave'",
    ),
    "a change that is not offered": (
        lambda b, c: c.apply(0, "mains sine", 0.1),
        "'mains sine' is not offered for beat 0: the change leaves every sample",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name):
    call, message = WRONG[name]
    beats = given()
    with pytest.raises(DataError) as caught:
        call(beats, ej.changes(beats))
    assert str(caught.value).startswith(message) and "try:" in str(caught.value)


def bent(x):
    """Smooth, and normal where the ST level is low."""
    wave = jnp.sum(jax.nn.softplus(x @ HIDDEN.astype(x.dtype)))
    return 0.31 - x @ ST - 0.02 * wave


def test_smooth_functions_have_brackets():
    beats = ej.beats(arrays(np.float64), sample_rate_hz=RATE, r_peak_s=0.5)
    found = ej.ranges(bent, beats, ej.changes(beats), {"shift": 0.01})
    at = found.names.index("ST level")
    flips = np.isfinite(found.high[:, at])
    assert flips.any() and (found.beyond[flips, at, 1] >= found.high[flips, at]).all()
    width = (found.beyond[:, at, 1] - found.high[:, at])[flips]
    assert width.max() < 1e-5
    for i in np.flatnonzero(flips)[:4]:
        first = float(bent(jnp.asarray(beats.inputs()[i]))) >= 0
        x = found.flipped(i, "ST level", "high")
        assert (float(bent(jnp.asarray(x))) >= 0) != first


@pytest.mark.usefixtures("unchecked")
def test_arrays_in_place_of_beats():
    with pytest.raises(ExampleError, match="beats is a ndarray, not Beats"):
        ej.changes(arrays())
    with pytest.raises(ExampleError, match="found is a Beats, not Ranges"):
        ej.plot.ranges(given())


def test_smooth_gates_of_several_values_are_refused():
    beats = given()
    changes = ej.changes(beats)
    with pytest.raises(UnsupportedPrimitiveError, match="over a box"):
        ej.ranges(lambda x: jnp.linalg.norm(x) - 3, beats, changes)
    with pytest.raises(UnsupportedPrimitiveError, match="over a box"):
        ej.prove(lambda x: jnp.linalg.norm(x) - 3, beats, changes, {"gain": 0.1})
