"""Data sets that are known: their titles, what to cite, and how a folder is one."""

import re
from collections.abc import Iterable
from pathlib import Path

MITDB_NAMES = frozenset(
    "100 101 102 103 104 105 106 107 108 109 111 112 113 114 115 116 117 118 119 121 "
    "122 123 124 200 201 202 203 205 207 208 209 210 212 213 214 215 217 219 220 221 "
    "222 223 228 230 231 232 233 234".split()
)
MITDB_PACED = frozenset({"102", "104", "107", "217"})

_GOLDBERGER = (
    "Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation "
    "101(23), 2000"
)
CHALLENGE_2017 = (
    "PhysioNet/CinC Challenge 2017",
    "Clifford et al., AF Classification from a Short Single Lead ECG Recording: the "
    f"PhysioNet/Computing in Cardiology Challenge 2017, CinC 44, 2017; {_GOLDBERGER}",
)
MITDB = (
    "MIT-BIH Arrhythmia Database",
    "Moody & Mark, The impact of the MIT-BIH Arrhythmia Database, IEEE Eng in Med and "
    f"Biol 20(3), 2001; {_GOLDBERGER}",
)
PTB_XL = (
    "PTB-XL",
    "Wagner et al., PTB-XL, a large publicly available electrocardiography dataset, "
    f"Scientific Data 7:154, 2020; {_GOLDBERGER}",
)
CPSC_2018 = (
    "CPSC 2018",
    "Liu et al., An Open Access Database for Evaluating the Algorithms of "
    "Electrocardiogram Rhythm and Morphology Abnormality Detection, J Med Imaging "
    "Health Inform 8(7), 2018",
)
LUDB = (
    "Lobachevsky University Electrocardiography Database",
    "Kalyakulina et al., LUDB: A New Open-Access Validation Tool for Electrocardiogram "
    f"Delineation Algorithms, IEEE Access 8, 2020; {_GOLDBERGER}",
)
CHALLENGE_2021_CITATION = (
    "Perez Alday et al., Classification of 12-lead ECGs: the PhysioNet/Computing in "
    "Cardiology Challenge 2020, Physiol Meas 41(12), 2020; Reyna et al., Will Two Do? "
    "Varying Dimensions in Electrocardiography: The PhysioNet/Computing in Cardiology "
    f"Challenge 2021, CinC 48, 2021; {_GOLDBERGER}"
)
"""Of parts of the data of both, by their `#Dx:` lines: a folder may hold any part."""


def known(
    root: Path, names: Iterable[str], stems: Iterable[str], source: str
) -> tuple[str, str]:
    """Title and citation of a folder; its name and "" where it is not known.

    Args:
        root: The folder.
        names: Of its recordings.
        stems: Their files without suffix, relative to `root`.
        source: Where labels come from; see `Labels.source`.
    """
    names, folder = set(names), root.resolve().name
    if source == "ptb-xl" or (root / "ptbxl_database.csv").is_file():
        return PTB_XL
    if source == "dx":
        return folder, CHALLENGE_2021_CITATION
    if source == "reference" and all(re.fullmatch(r"A\d{5}", name) for name in names):
        return CHALLENGE_2017
    if source == "reference" and all(re.fullmatch(r"A\d{4}", name) for name in names):
        return CPSC_2018
    if MITDB_NAMES.issuperset(names):
        return MITDB
    if all((root / f"{stem}.avr").is_file() for stem in stems):
        return LUDB
    return folder, ""
