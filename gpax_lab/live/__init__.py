"""A page on which people take part in a running campaign, and the inbox where their wishes wait."""

from gpax_lab.live._board import Facts
from gpax_lab.live._inbox import Inbox
from gpax_lab.live._page import Page
from gpax_lab.live._wish import BadWish, Wish, leave

__all__ = ["BadWish", "Facts", "Inbox", "Page", "Wish", "leave"]
