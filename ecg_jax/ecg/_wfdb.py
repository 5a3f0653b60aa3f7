"""Records through the wfdb library: the ECG leads in mV, and annotations.

The library reads. Added is what it leaves out: units with a micro sign, the rate of
signals with several samples a frame, checksums, and messages.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from ecg_jax.ecg import _mat4, _mat5
from ecg_jax.ecg._header import Header, library, read_header, refusing
from ecg_jax.ecg._leads import ALL, MILLIVOLTS, choose, missing
from ecg_jax.ecg._segments import check_segments
from ecg_jax.errors import HeaderError, MissingFileError, TruncatedError

_NOTE = re.compile(
    rb"\x00\x58(?:.[\xf0\xf4\xf8])*.\xfc## "
    rb"(time resolution: \d|annotation type|end of)?",
    re.DOTALL,
)
"""What an annotation file says of itself: a remark (22) of no duration, whose text (63)
begins with ##."""


@dataclass(frozen=True, eq=False)
class Signal:
    """The leads that were read of a record.

    Attributes:
        millivolts: NaN where a sample is missing.
        names: Of the leads.
        sample_rate_hz: Samples a second.
        file: That it is from.
        others: Names of the leads that were not read.
    """

    millivolts: Float32[np.ndarray, "lead time"]
    names: tuple[str, ...]
    sample_rate_hz: float
    file: Path
    others: tuple[str, ...] = ()


def read_signal(stem: Path, leads: Sequence[str] = ()) -> Signal:
    """Read the leads of a record.

    Args:
        stem: Path of the record, without a suffix.
        leads: See `choose`.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    path, file = _files(stem)
    if not path.is_file():
        if _mat5.is_mat5(file):
            every = Signal(_mat5.read_cpsc(file), _mat5.LEADS, _mat5.RATE_HZ, file)
            return _part(every, leads, file)
        signal = _mat4.read_alone(file)
        names = _unnamed(len(signal))
        return _part(Signal(signal, names, _mat4.DEFAULT_RATE_HZ, file), leads, file)
    if described := _mat4.read_described(path, path.read_bytes()):
        signal, rate, file = described
        return _part(Signal(signal, ("ECG",), rate, file), leads, path)
    header = read_header(path)
    first = next(header.parts, header)
    index = _choose(header, first, leads)
    if header is not first:
        check_segments(header, first, index)
    rate = header.record.fs * first.record.samps_per_frame[index[0]]
    signal = _in_millivolts(header, index)
    file = path if header is not first else path.with_name(header.record.file_name[0])
    every = choose(first.names, first.units, ALL)
    read, others = (
        tuple(first.names[k] for k in some)
        for some in (index, [k for k in every if k not in index])
    )
    return Signal(signal, read, float(rate), file, others)


def lead_names(stem: Path) -> tuple[str, ...]:
    """Names of all leads of a record, without reading its signals.

    Args:
        stem: Path of the record, without a suffix.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    path, file = _files(stem)
    if not path.is_file():
        is_cpsc = _mat5.is_mat5(file)
        return _mat5.LEADS if is_cpsc else _unnamed(len(_mat4.read_mat4(file)))
    header = read_header(path)
    first = next(header.parts, header)
    return tuple(first.names[k] for k in choose(first.names, first.units, ALL))


def _files(stem: Path) -> tuple[Path, Path]:
    """The header of a record, and the file that is read where there is none."""
    path, file = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("hea", "mat"))
    if not path.is_file() and not file.is_file():
        raise MissingFileError(
            f"Neither {path} nor {file.name} is there.\n"
            "  try: fetch it, or drop its line from RECORDS"
        )
    return path, file


def _unnamed(num: int) -> tuple[str, ...]:
    """Names of the rows of a file that has no header."""
    return ("ECG",) if num == 1 else tuple(f"ECG {k + 1}" for k in range(num))


def _part(every: Signal, leads: Sequence[str], path: Path) -> Signal:
    """Those leads that are asked for, of a signal of all; `path` names it in errors."""
    names = every.names
    index = _index(names, ["mV"] * len(names), leads, path)
    return replace(
        every,
        millivolts=every.millivolts[index],
        names=tuple(names[k] for k in index),
        others=tuple(name for k, name in enumerate(names) if k not in index),
    )


def _index(
    names: Sequence[str], units: Sequence[str], leads: Sequence[str], path: Path
) -> list[int]:
    """Which signals are asked for.

    Raises:
        HeaderError: One is not there, or two have one name.
    """
    index, every = choose(names, units, leads), choose(names, units, ALL)
    there = [names[k] for k in every]
    if not leads or tuple(leads) == ALL:
        return index
    if every and len(index) < len(leads):
        raise HeaderError(
            f"{path} has no lead {' or '.join(missing(there, leads))}; its leads are "
            f"{', '.join(there)}.\n"
            "  try: leave it out, or ask for leads that it has"
        )
    taken = [names[k] for k in index]
    if twice := [name for name in taken if there.count(name) > 1]:
        raise HeaderError(
            f"{path} calls {there.count(twice[0])} leads {twice[0]!r}.\n"
            "  try: give each a name of its own in the header, or ask for none, and "
            "one is read"
        )
    return index


def _choose(header: Header, first: Header, leads: Sequence[str]) -> list[int]:
    """Signals to read of a record, whose first segment names them.

    Raises:
        HeaderError: There is none, or they cannot be read together.
    """
    path, record = header.path, first.record
    if hasattr(record, "seg_name"):
        raise HeaderError(
            f"{path} names no segment.\n  try: leave it out, or fetch it again"
        )
    index = _index(first.names, first.units, leads, path)
    if not index:
        named = zip(first.names, first.units, strict=True)
        raise HeaderError(
            f"{path} has no ECG lead; its signals are "
            f"{', '.join(f'{name} ({unit})' for name, unit in named)}.\n"
            "  try: leave it out, or correct names and units in the header"
        )
    if header is first and set(record.file_name) == {"~"}:
        raise HeaderError(
            f"{path} only lists the signals of a record of several segments.\n"
            "  try: read that record, or leave this one out of RECORDS"
        )
    if header is first and record.sig_len == 0:
        raise HeaderError(
            f"{path} announces 0 samples.\n"
            "  try: leave the number out where it is unknown"
        )
    rates = [header.record.fs * record.samps_per_frame[k] for k in index]
    if len(set(rates)) > 1:
        told = zip([first.names[k] for k in index], rates, strict=True)
        raise HeaderError(
            f"{path}: the leads differ in rate: "
            f"{', '.join(f'{name} {rate:g} Hz' for name, rate in told)}.\n"
            f"  try: read one of them, leads=({first.names[index[0]]!r},)"
        )
    for name in (first.names[k] for k in index if first.uncalibrated[k]):
        warnings.warn(
            f"{first.path} gives no gain for {name}: its amplitude is unknown, and 200 "
            "units a millivolt are assumed, as WFDB does.\n"
            "  try: write the gain into it",
            stacklevel=2,
        )
    return index


def _in_millivolts(
    header: Header, index: list[int]
) -> Float32[np.ndarray, "lead time"]:
    """Signals of a record by wfdb, NaN where a segment of it is a gap or lacks one."""
    wfdb = library()
    files = getattr(header.record, "file_name", ())
    for name in {name for name in files if name.endswith(".mat")}:
        file, num = header.path.with_name(name), header.record.sig_len
        _mat4.read_announced(file, files.count(name), num, header.path)
    with refusing(header.path, header):
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


def _scale(record: Any, header: Header, index: list[int]) -> None:
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
                "segment of in a voltage.\n"
                "  try: correct the unit"
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
    wfdb = library()
    content = path.read_bytes()
    if not content:
        return np.zeros(0, np.int64), []
    notes = _NOTE.findall(content)
    kinds = {note[:3] for note in notes}
    if len(notes) > len(kinds) or b"" in kinds or len(kinds & {b"ann", b"end"}) == 1:
        raise HeaderError(
            f"{path} has notes on itself (##) that wfdb cannot take: unknown ones, or "
            "one of a kind twice.\n"
            "  try: write it again with wfdb.wrann"
        )
    with refusing(path):
        try:
            if len(content) % 2 or content[-2:] != b"\0\0":
                raise IndexError("no end mark")
            read = wfdb.rdann(str(path.with_suffix("")), path.suffix[1:])
        except IndexError:
            raise TruncatedError(
                f"{path} ends after {len(content)} bytes, before its end mark.\n"
                "  try: fetch it again"
            ) from None
    scale = sample_rate_hz / read.fs if read.fs else 1.0
    samples = np.rint(read.sample * scale).astype(np.int64)
    order = np.argsort(samples, kind="stable")
    symbols = [read.symbol[k] for k in order]  # NaN for a code without a meaning
    return samples[order], [s if isinstance(s, str) else "" for s in symbols]
