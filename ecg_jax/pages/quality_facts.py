"""From the figures of `ecg_jax.statistics.quality` to what the page shows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ecg_jax.pages.data import Figure, NetworkFacts
from ecg_jax.statistics.quality import Quality
from ecg_jax.statistics.scores import Confusion


def network_facts(
    quality: Quality,
    name: str,
    *,
    split: str = "held-out recordings",
    labelled: str = "recordings",
    **more: Any,
) -> NetworkFacts:
    """Put the figures of a network into the form of the page.

    Sensitivity and specificity count recordings, which are independent, so their
    interval is Wilson's; those of the other figures resample recordings. Where
    recordings bear no label, nothing is told by recording.

    Args:
        quality: Figures of the network on one split.
        name: Of the network.
        split: Which beats were used, in words.
        labelled: What has a label of its own, "recordings" or "beats".
        **more: Further fields of `NetworkFacts`: description, answers_by_label,
            baselines, disagreements.

    Returns:
        The facts.
    """
    by_recording = labelled == "recordings"
    counts = quality.records if by_recording else quality.beats
    normals = counts.normal_called_normal, counts.normal_called_not_normal
    others = counts.not_normal_called_not_normal, counts.not_normal_called_normal
    intervals = {
        "AUC by recording": quality.record_auc,
        "AUC by beat": quality.beat_auc,
        "accuracy by recording": quality.record_accuracy,
        "accuracy by beat": quality.beat_accuracy,
    }
    figures: dict[str, Figure | float] = {
        f"normal {labelled} answered normal": wilson(*normals)
        if by_recording
        else counts.sensitivity,
        f"not normal {labelled} answered not normal": wilson(*others)
        if by_recording
        else counts.specificity,
    }
    figures |= {
        k: Figure(v.value, v.low, v.high)
        for k, v in intervals.items()
        if by_recording or k.endswith("by beat")
    }
    rates = (
        {"recordings": (quality.records, quality.roc_records)} if by_recording else {}
    )
    rates["beats"] = quality.beats, quality.roc_beats
    curve = quality.calibration
    facts = NetworkFacts(
        name=name,
        split=split,
        figures={k: v for k, v in figures.items() if _finite(v)},
        confusion={
            "normal": {"normal": normals[0], "not normal": normals[1]},
            "not normal": {"normal": others[1], "not normal": others[0]},
        },
        confusion_unit=labelled,
        roc={
            key: (np.array(r.false_positive_rate), np.array(r.true_positive_rate))
            for key, (_, r) in rates.items()
        },
        operating={
            key: (1 - c.specificity, c.sensitivity)
            for key, (c, _) in rates.items()
            if _both_classes(c)
        },
        calibration=(curve.predicted, curve.observed, curve.count),
    )
    return replace(facts, **more)


def wilson(hits: int, misses: int) -> Figure:
    """Share of hits with the score interval of Wilson (1927), 95%.

    Example:
        >>> share = wilson(8, 2)
        >>> share.value, round(share.low, 3), round(share.high, 3)
        (0.8, 0.49, 0.943)
    """
    from scipy.stats import binomtest

    if not (total := hits + misses):
        return Figure(math.nan)
    interval = binomtest(hits, total).proportion_ci(method="wilson")
    return Figure(hits / total, float(interval.low), float(interval.high))


def _finite(figure: Figure | float) -> bool:
    return math.isfinite(figure.value if isinstance(figure, Figure) else figure)


def _both_classes(counts: Confusion) -> bool:
    return math.isfinite(counts.sensitivity) and math.isfinite(counts.specificity)
