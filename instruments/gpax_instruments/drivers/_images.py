"""Square images as measurements."""

import numpy as np

from gpax_instruments import _codecs as codecs
from gpax_lab.core import Measurement


def image_measurement(name: str, values: np.ndarray, edge: int, pixel_m: float, position: np.ndarray) -> Measurement:
    """The measurement of an image.

    Args:
        name: of the signal, which has the unit 1.
        values: (n,) as they came.
        edge: pixels along a side.
        pixel_m: side of a pixel, m.
        position: of the measurement.

    Returns:
        arrays `name` (edge, edge), rows along x and columns along y, and "pixel" () m; ok=False for a bad one, whose
        values stay as they came where they are too few or too many.
    """
    image, ok, reason, flags = codecs.shaped(values, (edge, edge))
    arrays = {name: image, "pixel": np.array(pixel_m)}
    return Measurement(arrays, {name: "1", "pixel": "m"}, position, ok, reason, flags)
