"""Who computes the blocks of a study: this process, or whatever an executor reaches."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from gpax_lab.experiment._study_blocks import Block, Computed, Folder, computer, on_worker, packed

_LOOK_S = 0.05
"""s between two looks at what is still being computed."""


@runtime_checkable
class Work(Protocol):
    """What a block of one experiment and objective is computed by."""

    def __call__(self, words: np.ndarray) -> Computed:
        """Results from the words of keys (K, w)."""

    def fingerprint(self) -> str:
        """Of all that it computes."""


def check_blocks(executor: Any, block: int | None, folder: Any, only: Sequence[int] | None, devices: Any) -> None:
    """Raise for arguments of `study` that do not go together."""
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(
            f"an executor has submit(function, *arguments); {type(executor).__name__} has not. Of Dask give "
            "client.get_executor()."
        )
    if block is not None and block < 1:
        raise ValueError(f"block is a number of keys, at least 1; got {block}.")
    if only is not None and (folder is None or executor is not None):
        raise ValueError("only=[...] computes some blocks here and keeps them: give a folder, and no executor.")
    if executor is not None and devices is not None:
        raise ValueError("an executor's processes use their own devices: give either devices or executor.")
    if (executor is not None or folder is not None) and jax.process_count() > 1:
        raise ValueError(
            "under jax.distributed all processes compute one study together: leave executor and folder out, or start "
            "the processes without it."
        )


def computed_blocks(
    cut: Sequence[Block],
    works: Sequence[Work],
    plan: Mapping[str, Any],
    executor: Any,
    folder: str | Path | None,
    only: Sequence[int] | None,
    callback: Callable[[str], None],
) -> dict[Block, Computed]:
    """All blocks that are there in the end.

    Raises:
        RuntimeError: some failed.
    """
    names = [f"{e} on {o}" for e in plan["experiments"] for o in plan["objectives"]]
    case = {block: block.experiment * len(plan["objectives"]) + block.objective for block in cut}
    if only is not None and not all(0 <= index < len(cut) for index in only):
        raise ValueError(f"this study has the blocks 0 to {len(cut) - 1}; only={list(only)} names others.")
    kept: Folder | None = None
    found: dict[Block, Computed] = {}
    prints: dict[int, str] = {}
    if folder is not None:
        kept = Folder(folder, plan)
        for block in cut:
            if only is None or block.index in only:
                prints[case[block]] = prints.get(case[block]) or works[case[block]].fingerprint()
            if (before := kept.read(block.index, prints.get(case[block]))) is not None:
                found[block] = before
    wanted = [block for block in cut if block not in found and (only is None or block.index in only)]
    words = np.asarray(plan["keys"], np.uint32)
    failed: dict[Block, Exception] = {}
    source = _here(wanted, works, case, words) if executor is None else _there(wanted, works, case, words, executor)
    for block, part, by, seconds in source:
        if isinstance(part, Exception):
            failed[block] = part
            continue
        found[block] = part | {"seconds": np.asarray(seconds)}
        if kept is not None:
            kept.write(block.index, part, prints[case[block]], by, seconds)
        share = f" (block {block.index + 1} of {len(cut)})" if len(cut) > len(works) else ""
        different = "" if by == computer() else f"; by {by}, where last digits may differ"
        callback(f"{names[case[block]]}: {block.stop - block.start} campaigns in {seconds:.1f} s{share}{different}")
    if failed:
        which = ", ".join(str(block.index) for block in failed)
        first = next(iter(failed.values()))
        where = "the others are kept; call study again to compute these" if kept else "give a folder to keep the others"
        raise RuntimeError(f"blocks {which} of {len(cut)} failed ({where}): {first!r}") from first
    return found


Answer = tuple[Block, Computed | Exception, str, float]


def _here(
    wanted: Sequence[Block], works: Sequence[Work], case: Mapping[Block, int], words: np.ndarray
) -> Iterator[Answer]:
    for block in wanted:
        started = time.perf_counter()
        part = works[case[block]](words[block.keys])
        yield block, part, computer(), time.perf_counter() - started


def _there(
    wanted: Sequence[Block], works: Sequence[Work], case: Mapping[Block, int], words: np.ndarray, executor: Any
) -> Iterator[Answer]:
    """Blocks as they come back, where futures tell that they are done, and else in order."""
    x64 = bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    ready = {number: packed(works[number]) for number in {case[block] for block in wanted}}
    started = time.perf_counter()
    waiting = {block: executor.submit(on_worker, ready[case[block]], x64, words[block.keys]) for block in wanted}
    while waiting:
        done = [block for block, future in waiting.items() if not hasattr(future, "done") or future.done()]
        if not done:
            time.sleep(_LOOK_S)
        for block in done:
            future = waiting.pop(block)
            try:
                part, by, seconds = future.result()
            except Exception as error:
                yield block, error, "", time.perf_counter() - started
            else:
                yield block, part, by, seconds
