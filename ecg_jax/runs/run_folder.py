"""A run folder: begun once, continued on request, never overwritten."""

import json
import re
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from ecg_jax.errors import DiskFullError, RunError, RunExistsError
from ecg_jax.storage.files import plain, write_json

CONFIG, METRICS = "config.json", "metrics.json"
PACKAGES = ("ecg_jax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "sleepecg")
_LEFT_OVER = re.compile(r"\..+\.\d+\.(tmp|old|part)")


def check_free(config: Mapping[str, Any], out: Path, resume: bool) -> None:
    """Checks that a folder is free for a run, or holds this very run.

    Args:
      config: the configuration, as JSON has it.
      out: the run folder; nothing is written.
      resume: the run may have begun.

    Raises:
      RunExistsError: the folder holds a run and `resume` is not set, or other files.
      RunError: the run to resume has another configuration.
    """
    if out.exists() and not out.is_dir():
        raise RunExistsError(f"{out} is a file, not a folder.\n  try: another --out")
    if not (out / CONFIG).exists():
        if out.exists() and any(not _left_over(path) for path in out.iterdir()):
            raise RunExistsError(
                f"{out} is not empty and holds no run.\n  try: another --out"
            )
        return
    if not resume:
        raise RunExistsError(
            f"{out} holds a run already.\n  try: another --out, or --resume to go on"
        )
    differ = differences(read_json(out / CONFIG), plain(config))
    if differ:
        raise RunError(
            f"{out} was started with another configuration:\n"
            + "".join(f"  {line}\n" for line in differ)
            + "  try: the options it was started with, or another --out"
        )


def begin(config: Mapping[str, Any], out: Path, resume: bool) -> None:
    """Makes a run folder, or clears away what a killed process left half-written.

    Raises:
      RunExistsError, RunError: see `check_free`.
      RunError: the folder cannot be made or written to.
      DiskFullError: no space is left.
    """
    check_free(config, out, resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in out.rglob(".*"):
            if _left_over(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not (out / CONFIG).exists():
            write_json(out / CONFIG, config)
    except DiskFullError:
        raise
    except OSError as error:
        raise RunError(
            f"{out} cannot be written to: {error.strerror}.\n  try: another --out"
        ) from error


def differences(old: Any, new: Any, name: str = "") -> list[str]:
    """What two configurations differ in, a line for each value."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted(set(old) | set(new))
        dot = f"{name}." if name else ""
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{dot}{key}")
        ]
    return [] if old == new else [f"{name}: {_short(old)} there, {_short(new)} here"]


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


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
      RunError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"{path.parent} holds no finished run: {path.name} is missing.\n"
            "  try: ecg-jax run --out DIR, with --resume if it was interrupted"
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}.\n  try: run again with another --out"
        ) from error


def _left_over(path: Path) -> bool:
    """Whether a killed process left this behind while it wrote."""
    return _LEFT_OVER.fullmatch(path.name) is not None


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
