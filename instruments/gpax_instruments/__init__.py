"""Drivers that turn hardware bytes into arrays, and twins that speak the same wire protocols."""

__all__: list[str] = []
