"""WFDB headers: what the wfdb library makes of them, and what is wrong with them."""

import codecs
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecg_jax.errors import (
    HeaderError,
    MissingFileError,
    RecordingError,
    TruncatedError,
)

_BYTES = {"8": 1, "80": 1, "16": 2, "61": 2, "160": 2, "24": 3, "32": 4}
_BYTES |= {"212": 3 / 2, "310": 4 / 3, "311": 4 / 3}
"""Bytes a sample, of the formats without compression."""

_OTHER_FORMATS = {"0", "508", "516", "524"}
"""No signal, and FLAC."""


@dataclass(frozen=True)
class Header:
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

    @property
    def parts(self) -> Iterator["Header"]:
        """The headers of the segments that are no gap, or this one alone."""
        if not hasattr(self.record, "seg_name"):
            yield self
            return
        for name in self.record.seg_name:
            if name != "~":
                yield self.segment(name)

    def segment(self, name: str) -> "Header":
        """The header of a segment.

        Raises:
            MissingFileError, HeaderError: See the message.
        """
        try:
            header = read_header(self.path.with_name(f"{name}.hea"))
        except FileNotFoundError as error:
            raise missing(error, self.path) from None
        if hasattr(header.record, "seg_name"):
            raise HeaderError(
                f"{self.path} names {name} as a segment, which has segments itself.\n"
                "  try: name these"
            )
        return header


def read_header(path: Path) -> Header:
    """Read a `.hea`, and say what is wrong with it.

    Raises:
        HeaderError: See the message.
    """
    wfdb = library()
    from wfdb.io.header import (
        parse_header_content,
        rx_record,
        rx_segment,
        rx_signal,
    )

    lines, _ = parse_header_content(_text(path))
    start = rx_record.match(lines[0]) if lines else None
    if start is None:
        says = f"its first line is {lines[0][:60]!r}" if lines else "it has no line"
        raise HeaderError(f"{path} is no WFDB header: {says}.\n  try: fetch it again")
    kind, pattern = ("segment", rx_segment) if start["n_seg"] else ("signal", rx_signal)
    found = [(line, pattern.match(line)) for line in lines[1:]]
    for line, match in found:
        if match is None:
            raise HeaderError(
                f"{path}: {line[:60]!r} describes no {kind} that wfdb can read.\n"
                "  try: fetch it again, or name a file beside the header"
            )
    announced = int(start["n_seg"] or start["n_sig"])
    with refusing(path):
        rate = float(start["fs"] or 250)
        if not rate:
            raise HeaderError(
                f"{path} announces 0 samples a second.\n  try: write the rate into it"
            )
        if not announced:
            raise HeaderError(
                f"{path} announces no {kind}.\n  try: leave it out, or fetch it again"
            )
        if len(found) != announced:
            raise HeaderError(
                f"{path} announces {announced} {kind}s at {rate:g} Hz and describes "
                f"{len(found)}.\n"
                "  try: fetch it again"
            )
        record = wfdb.rdheader(str(path.with_suffix("")))
    if kind == "segment":
        if record.sig_len != (held := sum(record.seg_len)):
            raise HeaderError(
                f"{path} announces {record.sig_len or 'no number of'} samples, its "
                f"segments hold {held}.\n"
                "  try: fetch it again"
            )
        return Header(path, record, [], [])
    if unknown := set(record.fmt) - _OTHER_FORMATS - set(_BYTES):
        raise HeaderError(
            f"{path} has signals in format {min(unknown)}, which WFDB does not know.\n"
            "  try: fetch it again"
        )
    runs = [name for name, _ in itertools.groupby(record.file_name)]
    if len(runs) > len(set(runs)):
        raise HeaderError(
            f"{path} names {max(runs, key=runs.count)} again after another file; wfdb "
            "confuses the signals then.\n"
            "  try: sort the signals by file"
        )
    units = [match["units"] or "mV" for _, match in found if match]
    gains = [float(match["adc_gain"] or 0) for _, match in found if match]
    return Header(path, record, units, [gain == 0 for gain in gains])


def _text(path: Path) -> str:
    """The text of a header, in UTF-8 or else Latin-1."""
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise HeaderError(f"{path} is text in UTF-16.\n  try: save it as UTF-8")
    if b"\0" in content:
        line = content[: content.index(0)].count(b"\n") + 1
        raise HeaderError(
            f"{path} holds a NUL byte, in line {line}, which no text has.\n"
            "  try: fetch it again"
        )
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def library() -> Any:
    """The wfdb package, imported when a record needs it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb 4.3 warns on import with pandas 3.1
        import wfdb
    return wfdb


@contextmanager
def refusing(path: Path, header: Header | None = None) -> Iterator[None]:
    """Turn what wfdb raises into the package's own errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas, about how wfdb uses it
            yield
    except RecordingError:
        raise
    except FileNotFoundError as error:
        raise missing(error, path) from None
    except Exception as error:
        parts = () if header is None else header.parts
        for message in itertools.chain.from_iterable(map(_truncated, parts)):
            raise TruncatedError(message) from error
        raise HeaderError(
            f"{path}: wfdb cannot read it ({error}).\n"
            "  try: fetch it again, or write it with wfdb.wrsamp"
        ) from error


def missing(error: FileNotFoundError, path: Path) -> MissingFileError:
    """What is raised where a file that a header names is not there."""
    return MissingFileError(
        f"{error.filename}, named by {path}, is not there.\n"
        "  try: fetch it, or drop its line from RECORDS"
    )


def _truncated(header: Header) -> Iterator[str]:
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
            held = int(size / _BYTES[formats[0]])
            expected = record.sig_len * sum(frames)
            if held < expected:
                yield (
                    f"{file} ends after {held} of {expected} samples.\n"
                    "  try: fetch it again"
                )
