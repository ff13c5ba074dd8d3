"""Links: how commands reach an instrument and answers come back."""

from gpax_instruments.links._link import Link, open_link
from gpax_instruments.links._scpi import Scpi

__all__ = [
    "Link",
    "Scpi",
    "open_link",
]
