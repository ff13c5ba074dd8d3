"""One campaign at a time at an instrument: a lock by its address, freed by the system when its process dies.

It reaches as far as the folder for temporary files does: all programs of this machine that share one. Programs on
other machines, those that are not of this toolkit, and an instrument that has two addresses (a raw socket and HiSLIP)
are not locked out. They are noticed only: the drivers read back what acts on the sample, and whose measurement was the
last one, before every act, and refuse what differs (`gpax_instruments.errors.Interference`).
"""

import contextlib
import hashlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from gpax_lab.storage import _files as files
from gpax_lab.storage import _lock as lock

_FOLDER = "gpax-lab-instruments"
_FLAGS = files.APPENDING | getattr(os, "O_NOFOLLOW", 0)
_TOLD = 4096  # bytes of the words about who holds it


class InstrumentInUse(Exception):
    """Another program of this machine drives the instrument."""


@contextlib.contextmanager
def claimed(address: str, who: str) -> Iterator[None]:
    """Hold the only lock of an instrument for as long as the block lasts.

    Args:
        address: ``tcp://host:port`` or a VISA resource name.
        who: what to tell others, for one the path of a journal.

    Raises:
        InstrumentInUse: another program, or another block of this one, holds it; the text says which.
        OSError: no lock can be taken in the folder for temporary files.
    """
    with contextlib.ExitStack() as held:
        for name in names(address):
            held.enter_context(_claimed(name, address, f"process {os.getpid()}, {who}"))
        yield


def names(address: str) -> tuple[str, ...]:
    """What an address means, in one spelling each: the host's name, and its numbers (it may have several).

    All of them are locked, in this order: a program that could not find the numbers out, and one that could, meet at
    the name.

    Args:
        address: ``tcp://host:port`` or a VISA resource name.

    Returns:
        Addresses in the same form; one where nobody knows the host, or there is none.
    """
    text = address.strip()
    with contextlib.suppress(ValueError):  # the link refuses it with better words
        parts = urlsplit(text)
        if "://" in text and parts.hostname:
            device = parts.path.rstrip("/").lower()  # one of many behind a server, as Tango's
            return tuple(f"{parts.scheme}://{host}:{parts.port}{device}" for host in _hosts(parts.hostname))
    if visa := _VISA.fullmatch(text):
        board, host, rest = visa["board"] or "0", visa["host"].strip("[]"), visa["rest"].upper()
        if socket_port := re.fullmatch(r"([0-9]+)::SOCKET", rest):  # the very socket that tcp:// means
            return tuple(f"tcp://{host}:{int(socket_port[1])}" for host in _hosts(host))
        return tuple(f"TCPIP{board}::{host}::{rest}" for host in _hosts(host))
    return (re.sub(r"^(GPIB|USB)(?=::)", r"\g<1>0", text.upper()),)


_VISA = re.compile(r"TCPIP(?P<board>[0-9]*)::(?P<host>\[[^]]*\]|[^:]+)::(?P<rest>.+)", re.IGNORECASE)


def _hosts(name: str) -> list[str]:
    plain = name.lower().rstrip(".")
    try:
        found = socket.getaddrinfo(plain, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # nobody knows the name, now
        return [plain]
    return sorted({plain, *(str(one[4][0]) for one in found)})  # all programs lock in this order


def _place(name: str) -> Path:
    folder = Path(tempfile.gettempdir()) / _FOLDER
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(0o777)  # an instrument is shared by all users of the machine
    return folder / f"{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:32]}.lock"


@contextlib.contextmanager
def _claimed(name: str, address: str, who: str) -> Iterator[None]:
    place = Path(_FOLDER)
    try:
        place = _place(name)
        descriptor = _taken(place)
    except OSError as error:
        at = error.filename or place
        text = f"no lock for {address} can be taken at {at} ({error.strerror}); mend the folder, or set TMPDIR"
        raise OSError(error.errno, text) from error
    if descriptor is None:
        raise InstrumentInUse(
            f"{address} is in use by {_told(place)}: stop that campaign, or wait for its end; two at one instrument "
            "spoil each other's sample."
        )
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, who.encode(errors="replace")[:_TOLD])  # folders may have names that are no text
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps what is open; whoever comes next locks it all the same
            place.unlink()
        os.close(descriptor)


def _taken(place: Path) -> int | None:
    """A descriptor of the file at `place`, locked; None where somebody else has the lock."""
    while True:
        descriptor = _opened(place)
        try:
            mine = lock.acquired(descriptor)
            if mine and _is_there(descriptor, place):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not mine:
            return None
        # Whoever had it removed the file between our opening and our lock: what we hold has no name any more.


def _opened(place: Path) -> int:
    """Without O_CREAT first: Linux refuses it for files of other users in folders that all may write."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(place, _FLAGS)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(place, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
            with contextlib.suppress(OSError):
                os.chmod(place, 0o666)  # whatever the umask: the next user may find what a killed program left
            return descriptor


def _is_there(descriptor: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(place, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _told(place: Path) -> str:
    with contextlib.suppress(OSError):
        if words := place.read_bytes()[:_TOLD].decode(errors="replace").strip():
            return words
    return "another program"
