import gc
import os
from pathlib import Path

# One thread for the BLAS that scikit-learn and scipy oracles use: the machine's cores are for XLA.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

import gpax_lab

CACHE = str(Path(os.environ.get("GPAX_LAB_CACHE", ".jax_cache")).absolute())
gpax_lab.setup(cache=CACHE, tell=False)
# Processes that tests start (twins, the command line, fits of their own) compile nothing twice either.
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": CACHE,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # silent on hits, see `gpax_lab.setup`
}
jax.config.update("jax_numpy_rank_promotion", "raise")

MAPS, MEMORY = Path("/proc/self/maps"), Path("/proc/self/statm")


@pytest.fixture(scope="module", autouse=True)
def few_executables():
    """Forget compiled functions before they are too many.

    Each maps several pieces of memory, Linux allows a process 65530, and beyond them LLVM dies of a segmentation fault.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def little_memory():
    """Forget compiled functions before they hold much. What is needed again is read back from the cache."""
    yield
    if MEMORY.exists() and resident() > max(1.4e9, after["forgetting"] + 0.5e9):
        jax.clear_caches()
        gc.collect()
        after["forgetting"] = resident()  # not all of it goes back to the system


after = {"forgetting": 0.0}


def resident():
    """Bytes of memory that this process holds (Linux)."""
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def compiled():
    """Names of the programs compiled, or read back from the cache, since the test cleared the list."""
    names = []

    def hear(event, duration, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about.get("fun_name"))

    jax.monitoring.register_event_duration_secs_listener(hear)
    yield names
    jax.monitoring.unregister_event_duration_listener(hear)


@pytest.fixture(scope="session")
def data_folder(request):
    folder = request.config.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return folder
