"""Where what can be had again is kept: downloads, beats, compiled programs."""

import hashlib
import os
import platform
import sys
from pathlib import Path

SHORTEST_S = 0.05
"""Programs that compile faster are not kept: reading them would take as long."""


def cache_home() -> Path:
    """Folder for what can be had again: $ECG_JAX_CACHE, or one in the user's cache."""
    if chosen := os.environ.get("ECG_JAX_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ecg_jax"


def keep_compiled() -> None:
    """Let JAX keep what it compiles for the next process on such a processor.

    For commands, before JAX is imported; where it is already, nothing changes. What the
    environment says of JAX's own cache goes first.
    """
    if "jax" in sys.modules:
        return
    for name, value in {
        "JAX_COMPILATION_CACHE_DIR": cache_home() / "compiled" / _processor(),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": SHORTEST_S,
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": 0,
    }.items():
        os.environ.setdefault(name, str(value))


def _processor() -> str:
    """A name for the instructions that this processor knows.

    XLA compiles for those of the machine at hand, and JAX's keys do not hold them; a
    folder that a cluster shares serves its other machines too.
    """
    known = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            known = next(s for s in lines if s.lower().startswith(("flags", "feat")))
    except (OSError, StopIteration):
        pass  # no Linux, or one that does not say
    return hashlib.sha256(f"{platform.machine()} {known}".encode()).hexdigest()[:12]
