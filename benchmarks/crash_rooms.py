"""Processes that `crash.py` can stop, kill and replace, and that do tasks for it in between.

They are forked from one that has computed nothing: after its first computation JAX must not be forked any more, and to
import a simulated instrument computes. What they compile they share through a folder.
"""

import importlib
import os
import sys
import time
import traceback
from multiprocessing import get_context

PROCESSES = get_context("fork" if sys.platform == "linux" else "spawn")
POLL_S = 2.0  # between two looks at whether the benchmark is still there


def live(connection, owner, module, make, arguments):
    """The process: make the host, then have it do one task after the other."""
    host = getattr(importlib.import_module(module), make)(*arguments, connection.send)
    while True:
        while not connection.poll(POLL_S):
            if os.getppid() != owner:
                os._exit(1)
        name, *rest = connection.recv()
        try:
            answer = "answer", getattr(host, name)(*rest)
        except Exception as error:
            answer = "raised", "".join(traceback.format_exception(error))
        connection.send(answer)


class Room:
    """The benchmark's end of it.

    Args:
        module, make: what to call in the process with `arguments` and a function that says something to the benchmark;
            the methods of what it returns are the tasks.
    """

    def __init__(self, module, make, *arguments):
        self.connection, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=live, args=(theirs, os.getpid(), module, make, arguments), daemon=True)
        self.process.start()
        theirs.close()

    def tell(self, *task):
        """Give it a task, and do not wait."""
        self.connection.send(task)

    def hear(self, seconds):
        """What it says next, (kind, content); None after `seconds`, ("died", None) where it is no more."""
        try:
            return self.connection.recv() if self.connection.poll(max(0.0, seconds)) else None
        except (EOFError, OSError):
            return "died", None

    def ask(self, *task, seconds=120.0):
        """Have a task done.

        Raises:
            RuntimeError: it raised, with what, or died.
            TimeoutError: it took too long.
        """
        self.tell(*task)
        end = time.monotonic() + seconds
        while (said := self.hear(end - time.monotonic())) is not None:
            if said[0] == "answer":
                return said[1]
            if said[0] in ("raised", "died"):
                raise RuntimeError(f"{task[0]}: {said[1] or 'the process died'}")
        raise TimeoutError(f"{task[0]} took more than {seconds} s")

    def kill(self):
        """Kill -9; what it said before can still be heard."""
        self.process.kill()
        self.process.join()
