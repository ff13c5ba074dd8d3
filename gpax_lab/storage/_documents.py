"""A campaign as the documents that bluesky, tiled and other programs of beamlines exchange.

Event model (event-model 1.24, blueskyproject.io/event-model): a run is a start document, then for every stream a
descriptor and its events, then a stop document. Here

- `primary` has one event for each measurement: where it was, the value and its standard deviation, whether it was good
  and if not why, and the raw arrays. A later word counts: the value of a mended scalarizer, a measurement that somebody
  discarded. What a failed measurement lacks is NaN, and so is a standard deviation that the scalarizer did not tell;
- `proposals` has the points in the order in which they were proposed, `posterior` the mean and standard deviation of
  every parameter and the diagnostics, `interventions` what people asked for, `log` every other entry but states;
- `raw`, `raw_2`, ... have the raw arrays that can not stand in `primary`, with the `measurement` (seq_num there) of
  each. One stream has one shape for each of its keys: programs that keep documents rely on it. So `primary` has an
  array in its commonest shape, and NaN where a measurement has none; arrays of other shapes, and arrays of integers
  that some measurement lacks, stand in `raw`.

Complex arrays are two, `name_real` and `name_imag`. Times are those of the computer's clock, which may jump.
The same journal gives the same documents, uids included: these are made from its random name and the records' numbers.
"""

import hashlib
import json
import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gpax_lab.storage import _files as files
from gpax_lab.storage import _point_cloud as point_cloud
from gpax_lab.storage._contents import RAW, damage_text, found_in
from gpax_lab.storage._document_streams import (
    Document,
    Fields,
    Streams,
    array,
    boolean,
    integer,
    names_allowed,
    number,
    text,
)
from gpax_lab.storage._document_survey import PARTS, Survey, final, layout, records, survey
from gpax_lab.storage._errors import JournalCorrupt
from gpax_lab.storage._export import numbers
from gpax_lab.storage._json_codec import dumps
from gpax_lab.storage._records import BEGINNING, JournalRecord, begun, bytes_at
from gpax_lab.storage._scan import Scan

PLAN = "gpax_lab campaign"
"""What the start document says of how the points were chosen."""

_ALONE = {"campaign", "state", "intent"}
"""Entries without an event: the first is the start document, a state the program's own, an intent told by its answer.
"""


def documents(path: str | Path) -> Iterator[Document]:
    """A journal as documents of bluesky's event model, one after another; also while another process writes it.

    Args:
        path: the journal.

    Returns:
        Iterator of (name, document): "start", "descriptor", "event", "stop". Arrays are numpy arrays, read when their
        event is asked for. A campaign that was cut off, or paused, ends with exit status "abort" and the reason.

    Raises:
        ExportError: there is no entry "campaign", or the positions do not fit together.
        JournalError: as `read` raises; at once, not when the first document is asked for.

    Source: event-model 1.24.
    """
    path = Path(path)
    with files.open_read(path) as file:
        found = found_in(path, file)
        if found.damage:
            raise JournalCorrupt(damage_text(path, found))
        name = uuid.UUID(bytes=_name(file, found))
        known = survey(file, found.spans, path.name)
        torn = file.seek(0, 2) - found.end
    return _run(path, found, known, name, torn)


def write_documents(path: str | Path, file: BinaryIO) -> int:
    """Write `documents` as lines of JSON, as bluesky's own writer does: `{"name": ..., "doc": {...}}`, NaN as NaN.

    Args:
        path: the journal.
        file: open for writing bytes.

    Returns:
        How many documents there are.
    """
    count = 0
    for name, document in documents(path):
        line = json.dumps({"name": name, "doc": document}, default=lambda value: value.tolist())
        file.write(line.encode() + b"\n")
        count += 1
    return count


def _name(file: BinaryIO, found: Scan) -> bytes:
    """The 16 random bytes that name the journal; of version 1, which has none, a sum over its first record."""
    campaign = begun(bytes_at(file, 0, BEGINNING))[1] or found.campaign
    if campaign or not found.spans:
        return campaign or bytes(16)
    start, end = found.spans[0]
    return hashlib.sha256(bytes_at(file, start, end - start)).digest()[:16]


def _run(path: Path, found: Scan, known: Survey, name: uuid.UUID, torn: int) -> Iterator[Document]:
    run = _Run(path.name, known, name)
    yield "start", run.start()
    with files.open_read(path) as file:
        for index, record in enumerate(records(file, found.spans)):
            yield from run.documents(index, record)
    yield "stop", run.stop(len(found.spans), torn)


class _Run:
    """The documents of one campaign.

    Args:
        journal: its name.
        known: what the survey of it told.
        name: namespace of the uids.
    """

    def __init__(self, journal: str, known: Survey, name: uuid.UUID) -> None:
        self._journal, self._known = journal, known
        self._streams = Streams(name)
        self._phases: dict[str, str] = {}
        header = known.campaign.header
        taken = {
            "time",
            "seq_num",
            "asked",
            "ok",
            "reason",
            "flags",
            "step",
            "phase",
            "token",
            "seconds",
            "measurement",
        }
        axes = header.get("axes") or []
        self._axes = axes if len(axes) == known.size else [{"name": f"x{index}"} for index in range(known.size)]
        self._motors = [point_cloud.slug(str(axis.get("name", "x")), taken) for axis in self._axes]
        quantity = header.get("quantity") or {}
        told = quantity if isinstance(quantity, list) else [quantity]
        self._quantities = [told[i] if i < len(told) else {} for i in range(known.width)]
        self._values = [point_cloud.slug(str(one.get("name") or "value"), taken) for one in self._quantities]
        self._sds = [point_cloud.slug(f"{value}_sd", taken) for value in self._values]
        self._raw = {name: point_cloud.slug(name[len(RAW) :], taken) for name in known.raw}
        taken = {"time", "seq_num", "step"}
        suffix = {"mean": "_mean", "sd": "_sd", "diagnostics": ""}
        self._parameters = {
            (part, name): point_cloud.slug(f"{name.replace('[', '_').replace(']', '')}{suffix[part]}", taken)
            for part in PARTS
            for name in known.parameters[part]
        }

    def start(self) -> dict[str, Any]:
        """The start document."""
        header, instrument = self._known.campaign.header, self._known.instrument
        return {
            "uid": self._streams.uid("start"),
            "time": self._known.campaign.wall,
            "scan_id": int(self._streams.uid("start")[:6], 16),  # tables of bluesky show one
            "plan_name": PLAN,
            "plan_type": "journal",
            "motors": self._motors,
            "detectors": self._values,
            "hints": {"dimensions": [[[motor], "primary"] for motor in self._motors]},
            "journal": self._journal,
            "campaign": names_allowed(header),
            "instrument": names_allowed(instrument.header) if instrument else {},
            "versions": names_allowed(header.get("versions") or {}),
        }

    def stop(self, count: int, torn: int) -> dict[str, Any]:
        """The stop document, of a journal with so many records and so many bytes of an unfinished one behind them."""
        stop = self._known.stop
        finished = stop is not None and bool(stop.header.get("finished", True))
        reason = (
            str(stop.header.get("reason") or "")
            if stop is not None
            else "the journal does not say that the campaign ended: it was cut off, or still goes on"
            + (f"; {torn} bytes of an unfinished entry were ignored" if torn else "")
        )
        return {
            "uid": self._streams.uid("stop", count),
            "run_start": self._streams.uid("start"),
            "time": self._known.wall,
            "exit_status": "success" if finished else "abort",
            "reason": reason,
            "num_events": dict(self._streams.counts),
        }

    def documents(self, index: int, record: JournalRecord) -> Iterator[Document]:
        """What becomes of one record."""
        match record.kind:
            case "intent":
                self._phases[record.header["token"]] = str(record.header.get("phase") or "")
            case "reading":
                yield from self._measurement(index, final(record, self._known.later))
            case "proposal":
                yield from self._proposal(index, record)
            case "posterior":
                yield from self._streams.event("posterior", self._posterior(record), str(index), record.wall)
            case "intervention":
                points = dumps({name: np.asarray(value).tolist() for name, value in record.arrays.items()})
                action = {"action": text(record.header.get("action") or "", "intervention")}
                fields = action | _about(record) | {"arrays": text(points, "its arrays, as JSON")}
                yield from self._streams.event("interventions", fields, str(index), record.wall)
            case kind if kind not in _ALONE:
                fields = {"kind": text(kind, "kind of the entry")} | _about(record)
                yield from self._streams.event("log", fields, str(index), record.wall)

    def _measurement(self, index: int, record: JournalRecord) -> Iterator[Document]:
        header = record.header
        position = np.ravel(np.asarray(point_cloud.position_of(record), np.float64))
        axes: Fields = {}
        for name, axis, where in zip(self._motors, self._axes, position, strict=True):
            ends = {end: float(axis[end]) for end in ("low", "high") if isinstance(axis.get(end), int | float)}
            bounded = len(ends) == 2 and all(map(math.isfinite, ends.values())) and ends["low"] < ends["high"]
            told = {"limits": {"control": ends}, "precision": _digits(ends["high"] - ends["low"])} if bounded else {}
            axes[name] = number(where, "position", _unit(axis), **told)
        values = self._scalars(record)
        rest: Fields = {
            "ok": boolean(header.get("ok", True), "reading"),
            "reason": text(header.get("reason") or "", "why it failed"),
            "flags": text(", ".join(map(str, header.get("flags") or ())), "flags"),
            "step": integer(record.step, "step"),
            "phase": text(self._phases.pop(header.get("token", ""), ""), "intent"),
            "token": text(header.get("token") or "", "name of the measurement"),
            "seconds": number(header.get("seconds", math.nan), "how long it took", "s"),
        }
        if self._known.asked:
            x = np.ravel(np.asarray(record.arrays.get("x", ()), np.float64))
            there = x.size == self._known.asked
            rest["asked"] = array(x if there else np.full(self._known.asked, np.nan), "point as the model has it")
        rest |= self._arrays(record)
        objects = {name: [name] for name in axes} | {self._values[0]: [*values, *rest]}
        known = self._configuration(self._values[0])
        fields = {**axes, **values, **rest}
        yield from self._streams.event("primary", fields, str(index), record.wall, objects, configuration=known)
        for name, value in record.arrays.items():
            if name.startswith(RAW) and value.size and self._known.raw.get(name) != layout(value):
                key = point_cloud.slug(name[len(RAW) :], {"time", "seq_num", "measurement"})
                fields = {"measurement": integer(self._streams.counts["primary"], "seq_num in primary")}
                fields |= _parts(key, np.asarray(value), record, name)
                yield from self._streams.event("raw", fields, f"{index} {name}", record.wall)

    def _scalars(self, record: JournalRecord) -> Fields:
        values = np.ravel(point_cloud.value_of(record.header.get("value")))
        variance = np.ravel(np.asarray(record.arrays.get("noise", np.nan), np.float64))
        fields: Fields = {}
        for i, (name, sd, about) in enumerate(zip(self._values, self._sds, self._quantities, strict=True)):
            value = values[i] if i < values.size else math.nan
            known = variance.size == values.size and math.isfinite(value) and variance[i] > 0
            fields[name] = number(value, "value", _unit(about))
            fields[sd] = number(math.sqrt(variance[i]) if known else math.nan, "standard deviation", _unit(about))
        return fields

    def _arrays(self, record: JournalRecord) -> Fields:
        fields: Fields = {}
        for name, key in self._raw.items():
            shape, dtype = self._known.raw[name]
            value = record.arrays.get(name)
            there = value is not None and layout(value) == (shape, dtype)
            fields |= _parts(key, np.asarray(value) if there else np.full(shape, np.nan, dtype), record, name)
        return fields

    def _configuration(self, owner: str) -> dict[str, Any]:
        record = self._known.instrument
        if record is None:
            return {}
        limits = record.header.get("limits") or {}
        fields = {"identity": text(record.header.get("identity") or "", "instrument")}
        fields |= {point_cloud.slug(name, {"identity"}): number(value, "limit") for name, value in limits.items()}
        data = {name: field.value for name, field in fields.items()}
        keys = {name: field.key for name, field in fields.items()}
        return {owner: {"data": data, "data_keys": keys, "timestamps": dict.fromkeys(fields, record.wall)}}

    def _posterior(self, record: JournalRecord) -> Fields:
        fields: Fields = {"step": integer(record.step, "step")}
        found = {part: numbers(record.header.get(part, {}), "") for part in PARTS}
        for (part, name), key in self._parameters.items():
            fields[key] = number(found[part].get(name, math.nan), f"posterior {part} of {name}")
        return fields

    def _proposal(self, index: int, record: JournalRecord) -> Iterator[Document]:
        value = record.header.get("value")
        for i, x in enumerate(np.atleast_2d(np.asarray(record.arrays.get("x", np.empty((0, 0))), np.float64))):
            fields = {
                "asked": array(x, "point as the model has it"),
                "acquisition": number(math.nan if value is None else value, "acquisition function of the batch"),
                "pinned": boolean(record.header.get("pinned", False), "a person asked for it"),
            }
            yield from self._streams.event("proposals", fields | _about(record), f"{index} {i}", record.wall)


def _digits(width: float) -> int:
    """Behind the point, to show a thousandth of a range; bluesky's tables show three by themselves."""
    return max(0, 3 - math.floor(math.log10(width)))


def _unit(about: dict[str, Any]) -> str | None:
    return str(about["unit"]) if about.get("unit") else None


def _about(record: JournalRecord) -> Fields:
    details = text(dumps(record.header), "header of the entry, as JSON")
    return {"step": integer(record.step, "step"), "details": details}


def _parts(key: str, value: np.ndarray, record: JournalRecord, name: str) -> Fields:
    """A raw array as one field, or as two where it is complex."""
    short = name[len(RAW) :]
    units = record.header.get("units") or {}
    unit = units.get(short, units.get(name))
    axis = (record.header.get("axes") or {}).get(short) if isinstance(record.header.get("axes"), dict) else None
    dims = [str(axis)] if axis and value.ndim == 1 else None
    if value.dtype.kind != "c":
        return {key: array(value, name, unit, dims)}
    return {f"{key}_real": array(value.real, name, unit, dims), f"{key}_imag": array(value.imag, name, unit, dims)}
