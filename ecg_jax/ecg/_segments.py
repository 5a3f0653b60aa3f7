"""Segments of a record: what wfdb cannot join, or joins although it does not fit."""

from ecg_jax.ecg._header import Header
from ecg_jax.errors import HeaderError

_CURE = "  try: name a header first, of 0 samples, that lists the signals"


def check_segments(header: Header, first: Header, index: list[int]) -> None:
    """Refuse segments that cannot be joined.

    In a fixed layout they have the same signals in the same places. In a variable
    layout the first one is of length 0 and lists the signals, which the others hold by
    name, or not.

    Args:
        header: Of the record.
        first: Of its first segment.
        index: Signals of that one which are read.

    Raises:
        MissingFileError, HeaderError: See the message.
    """
    path, record = header.path, header.record
    fixed = record.layout == "fixed"
    segments = zip(record.seg_name, record.seg_len, strict=True)
    for number, (name, num_samples) in enumerate(segments, start=1):
        if name != "~":
            _check(header, first, index, header.segment(name), num_samples)
        elif fixed:
            raise HeaderError(
                f"{path}: segment {number} is a gap (~), and no segment lists the "
                f"signals; wfdb cannot read that.\n{_CURE}"
            )


def _check(
    header: Header, first: Header, index: list[int], own: Header, num_samples: int
) -> None:
    """Compare one segment with the record and with its first segment."""
    path, record = header.path, own.record
    if record.sig_len not in (None, num_samples):
        raise HeaderError(
            f"{path} announces {num_samples} samples of {own.path.stem}, {own.path} "
            f"{record.sig_len}.\n"
            "  try: correct the number, or fetch both again"
        )
    if record.fs != header.record.fs:
        raise HeaderError(
            f"{path} announces {header.record.fs:g} Hz, {own.path} {record.fs:g} Hz.\n"
            "  try: correct the rate, or fetch both again"
        )
    for k in index:
        name, place = first.names[k], k
        if header.record.layout == "variable":
            if (count := own.names.count(name)) > 1:
                raise HeaderError(
                    f"{own.path} has {count} signals {name}, which wfdb confuses in a "
                    "segment.\n"
                    "  try: give them different names, there and where they are listed"
                )
            if not count:
                continue
            place = own.names.index(name)
        elif own.names[k : k + 1] != [name]:
            held = f"is {own.names[k]}" if k < len(own.names) else "is not there"
            raise HeaderError(
                f"{path}: signal {k + 1} of {first.path.stem} is {name}, that of "
                f"{own.path.stem} {held}.\n{_CURE}"
            )
        frames = first.record.samps_per_frame[k], record.samps_per_frame[place]
        if frames[0] != frames[1]:
            raise HeaderError(
                f"{own.path} has {frames[1]} samples of {name} a frame, {first.path} "
                f"{frames[0]}.\n"
                "  try: correct the number, or fetch both again"
            )
