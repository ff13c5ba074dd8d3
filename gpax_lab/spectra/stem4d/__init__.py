"""Four-dimensional STEM: from the diffraction pattern at every place to images, fields, charges and strain.

A data set is `patterns (..., n, m)`: scan axes first, detector rows and columns last. Everything works on one pattern
and on any stack of them; sets larger than memory go through `spectra.streams`.
"""
