"""What a continuation of a campaign depends on, bit for bit: versions, processor and compiler options."""

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import jax

from gpax_lab.core._environment import processor
from gpax_lab.experiment._record import JournalRecord


def versions() -> dict[str, str]:
    """Versions of everything that a bit-for-bit continuation depends on.

    Beside packages: the processor (digits that stand for what it can do), the number of its cores, by which sums are
    split, the device that computes, and XLA's options.
    """
    packages = ("gpax-lab", "jax", "jaxlib", "numpyro", "numpy", "optax")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: version(name) for name in packages},
        "processor": processor(),
        "cores": str(_cores()),
        "device": jax.devices()[0].device_kind,
        "xla options": " ".join(sorted(os.environ.get("XLA_FLAGS", "").split())),
    }


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def differences(entries: Iterable[JournalRecord], now: Mapping[str, str]) -> list[str]:
    """In what this program differs from those that wrote a journal, in words; what one does not tell is not judged.

    Args:
        entries: of the journal.
        now: `versions` here.
    """
    recorded = [entry.header["versions"] for entry in entries if entry.header.get("versions")]
    found = [
        f"{name} {then[name] or 'none'} -> {value or 'none'}"
        for then in recorded
        for name, value in now.items()
        if then.get(name, value) != value
    ]
    return list(dict.fromkeys(found))


def going_on_with(entries: Iterable[JournalRecord]) -> dict[str, Any]:
    """The header of a journal entry: `versions` here, and under "changed" in what they differ from those before."""
    here = versions()
    changed = differences(entries, here)
    return {"versions": here} | ({"changed": changed} if changed else {})


def withdrawal(found: Iterable[str]) -> str:
    """That a campaign does not go on bit for bit, and why; see `differences`."""
    return (
        f"It is not promised any more that this campaign goes on bit for bit: {', '.join(found)}. Last digits differ "
        "where another program, processor or compiler computes them, and points chosen later may follow from them."
    )
