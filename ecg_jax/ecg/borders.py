"""Where somebody has marked the waves of a recording: LUDB's layout, a file a lead.

The annotation of a wave is an onset "(", a peak (p, N for the QRS, t) and an end ")";
a border may be missing.

Source: Kalyakulina et al., *LUDB: A New Open-Access Validation Tool for
Electrocardiogram Delineation Algorithms*, IEEE Access 8, 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecg_jax.ecg._wfdb import read_annotation
from ecg_jax.errors import MissingFileError

WAVES: dict[str, Literal["P", "QRS", "T"]] = {"p": "P", "N": "QRS", "t": "T"}


@dataclass(frozen=True)
class Wave:
    """A wave that is marked, in seconds from the start of the recording.

    Attributes:
        kind: "P", "QRS" or "T".
        onset_s: Where it begins; None where that is not marked.
        peak_s: Its peak.
        end_s: Where it ends; None where that is not marked.
    """

    kind: Literal["P", "QRS", "T"]
    onset_s: float | None
    peak_s: float
    end_s: float | None


def read_borders(
    stem: str | Path, lead: str, sample_rate_hz: float
) -> tuple[Wave, ...]:
    """The marked waves of one lead of a recording, in the order of their peaks.

    Args:
        stem: Path of the recording, without suffix.
        lead: Suffix of the lead's file, such as "ii"; case does not count.
        sample_rate_hz: Of the signal.

    Raises:
        MissingFileError: There is no such file.
        TruncatedError, HeaderError: It cannot be read.
    """
    path = Path(f"{stem}.{lead.lower()}")
    if not path.is_file():
        there = path.parent.glob(f"{path.stem}.*")
        suffixes = ", ".join(sorted(file.suffix[1:] for file in there)) or "none"
        raise MissingFileError(
            f"{path} is not there, with the borders of lead {lead}.\n"
            f"  try: one of the files that are: {suffixes}"
        )
    samples, symbols = read_annotation(path, sample_rate_hz)
    at = (samples / sample_rate_hz).tolist()
    found = []
    for k, symbol in enumerate(symbols):
        if symbol in WAVES:
            opened = k > 0 and symbols[k - 1] == "("
            closed = k + 1 < len(symbols) and symbols[k + 1] == ")"
            found.append(
                Wave(
                    WAVES[symbol],
                    at[k - 1] if opened else None,
                    at[k],
                    at[k + 1] if closed else None,
                )
            )
    return tuple(found)
