"""How every benchmark reports: one JSON object per result, and an exit status that says whether its claims held."""

import json
import os
import sys
from pathlib import Path


def reset_high_water():
    """Forget the largest resident set so far (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def high_water():
    """Bytes of the largest resident set since the last reset (Linux)."""
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


class Report:
    """Prints results and remembers the claims that failed."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def result(
        self, name: str, value: float, unit: str, reference: float | None = None, ratio: float | None = None
    ) -> None:
        """Print one result; `ratio` is reference / value unless given."""
        if ratio is None and reference is not None and value:
            ratio = reference / value
        line = {"name": name, "value": value, "unit": unit, "reference": reference, "ratio": ratio}
        print(json.dumps(line), flush=True)

    def claim(self, text: str, holds: bool) -> None:
        """A statement that this benchmark stands for."""
        if not holds:
            self.failed.append(text)

    def finish(self) -> None:
        """Exit with status 1 if a claim did not hold."""
        for text in self.failed:
            print(f"does not hold: {text}", file=sys.stderr)
        sys.exit(1 if self.failed else 0)


def pin_threads() -> None:
    """One BLAS thread, before anything imports it: a contended BLAS measures the machine and not the code."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
