"""How far work is: calls with what is done, a bar on a terminal, lines in a pipe."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, Protocol, runtime_checkable

Progress = Callable[[int, int], None]
"""`progress(done, total)`: called while work goes on, `done` never going down."""

Shown = Progress | bool | None
"""A `Progress`; True for a bar; None for silence."""

TOTAL = 1000
EVERY_S = 10.0
"""So often a line says in a pipe how far a stage is."""


def silent(done: int, total: int) -> None:
    """Tells nobody."""


def parts(progress: Progress, *weights: int) -> list[Progress]:
    """For work in parts, one after the other: a `Progress` for each.

    Args:
      progress: of the whole, told in thousandths.
      *weights: how long each part takes, compared with the others.

    Example:
      >>> one, two = parts(lambda done, total: print(done, "of", total), 1, 3)
      >>> one(5, 10), two(5, 10), two(10, 10)
      125 of 1000
      625 of 1000
      1000 of 1000
      (None, None, None)
    """
    whole = sum(weights)

    def part(before: int, weight: int) -> Progress:
        def tell(done: int, total: int) -> None:
            share = (before + weight * done / max(total, 1)) / whole
            progress(int(TOTAL * share), TOTAL)

        return tell

    starts = accumulate(weights, initial=0)
    return [part(start, weight) for start, weight in zip(starts, weights, strict=False)]


@contextmanager
def told(progress: Shown, title: str) -> Iterator[Progress]:
    """The `Progress` that the argument of a verb stands for, up to its total.

    Args:
      progress: a callable; True for a bar on a terminal, lines elsewhere; else none.
      title: what the bar is of.
    """
    if not progress:
        yield silent
        return
    if progress is True:
        start = time.perf_counter()
        with Display() as display:
            yield display.begin(title)
            display.say(f"{title}: {time.perf_counter() - start:.1f} s")
        return
    most, call = 0, progress

    def tell(done: int, total: int) -> None:
        nonlocal most
        most = max(most, done)
        call(most, total)

    yield tell
    tell(TOTAL, TOTAL)


@runtime_checkable
class Stream(Protocol):
    """What lines are written to: a terminal, a pipe, text in memory."""

    def write(self, text: str, /) -> Any:
        """Takes text."""
        ...

    def flush(self) -> Any:
        """Shows what was written."""
        ...

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        ...


class Display:
    """Lines, and on a terminal a bar below them that moves as long as work goes on.

    Args:
      out: where to; standard output.
      quiet: show nothing at all.
    """

    def __init__(self, out: Stream | None = None, *, quiet: bool = False):
        self.out = sys.stdout if out is None else out
        self.quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> "Display":
        if not self.quiet and self.out.isatty():
            self._bar = _bar(self.out)
            self._bar.start()
            self._bar.add_task("", total=None, left="")
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def say(self, line: str) -> None:
        """Says a line, above the bar where there is one."""
        if self._bar is not None:
            plain = {"markup": False, "highlight": False, "soft_wrap": True}
            self._bar.console.print(line, **plain)
        elif not self.quiet:
            print(line, file=self.out, flush=True)

    def begin(self, title: str) -> Progress:
        """Names work that begins; to be told how far it is."""
        self.say(title)
        if self._bar is None:
            return self._lines()
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        bar = self._bar
        task = bar.add_task("", total=None, left="")

        def tell(done: int, total: int) -> None:
            left = "remaining" if total else ""
            bar.update(task, completed=done, total=total or None, left=left)

        return tell

    def _lines(self) -> Progress:
        said = time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal said
            if done < total and time.monotonic() - said > EVERY_S:
                said = time.monotonic()
                self.say(f"  {100 * done // total}%")

        return tell


def _bar(out: Any) -> Any:
    """A bar of rich, drawn ten times a second by a thread of its own."""
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TextColumn("elapsed"),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[left]}"),
        progress.TimeRemainingColumn(),
        console=Console(file=out, force_jupyter=False),
        redirect_stdout=out is sys.stdout,
        redirect_stderr=sys.stderr.isatty(),
        transient=True,
    )
