"""The synthetic recordings: the model's equations, the bits, the morphologies."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ecg_jax.ecg import synth
from ecg_jax.ecg.mcsharry import Waves, blocks, leak, rr_intervals, sum_waves
from ecg_jax.ecg.synth import SyntheticFolder, kinds_of, synthesize
from ecg_jax.ecg.waveforms import KINDS
from ecg_jax.errors import DataError, MissingFileError

HZ = 300.0


@pytest.fixture(scope="module")
def one_of_each() -> dict[str, synth.Synthetic]:
    return {kind: synthesize(3, 32, mixture=(kind,)) for kind in KINDS}


def upright(data: synth.Synthetic) -> np.ndarray:
    return data.signal * np.where(data.inverted, -1, 1)[:, None]


def mean_beats(data: synth.Synthetic, kind: str) -> np.ndarray:
    """Mean beat of each recording, -300 to +500 ms, against the level before it."""
    rows = []
    for signal, r, kinds in zip(upright(data), data.r, data.beat_kind, strict=True):
        at = r[(kinds == KINDS.index(kind)) & (r > 100) & (r < signal.size - 160)]
        beat = np.mean([signal[i - 90 : i + 150] for i in at], 0)
        rows.append(beat - np.median(beat[:20]))
    return np.array(rows)


def test_solution_satisfies_the_differential_equations_of_the_paper():
    angle = np.deg2rad([-70.0, -15.0, 0.0, 15.0, 100.0])
    a, b = np.array([1.2, -5, 30, -7.5, 0.75]), np.array([0.25, 0.1, 0.1, 0.1, 0.4])
    rr, z0_hz, z0_mv, oversample = 0.9, 0.25, 0.01, 4
    omega = 2 * math.pi / rr

    def slope(t: float, state: np.ndarray) -> np.ndarray:
        x, y, z = state
        alpha = 1 - math.hypot(x, y)
        away = (math.atan2(y, x) - angle + math.pi) % (2 * math.pi) - math.pi
        push = -np.sum(a * away * np.exp(-(away**2) / (2 * b**2)))
        z0 = z0_mv * math.sin(2 * math.pi * z0_hz * t)
        return np.array([alpha * x - omega * y, alpha * y + omega * x, push - (z - z0)])

    starts, steps = blocks(int(24 * HZ), HZ)
    num, h = len(starts) * len(steps), 1 / (oversample * HZ)
    state, runge_kutta = np.array([1.0, 0.0, 0.0]), np.zeros(num)
    for n in range(oversample * num):
        if n % oversample == 0:
            runge_kutta[n // oversample] = state[2]
        t = n * h
        k1 = slope(t, state)
        k2 = slope(t + h / 2, state + h / 2 * k1)
        k3 = slope(t + h / 2, state + h / 2 * k2)
        k4 = slope(t + h, state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    r = np.arange(-1, 30, dtype=np.float32) * np.float32(rr)  # theta = 0 at t = 0
    every = np.ones((len(r), 1), np.float32)
    waves = Waves(
        jnp.asarray(r),
        *(
            jnp.asarray(every * row.astype(np.float32))
            for row in (angle / omega, b / omega, a * b**2 / omega)
        ),
    )
    z = sum_waves(waves, starts, steps)
    z = np.asarray(z - leak(z, HZ)).reshape(-1)
    turn = 2 * math.pi * z0_hz
    when = np.arange(num) / HZ
    z = z + z0_mv / math.hypot(1, turn) * np.sin(turn * when - math.atan(turn))
    settled = when > 12  # e^-12 of the initial state is left
    error = np.abs(z - runge_kutta)[settled].max()
    assert error < 1e-3 * np.ptp(runge_kutta)


def test_rr_intervals_have_the_spectrum_asked_for():
    num = 4096
    phase = jax.random.uniform(jax.random.key(0), (64, 18), jnp.float32, 0, 2 * math.pi)
    f32 = jnp.float32
    rr = jax.vmap(lambda p: rr_intervals(p, f32(0.8), f32(0.04), f32(0.25), num))(phase)
    rr = np.asarray(rr, np.float64)
    power = np.mean(np.abs(np.fft.rfft(rr - rr.mean(1, keepdims=True))) ** 2, 0)
    hz = np.fft.rfftfreq(num, 0.8)
    low, high = (power[(hz > c - 0.06) & (hz < c + 0.06)].sum() for c in (0.1, 0.25))
    assert rr.mean() == pytest.approx(0.8, abs=1e-3)
    assert rr.std(1).mean() == pytest.approx(0.04, rel=0.02)
    assert low / high == pytest.approx(0.5, rel=0.05)
    assert (low + high) / power.sum() > 0.99


def test_same_seed_same_bits_and_each_recording_by_itself():
    first, again = synthesize(7, 70), synthesize(7, 70)
    for name in ("signal", "r", "p", "t", "beat_kind", "inverted", "num_samples"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.kinds == again.kinds
    for start, count in ((0, 1), (31, 3), (45, 25), (69, 1)):
        some = synthesize(7, count, start=start)
        assert np.array_equal(some.signal, first.signal[start : start + count])
        assert np.array_equal(some.r, first.r[start : start + count])
        assert some.kinds == first.kinds[start : start + count]
    assert not np.array_equal(synthesize(8, 70).signal, first.signal)
    folder = SyntheticFolder(seed=7, num_recordings=70)
    assert np.array_equal(folder.read("S00045").signal[0], first.signal[45])


def test_bits_do_not_depend_on_x64():
    wide = synthesize(1, 8, duration_s=9.0)
    with jax.enable_x64(False):
        narrow = synthesize(1, 8, duration_s=9.0)
    assert np.array_equal(wide.signal, narrow.signal)
    assert np.array_equal(wide.r, narrow.r)
    assert wide.kinds == narrow.kinds


def test_signals_are_float32_millivolts_of_an_ecg(one_of_each):
    for kind, data in one_of_each.items():
        assert data.signal.dtype == np.float32
        assert data.r.dtype == np.int32
        assert np.isfinite(data.signal).all()
        assert np.abs(data.signal * 1000 - np.round(data.signal * 1000)).max() < 1e-3
        if kind != "noise":
            assert np.abs(data.signal).max() < 5
            height = np.ptp(np.median(mean_beats(data, kind), 0))
            assert 0.4 < height < 2.5


def test_positions_are_ordered_and_lie_on_the_waves(one_of_each):
    data = one_of_each["normal"]
    all_there = (data.r >= 0) & (data.p >= 0) & (data.t >= 0)
    assert all_there.sum() > 32 * 20
    assert (data.p < data.r)[all_there].all() and (data.r < data.t)[all_there].all()
    signal = upright(data)
    for row in range(32):
        r = data.r[row][data.r[row] > 30]
        assert (np.diff(r) > 0.45 * HZ).all()
        peak = [np.argmax(signal[row, i - 15 : i + 16]) - 15 for i in r]
        assert np.abs(np.median(peak)) <= 1
    beat = np.median(mean_beats(data, "normal"), 0)
    p, qrs, t = beat[30:60], beat[80:100], beat[150:200]
    assert 0.03 < p.max() < 0.25 and 0.3 < qrs.max() < 2 and 0.05 < t.max() < 0.5


def test_bundle_branch_blocks_and_pvcs_are_wide(one_of_each):
    def width_s(kind: str) -> float:
        beats = mean_beats(one_of_each[kind], kind)[:, 60:140]
        fast = np.abs(np.diff(beats, axis=1))
        fast = fast > 0.12 * fast.max(1, keepdims=True)
        return float(np.median([np.ptp(np.flatnonzero(row)) for row in fast]) / HZ)

    assert width_s("normal") < 0.12
    assert width_s("af") < 0.12
    for kind in ("lbbb", "rbbb", "pvc"):
        assert width_s(kind) > 0.12, kind


def test_bundle_branch_blocks_look_like_lead_one(one_of_each):
    left = mean_beats(one_of_each["lbbb"], "lbbb")
    right = mean_beats(one_of_each["rbbb"], "rbbb")
    normal = mean_beats(one_of_each["normal"], "normal")
    assert (left[:, 165:180].mean(1) < 0).all()  # discordant T
    assert (left[:, 78:100].min(1) > 0).mean() > 0.8  # no q, no S
    depth = [np.median(beats[:, 100:115].min(1)) for beats in (right, normal)]
    assert depth[0] < depth[1] - 0.1  # slurred S
    assert (right[:, 165:180].mean(1) > 0).mean() > 0.8


def test_st_elevation_and_inverted_t(one_of_each):
    st = mean_beats(one_of_each["st_elevation"], "st_elevation")[:, 114:135].mean(1)
    normal = mean_beats(one_of_each["normal"], "normal")[:, 114:135].mean(1)
    assert np.median(st) > 0.1 and np.abs(np.median(normal)) < 0.05
    t_wave = mean_beats(one_of_each["inverted_t"], "inverted_t")[:, 160:185]
    assert (t_wave.mean(1) < 0).all()


def test_a_pvc_is_early_has_no_p_and_a_full_pause(one_of_each):
    data = one_of_each["pvc"]
    ratios, coupling = [], []
    for row in range(32):
        r = data.r[row][data.r[row] >= 0]
        pvc = data.beat_kind[row][data.r[row] >= 0] == KINDS.index("pvc")
        assert pvc.any() and not (pvc[1:] & pvc[:-1]).any()
        assert (data.p[row][data.beat_kind[row] == KINDS.index("pvc")] == -1).all()
        rr = np.diff(r)
        for k in np.flatnonzero(pvc[2:-2]) + 2:
            if not pvc[k - 2] and not pvc[k + 2]:
                ratios.append((r[k + 1] - r[k - 1]) / np.median(rr))
                coupling.append((r[k] - r[k - 1]) / np.median(rr))
    assert np.median(ratios) == pytest.approx(2, abs=0.1)
    assert 0.5 < np.median(coupling) < 0.75


def test_af_is_irregular_without_p_and_fibrillates(one_of_each):
    af, normal = one_of_each["af"], one_of_each["normal"]
    assert (af.p == -1).all()

    def spread(data):
        rr = [np.diff(r[r >= 0]) for r in data.r]
        variation = [x.std() / x.mean() for x in rr]
        neighbours = [np.corrcoef(x[1:], x[:-1])[0, 1] for x in rr]
        return np.median(variation), np.median(neighbours)

    assert spread(af)[0] > 0.14 and abs(spread(af)[1]) < 0.25
    assert 0.01 < spread(normal)[0] < 0.08
    share = []
    for data in (af, normal):
        ratio = []
        for signal, r in zip(data.signal, data.r, strict=True):
            gaps = [
                signal[b - 110 : b - 20]
                for a, b in itertools.pairwise(r)
                if a >= 0 and b - a > 260
            ]
            for gap in gaps:
                hann = np.hanning(90) * (gap - gap.mean())
                power = np.abs(np.fft.rfft(hann, 900)) ** 2
                hz = np.fft.rfftfreq(900, 1 / HZ)
                ratio.append(power[(hz > 4) & (hz < 9)].sum() / power.sum())
        share.append(np.median(ratio))
    assert share[0] > 0.3


def test_noise_hides_the_beats(one_of_each):
    rough = {
        kind: np.median(np.std(np.diff(data.signal, axis=1), axis=1))
        for kind, data in one_of_each.items()
    }
    assert rough["noise"] > 3 * rough["normal"]


def test_a_fifth_of_the_leads_is_inverted():
    assert 0.15 < synthesize(0, 480).inverted.mean() < 0.25


def test_every_block_holds_the_mixture():
    kinds = kinds_of(0, 60)
    for block in (kinds[:20], kinds[20:40], kinds[40:]):
        assert sorted(block) == sorted(synth.MIXTURE)
    assert kinds[:20] != kinds[20:40]
    assert kinds_of(0, 30, start=17) == kinds[17:47]


def test_lengths_vary_and_positions_stay_inside():
    data = synthesize(5, 40, duration_s=(9.0, 61.0))
    assert data.num_samples.min() >= 9 * HZ and data.num_samples.max() <= 61 * HZ
    assert np.ptp(data.num_samples) > 30 * HZ
    for positions in (data.r, data.p, data.t):
        assert (positions.max(1) < data.num_samples).all()
    last = data.r.max(1)
    assert ((data.num_samples - last) / HZ < 2.5).all()
    folder = SyntheticFolder(5, 40, duration_s=(9.0, 61.0))
    lengths = [folder.read(name).signal.shape[1] for name in folder.names]
    assert lengths == data.num_samples.tolist()


@pytest.mark.parametrize("hz", [100.0, 360.0])
def test_another_rate_is_the_same_ecg(hz):
    data = synthesize(0, 4, sample_rate_hz=hz, mixture=("normal",))
    assert data.signal.shape == (4, round(30 * hz))
    for signal, r in zip(upright(data), data.r, strict=True):
        r = r[(r > 0.1 * hz) & (r < 29.5 * hz)]
        near = [signal[i - round(hz / 30) : i + round(hz / 30) + 1].max() for i in r]
        assert np.allclose(signal[r], near, atol=0.12)


def test_folder_reads_like_a_recording_folder():
    folder = SyntheticFolder(seed=2, num_recordings=25)
    assert folder.names[0] == "S00000" and len(folder.names) == 25
    assert folder.excluded == {}
    assert "McSharry" in folder.citation and "25 synthetic" in folder.title
    for name in folder.names:
        recording = folder.read(name)
        assert recording.name == name
        assert recording.signal.shape == (1, 9000)
        assert recording.sample_rate_hz == 300.0
        assert recording.label == folder.labels[name]
        assert recording.label == synth.LABEL_OF_KIND[folder.kinds[name]]
        assert recording.beat_labels is None
        assert len(recording.beat_kinds) == len(recording.beat_samples) > 10
        truth = set(recording.beat_kinds)
        assert truth == {folder.kinds[name]} | (truth & {"normal"})
    assert folder == SyntheticFolder(seed=2, num_recordings=25)


def test_detector_finds_the_beats_where_they_are():
    import sleepecg

    data = synthesize(11, 100)
    hits = found = there = 0
    for signal, r, kind in zip(data.signal, data.r, data.kinds, strict=True):
        if kind == "noise":
            continue
        r = r[(r > 0.5 * HZ) & (r < 29.5 * HZ)]
        peaks = sleepecg.detect_heartbeats(signal.astype(np.float64), HZ)
        peaks = peaks[(peaks > 0.35 * HZ) & (peaks < 29.65 * HZ)]
        away = np.abs(peaks[:, None] - r[None, :]).min(0)
        hits, there = hits + (away < 0.1 * HZ).sum(), there + len(r)
        found += len(peaks)
    assert hits / there > 0.97 and found / there < 1.06


def test_errors_say_what_to_try():
    with pytest.raises(MissingFileError) as missing:
        SyntheticFolder(0, 3).read("S00003")
    assert str(missing.value) == (
        "3 synthetic recordings (ECGSYN, seed 0): no recording 'S00003'.\n"
        "  try: S00000 to S00002"
    )
    with pytest.raises(DataError, match=r"seed -1: out of range\.\n  try: "):
        synthesize(-1, 1)
    with pytest.raises(
        DataError, match=r"unknown kind 'vt'\.\n  try: one of normal, af"
    ):
        synthesize(0, 1, mixture=("vt",))
    with pytest.raises(DataError, match=r"1\.0 to 1\.0 s at 300\.0 Hz: out of range"):
        synthesize(0, 1, duration_s=1.0)
    with pytest.raises(DataError, match=r"0 recordings from 0 on\.\n  try: at least 1"):
        synthesize(0, 0)
