"""Settings of a campaign: a TOML file, checked field by field, and the objects that it stands for."""

from gpax_lab.settings._build import Plan, build, going_on
from gpax_lab.settings._changes import Change, agreed, changes
from gpax_lab.settings._check import SettingsError
from gpax_lab.settings._connect import connect
from gpax_lab.settings._files import load, parse, to_plain, to_toml
from gpax_lab.settings._schema import Settings

__all__ = [
    "Change",
    "Plan",
    "Settings",
    "SettingsError",
    "agreed",
    "build",
    "changes",
    "connect",
    "going_on",
    "load",
    "parse",
    "to_plain",
    "to_toml",
]
