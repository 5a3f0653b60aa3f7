"""File formats: WFDB headers, level-4 `.mat`, `.dat` and `.atr`.

The `.mat` files of PhysioNet hold one matrix behind a header of 24 bytes, so a reader
of our own needs neither scipy nor a `.hea` and is a hundred times faster. A header, if
there, is checked against the data: number of signals, samples, first value, checksum.
The formats of MIT-BIH are read here as well; wfdb reads all others.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Num

from ecg_jax.errors import HeaderError, MissingFileError, TruncatedError

DEFAULT_RATE_HZ, DEFAULT_GAIN = 300.0, 1000.0
"""Of a `.mat` without `.hea`, as in CinC 2017: 300 Hz, 1000 units a millivolt."""

_MAT4_TYPES = {0: "f8", 10: "f4", 20: "i4", 30: "i2", 40: "u2", 50: "u1"}
_INVALID = {"212": -2048, "16": -32768, "80": -128, "24": -(2**23), "32": -(2**31)}
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "\N{MICRO SIGN}v": 1e-3, "v": 1e3, "nv": 1e-6}


@dataclass(frozen=True)
class SignalLine:
    """One signal of a WFDB header: `value_mv = (sample - baseline) / gain`."""

    file: str
    format: str
    offset: int
    gain: float
    baseline: int
    first: int | None
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A WFDB header; `num_samples` is None where it does not say."""

    path: Path
    sample_rate_hz: float
    num_samples: int | None
    signals: tuple[SignalLine, ...]


def read_signal(
    stem: Path,
) -> tuple[Float32[np.ndarray, "lead time"], list[str], float, Path]:
    """Signal in mV, names of the leads, sample rate in Hz, and the file it is from.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    header_path = stem.with_name(stem.name + ".hea")
    mat_path = stem.with_name(stem.name + ".mat")
    if not header_path.is_file():
        values = read_mat4(mat_path)
        signal = _millivolts(values, DEFAULT_GAIN, 0, -32768)
        return signal, ["ECG"] * len(signal), DEFAULT_RATE_HZ, mat_path
    header = read_header(header_path)
    file = stem.parent / header.signals[0].file
    values = read_mat4(file) if file.suffix == ".mat" else _read_dat(stem, header)
    if len(values) != len(header.signals):
        raise HeaderError(
            f"{header_path} announces {len(header.signals)} signals, {file} holds "
            f"{len(values)}. Try: fetch both again."
        )
    if header.num_samples not in (None, values.shape[1]):
        raise HeaderError(
            f"{header_path} announces {header.num_samples} samples, {file} holds "
            f"{values.shape[1]}. Try: fetch both again."
        )
    for row, line in zip(values, header.signals, strict=True):
        _check(row, line, header_path, file)
    signal = np.concatenate(
        [
            _millivolts(
                row[None], line.gain, line.baseline, _INVALID.get(line.format, -32768)
            )
            for row, line in zip(values, header.signals, strict=True)
        ]
    )
    return signal, [s.name for s in header.signals], header.sample_rate_hz, file


def read_header(path: Path) -> Header:
    """Read a `.hea` of one segment (WFDB header(5)).

    Raises:
        HeaderError: It cannot be understood.
    """
    lines = [
        line.strip()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    try:
        record = lines[0].split()
        num_signals = int(record[1])
        rate = float(re.split(r"[/(]", record[2])[0]) if len(record) > 2 else 250.0
        num_samples = int(record[3]) if len(record) > 3 else None
        signals = tuple(_signal_line(line) for line in lines[1 : 1 + num_signals])
    except (IndexError, ValueError) as error:
        raise HeaderError(
            f"{path} is no WFDB header ({error}). Try: fetch it again."
        ) from error
    if "/" in record[0]:
        raise HeaderError(
            f"{path} is a record of several segments, which are not read. Try: join "
            "them with wfdb.rdrecord and wfdb.wrsamp."
        )
    if len(signals) != num_signals or not signals or rate <= 0:
        raise HeaderError(
            f"{path} announces {num_signals} signals at {rate:g} Hz and describes "
            f"{len(signals)}. Try: fetch it again."
        )
    return Header(path, rate, num_samples or None, signals)


def _signal_line(line: str) -> SignalLine:
    """Parse `A00001.mat 16+24 1000(0)/mV 16 0 -127 -29483 0 ECG`."""
    cells = line.split(maxsplit=8)
    found = re.fullmatch(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?", cells[1])
    if found is None:
        raise ValueError(f"format {cells[1]!r}")
    if found[2] not in (None, "1"):
        raise ValueError(f"{found[2]} samples a frame are not read")
    if "/" in cells[0] or "\\" in cells[0] or cells[0].startswith("."):
        raise ValueError(f"file name {cells[0]!r}")
    gain, baseline, unit = 0.0, None, "mv"
    if len(cells) > 2:
        spec = re.fullmatch(r"([-+.\deE]+)(?:\((-?\d+)\))?(?:/(\S+))?", cells[2])
        if spec is None:
            raise ValueError(f"gain {cells[2]!r}")
        gain = float(spec[1])
        baseline = None if spec[2] is None else int(spec[2])
        unit = (spec[3] or "mV").lower()
    if unit not in _MILLIVOLTS:
        raise ValueError(f"unit {unit!r} is no voltage")
    zero = int(cells[4]) if len(cells) > 4 else 0
    return SignalLine(
        file=cells[0],
        format=found[1],
        offset=int(found[4] or 0),
        gain=(gain or 200.0) / _MILLIVOLTS[unit],
        baseline=zero if baseline is None else baseline,
        first=int(cells[5]) if len(cells) > 5 else None,
        checksum=int(cells[6]) if len(cells) > 6 else None,
        name=cells[8] if len(cells) > 8 else "",
    )


def read_mat4(path: Path) -> Num[np.ndarray, "lead time"]:
    """The one matrix of a MATLAB level-4 file, samples as stored.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise MissingFileError(
            f"{path} is not there. Try: fetch it, or drop its line from RECORDS."
        ) from None
    if len(content) < 20:
        raise TruncatedError(
            f"{path} ends after {len(content)} bytes, inside its header. Try: fetch "
            "it again."
        )
    if content.startswith(b"MATLAB 5.0"):
        raise HeaderError(
            f"{path} is a MATLAB 5 file, not level 4. Try: scipy.io.savemat(..., "
            "format='4') with the samples as `val`."
        )
    kind, rows, columns, imaginary, name = np.frombuffer(content, "<i4", 5).tolist()
    if (
        kind not in _MAT4_TYPES
        or imaginary != 0
        or not (0 < rows <= 1024 and 0 < columns < 2**31 and 0 < name < 64)
    ):
        raise HeaderError(
            f"{path} is no level-4 .mat of real numbers (its header says "
            f"{kind}, {rows}, {columns}, {imaginary}, {name}). Try: fetch it again."
        )
    dtype = np.dtype(f"<{_MAT4_TYPES[kind]}")
    expected = 20 + name + rows * columns * dtype.itemsize
    if len(content) < expected:
        raise TruncatedError(
            f"{path} ends after {len(content)} of {expected} bytes. Try: fetch it "
            "again."
        )
    if len(content) > expected:
        raise HeaderError(
            f"{path} has {len(content)} bytes, its header announces {expected}. Try: "
            "fetch it again."
        )
    values = np.frombuffer(content, dtype, rows * columns, 20 + name)
    return values.reshape(columns, rows).T


def _read_dat(stem: Path, header: Header) -> Int[np.ndarray, "lead time"]:
    """Samples of a record; formats 16 and 212 here, any other through wfdb."""
    files = list(dict.fromkeys(line.file for line in header.signals))
    if not {line.format for line in header.signals} <= {"16", "212"}:
        return _read_with_wfdb(stem, header)
    rows: dict[int, np.ndarray] = {}
    for name in files:
        file = stem.parent / name
        mine = [k for k, line in enumerate(header.signals) if line.file == name]
        line = header.signals[mine[0]]
        try:
            content = np.fromfile(file, np.uint8)[line.offset :]
        except FileNotFoundError:
            raise MissingFileError(
                f"{file}, named by {header.path}, is not there. Try: fetch it, or "
                "drop its line from RECORDS."
            ) from None
        if line.format == "16":
            flat = content[: len(content) // 2 * 2].view("<i2")
        else:
            flat = _unpack212(content)
        if header.num_samples is not None:
            expected = len(mine) * header.num_samples
            if len(flat) < expected:
                raise TruncatedError(
                    f"{file} ends after {len(flat)} of {expected} samples. Try: "
                    "fetch it again."
                )
            if len(flat) > expected + 1:
                raise HeaderError(
                    f"{header.path} announces {expected} samples, {file} holds "
                    f"{len(flat)}. Try: fetch both again."
                )
        num = header.num_samples or len(flat) // len(mine)
        frames = flat[: num * len(mine)].reshape(num, len(mine))
        rows.update({k: frames[:, j] for j, k in enumerate(mine)})
    return np.stack([rows[k] for k in range(len(header.signals))])


def _unpack212(content: np.ndarray) -> Int[np.ndarray, " sample"]:
    """Two samples of 12 bits from every three bytes, the second's high bits first."""
    triples = np.append(content, np.zeros(-len(content) % 3, np.uint8))
    low, mid, high = triples.reshape(-1, 3).astype(np.int16).T
    flat = np.stack([low | (mid & 0x0F) << 8, high | (mid & 0xF0) << 4], 1).ravel()
    return ((flat[: len(content) * 2 // 3] ^ 0x800) - 0x800).astype(np.int16)


def _read_with_wfdb(stem: Path, header: Header) -> Int[np.ndarray, "lead time"]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb 4.3 warns on import with pandas 3.1
        import wfdb

        try:
            record: Any = wfdb.rdrecord(str(stem), physical=False)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"{error.filename}, named by {header.path}, is not there. Try: fetch "
                "it, or drop its line from RECORDS."
            ) from None
        except Exception as error:
            raise HeaderError(
                f"{header.path}: wfdb cannot read the record ({error}). Try: fetch it "
                "again."
            ) from error
    return np.asarray(record.d_signal).T


_SYMBOLS = dict(
    enumerate(
        'N L R a V F J A S E j / Q ~ ? | ? s T * D " = p B ^ t + u ? ! [ ] e n @ x f '
        "( ) r".split(),
        start=1,
    )
)
"""Symbols of the annotation codes 1 to 41 (WFDB ecgcodes.h); "?" is unused."""

_SKIP, _NUM, _SUB, _CHAN, _AUX = 59, 60, 61, 62, 63


def read_annotation(path: Path) -> tuple[Int[np.ndarray, " beat"], list[str]]:
    """Samples and symbols of an annotation file in MIT format (WFDB annot(5)).

    Words of 16 bits: a code in the upper 6, the time since the last annotation in the
    lower 10; longer times and remarks are in words of their own.

    Raises:
        TruncatedError: Its end mark is missing.
    """
    content = path.read_bytes()
    words = np.frombuffer(content, "<u2", len(content) // 2).tolist()
    samples, symbols = [], []
    time, k = 0, 0
    while k < len(words):
        code, value = words[k] >> 10, words[k] & 0x3FF
        k += 1
        if code == 0 and value == 0:
            return np.array(samples, np.int64), symbols
        if code == _SKIP and k + 1 < len(words):
            wait = words[k] << 16 | words[k + 1]
            time += wait - (1 << 32 if wait >= 1 << 31 else 0)
            k += 2
        elif code == _AUX:
            k += (value + 1) // 2
        elif code not in (_NUM, _SUB, _CHAN):
            time += value
            samples.append(time)
            symbols.append(_SYMBOLS.get(code, "?"))
    raise TruncatedError(
        f"{path} ends after {len(content)} bytes, before its end mark. Try: fetch it "
        "again."
    )


def _check(
    row: Num[np.ndarray, " time"], line: SignalLine, header: Path, file: Path
) -> None:
    """First value and checksum (the sum modulo 2^16) as the header gives them."""
    if not np.issubdtype(row.dtype, np.integer):
        return
    if line.first is not None and len(row) and int(row[0]) != line.first:
        raise HeaderError(
            f"{header} announces {line.first} as the first sample, {file} has "
            f"{int(row[0])}. Try: fetch both again."
        )
    if line.checksum is not None:
        total = int(row.sum(dtype=np.int64)) & 0xFFFF
        if total != line.checksum & 0xFFFF:
            raise HeaderError(
                f"{header} announces the checksum {line.checksum & 0xFFFF}, the "
                f"samples of {file} sum to {total}. Try: fetch both again."
            )


def _millivolts(
    values: Num[np.ndarray, "lead time"], gain: float, baseline: int, invalid: int
) -> Float32[np.ndarray, "lead time"]:
    """`(value - baseline) / gain`; the format's invalid sample becomes NaN."""
    signal = ((values.astype(np.float64) - baseline) / gain).astype(np.float32)
    if np.issubdtype(values.dtype, np.integer):
        signal[values == invalid] = np.nan
    return signal
