"""Diagnoses in `#Dx:` lines of headers, as the 2020 and 2021 Challenges have them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from ecg_jax.errors import LabelError

SINUS_RHYTHM = "426783006"
SCORED: Mapping[str, str] = MappingProxyType(
    {
        "164889003": "AF",
        "164890007": "AFL",
        "6374002": "BBB",
        "426627000": "Brady",
        "733534002": "CLBBB",
        "713427006": "CRBBB",
        "270492004": "IAVB",
        "713426002": "IRBBB",
        "39732003": "LAD",
        "445118002": "LAnFB",
        "164909002": "LBBB",
        "251146004": "LQRSV",
        "698252002": "NSIVCB",
        SINUS_RHYTHM: "NSR",
        "284470004": "PAC",
        "10370003": "PR",
        "365413008": "PRWP",
        "427172004": "PVC",
        "164947007": "LPR",
        "111975006": "LQT",
        "164917005": "QAb",
        "47665007": "RAD",
        "59118001": "RBBB",
        "427393009": "SA",
        "426177001": "SB",
        "427084000": "STach",
        "63593006": "SVPB",
        "164934002": "TAb",
        "59931005": "TInv",
        "17338001": "VPB",
    }
)
"""Abbreviations of the classes that the Challenge 2021 scored, by SNOMED CT code."""

_LINE = re.compile(r"^#\s*Dx\s*:(.*)$", re.MULTILINE | re.IGNORECASE)


def label_of(codes: Sequence[str]) -> str:
    """One label for all codes of a recording.

    Sinus rhythm, which is normal, only where it is alone. Else the first of the codes
    that was scored; if none was, the first. A code without an abbreviation is its own
    name.

    Example:
        >>> label_of(["426783006"]), label_of(["426783006", "164934002"])
        ('NSR', 'TAb')
    """
    others = [code for code in codes if code != SINUS_RHYTHM] or list(codes)
    chosen = next((code for code in others if code in SCORED), others[0])
    return SCORED.get(chosen, chosen)


def label_in_header(path: Path) -> str | None:
    """The label of a header; None where it has no `#Dx:` line, or there is no header.

    Raises:
        LabelError: The line names no code.
    """
    if not path.is_file():
        return None
    found = _LINE.search(path.read_text("utf-8", errors="replace"))
    if found is None:
        return None
    if codes := [code.strip() for code in found[1].split(",") if code.strip()]:
        return label_of(codes)
    raise LabelError(
        f"{path}: the line #Dx: names no code.\n"
        f"  try: SNOMED CT codes with commas between, such as `#Dx: {SINUS_RHYTHM}`, "
        "or no such line"
    )
