"""Two finished runs compared: beats matched, answers and components side by side."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ecg_jax.errors import RunError, RunExistsError
from ecg_jax.pages import comparison_data as page
from ecg_jax.pages.comparison import build_comparison
from ecg_jax.percent import share
from ecg_jax.runs.matching import Finished, Matched, check_windows, finished, match
from ecg_jax.runs.run_folder import differences, shown_path
from ecg_jax.statistics.paired import paired
from ecg_jax.storage.files import write_json, write_text

PAGE, FOUND = "comparison.html", "comparison.json"
NUM_LARGEST = 20


def compare(first: Path, second: Path, out: Path) -> page.ComparisonData:
    """Compares two runs: `comparison.html` and `comparison.json` in `out`.

    Args:
      first: a finished run.
      second: another one, of the same recordings or the same file of beats.
      out: where the comparison goes; made if it is not there.

    Returns:
      What the page shows.

    Raises:
      RunError: a run is not finished, both are the same folder, or they have no beats
        in common, or windows of other lengths.
      RunExistsError: `out` holds a comparison already.
    """
    if (out / FOUND).exists():
        raise RunExistsError(f"{out} holds a comparison already.\n  try: another --out")
    if first.resolve() == second.resolve():
        raise RunError(
            f"{first} and {second} are the same folder.\n  try: two different runs"
        )
    one, two = finished(first), finished(second)
    check_windows(one, two)
    pairs = match(one, two)
    found = compared(one, two, pairs)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / PAGE, build_comparison(found))
    write_json(out / FOUND, _to_json(found, one, two, _measured(one, two, pairs)))
    return found


def in_words(found: page.ComparisonData) -> str:
    """A comparison in a few lines."""
    measured = found.measured[0]
    labelled, proven = measured.figures.labelled, measured.proven
    lines = [
        f"{found.num_matched:,} beats are in both; without a partner: "
        f"{found.first.num_alone:,} of the first, {found.second.num_alone:,} of the "
        "second",
        f"{measured.where}: {share(measured.figures.agreement.value)} of "
        f"{measured.figures.num_beats:,} answers agree (by chance "
        f"{share(measured.figures.by_chance)})",
    ]
    if labelled is not None:
        lines.append(
            f"  with a label: {labelled.became_right:,} became right, "
            f"{labelled.became_wrong:,} wrong; AUC {labelled.auc[0].value:.3f}, then "
            f"{labelled.auc[1].value:.3f}"
        )
    lines.append(f"  proven: {share(proven[0])}, then {share(proven[1])}")
    if found.is_doubtful:
        lines.append(
            f"only {found.num_same:,} R peaks are at the same sample: are these the "
            "same recordings?"
        )
    return "\n".join(lines)


def compared(one: Finished, two: Finished, pairs: Matched) -> page.ComparisonData:
    """All that a comparison says of matched beats."""
    chosen = _measured(one, two, pairs)
    measured = [_figures(one, two, pairs, "all recordings", 0)]
    if len(chosen) < len(pairs):
        where = "recordings held out in both runs"
        measured.insert(0, _figures(one, two, chosen, where, 1000))
    counterparts, num_elsewhere = _counterparts(one, two, chosen)
    order = np.argsort(-np.abs(_change(one, two, chosen)), kind="stable")
    paired_with = {pair.second.name for pair in counterparts}
    return page.ComparisonData(
        first=_run(one, pairs),
        second=_run(two, pairs),
        num_matched=len(pairs),
        num_same=int(pairs.is_same.sum()),
        num_records=len(set(one.rows["record"][pairs.first].tolist())),
        within_s=pairs.within_s,
        measured=measured,
        moves=_moves(one, two, chosen),
        counterparts=counterparts,
        unpaired=[name for name in two.names[1:] if name not in paired_with],
        largest=_beats(one, two, chosen, order[:NUM_LARGEST]),
        num_elsewhere=num_elsewhere,
        differences=differences(one.config, two.config),
    )


def _measured(one: Finished, two: Finished, pairs: Matched) -> Matched:
    """The pairs held out in both runs; all of them if there are none."""
    held = one.rows["split"][pairs.first] == "heldout"
    held &= two.rows["split"][pairs.second] == "heldout"
    return pairs.some(held) if held.any() else pairs


def _figures(
    one: Finished, two: Finished, pairs: Matched, where: str, num_resamples: int
) -> page.Measured:
    a, b = pairs.first, pairs.second
    labels = one.rows["label"][a].astype(str), two.rows["label"][b].astype(str)
    figures = paired(
        one.rows["margin"][a],
        two.rows["margin"][b],
        one.rows["record"][a].astype(str),
        one.rows["is_normal"][a].astype(bool),
        (labels[0] == labels[1]) & (labels[0] != ""),
        num_resamples=num_resamples,
    )
    proven = one.rows["proven"][a].mean(), two.rows["proven"][b].mean()
    return page.Measured(where, figures, (float(proven[0]), float(proven[1])))


def _run(run: Finished, pairs: Matched) -> page.ComparedRun:
    alone = len(run) - len(pairs)
    return page.ComparedRun(shown_path(run.folder), run.data, len(run), alone)


def _change(one: Finished, two: Finished, pairs: Matched) -> np.ndarray:
    """How much each margin changed."""
    return two.rows["margin"][pairs.second] - one.rows["margin"][pairs.first]


def _changed(one: Finished, two: Finished, pairs: Matched) -> np.ndarray:
    """Whether each answer changed."""
    first, second = one.rows["margin"][pairs.first], two.rows["margin"][pairs.second]
    return (first >= 0) != (second >= 0)


def _moves(one: Finished, two: Finished, pairs: Matched) -> list[page.Move]:
    cells = one.rows["cell"][pairs.first], two.rows["cell"][pairs.second]
    changed = _changed(one, two, pairs)
    count = np.zeros((len(one.names), len(two.names)), int)
    np.add.at(count, cells, 1)
    flipped = np.zeros_like(count)
    np.add.at(flipped, cells, changed.astype(int))
    moves = [
        page.Move(
            first=one.names[a],
            second=two.names[b],
            num_beats=int(count[a, b]),
            share_of_first=float(count[a, b] / count[a].sum()),
            share_of_second=float(count[a, b] / count[:, b].sum()),
            num_changed=int(flipped[a, b]),
        )
        for a, b in np.argwhere(count)
    ]
    return sorted(moves, key=lambda move: -move.num_beats)


def _counterparts(
    one: Finished, two: Finished, pairs: Matched
) -> tuple[list[page.Counterpart], int]:
    """For each component of the first run the one of the second it overlaps most.

    Also how many beats are not in the cell of the counterpart of their component.
    """
    inside = [
        np.array([run.inside(part, rows) for part in run.parts[1:]], float)
        for run, rows in ((one, pairs.first), (two, pairs.second))
    ]
    if not (len(inside[0]) and len(inside[1])):
        return [], 0
    both = inside[0] @ inside[1].T
    first, second = (held.sum(axis=1) for held in inside)
    overlap = both / np.maximum(first[:, None] + second - both, 1)
    chance = first[:, None] * second / len(pairs)
    by_chance = chance / np.maximum(first[:, None] + second - chance, 1)
    best = overlap.argmax(axis=1)
    found = [
        page.Counterpart(
            _component(one, one.parts[1 + a], int(first[a])),
            _component(two, two.parts[1 + b], int(second[b])),
            int(both[a, b]),
            float(overlap[a, b]),
            float(by_chance[a, b]),
        )
        for a, b in enumerate(best)
    ]
    rows = np.flatnonzero(one.rows["cell"][pairs.first])
    own = one.rows["cell"][pairs.first][rows] - 1
    return found, int(np.sum(inside[1][best[own], rows] == 0))


def _component(
    run: Finished, part: Mapping[str, Any], num_beats: int
) -> page.ComparedComponent:
    waves = [
        None if part.get(key) is None else np.atleast_2d(np.array(part[key]))
        for key in ("composite", "prototype")
    ]
    return page.ComparedComponent(
        name=part["name"],
        side=part["side"],
        phrase=part["phrase"] or "",
        num_beats=num_beats,
        time_s=run.time_s,
        leads=tuple(part.get("leads", ("",))),
        composite=waves[0],
        prototype=waves[1],
    )


def _beats(
    one: Finished, two: Finished, pairs: Matched, chosen: np.ndarray
) -> list[page.ChangedBeat]:
    """Some of the pairs, as the page lists them."""
    found = []
    for a, b in zip(pairs.first[chosen], pairs.second[chosen], strict=True):
        time = float(one.rows["r_time_s"][a])
        found.append(
            page.ChangedBeat(
                record=str(one.rows["record"][a]),
                r_time_s=time if np.isfinite(time) else None,
                label=str(one.rows["label"][a]),
                first_margin=float(one.rows["margin"][a]),
                second_margin=float(two.rows["margin"][b]),
                first_component=one.names[one.rows["cell"][a]],
                second_component=two.names[two.rows["cell"][b]],
            )
        )
    return found


def _to_json(
    found: page.ComparisonData, one: Finished, two: Finished, pairs: Matched
) -> dict[str, Any]:
    """What `comparison.json` holds: the page without its waves, and more beats."""
    values = asdict(found)
    for pair in values["counterparts"]:
        for side in ("first", "second"):
            pair[side] = pair[side]["name"]
    changed = np.flatnonzero(_changed(one, two, pairs))
    order = changed[np.argsort(-np.abs(_change(one, two, pairs)[changed]))]
    beats = _beats(one, two, pairs, order)
    return {**values, "changed": [asdict(beat) for beat in beats]}
