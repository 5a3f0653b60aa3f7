"""The report: one HTML page for a run, one for a recording; both open offline."""

from ecg_jax.pages.data import (
    CellBeat,
    ChangeFacts,
    Component,
    DataFacts,
    Disagreement,
    EquationFacts,
    ExplainData,
    ExplainedBeat,
    Figure,
    Flip,
    NetworkFacts,
    ReportData,
)
from ecg_jax.pages.explanation import build_explanation
from ecg_jax.pages.page import build
from ecg_jax.pages.quality_facts import network_facts

__all__ = [
    "CellBeat",
    "ChangeFacts",
    "Component",
    "DataFacts",
    "Disagreement",
    "EquationFacts",
    "ExplainData",
    "ExplainedBeat",
    "Figure",
    "Flip",
    "NetworkFacts",
    "ReportData",
    "build",
    "build_explanation",
    "network_facts",
]
