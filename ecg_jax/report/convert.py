"""From the figures of `ecg_jax.statistics.quality` to what the page shows."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ecg_jax.report.data import Figure, NetworkFacts
from ecg_jax.statistics.quality import Quality
from ecg_jax.statistics.scores import Confusion


def network_facts(
    quality: Quality, name: str, *, split: str = "heldout", **more: Any
) -> NetworkFacts:
    """Put the figures of a network into the form of the page.

    Sensitivity and specificity count recordings, which are independent, so their
    interval is Wilson's; those of the other figures resample recordings.

    Args:
        quality: Figures of the network on one split.
        name: Of the network.
        split: Which recordings were used.
        **more: Further fields of `NetworkFacts`: description, answers_by_label,
            baselines, disagreements.

    Returns:
        The facts.
    """
    whole, beats = quality.records, quality.beats
    normals = whole.normal_called_normal, whole.normal_called_not_normal
    others = whole.not_normal_called_not_normal, whole.not_normal_called_normal
    intervals = {
        "AUC by recording": quality.record_auc,
        "AUC by beat": quality.beat_auc,
        "accuracy by recording": quality.record_accuracy,
        "accuracy by beat": quality.beat_accuracy,
    }
    figures: dict[str, Figure | float] = {
        "sensitivity (normal recordings answered normal)": wilson(*normals),
        "specificity (others answered not normal)": wilson(*others),
    }
    figures |= {k: Figure(v.value, v.low, v.high) for k, v in intervals.items()}
    curve = quality.calibration
    facts = NetworkFacts(
        name=name,
        split=split,
        figures={k: v for k, v in figures.items() if _finite(v)},
        confusion={
            "normal": {"normal": normals[0], "not normal": normals[1]},
            "not normal": {"normal": others[1], "not normal": others[0]},
        },
        roc={
            key: (np.array(r.false_positive_rate), np.array(r.true_positive_rate))
            for key, r in (
                ("recordings", quality.roc_records),
                ("beats", quality.roc_beats),
            )
        },
        operating={
            key: (1 - c.specificity, c.sensitivity)
            for key, c in (("recordings", whole), ("beats", beats))
            if _both_classes(c)
        },
        calibration=(curve.predicted, curve.observed, curve.count),
    )
    return replace(facts, **more)


def wilson(hits: int, misses: int, z: float = 1.959964) -> Figure:
    """Share of hits with the score interval of Wilson (1927).

    Example:
        >>> share = wilson(8, 2)
        >>> share.value, round(share.low, 3), round(share.high, 3)
        (0.8, 0.49, 0.943)
    """
    total = hits + misses
    if total == 0:
        return Figure(math.nan)
    p = hits / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total)
    half *= math.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    return Figure(p, middle - half, middle + half)


def _finite(figure: Figure | float) -> bool:
    return math.isfinite(figure.value if isinstance(figure, Figure) else figure)


def _both_classes(counts: Confusion) -> bool:
    return math.isfinite(counts.sensitivity) and math.isfinite(counts.specificity)
