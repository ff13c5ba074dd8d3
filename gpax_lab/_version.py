"""The version of the installed package."""

from importlib.metadata import version

__version__ = version("gpax-lab")
"""Version of the installed package, such as "0.1.0"."""
