"""The table of a data set, and the second road to every proof."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from run_files import tiny

from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.datasets import open_dataset
from ecg_jax.errors import RunError
from ecg_jax.program.blocks import blocks
from ecg_jax.runs.saved_run import load_run
from ecg_jax.storage.cache import cache_home
from ecg_jax.storage.table import read_parquet, write_parquet
from ecg_jax.views.partition import Partition, components, coverage, inputs_of


@pytest.fixture(scope="module")
def part():
    _, tree, config = load_run(tiny().run)
    source = open_dataset(tiny().data)
    beats = extract_beats(source, config, cache_dir=cache_home() / "beats")
    table = read_parquet(tiny().run / "partition.parquet")
    return Partition.from_columns(tree, beats, table)


def test_a_row_a_beat(part):
    table = read_parquet(tiny().run / "partition.parquet")
    assert set(table) >= {
        *"beat record split label is_normal r_time_s rr_before_s margin".split(),
        *"lower upper cell cell_depth1 proven".split(),
    }
    assert (table["beat"] == np.arange(len(part.beats))).all()
    assert ((table["margin"] >= 0) == (table["margin_float32"] >= 0)).all()
    assert (table["lower"] <= table["margin"] + table["slack"]).all()
    assert (table["upper"] >= table["margin"] - table["slack"]).all()
    proven = table["proven"]
    sign = np.where(table["margin"] >= 0, 1, -1)
    bound = np.where(sign > 0, table["lower"], -table["upper"])
    first = proven & (table["cell"] == table["cell_depth1"])
    assert (bound[first] > 0).all() and proven.mean() > 0.5


def test_the_table_comes_back(part):
    table = read_parquet(tiny().run / "partition.parquet")
    again = part.columns()
    assert list(again) == list(table)
    for name, column in table.items():
        np.testing.assert_array_equal(column, again[name])


def test_components_as_programs_agree_with_gaps(part):
    with jax.enable_x64(True):
        inputs = inputs_of(part.tree, part.beats)
        evaluated = components(part.tree, inputs, part.decision)
        values = part.tree.values(inputs)
    of_gaps = values[np.arange(len(values)), part.decision.path[:, 0]]
    np.testing.assert_allclose(evaluated, of_gaps, rtol=0, atol=1e-12)
    assert part.contradictions() == {"sandwich": 0, "component": 0, "float32": 0}


@pytest.mark.parametrize("normal", [True, False])
def test_beats_of_one_answer_alone(part, normal):
    rows = np.flatnonzero(part.decision.normal == normal)[:40]
    with jax.enable_x64(True):
        (row,) = coverage(part, rows)
    assert row.side == ("normal" if normal else "not normal")
    assert row.num_answers == len(rows) and 0 <= row.proven <= row.proven_any <= 1


def test_contradictions_are_counted(part):
    decision = part.decision
    on = np.flatnonzero((decision.prover >= 0) & (decision.value >= 0))[:3]
    float32, evaluated = part.float32.copy(), part.evaluated.copy()
    float32[on] = -1e-9
    evaluated[on[:2]] = decision.value[on[:2]] + 1
    lower = decision.lower.copy()
    lower[on[0]] = decision.value[on[0]] + 1
    wrong = replace(
        part,
        float32=float32,
        evaluated=evaluated,
        decision=replace(decision, lower=lower),
    )
    assert wrong.contradictions() == {"sandwich": 1, "component": 2, "float32": 3}
    claimed = np.flatnonzero(decision.prover == decision.path[:, 0])[:1]
    evaluated = part.evaluated.copy()
    evaluated[claimed] = -1e-3 * np.sign(decision.value[claimed])
    failed = replace(part, evaluated=evaluated).contradictions()
    assert failed["component"] == len(claimed)


def test_float32_margins_are_the_networks_own(part):
    network, _, _ = load_run(tiny().run)
    own = blocks(network.margin, part.beats.inputs())
    assert own.dtype == np.float32
    np.testing.assert_array_equal(own, part.float32)


def test_a_table_of_other_beats(part):
    table = read_parquet(tiny().run / "partition.parquet")
    less = {name: column[:-1] for name, column in table.items()}
    with pytest.raises(RunError) as caught:
        Partition.from_columns(part.tree, part.beats, less)
    num = len(part.beats)
    assert str(caught.value) == (
        f"partition.parquet holds {num - 1} other beats than the {num} of this data "
        "set: recordings have changed.\n  try: the same recordings, or another --out"
    )


def test_parquet(tmp_path):
    path = tmp_path / "it's.parquet"
    columns = {
        "a": np.arange(3),
        "b": np.array(["x", "", "z"], object),
        "c": np.array([1.5, np.nan, 3.0]),
        "d": np.array([True, False, True]),
    }
    write_parquet(columns, path)
    again = read_parquet(path)
    for name, column in columns.items():
        np.testing.assert_array_equal(again[name], column)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(RunError, match=r"it's\.parquet cannot be read: "):
        read_parquet(path)
