"""How long a newcomer waits: every entry point in a fresh process, with nothing compiled and with all of it kept.

The entry points are the examples of the README and of three pages as printed there, a sparse process by `laplace`, a
reconstructed image, and the demonstration of the command line. Of each: wall and processor seconds, what went into
tracing, lowering and compiling (or reading back) its programs, how many programs and kernels there are, and the bits
of the answer that both runs share. `--reference FOLDER` runs the same in another checkout, side by side, whose README
is its own.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results import Report

HERE = Path(__file__).resolve().parents[1]
EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
SETUP = "import gpax_lab\ngetattr(gpax_lab, 'setup', lambda: jax.config.update('jax_enable_x64', True))()\n"
OTHERS = {
    "sparse + laplace": "import jax, numpy as np\n"
    + SETUP
    + """
from gpax_lab import acquisition, bayes_opt, laplace, observations, sparse

x = np.random.default_rng(0).random((200, 2))
y = np.sin(6 * x[:, 0]) * np.cos(4 * x[:, 1])
model = sparse(2, bounds=[[0.0, 1.0], [0.0, 1.0]], inducing=64)
experiment = bayes_opt(model, laplace(), acquisition.seek(), acquisition.grid([[0, 1], [0, 1]], (20, 20)))
state, point = experiment.propose(experiment.init(jax.random.key(0), observations(x, y)))
answer = np.asarray(point)
""",
    "reconstruct": "import jax, numpy as np\n"
    + SETUP
    + """
from gpax_lab import reconstruct

rows, columns = np.mgrid[:64, :64] / 64.0
image = np.where(np.random.default_rng(0).random((64, 64)) < 0.25, np.sin(7 * rows) * np.cos(5 * columns), np.nan)
answer = np.asarray(reconstruct(jax.random.key(0), image).mean)
""",
}
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "after-all", "iota"}
"""Instructions of optimised HLO that are no kernel of their own."""


def examples(folder):
    """Python examples of the README by name; the later ones stand in pages now."""
    pages = [folder / "docs/howto" / f"{name}.md" for name in ("which-law", "image-to-spectrum", "classes-in-images")]
    texts = [path.read_text() for path in (folder / "README.md", *pages) if path.exists()]
    blocks = [block for text in texts for block in re.findall(r"```python\n(.*?)```", text, re.S)]
    return {f"README {number}": block for number, block in enumerate(blocks[:4], 1)}


def union(spans):
    """Seconds covered by intervals that may contain each other."""
    total, end = 0.0, float("-inf")
    for begin, finish in sorted(spans):
        total += max(0.0, finish - max(begin, end))
        end = max(end, finish)
    return total


def child(path):
    """Run the code of a file and print what it took as the last line."""
    began = time.perf_counter()
    import jax

    spans = {name: [] for name in EVENTS.values()}

    def hear(event, seconds, **_):
        if event in EVENTS:
            now = time.perf_counter()
            spans[EVENTS[event]].append((now - seconds, now))

    jax.monitoring.register_event_duration_secs_listener(hear)
    scope = {"__name__": "__main__"}
    exec(compile(Path(path).read_text(), path, "exec"), scope)
    jax.effects_barrier()
    wall, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    seconds = {name: union(found) for name, found in spans.items()}
    answer = next((scope[name] for name in ("answer", "next_x", "x", "t") if name in scope), None)
    bits = "" if answer is None else hashlib.sha256(jax.device_get(answer).tobytes()).hexdigest()[:12]
    cpu = used.ru_utime + used.ru_stime
    rest = wall - union([span for found in spans.values() for span in found])  # threads compile while others trace
    found = {"wall": wall, "cpu": cpu, "rest": rest, "programs": len(spans["compile"]), "bits": bits}
    print(json.dumps(found | seconds))


def environment(folder, cache):
    """Of a fresh process that imports the package from `folder` and keeps compiled functions in `cache`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    return inherited | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "instruments")]),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "MPLBACKEND": "Agg",
        "OPENBLAS_NUM_THREADS": "1",
    }


def run(code, folder, cache, work, flags=""):
    """The figures of one fresh process; with `flags` for XLA."""
    (work / "code.py").write_text(code)
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(work / "code.py")]
    done = subprocess.run(
        command, env=environment(folder, cache) | {"XLA_FLAGS": flags}, cwd=work, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"the example failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def demo(folder, cache, work):
    """Wall seconds of the command line's demonstration."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gpax_lab", "demo", "--out", str(work / f"demo-{time.time_ns()}")]
    subprocess.run(command, env=environment(folder, cache), cwd=work, capture_output=True, check=True)
    return time.perf_counter() - began


def kernels(text):
    """Number of kernels of one module of optimised HLO: what is neither free nor part of another kernel."""
    inner = set(re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", text))
    count, counting = 0, False
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$", line)
        if head:
            counting = head[1] not in inner
        found = re.match(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*?\s([a-z][a-z0-9\-]*)\(", line)
        if counting and found and found[1] not in FREE:
            count += 1
    return count


def count_kernels(code, folder, work):
    """Kernels of all programs of an example, from the dump of a run of its own."""
    with tempfile.TemporaryDirectory() as dump, tempfile.TemporaryDirectory() as cache:
        run(code, folder, cache, work, f"--xla_dump_to={dump} --xla_dump_hlo_as_text")
        return sum(kernels(path.read_text()) for path in Path(dump).glob("*after_optimizations.txt"))


def main():
    """Print every figure of every entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="README 1 alone")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help="another checkout")
    parser.add_argument("--only", help="entry points whose name contains this")
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    report, work = Report(), Path(tempfile.mkdtemp())
    ours = examples(HERE) | OTHERS
    theirs = examples(options.reference) | OTHERS if options.reference else {}
    for name, code in ours.items():
        if (options.quick and name != "README 1") or (options.only and options.only not in name):
            continue
        with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as old:
            for state in ("cold", "cached"):
                other = run(theirs[name], options.reference, old, work) if theirs else {}
                found = run(code, HERE, cache, work)
                for what in ("wall", "cpu", "trace", "lower", "compile", "rest"):
                    report.result(f"{name}, {state}: {what}", found[what], "s", other.get(what))
                if state == "cold":
                    first = found
                    report.result(f"{name}: programs", found["programs"], "1", other.get("programs"))
            report.claim(f"{name}: the same bits from kept programs", found["bits"] == first["bits"])
        many = count_kernels(theirs[name], options.reference, work) if theirs else None
        report.result(f"{name}: kernels", count_kernels(code, HERE, work), "1", many)
    if not options.quick and (not options.only or options.only in "demo"):
        with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as old:
            for state in ("cold", "cached"):
                other = demo(options.reference, old, work) if theirs else None
                report.result(f"demo, {state}: wall", demo(HERE, cache, work), "s", other)
    report.finish()


if __name__ == "__main__":
    main()
