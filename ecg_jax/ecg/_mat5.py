"""MATLAB 5 files of CPSC 2018: 12 leads in mV at 500 Hz, without a header.

Source: Liu et al., *An Open Access Database for Evaluating the Algorithms of
Electrocardiogram Rhythm and Morphology Abnormality Detection*, Journal of Medical
Imaging and Health Informatics 8(7), 2018.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ecg_jax.errors import HeaderError

RATE_HZ = 500.0
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def is_mat5(path: Path) -> bool:
    """Whether a file begins as MATLAB 5 files do."""
    with path.open("rb") as file:
        return file.read(10) == b"MATLAB 5.0"


def read_cpsc(path: Path) -> Float32[np.ndarray, "lead time"]:
    """The field `data` of the structure `ECG`, a row for each of `LEADS`, in mV.

    Raises:
        HeaderError: It holds no such thing.
    """
    from scipy.io import loadmat

    try:
        found = np.asarray(loadmat(path)["ECG"]["data"][0, 0], np.float32)
        why = "" if found.ndim == 2 else "no matrix"
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        found, why = np.zeros((0, 0), np.float32), repr(error)
    if why or len(found) != len(LEADS):
        raise HeaderError(
            f"{path} is a MATLAB 5 file without 12 leads in ECG.data, as CPSC 2018 has "
            f"them ({why or f'{len(found)} rows'}).\n"
            "  try: scipy.io.savemat(..., format='4') with the samples as `val`"
        )
    return found
