"""Networks on disk: safetensors, a manifest with SHA-256, a model card. No pickle."""

import dataclasses
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from ecg_jax.ecg.cut import BeatConfig
from ecg_jax.errors import ModelError, RunExistsError
from ecg_jax.networks.card import ModelCard, card_text
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.example import FILE as EXAMPLE
from ecg_jax.networks.example import Example, example_of, read_example
from ecg_jax.networks.from_json import from_json
from ecg_jax.networks.models import (
    Margin,
    Variables,
    init_variables,
    margin_of,
    margins,
)
from ecg_jax.networks.models import cast as cast_variables
from ecg_jax.networks.released import place
from ecg_jax.storage.arrays import flatten, read_arrays, unflatten, write_arrays
from ecg_jax.storage.files import write_atomic
from ecg_jax.storage.manifest import (
    MANIFEST,
    Form,
    lacking,
    manifest,
    read_files,
    read_manifest,
)

FORM = Form(
    format="ecg_jax.network/1",
    noun="network",
    folder="a folder that save_network wrote, such as RUN/model",
    again="train the network again",
    error=ModelError,
)
VARIABLES = "variables.safetensors"
CARD = "README.md"


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        config: its shape.
        variables: its variables, nested dictionaries of arrays.
        card: what is known of it.
        example: a beat and the margin of it, where there is one.
    """

    config: NetworkConfig
    variables: Variables
    card: ModelCard = field(default_factory=ModelCard)
    example: Example | None = None

    @property
    def margin(self) -> Margin:
        """The pure function of one window `[lead, time]`; `>= 0` means normal."""
        return margin_of(self.config, self.variables)

    @property
    def contract(self) -> BeatConfig | None:
        """How recordings are cut and scaled for it: `ecg_jax.beats(..., contract=)`.

        None where it was trained on beats that somebody gave, or the card says nothing.
        """
        return self.card.contract

    @property
    def kind(self) -> str:
        """What sort of network it is, in a word."""
        return self.config.kind

    @property
    def window(self) -> tuple[int, int]:
        """Leads and samples of the windows that it takes."""
        return self.config.num_leads, self.config.num_samples

    def margins(
        self, windows: Float[np.ndarray, "beat lead time"]
    ) -> Float[np.ndarray, " beat"]:
        """The margins of many windows, as a NumPy array."""
        return margins(self.config, self.variables, windows)

    def cast(self, dtype: Any) -> "Network":
        """The same network in another floating dtype."""
        variables = cast_variables(self.variables, dtype)
        return dataclasses.replace(self, variables=variables)

    def exemplified(
        self,
        beat: Float[np.ndarray, "lead time"],
        unit_mv: Float[np.ndarray, " lead"],
        of: str,
    ) -> "Network":
        """The same network with a beat to check it by.

        Args:
            beat: as the network sees it.
            unit_mv: one unit of it in mV, each lead.
            of: which beat it is.
        """
        example = example_of(self.config, self.variables, beat, unit_mv, of)
        return dataclasses.replace(self, example=example)


def save_network(
    folder: Path | str, network: Network, *, replace: bool = False
) -> Path:
    """Write a network: variables, example, model card, manifest with SHA-256.

    The manifest is written last: a folder that has one is complete.

    Args:
        folder: where to; made if it is not there.
        network: what to save.
        replace: write over a network that is there.

    Returns:
        The folder.

    Raises:
        RunExistsError: the folder holds a network and `replace` is not set.
        DiskFullError: no space is left.
    """
    folder = Path(folder)
    if (folder / MANIFEST).exists() and not replace:
        raise RunExistsError(
            f"{folder} holds a network already.\n  try: another folder, or delete it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = flatten(network.variables)
    write_arrays(folder / VARIABLES, arrays, {"format": FORM.format})
    names, example = [VARIABLES], network.example
    if example is not None:
        names.append(EXAMPLE)
        write_arrays(folder / EXAMPLE, example.arrays(), {"of": example.of})
    count = sum(leaf.size for leaf in jax.tree.leaves(network.variables))
    text = card_text(network.card, network.config, count, example)
    write_atomic(folder / CARD, text.encode())
    listed = manifest(
        FORM,
        {name: (folder / name).read_bytes() for name in names},
        config=asdict(network.config),
        arrays={
            name: [str(array.dtype), list(array.shape)]
            for name, array in sorted(arrays.items())
        },
        card=asdict(network.card),
    )
    write_atomic(folder / MANIFEST, listed)
    return folder


def load_network(network: Path | str) -> Network:
    """Read a network back, checking SHA-256, shapes, and its example.

    Args:
        network: a folder that `save_network` wrote, or that of a run; or the name of a
            released network, in `$ECG_JAX_NETWORKS` or in the user's cache folder.

    Returns:
        The network, its variables as they were saved. `margin` is the pure function,
        for `ecg_jax.factor`; `contract` says how recordings are cut for it, for
        `ecg_jax.beats`; `example` is a beat and its margin, where there is one.

    Raises:
        ModelError: there is no such network; a part is missing, unreadable, or
            disagrees with the configuration; or the example has another margin.
        ChecksumError: a file is not the one that the manifest was written for.
    """
    folder = place(network)
    found, config, card = _described(folder)
    files = read_files(folder, found, FORM)
    if VARIABLES not in files:
        raise lacking(folder, FORM, KeyError(VARIABLES))
    arrays, _ = read_arrays(folder / VARIABLES)
    variables = unflatten(arrays, _shapes(config), folder / VARIABLES)
    example = None
    if EXAMPLE in files:
        example = read_example(folder / EXAMPLE, config, variables)
    return Network(config, variables, card, example)


def load_card(folder: Path) -> ModelCard:
    """What is known of a network that was saved; its variables are not read.

    Raises:
        ModelError: there is no network, or its manifest cannot be read.
    """
    return _described(folder)[2]


def _described(folder: Path) -> tuple[dict[str, Any], NetworkConfig, ModelCard]:
    """The manifest of a network; its shape and its card."""
    found = read_manifest(folder, FORM)
    try:
        config = from_json(NetworkConfig, found["config"])
        card = from_json(ModelCard, found["card"])
    except (KeyError, TypeError) as error:
        raise lacking(folder, FORM, error) from error
    except ModelError as error:
        raise ModelError(f"{folder / MANIFEST}: {error}") from error
    return found, config, card


def sha256_of(folder: Path) -> str:
    """The SHA-256 of the variables of a network, as its manifest says it."""
    return read_manifest(folder, FORM)["files"][VARIABLES]["sha256"]


@cache
def _shapes(config: NetworkConfig) -> dict[str, Any]:
    """The variables of a network, without values."""
    return jax.eval_shape(lambda key: init_variables(config, key), jax.random.key(0))
