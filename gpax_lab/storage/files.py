"""The few calls to the operating system by which campaign files reach the disk."""

import os
import shutil
import sys
from pathlib import Path

_BASE = (
    os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
)


def open_append(path: Path, *, create: bool) -> int:
    """A descriptor for appending; with `create` the file must not exist yet (FileExistsError)."""
    return os.open(path, _BASE | (os.O_CREAT | os.O_EXCL if create else 0), 0o644)


def write(descriptor: int, data: memoryview) -> int:
    """Hand bytes to the system; may take fewer than given."""
    return os.write(descriptor, data)


def write_all(descriptor: int, data: bytes) -> None:
    """Hand all bytes to the system: one call, and more only where the system takes fewer at a time."""
    view = memoryview(data)
    while view:
        view = view[write(descriptor, view) :]


def sync(descriptor: int) -> None:
    """Return when the bytes of a file are on its disk."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # plain fsync leaves them in the drive's cache: fsync(2) of macOS
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Return when the names in a folder are on its disk (Windows offers no such call and needs none)."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def truncate(descriptor: int, size: int) -> None:
    """Cut a file."""
    os.ftruncate(descriptor, size)


def free_bytes(path: Path, size: int) -> int:
    """How many bytes a file of `size` bytes may still grow: the room on its disk, or the process's file-size limit."""
    free = shutil.disk_usage(path.resolve().parent).free
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY:
            free = min(free, max(0, limit - size))
    return free
