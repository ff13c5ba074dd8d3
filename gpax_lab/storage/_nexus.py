"""NeXus fields of a campaign's HDF5 file, beside NSID: what the journal knows, and nothing else.

The application definition is named where the kind of the instrument in the settings tells the technique: piezoresponse
force microscopy is contact-mode AFM (NXafm), a controller that holds a tunnelling current is an STM (NXspm; NXsts where
it measures spectra), and a STEM is NXem. Definitions ask for more than a journal holds, such as the vendor's name or
the elements of the sample: what is unknown is left out, and a validator names it.

Source: nexus_definitions v2026.01 (NXspm, NXafm, NXsts, NXem).
"""

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gpax_lab.storage._nsid import Item
from gpax_lab.storage._records import JournalRecord

_RELEASE = "v2026.01"
_CONTACT = ("NXafm", "AFM", "contact mode")
_TECHNIQUES = {
    "pfm": _CONTACT,
    "band_excitation": _CONTACT,
    "domain_writer": _CONTACT,
    "twin": _CONTACT,
    "stem": ("NXem", None, None),
    "tango_stem": ("NXem", None, None),
}
"""Definition, technique and scan mode by kind of instrument in the settings."""
_SCPI = {"pfm", "band_excitation", "domain_writer", "twin", "stem"}
"""Kinds whose identity is an answer to `*IDN?`."""
_LENGTHS = {"m", "mm", "um", "µm", "μm", "nm", "pm", "angstrom", "Å"}

NAMES = {
    "definition",
    "experiment_technique",
    "scan_mode",
    "title",
    "start_time",
    "end_time",
    "instrument",
    "measurement",
}
"""Names in the entry that are taken."""


class Apparatus(NamedTuple):
    """What a journal knows of its instrument; an empty text where it does not.

    Attributes:
        name: as the instrument identifies itself.
        vendor, model, serial: of the instrument.
        software: name of the program that controls it.
        release: of that program or of the firmware.
    """

    name: str
    vendor: str = ""
    model: str = ""
    serial: str = ""
    software: str = ""
    release: str = ""


def settings_of(campaign: JournalRecord) -> Mapping[str, Any]:
    """The settings of the instrument of a campaign; empty where the journal has none."""
    settings = campaign.header.get("settings")
    told = settings.get("instrument") if isinstance(settings, Mapping) else None
    return told if isinstance(told, Mapping) else {}


def apparatus(campaign: JournalRecord, instrument: JournalRecord | None) -> Apparatus | None:
    """The instrument as its identity describes it, by the rules of its kind; None where there is none.

    Args:
        campaign: the record with the settings.
        instrument: the record with the identity.

    Source: IEEE 488.2, 10.14 (`*IDN?`: manufacturer, model, serial number or 0, firmware).
    """
    name = str(instrument.header.get("identity") or "") if instrument is not None else ""
    if not name:
        return None
    kind = settings_of(campaign).get("kind")
    parts = [part.strip() for part in name.split(",")]
    if kind in _SCPI and len(parts) == 4:
        vendor, model, serial, release = parts
        return Apparatus(name, vendor, model, "" if serial == "0" else serial, "", release)
    if kind == "nanonis" and len(parts) == 4:  # product, version, release of the host, release of the controller
        return Apparatus(name, software=parts[0], release=parts[1])
    return Apparatus(name)


def _technique(told: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    if told.get("kind") != "nanonis":
        return _TECHNIQUES.get(str(told.get("kind")), (None, None, None))
    if told.get("setpoint") is None:  # whatever the tip's height is held by
        return None, None, None
    return ("NXsts", "STS", None) if told.get("mode", "spectrum") == "spectrum" else ("NXspm", "STM", None)


def _iso(wall: float) -> str:
    return datetime.datetime.fromtimestamp(wall, datetime.UTC).isoformat()


def _field(path: str, value: str | float, unit: str | None = None) -> Item:
    return Item(path, value if isinstance(value, str) else np.asarray(value), {"units": unit} if unit else {})


def _group(path: str, kind: str) -> Item:
    return Item(path, None, {"NX_class": kind})


def items(
    root: str, title: str, campaign: JournalRecord, instrument: JournalRecord | None, end: float
) -> Iterator[Item]:
    """Fields and groups of the entry.

    Args:
        root: path of the entry.
        title: of the campaign.
        campaign: the record that opens it, with its axes.
        instrument: the record that describes the instrument, or None.
        end: time of the last record, in seconds since 1970.
    """
    told = settings_of(campaign)
    definition, technique, mode = _technique(told)
    yield _field(f"{root}/title", title)
    yield _field(f"{root}/start_time", _iso(campaign.wall))
    yield _field(f"{root}/end_time", _iso(end))
    if definition:
        yield Item(f"{root}/definition", definition, {"version": _RELEASE})
    if technique:
        yield _field(f"{root}/experiment_technique", technique)
    if mode:
        yield _field(f"{root}/scan_mode", mode)
    sample = campaign.header.get("sample")
    if isinstance(sample, Mapping):
        yield from _sample(f"{root}/sample", sample)
    known = apparatus(campaign, instrument)
    if definition == "NXem":
        if known is not None:
            yield _group(f"{root}/measurement", "NXem_measurement")
            yield _group(f"{root}/measurement/instrument", "NXem_instrument")
            yield from _identity(f"{root}/measurement/instrument", "fabrication", known)
        return
    region = list(_region(f"{root}/instrument", campaign.header.get("axes") or []))
    if known is None and not region and not definition:
        return
    yield _group(f"{root}/instrument", "NXinstrument")
    if known is not None:
        yield from _identity(f"{root}/instrument", "hardware", known)
    yield from region
    if told.get("kind") == "nanonis":
        yield from _tunnelling(f"{root}/instrument", told)


def _sample(place: str, told: Mapping[str, Any]) -> Iterator[Item]:
    """What the person who began the campaign said of the sample: texts, numbers, yes or no."""
    yield _group(place, "NXsample")
    for name, value in told.items():
        if name.isidentifier() and isinstance(value, str | bool | int | float):
            yield _field(f"{place}/{name}", value)


def _identity(place: str, group: str, known: Apparatus) -> Iterator[Item]:
    yield _field(f"{place}/name", known.name)
    hardware = {"vendor": known.vendor, "model": known.model, "serial_number": known.serial}
    if any(hardware.values()):
        yield _group(f"{place}/{group}", "NXfabrication")
        yield from (_field(f"{place}/{group}/{name}", value) for name, value in hardware.items() if value)
    software = {"name": known.software, "model": known.release}
    if any(software.values()) and group == "hardware":
        yield _group(f"{place}/software", "NXfabrication")
        yield from (_field(f"{place}/software/{name}", value) for name, value in software.items() if value)


def _region(place: str, axes: Any) -> Iterator[Item]:
    """The part of the sample that the tip may go to: the axes x, y and z that are lengths."""
    environment = f"{place}/scan_environment"
    region = f"{environment}/scan_control/scan_region"
    known = [
        axis
        for axis in axes
        if axis.get("name") in ("x", "y", "z")
        and axis.get("unit") in _LENGTHS
        and all(isinstance(axis.get(end), int | float) and np.isfinite(axis[end]) for end in ("low", "high"))
    ]
    if not known:
        return
    yield _group(environment, "NXenvironment")
    yield _group(f"{environment}/scan_control", "NXspm_scan_control")
    yield _group(region, "NXspm_scan_region")
    for axis in known:
        name, unit, low, high = axis["name"], axis["unit"], float(axis["low"]), float(axis["high"])
        yield _field(f"{region}/scan_start_{name}", low, unit)
        yield _field(f"{region}/scan_end_{name}", high, unit)
        yield _field(f"{region}/scan_range_{name}", high - low, unit)


def _tunnelling(place: str, told: Mapping[str, Any]) -> Iterator[Item]:
    """Bias, and the sweep of a spectrum, from the settings of a Nanonis controller."""
    if isinstance(told.get("bias"), int | float):
        yield _group(f"{place}/sample_bias_voltage", "NXsensor")
        yield _field(f"{place}/sample_bias_voltage/bias_voltage", float(told["bias"]), "V")
    sweep, points = told.get("sweep"), told.get("points")
    if told.get("mode", "spectrum") != "spectrum" or not sweep or not points:
        return
    environment = f"{place}/bias_spectroscopy_environment"
    control = f"{environment}/bias_spectroscopy/bias_sweep"
    start, end = map(float, sweep)
    yield _group(environment, "NXenvironment")
    yield _group(f"{environment}/bias_spectroscopy", "NXspm_bias_spectroscopy")
    yield _group(control, "NXspm_scan_control")
    yield _group(f"{control}/scan_region", "NXspm_scan_region")
    yield _field(f"{control}/scan_region/scan_start_bias", start, "V")
    yield _field(f"{control}/scan_region/scan_end_bias", end, "V")
    yield _field(f"{control}/scan_region/scan_range_bias", end - start, "V")
    yield _group(f"{control}/linear_sweep", "NXspm_scan_pattern")
    yield _field(f"{control}/linear_sweep/scan_points_bias", int(points))
    yield _field(f"{control}/linear_sweep/step_size_bias", (end - start) / max(int(points) - 1, 1), "V")
