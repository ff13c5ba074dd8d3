"""Drivers: one instrument a module."""
