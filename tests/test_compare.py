"""Two runs compared: beats matched, answers and components side by side."""

import html
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import command, copy_of_run, tiny

from ecg_jax.errors import RunError, RunExistsError
from ecg_jax.pages.comparison import build_comparison
from ecg_jax.runs import compare as comparing
from ecg_jax.runs.compare import compare
from ecg_jax.runs.matching import Finished, finished, match
from ecg_jax.statistics.paired import paired
from ecg_jax.storage.table import read_parquet, write_parquet


def other_run(to: Path, *, shift_s=0.0, dropped=0, change=None) -> Path:
    """The shared run, its table changed."""
    folder = copy_of_run(to)
    rows = read_parquet(folder / "partition.parquet")
    rows["r_time_s"] = rows["r_time_s"] + np.float32(shift_s)
    if change is not None:
        change(rows)
    write_parquet(
        {k: v[dropped:] for k, v in rows.items()}, folder / "partition.parquet"
    )
    return folder


def bare(record, time, step_s=0.01, **config) -> Finished:
    """A run of nothing but beats."""
    times = [0.0, step_s]
    rows = {
        "record": np.array(record, object),
        "r_time_s": np.array(time, np.float32),
        "margin": np.zeros(len(record)),
    }
    part = {"id": 0, "parent": None, "name": "f", "weighing": {"time_s": times}}
    return Finished(Path("run"), {"data": "some", **config}, [part], rows)


def test_beats_are_matched_by_recording_and_time():
    one = bare(["b", "a", "a", "a", "c"], [1, 0.5, 1.5, 2.5, 9])
    two = bare(["a", "a", "a", "b", "d"], [1.45, 1.56, 2.504, 1.2, 9])
    pairs = match(one, two)
    found = dict(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    # 1.5 has two within 150 ms, the nearest counts; b is 200 ms apart; 0.5 has none
    assert found == {2: 0, 3: 2}
    assert pairs.is_same.tolist() == [False, True] and pairs.within_s == 0.15
    assert match(one, one).first.tolist() == [0, 1, 2, 3, 4]


def test_half_of_the_coarser_sample_is_the_same_peak():
    fine, coarse = bare(["a"], [1.0], 0.002), bare(["a"], [1.009], 0.02)
    assert match(fine, coarse).is_same.tolist() == [True]
    assert match(fine, bare(["a"], [1.009], 0.01)).is_same.tolist() == [False]


def test_beats_of_one_file_are_matched_by_row():
    unknown = [np.nan, np.nan]
    one, two = (bare(["0", "1"], unknown, data_sha256="ab") for _ in range(2))
    pairs = match(one, two)
    assert pairs.second.tolist() == [0, 1] and pairs.within_s is None
    with pytest.raises(RunError) as caught:
        match(one, bare(["0", "1"], unknown, data_sha256="cd"))
    assert str(caught.value) == (
        "run and run are of other data: beats of a file have no time, and the files "
        "differ.\n  first:  some\n  second: some\n  try: two runs of the same --data"
    )


def test_figures_of_two_margins():
    first = np.array([1.0, 1, -1, -1, 2, -2])
    second = np.array([1.0, -1, -1, 1, 2, -2])
    normal = np.array([True, False, False, False, True, True])
    record = np.array(["a", "a", "b", "b", "c", "c"])
    found = paired(first, second, record, normal, np.arange(6) < 5, num_resamples=50)
    assert found.answers == {
        "normal": {"normal": 2, "not normal": 1},
        "not normal": {"normal": 1, "not normal": 2},
    }
    assert found.agreement.value == 4 / 6 and found.by_chance == 0.5
    assert found.agreement.low == 0.5 and found.agreement.high == 1.0
    told = found.labelled
    assert (told.num_beats, told.became_right, told.became_wrong) == (5, 1, 1)
    assert [one.value for one in told.accuracy] == [4 / 5, 4 / 5]
    assert told.accuracy_change.value == 0
    assert [one.value for one in told.auc] == [5.5 / 6, 5.5 / 6]
    none = paired(first, second, record, normal, np.zeros(6, bool), num_resamples=0)
    assert none.labelled is None and none.agreement.low == none.agreement.high


def test_a_run_agrees_with_its_copy(tmp_path):
    folder, out = copy_of_run(tmp_path / "again"), tmp_path / "out"
    status, said, err = command("compare", tiny().run, folder, "--out", out)
    assert status == 0, err
    rows = read_parquet(folder / "partition.parquet")
    num, held = len(rows["margin"]), rows["split"] == "heldout"
    assert said.startswith(
        f"{num:,} beats are in both; without a partner: 0 of the first, 0 of the "
        "second\nrecordings held out in both runs: 100% of "
        f"{held.sum():,} answers agree (by chance "
    )
    assert said.endswith(f"\nsee {out / 'comparison.html'}\n")
    found = json.loads((out / "comparison.json").read_text())
    assert found["changed"] == [] and found["num_elsewhere"] == 0
    assert found["num_same"] == num and found["differences"] == []
    for pair in found["counterparts"]:
        assert pair["overlap"] == (1 if pair["num_shared"] else 0)
    assert [m["figures"]["num_beats"] for m in found["measured"]] == [held.sum(), num]
    assert sum(move["num_beats"] for move in found["moves"]) == held.sum()
    page = (out / "comparison.html").read_text()
    for word in ("<script", "http://", "https://", " src="):
        assert word not in page.replace("http://www.w3.org/", "")


def test_what_changed_is_told(tmp_path):
    held = []

    def change(rows):
        labelled = np.isin(rows["label"], ["N"]) & (rows["split"] == "heldout")
        held.append(np.flatnonzero(labelled & (rows["margin"] < 0))[:3])
        assert len(held[0]) == 3
        rows["margin"] = np.array(rows["margin"])
        rows["margin"][held[0]] = [7.0, 90.0, 8.0]

    folder = other_run(tmp_path / "other", shift_s=0.02, dropped=2, change=change)
    found = compare(tiny().run, folder, tmp_path / "out")
    rows = read_parquet(tiny().run / "partition.parquet")
    assert found.first.num_alone == 2 and found.second.num_alone == 0
    assert found.num_same == 0 and found.is_doubtful
    labelled = found.measured[0].figures.labelled
    assert (labelled.became_right, labelled.became_wrong) == (3, 0)
    assert labelled.accuracy_change.value == pytest.approx(3 / labelled.num_beats)
    second = held[0][1]
    top = found.largest[0]
    assert (top.record, top.second_margin) == (rows["record"][second], 90.0)
    assert top.r_time_s == pytest.approx(float(rows["r_time_s"][second]))
    changed = json.loads((tmp_path / "out" / "comparison.json").read_text())["changed"]
    assert [beat["second_margin"] for beat in changed] == [90.0, 8.0, 7.0]
    assert sum(move.num_changed for move in found.moves) == 3
    page = html.unescape((tmp_path / "out" / "comparison.html").read_text())
    assert "Are these the same recordings?" in page
    assert "are these the same recordings?" in comparing.in_words(found)


def test_components_are_drawn_with_composite_and_prototype(tmp_path):
    run = finished(tiny().run)
    found = comparing.compared(run, run, match(run, run))
    drawn = [
        pair.first for pair in found.counterparts if pair.first.composite is not None
    ]
    assert drawn and all(one.composite.shape == (1, len(run.time_s)) for one in drawn)
    assert {pair.first.name for pair in found.counterparts} == set(run.names[1:])
    page = build_comparison(found)
    assert page.count("<figure") == len(found.counterparts)
    hostile = replace(found, first=replace(found.first, name="<script>x</script>"))
    assert "<script" not in build_comparison(hostile)


def test_without_labels_nothing_is_right_or_wrong(tmp_path):
    def change(rows):
        rows["label"] = np.full(len(rows["label"]), "", object)

    folder = other_run(tmp_path / "other", change=change)
    found = compare(tiny().run, folder, tmp_path / "out")
    assert found.measured[0].figures.labelled is None
    assert "became right" not in comparing.in_words(found)
    assert "nothing says which run is right" in build_comparison(found)


def test_what_cannot_be_compared(tmp_path):
    run, out = tiny().run, tmp_path / "out"
    with pytest.raises(RunError) as caught:
        compare(run, run / ".." / run.name, out)
    assert str(caught.value) == (
        f"{run} and {run / '..' / run.name} are the same folder.\n"
        "  try: two different runs"
    )
    for part in ("partition.parquet", "components.json", "metrics.json"):
        folder = copy_of_run(tmp_path / part)
        (folder / part).unlink()
        with pytest.raises(RunError) as caught:
            compare(run, folder, out)
        assert str(caught.value) == (
            f"{folder} holds no finished run: {part} is missing.\n"
            "  try: ecg-jax run --out DIR, with --resume if it was interrupted"
        )

    def renamed(rows):
        rows["record"] = np.array([f"x{name}" for name in rows["record"]], object)

    data = json.loads((run / "config.json").read_text())["data"]
    folder = other_run(tmp_path / "data", change=renamed)
    with pytest.raises(RunError) as caught:
        compare(run, folder, out)
    assert str(caught.value) == (
        f"{run} and {folder} are of other data: no recording is in both.\n"
        f"  first:  {data}\n  second: {data}\n  try: two runs of the same --data"
    )
    folder = other_run(tmp_path / "times", shift_s=1e4)
    with pytest.raises(RunError, match="no beat in common"):
        compare(run, folder, out)
    folder = copy_of_run(tmp_path / "window")
    parts = json.loads((folder / "components.json").read_text())
    for part in parts:
        if part["weighing"]:
            part["weighing"]["time_s"] = part["weighing"]["time_s"][:-5]
    (folder / "components.json").write_text(json.dumps(parts))
    time = finished(run).time_s
    start, stop = 1000 * time[0], 1000 * (time[-1] + 0.01)
    with pytest.raises(RunError) as caught:
        compare(run, folder, out)
    assert str(caught.value) == (
        f"{run} and {folder} see other windows of a beat.\n"
        f"  first:  R {start:+.0f} ms to R {stop:+.0f} ms\n"
        f"  second: R {start:+.0f} ms to R {stop - 50:+.0f} ms\n"
        "  try: two runs with the same --beats.before-s and --beats.after-s"
    )
    assert not out.exists()


def test_a_comparison_is_not_overwritten(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "comparison.json").write_text("{}")
    with pytest.raises(RunExistsError) as caught:
        compare(tiny().run, tmp_path, out)
    assert (
        str(caught.value) == f"{out} holds a comparison already.\n  try: another --out"
    )
