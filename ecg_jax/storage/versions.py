"""What a result was computed with: versions of packages, and the hardware."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

import jax

PACKAGES = ("ecg_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "sleepecg")


def versions() -> dict[str, str]:
    """Versions of the packages that decide the result, and the hardware."""
    device = jax.devices()[0]
    return {**_packages(), "device": f"{len(jax.devices())} x {device.device_kind}"}


@cache
def _packages() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
