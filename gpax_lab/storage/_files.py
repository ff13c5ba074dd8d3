"""The few calls to the operating system by which campaign files reach the disk."""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gpax_lab.storage._errors import DiskFull, JournalError, JournalFull, JournalMissing, JournalPlace

NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Error numbers of a full disk, a file that reached its limit, a quota that is used up."""

APPENDING = (
    os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
)
"""Flags of `os.open` for a file that is read and appended to, and that no child process inherits."""


def open_append(path: Path, *, create: bool) -> int:
    """A descriptor for appending; with `create` the file must not exist yet (FileExistsError)."""
    return os.open(path, APPENDING | (os.O_CREAT | os.O_EXCL if create else 0), 0o644)


def open_new(path: Path) -> int:
    """A descriptor for writing anywhere in a file that must not exist yet (FileExistsError)."""
    return os.open(path, (APPENDING & ~os.O_APPEND) | os.O_CREAT | os.O_EXCL, 0o644)


@contextlib.contextmanager
def in_words(path: str | Path) -> Iterator[None]:
    """Refusals of the system and names that it can not take, as errors of ours that name the file.

    Raises:
        JournalMissing: no such file or folder.
        JournalFull: no room.
        JournalPlace: any other refusal.
    """
    try:
        yield
    except (JournalError, FileExistsError):
        raise
    except FileNotFoundError as error:
        raise JournalMissing(error.errno, f"{path}: there is no such file or folder") from error
    except IsADirectoryError as error:
        raise JournalPlace(error.errno, f"{path} is a folder; name the file in it") from error
    except PermissionError as error:
        text = f"{path}: the system does not permit it; change the permissions of the file and its folder, or copy it"
        raise JournalPlace(error.errno, text) from error
    except OSError as error:
        if error.errno in NO_ROOM:
            text = f"{path}: no room ({error.strerror}); nothing of it was changed. Make room, and do this again"
            raise JournalFull(text) from error
        raise JournalPlace(error.errno, f"{path}: the system refuses this place ({error.strerror})") from error
    except ValueError as error:  # a NUL in the name
        raise JournalPlace(0, f"{str(path)!r} can not name a file ({error})") from error


def open_read(path: Path) -> BinaryIO:
    """A file open for reading; a folder, a pipe or a device is refused before it could block.

    Raises:
        JournalMissing, JournalPlace: as `in_words`.
    """
    with in_words(path):
        if stat.S_ISDIR(os.stat(path).st_mode):
            raise IsADirectoryError(21, "is a directory")
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise JournalPlace(0, f"{path} is no file but a pipe or a device; name a file")
        return path.open("rb")


def set_aside(path: Path, data: bytes, why: str) -> Path:
    """Keep bytes that are about to be cut from a file in another one beside it, durably; nothing there is replaced.

    Args:
        path: the file.
        data: the bytes.
        why: a line of words that goes before them.

    Returns:
        Where they are: the file's name with ".cut" behind it.

    Raises:
        OSError: the disk refused; the file ".cut" is as it was.
    """
    place = path.with_name(f"{path.name}.cut")
    before = place.stat().st_size if place.exists() else None
    descriptor = os.open(place, APPENDING | os.O_CREAT, 0o644)
    try:
        write_all(descriptor, f"{why}\n".encode() + data + b"\n")
        sync(descriptor)
    except BaseException:
        truncate(descriptor, before or 0)
        if before is None:
            with contextlib.suppress(OSError):  # Windows removes no open file; an empty one is in nobody's way
                place.unlink()
        raise
    finally:
        os.close(descriptor)
    sync_directory(place.parent)
    return place


def rescue(path: Path, descriptor: int, end: int, due: bytes) -> Path:
    """Copy what is left of an open file, and what was due, to another name, durably; nothing there is replaced.

    Args:
        path: the file; the new one is beside it, or in the system's folder for temporary files where that fails.
        descriptor: of the file, open for reading.
        end: bytes of it to copy; fewer where it ends sooner or can not be read.
        due: bytes to add.

    Returns:
        Where they are: the file's name with ".rescue" before its suffix.

    Raises:
        OSError: neither folder takes it.
    """
    error: OSError | None = None
    for folder in (path.parent, Path(tempfile.gettempdir())):
        for number in range(1, 1000):
            word = "" if number == 1 else f"-{number}"
            place = folder / f"{path.stem}.rescue{word}{path.suffix}"
            try:
                file = place.open("xb")
            except FileExistsError:
                continue
            except OSError as problem:
                error = problem
                break
            try:
                with file:
                    _copy(descriptor, end, file)
                    file.write(due)
                    file.flush()
                    sync(file.fileno())
                sync_directory(folder)
                return place
            except OSError as problem:
                error = problem
                place.unlink(missing_ok=True)
                break
    raise error or OSError(f"{path}: no name is left for a rescue file")


def _copy(descriptor: int, end: int, file: BinaryIO) -> None:
    """What can be read of the first bytes of an open file, a few megabytes at a time."""
    at = 0
    while at < end:
        try:
            part = read_back(descriptor, at, min(end, at + (1 << 24)))
        except OSError:  # the old part is out of reach; what is due is not
            return
        if not part:
            return
        file.write(part)
        at += len(part)


def write(descriptor: int, data: memoryview) -> int:
    """Hand bytes to the system; may take fewer than given."""
    return os.write(descriptor, data)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file that takes its place, at once and whole, when the block ends without an error.

    Whoever writes it makes it durable (`sync`) within the block; nothing is left behind where that fails.

    Raises:
        DiskFull: no room; what was there before is unchanged.
    """
    folder = path.resolve().parent
    temporary = folder / f".{path.name}.{os.getpid()}.partial"
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        os.replace(temporary, path)
        sync_directory(folder)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        text = f"{path}: no room to write it ({error.strerror}); what was there before is unchanged. Make room"
        raise DiskFull(error.errno, text) from error
    finally:
        temporary.unlink(missing_ok=True)


def truncate(descriptor: int, size: int) -> None:
    """Cut a file."""
    os.ftruncate(descriptor, size)


def read_back(descriptor: int, start: int, end: int) -> bytes:
    """Bytes of an open file; fewer where it ends sooner. Appending goes on at the end whatever was read."""
    os.lseek(descriptor, start, os.SEEK_SET)
    parts = []
    while start < end and (part := os.read(descriptor, min(end - start, 1 << 24))):
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def free_bytes(path: Path, size: int) -> int:
    """How many bytes a file of `size` bytes may still grow: the room on its disk, or the process's file-size limit."""
    free = shutil.disk_usage(path.resolve().parent).free
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY:
            free = min(free, max(0, limit - size))
    return free
