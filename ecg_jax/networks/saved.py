"""Networks on disk: safetensors, a manifest with SHA-256, a model card. No pickle."""

import dataclasses
import hashlib
import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float

from ecg_jax.errors import ChecksumError, ModelError, RunExistsError
from ecg_jax.networks.config import NetworkConfig
from ecg_jax.networks.models import (
    Margin,
    Variables,
    init_variables,
    margin_of,
    margins,
)
from ecg_jax.networks.models import cast as cast_variables
from ecg_jax.storage.arrays import flatten, read_arrays, unflatten, write_arrays
from ecg_jax.storage.files import write_atomic

FORMAT = "ecg_jax.network/1"
VARIABLES = "variables.safetensors"
MANIFEST = "manifest.json"
CARD = "README.md"
Config = TypeVar("Config")


@dataclass(frozen=True)
class ModelCard:
    """What a reader must know of a network before using it.

    Attributes:
        title: its name.
        data: the recordings it was trained on.
        citation: how to cite them.
        split: how the recordings were split, with their numbers.
        input: configuration of the beats it sees (JSON).
        training: configuration of the training (JSON).
        quality: measured figures (JSON), with the recordings they hold for.
        notes: further remarks, a line each.
        versions: versions of the software.
    """

    title: str = "ECG network"
    data: str = "not stated"
    citation: str = "not stated"
    split: str = "not stated"
    input: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A trained network.

    Attributes:
        config: its shape.
        variables: its variables, nested dictionaries of arrays.
        card: what is known of it.
    """

    config: NetworkConfig
    variables: Variables
    card: ModelCard = ModelCard()

    @property
    def margin(self) -> Margin:
        """The pure function of one window `[lead, time]`; `>= 0` means normal."""
        return margin_of(self.config, self.variables)

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


def save_network(
    folder: Path | str, network: Network, *, replace: bool = False
) -> Path:
    """Write a network: variables, manifest with SHA-256, model card.

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
            f"{folder} holds a network already: choose another folder, or delete it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = flatten(network.variables)
    write_arrays(folder / VARIABLES, arrays, {"format": FORMAT})
    data = (folder / VARIABLES).read_bytes()
    manifest = {
        "format": FORMAT,
        "config": asdict(network.config),
        "files": {VARIABLES: {"sha256": _sha256(data), "bytes": len(data)}},
        "arrays": {
            name: [str(array.dtype), list(array.shape)]
            for name, array in sorted(arrays.items())
        },
        "card": asdict(network.card),
    }
    write_atomic(folder / CARD, card_text(network).encode())
    write_atomic(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return folder


def load_network(folder: Path | str) -> Network:
    """Read a network back, checking its SHA-256 and its shapes.

    Args:
        folder: what `save_network` wrote.

    Returns:
        The network, its variables as they were saved.

    Raises:
        ModelError: a part is missing, unreadable, or disagrees with the configuration.
        ChecksumError: the variables are not those that the manifest was written for.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder / MANIFEST)
    path = folder / VARIABLES
    try:
        config = from_json(NetworkConfig, manifest["config"])
        card = from_json(ModelCard, manifest["card"])
        expected = manifest["files"][VARIABLES]["sha256"]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{folder / MANIFEST} lacks {error}: save the network again"
        ) from error
    except ModelError as error:
        raise ModelError(f"{folder / MANIFEST}: {error}") from error
    if not path.exists():
        raise ModelError(f"{path} is missing: copy the whole folder of the network")
    found = _sha256(path.read_bytes())
    if found != expected:
        raise ChecksumError(
            f"{path} is damaged or was exchanged:\n"
            f"  SHA-256 found:    {found}\n"
            f"  SHA-256 expected: {expected}\n"
            "  try: copy the network again, or train it again"
        )
    arrays, _ = read_arrays(path)
    variables = unflatten(arrays, _shapes(config), path)
    return Network(config, variables, card)


def card_text(network: Network) -> str:
    """The model card as Markdown.

    Args:
        network: the network, with its card.

    Returns:
        The text of the card.
    """
    card, config = network.card, network.config
    count = sum(leaf.size for leaf in jax.tree.leaves(network.variables))
    lines = [
        f"# {card.title}",
        "",
        "**Research use only.** This network is not a medical device. Its answer is",
        "about a waveform, as labelled in the data below; it is no diagnosis.",
        "",
        f"- Input: one window [{config.num_leads} lead, {config.num_samples} samples]"
        f"{_leads(card)}",
        f"- Output: a margin (logit); `>= 0` means normal; {count:,} numbers in all",
        f"- Trained on: {card.data}",
        f"- Split: {card.split}",
        f"- Citation: {card.citation}",
        *(f"- {note}" for note in card.notes),
        "",
        "Labels belong to whole recordings and every beat inherits its recording's;",
        "a rhythm such as atrial fibrillation need not show in a single beat.",
        "",
    ]
    parts = {
        "Quality": card.quality,
        "Network": asdict(config),
        "Beats": card.input,
        "Training": card.training,
        "Versions": card.versions,
    }
    for title, part in parts.items():
        if part:
            block = json.dumps(part, indent=1)
            lines += [f"## {title}", "", "```json", block, "```", ""]
    lines += [
        "## Use",
        "",
        "```python",
        "from ecg_jax.networks.saved import load_network",
        'margin = load_network("this folder").margin   # [lead, time] -> scalar',
        "```",
        "",
    ]
    return "\n".join(lines)


def _leads(card: ModelCard) -> str:
    """The leads of the input, in their order, where they were asked for."""
    names = card.input.get("leads") or ()
    return f" of the leads {', '.join(names)}, in this order" if names else ""


def from_json(cls: type[Config], data: Mapping[str, Any]) -> Config:
    """A frozen dataclass from its JSON object; lists become tuples.

    Args:
        cls: the dataclass.
        data: the object; fields that are missing take their defaults.

    Returns:
        The dataclass.

    Raises:
        ModelError: a field is unknown, or a value is impossible.

    Example:
        >>> from_json(NetworkConfig, {"kind": "mlp", "widths": [8, 4]}).widths
        (8, 4)
    """
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise ModelError(
            f"{cls.__name__} has no field {', '.join(map(repr, unknown))}: the file is "
            "of another version of ecg_jax"
        )
    values = {}
    for name, value in data.items():
        is_tuple = typing.get_origin(hints[name]) is tuple
        values[name] = tuple(value) if is_tuple else value
    return cls(**values)


@cache
def _shapes(config: NetworkConfig) -> dict[str, Any]:
    """The variables of a network, without values."""
    return jax.eval_shape(lambda key: init_variables(config, key), jax.random.key(0))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.parent} holds no network ({path.name} is missing): name a folder "
            "that save_network wrote, such as RUN/model"
        ) from error
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}): copy the network again"
        ) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ModelError(
            f"{path} is of format {found!r}, this version of ecg_jax reads {FORMAT!r}"
        )
    return manifest
