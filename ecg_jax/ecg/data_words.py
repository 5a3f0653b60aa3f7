"""What is to be known of a data set beside its beats, in words."""

from collections import Counter

import numpy as np

from ecg_jax.ecg.beats import MOST_SHOWN, Beats
from ecg_jax.ecg.cut import BeatConfig


def missed_words(beats: Beats) -> str:
    """Where beats and annotations differ, in words; "" where they do not."""
    missed, total = beats.without_window, sum(beats.annotated.values())
    told = []
    if missed:
        named = [f"{count:,} {name}" for name, count in missed.items() if name != "?"]
        of = f" ({', '.join(named)})" if named else ""
        told.append(
            f"{sum(missed.values()):,} of {total:,} annotated beats{of} got no window: "
            "the detectors missed them, or they are at an end"
        )
    if beats.num_unmatched:
        told.append(f"{beats.num_unmatched:,} peaks are named by no annotation")
        told[-1] += ", and left out" if beats.labelled == "beats" else ""
    return "; ".join(told)


def lead_words(beats: Beats) -> str:
    """Which leads there are and which were left out, in words; "" where all is said.

    Returns:
        For example "lead MLII (44 recordings); 44 recordings have others, left out:
        V1 (38), V5 (3). To read several: --beats.leads MLII V1, or --beats.leads all".
    """
    records = beats.records
    read = Counter(records.leads.tolist())
    told = []
    if any(read):
        named = [
            f"{'leads' if chr(9) in names else 'lead'} {names.replace(chr(9), ', ')} "
            f"({count:,})"
            for names, count in read.most_common(MOST_SHOWN)
            if names
        ]
        told.append("; ".join(named))
    if beats.millivolts.shape[1] > 1 and beats.given is None:
        names, rows = beats.lead_names, np.bincount(records.r_lead)
        best = [f"{names[k]} ({n:,})" for k, n in enumerate(rows.tolist()) if n]
        told.append(f"R peaks of the lead of highest bSQI: {', '.join(best)}")
    left = list(left_out(beats).items())
    config = beats.config
    if left and isinstance(config, BeatConfig) and not config.leads:
        most = read.most_common(1)[0][0]
        shown = ", ".join(f"{name} ({n:,})" for name, n in left[:MOST_SHOWN])
        num = int(np.sum(records.others != ""))
        told.append(
            f"{num:,} recordings have other leads, which were left out: {shown}"
            f"{', ...' if len(left) > MOST_SHOWN else ''}; to read several: "
            f"--beats.leads {most} {left[0][0]}, or --beats.leads all"
        )
    return "; ".join(told)


def left_out(beats: Beats) -> dict[str, int]:
    """Leads that recordings have and that were not read, with how many have them."""
    others = (name for row in beats.records.others.tolist() for name in row.split("\t"))
    return dict(Counter(name for name in others if name).most_common())
