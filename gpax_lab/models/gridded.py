"""Gaussian processes on a regular grid with missing pixels: images and spectral cubes, never a dense matrix.

The kernel is a sum of parts, each a product over the axes, so that the covariance is a sum of Kronecker products; two
parts let an image be smooth and textured at once. `gpax_lab.reconstruct` fills an image with such a process.
"""

from gpax_lab.models._kronecker_gp import KroneckerGP, process

__all__ = ["KroneckerGP", "process"]
