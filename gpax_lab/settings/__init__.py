"""Settings of a campaign: a TOML file, checked field by field, and the objects that it stands for."""

from gpax_lab.settings.build import Plan, build, going_on
from gpax_lab.settings.changes import Change, agreed, changes
from gpax_lab.settings.check import SettingsError
from gpax_lab.settings.connect import connect
from gpax_lab.settings.files import load, parse, to_plain, to_toml
from gpax_lab.settings.schema import Settings

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
