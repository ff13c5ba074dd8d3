"""What the command line sets before anything is computed, and the time that compiling takes."""

import logging
import os
import sys
from pathlib import Path

import jax

_COMPILING = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class Stopwatch:
    """Seconds that JAX has spent on lowering and compiling since it was started."""

    def __init__(self) -> None:
        self.seconds = 0.0
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event in _COMPILING:
            self.seconds += duration_secs


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again: XDG, Windows or macOS rule."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpax-lab" / "compiled"


def prepare() -> None:
    """Double precision, and compiled functions kept from one run to the next."""
    jax.config.update("jax_enable_x64", True)
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        # Reading them back, jaxlib before 0.12 prints a page of error for each where LLVM prefers no gathers, although
        # nothing is wrong. What does go wrong in XLA arrives as a Python exception.
        jax.config.update("jax_logging_level", "CRITICAL")
        logging.getLogger("jax").setLevel(logging.WARNING)
