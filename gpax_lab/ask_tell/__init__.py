"""Campaigns that a person, a table or another program measures for: ask for points, tell what they gave."""

from gpax_lab.ask_tell import bluesky, gest
from gpax_lab.ask_tell._campaign import AskTell
from gpax_lab.ask_tell._open import open_campaign
from gpax_lab.ask_tell._points import Points

__all__ = ["AskTell", "Points", "bluesky", "gest", "open_campaign"]
