"""Simulated instruments: processes of their own that speak a real wire protocol, and misbehave on command."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import IO, Any, TypeVar

__all__ = ["NanonisTwin", "Twin", "law_of", "start_nanonis", "start_pfm", "start_stem"]


class Twin:
    """A running simulated microscope; a context manager that ends it.

    `scpi_port` and `hislip_port` are its ports on 127.0.0.1, `address` and `hislip_address` the same as addresses for
    ``open_link``, `process` the process.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", stderr: IO[bytes], deadline_s: float) -> None:
        self.process, self._stderr = process, stderr
        try:
            ready = json.loads(self._first_line(deadline_s))
        except ValueError as error:
            self.stop()
            raise RuntimeError(f"the simulated microscope said something else than its ports: {error}") from error
        except BaseException:
            self.stop()
            raise
        self._take_ports(ready)

    def _take_ports(self, ready: dict[str, Any]) -> None:
        """Take the ports from the ready line."""
        self.scpi_port: int = ready["scpi"]
        self.hislip_port: int = ready["hislip"]

    @property
    def address(self) -> str:
        """Raw SCPI socket."""
        return f"tcp://127.0.0.1:{self.scpi_port}"

    @property
    def hislip_address(self) -> str:
        """VISA resource name of the HiSLIP port."""
        return f"TCPIP::127.0.0.1::hislip0,{self.hislip_port}::INSTR"

    def stop(self) -> None:
        """End the process: ask, then insist. May be called again."""
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        for insist in (self.process.terminate, self.process.kill):
            try:
                self.process.wait(3.0)
                break
            except subprocess.TimeoutExpired:
                insist()
        self.process.wait(3.0)
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._stderr.close()

    def __enter__(self) -> "Twin":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _first_line(self, deadline_s: float) -> bytes:
        """The ready line. A thread reads it: a pipe has no time-out on every platform."""
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert self.process.stdout is not None
        reader = threading.Thread(
            target=lambda out: lines.put(out.readline()), args=(self.process.stdout,), daemon=True
        )
        reader.start()
        try:
            line = lines.get(timeout=deadline_s)
        except queue.Empty:
            self.process.kill()
            reader.join(3.0)
            raise TimeoutError(f"the simulated microscope was not ready after {deadline_s} s") from None
        if not line:
            self.process.wait(3.0)
            self._stderr.seek(0)
            tail = self._stderr.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"the simulated microscope ended with status {self.process.returncode}:\n{tail}")
        return line


class NanonisTwin(Twin):
    """A running simulated Nanonis controller; a context manager that ends it.

    `ports` are the numbers of its ports on 127.0.0.1, `address` the first of them as an address for the driver,
    `process` the process.
    """

    def _take_ports(self, ready: dict[str, Any]) -> None:
        self.ports: list[int] = ready["ports"]

    @property
    def address(self) -> str:
        """The first port."""
        return f"tcp://127.0.0.1:{self.ports[0]}"


def start_pfm(deadline_s: float = 60.0, **options: Any) -> Twin:
    """Start a simulated piezoresponse force microscope in a process of its own, and wait until it serves.

    The process ends with the returned object, or with this process, however that ends, and not before.

    Args:
        deadline_s: seconds it may take to be ready.
        options: the command line of ``gpax_instruments.twins.pfm``, with underscores: port, hislip_port, seed, noise,
            drift, walk, dwell, law, cells, pace, band (1: images and band excitation), wire_log, max_seconds.

    Raises:
        RuntimeError: it ended instead, with what it wrote to its standard error.
        TimeoutError: it was not ready in time.

    Example:
        >>> with start_pfm(seed=3) as twin:
        ...     twin.address.startswith("tcp://127.0.0.1:")
        True
    """
    return _start("pfm", deadline_s, options, Twin)


def start_stem(deadline_s: float = 60.0, **options: Any) -> Twin:
    """Start a simulated scanning transmission electron microscope; as `start_pfm`.

    Args:
        deadline_s: seconds it may take to be ready.
        options: the command line of ``gpax_instruments.twins.stem``, with underscores: port, hislip_port, seed, drift,
            dwell, wire_log, max_seconds.

    Raises:
        RuntimeError: it ended instead, with what it wrote to its standard error.
        TimeoutError: it was not ready in time.
    """
    return _start("stem", deadline_s, options, Twin)


def start_nanonis(deadline_s: float = 60.0, **options: Any) -> NanonisTwin:
    """Start a simulated scanning tunnelling microscope with a Nanonis controller; as `start_pfm`.

    Args:
        deadline_s: seconds it may take to be ready.
        options: the command line of ``gpax_instruments.twins.nanonis``, with underscores: port, ports, release,
            refusals, seed, noise, dwell, pace, session, ledger, wire_log, max_seconds.

    Raises:
        RuntimeError: it ended instead, with what it wrote to its standard error.
        TimeoutError: it was not ready in time.
    """
    return _start("nanonis", deadline_s, options, NanonisTwin)


def law_of(word: str, seed: int) -> str:
    """The law of domain writing that a simulated microscope hides behind ``law=word`` and its seed.

    Args:
        word: name of a law, or "random" for one drawn by the seed.
        seed: of the simulated microscope.

    Raises:
        ValueError: no such law.
    """
    from gpax_instruments.twins._writer import law_of as hidden  # the microscope's physics; drivers need none of it

    return hidden(word, seed)


T = TypeVar("T", bound=Twin)


def _start(kind: str, deadline_s: float, options: dict[str, Any], made: type[T]) -> T:
    words = [sys.executable, "-m", f"gpax_instruments.twins.{kind}", "--stdin-guard", f"--owner={os.getpid()}"]
    words += [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if value is not None]
    # A group of its own: Ctrl-C in the terminal is for the owner, who still wants to make the instrument safe.
    alone: dict[str, Any] = {"process_group": 0}
    if sys.platform == "win32":
        alone = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by Twin.stop
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, **alone)
    return made(process, stderr, deadline_s)
