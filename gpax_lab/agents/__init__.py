"""Servers for agents by the Model Context Protocol: an instrument, and a campaign with tools that look and that act."""

from gpax_lab.agents._serve import serve_campaign, serve_instrument

__all__ = ["serve_campaign", "serve_instrument"]
