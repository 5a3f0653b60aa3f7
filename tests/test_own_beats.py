"""Beats that somebody has already: arrays and files, and what is refused of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from run_files import write_recordings
from small_beats import R_S, RATE, arrays, names

import ecg_jax as ej
from ecg_jax.errors import (
    DataError,
    DTypeError,
    EcgJaxError,
    ExampleError,
    MissingFileError,
    NonFiniteError,
)
from ecg_jax.storage.table import write_parquet

X, UPRIGHT = arrays()
LABELS = names(UPRIGHT)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leads", [None, ("II",), ("II", "V1")])
def test_a_function_sees_the_array_itself(dtype, leads):
    x = X.astype(dtype)
    if leads is not None:
        x = np.stack([x] * len(leads), axis=1)
    found = ej.beats(x, sample_rate_hz=RATE, leads=leads or (), r_peak_s=R_S)
    assert found.inputs().dtype == dtype and np.shares_memory(found.inputs(), x)
    np.testing.assert_array_equal(found.inputs(np.array([3, 1])), x[[3, 1]])
    assert found.millivolts.shape == (80, len(leads or "x"), 65)
    assert found.millivolts.dtype == np.float32
    assert found.windows().shape == found.millivolts.shape
    assert found.leads == (leads or ()) and len(found) == 80


def test_a_jax_array_will_do():
    found = ej.beats(jnp.asarray(X), sample_rate_hz=100)
    np.testing.assert_array_equal(found.inputs(), X)


def test_it_reads_well():
    found = ej.beats(X, sample_rate_hz=RATE, labels=LABELS, records=np.arange(80) // 4)
    assert repr(found) == (
        "Beats: 80 of 20 recordings, R - 250 ms to R + 400 ms (R detected) at 100 Hz, "
        "lead not named\n  labels: NORM 40 (normal), MI 40\n  split: none, given 80"
    )
    many = [f"{'a long name of a label':60}{i}" for i in range(80)]
    leads = [f"a lead of a long name {i}" for i in range(12)]
    x = np.stack([X] * 12, axis=1)
    told = repr(ej.beats(x, sample_rate_hz=RATE, labels=many, leads=leads))
    assert len(told) <= 400 and len(told.splitlines()) <= 5
    assert "none counts as normal, so quality is not measured" in told


@pytest.mark.parametrize("rate", [50.0, 125.0, 360.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_r_is_found(rate, sign):
    time = np.arange(round(0.8 * rate)) / rate
    rng = np.random.default_rng(0)
    centers = 0.3 + rng.normal(scale=0.004, size=(100, 1))
    x = np.exp(-0.5 * ((time - centers) / 0.015) ** 2)
    x += 0.3 * np.exp(-0.5 * ((time - 0.55) / 0.05) ** 2)
    x += 0.02 * rng.normal(size=x.shape)
    found = ej.beats((sign * x).astype(np.float32), sample_rate_hz=rate)
    assert found.is_r_detected
    assert found.config.before_s == pytest.approx(0.3, abs=1.01 / rate)


def test_r_is_where_it_is_said_to_be():
    found = ej.beats(X, sample_rate_hz=RATE, r_peak_s=0.302)
    assert found.config.num_before == 30 and not found.is_r_detected
    assert found.config.num_samples == 65 and "detected" not in repr(found)
    assert found.config.time_s[30] == 0


@pytest.mark.parametrize(
    ("labels", "classes", "normal"),
    [
        (LABELS, None, UPRIGHT),
        (np.where(UPRIGHT, "Normal", "other"), None, UPRIGHT),
        (UPRIGHT, None, UPRIGHT),
        (np.where(UPRIGHT, 3, 7), {3: "N", 7: "O"}, UPRIGHT),
        (np.where(UPRIGHT, "MI", "NORM"), {"MI": "N", "NORM": "O"}, UPRIGHT),
        (np.where(UPRIGHT, "SNR", "MI"), {"MI": "infarct"}, UPRIGHT),
        (np.where(UPRIGHT, "healthy", "N"), {"healthy": "normal", "N": "O"}, UPRIGHT),
        (np.where(UPRIGHT, 3, 7), None, np.zeros(80, bool)),
        (None, None, np.zeros(80, bool)),
    ],
)
def test_what_counts_as_normal(labels, classes, normal):
    found = ej.beats(X, sample_rate_hz=RATE, labels=labels, classes=classes)
    np.testing.assert_array_equal(found.is_normal, normal)
    assert found.is_labelled.all() == (labels is not None)
    if labels is not None:
        assert set(found.label) == set(map(str, labels.tolist()))


def test_classes_of_other_labels_are_refused():
    with pytest.raises(DataError, match="among the classes given, Norm") as caught:
        ej.beats(X, sample_rate_hz=RATE, labels=LABELS, classes={"Norm": "N"})
    assert str(caught.value).endswith("try: classes of these: MI, NORM")


def test_a_label_may_be_missing():
    labels = ["NORM", None, "MI", float("nan")] * 20
    found = ej.beats(X, sample_rate_hz=RATE, labels=labels)
    np.testing.assert_array_equal(found.is_labelled, [True, False] * 40)


def write_csv(path, header=True):
    rows = [",".join(map(repr, map(float, x))) for x in X]
    if header:
        cells = [
            f"{label},{row},r{i // 4}"
            for i, (label, row) in enumerate(zip(LABELS, rows, strict=True))
        ]
        rows = ["label," + ",".join(f"s{i}" for i in range(65)) + ",record", *cells]
    path.write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_files_hold_what_arrays_do(tmp_path, suffix):
    path, records = tmp_path / f"beats.{suffix}", [f"r{i // 4}" for i in range(80)]
    if suffix == "npz":
        np.savez(path, beats=X, labels=LABELS, records=records, sample_rate_hz=RATE)
    elif suffix == "csv":
        write_csv(path)
    else:
        beat = np.empty(80, object)
        beat[:] = [row.tolist() for row in X]
        columns = {"beat": beat, "label": LABELS.astype(object)}
        write_parquet(columns | {"record": np.array(records, object)}, path)
    rate = None if suffix == "npz" else RATE
    found = ej.beats(path, sample_rate_hz=rate)
    np.testing.assert_array_equal(np.asarray(found.inputs(), np.float32), X)
    np.testing.assert_array_equal(found.label, LABELS)
    assert found.is_recorded and len(found.records) == 20
    assert found.config.sample_rate_hz == RATE


def test_a_file_says_the_rest(tmp_path):
    path = tmp_path / "beats.npz"
    x = np.stack([X, X], axis=1)
    np.savez(path, beats=x, sample_rate_hz=250, leads=["I", "II"], r_peak_s=0.1)
    found = ej.beats(str(path))
    assert found.leads == ("I", "II") and found.config.num_before == 25
    assert ej.beats(path, sample_rate_hz=100).config.sample_rate_hz == 100


def write_rates(path, rates):
    """Beats of three samples, one for each rate, as CSV or as Parquet."""
    if path.suffix == ".csv":
        rows = [f"0,1,0,{rate}" for rate in rates]
        path.write_text("\n".join(["a,b,c,sample_rate_hz", *rows]) + "\n")
    else:
        beat = np.empty(len(rates), object)
        beat[:] = [[0.0, 1.0, 0.0]] * len(rates)
        write_parquet({"beat": beat, "sample_rate_hz": np.array(rates)}, path)


@pytest.mark.parametrize("name", ["beats.csv", "beats.parquet"])
def test_a_column_says_the_rate(tmp_path, name):
    write_rates(tmp_path / name, [250, 250])
    found = ej.beats(tmp_path / name)
    assert found.config.sample_rate_hz == 250
    np.testing.assert_array_equal(found.inputs(), [[0, 1, 0]] * 2)
    write_rates(tmp_path / name, [250, 100])
    with pytest.raises(DataError, match="holds no number, or more than one"):
        ej.beats(tmp_path / name)


def test_rows_of_numbers_need_no_header(tmp_path):
    write_csv(tmp_path / "x.csv", header=False)
    found = ej.beats(tmp_path / "x.csv", sample_rate_hz=RATE)
    np.testing.assert_array_equal(found.inputs(), X)
    assert not found.is_labelled.any() and not found.is_recorded


def test_a_folder_of_recordings_is_cut(tmp_path):
    folder = write_recordings(tmp_path / "data", 3)
    found = ej.beats(folder)
    assert found.given is None and found.config.sample_rate_hz == 100
    assert repr(found).startswith("Beats: ") and "3 recordings" in repr(found)
    with pytest.raises(DataError) as caught:
        ej.beats(folder, records=np.arange(3))
    assert str(caught.value) == (
        f"{folder} is a folder of recordings, which say themselves what records would."
        "\n  try: without records; or an array"
    )
    with pytest.raises(DataError) as caught:
        ej.beats(folder, labels=LABELS)
    assert str(caught.value) == (
        "80 labels, and the folder holds 3 recordings.\n  try: one label for each "
        "recording, in the order of RECORDS; or {name: label}; or the path of a table"
    )


def test_labels_and_classes_of_a_folder(tmp_path):
    folder = write_recordings(tmp_path / "data", 3, labels="")
    assert "labels: none" in repr(ej.beats(folder))
    for labels in (["MI", "fine", "MI"], {"S00001": "fine", "S00000": "MI"}):
        found = ej.beats(folder, labels=labels, classes={"fine": "N"})
        assert found.records.label.tolist() == ["MI", "fine", "MI"][: len(labels)]
        assert found.is_normal_record.tolist() == [False, True, False][: len(labels)]
        assert found.classes == {"fine": "N"}
    assert dict(found.excluded) == {
        "S00002": (
            "no row for S00002 in the labels given.\n"
            "  try: add one with the recording and its label, such as `S00002,N`"
        )
    }


def changed(value, *at):
    x = X.copy()
    for row in at:
        x[row, 5] = value
    return x


LARGE = "  why: they are likely in microvolts, or in ADC counts\n"
BAD = {
    "one axis": (
        X[0],
        {},
        ExampleError,
        "the beats have the shape (65,).\n  try: an array [beat, time] of one lead, or "
        "[beat, lead, time]; x[None] of a single beat",
    ),
    "four axes": (
        X[None, None],
        {},
        ExampleError,
        "the beats have the shape (1, 1, 80, 65).\n  try: an array [beat, time] of one "
        "lead, or [beat, lead, time]; x[None] of a single beat",
    ),
    "empty": (
        X[:0],
        {},
        ExampleError,
        "the beats have the shape (0, 65): nothing to see.\n  try: at least one beat, "
        "of at least two samples",
    ),
    "integers": (
        X.astype(int),
        {},
        DTypeError,
        "the beats are int64, not floats in mV.\n  try: x.astype(np.float32) / "
        "units_per_mV, of ADC counts or microvolts",
    ),
    "objects": (
        X.astype(object),
        {},
        DTypeError,
        "the beats are object, not floats in mV.\n  try: x.astype(np.float32) / "
        "units_per_mV, of ADC counts or microvolts",
    ),
    "masked": (
        np.ma.masked_invalid(X),
        {},
        DTypeError,
        "the beats are a masked array: what is masked is unknown.\n  try: x.data of "
        "the beats without a masked sample",
    ),
    "nan": (
        changed(np.nan, 3, 7),
        {},
        NonFiniteError,
        "2 of 80 beats hold NaN or infinite numbers: rows 3, 7.\n  try: "
        "x[np.isfinite(x).reshape(len(x), -1).all(axis=1)]",
    ),
    "microvolts": (
        X * 1000,
        {},
        DataError,
        f"amplitudes reach {np.abs(X * 1000).max():.6g} mV; no ECG does beyond 20.\n"
        f"{LARGE}  try: x / 1000, if they are in microvolts",
    ),
    "volts": (
        X / 1000,
        {},
        DataError,
        f"amplitudes reach {np.abs(X / 1000).max():.6g} mV; over all its beats an ECG "
        "goes beyond 0.02.\n  why: they are likely in volts\n"
        "  try: x * 1000, if they are in volts",
    ),
    "a step for a rate": (
        X,
        {"sample_rate_hz": 0.01},
        DataError,
        "sample_rate_hz is 0.01: 65 samples are then 6500 s.\n"
        "  why: a beat is 0.01 to 60 s of at least 10 samples a second\n"
        "  try: samples a second, such as 100, not seconds or milliseconds a sample",
    ),
    "a rate too fast": (
        X,
        {"sample_rate_hz": 100_000},
        DataError,
        "sample_rate_hz is 100000: 65 samples are then 0.00065 s.\n"
        "  why: a beat is 0.01 to 60 s of at least 10 samples a second\n"
        "  try: samples a second, such as 100, not seconds or milliseconds a sample",
    ),
    "no rate": (
        X,
        {"sample_rate_hz": None},
        DataError,
        "sample_rate_hz is None.\n  try: samples a second, such as 100",
    ),
    "rate 0": (
        X,
        {"sample_rate_hz": 0},
        DataError,
        "sample_rate_hz is 0.\n  try: samples a second, such as 100",
    ),
    "rate in words": (
        X,
        {"sample_rate_hz": "100"},
        DataError,
        "sample_rate_hz is '100'.\n  try: samples a second, such as 100",
    ),
    "leads": (
        X,
        {"leads": ("I", "II")},
        DataError,
        "2 leads are named, I, II; the beats have 1.\n  try: leads=(...), with 1 name",
    ),
    "lead twice": (
        np.stack([X, X], axis=1),
        {"leads": ("II", "II")},
        DataError,
        "two leads are called 'II'.\n  try: a name for each lead",
    ),
    "labels": (
        X,
        {"labels": LABELS[:79]},
        DataError,
        "labels have the shape (79,); there are 80 beats.\n  try: one label for each "
        "beat",
    ),
    "records": (
        X,
        {"records": np.arange(3)},
        DataError,
        "records have the shape (3,); there are 80 beats.\n  try: the recording of "
        "each beat, by name or number",
    ),
    "r": (
        X,
        {"r_peak_s": 0.65},
        DataError,
        "r_peak_s is 0.65; the window goes from 0 to 0.64 s.\n  try: seconds from the "
        "start of the window to R; None to detect it",
    ),
    "classes": (
        X,
        {"labels": LABELS, "classes": {"MI": ""}},
        DataError,
        "MI=: no class.\n  try: NAME=N, where NAME is normal; or NAME=CLASS, a name of "
        "your own",
    ),
    "classes of nothing": (
        X,
        {"classes": {"MI": "O"}},
        DataError,
        "classes of labels, but no labels.\n  try: labels=...",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("unchecked")
def test_what_is_refused(case):
    x, options, kind, message = BAD[case]
    with pytest.raises(kind) as caught:
        ej.beats(x, **{"sample_rate_hz": RATE, **options})
    assert isinstance(caught.value, EcgJaxError) and str(caught.value) == message


def test_files_that_are_refused(tmp_path):
    def refused(name, kind=DataError):
        with pytest.raises(kind) as caught:
            ej.beats(tmp_path / name, sample_rate_hz=RATE)
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert refused("beats.npz", MissingFileError) == (
        "beats.npz: no such file.\n  try: the path of a file of beats"
    )
    assert refused("beats.txt") == (
        "beats.txt is no file of beats.\n  try: .npz, .csv, .parquet, or a folder of "
        "recordings in WFDB layout"
    )
    np.savez(tmp_path / "other.npz", x=X, y=X)
    assert refused("other.npz") == (
        "other.npz has no array 'beats'; it has x, y.\n  try: np.savez(path, beats=x, "
        "sample_rate_hz=100)"
    )
    np.savez(tmp_path / "pickled.npz", beats=X.astype(object))
    assert refused("pickled.npz").startswith(
        "pickled.npz cannot be read: Object arrays"
    )
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    assert refused("broken.npz").startswith("broken.npz cannot be read")
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    assert refused("broken.parquet") == (
        "broken.parquet cannot be read as Parquet.\n  try: a column 'beat' of lists"
    )
    write_parquet({"x": np.arange(3)}, tmp_path / "other.parquet")
    assert refused("other.parquet") == (
        "other.parquet has no column 'beat'; it has x.\n  try: a column 'beat' of "
        "lists of samples in mV"
    )
    (tmp_path / "empty.csv").write_text("")
    assert refused("empty.csv") == "empty.csv is empty.\n  try: a row for each beat"
    (tmp_path / "ragged.csv").write_text("1,2,3\n1,2\n")
    assert refused("ragged.csv") == (
        "ragged.csv, line 2: 2 cells, or samples that are no numbers; the first line "
        "has 3.\n  try: a row for each beat, its samples in mV; a header with 'label', "
        "'record' and 'sample_rate_hz' where there are such columns"
    )


def test_a_file_without_a_rate(tmp_path):
    np.savez(tmp_path / "beats.npz", beats=X)
    with pytest.raises(DataError) as caught:
        ej.beats(tmp_path / "beats.npz")
    assert str(caught.value) == (
        f"{tmp_path / 'beats.npz'} does not say its sample rate.\n  try: "
        "sample_rate_hz=..., samples a second; or in the file: an array of an .npz, "
        "a column 'sample_rate_hz' of a .csv or .parquet"
    )


def test_leads_in_the_last_axis_are_noticed():
    x = np.zeros((9, 125, 12), np.float32)
    for leads in ("II", [f"L{i}" for i in range(12)]):
        with pytest.raises(DataError, match=r"try: .*x.transpose\(0, 2, 1\)"):
            ej.beats(x, sample_rate_hz=100, leads=leads)
    with pytest.raises(ExampleError, match=r"try: \[beat, time\]: x\[..., 0\]"):
        ej.beats(x[..., :1], sample_rate_hz=100)
