"""One recording explained."""

import html
import json

import pytest
from run_files import command, copy_of_run, tiny

from ecg_jax.errors import MissingFileError, RunError, RunExistsError
from ecg_jax.runs.explain import explain


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    out = tmp_path_factory.mktemp("explained") / "new" / "S00000"
    record = tiny().data / "training" / "S00000"
    return record, out, command("explain", tiny().run, "--record", record, "--out", out)


def test_what_an_explanation_holds(explained):
    _, out, (status, said, _) = explained
    answer = json.loads((out / "explanation.json").read_text())
    assert status == 0 and said == (
        f"S00000: {answer['answer']}, {answer['num_beats']} beats, "
        f"{answer['share_proven']:.0%} proven; see {out / 'explanation.html'}\n"
    )
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
            assert f"Who is in its cell: {told['sentence']}" in page
            assert f"It weighs: {told['weighs']}" in page
    assert page.count('<svg class="spark"') == answer["num_beats"]


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
