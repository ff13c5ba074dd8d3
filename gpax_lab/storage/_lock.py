"""One program at a time: an advisory lock on an open file, released by the system when its process dies."""

import errno
import os
import sys

from gpax_lab.storage._errors import JournalError, JournalLocked

# Windows locks are mandatory: a locked byte cannot be read by others. So the byte lies far behind any journal's end.
_FAR = 2**60
_BUSY = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}


def _take(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def acquired(descriptor: int) -> bool:
    """Take the lock of an open file without waiting; False where another open file has it.

    Raises:
        OSError: the file system offers no locks.
    """
    try:
        _take(descriptor)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def acquire(descriptor: int, name: str) -> None:
    """Take the writer's lock of a journal without waiting.

    Args:
        descriptor: the open journal.
        name: how to call it in an error.

    Raises:
        JournalLocked: another process (or another open journal of this one) holds it.
        JournalError: the file system offers no locks.
    """
    try:
        mine = acquired(descriptor)
    except OSError as error:
        raise JournalError(f"{name}: this file system cannot lock a file ({error}); use a local disk") from error
    if not mine:
        raise JournalLocked(
            f"{name}: another process is writing this journal; stop it first, or read the journal without locking"
        )


def release(descriptor: int) -> None:
    """Give the lock back (closing the file or dying does so too)."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)
