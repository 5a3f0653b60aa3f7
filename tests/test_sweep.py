"""Sweeps: configurations, cells, drivers, what stops them, and what does not."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from run_files import command, held_by
from small_beats import R_S, RATE, arrays, names

from ecg_jax.draw.sweep_grid import spread
from ecg_jax.errors import (
    DriverError,
    MissingExtraError,
    MissingFileError,
    RunError,
    RunInUseError,
    SweepError,
)
from ecg_jax.runs.config import RunConfig
from ecg_jax.storage.table import read_parquet
from ecg_jax.sweeps import cell as cells_of_a_sweep
from ecg_jax.sweeps import drivers
from ecg_jax.sweeps.config import SweepConfig, read_config
from ecg_jax.sweeps.keys import known
from ecg_jax.sweeps.show import figure, results
from ecg_jax.sweeps.sweep import sweep

X, UPRIGHT = arrays(120)
NOBODY = {"say": lambda line: None}


def needs(name):
    """Skips a test where a package of the extra is not installed."""
    return pytest.mark.skipif(
        not find_spec(name), reason=f"needs {name} (ecg_jax[sweep])"
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Beats of 20 recordings in a file."""
    path = tmp_path_factory.mktemp("sweep") / "beats.npz"
    records = [f"p{i // 6}" for i in range(120)]
    labels = names(UPRIGHT)
    np.savez(
        path, beats=X, labels=labels, sample_rate_hz=RATE, r_peak_s=R_S, records=records
    )
    return path


def config(data, **more):
    """Four small cells."""
    base = {
        "data": str(data),
        "network.widths": (4,),
        "training.num-epochs": 2,
        "training.batch-size": 32,
        "tree.depth": 1,
        "tree.budget": 1,
        "tree.min-count": 5,
    }
    grid = {"training.learning-rate": (0.01, 0.03), "seed": (0, 1)}
    return SweepConfig(**{"base": base, "grid": grid, **more})


def seeds(*values):
    """A grid whose networks are compiled once for all tests."""
    return {"training.learning-rate": (0.01,), "seed": values}


@pytest.fixture(scope="module")
def swept(data, tmp_path_factory):
    """A finished sweep, which tests must not change."""
    out = tmp_path_factory.mktemp("swept") / "sweep"
    said = []
    found = sweep(config(data), out, say=said.append)
    return out, found, said


def tables(folder):
    """All figures but times, by cell."""
    found = {}
    for path in sorted((folder / "cells").glob("*.parquet")):
        row = read_parquet(path)
        timed = [name for name in row if name.startswith("seconds.")]
        assert timed and not any(path.name.startswith(".") for path in folder.iterdir())
        found[path.name] = {k: v.tolist() for k, v in row.items() if k not in timed}
    return found


def bytes_of(folder):
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes())
        for path in (folder / "cells").glob("*.parquet")
    }


def written(tmp_path, text, name="sweep.toml"):
    path = tmp_path / name
    path.write_text(text)
    return path


# The configuration


def test_a_configuration_is_that_of_a_run(tmp_path):
    found = read_config(
        written(
            tmp_path,
            """
            resamples = 5
            [base]
            data = "mitdb"
            training.learning-rate = 1
            "tree.localize" = 0.5
            network = {kind = "resnet", channels = [4, 4]}
            [grid]
            network.widths = [[8, 4], [4]]
            seed = [0, 1]
            """,
        ),
        tmp_path,
    )
    assert found.num_cells == 4 and found.axes == ("network.widths", "seed")
    last = found.cells()[-1]
    assert last.name.startswith("widths=4_seed=1_")
    wanted = RunConfig(data="mitdb", data_dir=tmp_path)
    wanted = replace(
        wanted,
        network=replace(wanted.network, kind="resnet", channels=(4, 4), widths=(4,)),
        training=replace(wanted.training, learning_rate=1.0, seed=1),
        tree=replace(wanted.tree, localize=0.5),
        cover=replace(wanted.cover, seed=1),
    )
    assert last.config == wanted


def test_a_json_file_is_as_good(tmp_path):
    text = '{"rows": {"a": {"seed": 1}, "b": {"training.noise": 0}}, "grid": {}}'
    found = read_config(written(tmp_path, text, "sweep.json"))
    assert [cell.row for cell in found.cells()] == ["a", "b"]
    assert found.cells()[1].config.training.noise == 0.0


def test_every_option_of_a_run_has_a_name():
    assert {"data", "data-dir", "seed", "beats.before-s", "cover.wanted"} <= set(
        known()
    )
    assert not any("_" in name or "num-leads" in name for name in known())


def test_the_name_of_a_cell_changes_with_all_that_decides_it(data):
    def name(**more):
        return config(data, **more).cells()[0].name

    base = config(data).base
    assert name() == name() == name(base={**base, "data-dir": data.parent})
    assert name() != name(base={**base, "training.noise": 0.2})
    assert name() != name(resamples=10) != name(equation=True)


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "[base]\nnetwork.width = [8]",
            "base: there is no option 'network.width'.\n  try: network.widths",
        ),
        (
            "[grid]\ntraining.lerning_rate = [0.1]",
            "grid: there is no option 'training.lerning_rate'.\n"
            "  try: training.learning-rate",
        ),
        ("gird.seed = [0]", "PATH: there is no 'gird'.\n  try: grid"),
        (
            "[search]\ntrails = 3\nspace.seed = [0, 1]",
            "search: there is no 'trails'.\n  try: trials",
        ),
        (
            "[base]\ntraining.num-epochs = 'three'",
            "base: training.num-epochs = 'three' is not of its type.\n"
            "  try: a whole number",
        ),
        (
            "[grid]\nnetwork.widths = [8, 4]",
            "grid: network.widths = 8 is not of its type.\n"
            "  try: a list, each a whole number",
        ),
        (
            "[base]\nnetwork.kind = 'cnn'",
            "base: network.kind = 'cnn' is not of its type.\n"
            "  try: one of mlp, authors, resnet, templates",
        ),
        (
            "[grid]\nseed = 3",
            "grid: seed = 3 is no list of values.\n"
            "  try: 'seed' = [...], or move it to base",
        ),
        (
            "[grid]\ntraining.batch-size = [32, 0]",
            "a cell (batch-size=0) cannot be: no network can be trained so:\n"
            "  batch_size: 0 is no whole number from 1 up",
        ),
        (
            "[base]\nseed = 1\n[grid]\ntraining.seed = [2]",
            "PATH: training.seed is said twice, in base, in a row or on an axis.\n"
            "  try: once (seed says training.seed and cover.seed)",
        ),
        (
            "objective = 'heldout.beat_auc'",
            "PATH: the objective 'heldout.beat_auc' is no validation figure; held-out "
            "recordings report, they choose nothing.\n  try: validation.beat_auc",
        ),
        (
            "[grid]\nseed = [1]\n[search]\nspace.seed = [0, 1]",
            "PATH: both a grid and a search.\n  try: one of them",
        ),
        (
            "[search]\ntrials = 2",
            "search: its space is empty.\n  try: space.'seed' = [0, 1]",
        ),
        (
            "[search]\ntrials = 0\nspace.seed = [0, 1]",
            "search: trials = 0 is no whole number from 1 up.\n  try: 20",
        ),
        (
            "[search]\nspace.network.widths = {low = 1, high = 2}",
            "search.space: network.widths = {'low': 1, 'high': 2} is no interval.\n"
            "  try: a list of values; an interval is of numbers",
        ),
        (
            "[search]\nspace.training.noise = {low = 0, high = 1, log = true}",
            "search.space: training.noise = {'low': 0, 'high': 1, 'log': True} is no "
            "interval.\n  try: {low = 0.001, high = 0.01, log = true}, low above 0",
        ),
        (
            "resamples = -1",
            "PATH: resamples = -1 is not of its type.\n  try: 0, or 1000",
        ),
        (
            "equation = 1",
            "PATH: equation = 1 is not of its type.\n  try: true or false",
        ),
        (
            "grid = {data-dir = ['a', 'b']}",
            "grid: data-dir says where data lie, not which.\n"
            "  try: it in base, and 'data' here",
        ),
        ("base = 1", "PATH: base = 1 is not of its type.\n  try: [base]"),
        ("seed = ", "PATH is no TOML: Invalid value (at end of document)."),
    ],
)
def test_what_no_sweep_has_is_refused(text, message, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(SweepError) as caught:
        read_config(path)
    assert str(caught.value) == message.replace("PATH", str(path))


def test_the_name_of_a_cell_fits_a_file_system(data):
    cell = config(data).cell("\u5fc3" * 120, {"seed": 0})
    assert len(f"{cell.name}.parquet".encode()) < 255


def test_a_figure_of_options_without_a_value():
    values = [None, 0.5, "far"]
    drawn = spread({"tree.localize": values}, [0.7, 0.8, 0.9], y_label="AUC")
    (axes,) = drawn.axes
    assert [t.get_text() for t in axes.get_xticklabels()] == ["None", "0.5", "far"]


def test_a_file_that_is_not_there(tmp_path):
    status, _, err = command("sweep", tmp_path / "no.toml")
    assert (status, err) == (
        2,
        f"ecg-jax sweep: SweepError: {tmp_path / 'no.toml'} cannot be read: No such "
        "file or directory.\n  try: a .toml or .json file\n",
    )


def test_data_that_are_not_there_leave_no_folder(tmp_path):
    with pytest.raises(MissingFileError):
        sweep(config(tmp_path / "no.npz"), tmp_path / "out", **NOBODY)
    assert not (tmp_path / "out").exists()


# Cells, and going on


def test_a_sweep_gives_a_table_a_cell(swept, data):
    out, found, said = swept
    assert (found.cells, found.computed, found.failed) == (4, 4, {})
    assert len(said) == 4 and said[0].startswith("  1 of 4, about ")
    assert said[-1].startswith("  4 of 4: learning-rate=0.03_seed=1_")
    rows = tables(out)
    assert sorted(rows) == sorted(f"{c.name}.parquet" for c in config(data).cells())
    row = rows[f"{config(data).cells()[3].name}.parquet"]
    assert row["seed"] == [1] and row["training.learning-rate"] == [0.03]
    assert {f"{side}.beat_auc" for side in ("validation", "heldout")} <= set(row)
    assert all(0 <= row[k][0] <= 1 for k in row if "auc" in k)
    assert row["epochs"] == [2] and row["weights"] == [65 * 4 + 4 + 4 + 1]
    assert list((out / "networks").iterdir()) == []


def test_what_is_done_is_not_computed_again(swept, data):
    out, _, _ = swept
    before = bytes_of(out)
    assert sweep(config(data), out, **NOBODY).computed == 0
    assert bytes_of(out) == before


def test_a_grid_may_grow(data, tmp_path):
    small = config(data, grid=seeds(0))
    assert sweep(small, tmp_path, **NOBODY).computed == 1
    before = bytes_of(tmp_path)
    found = sweep(replace(small, grid=seeds(0, 1)), tmp_path, **NOBODY)
    assert (found.cells, found.computed) == (2, 1)
    assert before.items() <= bytes_of(tmp_path).items()


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import conftest
from test_sweep import config
from ecg_jax.sweeps.sweep import sweep

def say(line):
    if line.startswith("  2 of"):
        os.kill(os.getpid(), signal.SIGKILL)

sweep(config(sys.argv[1]), Path(sys.argv[2]), say=say)
"""


def test_sigkill_loses_nothing(swept, data, tmp_path):
    """What is done stays byte for byte; the rest ends as if undisturbed."""
    out = tmp_path / "out"
    words = [
        sys.executable,
        "-c",
        KILLED,
        str(data),
        str(out),
        os.path.dirname(__file__),
    ]
    killed = subprocess.run(words, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = bytes_of(out)
    assert len(before) == 2
    assert sweep(config(data), out, **NOBODY).computed == 2
    assert before.items() <= bytes_of(out).items()
    assert tables(out) == tables(swept[0])


def test_a_cell_that_raises_is_reported_and_tried_again(data, tmp_path, monkeypatch):
    measure = cells_of_a_sweep.measure

    def fails(margin, *args, **options):
        if len(list((tmp_path / "out" / "cells").iterdir())) == 1:
            raise FloatingPointError("no figure for this one")
        return measure(margin, *args, **options)

    what = config(data, grid=seeds(0, 1, 2))
    one = what.cells()[1].name
    with monkeypatch.context() as patch:
        patch.setattr(cells_of_a_sweep, "measure", fails)
        found = sweep(what, tmp_path / "out", **NOBODY)
    reason = "FloatingPointError: no figure for this one"
    assert found.computed == 1 and found.failed[one] == reason
    error = json.loads((tmp_path / "out/failed" / f"{one}.json").read_text())
    assert error["error"].endswith(reason) and "Traceback" in error["error"]
    found = sweep(what, tmp_path / "out", **NOBODY)
    assert (found.computed, found.failed) == (2, {})
    assert list((tmp_path / "out/failed").iterdir()) == []


def test_the_command_names_the_cells_that_failed(data, tmp_path):
    text = f"""
    base = {{data = {str(data)!r}, training = {{num-epochs = 1, batch-size = 32}}}}
    grid = {{network.widths = [[4]], training.learning-rate = [1e38]}}
    """
    path = written(tmp_path, text)
    status, _, err = command("sweep", path, "--out", tmp_path / "out")
    (name,) = [cell.name for cell in read_config(path).cells()]
    assert status == 2 and err.endswith(
        f"SweepError: 1 of 1 cells failed:\n  {name}: ecg_jax.errors.NonFiniteError: "
        "training diverged: the loss of epoch 1 is nan; try a learning rate below "
        "1e+38\n  try: the same command again, which tries them again; failed/ has "
        "more\n"
    )


# One folder


HOLDER = """
import sys
from pathlib import Path
from ecg_jax.storage.lock import locked

with locked(Path(sys.argv[1]), wait=False):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_two_drivers_on_one_folder_are_refused(swept, data):
    out, _, _ = swept
    before = bytes_of(out)
    with held_by(HOLDER, str(out)), pytest.raises(RunInUseError) as caught:
        sweep(config(data), out, **NOBODY)
    assert str(caught.value) == (
        f"{out} is in use: another process is working in it.\n"
        "  why: two at once would overwrite each other's files\n"
        "  try: another --out, or the same command when the other has ended"
    )
    assert bytes_of(out) == before


@pytest.mark.parametrize("key", ["ecg_jax", "training"])
def test_results_of_another_version_are_refused(key, swept, data, tmp_path):
    out = tmp_path / "out"
    what = config(data, grid=seeds(0))
    sweep(what, out, **NOBODY)
    path = out / "config.json"
    there = json.loads(path.read_text())
    if key == "ecg_jax":
        there["ecg_jax"] = "0.0.9"
        path.write_text(json.dumps(there))
        differ = f'ecg_jax: "0.0.9" there, "{version_here()}" here'
    else:
        what = replace(what, base={**what.base, "training.noise": 0.2})
        differ = "base.training.noise: 0.1 there, 0.2 here"
    with pytest.raises(RunError) as caught:
        sweep(what, out, **NOBODY)
    assert str(caught.value) == (
        f"{out} was started with another configuration:\n  {differ}\n"
        "  try: the options it was started with, or another --out"
    )


def version_here():
    from importlib.metadata import version

    return version("ecg_jax")


# Figures of the equation


def test_figures_of_the_equation(data, tmp_path):
    base = {**config(data).base, "training.num-epochs": 20}
    grid = {"training.learning-rate": (0.1,)}
    more = {"equation": True, "resamples": 20, "networks": True}
    what = config(data, base=base, grid=grid, **more)
    assert sweep(what, tmp_path, **NOBODY).failed == {}
    (row,) = tables(tmp_path).values()
    assert row["exactness.decision_agreement"] == [1.0] and row["wrongly_proven"] == [0]
    assert 0 <= row["validation.proven_normal"][0] <= 1
    assert "heldout.proven_not_normal" in row and "heldout.purity.depth1" in row
    low, auc, high = (row[f"heldout.beat_auc{end}"][0] for end in (".low", "", ".high"))
    assert low <= auc <= high
    (kept,) = (tmp_path / "networks").iterdir()
    assert (kept / "model" / "manifest.json").exists()


# Shown


def test_results_are_one_line_a_setting_with_the_mean_over_seeds(swept, data):
    out, _, _ = swept
    columns, rows = results(config(data), out)
    assert columns[:4] == [
        "training.learning-rate",
        "cells",
        "validation.beat_auc",
        "sd over seeds",
    ]
    assert [row[1] for row in rows] == [2, 2] and rows[0][2] >= rows[1][2]
    found = [
        row["validation.beat_auc"][0]
        for row in tables(out).values()
        if row["training.learning-rate"] == [rows[0][0]]
    ]
    np.testing.assert_allclose(rows[0][2:4], [np.mean(found), np.std(found, ddof=1)])


def test_the_command_shows_results(swept, data, tmp_path):
    text = json.dumps({"base": {**config(data).base}, "grid": {**config(data).grid}})
    words = ("sweep", written(tmp_path, text, "s.json"), "--out", swept[0], "--show")
    status, out, err = command(*words)
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0].split()[:2] == ["training.learning-rate", "cells"]
    assert len(lines) == 5 and lines[3] == "4 of 4 cells; the AUC of chance is .5"
    assert lines[4].endswith("results.svg")
    panels = figure(config(data), swept[0]).axes
    assert [axes.get_xlabel() for axes in panels] == ["training.learning-rate", "seed"]
    assert all(len(axes.lines[0].get_xdata()) == 4 for axes in panels)


def test_nothing_to_show(data, tmp_path):
    with pytest.raises(SweepError) as caught:
        results(config(data), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} holds no results of this sweep.\n  try: without --show first"
    )


# Other drivers, and a search

forking = pytest.mark.filterwarnings("ignore:os.fork")


@pytest.fixture
def as_here(monkeypatch):
    """Other processes compute as this one does."""
    for name, value in {
        "JAX_ENABLE_X64": "1",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    }.items():
        monkeypatch.setenv(name, value)


def test_what_computes_may_go_away(swept, data, tmp_path):
    @contextmanager
    def away():
        def drive(compute, tasks):
            yield tasks[0], compute(tasks[0])
            raise DriverError("the cluster went away")

        yield drive

    with pytest.raises(DriverError):
        sweep(config(data), tmp_path / "out", away(), **NOBODY)
    before = bytes_of(tmp_path / "out")
    assert len(before) == 1
    assert sweep(config(data), tmp_path / "out", **NOBODY).computed == 3
    assert before.items() <= bytes_of(tmp_path / "out").items()
    assert tables(tmp_path / "out") == tables(swept[0])


CLUSTER = """
import sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
print(cluster.address, flush=True)
while not list(Path(sys.argv[1]).glob("cells/*.parquet")):
    time.sleep(0.1)
cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
sys.stdin.read()
"""


@needs("ray")
@forking
@pytest.mark.slow
def test_a_cluster_that_goes_away(swept, data, as_here, tmp_path):
    out, what = tmp_path / "out", config(data)
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        address = process.stdout.readline().strip()
        with pytest.raises(DriverError, match=rf"cluster at {address} went away: "):
            sweep(what, out, drivers.on_ray(address), **NOBODY)
        process.communicate()
    before = bytes_of(out)
    assert before and sweep(what, out, **NOBODY).computed == 4 - len(before)
    assert before.items() <= bytes_of(out).items()
    assert tables(out) == tables(swept[0])


@pytest.mark.parametrize("name", ["loop", "ray", "submitit"])
def test_there_are_workers(name, tmp_path):
    with pytest.raises(SweepError, match="workers is 0"):
        drivers.driver_of(name, tmp_path, {}, 0, None)


def test_a_driver_is_not_asked_for_nothing(swept, data):
    @contextmanager
    def needs_tasks():
        def drive(compute, tasks):
            assert tasks
            yield

        yield drive

    assert sweep(config(data), swept[0], needs_tasks(), **NOBODY).computed == 0


def test_an_extra_that_is_missing(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as caught:
        sweep(config(data), tmp_path / "out", drivers.on_ray(), **NOBODY)
    assert str(caught.value) == (
        "this sweep needs `ray`.\n  try: pip install 'ecg_jax[sweep]'"
    )
    assert not (tmp_path / "out").exists()


@needs("submitit")
@forking
def test_jobs_give_the_same(data, as_here, tmp_path):
    what = config(data, grid=seeds(0, 1))
    jobs = drivers.on_submitit(tmp_path / "jobs", {"timeout_min": 5}, cluster="local")
    assert sweep(what, tmp_path / "out", jobs, **NOBODY).computed == 2
    sweep(what, tmp_path / "loop", **NOBODY)
    assert tables(tmp_path / "out") == tables(tmp_path / "loop")


@needs("submitit")
@forking
def test_a_job_that_is_killed_is_a_cell_that_failed(data, tmp_path, monkeypatch):
    monkeypatch.setattr("ecg_jax.sweeps.sweep.compute", killed)
    what = config(data, grid=seeds(0))
    jobs = drivers.on_submitit(tmp_path / "jobs", {}, cluster="local")
    found = sweep(what, tmp_path / "out", jobs, **NOBODY)
    assert found.computed == 0 and len(found.failed) == 1
    monkeypatch.undo()
    assert sweep(what, tmp_path / "out", **NOBODY).computed == 1


def killed(task):
    os.kill(os.getpid(), signal.SIGKILL)


@needs("submitit")
def test_no_cluster_for_jobs(data, tmp_path):
    jobs = drivers.on_submitit(tmp_path / "jobs", {}, cluster="slurm")
    with pytest.raises(DriverError, match=r"submitit cannot be used: Could not detect"):
        sweep(config(data), tmp_path / "out", jobs, **NOBODY)


@needs("ray")
@forking
def test_ray_gives_the_same(data, as_here, tmp_path):
    what = config(data, grid=seeds(0, 1))
    assert sweep(what, tmp_path / "out", drivers.on_ray(), **NOBODY).computed == 2
    sweep(what, tmp_path / "loop", **NOBODY)
    assert tables(tmp_path / "out") == tables(tmp_path / "loop")


@needs("ray")
def test_no_cluster_at_an_address(data, tmp_path):
    nowhere = drivers.on_ray("127.0.0.1:1")
    with pytest.raises(DriverError) as caught:
        sweep(config(data), tmp_path / "out", nowhere, **NOBODY)
    assert str(caught.value) == (
        "the Ray cluster at 127.0.0.1:1 cannot be reached: [Errno 111] Connection "
        "refused\n  try: the same command again; finished cells stay"
    )


def search(data, trials):
    text = f"""
    base = {{data = {str(data)!r}, network.widths = [4], training.num-epochs = 2}}
    objective = "validation.beat_accuracy"
    [search]
    trials = {trials}
    space.seed = {{low = 0, high = 1000}}
    space.training.batch-size = [32, 16]
    """
    return written(data.parent, text, f"search{trials}.toml")


@needs("optuna")
def test_a_search_that_was_stopped_asks_for_the_same_cells(data, tmp_path):
    whole = sweep(read_config(search(data, 4)), tmp_path / "whole", **NOBODY)
    assert 1 <= whole.computed <= 4

    def stop(line):
        if line.startswith("  2 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(read_config(search(data, 4)), tmp_path / "parts", say=stop)
    before = bytes_of(tmp_path / "parts")
    sweep(read_config(search(data, 4)), tmp_path / "parts", **NOBODY)
    assert before.items() <= bytes_of(tmp_path / "parts").items()
    assert tables(tmp_path / "parts") == tables(tmp_path / "whole")
    found = sweep(read_config(search(data, 5)), tmp_path / "parts", **NOBODY)
    assert found.cells == 5 and found.computed <= 1


@needs("optuna")
def test_a_search_of_another_space_is_refused(data, tmp_path):
    sweep(read_config(search(data, 1)), tmp_path / "out", **NOBODY)
    other = read_config(search(data, 2))
    space = {**other.search.space, "training.batch-size": (64, 16)}
    other = replace(other, search=replace(other.search, space=space))
    with pytest.raises(SweepError, match="holds a search of another space"):
        sweep(other, tmp_path / "out", **NOBODY)
