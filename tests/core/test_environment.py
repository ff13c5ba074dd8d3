"""`setup()` in processes of its own: what it sets, where it keeps compiled functions, and what it says."""

import os
import subprocess
import sys

import jax
import jaxlib
import pytest

from gpax_lab.core import _environment as environment

FIT = """
import jax, jax.numpy as jnp, gpax_lab
gpax_lab.setup({})
f = jax.jit(lambda x: jnp.linalg.cholesky(jnp.exp(-(x[:, None] - x[None]) ** 2) + jnp.eye(20)).sum())
print(f(jnp.linspace(0.0, 1.0, 20)).tobytes().hex())
"""


def in_a_process(code, home, **more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "GPAX_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | {"XDG_CACHE_HOME": str(home)} | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep their caches elsewhere")
def test_a_second_process_reads_back_what_the_first_compiled_in_silence(tmp_path):
    first, _ = in_a_process(FIT.format(""), tmp_path)
    folder = next((tmp_path / "gpax-lab" / "compiled").iterdir())
    assert jaxlib.__version__ in folder.name
    kept = sorted(folder.glob("*-cache"))
    assert kept
    second, said = in_a_process(FIT.format(""), tmp_path)
    assert (second, said) == (first, "")
    assert sorted(folder.glob("*-cache")) == kept


def test_importing_sets_nothing(tmp_path):
    code = (
        "import os, jax; before = dict(os.environ); import gpax_lab; assert dict(os.environ) == before;"
        "assert not jax.config.jax_enable_x64; assert jax.config.jax_compilation_cache_dir is None"
    )
    in_a_process(code, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_chosen_before_is_left(tmp_path):
    chosen = tmp_path / "chosen"
    in_a_process(FIT.format(""), tmp_path / "home", JAX_COMPILATION_CACHE_DIR=str(chosen))
    assert not (tmp_path / "home").exists()
    in_a_process(FIT.format("cache=False"), tmp_path / "home")
    assert not (tmp_path / "home").exists()
    in_a_process(FIT.format(f"cache={str(tmp_path / 'mine')!r}"), tmp_path / "home")
    assert list((tmp_path / "mine").glob("*-cache"))


def test_options_of_the_compiler_that_are_set_stay():
    mine = "--xla_backend_optimization_level=3 --xla_dump_to=there"
    assert environment.with_quick(mine) == f"{mine} --xla_cpu_use_fusion_emitters=false"
    assert environment.with_quick(environment.with_quick("")) == environment.with_quick("")
    assert "emitters=false" not in environment.with_quick("--xla_cpu_use_fusion_emitters")
    assert environment.with_quick("options.txt") == "options.txt"


def test_it_says_once_that_something_is_compiled(tmp_path):
    code = (
        "import jax, gpax_lab; from gpax_lab.core._environment import _teller; gpax_lab.setup();"
        "[_teller._hear('/jax/core/compile/backend_compile_duration', 1.5, fun_name='jit(f)') for _ in range(4)]"
    )
    _, said = in_a_process(code, tmp_path)
    assert said.count("compiled for the first time") == 1
    assert str(tmp_path) in said
    _, said = in_a_process(code.replace("setup()", "setup(verbose=False)"), tmp_path)
    assert said == ""


def test_a_terminal_is_told_what_is_being_compiled(monkeypatch, capsys):
    teller = environment._CompileNotice()
    teller.on = True
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    teller._hear("/jax/core/compile/jaxpr_to_mlir_module_duration", 0.2, fun_name="jit(_fit)")
    assert "preparing fit" in capsys.readouterr().err
    teller._hear("/jax/core/compile/backend_compile_duration", 3.0, fun_name="jit(_fit)")
    assert capsys.readouterr().err.strip(" \r") == ""


def test_the_folder_follows_the_rules_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert environment.cache_folder().is_relative_to(tmp_path)
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", "win32")
    assert environment.cache_folder().is_relative_to(tmp_path / "local")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Caches" in environment.cache_folder().parts


def test_telling_stops_nothing(monkeypatch):
    class Closed:
        def isatty(self):
            raise ValueError("closed")

    teller = environment._CompileNotice()
    teller.on = True
    for gone in (None, Closed()):
        monkeypatch.setattr(sys, "stderr", gone)
        teller._hear("/jax/core/compile/backend_compile_duration", 3.0, fun_name="jit(_fit)")


def test_what_is_read_back_is_not_called_compiling(capsys):
    teller = environment._CompileNotice()
    teller.on = True
    for _ in range(5):
        teller._hit("/jax/compilation_cache/cache_hits")
        teller._hear("/jax/core/compile/backend_compile_duration", 1.0, fun_name="jit(_fit)")
    assert capsys.readouterr().err == ""


def test_what_is_compiled_at_the_same_time_counts_once(monkeypatch):
    watch = environment.Stopwatch()
    event = "/jax/core/compile/backend_compile_duration"
    for now, took in ((10.0, 3.0), (11.0, 2.0), (20.0, 1.0)):  # 7 to 10, 9 to 11, 19 to 20
        monkeypatch.setattr(environment.time, "perf_counter", lambda now=now: now)
        watch._hear(event, took)
    jax.monitoring.unregister_event_duration_listener(watch._hear)
    assert watch.seconds == 5.0
