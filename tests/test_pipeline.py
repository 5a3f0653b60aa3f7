"""The main job: run folders, resuming, what stops it, and what does not."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from run_files import (
    command,
    config,
    copy_of_run,
    held_by,
    tiny,
    write_recordings,
)
from some_slow import some_slow

from ecg_jax.errors import (
    DataError,
    DiskFullError,
    RunError,
    RunExistsError,
    RunInUseError,
)
from ecg_jax.runs import pipeline, source
from ecg_jax.runs.config import RunConfig, TreeConfig
from ecg_jax.runs.pipeline import run
from ecg_jax.runs.run_folder import begin, differences, read_json, shown_path
from ecg_jax.storage.files import plain, write_atomic, write_json
from ecg_jax.storage.table import write_parquet

AFTER = {
    "model": ["equation", "evaluation.json", "partition.parquet"],
    "equation": ["evaluation.json", "partition.parquet"],
    "evaluation": [],
}
REPORT = ["components.json", "figures", "report.html", "metrics.json"]


def silent(line):
    del line


def metrics(folder):
    found = json.loads((folder / "metrics.json").read_text())
    del found["timing"]
    return found


HOLDER = """
import json, sys
from pathlib import Path
from ecg_jax.runs.run_folder import begin

with begin(json.loads(sys.argv[2]), Path(sys.argv[1]), True):
    print("held", flush=True)
    sys.stdin.read()
"""


def held_elsewhere(folder, settings):
    """Another process that works in a run folder, until it is told to end."""
    return held_by(HOLDER, str(folder), json.dumps(settings))


def contents(folder):
    """Every file and folder, when it was changed, and what it holds."""
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in (folder, *folder.rglob("*"))
    }


def delete(folder, names):
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def test_a_run_holds_what_is_promised():
    files = {path.name for path in tiny().run.iterdir()}
    promised = "config.json metrics.json model equation partition.parquet figures"
    assert files >= {*promised.split(), "report.html", "components.json"}
    found = metrics(tiny().run)
    assert found["exactness"]["decision_agreement"] == 1
    assert found["exactness"]["max_relative_residual_f64"] <= 1e-12
    assert found["exactness"]["max_relative_residual_f32"] <= 1e-5
    assert found["coverage"]["wrongly_proven"] == 0
    assert set(found["coverage"]["contradicted_by"].values()) == {0}
    assert found["data"]["recordings"] == 29


def test_a_bad_recording_is_left_out_and_named():
    assert metrics(tiny().run)["data"]["excluded"] == 1
    page = (tiny().run / "report.html").read_text()
    assert "1 recordings were left out" in page and "S00003" in page


def test_nothing_is_left_half_written():
    assert not [p for p in tiny().run.rglob(".*")]


def test_a_run_is_never_overwritten():
    before = (tiny().run / "metrics.json").stat().st_mtime_ns
    with pytest.raises(RunExistsError) as caught:
        run(config(tiny().data), tiny().run, say=silent)
    assert str(caught.value) == (
        f"{tiny().run} holds a run already.\n  try: another --out, or --resume to go on"
    )
    assert (tiny().run / "metrics.json").stat().st_mtime_ns == before


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(RunExistsError) as caught:
            run(config(tiny().data), tmp_path, resume=resume, say=silent)
        assert str(caught.value) == (
            f"{tmp_path} is not empty and holds no run.\n  try: another --out"
        )
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "out"
    path.write_text("")
    with pytest.raises(RunExistsError) as caught:
        run(config(tiny().data), path, say=silent)
    assert str(caught.value) == (
        f"{path} is a file, not a folder.\n  try: another --out"
    )


def test_another_configuration_is_not_resumed():
    other = replace(config(tiny().data), tree=TreeConfig(budget=3, min_count=20))
    with pytest.raises(RunError) as caught:
        run(other, tiny().run, resume=True, say=silent)
    assert str(caught.value) == (
        f"{tiny().run} was started with another configuration:\n"
        "  tree.budget: 2 there, 3 here\n"
        "  try: the options it was started with, or another --out"
    )


def test_differences_name_every_value():
    old = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    assert differences(old, {"a": {"b": 1, "c": [1, 3]}, "e": 2}) == [
        "a.c: [1, 2] there, [1, 3] here",
        'd: "x" there, nothing here',
        "e: nothing there, 2 here",
    ]
    assert differences(old, old) == []


def test_a_damaged_configuration(tmp_path):
    (tmp_path / "config.json").write_text('{"data": ')
    with pytest.raises(RunError, match=r"config\.json cannot be read: Expecting value"):
        run(config(tiny().data), tmp_path, resume=True, say=silent)


def test_a_wrong_data_set_leaves_no_folder(tmp_path):
    for data, message in {
        str(tmp_path / "nowhere"): "is not a folder",
        "challenge2017": "is not a folder",
    }.items():
        with pytest.raises(OSError, match=message):
            run(RunConfig(data=data), tmp_path / "run", say=silent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="RECORDS"):
        run(RunConfig(data=str(tmp_path / "empty")), tmp_path / "run", say=silent)
    assert not (tmp_path / "run").exists()


def test_a_complete_run_is_not_done_again(monkeypatch):
    monkeypatch.setattr(source, "extract_beats", None)
    lines = []
    found = run(config(tiny().data), tiny().run, resume=True, say=lines.append)
    assert lines == [f"{tiny().run} is complete"]
    assert found == json.loads((tiny().run / "metrics.json").read_text())


@pytest.mark.slow
def test_a_report_that_was_deleted_is_written_again(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    (folder / "report.html").unlink()
    lines = []
    run(config(tiny().data), folder, resume=True, say=lines.append)
    assert (folder / "report.html").exists() and "evaluate: there already" in lines
    assert f"report: {folder / 'report.html'}" in lines


@pytest.mark.parametrize("stage", some_slow(["evaluation", "model"], ["model"]))
def test_a_killed_run_loses_no_finished_stage(stage, tmp_path, monkeypatch):
    folder = copy_of_run(tmp_path / "run")
    delete(folder, [*REPORT, *AFTER[stage]])
    (folder / ".evaluation.json.1.tmp").write_text("half")
    (folder / ".equation.1.tmp").mkdir()
    finished = {"model": ["train"], "evaluation": ["train", "grow", "evaluate"]}
    for name in finished[stage]:
        monkeypatch.setattr(pipeline, name, None)
    said = []
    run(config(tiny().data), folder, resume=True, say=said.append)
    skipped = {"model": ["train"], "evaluation": ["train", "factor", "evaluate"]}
    there = [line for line in said if line.endswith("there already")]
    assert there == [f"{name}: there already" for name in skipped[stage]]
    assert metrics(folder) == metrics(tiny().run)
    assert {p.name for p in folder.iterdir()} == {p.name for p in tiny().run.iterdir()}


def in_use(folder):
    return (
        f"{folder} is in use: another process is working in it.\n"
        "  why: two at once would overwrite each other's files\n"
        "  try: another --out, or --resume when the other has ended"
    )


def test_two_processes_do_not_share_a_folder(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    delete(folder, REPORT)
    mine = config(tiny().data)
    words = mine.command(str(folder)).split()[1:]
    factor = ("factor", tiny().run, "--data", tiny().data, "--out", folder)
    with held_elsewhere(folder, mine.to_json()) as other:
        (folder / ".evaluation.json.1.tmp").write_text("the other is writing")
        before = contents(folder)
        for resume in (False, True):
            with pytest.raises(RunInUseError) as caught:
                run(mine, folder, resume=resume, say=silent)
            assert str(caught.value) == in_use(folder)
            for line in (words, factor):
                assert command(*line, *["--resume"] * resume) == (
                    2,
                    "",
                    f"ecg-jax {line[0]}: RunInUseError: {in_use(folder)}\n",
                )
        assert contents(folder) == before
        assert other.poll() is None
        other.stdin.close()
        assert other.wait() == 0
    with begin(mine.to_json(), folder, True):
        assert not list(folder.rglob(".*"))


def test_a_killed_process_lets_go(tmp_path):
    folder, mine = copy_of_run(tmp_path / "run"), config(tiny().data)
    with held_elsewhere(folder, mine.to_json()) as other:
        (folder / ".report.html.1.tmp").write_text("half")
        with pytest.raises(RunInUseError):
            run(mine, folder, resume=True, say=silent)
        other.send_signal(signal.SIGKILL)
        assert other.wait() == -signal.SIGKILL
    run(mine, folder, resume=True, say=silent)
    assert {p.name for p in folder.iterdir()} == {p.name for p in tiny().run.iterdir()}


def test_a_folder_is_held_through_every_stage(tmp_path, monkeypatch):
    mine, folder, tried = config(tiny().data), tmp_path / "run", []

    def stage(name):
        def try_again(*_):
            with pytest.raises(RunInUseError):
                run(mine, folder, resume=True, say=silent)
            tried.append(name)
            if name == "report":
                write_json(folder / "metrics.json", {})

        monkeypatch.setattr(pipeline.Run, name, try_again)

    stages = ["beats", "network", "tree", "evaluation", "report"]
    for name in stages:
        stage(name)
    monkeypatch.setattr(pipeline, "check_windows", lambda *_: None)
    assert run(mine, folder, say=silent) == {}
    assert tried == stages


def test_a_failed_run_lets_go(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise DataError("no beats")

    with monkeypatch.context() as patch:
        patch.setattr(source, "extract_beats", fail)
        for resume in (False, True):
            with pytest.raises(DataError, match="no beats"):
                run(config(tiny().data), tmp_path, resume=resume, say=silent)


def test_changed_recordings_are_noticed(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    data = shutil.copytree(tiny().data, tmp_path / "data")
    (data / "training" / "S00001.mat").unlink()
    delete(folder, REPORT)
    settings = read_json(folder / "config.json") | {"data": str(data)}
    write_json(folder / "config.json", settings)
    with pytest.raises(RunError, match=r"other beats than the .* recordings have chan"):
        run(config(data), folder, resume=True, say=silent)


def test_one_class_only(tmp_path):
    data = write_recordings(tmp_path / "data", 6, labels="N")
    with pytest.raises(DataError) as caught:
        run(config(data), tmp_path / "run", say=silent)
    beats = int(str(caught.value).split("hold ")[1].split()[0])
    assert str(caught.value) == (
        f"the train recordings hold {beats} labelled beats, {beats} of them normal: a "
        "network needs both classes.\n  try: more recordings, or another data set"
    )


def test_bad_data_leave_the_folder_as_it_was(tmp_path):
    bad = write_recordings(tmp_path / "bad", 6, labels="N")
    new, there = tmp_path / "new", tmp_path / "there"
    there.mkdir()
    for out in (new, there):
        for resume in (False, True):
            with pytest.raises(DataError, match="both classes"):
                run(config(bad), out, resume=resume, say=silent)
    assert not new.exists() and not list(there.iterdir())
    for path in (bad / "training").glob("*.mat"):
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="gave a beat"):
        run(config(bad), new, say=silent)
    assert not new.exists()


def test_what_a_failed_run_has_made_stays(tmp_path, monkeypatch):
    folder = copy_of_run(tmp_path / "run")
    delete(folder, [*REPORT, *AFTER["model"]])
    before = {path for path in folder.rglob("*")}

    def fail(*_, **__):
        raise DataError("no components")

    monkeypatch.setattr(pipeline, "grow", fail)
    with pytest.raises(DataError, match="no components"):
        run(config(tiny().data), folder, resume=True, say=silent)
    assert {path for path in folder.rglob("*")} == before


def test_the_shape_of_the_input_is_no_setting():
    settings = json.loads((tiny().run / "config.json").read_text())["network"]
    assert "widths" in settings
    assert not {"num_leads", "num_samples"} & set(settings)
    shape = json.loads((tiny().run / "model" / "manifest.json").read_text())
    assert shape["config"]["num_samples"] == 65


def test_a_full_disk_is_one_clear_message(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError) as caught:
        run(config(tiny().data), tmp_path / "run", say=silent)
    path = tmp_path / "run" / "config.json"
    assert str(caught.value).startswith(f"no space is left for {path}: free some")
    with pytest.raises(DiskFullError) as caught:
        write_parquet({"a": np.arange(3)}, tmp_path / "a.parquet")
    assert str(caught.value) == (
        f"no space is left for {tmp_path / 'a.parquet'}: free some, then continue "
        "with --resume"
    )
    with pytest.raises(DiskFullError):
        write_atomic(tmp_path / "b", b"1")
    assert [p.name for p in tmp_path.rglob("*")] == ["run"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        with begin({}, tmp_path / "file" / "run", False):
            pass
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'run'} cannot be written to: Not a directory.\n"
        "  try: another --out"
    )


def test_the_command_repeats_the_run(monkeypatch):
    parsed = []
    monkeypatch.setattr(
        pipeline, "run", lambda config, out, **more: parsed.append((config, str(out)))
    )
    elsewhere = RunConfig(data="mitdb", data_dir=Path("DIR"))
    for mine in (config(tiny().data), RunConfig(), elsewhere):
        words = mine.command("runs/first").split()
        assert command(*words[1:]) == (0, "", "")
        assert parsed.pop() == (mine, "runs/first")
    placed = replace(elsewhere, data_dir=Path("/a/folder")).command("run")
    assert placed == "ecg-jax run --data mitdb --data-dir DIR --out run"
    assert RunConfig().command("run") == "ecg-jax run --data synthetic --out run"
    page = (tiny().run / "report.html").read_text()
    assert "ecg-jax run --data" in page and " --out run<" in page
    assert shown_path(Path("runs/first")) == "runs/first"
    assert shown_path(tiny().run) == shown_path(Path("../run"))


def test_numbers_that_json_does_not_know_are_null():
    assert plain({"a": float("nan"), "b": np.float32(1), "c": (np.inf, 2)}) == {
        "a": None,
        "b": 1.0,
        "c": [None, 2],
    }


@pytest.mark.slow
def test_sigkill_after_every_stage(tmp_path):
    """A process killed when each file appears; the last one ends as if undisturbed."""
    code = "import sys; from ecg_jax.cli import main; main(sys.argv[1:])"
    words = config(tiny().data).command(str(tmp_path / "run")).split()[1:]
    start = [sys.executable, "-c", code, *words]
    files = [
        "config.json",
        "model/checkpoint.safetensors",
        "model/manifest.json",
        "equation/manifest.json",
        "partition.parquet",
        "evaluation.json",
        "figures",
        "report.html",
    ]
    stamps = {}
    for number, name in enumerate(files):
        job = subprocess.Popen([*start, *(["--resume"] if number else [])])
        while not (tmp_path / "run" / name).exists() and job.poll() is None:
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
        job.wait()
        for done in files[2:number]:  # what was finished before is not made again
            stat = (tmp_path / "run" / done).stat()
            assert stamps.setdefault(done, stat.st_mtime_ns) == stat.st_mtime_ns or (
                done in ("figures", "report.html")
            )
    subprocess.run([*start, "--resume"], check=True)
    subprocess.run([*start, "--out", str(tmp_path / "again")], check=True)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "again")
    assert not [p for p in (tmp_path / "run").rglob(".*")]
