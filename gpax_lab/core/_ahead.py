"""Functions that will be called one after the other, compiled at the same time.

XLA compiles a function on one core, and Python waits for it. What a first fit and a first proposal call is known from
the shapes of the observations alone, so that all of it can be traced first, while threads compile what has been traced.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from gpax_lab.core import _compiler as compiler
from gpax_lab.core._inputs import traced


class Ahead:
    """Compiles functions in threads: `ahead(f, *args)` hands one in and returns the shapes of what it will return.

    As arguments it takes arrays, or their shapes as an earlier function returned them. Leaving the `with` block waits
    for all of it. A function that does not compile is left to its call, which says why.
    """

    def __enter__(self) -> "Ahead":
        self._pool = ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)))
        self._running: list[Future] = []
        return self

    def __call__(self, function: Any, *args: Any) -> Any:
        """Hand in a function.

        Args:
            function: made by `jax.jit`.
            *args: what it will be called with, by position; arrays or their shapes.

        Returns:
            The shapes of what it returns, in its structure.
        """
        found = function.trace(*args)
        if _first_time(function, args):
            self._running.append(self._pool.submit(found.lower().compile))
        return found.out_info

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                for one in self._running:
                    one.exception()
        finally:  # after Ctrl-C, here or before, nobody waits for what has not begun
            self._pool.shutdown(wait=False, cancel_futures=True)


def compile_ahead(programs: Callable[..., Any] | None, *args: Any) -> None:
    """Compile together what `programs(ahead, *args)` hands in, at its first use with arguments of these shapes.

    Nothing happens where an argument is traced: what is around it will be compiled as one.
    """
    if programs is None or traced(args) or not _first_time(programs, args):
        return
    # What goes wrong here goes wrong again when the functions are called, where the arguments are checked first. That
    # the library's own `programs` do not fail unseen is what `tests/core/test_ahead.py` calls them without this for.
    with contextlib.suppress(Exception), Ahead() as ahead:
        programs(ahead, *args)


def refuse_quietly(models: Iterable[Any], obs: Any) -> None:
    """Raise where a model refuses observations, so that nothing is compiled for them; its warnings wait for the fit."""
    compiler.warn_once()  # that one is said once in a process
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in models:
            model.check(obs)


_seen: set[int] = set()


def _first_time(function: Any, args: Any) -> bool:
    """Whether these shapes are new to a function. By hashes, so that nothing is kept alive; who is taken for another
    one is compiled when it is called."""
    leaves, structure = jax.tree.flatten((function, args))
    about = tuple(jax.typeof(leaf) if isinstance(leaf, jax.Array | np.ndarray) else leaf for leaf in leaves)
    try:
        key = hash((structure, about, jax.config.read("jax_enable_x64")))
    except TypeError:  # a part that does not hash is no argument of a compiled function either
        return False
    if key in _seen:
        return False
    _seen.add(key)
    return True
