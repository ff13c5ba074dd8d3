"""Links: how commands reach an instrument and answers come back."""

from gpax_instruments.links._link import Link, open_link
from gpax_instruments.links._scpi import TAG_ECHO, TAG_ESE, Scpi

__all__ = [
    "TAG_ECHO",
    "TAG_ESE",
    "Link",
    "Scpi",
    "open_link",
]
