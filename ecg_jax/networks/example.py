"""A beat and the margin of it, by which a network is checked when it is loaded."""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ecg_jax.errors import ModelError
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import Variables, cast, margin_of
from ecg_jax.storage.arrays import read_arrays

FILE = "example.safetensors"
TOLERANCE = 1e-9
"""How far a margin in float64 may be off, over 1 + its size: sums of some thousand
products of rounded numbers differ by 1e-12 between machines."""


@dataclass(frozen=True, eq=False)
class Example:
    """A beat and what a network says of it.

    Attributes:
        beat: as the network sees it.
        unit_mv: one unit of it in mV, each lead.
        margin: of the beat, computed in float64.
        of: which beat it is.
    """

    beat: Float[np.ndarray, "lead time"]
    unit_mv: Float[np.ndarray, " lead"]
    margin: float
    of: str = "not stated"

    @property
    def words(self) -> str:
        """The example in a line."""
        unit = ", ".join(f"{value:.3g}" for value in self.unit_mv)
        return (
            f"{self.of}, in units of {unit} mV, has the margin {self.margin:.6f}; "
            f"`{FILE}` holds it, and loading the network checks it"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """What is written of it."""
        return {
            "beat": np.ascontiguousarray(self.beat),
            "unit_mv": np.ascontiguousarray(self.unit_mv),
            "margin": np.array(self.margin, np.float64),
        }


def example_of(
    config: NetworkConfig,
    variables: Variables,
    beat: Float[np.ndarray, "lead time"],
    unit_mv: Float[np.ndarray, " lead"],
    of: str,
) -> Example:
    """The example that a beat is for a network."""
    return Example(beat, unit_mv, _margin(config, variables, beat), of)


def read_example(path: Path, config: NetworkConfig, variables: Variables) -> Example:
    """An example that was saved, checked against the network beside it.

    Raises:
        ModelError: a part is missing, or the network gives another margin.
    """
    arrays, metadata = read_arrays(path)
    if missing := {"beat", "unit_mv", "margin"} - set(arrays):
        raise ModelError(f"{path} lacks {', '.join(sorted(missing))}.")
    expected = float(arrays["margin"])
    found = _margin(config, variables, arrays["beat"])
    if not abs(found - expected) <= TOLERANCE * (1 + abs(expected)):
        raise ModelError(
            f"{path}: the network does not answer as it did when it was saved.\n"
            f"  margin of the example found:    {found!r}\n"
            f"  margin of the example expected: {expected!r}\n"
            "  try: the version of ecg_jax that its card names, or make it again"
        )
    of = metadata.get("of", "not stated")
    return Example(arrays["beat"], arrays["unit_mv"], expected, of)


def _margin(config: NetworkConfig, variables: Variables, beat: np.ndarray) -> float:
    """The margin of a beat in float64, which is the same on any hardware."""
    with jax.enable_x64(True):
        margin = margin_of(config, cast(variables, np.float64))
        return float(jax.jit(margin)(jnp.asarray(beat, np.float64)))
