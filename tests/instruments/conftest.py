"""Small servers that misbehave on purpose, and a stopwatch that also looks at CPU time."""

import contextlib
import gc
import socket
import threading
import time
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    """Twins, and tests beside this one, write compiled functions into a folder that all read.

    JAX writes them in place. Who comes upon one that is half written compiles it, and JAX warns.
    """
    half_written = pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache entry:UserWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(half_written)


class Server:
    """A line server on 127.0.0.1: `answer(connection, line)` is called for each line, False closes the connection."""

    def __init__(self, answer):
        self.answer, self.lines, self.received = answer, [], 0
        self._stop = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        with self._listener:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = self._listener.accept()
                    thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _talk(self, connection):
        connection.settimeout(0.05)
        buffer = b""
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stop.is_set():
                try:
                    got = connection.recv(65536)
                except TimeoutError:
                    continue
                if not got:
                    return
                self.received += len(got)
                buffer += got
                while b"\n" in buffer:
                    line, buffer = buffer.split(b"\n", 1)
                    self.lines.append(line.decode())
                    if self.answer(connection, line.decode()) is False:
                        return

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)


@pytest.fixture
def serve():
    """A factory of servers, all stopped at the end of the test."""
    servers = []

    def start(answer):
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def within():
    """`with within(s):` the block must end 5 s after s seconds, and must not have been busy waiting.

    What the tests wait for in vain comes never, or in half a minute: it is told from a machine that is busy otherwise.
    """

    @contextlib.contextmanager
    def watch(seconds):
        gc.disable()  # one collection of what all tests of a process have left takes 30 ms
        try:
            wall, cpu = time.monotonic(), time.process_time()
            yield
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        finally:
            gc.enable()
        assert wall <= seconds + 5.0, f"took {wall:.3f} s of {seconds} s"
        assert cpu <= max(0.1 * wall, 0.04), f"busy: {cpu:.3f} s of CPU in {wall:.3f} s"

    return watch
