"""Drivers: one instrument a module, and the template that those over SCPI are made from."""

from gpax_instruments.drivers.band_excitation import BandExcitation
from gpax_instruments.drivers.domain_writer import DomainWriter
from gpax_instruments.drivers.pfm import PFM
from gpax_instruments.drivers.replay import Replay
from gpax_instruments.drivers.scpi_instrument import ScpiInstrument
from gpax_instruments.drivers.stage import Stage
from gpax_instruments.drivers.stem import STEM

__all__ = [
    "PFM",
    "STEM",
    "BandExcitation",
    "DomainWriter",
    "Replay",
    "ScpiInstrument",
    "Stage",
]
