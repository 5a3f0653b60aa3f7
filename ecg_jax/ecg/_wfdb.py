"""Records through the wfdb library: the ECG leads in mV, and annotations.

The library reads. Added is what it leaves out: units with a micro sign, the rate of
signals with several samples a frame, checksums, and messages.
"""

import codecs
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from ecg_jax.ecg import _mat4
from ecg_jax.ecg._leads import MILLIVOLTS, choose
from ecg_jax.errors import (
    HeaderError,
    MissingFileError,
    RecordingError,
    TruncatedError,
)

_BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "24": 3, "32": 4}
_BYTES |= {"212": 3 / 2, "310": 4 / 3, "311": 4 / 3}
"""Bytes a sample, of the formats without compression."""

_FLAC = ("508", "516", "524")


@dataclass(frozen=True)
class _Header:
    """A `.hea`: what wfdb makes of it, and what it does not keep.

    Attributes:
        path: Of the file.
        record: A `wfdb.Record`, or a `wfdb.MultiRecord` of several segments.
        units: Of the signals, empty where there are segments.
        uncalibrated: Which signals have no gain, or the gain 0.
    """

    path: Path
    record: Any
    units: list[str]
    uncalibrated: list[bool]

    @property
    def names(self) -> list[str]:
        """Of the signals; those without one are numbered."""
        named = enumerate(self.record.sig_name, start=1)
        return [name or f"signal {number}" for number, name in named]

    def segments(self) -> list["_Header"]:
        """The headers of the segments that are no gap, or this one alone."""
        if not hasattr(self.record, "seg_name"):
            return [self]
        return [self.segment(name) for name in self.record.seg_name if name != "~"]

    def segment(self, name: str) -> "_Header":
        """The header of a segment."""
        try:
            header = _read_header(self.path.with_name(f"{name}.hea"))
        except FileNotFoundError as error:
            raise _missing(error, self.path) from None
        if hasattr(header.record, "seg_name"):
            raise HeaderError(
                f"{self.path} names {name} as a segment, which has segments itself. "
                "Try: name these."
            )
        return header


def read_signal(
    stem: Path, leads: Sequence[str] | None
) -> tuple[Float32[np.ndarray, "lead time"], tuple[str, ...], float, Path]:
    """Signal in mV, names of the leads, sample rate in Hz, and the file it is from.

    A missing sample is NaN.

    Args:
        stem: Path of the record, without a suffix.
        leads: See `choose`.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    path = stem.with_name(f"{stem.name}.hea")
    if not path.is_file():
        file = stem.with_name(f"{stem.name}.mat")
        signal = _mat4.read_alone(file)
        signal = signal if leads is None else signal[:1]
        return signal, ("ECG",) * len(signal), _mat4.DEFAULT_RATE_HZ, file
    if described := _mat4.read_described(path, path.read_bytes()):
        signal, rate, file = described
        return signal, ("ECG",), rate, file
    header = _read_header(path)
    first = header.segments()[0]
    index = choose(first.names, first.units, leads)
    rate = _rate(header, first, index)
    signal = _in_millivolts(header, index)
    file = path if header is not first else path.with_name(header.record.file_name[0])
    return signal, tuple(first.names[k] for k in index), rate, file


def _read_header(path: Path) -> _Header:
    """Read a `.hea`, and say what is wrong with it.

    Raises:
        HeaderError: See the message.
    """
    wfdb = _library()
    from wfdb.io.header import (
        parse_header_content,
        rx_record,
        rx_segment,
        rx_signal,
    )

    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise HeaderError(f"{path} is text in UTF-16. Try: save it as UTF-8.")
    if b"\0" in content:
        line = content[: content.index(0)].count(b"\n") + 1
        raise HeaderError(
            f"{path} holds a NUL byte, in line {line}, which no text has. Try: fetch "
            "it again."
        )
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines, _ = parse_header_content(text)
    start = rx_record.match(lines[0]) if lines else None
    if start is None:
        says = f"its first line is {lines[0][:60]!r}" if lines else "it has no line"
        raise HeaderError(f"{path} is no WFDB header: {says}. Try: fetch it again.")
    kind, pattern = ("segment", rx_segment) if start["n_seg"] else ("signal", rx_signal)
    found = [(line, pattern.match(line)) for line in lines[1:]]
    for line, match in found:
        if match is None:
            raise HeaderError(
                f"{path}: {line[:60]!r} describes no {kind} that wfdb can read. Try: "
                "fetch it again, or name a file beside the header."
            )
    announced, rate = int(start["n_seg"] or start["n_sig"]), start["fs"] or "250"
    if len(found) != announced or not announced or not float(rate):
        raise HeaderError(
            f"{path} announces {announced} {kind}s at {rate} Hz and describes "
            f"{len(found)}. Try: fetch it again."
        )
    with _refusing(path):
        record = wfdb.rdheader(str(path.with_suffix("")))
    if kind == "segment":
        if record.sig_len != (held := sum(record.seg_len)):
            raise HeaderError(
                f"{path} announces {record.sig_len or 'no number of'} samples, its "
                f"segments hold {held}. Try: fetch it again."
            )
        return _Header(path, record, [], [])
    units = [match["units"] or "mV" for _, match in found if match]
    gains = [float(match["adc_gain"] or 0) for _, match in found if match]
    return _Header(path, record, units, [gain == 0 for gain in gains])


def _rate(header: _Header, first: _Header, index: list[int]) -> float:
    """Samples a second of the leads chosen.

    Raises:
        HeaderError: There are none, or none that wfdb can read together.
    """
    record = first.record
    if not index:
        named = zip(first.names, first.units, strict=True)
        raise HeaderError(
            f"{header.path} has no ECG lead; its signals are "
            f"{', '.join(f'{name} ({unit})' for name, unit in named)}. Try: leave it "
            "out, or correct names and units in the header."
        )
    if header is first and set(record.file_name) == {"~"}:
        raise HeaderError(
            f"{header.path} only lists the signals of a record of several segments. "
            "Try: read that record, or leave this one out of RECORDS."
        )
    if unknown := set(record.fmt) - {"0", *_BYTES, *_FLAC}:
        raise HeaderError(
            f"{first.path} has signals in format {min(unknown)}, which WFDB does not "
            "know. Try: fetch it again."
        )
    if record.sig_len == 0 and header is first:
        raise HeaderError(
            f"{header.path} announces 0 samples. Try: leave the number out where it is "
            "unknown."
        )
    runs = [name for name, _ in itertools.groupby(record.file_name)]
    if len(runs) > len(set(runs)):
        raise HeaderError(
            f"{first.path} names {max(runs, key=runs.count)} again after another file; "
            "wfdb confuses the signals then. Try: sort the signals by file."
        )
    rates = [header.record.fs * record.samps_per_frame[k] for k in index]
    if len(set(rates)) > 1:
        told = zip([first.names[k] for k in index], rates, strict=True)
        raise HeaderError(
            f"{header.path}: the leads differ in rate: "
            f"{', '.join(f'{name} {rate:g} Hz' for name, rate in told)}. Try: read one "
            f"of them, leads=({first.names[index[0]]!r},)."
        )
    for name in (first.names[k] for k in index if first.uncalibrated[k]):
        warnings.warn(
            f"{first.path} gives no gain for {name}: its amplitude is unknown, and 200 "
            "units a millivolt are assumed, as WFDB does. Try: write the gain into it.",
            stacklevel=2,
        )
    return float(rates[0])


def _in_millivolts(
    header: _Header, index: list[int]
) -> Float32[np.ndarray, "lead time"]:
    """Signals of a record by wfdb, gaps between its segments filled with NaN."""
    wfdb = _library()
    files = getattr(header.record, "file_name", ())
    for name in {name for name in files if name.endswith(".mat")}:
        file, num = header.path.with_name(name), header.record.sig_len
        _mat4.read_announced(file, files.count(name), num, header.path)
    with _refusing(header.path, header):
        record = wfdb.rdrecord(
            str(header.path.with_suffix("")),
            channels=index,
            smooth_frames=False,
            m2s=False,
        )
        if not hasattr(record, "seg_name"):
            _scale(record, header, index)
            return np.stack(record.e_p_signal).astype(np.float32)
        for name, segment in zip(record.seg_name, record.segments, strict=True):
            if segment is not None and segment.e_p_signal is not None:
                own = header.segment(name)
                if record.layout == "variable":
                    index = [own.record.sig_name.index(x) for x in segment.sig_name]
                _scale(segment, own, index)
        whole = record.multi_to_single(physical=True, expanded=True)
        return np.stack(whole.e_p_signal).astype(np.float32)


def _scale(record: Any, header: _Header, index: list[int]) -> None:
    """Check the sums of a record's signals, and turn them into mV.

    A checksum of 0 is what is written where nobody has computed one; a shifted signal
    (skew) no longer has its samples, and for format 8 wfdb cannot get them back.
    """
    if "8" not in record.fmt:
        for k, samples in enumerate(record.adc(expanded=True)):
            if record.checksum[k] and not record.skew[k]:
                file = header.path.with_name(record.file_name[k])
                _mat4.check_sum(
                    int(samples.sum()), record.checksum[k], header.path, file
                )
    for signal, k in zip(record.e_p_signal, index, strict=True):
        unit = header.units[k]
        if unit.casefold() not in MILLIVOLTS:
            raise HeaderError(
                f"{header.path} has {header.names[k]} in {unit}, the record it is a "
                "segment of in a voltage. Try: correct the unit."
            )
        signal *= MILLIVOLTS[unit.casefold()]


def read_annotation(
    path: Path, sample_rate_hz: float
) -> tuple[Int[np.ndarray, " annotation"], list[str]]:
    """Samples of the signal and symbols of an annotation file, in the order of time.

    Args:
        path: Of the file.
        sample_rate_hz: Of the signal. Times are counted at the rate that the file
            notes, else at that of the header; a frame may hold several samples.

    Raises:
        TruncatedError, HeaderError: See the message.
    """
    wfdb = _library()
    content = path.read_bytes()
    if not content:
        return np.zeros(0, np.int64), []
    notes = re.findall(rb"## (time resolution: \d|annotation type|end of)?", content)
    kinds = {note[:3] for note in notes}
    if len(notes) > len(kinds) or b"" in kinds or len(kinds & {b"ann", b"end"}) == 1:
        raise HeaderError(
            f"{path} has notes on itself (##) that wfdb cannot take: unknown ones, or "
            "one of a kind twice. Try: write it again with wfdb.wrann."
        )
    with _refusing(path):
        try:
            if len(content) % 2 or content[-2:] != b"\0\0":
                raise IndexError("no end mark")
            read = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
        except IndexError:
            raise TruncatedError(
                f"{path} ends after {len(content)} bytes, before its end mark. Try: "
                "fetch it again."
            ) from None
    scale = sample_rate_hz / read.fs if read.fs else 1.0
    samples = np.rint(read.sample * scale).astype(np.int64)
    order = np.argsort(samples, kind="stable")
    return samples[order], [read.symbol[k] for k in order]


def _library() -> Any:
    """The wfdb package, imported when a record needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb 4.3 warns on import with pandas 3.1
        import wfdb
    return wfdb


@contextmanager
def _refusing(path: Path, header: _Header | None = None) -> Iterator[None]:
    """Turn what wfdb raises into the package's own errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about how wfdb uses it
            yield
    except RecordingError:
        raise
    except FileNotFoundError as error:
        raise _missing(error, path) from None
    except Exception as error:
        parts = [] if header is None else header.segments()
        for message in itertools.chain.from_iterable(map(_truncated, parts)):
            raise TruncatedError(message) from error
        raise HeaderError(
            f"{path}: wfdb cannot read it ({error}). Try: fetch it again, or write it "
            "with wfdb.wrsamp."
        ) from error


def _missing(error: FileNotFoundError, path: Path) -> MissingFileError:
    return MissingFileError(
        f"{error.filename}, named by {path}, is not there. Try: fetch it, or drop its "
        "line from RECORDS."
    )


def _truncated(header: _Header) -> Iterator[str]:
    """What is said of each file that is shorter than its header announces."""
    record = header.record
    signals = zip(
        record.file_name,
        record.fmt,
        record.byte_offset,
        record.samps_per_frame,
        strict=True,
    )
    for name, group in itertools.groupby(signals, key=lambda signal: signal[0]):
        _, formats, offsets, frames = zip(*group, strict=True)
        file = header.path.with_name(name)
        if formats[0] in _BYTES and record.sig_len and file.is_file():
            size = file.stat().st_size - (offsets[0] or 0)
            held, expected = (
                int(size / _BYTES[formats[0]]),
                record.sig_len * sum(frames),
            )
            if held < expected:
                yield (
                    f"{file} ends after {held} of {expected} samples. Try: fetch it "
                    "again."
                )
