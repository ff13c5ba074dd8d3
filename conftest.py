import contextlib
import ctypes
import gc
import os
import platform
from pathlib import Path

# One thread for the BLAS that scikit-learn and scipy oracles use: the machine's cores are for XLA.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import pytest

import gpax_lab
from gpax_lab.core import _ahead as ahead

CACHE = str(Path(os.environ.get("GPAX_LAB_CACHE", ".jax_cache")).absolute())
gpax_lab.setup(cache=CACHE, verbose=False)
# Processes that tests start (twins, the command line, fits of their own) compile nothing twice either.
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": CACHE,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # silent on hits, see `gpax_lab.setup`
}
jax.config.update("jax_numpy_rank_promotion", "raise")

MAPS, MEMORY = Path("/proc/self/maps"), Path("/proc/self/statm")
LIBC = ctypes.CDLL("libc.so.6") if platform.libc_ver()[0] == "glibc" else None


def pytest_collection_finish():
    gc.freeze()  # modules and tests stay: no collection need look at them again
    gc.set_threshold(20_000, 20, 20)  # tracing makes many objects, and few cycles


@pytest.fixture(scope="module", autouse=True)
def few_executables():
    """Forget compiled functions before they are too many.

    Each maps several pieces of memory, Linux allows a process 65530, and beyond them LLVM dies of a segmentation fault.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > 40_000:
        forget()


@pytest.fixture(autouse=True)
def little_memory():
    """Give back what the allocator keeps, which is most: compiling leaves free blocks that it never returns by itself.

    Where that is not enough, compiled functions are forgotten, and read back from the cache if they are needed again.
    """
    yield
    if LIBC is None or resident() < size["next"]:
        return
    LIBC.malloc_trim(0)
    if resident() > 1.5e9:
        forget()
        LIBC.malloc_trim(0)
    size["next"] = max(1.2e9, resident() + 0.2e9)


size = {"next": 1.2e9}  # of memory, in bytes, at which to look again


def forget():
    jax.clear_caches()
    ahead._seen.clear()  # what was compiled ahead is gone, too
    gc.collect()


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


@pytest.fixture
def largest_file():
    """`with largest_file(nbytes):` no file of this process grows beyond that."""

    @contextlib.contextmanager
    def limited(nbytes):
        resource = pytest.importorskip("resource", reason="the limit of a file's size is one of POSIX")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture(scope="session")
def data_folder(request):
    folder = request.config.rootpath.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not on this machine")
    return folder
