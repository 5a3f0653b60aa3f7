"""A run folder: one process at a time, continued on request, never overwritten."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ecg_jax.errors import (
    DiskFullError,
    EcgJaxError,
    RunError,
    RunExistsError,
    RunInUseError,
)
from ecg_jax.storage.files import plain, write_json
from ecg_jax.storage.lock import locked

CONFIG, METRICS, TIMING = "config.json", "metrics.json", "timing.json"
_LEFT_OVER = re.compile(r"\..+\.\d+\.(tmp|old|part)")


@contextmanager
def begin(
    config: Mapping[str, Any], out: Path, resume: bool, again: str = "--resume"
) -> Iterator[None]:
    """Makes a run folder, or clears away what a killed process left half-written.

    While the context lasts, nobody else can begin in the folder. If it ends with an
    error of this package before anything was made, such as data that cannot be used,
    the folder is left as it was found, free for the next attempt.

    Args:
      config: the configuration, as JSON has it.
      out: the run folder.
      resume: the run may have begun.
      again: what to try when the folder is free.

    Raises:
      RunInUseError: somebody else works in the folder; nothing has changed.
      RunExistsError: the folder holds a run and `resume` is not set, or other files.
      RunError: the run to resume has another configuration, or the folder cannot be
        made or written to.
      DiskFullError: no space is left.
    """
    made = not out.exists()
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out, wait=False))
            _check_free(config, out, resume)
            for path in out.rglob(".*"):
                if _left_over(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not (out / CONFIG).exists():
                write_json(out / CONFIG, config)
        except EcgJaxError:
            raise
        except FileExistsError as error:
            raise RunExistsError(
                f"{out} is a file, not a folder.\n  try: another --out"
            ) from error
        except BlockingIOError as error:
            raise RunInUseError(
                f"{out} is in use: another process is working in it.\n"
                "  why: two at once would overwrite each other's files\n"
                f"  try: another --out, or {again} when the other has ended"
            ) from error
        except OSError as error:
            raise RunError(
                f"{out} cannot be written to: {error.strerror}.\n  try: another --out"
            ) from error
        try:
            yield
        except DiskFullError:
            raise
        except EcgJaxError:
            _undo(out, made)
            raise


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


def shown_path(path: Path) -> str:
    """A path in a report, which may be shown to others: no place on this machine."""
    inside = not path.is_absolute() and ".." not in path.parts
    return str(path) if inside else path.name


def need_parts(folder: Path, *parts: str) -> None:
    """Raises `RunError` unless a run folder holds these files and folders."""
    for part in parts:
        if not (folder / part).exists():
            raise RunError(
                f"{folder} holds no finished run: {part} is missing.\n"
                "  try: ecg-jax run --out DIR, with --resume if it was interrupted"
            )


def read_json(path: Path) -> Any:
    """A JSON file of a run.

    Raises:
      RunError: it is missing, or no JSON.
    """
    need_parts(path.parent, path.name)
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}.\n  try: run again with another --out"
        ) from error


def _undo(out: Path, made: bool) -> None:
    """Takes back the beginning of a run that has no result yet."""
    if {path.name for path in out.iterdir()} <= {CONFIG, TIMING}:
        for name in (CONFIG, TIMING):
            (out / name).unlink(missing_ok=True)
        if made:
            out.rmdir()


def _check_free(config: Mapping[str, Any], out: Path, resume: bool) -> None:
    """Checks that a folder is free for a run, or holds this very run; see `begin`."""
    if not (out / CONFIG).exists():
        if any(not _left_over(path) for path in out.iterdir()):
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


def _left_over(path: Path) -> bool:
    """Whether a killed process left this behind while it wrote."""
    return _LEFT_OVER.fullmatch(path.name) is not None


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
