"""A plain socket to a simulated microscope, without a client in between."""

import contextlib
import socket

import pytest

AMPLE = 30.0  # s: for what comes at once, however busy the machine


class Raw:
    """A plain socket that reads with a deadline."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=AMPLE)
        self.buffer = b""

    def send(self, line):
        self.socket.sendall(line.encode() + b"\n")

    def ask(self, line):
        self.send(line)
        return self.line().decode().removesuffix("\n")

    def line(self):
        while b"\n" not in self.buffer:
            if not self.more():
                raise EOFError(self.buffer)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line + b"\n"

    def more(self):
        data = self.socket.recv(1 << 16)
        self.buffer += data
        return bool(data)

    def block(self, line):
        """The data of a block, whose header must be right."""
        self.send(line)
        while len(self.buffer) < 2 or len(self.buffer) < 2 + int(self.buffer[1:2]):
            assert self.more()
        head = 2 + int(self.buffer[1:2])
        n = int(self.buffer[2:head])
        while len(self.buffer) < head + n + 1:
            assert self.more()
        data, end, self.buffer = self.buffer[head : head + n], self.buffer[head + n : head + n + 1], b""
        assert end == b"\n"
        return data

    def rest(self):
        """Everything until the peer closes."""
        with contextlib.suppress(OSError):
            while self.more():
                pass
        data, self.buffer = self.buffer, b""
        return data

    def silence(self, seconds):
        self.socket.settimeout(seconds)
        with pytest.raises(TimeoutError):
            self.socket.recv(1)
        self.socket.settimeout(AMPLE)
