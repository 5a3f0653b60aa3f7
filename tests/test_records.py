import os
import subprocess
import sys

import numpy as np
import pytest
from ecg_files import ecg, mat4, write_212, write_challenge, write_mat

from ecg_jax.ecg.records import open_folder, read_recording
from ecg_jax.errors import (
    EmptyFolderError,
    HeaderError,
    LabelError,
    MissingFileError,
    RecordingError,
    SignalError,
    TruncatedError,
)


def message(error):
    return str(error.value)


@pytest.mark.parametrize("header", [True, False])
def test_challenge_layout(tmp_path, header):
    names = write_challenge(tmp_path, "NAO~", header=header)
    folder = open_folder(tmp_path)
    assert folder.names == tuple(names)
    assert dict(folder.labels) == dict(zip(names, "NAO~", strict=True))
    recording = folder.read("R001")
    signal, _ = ecg(10, rr_s=0.75, seed=1)
    assert recording.signal.shape == (1, 3000)
    assert recording.signal.dtype == np.float32
    np.testing.assert_allclose(recording.signal[0], signal, atol=5.1e-4)
    assert (recording.label, recording.sample_rate_hz) == ("A", 300.0)
    assert recording.duration_s == 10.0
    assert recording.beat_samples is None


@pytest.mark.parametrize(
    "rows",
    [
        "R000,N\nR001,A\n",
        "A00/R000,N,0\nA00/R001,A,1\n",
        "\ufeffR000, N\r\nR001 ,A\r\n",
    ],
)
def test_reference_rows_of_two_or_three_columns(tmp_path, rows):
    write_challenge(tmp_path, "OO")
    (tmp_path / "REFERENCE.csv").write_text("R000,~\nR001,~\n")
    (tmp_path / "REFERENCE-v3.csv").write_text(rows, encoding="utf-8")
    assert dict(open_folder(tmp_path).labels) == {"R000": "N", "R001": "A"}


def test_records_in_the_folder_itself_and_opened_at_training(tmp_path):
    write_challenge(tmp_path, "NA")
    assert open_folder(tmp_path / "training").names == ("R000", "R001")
    labels = {"R000": "N", "R001": "A"}
    assert dict(open_folder(tmp_path / "training").labels) == labels
    (tmp_path / "training" / "RECORDS").unlink()
    (tmp_path / "RECORDS").write_text(
        "training/A00/R001.mat\n\n# no\nvalidation/R000\n"
    )
    assert dict(open_folder(tmp_path).labels) == {"R001": "A"}


def test_without_records_only_what_lies_there_counts(tmp_path):
    (tmp_path / "else").mkdir()
    with pytest.raises(EmptyFolderError) as error:
        open_folder(tmp_path)
    assert message(error) == (
        f"{tmp_path} lists no recordings.\n"
        "  try: a folder with RECORDS, or with .mat or .hea files, there or in "
        "training/"
    )
    write_mat(tmp_path, "else/deep", ecg()[0])
    assert open_folder(tmp_path).names == ("deep",)
    write_mat(tmp_path, "training/A00/deeper", ecg()[0])
    assert open_folder(tmp_path).names == ("deeper",)
    write_mat(tmp_path, "b", ecg()[0])
    write_mat(tmp_path, "a", ecg()[0], header=False)
    assert open_folder(tmp_path).names == ("a", "b")
    write_mat(tmp_path, "training/c", ecg()[0])
    assert open_folder(tmp_path).names == ("c",)


def test_a_folder_without_labels(tmp_path):
    write_challenge(tmp_path, "NA")
    (tmp_path / "REFERENCE-v3.csv").unlink()
    folder = open_folder(tmp_path)
    assert dict(folder.labels) == {"R000": None, "R001": None}
    assert folder.read("R001").label is None


def test_names_that_come_twice_keep_their_path(tmp_path):
    for part in ("a", "b"):
        write_mat(tmp_path, f"{part}/x", ecg()[0])
    (tmp_path / "RECORDS").write_text("a/x\nb/x\n")
    assert open_folder(tmp_path).names == ("a/x", "b/x")


def test_a_folder_of_folders_with_records(tmp_path):
    write_mat(tmp_path / "A00", "x", ecg()[0])
    (tmp_path / "A00" / "RECORDS").write_text("x\n")
    (tmp_path / "RECORDS").write_text("A00/\n")
    assert open_folder(tmp_path).read("x").name == "x"


def test_read_recording_with_and_without_suffix(tmp_path):
    file = write_mat(tmp_path, "A00001", ecg()[0])
    for path in (file, str(file)[:-4], file.with_suffix(".hea")):
        assert read_recording(path).name == "A00001"
        assert read_recording(path).label is None


def test_doubles_and_several_leads_in_a_mat(tmp_path):
    two = np.stack([ecg(seed=0)[0], ecg(seed=1)[0]]) * 1000
    (tmp_path / "x.mat").write_bytes(mat4(two, kind=0))
    assert read_recording(tmp_path / "x").signal.shape == (1, 3000)
    both = read_recording(tmp_path / "x", leads=("all",)).signal
    np.testing.assert_allclose(both, two / 1000, rtol=1e-6)


def test_units_gain_and_baseline(tmp_path):
    file = write_mat(tmp_path, "x", ecg()[0], header=False)
    raw = read_recording(file).signal
    for spec, factor, shift in (("1000(500)/mV", 1, -0.5), ("1/uV", 1, 0)):
        file.with_suffix(".hea").write_text(f"x 1 250\nx.mat 16+24 {spec} 16 0\n")
        got = read_recording(file)
        assert got.sample_rate_hz == 250
        np.testing.assert_allclose(got.signal, raw * factor + shift, atol=1e-6)
    file.with_suffix(".hea").write_text("x 1 250\nx.mat 16+24 1/mmHg 16 0\n")
    with pytest.raises(HeaderError) as error:
        read_recording(file)
    assert message(error) == (
        f"{file.with_suffix('.hea')} has no ECG lead; its signals are signal 1 "
        "(mmHg).\n  try: leave it out, or correct names and units in the header"
    )


def mit_record(folder, name="100", leads=("V5", "MLII"), num=3600):
    rng = np.random.default_rng(0)
    samples = np.clip(rng.integers(-400, 400, (2, num)).cumsum(1) // 50, -900, 900)
    write_212(folder / f"{name}.dat", samples)
    lines = [
        f"{name}.dat 212 200 11 0 {row[0]} {row.sum() & 0xFFFF} 0 {lead}"
        for row, lead in zip(samples, leads, strict=True)
    ]
    text = "\n".join([f"{name} 2 360 {num}", *lines, "# 69 M"])
    (folder / f"{name}.hea").write_text(text + "\n")
    return samples


def atr(folder, name, beats):
    """An annotation file: (sample, code) pairs, times below 1024 apart or skipped."""
    words, last = [], 0
    for sample, code in beats:
        wait = sample - last
        if wait >= 1024:
            words += [59 << 10, wait >> 16, wait & 0xFFFF]
            wait = 0
        words.append(code << 10 | wait)
        last = sample
    words += [28 << 10, 63 << 10 | 3, 0x4E28, 0x0000]  # rhythm "(N", of no beat
    (folder / f"{name}.atr").write_bytes(np.array([*words, 0], "<u2").tobytes())


def test_mit_bih_layout(tmp_path):
    samples = mit_record(tmp_path)
    # N, L, then A, V, F, /, and + (no beat)
    atr(
        tmp_path,
        "100",
        [(10, 1), (200, 2), (3000, 8), (3100, 5), (3200, 6), (3300, 12), (3400, 28)],
    )
    (tmp_path / "RECORDS").write_text("100\n")
    folder = open_folder(tmp_path)
    recording = folder.read("100")
    assert folder.title == "MIT-BIH Arrhythmia Database"
    np.testing.assert_allclose(recording.signal[0], samples[1] / 200, atol=1e-6)
    assert recording.beat_samples.tolist() == [10, 200, 3000, 3100, 3200, 3300]
    assert recording.beat_labels == ("N", "N", "S", "V", "F", "Q")
    assert recording.label is None
    assert open_folder(tmp_path, leads=("all",)).read("100").signal.shape == (2, 3600)


def test_paced_recordings_are_left_out_with_the_reason(tmp_path):
    for name in ("100", "102"):
        mit_record(tmp_path, name)
    (tmp_path / "RECORDS").write_text("100\n102\n")
    folder = open_folder(tmp_path)
    assert folder.names == ("100",)
    assert dict(folder.excluded) == {"102": "102: paced beats; AAMI EC57 leaves it out"}


def test_other_formats_go_through_wfdb(tmp_path):
    signal = np.stack([ecg()[0]], 1)
    with_wfdb = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "import sys, numpy as np, wfdb; s = np.load('s.npy');"
            "wfdb.wrsamp('w', fs=300, units=['mV'], sig_name=['II'], p_signal=s,"
            "fmt=['24'], adc_gain=[1000.], baseline=[0])",
        ],
        cwd=np.save(tmp_path / "s.npy", signal) or tmp_path,
    )
    assert with_wfdb.returncode == 0
    got = read_recording(tmp_path / "w").signal
    np.testing.assert_allclose(got[0], signal[:, 0], atol=5.1e-4)
    (tmp_path / "w.dat").unlink()
    with pytest.raises(MissingFileError):
        read_recording(tmp_path / "w")


# Bad input: one clear message that names the file and what to do.


def test_missing_mat(tmp_path):
    write_challenge(tmp_path, "NN")
    gone = tmp_path / "training/A00/R001.mat"
    gone.unlink()
    folder = open_folder(tmp_path)
    assert folder.read("R000").name == "R000"
    with pytest.raises(MissingFileError) as error:
        folder.read("R001")
    assert message(error) == (
        f"{gone} is not there.\n  try: fetch it, or drop its line from RECORDS"
    )
    gone.with_suffix(".hea").unlink()
    with pytest.raises(MissingFileError) as error:
        folder.read("R001")
    assert message(error) == (
        f"Neither {gone.with_suffix('.hea')} nor R001.mat is there.\n"
        "  try: fetch it, or drop its line from RECORDS"
    )


@pytest.mark.parametrize("keep", [0, 7, 23, 24, 6000])
@pytest.mark.parametrize("header", [True, False])
def test_truncated_mat(tmp_path, keep, header):
    file = write_mat(tmp_path, "x", ecg()[0], header=header)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(TruncatedError) as error:
        read_recording(file)
    where = f"{keep} bytes, inside its header" if keep < 20 else f"{keep} of 6024 bytes"
    expected = f"{file} ends after {where}.\n  try: fetch it again"
    assert message(error) == expected


def test_header_that_disagrees_with_its_data(tmp_path):
    file = write_mat(tmp_path, "x", ecg()[0])
    header = file.with_suffix(".hea")
    good = header.read_text()
    units = np.frombuffer(file.read_bytes(), "<i2", offset=24)
    total = int(units.sum(dtype=np.int64)) & 0xFFFF

    def refused(text):
        header.write_text(text)
        with pytest.raises(HeaderError) as error:
            read_recording(file)
        return message(error)

    assert refused(good.replace(" 3000", " 2999")) == (
        f"{header} announces 2999 samples, {file} holds 3000.\n  try: fetch both again"
    )
    assert refused(good.replace("x 1 ", "x 2 ")) == (
        f"{header} announces 2 signals at 300 Hz and describes 1.\n"
        "  try: fetch it again"
    )
    assert refused(good.replace(f" 0 {units[0]} ", f" 0 {units[0] + 1} ")) == (
        f"{header} announces {units[0] + 1} as the first sample, {file} has "
        f"{units[0]}.\n"
        "  try: fetch both again"
    )
    changed = file.read_bytes()[:-2] + (units[-1] + 5).astype("<i2").tobytes()
    file.write_bytes(changed)
    assert refused(good) == (
        f"{header} announces the checksum {total}, the samples of {file} sum to "
        f"{(total + 5) & 0xFFFF}.\n"
        "  try: fetch both again"
    )
    assert refused("") == (
        f"{header} is no WFDB header: it has no line.\n  try: fetch it again"
    )
    assert refused("<html>\n") == (
        f"{header} is no WFDB header: its first line is '<html>'.\n"
        "  try: fetch it again"
    )
    assert refused("x/3 1 300 9000\n") == (
        f"{header} announces 3 segments at 300 Hz and describes 0.\n"
        "  try: fetch it again"
    )
    assert refused("x 1 0 3000\nx.mat 16+24 1000/mV\n") == (
        f"{header} announces 0 samples a second.\n  try: write the rate into it"
    )
    for start, kind in (("x 0 300", "signal"), ("x/0 1 300", "segment")):
        assert refused(f"{start} 3000\n") == (
            f"{header} announces no {kind}.\n  try: leave it out, or fetch it again"
        )
    assert refused("x 1 300 0\nx.mat 16+24 1000/mV\n") == (
        f"{header} announces 0 samples.\n"
        "  try: leave the number out where it is unknown"
    )


def test_header_that_points_elsewhere(tmp_path):
    file = write_mat(tmp_path, "x", ecg()[0])
    file.with_suffix(".hea").write_text("x 1 300\n../y.mat 16+24 1000/mV\n")
    with pytest.raises(HeaderError) as error:
        read_recording(file)
    assert message(error) == (
        f"{file.with_suffix('.hea')}: '../y.mat 16+24 1000/mV' describes no signal "
        "that wfdb can read.\n"
        "  try: fetch it again, or name a file beside the header"
    )
    (tmp_path / "RECORDS").write_text("../../x\n")
    with pytest.raises(MissingFileError, match=r"names '\.\./\.\./x', outside"):
        open_folder(tmp_path)


def test_mat_that_is_none(tmp_path):
    file = tmp_path / "x.mat"
    file.write_bytes(b"\x00\x00\x00\x01" + bytes(100))
    with pytest.raises(HeaderError) as error:
        read_recording(file)
    assert message(error) == (
        f"{file} is no level-4 .mat of real numbers (its header says 16777216, 0, 0, "
        "0, 0).\n"
        "  try: fetch it again"
    )
    file.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(HeaderError, match="is a MATLAB 5 file without 12 leads"):
        read_recording(file)
    file.write_bytes(mat4(np.arange(100)) + b"more")
    with pytest.raises(HeaderError, match="has 228 bytes, its header announces 224"):
        read_recording(file)


def test_flat_line(tmp_path):
    file = write_mat(tmp_path, "x", np.full(3000, 0.25))
    with pytest.raises(SignalError) as error:
        read_recording(file)
    assert message(error) == (
        f"{file}: ECG is a flat line, no signal.\n"
        "  try: leave the recording out, or check that an electrode was connected"
    )
    both = np.stack([np.full(3000, 250), 1000 * ecg()[0]])
    file.with_suffix(".hea").unlink()
    file.write_bytes(mat4(both))
    with pytest.raises(SignalError) as alone:  # nobody has named the rows
        read_recording(file, leads=("all",))
    assert message(alone) == (
        f"{file}: ECG 1 is a flat line, no signal.\n"
        "  try: read another lead, leads=('ECG 2',), or leave the recording out, or "
        "check that an electrode was connected"
    )
    assert read_recording(file, leads=("ECG 2",)).leads == ("ECG 2",)


def test_missing_samples_are_nan(tmp_path):
    file = write_mat(tmp_path, "x", ecg()[0], header=False)
    units = np.array(np.frombuffer(file.read_bytes(), "<i2", offset=24))
    units[[600, 900]] = -32768  # what WFDB writes for "no value"
    file.write_bytes(mat4(units))
    for values in (units, np.where(units == -32768, np.nan, units)):
        file.write_bytes(mat4(values, kind=30 if values is units else 0))
        signal = read_recording(file).signal[0]
        assert np.flatnonzero(np.isnan(signal)).tolist() == [600, 900]
    file.write_bytes(mat4(np.full(3000, -32768)))
    with pytest.raises(SignalError) as error:
        read_recording(file)
    assert message(error) == (
        f"{file}: every sample of ECG is marked as missing.\n"
        "  try: leave the recording out"
    )


def test_beyond_a_volt(tmp_path):
    file = write_mat(tmp_path, "x", ecg()[0] * 20, header=False)
    file.with_suffix(".hea").write_text("x 1 300\nx.mat 16+24 1/mV 16 0 0 0 0 II\n")
    with pytest.raises(SignalError) as error:
        read_recording(file)
    top = np.abs(np.frombuffer(file.read_bytes(), "<i2", offset=24)).max()
    assert message(error) == (
        f"{file}: II reaches {top:,} mV, and no ECG is beyond 1,000.\n"
        "  try: correct gain or unit in the header, or leave the recording out"
    )
    file.write_bytes(mat4(np.append(ecg()[0], np.inf), kind=0))
    file.with_suffix(".hea").unlink()
    with pytest.raises(SignalError, match="ECG reaches inf mV"):
        read_recording(file)


def test_own_and_missing_label(tmp_path):
    write_challenge(tmp_path, "NNN")
    reference = tmp_path / "REFERENCE-v3.csv"
    reference.write_text("R000,N\nR001,X\n")
    folder = open_folder(tmp_path)
    assert dict(folder.labels) == {"R000": "N", "R001": "X"}
    assert dict(folder.excluded) == {
        "R002": (
            f"no row for R002 in {reference}.\n"
            "  try: add one with the recording and its label, such as `R002,N`"
        ),
    }
    assert issubclass(LabelError, RecordingError)


def test_empty_folder_and_none(tmp_path):
    with pytest.raises(EmptyFolderError):
        open_folder(tmp_path)
    (tmp_path / "RECORDS").write_text("\n")
    with pytest.raises(EmptyFolderError) as error:
        open_folder(tmp_path)
    assert message(error) == (
        f"{tmp_path / 'RECORDS'} lists no recordings.\n"
        "  try: a folder with RECORDS, or with .mat or .hea files, there or in "
        "training/"
    )
    with pytest.raises(MissingFileError) as error:
        open_folder(tmp_path / "no")
    assert message(error) == (
        f"{tmp_path / 'no'} is not a folder.\n"
        "  try: the folder that holds RECORDS, or `ecg-jax fetch challenge-2017 --out "
        "DIR`"
    )


def test_unknown_name(tmp_path):
    write_challenge(tmp_path, "N")
    with pytest.raises(MissingFileError) as error:
        open_folder(tmp_path).read("R009")
    assert message(error) == (
        f"{tmp_path} has no recording 'R009'.\n  try: one of 1 names such as 'R000'"
    )


def test_bad_dat_and_atr(tmp_path):
    mit_record(tmp_path)
    dat, header = tmp_path / "100.dat", tmp_path / "100.hea"
    atr(tmp_path, "100", [(10, 1), (4000, 1)])
    with pytest.raises(HeaderError) as error:
        read_recording(dat)
    assert message(error) == (
        f"{tmp_path / '100.atr'}: a beat at sample 4000, the signal of {dat} has "
        "3600.\n  try: fetch both again"
    )
    atr(tmp_path, "100", [(10, 1)])
    annotations = (tmp_path / "100.atr").read_bytes()
    (tmp_path / "100.atr").write_bytes(annotations[:-2])
    with pytest.raises(TruncatedError, match="ends after 10 bytes, before its end"):
        read_recording(dat)
    (tmp_path / "100.atr").unlink()
    content = dat.read_bytes()
    dat.write_bytes(content[:-300])
    with pytest.raises(TruncatedError) as error:
        read_recording(dat)
    assert message(error) == (
        f"{dat} ends after 7000 of 7200 samples.\n  try: fetch it again"
    )
    dat.unlink()
    with pytest.raises(MissingFileError) as error:
        read_recording(tmp_path / "100")
    assert message(error) == (
        f"{dat}, named by {header}, is not there.\n"
        "  try: fetch it, or drop its line from RECORDS"
    )


def test_importing_is_light():
    code = (
        "import sys, ecg_jax.ecg.beats, ecg_jax.ecg.datasets, ecg_jax.ecg.fetch;"
        "bad = {'jax', 'scipy', 'wfdb', 'sleepecg', 'pandas'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


def test_real_recordings(ecg_data):
    folder = open_folder(ecg_data / "challenge-2017")
    assert folder.title == "PhysioNet/CinC Challenge 2017"
    assert len(folder.names) == 7000
    counts = {label: 0 for label in "NAO~"}
    for label in folder.labels.values():
        counts[label] += 1
    assert counts == {"N": 4167, "A": 622, "O": 1982, "~": 229}
    assert folder.read("A00001").signal.shape == (1, 9000)
    mitdb = open_folder(ecg_data / "mitdb")
    labels = [x for n in mitdb.names for x in mitdb.read(n).beat_labels]
    counted = {aami: labels.count(aami) for aami in "NSVFQ"}
    assert counted == {"N": 45866, "S": 944, "V": 3788, "F": 415, "Q": 8}
