"""What the benchmarks of variational autoencoders share: glyphs, a peer's run, clusters compared."""

import subprocess
import tempfile
from pathlib import Path

import jax
import numpy as np

from gpax_lab.simulators import Glyphs, glyphs

KINDS = ("F", "L", "4", "Y")


def letters(seed: int, count: int, angle: float, kinds=KINDS, noise: float = 0.0) -> Glyphs:
    """Glyphs of 28 x 28 pixels, turned by up to `angle` either way and shifted by 0.1 half widths."""
    found = glyphs(jax.random.key(seed), count, letters=kinds, angle=(-angle, angle), noise=noise)
    return Glyphs(*[np.asarray(part) for part in found])


def pyroved(folder: Path, **job) -> dict:
    """A run of pyroVED in its own environment; see peers/run_pyroved.py."""
    with tempfile.TemporaryDirectory() as place:
        given, result = Path(place) / "job.npz", Path(place) / "result.npz"
        np.savez(given, **job)
        python = folder / "pyroved" / "bin" / "python"
        runner = Path(__file__).parent / "peers" / "run_pyroved.py"
        subprocess.run([python, runner, given, result], check=True)
        return dict(np.load(result))
