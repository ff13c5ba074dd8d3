"""`setup()`: double precision, quick compilation, and compiled functions that are kept from one run to the next."""

import contextlib
import hashlib
import logging
import os
import platform
import re
import sys
import threading
import time
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import jax
import jaxlib

QUICK = {"xla_cpu_use_fusion_emitters": "false", "xla_backend_optimization_level": "1"}
"""Options with which XLA compiles the library's programs for a CPU in 0.6 of the time, to code of which some is slower:
a proposal among 1000 candidates by a fifth, the training of a deep kernel by a third, autoencoders and fits by nothing
(`benchmarks/RESULTS.md`, first answers). They pay for some 300 steps. On an accelerator the second one would hold, too,
so they are for CPUs alone."""

KNOWS_QUICK = ("0.9.2", "0.10.0")
"""Versions of jaxlib that have these options (one that does not know an option ends the process). With them the whole
differential test holds on 0.10.0; on 0.9.2 its core is what CI runs."""

_LOWERING = "/jax/core/compile/jaxpr_to_mlir_module_duration"
_COMPILING = "/jax/core/compile/backend_compile_duration"


def setup(*, cache: str | Path | bool = True, quick: bool = True, verbose: bool = True) -> None:
    """Make this process ready: call it once, after the imports and before anything is computed.

    It sets JAX to double precision, which processes need, and has it keep compiled functions in a folder of the user's,
    so that only the first run on a machine compiles. The folder belongs to one version of jaxlib and one kind of
    processor; it grows with what is compiled, and can be deleted at any time. A folder that was chosen before
    (`JAX_COMPILATION_CACHE_DIR`) is left. Messages of JAX below errors are silenced where there is a folder: reading it
    prints pages of them.

    Args:
        cache: folder for compiled functions in place of `cache_folder()`; False sets none.
        quick: on a CPU, whether XLA takes the options `QUICK`: an answer 3 s earlier, and steps up to a third slower;
            False for campaigns and studies of many hundred steps, and where all is compiled and kept anyway. They go
            into the environment variable `XLA_FLAGS`, from which processes started here inherit them (one with another
            jaxlib may refuse them: give it an environment without); what is set there already stays. They have no
            effect once JAX has computed something. Results of programs compiled with and without them differ in
            rounding.
        verbose: whether to say on the terminal that something is being compiled for the first time, and what.

    Example:
        >>> import gpax_lab
        >>> gpax_lab.setup()
    """
    jax.config.update("jax_enable_x64", True)
    if quick and jaxlib.__version__ in KNOWS_QUICK and not _accelerated():
        os.environ["XLA_FLAGS"] = with_quick(os.environ.get("XLA_FLAGS", ""))
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    if cache is not False and (cache is not True or chosen is None):
        chosen = str(cache_folder() if cache is True else cache)
        jax.config.update("jax_compilation_cache_dir", chosen)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if chosen is not None:
        # When it reads them back, jaxlib before 0.12 prints a page of error for each where LLVM prefers no gathers,
        # although nothing is wrong. What does go wrong in XLA arrives as a Python exception.
        jax.config.update("jax_logging_level", "CRITICAL")
        logging.getLogger("jax").setLevel(logging.WARNING)
    _teller.on = verbose
    _teller.listen()


def cache_folder() -> Path:
    """The folder in which `setup` keeps compiled functions, by the rule of XDG, Windows or macOS for what can be made
    again; of this version of jaxlib and this kind of processor."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpax-lab" / "compiled" / f"jaxlib-{jaxlib.__version__}-{platform.machine()}-{processor()}"


def processor() -> str:
    """Eight hexadecimal digits for what the processor can do: they differ where compiled code may not run."""
    return hashlib.sha256(_abilities().encode()).hexdigest()[:8]


def _abilities() -> str:
    """What the processor can do, in words."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.lower().startswith(("flags", "features"))), platform.processor())


def _accelerated() -> bool:
    """Whether JAX could compute elsewhere than on the CPU: a plugin is installed, and not ruled out."""
    found = entry_points(group="jax_plugins") or find_spec("jax_plugins") or find_spec("libtpu")
    return bool(found) and getattr(jax.config, "jax_platforms", None) != "cpu"


def with_quick(flags: str) -> str:
    """The value of `XLA_FLAGS` with the options `QUICK` that it does not set itself."""
    if flags.strip() and not flags.strip().startswith("--"):  # the name of a file of options
        return flags
    missing = [f"--{name}={value}" for name, value in QUICK.items() if not re.search(rf"--{name}(=|\s|$)", flags)]
    return " ".join([flags, *missing]).strip()


class Stopwatch:
    """Wall time in which JAX has been lowering and compiling since it was started."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in (_LOWERING, _COMPILING):
            now = time.perf_counter()
            self._spans.append((now - duration_secs, now))

    @property
    def seconds(self) -> float:
        """Seconds so far; what several threads compile at a time counts once."""
        total, end = 0.0, 0.0
        for begin, finish in sorted(self._spans):
            total += max(0.0, finish - max(begin, end))
            end = max(end, finish)
        return total


class _CompileNotice:
    """Says on the terminal that functions are compiled, for as long as it takes; elsewhere, once that they are."""

    def __init__(self) -> None:
        self.on = self.listening = self.said = False
        self.seconds = 0.0
        self.shown = 0
        self.lock, self.here = threading.Lock(), threading.local()

    def listen(self) -> None:
        if self.on and not self.listening:
            self.listening = True
            jax.monitoring.register_event_duration_secs_listener(self._hear)
            jax.monitoring.register_event_listener(self._hit)

    def _hear(self, event: str, duration_secs: float, **about: str | int) -> None:
        if self.on and event in (_LOWERING, _COMPILING) and sys.stderr is not None:
            with contextlib.suppress(Exception), self.lock:  # telling must not stop what is told of
                self._tell(event, duration_secs, str(about.get("fun_name", "")))

    def _hit(self, event: str, **_: str | int) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            self.here.hit = True

    def _tell(self, event: str, duration_secs: float, name: str) -> None:
        terminal = sys.stderr.isatty()
        if event == _COMPILING:
            if not getattr(self.here, "hit", False):
                self.seconds += duration_secs
            self.here.hit = False
            self._clear()
            if not terminal and not self.said and self.seconds > 2.0:
                self._say_once()
        elif terminal and duration_secs > 0.05:  # a function of some size, which is handed to the compiler now
            self._clear()
            name = name.removeprefix("jit(").removesuffix(")").lstrip("_")
            line = f"preparing {name} ({self.seconds:.0f} s spent on compiling, once for this machine)"
            print(line, end="", file=sys.stderr, flush=True)
            self.shown = len(line)

    def _say_once(self) -> None:
        self.said = True
        where = getattr(jax.config, "jax_compilation_cache_dir", None)
        kept = f"; kept for later runs in {where}" if where else ""
        print(f"gpax_lab: functions are being compiled for the first time{kept}", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self.shown:
            print("\r" + " " * self.shown + "\r", end="", file=sys.stderr, flush=True)
            self.shown = 0


_teller = _CompileNotice()
