"""An evaluation in a run folder: written when it is done, read to go on."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecg_jax.ecg.beats import Beats
from ecg_jax.runs.run_folder import read_json
from ecg_jax.storage.files import write_json
from ecg_jax.storage.table import read_parquet, write_parquet
from ecg_jax.tree.certificate import TreeCertificate
from ecg_jax.tree.tree import Tree
from ecg_jax.views.evaluation import Evaluation, measured_rows, quality_of
from ecg_jax.views.partition import TABLE, Coverage, Partition

EVALUATION = "evaluation.json"


def save_evaluation(found: Evaluation, folder: Path) -> None:
    """Writes what took long: a table with a row a beat, and the figures, last."""
    write_parquet(found.part.columns(), folder / TABLE)
    figures = {
        "certificate": asdict(found.certificate),
        "residual_f32": found.residual_f32,
        "contradictions": found.contradictions,
        "coverage": [asdict(row) for row in found.coverage],
        "purity": found.purity,
    }
    write_json(folder / EVALUATION, figures)


def load_evaluation(
    folder: Path, tree: Tree, beats: Beats, split: str = "heldout"
) -> Evaluation:
    """Reads what `save_evaluation` wrote of the same tree and beats."""
    figures = read_json(folder / EVALUATION)
    part = Partition.from_columns(tree, beats, read_parquet(folder / TABLE))
    rows = measured_rows(beats, split)
    return Evaluation(
        part=part,
        rows=rows,
        certificate=TreeCertificate(**_numbers(figures["certificate"])),
        residual_f32=figures["residual_f32"],
        contradictions=figures["contradictions"],
        quality=quality_of(beats, part.decision.value, rows),
        coverage=tuple(Coverage(**_numbers(row)) for row in figures["coverage"]),
        purity=tuple(figures["purity"]),
    )


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN: null stands for it."""
    return {k: float("nan") if v is None else v for k, v in values.items()}
