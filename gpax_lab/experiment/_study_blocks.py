"""A study in blocks of keys: what one worker computes, and the folder in which results are kept block by block."""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpax_lab.core._environment import processor

PARTS = ("x", "y", "regret", "codes")
"""What a block holds, each with one row for every key."""

_PLAN, _FORMAT = "study.json", "gpax_lab study 1"

Computed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Block:
    """Some keys of one experiment on one objective.

    Attributes:
        index: its number, experiments first, then objectives, then keys.
        experiment: number of the experiment.
        objective: number of the objective.
        start: its first key.
        stop: the first key after it.
    """

    index: int
    experiment: int
    objective: int
    start: int
    stop: int

    @property
    def keys(self) -> slice:
        """Which keys."""
        return slice(self.start, self.stop)


def blocks(experiments: int, objectives: int, keys: int, size: int) -> list[Block]:
    """All blocks of a study, in order."""
    starts = range(0, keys, size)
    cases = [(e, o, start) for e in range(experiments) for o in range(objectives) for start in starts]
    return [Block(i, e, o, start, min(start + size, keys)) for i, (e, o, start) in enumerate(cases)]


# --- elsewhere ----------------------------------------------------------------------------------------------------


def packed(work: Callable[[np.ndarray], Computed]) -> bytes:
    """A function of the words of keys, for another process.

    Raises:
        ImportError: cloudpickle is missing.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise ImportError(
            "an executor needs cloudpickle, which writes experiments for other processes: pip install "
            '"gpax-lab[cluster]". Or give a folder, and start one process for each block: gpax-lab study.'
        ) from error
    return cloudpickle.dumps(work)


def on_worker(work: bytes, x64: bool, words: np.ndarray) -> tuple[Computed, str, float]:
    """What a block gives, in a process of its own; by what it was computed, and in how many seconds."""
    jax.config.update("jax_enable_x64", x64)
    started = time.perf_counter()
    return _unpacked(work)(words), computer(), time.perf_counter() - started


@lru_cache(maxsize=8)
def _unpacked(work: bytes) -> Callable[[np.ndarray], Computed]:
    """The function, the same one for all blocks of an experiment, so that it is compiled once in this process."""
    import cloudpickle

    return cloudpickle.loads(work)


def computer() -> str:
    """What the last digits of results depend on."""
    options = " ".join(sorted(os.environ.get("XLA_FLAGS", "").split()))
    kind = jax.devices()[0].device_kind
    return f"jax {jax.__version__}, {kind} {processor()}, XLA options {options or 'none'}"


def fingerprint(campaign: Callable[..., Any], truth: Callable[..., Any], domain: Any, point: Any) -> str:
    """Digest of what a campaign computes: its lowered programs, the numbers in them, and where points may lie.

    Equal in all processes with the same versions, wherever the functions came from.
    """
    digest = hashlib.sha256()
    for function, arguments in ((campaign, (domain, jax.random.key(0))), (truth, (point,))):
        digest.update(jax.jit(function).lower(*arguments).as_text().encode())
    for leaf in jax.tree.leaves(domain):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


# --- the folder ---------------------------------------------------------------------------------------------------


class Folder:
    """Results on disk, a file for each block, of which each is whole or not there.

    Args:
        path: made if it is not there.
        plan: names, keys and numbers of the study.

    Raises:
        ValueError: another study lives there.
    """

    def __init__(self, path: str | Path, plan: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        file, wanted = self.path / _PLAN, {"format": _FORMAT, **plan}
        if not file.exists():
            _replaced(file, lambda beside: beside.write_text(json.dumps(wanted), encoding="utf-8"))
        found = read_plan(self.path)
        differing = sorted(name for name in wanted if found.get(name) != wanted[name])
        if differing:
            raise ValueError(
                f"{self.path} holds another study: {', '.join(differing)} differ. Choose another folder, or give what "
                "that study was begun with."
            )

    def read(self, index: int, fingerprint: str | None = None) -> Computed | None:
        """A block's results; None if they are not there, or not whole.

        Raises:
            ValueError: another program computed them.
        """
        found = read_block(self.path, index)
        if found is None:
            return None
        if fingerprint is not None and str(found.pop("fingerprint")) != fingerprint:
            raise ValueError(
                f"block {index} in {self.path} was computed by another program: the experiment, the objective, the "
                "candidates or versions have changed since. Choose another folder, or delete the blocks that are to "
                "be computed again."
            )
        return found

    def write(self, index: int, results: Computed, fingerprint: str, by: str, seconds: float) -> None:
        """Keep a block's results."""
        about = {"fingerprint": np.asarray(fingerprint), "by": np.asarray(by), "seconds": np.asarray(seconds)}
        arrays: dict[str, Any] = results | about

        def save(beside: Path) -> None:
            with beside.open("wb") as file:
                np.savez(file, **arrays)

        _replaced(_file(self.path, index), save)


def read_plan(folder: Path) -> dict[str, Any]:
    """Names, keys and numbers of the study in a folder.

    Raises:
        ValueError: there is none, or one that this version does not read.
    """
    try:
        plan = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no study ({error}); study(..., folder=...) begins one.") from error
    if not isinstance(plan, dict) or plan.get("format") != _FORMAT:
        raise ValueError(f"{folder} holds a study in another format than {_FORMAT!r}; begin it anew.")
    return plan


def read_block(folder: Path, index: int) -> Computed | None:
    """All arrays of a block; None if it is not there or not whole."""
    try:
        with _file(folder, index).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in (*PARTS, "fingerprint", "by", "seconds")}
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError, EOFError):
        return None


def _file(folder: Path, index: int) -> Path:
    return folder / f"block-{index:06d}.npz"


def _replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside, and move there: several processes may do so at once."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
