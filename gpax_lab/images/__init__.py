"""Images to numbers: filters, atoms, walls, patches and their descriptors, shifts between frames.

Positions and shifts are (row, column) in pixels; pixel (0, 0) is the first one of the array.
"""

from gpax_lab.images._atoms import around_atoms, find_atoms
from gpax_lab.images._descriptors import factors, fourier_magnitude, principal, restored, scores, windows
from gpax_lab.images._domains import domain_radius
from gpax_lab.images._features import Peaks, Walls, blob_scale, blobs, corners, peaks, smooth, walls
from gpax_lab.images._frames import flatten, plane, shift_image
from gpax_lab.images._patches import around, normalized, patches, pixel_positions
from gpax_lab.images._registration import register

__all__ = [
    "Peaks",
    "Walls",
    "around",
    "around_atoms",
    "blob_scale",
    "blobs",
    "corners",
    "domain_radius",
    "factors",
    "find_atoms",
    "flatten",
    "fourier_magnitude",
    "normalized",
    "patches",
    "peaks",
    "pixel_positions",
    "plane",
    "principal",
    "register",
    "restored",
    "scores",
    "shift_image",
    "smooth",
    "walls",
    "windows",
]
