"""What a result was computed with: versions of packages, and the hardware."""

from importlib.metadata import PackageNotFoundError, version

import jax

PACKAGES = ("ecg_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "sleepecg")


def versions() -> dict[str, str]:
    """Versions of the packages that decide the result, and the hardware."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    device = jax.devices()[0]
    return {**found, "device": f"{len(jax.devices())} x {device.device_kind}"}
