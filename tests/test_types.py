"""Annotations are checked while tests run: `--jaxtyping-packages` in pyproject."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from ecg_jax.cells.morphology import Morphology
from ecg_jax.draw.charts import calibration
from ecg_jax.statistics.baselines import fit_logistic, majority

LABELS = np.array([True, False, True])


@pytest.mark.parametrize(
    "features",
    [np.ones(3), np.ones((4, 2)), np.ones((3, 2), int), [[1.0, 2.0]] * 3],
    ids=["axes", "length", "dtype", "a list"],
)
def test_a_wrong_array_is_refused(features):
    with pytest.raises(TypeCheckError, match=r"is_normal|features"):
        fit_logistic(features, LABELS)


def test_a_wrong_field_is_refused():
    with pytest.raises(TypeCheckError, match="qrs_ms"):
        Morphology(qrs_ms="80")  # pyright: ignore[reportArgumentType]


def test_a_scalar_of_numpy_is_no_int():
    with pytest.raises(TypeCheckError, match="num"):
        majority(LABELS, np.int64(2))


def test_an_int_will_do_for_a_float():
    assert Morphology(qrs_ms=80).qrs_ms == 80


def test_what_cannot_be_imported_yet_goes_unchecked():
    """Figures are named in quotes: matplotlib is imported where it draws."""
    bins = np.linspace(0.0, 1.0, 3)
    assert calibration(bins, bins, np.arange(3)) is not None
