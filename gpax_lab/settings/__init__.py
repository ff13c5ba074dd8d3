"""Settings of a campaign: a TOML file, checked field by field, and the objects that it stands for."""

from gpax_lab.settings._build import Plan, build
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._explain import explain
from gpax_lab.settings._files import load, parse
from gpax_lab.settings._schema import Settings

__all__ = ["Plan", "Settings", "SettingsError", "build", "explain", "load", "parse"]
