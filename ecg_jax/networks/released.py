"""Where released networks lie, and what a name stands for."""

import os
from pathlib import Path

from ecg_jax.errors import ModelError
from ecg_jax.storage.cache import cache_home
from ecg_jax.storage.manifest import MANIFEST

VARIABLE = "ECG_JAX_NETWORKS"
MADE_BY = "python experiments/networks/release.py --data-dir DIR --out FOLDER"


def networks_home() -> Path:
    """The folder of released networks: $ECG_JAX_NETWORKS, or one in the cache."""
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else cache_home() / "networks"


def known() -> list[str]:
    """The names of the networks that are there."""
    return sorted(path.parent.name for path in networks_home().glob(f"*/{MANIFEST}"))


def place(network: Path | str) -> Path:
    """The folder or file that a network's name or path stands for.

    A path comes first, but for a folder without a network; of the folder of a run it
    is the part `model`.

    Raises:
        ModelError: there is no such path, and no network of this name.
    """
    path = Path(network)
    inside = path / "model"
    if inside.is_dir():
        return inside
    if str(network) in known() and not (path / MANIFEST).exists():
        return networks_home() / path
    if path.exists():
        return path
    there = ", ".join(known()) or "none"
    raise ModelError(
        f"{network} is no path, and no network of this name is in {networks_home()}; "
        f"known names: {there}.\n"
        "  try: a name; a folder with a saved network, a run folder, or a file "
        f"model.onnx; or make those of the package: {MADE_BY}, then {VARIABLE}=FOLDER"
    )
