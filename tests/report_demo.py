"""Made-up data for the report: shapes, components, a run, a recording."""

import numpy as np

from ecg_jax import pages as report
from ecg_jax.cells.captions import phrase
from ecg_jax.cells.sketch import composite
from ecg_jax.cells.weighing import Scale, weigh
from ecg_jax.cells.weighing_words import words

TIME = np.arange(65) / 100 - 0.25
NASTY = "<script>alert('x')</script>\"&\x00 $\\frac$"


def bump(center, width, height):
    return height * np.exp(-0.5 * ((TIME - center) / width) ** 2)


SHAPES = {
    "upright": bump(-0.16, 0.02, 0.12) + bump(0, 0.012, 1.2) + bump(0.24, 0.04, 0.3),
    "low": bump(-0.16, 0.02, 0.08) + bump(0, 0.011, 0.7) + bump(0.25, 0.045, 0.12),
    "tall": bump(-0.15, 0.02, 0.1) + bump(0, 0.01, 1.8) - bump(0.03, 0.01, 0.5),
    "inverted T": bump(-0.16, 0.02, 0.1) + bump(0, 0.012, 1) - bump(0.26, 0.04, 0.3),
    "wide": bump(0, 0.035, 1.4) - bump(0.14, 0.04, 0.5) - bump(0.28, 0.05, 0.3),
    "no P": bump(0, 0.012, 1.0) + bump(0.24, 0.045, 0.2),
    "ST": bump(0, 0.013, 0.9) + bump(0.14, 0.07, 0.25) + bump(0.25, 0.04, 0.3),
}


def sketch(kind="upright", num=300, side=1, seed=0, labels="NNNNNNOOA~", rr=0.8):
    rng = np.random.default_rng(seed)
    size = rng.normal(1, 0.14, (num, 1, 1))
    drift = rng.normal(0, 0.012, (num, 1, 65)).cumsum(-1)
    beats = SHAPES[kind] * size + drift + rng.normal(0, 0.015, (num, 1, 65))
    record = rng.integers(0, max(2, num // 6), num)
    label = np.array(list(labels))[record % len(labels)]
    polarity = np.where(record % 5 == 0, -1, 1)
    margin = side * np.abs(rng.normal(1, 0.8, num)) if side else rng.normal(0, 1, num)
    return composite(
        (beats * polarity[:, None, None]).astype(np.float32),
        record,
        label,
        margin,
        sample_rate_hz=100.0,
        before_s=0.25,
        rr_before_s=rng.normal(rr, 0.06, num),
        rr_after_s=rng.normal(0.8, 0.06, num),
        polarity=polarity,
    )


def weighing(cell, sign):
    x = cell.samples
    wave = sign * (bump(0.25, 0.06, 0.5) - bump(0.01, 0.012, 0.9))
    template = np.random.default_rng(0).normal(1, 0.1, (len(x), 1, 1)) * wave
    value = (template * x).sum((1, 2))
    unit = "standard deviation of the recording"
    return weigh(template, value, x, cell, Scale.of(x, unit), prototype=template[0])


KINDS = ("nearest", "middling", "farthest", "least sure")


def cell_beats(cell, name, num=12):
    """The first beats of a sketch as if they had been chosen."""
    flips = ("T 0.12 mV lower: Q1", "", None)
    return [
        report.CellBeat(
            kind=KINDS[n * len(KINDS) // num],
            millivolts=cell.samples[n],
            distance_mv=0.02 * (n + 1),
            margin=float(cell.sample_margin[n]),
            cell=name,
            prover=name if n % 3 else "",
            record=f"A{n:05d}",
            r_time_s=0.8 * n + 0.31 if n % 4 else None,
            label="N" if n % 2 else "",
            flip=flips[n % 3],
        )
        for n in range(num)
    ]


def demo_components(per_side=4, deeper=2):
    kinds = {
        "normal": (["upright", "tall", "low", "no P"], "NNNNNNNOA"),
        "not normal": (["wide", "inverted T", "ST", "low", "no P"], "NOOOAA~"),
    }
    out = [report.Component(0, None, "f", None, sketch(num=900, side=0))]
    for side, letter in (("normal", "P"), ("not normal", "Q")):
        sign = 1 if side == "normal" else -1
        names, labels = kinds[side]
        for n in range(per_side):
            kind, top = names[n % len(names)], len(out)
            num = 700 // (n + 1) + 30
            rr = 0.55 if kind == "wide" else 0.8
            cell = sketch(kind, num, sign, n, labels, rr)
            facts = dict(share_answers=0.5 / (n + 1), share_proven=0.99 - 0.01 * n)
            more = dict(share_frozen=0.86, prototype_record=f"A0{n:04d}")
            proto = cell.samples[0]
            name = f"{letter}{n + 1}"
            out.append(
                report.Component(
                    top,
                    0,
                    name,
                    side,
                    cell,
                    **facts,
                    **more,
                    prototype=proto,
                    weighing=weighing(cell, sign) if n == 0 else None,
                    weighs=words(weighing(cell, sign)) if n == 0 else None,
                    phrase=phrase(cell),
                    beats=cell_beats(cell, name),
                )
            )
            for m in range(min(deeper, n)):
                under = sketch(kind, num // 3, sign, 10 + m, labels, rr)
                out.append(
                    report.Component(len(out), top, f"{name}.{m + 1}", side, under)
                )
    return out


def demo_run(components=None, name="Recordings of a demonstration"):
    rng = np.random.default_rng(0)
    rate = np.linspace(0, 1, 400)
    beat = SHAPES["inverted T"]
    differ = [
        report.Disagreement(
            f"A{n:05d}",
            "N",
            "not normal",
            -3.1 + n,
            beat[None],
            TIME,
            f"{90 - n}% of 44 beats",
        )
        for n in range(4)
    ]
    network = report.NetworkFacts(
        name="mlp",
        description="Dense 64-32-16-1 on beats of 650 ms, trained on 4,200 recordings.",
        figures={
            "sensitivity": report.Figure(0.812, 0.79, 0.834),
            "specificity": report.Figure(0.733, 0.70, 0.761),
            "AUC by beat": report.Figure(0.807, 0.791, 0.822),
            "AUC by recording": report.Figure(0.866, 0.848, 0.884),
            "accuracy": 0.781,
        },
        confusion={
            "normal": {"normal": 640, "not normal": 148},
            "not normal": {"normal": 143, "not normal": 393},
        },
        answers_by_label={
            "N": {"normal": 640, "not normal": 148},
            "A": {"normal": 22, "not normal": 95},
            "O": {"normal": 114, "not normal": 260},
            "~": {"normal": 7, "not normal": 38},
        },
        roc={"beats": (rate, rate**0.35), "recordings": (rate, rate**0.22)},
        operating={"beats": (0.27, 0.27**0.35)},
        calibration=(
            rate[20::40].tolist(),
            (rate[20::40] ** 1.1).tolist(),
            list(range(10, 110, 10)),
        ),
        baselines=[
            {"network": "logistic regression", "AUC by beat": 0.71},
            {"network": "majority", "AUC by beat": 0.5},
        ],
        disagreements=differ,
    )
    labels = {
        "train": {"N": 3046, "A": 455, "O": 1449, "~": 167},
        "heldout": {"N": 1015, "A": 152, "O": 483, "~": 56},
    }
    data = report.DataFacts(
        title="PhysioNet/CinC Challenge 2017",
        citation="Clifford et al. 2017",
        num_recordings=6993,
        num_beats=268_431,
        labels=labels,
        beats={"train": 201_101, "heldout": 67_330},
        duration_s=rng.choice([9.0, 30.0, 30.0, 30.0, 60.0], 500),
        bsqi=1 - rng.exponential(0.05, 500).clip(0, 1),
        rate_bpm=rng.normal(75, 12, 500),
        polarity={"upright": 5500, "inverted": 1400, "mixed": 93},
        excluded=[("A01585", "flat line"), (NASTY, "unknown label")],
        leads=("II",),
        window="A beat is the signal from 250 ms before its R peak to 400 ms after it.",
    )
    control = dict(one_everywhere=0.942, shuffled=0.839, random_network=0.61)
    rows = [
        dict(setting="36 prototypes", side="normal", num_components=36, proven=0.983)
        | dict(proven_any=0.994, share_frozen=0.73, wrongly_proven=0, num_distinct=31)
        | control,
        dict(setting="36 prototypes", side="not normal", num_components=36)
        | dict(proven=0.943, share_frozen=0.63, wrongly_proven=0),
    ]
    metrics = {
        "exactness": {
            "decision_agreement": 1.0,
            "max_relative_residual_f64": 2.2e-16,
            "max_relative_residual_f32": 3.1e-7,
            "num_beats": 268431,
        },
        "model": {"beat_accuracy": 0.74, "beat_auc": 0.807, "record_auc": 0.866},
        "coverage": {
            "witnesses": 36,
            "refuters": 36,
            "proven_normal": 0.991,
            "proven_not_normal": 0.957,
            "wrongly_proven": 0,
            "share_frozen": 0.68,
        },
        "purity": [{"depth": 1, "gain": 0.04}, {"depth": 2, "gain": 0.07}],
        "timing": {"train": 61.2},
        "versions": {"jax": "0.10.2"},
        "data": {"recordings": 6993, "beats": 268431, "excluded": 7},
    }
    purity = [
        dict(depth=d, num_cells=6**d, gain=0.03 * d, gain_hyperplanes=0.02 * d)
        | dict(gain_kmeans=0.04 * d, p=0.25, num_nulls=3)
        for d in (1, 2, 3)
    ]
    return report.ReportData(
        title=name,
        data=data,
        networks=[network],
        components=demo_components() if components is None else components,
        equation=report.EquationFacts(
            opened=("16 ReLU", "32 ReLU", "64 ReLU"),
            num_units=16,
            num_max_units=9,
            num_min_units=7,
            num_patterns=9909,
            text="f(x) = max(min(P1, P2), Q1) & more < text",
        ),
        metrics=metrics,
        config={"network": {"kind": "mlp"}, "seed": 0},
        coverage=rows,
        certificate={"largest residual": 2.2e-16, "bounds violated": 0},
        purity=purity,
        timing={"read": 4.1, "beats": 33.0, "train": 61.2, "factor": 12.0},
        versions={"ecg_jax": "0.1.0", "jax": "0.10.2"},
        command="ecg-jax run --data challenge-2017 --out RUN",
    )


def demo_explanation(record="A00042", num=36):
    rng = np.random.default_rng(3)
    components = {c.name: c for c in demo_components() if c.parent == 0}
    kinds = ["upright", "upright", "tall", "wide", "inverted T", "upright"]
    beats, signal = [], np.zeros(300 * 30) + rng.normal(0, 0.02, 9000)
    for n in range(num):
        kind = kinds[(n * n) % 6]
        bad = kind in ("wide", "inverted T")
        margin = float(rng.normal(-1 if bad else 1.2, 0.4))
        beat = (SHAPES[kind] + rng.normal(0, 0.02, 65)).astype(np.float32)
        at = 0.6 + 0.8 * n
        start = round(300 * (at - 0.25))
        fine = np.interp(np.arange(195) / 300 - 0.25, TIME, beat)
        signal[start : start + 195] += fine
        proven = n % 7 != 3
        name = ("Q1" if kind == "wide" else "Q2") if margin < 0 else f"P{1 + n % 3}"
        raised = np.where((TIME > 0.06) & (TIME < 0.15), beat + 0.01 * n, beat)
        words = f"ST level {0.01 * n:.2f} mV higher: Q2"
        flip = report.Flip(words, n / num, raised[None] if n < 18 else None)
        beats.append(
            report.ExplainedBeat(
                at,
                margin,
                margin - (0.2 if proven and margin > 0 else 3),
                margin + (0.2 if proven and margin < 0 else 3),
                name if proven else None,
                beat[None],
                0.8,
                name,
                flips=[flip] if n % 2 else [],
            )
        )
    return report.ExplainData(
        record=record,
        signal=signal[None],
        sample_rate_hz=300.0,
        beats=beats,
        time_s=TIME,
        components=components,
        label="O",
        network="mlp",
        bsqi=0.98,
        polarity="inverted",
        is_turned=True,
        title="a demonstration",
        notes={"rate (a minute)": 75},
    )
