"""One recording explained."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
from ecg_files import ecg, write_mat
from run_files import command, copy_of_run, loaded, tiny, write_recordings  # noqa: F401

from ecg_jax.ecg.datasets import split_recordings
from ecg_jax.ecg.labels import label_of
from ecg_jax.ecg.records import open_folder
from ecg_jax.errors import MissingFileError, RunError, RunExistsError
from ecg_jax.pages.explanation import SPLITS
from ecg_jax.percent import percent
from ecg_jax.runs import explain as explaining
from ecg_jax.runs.explain import MOST_DRAWN, explain, find_recording
from ecg_jax.runs.run_folder import read_json

pytestmark = pytest.mark.usefixtures("loaded")


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    out = tmp_path_factory.mktemp("explained") / "new" / "S00000"
    record = tiny().data / "training" / "S00000"
    return record, out, command("explain", tiny().run, "--record", record, "--out", out)


def test_what_an_explanation_holds(explained):
    _, out, (status, said, _) = explained
    answer = json.loads((out / "explanation.json").read_text())
    normal = sum(beat["answer"] == "normal" for beat in answer["beats"])
    assert status == 0 and said == (
        f"S00000: {normal} beats normal, {answer['num_beats'] - normal} not normal; by "
        f"their mean margin {answer['margin']:.2f} {answer['answer']}; "
        f"{percent(answer['share_proven'])} proven; see {out / 'explanation.html'}\n"
    )
    assert answer["num_normal"] == normal
    margins = [beat["margin"] for beat in answer["beats"]]
    assert answer["margin"] == pytest.approx(sum(margins) / len(margins))
    assert answer["missed"] == [] and answer["label"] is None
    assert {beat["label"] for beat in answer["beats"]} == {None}
    assert answer["num_beats"] == len(answer["beats"]) > 5
    for beat in answer["beats"]:
        assert beat["lower"] <= beat["margin"] + 1e-9
        assert beat["upper"] >= beat["margin"] - 1e-9
        assert beat["answer"] == ("normal" if beat["margin"] >= 0 else "not normal")
        if beat["proven_by"]:
            assert beat["proven_by"][0] == ("P" if beat["margin"] >= 0 else "Q")
    proven = sum(answer["provers"].values()) / answer["num_beats"]
    assert answer["share_proven"] == pytest.approx(proven)
    assert sum(answer["cells"].values()) == answer["num_beats"]
    assert answer["unproven"] == [
        row for row, beat in enumerate(answer["beats"]) if beat["proven_by"] is None
    ]
    for beat in answer["beats"]:
        assert beat["prototype_of"] == (beat["proven_by"] or beat["cell"])
    assert set(answer["components"]) == {*answer["cells"], *answer["provers"]}


def test_sentences_and_prototypes_are_shown_without_the_data(explained):
    page = html.unescape((explained[1] / "explanation.html").read_text())
    answer = json.loads((explained[1] / "explanation.json").read_text())
    parts = json.loads((tiny().run / "components.json").read_text())
    named = {part["name"]: part for part in parts}
    for name, told in answer["components"].items():
        for key in ("sentence", "weighs", "phrase", "prototype", "prototype_record"):
            assert told[key] == named[name][key]
        if told["sentence"] and name in answer["provers"]:
            where = "In its cell, on the recordings of the run:"
            assert f"{where} {told['sentence']}" in page
            assert f"It weighs, on those recordings: {told['weighs']}" in page
    assert page.count('<svg class="spark"') == answer["num_beats"]


def test_beats_are_drawn_where_their_answer_flips(explained):
    _, out, _ = explained
    answer = json.loads((out / "explanation.json").read_text())
    page = (out / "explanation.html").read_text()
    flips = [beat["flips"][0] for beat in answer["beats"] if beat.get("flips")]
    assert flips and all(0 < flip["share"] <= 1 for flip in flips)
    part = page[page.index('id="flips"') :]
    part = part[: part.index("</section>")]
    assert part.count("<figure") == min(len(flips), MOST_DRAWN)
    least = min(flips, key=lambda flip: flip["share"])
    assert part.index(html.escape(least["words"])) < part.index("<figure")


def test_the_side_of_a_recording_is_told(explained, tmp_path):
    sides = split_recordings(open_folder(tiny().data))
    told = {}
    for name, side in sides.items():
        if side not in told and name != "S00003":
            answer = explain(tiny().run, Path(name), tmp_path / name)
            assert answer["split"] == side and answer["label"] in ("N", "A", "O", "~")
            told[side] = (tmp_path / name / "explanation.html").read_text()
    assert set(told) == set(SPLITS)
    for side, page in told.items():
        assert [key for key, words in SPLITS.items() if words in page] == [side]
    other = write_recordings(tmp_path / "other", 1, seed=7) / "training" / "S00000"
    assert explain(tiny().run, other, tmp_path / "out")["split"] is None
    page = (tmp_path / "out" / "explanation.html").read_text()
    assert "This recording is not known to be one of those of the run." in page


def test_annotations_are_shown_beside_the_answers(tmp_path):
    signal, peaks = ecg(20)
    signal[peaks[9] - 60 : peaks[9] + 60] = 0  # no detector finds this one
    labels = ["V" if k in (4, 9) else "N" for k in range(len(peaks))]
    folder = tmp_path / "data"
    write_mat(folder, "R1", signal)
    codes = [{"N": 1, "V": 5}[label] << 10 for label in labels]
    steps = np.diff(peaks, prepend=0)
    (folder / "R1.atr").write_bytes(np.array([*(codes + steps), 0], "<u2").tobytes())
    answer = explain(tiny().run, folder / "R1", tmp_path / "out")
    near = {beat["label"]: beat["r_time_s"] for beat in answer["beats"]}
    assert near["V"] == pytest.approx(peaks[4] / 300, abs=0.02)
    missed = {"time_s": pytest.approx(peaks[9] / 300), "label": "V"}
    assert missed in answer["missed"]
    assert len(answer["missed"]) + answer["num_beats"] == len(peaks)
    page = html.unescape((tmp_path / "out" / "explanation.html").read_text())
    count = answer["num_beats"] - 1
    assert f"Annotated: {count} N, 1 V (AAMI classes)." in page
    assert "that the annotations name (" in page and "got no answer</b>" in page
    assert "<th>annotated</th>" in page and "Gray cross" in page


def test_a_recording_of_a_synthetic_run_is_found_by_its_name():
    found = find_recording(Path("S00007"), "synthetic")
    assert found.name == "S00007" and found.label is not None
    with pytest.raises(MissingFileError) as caught:
        find_recording(Path("S00300"), "synthetic")
    assert str(caught.value) == (
        "300 synthetic recordings (ECGSYN, seed 0): no recording 'S00300'.\n"
        "  try: S00000 to S00299"
    )
    with pytest.raises(MissingFileError, match=r"nobody\.mat"):
        find_recording(Path("nobody"), str(tiny().data))


def test_the_page_opens_without_a_network(explained):
    page = (explained[1] / "explanation.html").read_text()
    assert "A proof here concerns the network, not the patient." in page
    assert "Research use only; not a medical device." in page
    for word in ("<script", "http://", "https://", " src="):
        assert word not in page.replace("http://www.w3.org/", "")


def test_an_explanation_is_not_overwritten(explained):
    record, out, _ = explained
    with pytest.raises(RunExistsError) as caught:
        explain(tiny().run, record, out)
    assert str(caught.value) == (
        f"{out} holds an explanation already.\n  try: another --out"
    )


def test_a_missing_recording(tmp_path):
    with pytest.raises(MissingFileError, match="nobody"):
        explain(tiny().run, tmp_path / "nobody", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_spoiled_recording(tmp_path):
    record = tiny().data / "training" / "S00003"
    status, said, err = command(
        "explain", tiny().run, "--record", record, "--out", tmp_path / "out"
    )
    assert (status, said) == (2, "")
    assert err.startswith("ecg-jax explain: TruncatedError: ") and "S00003" in err


def test_a_run_that_is_not_finished(tmp_path):
    folder = copy_of_run(tmp_path / "run")
    (folder / "components.json").unlink()
    with pytest.raises(RunError) as caught:
        explain(folder, tiny().data / "training" / "S00000", tmp_path / "out")
    assert str(caught.value) == (
        f"{folder} holds no finished run: components.json is missing.\n"
        "  try: ecg-jax run --out DIR, with --resume if it was interrupted"
    )


def test_a_recording_has_its_label_of_the_table_of_the_run(tmp_path, monkeypatch):
    table = tmp_path / "labels.csv"
    table.write_text("recording,label\ntraining/S00000,mine\nS00001,other\n")
    record = tiny().data / "training" / "S00000"
    assert label_of(table, record) == label_of(table, record.with_suffix(".mat"))
    assert label_of(table, record) == "mine" and label_of(table, record / "x") is None
    assert label_of(tmp_path / "gone.csv", record) is None

    def read(path):
        held = read_json(path)
        return held if isinstance(held, list) else {**held, "labels": str(table)}

    monkeypatch.setattr(explaining, "read_json", read)
    assert explain(tiny().run, record, tmp_path / "out")["label"] == "mine"
    assert ">mine<" in (tmp_path / "out" / "explanation.html").read_text()
