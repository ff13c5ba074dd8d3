"""The command `gpax-lab reconstruct`: from a measured image with holes to maps of all pixels."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from gpax_lab import plot
from gpax_lab.cli._outputs import MAKER, check_replaceable, put
from gpax_lab.core import Status
from gpax_lab.settings._reconstruct import filled, load_reconstruction
from gpax_lab.storage import save


def fill(config: Path, folder: Path) -> str:
    """Write `reconstruction.h5` (mean and standard deviation), and `reconstruction.png` of an image.

    Args:
        config: settings, TOML.
        folder: where the files go; made if need be.

    Returns:
        What was done, in words.

    Raises:
        SettingsError: a field is wrong, or the file can not be read.
        FileExists: a file of that name is there.
    """
    settings = load_reconstruction(config)
    maps, page = folder / "reconstruction.h5", folder / "reconstruction.png"
    for path in (maps, page):
        check_replaceable(path, False)
    image, found = filled(settings)
    folder.mkdir(parents=True, exist_ok=True)
    each = {"mean": found.mean, "std": found.std}
    save(maps, {name: replace(image, values=np.asarray(value), title=name) for name, value in each.items()})
    written = [maps.name]
    if image.values.ndim == 2:
        drawn = io.BytesIO()
        figure = plot.reconstruction(image.values, found.mean, found.std, (image.quantity, image.unit))
        figure.savefig(drawn, format="png", dpi=160, metadata={"Software": MAKER})
        put(page, drawn.getvalue())
        written.append(page.name)
    share = f"{100.0 * float(np.mean(np.isfinite(image.values))):.0f} percent of the pixels were measured"
    words = "" if int(found.status) == Status.OK else f"Beware: {found.message}\n"
    noise = f"noise {float(found.noise_std):.4g} {image.unit}"
    return f"{words}{share}; {noise}. Results in {folder}: {', '.join(written)}"
