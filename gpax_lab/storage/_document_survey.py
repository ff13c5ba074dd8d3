"""What has to be known of a journal before its first document can be written: one pass, of which little is kept."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from gpax_lab.storage import _point_cloud as point_cloud
from gpax_lab.storage._contents import RAW, Contents, final_measurements, with_axes
from gpax_lab.storage._errors import ExportError
from gpax_lab.storage._export import numbers
from gpax_lab.storage._records import JournalRecord, record_at

Layout = tuple[tuple[int, ...], str]
"""Shape and dtype of an array."""

PARTS = ("mean", "sd", "diagnostics")
"""What a record of a posterior has."""


class Survey(NamedTuple):
    """What the documents of a campaign have to know beforehand.

    Attributes:
        campaign: the record that names axes and quantity.
        instrument: the first record that describes the instrument, or None.
        later: by token, what was said of a measurement after it was made.
        size: coordinates of a position.
        asked: coordinates of what the model asked for; 0 where there is none.
        width: scalars of a measurement.
        raw: layouts of raw arrays that stand in the stream "primary", by name in the order of first appearance.
        parameters: by part of a posterior, the names of its numbers.
        stop: the record that says why the campaign ended, if nothing was done after it.
        wall: time of the last record.
    """

    campaign: JournalRecord
    instrument: JournalRecord | None
    later: Mapping[str, tuple[JournalRecord, ...]]
    size: int
    asked: int
    width: int
    raw: Mapping[str, Layout]
    parameters: Mapping[str, tuple[str, ...]]
    stop: JournalRecord | None
    wall: float


def records(file: BinaryIO, spans: tuple[tuple[int, int], ...]) -> Iterator[JournalRecord]:
    """The records one by one, their arrays left in the file."""
    return (record_at(file, span, lambda name: True) for span in spans)


def final(record: JournalRecord, later: Mapping[str, tuple[JournalRecord, ...]]) -> JournalRecord:
    """A measurement with what was said of it later; see `final_measurements`."""
    about = later.get(record.header.get("token", ""), ())
    return final_measurements(Contents((record, *about), 0))[0] if about else record


def layout(value: np.ndarray) -> Layout:
    """Shape and dtype of an array, be it in memory or in the file."""
    return tuple(value.shape), value.dtype.str


class _Tally:
    """Counts of the measurements, taken one by one."""

    def __init__(self) -> None:
        self.total = 0
        self.sizes: set[int] = set()
        self.asked: Counter[int] = Counter()
        self.width = 1
        self.layouts: dict[str, Counter[Layout]] = {}

    def add(self, record: JournalRecord) -> None:
        self.total += 1
        self.sizes.add(int(np.prod(np.shape(point_cloud.position_of(record)))))
        self.asked[record.arrays["x"].size if "x" in record.arrays else 0] += 1
        self.width = max(self.width, point_cloud.value_of(record.header.get("value")).size)
        for name, value in record.arrays.items():
            if name.startswith(RAW) and value.size:
                self.layouts.setdefault(name, Counter())[layout(value)] += 1

    def raw(self) -> dict[str, Layout]:
        """The commonest layout of every raw array that can be NaN where a measurement has none, or that all have."""
        best = {name: counts.most_common(1)[0] for name, counts in self.layouts.items()}
        return {
            name: found
            for name, (found, count) in best.items()
            if np.dtype(found[1]).kind in "fc" or count == self.total
        }


def survey(file: BinaryIO, spans: tuple[tuple[int, int], ...], name: str) -> Survey:
    """Go through a journal once.

    Args:
        file: the journal, open for reading.
        spans: of its records.
        name: of the journal, for errors.

    Raises:
        ExportError: there is no entry "campaign", or the measurements have positions of different size.
    """
    campaign = instrument = stop = last = None
    later: dict[str, tuple[JournalRecord, ...]] = {}
    parameters: dict[str, dict[str, None]] = {part: {} for part in PARTS}
    tally = _Tally()
    for last in records(file, spans):
        stop = stop if last.kind == "timing" else None  # which follows every stop
        match last.kind:
            case "campaign":
                campaign = campaign or last
            case "instrument":
                instrument = instrument or last
            case "reading":
                tally.add(last)
            case "stop":
                stop = last
            case "posterior":
                for part, known in parameters.items():
                    known.update(dict.fromkeys(numbers(last.header.get(part, {}), "")))
        if last.kind == "reread" or (last.kind == "intervention" and last.header.get("action") == "discard"):
            token = last.header["token"]
            kept = {key: np.asarray(value) for key, value in last.arrays.items()}
            later[token] = (*later.get(token, ()), last._replace(arrays=kept))
    if campaign is None or last is None:
        raise ExportError(f"{name} holds no entry of kind 'campaign', so there is nothing to export")
    if len(tally.sizes) > 1 or 0 in tally.sizes:
        sizes = sorted(tally.sizes)
        raise ExportError(f"the measurements have positions of {sizes} coordinates; all need the same number")
    return Survey(
        with_axes(campaign, Contents((instrument,) if instrument else (), 0)),
        instrument,
        later,
        next(iter(tally.sizes), 0),
        tally.asked.most_common(1)[0][0] if tally.asked else 0,
        tally.width,
        tally.raw(),
        {part: tuple(known) for part, known in parameters.items()},
        stop,
        last.wall,
    )
