"""Records as wfdb reads them; its own words where it cannot."""

import warnings

import numpy as np
import pytest
from ecg_files import ecg

from ecg_jax.ecg._leads import choose
from ecg_jax.ecg.beats import extract_beats
from ecg_jax.ecg.records import AAMI_OF_SYMBOL, open_folder, read_recording
from ecg_jax.errors import (
    HeaderError,
    MissingFileError,
    RecordingError,
    SignalError,
    TruncatedError,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of pandas, about how wfdb uses it
    import wfdb

RATE, NUM = 250, 2500
COUNTS = np.rint(1000 * ecg(NUM / RATE, RATE)[0]).astype(int)


def write(folder, name, lines, *, num=NUM, rate=RATE, **files):
    """A header of some signal lines, and files of bytes or of 16-bit samples."""
    text = f"{name} {len(lines)} {rate} {num}\n" + "\n".join(lines) + "\n"
    (folder / f"{name}.hea").write_text(text, encoding="utf-8")
    for suffix, content in files.items():
        raw = content if isinstance(content, bytes) else content.astype("<i2").tobytes()
        (folder / f"{name}.{suffix}").write_bytes(raw)
    return folder / name


def theirs(stem, channel=0):
    """The signal by wfdb, in its own units, all samples of a frame kept."""
    record = wfdb.rdrecord(str(stem), smooth_frames=False)
    return record.e_p_signal[channel].astype(np.float32)


def refused(stem, kind=HeaderError, **options):
    """The message with which a record is refused."""
    with pytest.raises(RecordingError) as error:
        read_recording(stem, **options)
    assert type(error.value) is kind
    return str(error.value)


def by_wfdb(write, *args, **more):
    """Let wfdb write, without the warnings of pandas about how."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(*args, **more)


def annotate(stem, samples, symbols, suffix="atr", **more):
    where = dict(write_dir=str(stem.parent), **more)
    by_wfdb(wfdb.wrann, stem.name, suffix, np.asarray(samples), symbols, **where)


def test_skew(tmp_path):
    both = np.stack([COUNTS, -COUNTS], 1)
    lines = ["x.dat 16:7 1000 16 0 5 9 0 II", "x.dat 16 1000 16 0 0 0 0 V5"]
    stem = write(tmp_path, "x", lines, dat=both)
    got = read_recording(stem)
    assert got.leads == ("II",)
    np.testing.assert_array_equal(got.signal[0], theirs(stem))
    np.testing.assert_allclose(got.signal[0, :-7], COUNTS[7:] / 1000, atol=1e-6)
    assert np.isnan(got.signal[0, -7:]).all()


def test_a_lead_keeps_its_own_rate(tmp_path):
    frames = np.concatenate([COUNTS.reshape(-1, 4), COUNTS[::4, None]], 1)
    lines = ["x.dat 16x4 1000 16 0 0 0 0 II", "x.dat 16 20/mmHg 16 0 0 0 0 ABP"]
    stem = write(tmp_path, "x", lines, num=NUM // 4, rate=RATE / 4, dat=frames)
    annotate(stem, [100, 200], ["N", "V"])
    got = read_recording(stem)
    assert got.sample_rate_hz == RATE
    np.testing.assert_array_equal(got.signal[0], theirs(stem))
    np.testing.assert_allclose(got.signal[0], COUNTS / 1000, atol=1e-6)
    assert got.beat_samples.tolist() == [400, 800]
    both = [lines[0], "x.dat 16 1000 16 0 0 0 0 V"]
    write(tmp_path, "x", both, num=NUM // 4, rate=RATE / 4)
    assert refused(stem, leads=("all",)) == (
        f"{stem}.hea: the leads differ in rate: II 250 Hz, V 62.5 Hz.\n"
        "  try: read one of them, leads=('II',)"
    )


def packed_310(samples):
    a, b, c = samples.reshape(-1, 3).T & 0x3FF
    words = np.stack([a << 1 | (c & 0x1F) << 11, b << 1 | c >> 5 << 11], 1)
    return words.astype("<u2").tobytes()


def packed_311(samples):
    a, b, c = samples.reshape(-1, 3).T & 0x3FF
    return (a | b << 10 | c << 20).astype("<u4").tobytes()


@pytest.mark.parametrize(
    "form", ["16", "24", "32", "80", "212", "310", "311", "508", "516", "524"]
)
def test_missing_samples_of_every_format(tmp_path, form):
    gone, stem = [3, 700, 701], tmp_path / "x"
    small = np.rint(COUNTS[:2400] / 10).astype(int)  # fits into 8 bits
    if form in ("310", "311"):
        small[gone] = -512
        pack = packed_310 if form == "310" else packed_311
        lines = [f"x.dat {form} 100 10 0 0 0 0 II"]
        write(tmp_path, "x", lines, num=2400, dat=pack(small))
    else:
        signal = small / 100
        signal[gone] = np.nan
        by_wfdb(
            wfdb.wrsamp, "x", RATE, ["mV"], ["II"], p_signal=signal[:, None],
            fmt=[form], adc_gain=[100.0], baseline=[0], write_dir=str(tmp_path),
        )  # fmt: skip
    got = read_recording(stem).signal[0]
    np.testing.assert_array_equal(got, theirs(stem))
    assert np.flatnonzero(np.isnan(got)).tolist() == gone
    np.testing.assert_allclose(np.delete(got, gone), np.delete(small, gone) / 100)


def test_other_signals_are_no_leads_whatever_their_unit(tmp_path):
    units = ("/mmHg", "/NU", "/bpm", "", "/mV")
    names = ("ABP", "PLETH", "HR", "Resp. Imp.", "ECG lead II")
    lines = [
        f"x.dat 16 1000{unit} 16 0 0 0 0 {name}"
        for unit, name in zip(units, names, strict=True)
    ]
    samples = np.stack([COUNTS * k for k in range(1, 6)], 1)
    stem = write(tmp_path, "x", lines, dat=samples)
    for leads in ((), ("all",)):
        got = read_recording(stem, leads=leads)
        assert got.leads == ("ECG lead II",)
        np.testing.assert_array_equal(got.signal[0], theirs(stem, 4))
    stem = write(tmp_path, "x", lines[:2], dat=samples[:, :2])
    assert refused(stem) == (
        f"{stem}.hea has no ECG lead; its signals are ABP (mmHg), PLETH (NU).\n"
        "  try: leave it out, or correct names and units in the header"
    )


@pytest.mark.parametrize(
    ("names", "leads", "chosen"),
    [
        (["i", "ii"], (), [1]),
        (["V5", "MLII", "II"], (), [1]),
        (["ECG II", "II"], (), [1]),
        (["V1", "ecg_lead-ii"], (), [1]),
        (["III", "aVR"], (), [0]),
        (["square wave", "ECG"], (), [1]),
        (["RESP", "D3"], (), [1]),
        (["i", "ii", "v1"], ("V1", "I"), [2, 0]),
        (["ECG II", "II", "ECG V1"], ("V1", "II"), [2, 1]),
        (["III", "aVR"], ("II",), []),
        (["Fp2-F4", "C4-A1"], ("all",), []),
        (["UC", "FECG", "foot GSR", "marker"], ("all",), [1]),
        (["vx", "V1", "C1", "E-S"], ("all",), [0, 1, 2, 3]),
    ],
)
def test_which_signal_is_read(names, leads, chosen):
    assert choose(names, ["mV"] * len(names), leads) == chosen


@pytest.mark.parametrize(
    "text",
    [
        "1/\N{MICRO SIGN}V".encode(),
        "1/\N{GREEK SMALL LETTER MU}V".encode(),
        "1/\N{MICRO SIGN}V".encode("latin-1"),
        b"1/uV",
        b"1000/mV",
        b"1e6/V",
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_units_and_byte_order_marks(tmp_path, text, start):
    stem = write(tmp_path, "x", ["x.dat 16 GAIN 16 0 0 0 0 II"], dat=COUNTS)
    header = tmp_path / "x.hea"
    header.write_bytes(start + header.read_bytes().replace(b"GAIN", text))
    got = read_recording(stem).signal[0]
    np.testing.assert_allclose(got, COUNTS / 1000, atol=1e-6)


def test_segments_of_a_fixed_layout(tmp_path):
    half = NUM // 2
    for k, (gain, part) in enumerate(
        [("1000", COUNTS[:half]), ("1/uV", COUNTS[half:])]
    ):
        lines = [f"s{k}.dat 16 {gain} 16 0 0 0 0 II"]
        write(tmp_path, f"s{k}", lines, num=half, dat=part)
    (tmp_path / "x.hea").write_text(f"x/2 1 {RATE} {NUM}\ns0 {half}\ns1 {half}\n")
    annotate(tmp_path / "x", [500, 2000], ["N", "V"])
    got = read_recording(tmp_path / "x")
    np.testing.assert_allclose(got.signal[0], COUNTS / 1000, atol=1e-6)
    assert got.beat_samples.tolist() == [500, 2000]
    assert open_folder(tmp_path).names == ("x",)  # a segment is no recording
    header = (tmp_path / "x.hea").read_text()
    (tmp_path / "x.hea").write_text(header.replace(str(NUM), "99"))
    assert refused(tmp_path / "x") == (
        f"{tmp_path / 'x.hea'} announces 99 samples, its segments hold {NUM}.\n"
        "  try: fetch it again"
    )
    (tmp_path / "x.hea").write_text(header.replace("s1 ", "x "))
    assert refused(tmp_path / "x") == (
        f"{tmp_path / 'x.hea'} names x as a segment, which has segments itself.\n"
        "  try: name these"
    )
    (tmp_path / "x.hea").write_text(header)
    (tmp_path / "s1.dat").write_bytes(bytes(100))
    assert refused(tmp_path / "x", TruncatedError) == (
        f"{tmp_path / 's1.dat'} ends after 50 of {half} samples.\n  try: fetch it again"
    )
    (tmp_path / "s1.hea").unlink()
    assert refused(tmp_path / "x", MissingFileError) == (
        f"{tmp_path / 's1.hea'}, named by {tmp_path / 'x.hea'}, is not there.\n"
        "  try: fetch it, or drop its line from RECORDS"
    )


def test_a_flat_lead_names_itself_and_another(tmp_path):
    lines = [f"x.dat 16 1000 16 0 0 0 0 {name}" for name in ("ABP", "V1", "II")]
    stem = write(tmp_path, "x", lines, dat=np.stack([COUNTS, COUNTS, 0 * COUNTS], 1))
    for leads in ((), ("all",)):
        assert refused(stem, SignalError, leads=leads) == (
            f"{stem}.dat: II is a flat line, no signal.\n"
            "  try: read another lead, leads=('V1',), or leave the recording out, or "
            "check that an electrode was connected"
        )
    assert read_recording(stem, leads=("V1",)).leads == ("V1",)
    gone = np.full_like(COUNTS, -32768)
    write(tmp_path, "x", lines, dat=np.stack([COUNTS, COUNTS, gone], 1))
    assert refused(stem, SignalError) == (
        f"{stem}.dat: every sample of II is marked as missing.\n"
        "  try: read another lead, leads=('V1',), or leave the recording out"
    )


def test_segments_that_do_not_fit(tmp_path):
    half, master = NUM // 2, tmp_path / "x.hea"
    line = "{}.dat 16 1000 16 0 0 0 0 {}"
    for name, leads in (("a", ("V1", "II")), ("b", ("II", "V1")), ("c", ("V1",))):
        lines = [line.format(name, lead) for lead in leads]
        write(
            tmp_path,
            name,
            lines,
            num=half,
            dat=np.stack([COUNTS[:half]] * len(lines), 1),
        )

    def message(*segments, rate=RATE, **options):
        num = sum(num for _, num in segments)
        told = "".join(f"{name} {num}\n" for name, num in segments)
        master.write_text(f"x/{len(segments)} 2 {rate} {num}\n{told}")
        return refused(tmp_path / "x", **options)

    cure = "  try: name a header first, of 0 samples, that lists the signals"
    for k, parts in ((2, [("a", half), ("~", 100)]), (1, [("~", 100), ("a", half)])):
        assert message(*parts) == (
            f"{master}: segment {k} is a gap (~), and no segment lists the signals; "
            f"wfdb cannot read that.\n{cure}"
        )
    assert message(("a", half), ("b", half)) == (
        f"{master}: signal 2 of a is II, that of b is V1.\n{cure}"
    )
    assert message(("a", half), ("c", half)) == (
        f"{master}: signal 2 of a is II, that of c is not there.\n{cure}"
    )
    assert message(("a", half), ("b", 100)) == (
        f"{master} announces 100 samples of b, {tmp_path / 'b.hea'} {half}.\n"
        "  try: correct the number, or fetch both again"
    )
    assert message(("a", half), rate=180) == (
        f"{master} announces 180 Hz, {tmp_path / 'a.hea'} 250 Hz.\n"
        "  try: correct the rate, or fetch both again"
    )
    layout = ["~ 0 200/mV 0 0 0 0 0 V1", "~ 0 200/mV 0 0 0 0 0 II"]
    write(tmp_path, "l", layout, num=0)
    parts = ("l 0", f"a {half}", "~ 100", f"b {half}", f"c {half}")
    master.write_text(f"x/5 2 {RATE} {3 * half + 100}\n" + "\n".join(parts) + "\n")
    got = read_recording(tmp_path / "x").signal[0]  # the cure
    part, gap = COUNTS[:half] / 1000, np.full(100, np.nan)
    whole = np.concatenate([part, gap, part, np.full(half, np.nan)])
    np.testing.assert_allclose(got, whole, atol=1e-6)
    lines = [line.format("b", "II"), "b.dat 16 1/uV 16 0 0 0 0 II"]
    write(tmp_path, "b", lines, num=half)
    assert refused(tmp_path / "x") == (
        f"{tmp_path / 'b.hea'} has 2 signals II, which wfdb confuses in a segment.\n"
        "  try: give them different names, there and where they are listed"
    )
    write(tmp_path, "b", ["b.dat 16x2 1000 16 0 0 0 0 II"], num=half)
    assert refused(tmp_path / "x") == (
        f"{tmp_path / 'b.hea'} has 2 samples of II a frame, {tmp_path / 'l.hea'} 1.\n"
        "  try: correct the number, or fetch both again"
    )


def test_two_signals_of_one_name_keep_their_units(tmp_path):
    lines = ["{0}.dat 16 1000 16 0 0 0 0 II", "{0}.dat 16 2/uV 16 0 0 0 0 II"]
    both = np.stack([COUNTS, 2 * COUNTS], 1)
    for name in ("a", "b"):
        write(tmp_path, name, [line.format(name) for line in lines], dat=both)
    (tmp_path / "x.hea").write_text(f"x/2 2 {RATE} {2 * NUM}\na {NUM}\nb {NUM}\n")
    for name, times in (("a", 1), ("x", 2)):
        first, second = read_recording(tmp_path / name, leads=("all",)).signal
        np.testing.assert_allclose(first, np.tile(COUNTS / 1000, times), atol=1e-6)
        np.testing.assert_allclose(second, first, atol=1e-6)


def test_segments_of_a_variable_layout(tmp_path):
    names = ("V", "II", "ABP")
    layout = [
        f"~ 0 200/{unit} 0 0 0 0 0 {name}"
        for name, unit in zip(names, ("mV", "mV", "mmHg"), strict=True)
    ]
    write(tmp_path, "l", layout, num=0)
    lines = ["a.dat 16 1000 16 0 0 0 0 II", "a.dat 16 20/mmHg 16 0 0 0 0 ABP"]
    write(tmp_path, "a", lines, num=500, dat=np.stack([COUNTS[:500]] * 2, 1))
    write(tmp_path, "b", ["b.dat 16 500 16 0 0 0 0 II"], num=500, dat=COUNTS[:500])
    write(tmp_path, "c", ["c.dat 16 500 16 0 0 0 0 V"], num=500, dat=COUNTS[:500])
    text = "l 0\na 500\n~ 100\nb 500\nc 500\n"
    (tmp_path / "x.hea").write_text(f"x/5 3 {RATE} 1600\n{text}")
    stem = tmp_path / "x"
    got = read_recording(stem)
    assert got.leads == ("II",)
    np.testing.assert_array_equal(got.signal[0], theirs(stem, 1))
    assert np.isnan(got.signal[0, 500:600]).all()
    np.testing.assert_allclose(got.signal[0, 600:1100], COUNTS[:500] / 500, rtol=1e-6)
    both = read_recording(stem, leads=("all",))
    assert both.leads == ("V", "II")
    np.testing.assert_array_equal(both.signal[0], theirs(stem, 0))
    assert refused(tmp_path / "l") == (
        f"{tmp_path / 'l.hea'} only lists the signals of a record of several "
        "segments.\n  try: read that record, or leave this one out of RECORDS"
    )


@pytest.fixture
def record(tmp_path):
    return write(tmp_path, "x", ["x.dat 16 1000 16 0 0 0 0 II"], dat=COUNTS)


def test_every_symbol_of_a_beat(record):
    symbols = list("NLRBAaJSVrFejnE/fQ?")
    samples = np.arange(1, len(symbols) + 1) * 100
    annotate(record, samples, symbols)
    got = read_recording(record)
    assert got.beat_samples.tolist() == samples.tolist()
    assert got.beat_labels == tuple("NNNNSSSSVVFNNNVQQQQ")
    assert set(symbols) == set(AAMI_OF_SYMBOL)


def test_annotations_at_another_rate(record):
    annotate(record, [100, 301], ["N", "V"], suffix="qrs", fs=1000)
    got = read_recording(record, annotator="qrs")
    assert got.beat_samples.tolist() == [25, 75]
    assert got.beat_labels == ("N", "V")
    assert read_recording(record).beat_samples is None


def test_annotations_out_of_order(record):
    back = (1 << 32) - 300  # a skip of -300
    words = [1 << 10 | 500, 59 << 10, back >> 16, back & 0xFFFF, 5 << 10, 0]
    record.with_suffix(".atr").write_bytes(np.array(words, "<u2").tobytes())
    got = read_recording(record)
    assert got.beat_samples.tolist() == [200, 500]
    assert got.beat_labels == ("V", "N")


def test_annotations_without_beats(record):
    annotate(record, [10, 1500], ["+", "+"], aux_note=["(AFIB", "(N"])
    assert read_recording(record).beat_samples is None
    for empty in (b"", b"\0\0"):
        record.with_suffix(".atr").write_bytes(empty)
        assert read_recording(record).beat_samples is None
    words = [17 << 10 | 5, 1 << 10 | 5, 0]  # the code 17 means nothing
    record.with_suffix(".atr").write_bytes(np.array(words, "<u2").tobytes())
    assert read_recording(record).beat_samples.tolist() == [10]


def test_bad_annotations(record):
    file = record.with_suffix(".atr")
    note = b"## time resolution: 9"
    twice = (b"\0\x58" + bytes([len(note), 63 << 2]) + note + b"\0") * 2
    for content in (twice, twice.replace(b"time resolution: ", b"something other: ")):
        file.write_bytes(content + b"\0\0")
        assert refused(record) == (
            f"{file} has notes on itself (##) that wfdb cannot take: unknown ones, or "
            "one of a kind twice.\n"
            "  try: write it again with wfdb.wrann"
        )
    file.write_bytes(np.array([1 << 10 | 500, 5 << 10], "<u2").tobytes())
    assert refused(record, TruncatedError) == (
        f"{file} ends after 4 bytes, before its end mark.\n  try: fetch it again"
    )


def test_bad_headers(tmp_path, record):
    header = record.with_suffix(".hea")
    good = header.read_bytes()
    header.write_bytes(good.replace(b"II", b"I\0"))
    assert refused(record) == (
        f"{header} holds a NUL byte, in line 2, which no text has.\n"
        "  try: fetch it again"
    )
    header.write_bytes(good.decode().encode("utf-16"))
    assert refused(record) == (f"{header} is text in UTF-16.\n  try: save it as UTF-8")
    header.write_bytes(good.replace(b" 0 II", b" 7 II").replace(b"0 0 7", b"0 9 7"))
    total = int(COUNTS.sum()) % 65536
    assert refused(record) == (
        f"{header} announces the checksum 9, the samples of {tmp_path / 'x.dat'} sum "
        f"to {total}.\n"
        "  try: fetch both again"
    )
    header.write_bytes(good.replace(b"dat 16", b"dat 17"))
    assert refused(record) == (
        f"{header} has signals in format 17, which WFDB does not know.\n"
        "  try: fetch it again"
    )
    header.write_bytes(good.replace(b"2500", b"2500 99:99:99"))
    assert refused(record).startswith(f"{header}: wfdb cannot read it (")
    lines = [
        f"{file}.dat 16 1000 16 0 0 0 0 {lead}"
        for file, lead in ("xI", "yV", ("x", "II"))
    ]
    assert refused(write(tmp_path, "z", lines)) == (
        f"{tmp_path / 'z.hea'} names x.dat again after another file; wfdb confuses the "
        "signals then.\n"
        "  try: sort the signals by file"
    )


def test_no_gain_is_said(tmp_path):
    for gain in ("0", "0/mV", "0(5)/mV"):
        stem = write(tmp_path, "x", [f"x.dat 16 {gain} 16 0 0 0 0 II"], dat=COUNTS)
        with pytest.warns(UserWarning) as told:
            got = read_recording(stem).signal[0]
        np.testing.assert_array_equal(got, theirs(stem))
        assert str(told[0].message) == (
            f"{stem}.hea gives no gain for II: its amplitude is unknown, and 200 units "
            "a millivolt are assumed, as WFDB does.\n"
            "  try: write the gain into it"
        )


def test_bad_recordings_do_not_stop_the_others(tmp_path):
    line = "{0}.dat 16 {1} 16 0 0 0 0 {2}"
    for name, gain, lead in (
        ("good", "1000", "II"),
        ("nul", "1000", "II\0"),
        ("short", "1000", "II"),
        ("gone", "1000", "II"),
        ("large", "1/mV", "II"),
        ("pressure", "20/mmHg", "ABP"),
    ):
        write(tmp_path, name, [line.format(name, gain, lead)], dat=COUNTS * 2)
    (tmp_path / "short.dat").write_bytes(COUNTS[:900].astype("<i2").tobytes())
    (tmp_path / "gone.dat").unlink()
    beats = extract_beats(open_folder(tmp_path), cache_dir=None)
    assert beats.records.name.tolist() == ["good"]
    assert (beats.leads, beats.records.leads.tolist()) == (("II",), ["II"])
    told = dict(beats.excluded)
    assert "holds a NUL byte, in line 2" in told["nul"]
    assert f"{tmp_path / 'short.dat'} ends after 900 of 2500" in told["short"]
    assert f"{tmp_path / 'gone.dat'}, named by" in told["gone"]
    assert f"II reaches {np.abs(COUNTS * 2).max():,} mV" in told["large"]
    assert "has no ECG lead" in told["pressure"]
