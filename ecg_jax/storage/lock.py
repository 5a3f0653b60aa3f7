"""Locks on files and folders: who works there is alone, and a kill releases them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[int | None]:
    """Holds the advisory lock of a file or a folder while the context lasts.

    The system releases it when the process ends, however it ends. A folder is locked
    itself: no file is made in it, so none has to be removed while others wait for it.
    (On a network file system that holds among the processes of one machine.) Where
    there are no such locks, nothing is held.

    Args:
      path: a folder, or a file, which is made if it is not there, and stays.
      wait: until whoever holds it lets go.

    Yields:
      The descriptor of what is held; None where there are no locks.

    Raises:
      BlockingIOError: somebody holds it, and `wait` is not set.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield None
        return
    how = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, how, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
        yield descriptor
    finally:
        with suppress(OSError):  # a child that was forked meanwhile holds it too
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def locked_beside(path: Path) -> Iterator[None]:
    """Holds the lock of a path that is itself made, moved or removed meanwhile.

    It is that of a hidden file beside the path, which is there only while somebody
    holds it. Who waited for a file that is gone by then asks for the next.

    Args:
      path: a file or a folder, there or not, in a folder that is there.

    Raises:
      OSError: no file can be made beside the path.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with locked(lock) as descriptor:
            if descriptor is not None and not _names(lock, descriptor):
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return


def _names(path: Path, descriptor: int) -> bool:
    """Whether a path is still that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
