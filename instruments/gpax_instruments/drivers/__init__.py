"""Drivers: one instrument a module, and the template that those over SCPI are made from."""

from gpax_instruments.drivers._band_excitation import BandExcitation
from gpax_instruments.drivers._domain_writer import DomainWriter
from gpax_instruments.drivers._nanonis import Nanonis
from gpax_instruments.drivers._pfm import PFM
from gpax_instruments.drivers._replay import Replay
from gpax_instruments.drivers._scpi_instrument import ScpiInstrument
from gpax_instruments.drivers._stage import Stage
from gpax_instruments.drivers._stem import STEM

__all__ = [
    "PFM",
    "STEM",
    "BandExcitation",
    "DomainWriter",
    "Nanonis",
    "Replay",
    "ScpiInstrument",
    "Stage",
]
