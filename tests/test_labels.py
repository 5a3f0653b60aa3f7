import re

import numpy as np
import pytest
from ecg_files import (
    TWELVE,
    write_challenge,
    write_challenge_2021,
    write_cpsc,
    write_ludb,
    write_ptb_xl,
)

import ecg_jax as ej
from ecg_jax.ecg._ptb_xl import read_codes, superclass
from ecg_jax.ecg._snomed import SCORED, label_of
from ecg_jax.ecg.borders import read_borders
from ecg_jax.ecg.classes import classes_of, parse
from ecg_jax.ecg.datasets import open_dataset, split_recordings
from ecg_jax.ecg.records import open_folder
from ecg_jax.errors import DataError, MissingFileError

CODES = (
    "{'NORM': 100.0, 'SR': 0.0}",
    "{'NORM': 80.0, 'IMI': 15.0, 'SR': 0.0}",
    "{'IMI': 50.0, 'LAFB': 100.0}",
    "{'LVH': 50.0, 'NDT': 50.0}",
    "{'SR': 0.0, 'PVC': 100.0}",
    "{'LAFB': 0.0}",
    "{}",
    "{'NORM': 100.0}",
    "{'NORM': 50.0}",
    "{'NORM': 50.0}",
)
CHOSEN = ("NORM", "MI", "CD", "STTC", None, "CD", None, "NORM", "NORM", "NORM")


def told(function, *args, **options):
    """The message of the error that is raised."""
    with pytest.raises(DataError) as caught:
        function(*args, **options)
    return str(caught.value)


def test_ptb_xl(tmp_path):
    write_ptb_xl(tmp_path, CODES)
    folder = open_folder(tmp_path)
    assert folder.title == "PTB-XL" and "Scientific Data 7:154" in folder.citation
    assert folder.names == tuple(f"{i + 1:05d}_hr" for i in range(10))
    assert tuple(folder.labels.values()) == CHOSEN
    sides = ("train",) * 8 + ("validation", "heldout")
    assert tuple(folder.sides.values()) == sides
    assert tuple(split_recordings(folder).values()) == sides
    recording = folder.read("00002_hr")
    assert (recording.label, recording.sample_rate_hz) == ("MI", 500)
    assert recording.leads == ("II",)
    beats = ej.beats(tmp_path)
    assert beats.records.split.tolist() == list(sides)
    assert beats.normal_names == ("N", "NORM")
    assert beats.is_normal_record.tolist() == [x == "NORM" for x in CHOSEN]
    assert "NORM 48 (normal), CD 24, MI 12, STTC 12, none 24\n" in repr(beats)


def test_ptb_xl_at_the_lower_rate(tmp_path):
    write_ptb_xl(tmp_path / "both", CODES[:3])
    low = open_folder(tmp_path / "both" / "records100")
    assert low.names == ("00001_lr", "00002_lr", "00003_lr")
    assert tuple(low.labels.values()) == CHOSEN[:3]
    assert low.read("00001_lr").sample_rate_hz == 100
    write_ptb_xl(tmp_path / "ptb-xl", CODES[:3], rates=(100,))
    for data, place in (
        ("ptb-xl", tmp_path),
        (tmp_path / "ptb-xl", None),
        ("ptb-xl", tmp_path / "both" / "records100"),
    ):
        found = open_dataset(data, place)
        assert (found.names, found.labels) == (low.names, low.labels)


def test_ptb_xl_rows_that_make_no_sense(tmp_path):
    bad = (
        "__import__('os').system('true')",
        "{'NORM': 100.0, 'SR'}",
        "{'NORM': 100.0}",
        "{'NORM': 'x'}",
    )
    write_ptb_xl(tmp_path, (*bad, *CODES[:1]), rates=(100,))
    database = tmp_path / "ptbxl_database.csv"
    lines = database.read_text().splitlines()
    lines[3] = lines[3].replace(",3,records", ",11,records")
    database.write_text("\n".join([*lines[:1], "", *lines[1:]]) + "\n")
    folder = open_folder(tmp_path)
    assert dict(folder.labels) == {"00005_lr": "NORM"}
    cure = "are no codes with likelihoods.\n  try: {'NORM': 100.0, 'SR': 0.0}"
    path = "records100/00000"
    assert dict(folder.excluded) == {
        "00001_lr": f"{database}, line 3: the scp_codes of {path}/00001_lr, "
        f"\"__import__('os').system('true')\", {cure}",
        "00002_lr": f"{database}, line 4: the scp_codes of {path}/00002_lr, "
        f"\"{{'NORM': 100.0, 'SR'}}\", {cure}",
        "00003_lr": (
            f"{database}, line 5: the strat_fold of {path}/00003_lr is '11'.\n"
            "  try: a number from 1 to 10"
        ),
        "00004_lr": f"{database}, line 6: the scp_codes of {path}/00004_lr, "
        f"\"{{'NORM': 'x'}}\", {cure}",
    }
    (tmp_path / "scp_statements.csv").unlink()
    with pytest.raises(MissingFileError) as caught:
        open_folder(tmp_path)
    assert str(caught.value) == (
        f"{database} is there, but not scp_statements.csv beside it, which says what "
        "its codes mean.\n"
        "  try: `ecg-jax fetch ptb-xl --out DIR`"
    )
    database.write_text("ecg_id,scp_codes\n1,{}\n")
    write = (tmp_path / "scp_statements.csv").write_text
    write(",diagnostic,diagnostic_class\nNORM,1.0,NORM\n")
    assert told(open_folder, tmp_path) == (
        f"{database}, line 1: no column 'strat_fold'; the columns are ecg_id, scp_codes"
        ".\n  try: a header with scp_codes, strat_fold, filename_hr, filename_lr"
    )


def test_codes_are_read_and_never_run():
    assert read_codes("{}") == {}
    assert read_codes("{\"A\": 3, 'B' : 0.5,}") == {"A": 3.0, "B": 0.5}
    for text in ("", "[]", "{'A'}", "{'A': 1} + f()", "{1: 2}", "{'A': -1}", "{'A':1"):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            read_codes(text)
    classes = {"NORM": "NORM", "IMI": "MI", "LVH": "HYP", "NDT": "STTC"}
    assert superclass({"IMI": 0, "LVH": 0}, classes) == "MI"
    assert superclass({"IMI": 15, "LVH": 50, "NORM": 100}, classes) == "HYP"
    assert superclass({"NDT": 50, "IMI": 50}, classes) == "MI"


def test_codes_in_headers(tmp_path):
    lines = (
        "Dx: 426783006",
        " Dx: 426783006,164889003",
        "Dx: 39732003, 164890007",
        "Dx: 55827005,59118001",
        "Dx: 55827005",
        None,
        "Dx: ,",
    )
    write_challenge_2021(tmp_path, lines)
    folder = open_folder(tmp_path)
    expected = {
        "J0000": "NSR",
        "J0001": "AF",
        "J0002": "LAD",
        "J0003": "RBBB",
        "J0004": "55827005",
        "J0005": None,
    }
    assert dict(folder.labels) == dict(
        sorted(expected.items(), key=lambda item: (int(item[0][1:]) % 2, item))
    )
    assert "Perez Alday" in folder.citation and "Reyna" in folder.citation
    path = tmp_path / "training/p0/g1/J0006.hea"
    assert dict(folder.excluded) == {
        "J0006": (
            f"{path}: the line #Dx: names no code.\n"
            "  try: SNOMED CT codes with commas between, such as `#Dx: 426783006`, or "
            "no such line"
        )
    }
    beats = ej.beats(tmp_path, classes={"LAD": "O"})
    assert beats.is_normal_record.tolist() == [x == "NSR" for x in beats.records.label]
    assert beats.classes == {"NSR": "N", "LAD": "O"}
    for file in tmp_path.rglob("RECORDS"):
        file.unlink()
    assert set(open_folder(tmp_path).labels) == set(expected)
    assert len(SCORED) == 30 and label_of(["1", "426783006", "2"]) == "1"


def test_cpsc_2018(tmp_path):
    write_cpsc(tmp_path, [(1,), (2,), (1, 9), (5, 3), (10,), ()])
    folder = open_folder(tmp_path)
    assert folder.title == "CPSC 2018" and "Liu et al." in folder.citation
    labels = {"A0001": "Normal", "A0002": "AF", "A0003": "STE", "A0004": "RBBB"}
    assert dict(folder.labels) == {**labels, "A0006": None}
    assert dict(folder.excluded) == {
        "A0005": (
            f"{tmp_path / 'REFERENCE.csv'}, line 6: '10' is no label of A0005.\n"
            "  try: a number from 1 (Normal) to 9 (STE)"
        )
    }
    recording = folder.read("A0002")
    assert (recording.leads, recording.sample_rate_hz) == (("II",), 500)
    whole = open_folder(tmp_path, leads=("all",)).read("A0002")
    assert [name.upper() for name in whole.leads] == list(TWELVE)
    np.testing.assert_array_equal(whole.signal[1], recording.signal[0])
    assert "Normal 12 (normal)" in repr(ej.beats(tmp_path))
    (tmp_path / "A0002.mat").write_bytes(b"MATLAB 5.0 and nothing more" + bytes(128))
    assert (
        "A0002.mat is a MATLAB 5 file without 12 leads in ECG.data"
        in dict(ej.beats(tmp_path).excluded)["A0002"]
    )


def test_ludb(tmp_path):
    peaks = write_ludb(tmp_path)
    folder = open_folder(tmp_path)
    assert folder.names == ("1", "2") and set(folder.labels.values()) == {None}
    assert "Kalyakulina" in folder.citation
    beats = ej.beats(tmp_path)
    assert beats.leads == ("II",) and len(beats.records) == 2
    stem, rate = tmp_path / "data/1", folder.read("1").sample_rate_hz
    waves = read_borders(stem, "II", rate)
    assert [wave.kind for wave in waves] == ["P", "QRS", "T"] * len(peaks[0])
    np.testing.assert_allclose([w.peak_s * 500 for w in waves[1::3]], peaks[0])
    width = [1000 * (w.end_s - w.onset_s) for w in waves[1::3]]
    np.testing.assert_allclose(width, 100)
    with pytest.raises(MissingFileError) as caught:
        read_borders(stem, "V7", rate)
    assert str(caught.value) == (
        f"{stem}.v7 is not there, with the borders of lead V7.\n"
        "  try: one of the files that are: avf, avl, avr, dat, hea, i, ii, iii, v1, "
        "v2, v3, v4, v5, v6"
    )


def test_a_table_decides_before_all_else(tmp_path):
    names = write_challenge(tmp_path, "NAOO")
    table = tmp_path / "labels.csv"
    rows = zip(names, ("fine", "MI", "", "MI"), ("1", "1", "2", "3"), strict=True)
    table.write_text(
        "label,recording,fold\n" + "".join(f"{b},{a},{c}\n" for a, b, c in rows)
    )
    folder = open_folder(tmp_path, labels=table)
    assert tuple(folder.labels.values()) == ("fine", "MI", None, "MI")
    sides = ("train", "train", "validation", "heldout")
    assert tuple(split_recordings(folder).values()) == sides
    beats = ej.beats(
        tmp_path, labels=str(table), classes={"fine": "N", "MI": "infarct"}
    )
    assert beats.is_normal_record.tolist() == [True, False, False, False]
    assert beats.classes == {"fine": "N", "MI": "infarct"}
    text = table.read_text().replace(",fold", ",split").replace(",1\n", ",train\n")
    table.write_text(text.replace(",2\n", ",Val\n").replace(",3\n", ",test\n"))
    assert tuple(open_folder(tmp_path, labels=table).sides.values()) == sides


def test_rows_of_a_table_that_are_wrong(tmp_path):
    write_challenge(tmp_path, "NAOOO")
    table = tmp_path / "labels.csv"
    table.write_text(
        "recording,label,fold\nR000,fine,train\nR001,MI,train\nR001,fine,train\n"
        "R002,MI,soon\nR7,MI,test\nR8,MI,test\nR004,MI,test\n"
    )
    folder = open_folder(tmp_path, labels=table)
    assert dict(folder.labels) == {"R000": "fine", "R004": "MI"}
    assert dict(folder.excluded) == {
        "R001": (
            f"{table}, lines 3 and 4: R001 has two labels, MI and fine, or two "
            "folds.\n"
            "  try: delete one of the lines"
        ),
        "R002": (
            f"{table}, line 5: the fold of R002 is 'soon'.\n"
            "  try: train, validation or heldout; or numbers, of which the highest is "
            "held out and the next validates"
        ),
        "R003": (
            f"no row for R003 in {table}.\n"
            "  try: add one with the recording and its label, such as `R003,N`"
        ),
        "R7": (
            f"{table}, line 6: 'R7' is no recording of {tmp_path}, nor are 1 others.\n"
            "  try: the names of the files without suffix, such as 'R000'"
        ),
    }
    assert len(ej.beats(tmp_path, labels=table).records) == 2


TABLES = {
    "recording,label,diagnosis\nR000,N,x\n": (
        "{table}, line 1: unknown column 'diagnosis'.\n  try: the columns "
        "recording,label and, if folds are given, fold"
    ),
    "R000,N\n": (
        "{table}, line 1: unknown column 'R000'.\n  try: the columns recording,label "
        "and, if folds are given, fold"
    ),
    "recording,label,fold,split\nR000,N,1,train\n": (
        "{table}, line 1: both fold and split.\n  try: the columns recording,label "
        "and, if folds are given, fold"
    ),
    "\nrecording,fold\nR000,1\n": (
        "{table}, line 2: no column 'label'; the columns are recording, fold.\n"
        "  try: a header with recording, label"
    ),
    "recording,label\n": (
        "{table} has a header, and no row.\n  try: a row for each recording"
    ),
    "recording,label\nX1,N\nX2,N\n": (
        "{table}, line 2: 'X1' is no recording of {root}, and neither is any other "
        "that is named; 'R000' is one.\n  try: the names of the files, without suffix"
    ),
}


@pytest.mark.parametrize("text", TABLES)
def test_tables_that_are_refused(tmp_path, text):
    write_challenge(tmp_path, "NA")
    table = tmp_path / "labels.csv"
    table.write_text(text)
    said = told(open_folder, tmp_path, labels=table)
    assert said == TABLES[text].format(table=table, root=tmp_path)


def test_a_table_that_is_not_there(tmp_path):
    write_challenge(tmp_path, "NA")
    with pytest.raises(MissingFileError) as caught:
        open_folder(tmp_path, labels=tmp_path / "labels.csv")
    assert str(caught.value) == (
        f"{tmp_path / 'labels.csv'} is not there, to take labels from.\n"
        "  try: a table with the columns recording,label; or NAME=CLASS"
    )


def test_two_labels_in_a_reference(tmp_path):
    write_challenge(tmp_path, "NAN")
    reference = tmp_path / "REFERENCE-v3.csv"
    reference.write_text("R000,N\nR001,A\nR002,N\nR000,O\nR001,A\n")
    assert dict(open_folder(tmp_path).labels) == {"R001": "A", "R002": "N"}
    assert dict(open_folder(tmp_path).excluded) == {
        "R000": (
            f"{reference}, lines 1 and 4: R000 has two labels, N and O, or two "
            "folds.\n"
            "  try: delete one of the lines"
        )
    }


OPTIONS = {
    "NORM=": (
        "--labels NORM=: no class.\n  try: NAME=N, where NAME is normal; or "
        "NAME=CLASS, a name of your own"
    ),
    "=N": (
        "--labels =N: a class of no label.\n  try: NAME=N, where NAME is normal; or "
        "NAME=CLASS, a name of your own"
    ),
    "MI=O,MI=N": "--labels MI=O,MI=N: MI has two classes.\n  try: one of them",
    "a.csv,b.csv": (
        "--labels a.csv,b.csv: 'b.csv' is neither NAME=CLASS nor the one table.\n"
        "  try: --labels NORM=N,MI=O, or --labels labels.csv"
    ),
    "MI=O,": (
        "--labels MI=O,: '' is neither NAME=CLASS nor the one table.\n"
        "  try: --labels NORM=N,MI=O, or --labels labels.csv"
    ),
}


@pytest.mark.parametrize("words", OPTIONS)
def test_options_that_are_refused(words):
    assert told(parse, words) == OPTIONS[words]


def test_options(tmp_path):
    table = tmp_path / "a,b=c.csv"
    table.write_text("")
    assert parse(str(table)) == ({}, table)
    assert parse(" ") == ({}, None)
    assert parse("a=b=N, MI=ischemia") == ({"a=b": "N", "MI": "ischemia"}, None)
    assert parse("x=Normal,y=NSR,z=n") == (dict.fromkeys("xyz", "N"), None)
    there = ("NORM", "MI", "normal")
    assert classes_of(there, {}) == {"NORM": "N", "normal": "N"}
    assert classes_of(there, {"MI": "N"}) == {"MI": "N"}
    assert classes_of(there, {"NORM": "O"}) == {"NORM": "O", "normal": "N"}


def test_a_class_without_an_example(tmp_path):
    write_challenge(tmp_path, "NAAO")
    assert told(ej.beats, tmp_path, classes={"MI": "O"}) == (
        "nothing is labelled 'MI'; the labels are A 2, N 1, O 1.\n"
        "  try: --labels with names of these, such as --labels N=N"
    )
