"""MATLAB level-4 files, as PhysioNet writes them, without a library.

They hold one matrix behind a header of 24 bytes. wfdb takes eight times as long (most
of it for the `.hea`; experiments/reading) and needs a `.hea`, so the layout of CinC
2017 is read here: a `.mat` alone, or with a header of the one form that those
recordings have. The header is checked against the data: samples, first value, checksum.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num

from ecg_jax.errors import HeaderError, MissingFileError, TruncatedError

DEFAULT_RATE_HZ, DEFAULT_GAIN = 300.0, 1000.0
"""Of a `.mat` without `.hea`, as in CinC 2017: 300 Hz, 1000 units a millivolt."""

_MISSING = -32768
_MAT4_TYPES = {0: "f8", 10: "f4", 20: "i4", 30: "i2", 40: "u2", 50: "u1"}
_HEADER = re.compile(
    rb"[\w-]+ 1 ([1-9]\d*) ([1-9]\d*)\s+([\w-]+\.mat) 16\+24 ([1-9]\d*)/mV 16 0 "
    rb"(-?\d+) (-?\d+) 0 ECG\s*"
)
"""Rate, samples, file, gain, first value, checksum."""


def read_alone(path: Path) -> Float32[np.ndarray, "lead time"]:
    """Leads of a `.mat` that no header describes, in mV.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    return _millivolts(read_mat4(path), DEFAULT_GAIN)


def read_described(
    header: Path, content: bytes
) -> tuple[Float32[np.ndarray, "1 time"], float, Path] | None:
    """Signal in mV, sample rate in Hz, file; None where the header is of another form.

    Args:
        header: Path of the `.hea`.
        content: What it holds.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    found = _HEADER.fullmatch(content)
    if found is None:
        return None
    rate, num_samples, gain, first, checksum = map(int, found.group(1, 2, 4, 5, 6))
    file = header.with_name(found[3].decode())
    values = read_announced(file, 1, num_samples, header)
    if np.issubdtype(values.dtype, np.integer):
        if values[0, 0] != first:
            raise HeaderError(
                f"{header} announces {first} as the first sample, {file} has "
                f"{values[0, 0]}.\n"
                "  try: fetch both again"
            )
        check_sum(int(values.sum(dtype=np.int64)), checksum, header, file)
    return _millivolts(values, gain), float(rate), file


def read_announced(
    file: Path, num_signals: int, num_samples: int | None, header: Path
) -> Num[np.ndarray, "lead time"]:
    """Samples of a file that a header describes; None: it does not say how many.

    Raises:
        MissingFileError, TruncatedError, HeaderError: See the message.
    """
    values = read_mat4(file)
    told = ("signals", num_signals), ("samples", num_samples)
    for (what, announced), held in zip(told, values.shape, strict=True):
        if announced not in (None, held):
            raise HeaderError(
                f"{header} announces {announced} {what}, {file} holds {held}.\n"
                "  try: fetch both again"
            )
    return values


def check_sum(total: int, checksum: int, header: Path, file: Path) -> None:
    """Compare the sum of the samples with the one in the header, both modulo 2^16."""
    if (total - checksum) % 65536:
        raise HeaderError(
            f"{header} announces the checksum {checksum % 65536}, the samples of "
            f"{file} sum to {total % 65536}.\n"
            "  try: fetch both again"
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
            f"{path} is not there.\n  try: fetch it, or drop its line from RECORDS"
        ) from None
    if len(content) < 20:
        raise TruncatedError(
            f"{path} ends after {len(content)} bytes, inside its header.\n"
            "  try: fetch it again"
        )
    if content.startswith(b"MATLAB 5.0"):
        raise HeaderError(
            f"{path} is a MATLAB 5 file, not level 4.\n"
            "  try: scipy.io.savemat(..., format='4') with the samples as `val`"
        )
    kind, rows, columns, imaginary, name = np.frombuffer(content, "<i4", 5).tolist()
    if (
        kind not in _MAT4_TYPES
        or imaginary != 0
        or not (0 < rows <= 1024 and 0 < columns < 2**31 and 0 < name < 64)
    ):
        raise HeaderError(
            f"{path} is no level-4 .mat of real numbers (its header says "
            f"{kind}, {rows}, {columns}, {imaginary}, {name}).\n"
            "  try: fetch it again"
        )
    dtype = np.dtype(f"<{_MAT4_TYPES[kind]}")
    expected = 20 + name + rows * columns * dtype.itemsize
    if len(content) < expected:
        raise TruncatedError(
            f"{path} ends after {len(content)} of {expected} bytes.\n"
            "  try: fetch it again"
        )
    if len(content) > expected:
        raise HeaderError(
            f"{path} has {len(content)} bytes, its header announces {expected}.\n"
            "  try: fetch it again"
        )
    values = np.frombuffer(content, dtype, rows * columns, 20 + name)
    return values.reshape(columns, rows).T


def _millivolts(
    values: Num[np.ndarray, "lead time"], gain: float
) -> Float32[np.ndarray, "lead time"]:
    """`value / gain`; NaN where an integer says that there is no value."""
    signal = (values / gain).astype(np.float32)
    if np.issubdtype(values.dtype, np.integer):
        signal[values == _MISSING] = np.nan
    return signal
