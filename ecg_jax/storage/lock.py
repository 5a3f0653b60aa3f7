"""Locks on files and folders: who works there is alone, and a kill releases them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds the advisory lock of a file or a folder while the context lasts.

    The system releases it when the process ends, however it ends. A folder is locked
    itself: no file is made in it, so none has to be removed while others wait for it.
    (On a network file system that holds among the processes of one machine.) Where
    there are no such locks, nothing is held.

    Args:
      path: a folder, or a file, which is made if it is not there, and stays.
      wait: until whoever holds it lets go.

    Raises:
      BlockingIOError: somebody holds it, and `wait` is not set.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
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
        yield
    finally:
        os.close(descriptor)
