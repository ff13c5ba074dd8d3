"""What the folder of a campaign says of itself to archives: RO-Crate metadata, one JSON file beside the export.

RO-Crate 1.1 (w3id.org/ro/crate/1.1): a list of entities of schema.org. Here: the data set, its files with size, format
and checksum, the campaign as an action with its start, end and outcome, the instrument, the programs with versions, and
what was varied and measured.
"""

import datetime
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gpax_lab import _version
from gpax_lab.storage import _files as files
from gpax_lab.storage._contents import found_in
from gpax_lab.storage._document_survey import Survey, survey
from gpax_lab.storage._errors import ExportError
from gpax_lab.storage._nexus import Apparatus, apparatus
from gpax_lab.storage._records import JournalRecord

NAME = "ro-crate-metadata.json"
_MARK = "#gpax-lab"
_PROFILE = "https://w3id.org/ro/crate/1.1"
_FORMATS = {
    ".gpxj": ("application/octet-stream", "journal: the append-only record of the campaign"),
    ".h5": ("application/x-hdf5", "all that was measured, in the NSID layout with NeXus attributes"),
    ".jsonl": ("application/jsonl", "the same as documents of bluesky's event model, one a line"),
    ".png": ("image/png", "plot of the campaign"),
    ".svg": ("image/svg+xml", "plot of the campaign"),
    ".pdf": ("application/pdf", "plot of the campaign"),
    ".toml": ("application/toml", "settings of the campaign"),
    ".txt": ("text/plain", "summary of the campaign"),
}
_PACKAGES = ("jax", "jaxlib", "numpyro", "numpy", "optax", "python")


def export_crate(journal_path: str | Path, others: Sequence[str | Path] = (), *, license: str | None = None) -> Path:
    """Write `ro-crate-metadata.json` beside a journal: what the folder holds, as archives read it.

    Args:
        journal_path: the journal.
        others: further files of the campaign, in the same folder or below it: the HDF5 file, plots, documents.
        license: address of the licence under which the data may be used; archives ask for one.

    Returns:
        The path written; an older one of ours is replaced at once and whole.

    Raises:
        ExportError: a file lies elsewhere, the journal has no campaign, or the file there is not ours.
        OSError: a file is not there, or the disk refused.

    Source: RO-Crate 1.1.
    """
    journal = Path(journal_path)
    target = journal.parent / NAME
    _check_ours(target)
    with files.open_read(journal) as file:
        found = found_in(journal, file)
        known = survey(file, found.spans, journal.name)
    paths = list(dict.fromkeys([journal, *map(Path, others)]))
    graph = list(_graph(journal, paths, known, license))
    context = [f"{_PROFILE}/context", {"sha256": "https://schema.org/sha256"}]
    text = json.dumps({"@context": context, "@graph": graph}, indent=2, ensure_ascii=False)
    with files.replacing(target) as temporary, temporary.open("xb") as out:
        out.write(f"{text}\n".encode())
        out.flush()
        files.sync(out.fileno())
    return target


def _check_ours(target: Path) -> None:
    if not target.exists():
        return
    try:
        ours = any(one.get("@id") == _MARK for one in json.loads(target.read_bytes())["@graph"])
    except (ValueError, KeyError, TypeError, AttributeError):
        ours = False
    if not ours:
        raise ExportError(f"{target} exists and was not written by gpax_lab: it is left as it is; move it away")


def _graph(journal: Path, paths: list[Path], known: Survey, license: str | None) -> Iterator[dict[str, Any]]:
    folder = journal.parent.resolve()
    described = [_file(folder, path) for path in paths]
    device = apparatus(known.campaign, known.instrument)
    programs = list(_programs(known.campaign))
    variables = list(_variables(known.campaign))
    name = _title(known.campaign, journal)
    yield {
        "@id": NAME,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _PROFILE},
        "about": {"@id": "./"},
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": name,
        "description": f"Autonomous campaign {name}: {_sought(variables)}",
        "datePublished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "dateCreated": _iso(known.campaign.wall),
        "hasPart": _references(described),
        "mentions": {"@id": "#campaign"},
        "variableMeasured": _references(variables),
    }
    yield root | ({"license": {"@id": license}} if license else {})
    yield from described
    yield _action(known, described[0], programs, device)
    if device is not None:
        yield _device(device)
    yield from programs
    yield from variables
    if license:
        yield {"@id": license, "@type": "CreativeWork", "name": license}


def _title(campaign: JournalRecord, journal: Path) -> str:
    settings = campaign.header.get("settings")
    section = settings.get("campaign") if isinstance(settings, dict) else None
    return str((section.get("name") if isinstance(section, dict) else None) or journal.stem)


def _sought(variables: list[dict[str, Any]]) -> str:
    names = [variable["name"] for variable in variables]
    kinds = [variable["@id"].startswith("#axis") for variable in variables]
    over = ", ".join(name for name, axis in zip(names, kinds, strict=True) if axis)
    of = ", ".join(name for name, axis in zip(names, kinds, strict=True) if not axis)
    return f"{of or 'measurements'} over {over}" if over else (of or "measurements")


def _references(entities: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]


def _iso(wall: float) -> str:
    return datetime.datetime.fromtimestamp(wall, datetime.UTC).isoformat(timespec="milliseconds")


def _file(folder: Path, path: Path) -> dict[str, Any]:
    try:
        inside = path.resolve().relative_to(folder)
    except ValueError:
        raise ExportError(f"{path} is not in {folder}: a crate describes one folder; copy the file there") from None
    with path.open("rb") as file:
        digest, size = hashlib.sha256(), 0
        while part := file.read(1 << 20):
            digest.update(part)
            size += len(part)
    kind, words = _FORMATS.get(path.suffix.lower(), ("application/octet-stream", "file of the campaign"))
    return {
        "@id": quote(inside.as_posix()),
        "@type": "File",
        "name": path.name,
        "description": words,
        "encodingFormat": kind,
        "contentSize": str(size),
        "sha256": digest.hexdigest(),
        "dateModified": _iso(path.stat().st_mtime),
    }


def _action(
    known: Survey, journal: dict[str, Any], programs: list[dict[str, Any]], device: Apparatus | None
) -> dict[str, Any]:
    stop = known.stop
    finished = stop is not None and bool(stop.header.get("finished", True))
    used = [{"@id": "#instrument"}] if device is not None else []
    action = {
        "@id": "#campaign",
        "@type": "CreateAction",
        "name": "campaign",
        "startTime": _iso(known.campaign.wall),
        "instrument": [*used, {"@id": programs[0]["@id"]}],
        "result": {"@id": journal["@id"]},
    }
    if stop is not None and stop.header.get("reason"):
        action["description"] = str(stop.header["reason"])
    if finished:
        action |= {"endTime": _iso(known.wall), "actionStatus": {"@id": "http://schema.org/CompletedActionStatus"}}
    return action


def _device(device: Apparatus) -> dict[str, Any]:
    told = {
        "manufacturer": device.vendor,
        "model": device.model,
        "serialNumber": device.serial,
    }
    software = " ".join(part for part in (device.software, device.release) if part)
    return {
        "@id": "#instrument",
        "@type": "IndividualProduct",
        "name": device.name,
        **{name: value for name, value in told.items() if value},
        **({"description": f"software or firmware: {software}"} if software else {}),
    }


def _programs(campaign: JournalRecord) -> Iterator[dict[str, Any]]:
    """This program, in the version that measured where the journal tells it, and what it stands on."""
    versions = campaign.header.get("versions")
    told = dict(versions) if isinstance(versions, dict) else {}
    version = told.get("gpax-lab") or told.get("gpax_lab")
    needed = [
        {"@id": f"#{name}", "@type": "SoftwareApplication", "name": name, "version": str(told[name])}
        for name in _PACKAGES
        if told.get(name)
    ]
    own: dict[str, Any] = {"@id": _MARK, "@type": "SoftwareApplication", "name": "gpax_lab"}
    own |= {"version": str(version)} if version else {}
    own |= {"description": f"this description was written by version {_version.__version__}"}
    yield own | ({"softwareRequirements": _references(needed)} if needed else {})
    yield from needed


def _variables(campaign: JournalRecord) -> Iterator[dict[str, Any]]:
    quantity = campaign.header.get("quantity") or {}
    for i, one in enumerate(quantity if isinstance(quantity, list) else [quantity]):
        if one.get("name"):
            yield _variable(f"#quantity-{i}", one)
    for i, axis in enumerate(campaign.header.get("axes") or []):
        ends = {"minValue": axis.get("low"), "maxValue": axis.get("high")}
        yield _variable(f"#axis-{i}", axis) | {end: value for end, value in ends.items() if value is not None}


def _variable(identifier: str, one: dict[str, Any]) -> dict[str, Any]:
    unit = {"unitText": str(one["unit"])} if one.get("unit") else {}
    return {"@id": identifier, "@type": "PropertyValue", "name": str(one.get("name", "x")), **unit}
