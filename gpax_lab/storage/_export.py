"""The campaign file that others open: one HDF5 in the NSID layout, made from a journal.

The journal stays the record; this file can be made again at any time. It holds, under `/campaign`:

- one group for the measured quantity: a point cloud of the scalar measurements with their positions;
- `status`: the same cloud with 2 where the measurement was good and 3 where it failed (codes of `Observations`);
  a measurement that a mended scalarizer could use later (journal entry "reread") is a good one with its later value;
- one group for each raw array, stacked over the measurements that have it. A raw vector that is the same in every
  measurement and as long as another is that one's axis (a bias waveform under its response); a measurement's header may
  also name it: `"axes": {"response": "bias"}`. Arrays of different length under one name become `name`, `name_2`, ...;
- `posterior_mean`, `posterior_sd`, `posterior_diagnostics`: steps by parameters, from headers
  `{"mean": {name: number or list}, "sd": {...}, "diagnostics": {...}}`;
- tables `readings`, `proposals` and `log` (every entry of the journal with its times and its header as JSON text);
- settings, versions, keys and interventions as metadata with dotted names;
- NeXus fields of the application definition that fits the instrument, as far as the journal knows them (`_nexus`).

A campaign without a measurement exports to a file with tables and metadata only: it opens, and shows no data set.
The arrays of the experiment's own state stay in the journal.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.storage import _files as files
from gpax_lab.storage import _nexus as nexus
from gpax_lab.storage import _nsid as nsid
from gpax_lab.storage import _point_cloud as point_cloud
from gpax_lab.storage._contents import Contents, final_measurements, read_slim, with_axes
from gpax_lab.storage._errors import ExportError
from gpax_lab.storage._json_codec import dumps
from gpax_lab.storage._records import JournalRecord


def _metadata(contents: Contents, campaign: JournalRecord, name: str) -> dict[str, Any]:
    interventions = [{"step": record.step, **record.header} for record in contents.of("intervention")]
    return {
        **campaign.header,
        "interventions": interventions,
        "journal": name,
        "ignored_bytes": contents.ignored,
        "stop": [record.header.get("reason") for record in contents.of("stop")],
        "start_monotonic_s": campaign.monotonic,
    }


def _log(contents: Contents, start: float) -> dict[str, nsid.Column]:
    records = contents.records
    return {
        "kind": nsid.Column([record.kind for record in records], "1"),
        "step": nsid.Column(np.array([record.step for record in records], np.int64), "1"),
        "elapsed": nsid.Column(np.array([record.monotonic - start for record in records]), "s"),
        "wall": nsid.Column(np.array([record.wall for record in records]), "s"),
        "header": nsid.Column([dumps(record.header) for record in records], "1"),
    }


def _proposals(records: tuple[JournalRecord, ...], start: float) -> dict[str, nsid.Column]:
    points = [np.atleast_2d(record.arrays["x"]) for record in records if "x" in record.arrays]
    owners = [record for record in records if "x" in record.arrays]
    if not points or len({point.shape[1:] for point in points}) > 1:
        return {}
    counts = [len(point) for point in points]
    return {
        "x": nsid.Column(np.concatenate(points), "1"),
        "step": nsid.Column(np.repeat(np.array([record.step for record in owners], np.int64), counts), "1"),
        "elapsed": nsid.Column(np.repeat([record.monotonic - start for record in owners], counts), "s"),
        "header": nsid.Column(
            [dumps(record.header) for record, n in zip(owners, counts, strict=True) for _ in range(n)], "1"
        ),
    }


def numbers(value: Any, name: str) -> dict[str, float]:
    """The numbers in nested values, by names such as `lengthscale[0]`; of what is no number, none."""
    if isinstance(value, bool | int | float):
        return {name: float(value)}
    if isinstance(value, Mapping):
        parts = [(f"{name}.{key}" if name else key, item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(f"{name}[{index}]", item) for index, item in enumerate(value)]
    else:
        return {}
    return {key: number for part, item in parts for key, number in numbers(item, part).items()}


def _posterior(records: tuple[JournalRecord, ...], part: str) -> nsid.Main | None:
    rows = [numbers(record.header.get(part, {}), "") for record in records]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return None
    steps = np.array([record.step for record in records], np.int64)
    axes = (
        nsid.Axis("step", steps, "1", "step", "TEMPORAL"),
        nsid.Axis("parameter", np.arange(len(names)), "1", "parameter", "CHANNEL"),
    )
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    title = f"posterior {part}"
    return nsid.Main(
        name=title.replace(" ", "_"),
        title=title,
        values=values,
        unit="1",
        quantity=title,
        data_type="LINE_PLOT_FAMILY",
        axes=axes,
        columns={"parameter_names": names},
    )


def plan(contents: Contents, name: str) -> nsid.Plan:
    """Lay out the HDF5 file of a campaign; pure.

    Args:
        contents: a journal, as `read` gives it.
        name: name of the journal, for the metadata.

    Raises:
        ExportError: there is no entry "campaign", or the measurements do not fit together.
    """
    campaigns = contents.of("campaign")
    if not campaigns:
        raise ExportError(f"{name} holds no entry of kind 'campaign', so there is nothing to export")
    campaign = with_axes(campaigns[0], contents)
    start = campaign.monotonic
    summaries = [_posterior(contents.of("posterior"), part) for part in ("mean", "sd", "diagnostics")]
    mains, table = point_cloud.from_measurements(campaign, final_measurements(contents))
    tables = {"log": _log(contents, start)}
    if table:
        tables["readings"] = table
    if proposals := _proposals(contents.of("proposal"), start):
        tables["proposals"] = proposals
    begun = datetime.datetime.fromtimestamp(campaign.wall, datetime.UTC).isoformat()
    kept = tuple(main for main in (*mains, *summaries) if main is not None)
    about = {**_metadata(contents, campaign, name), "units": {main.name: main.unit for main in kept}}
    title = f"campaign {name}"
    instrument = next(iter(contents.of("instrument")), None)
    fields = nexus.items(f"/{nsid.ROOT}", title, campaign, instrument, contents.records[-1].wall)
    return nsid.Plan(kept, tables, about, title, begun, tuple(fields))


def _check_target(hdf5_path: Path) -> None:
    import h5py

    if not hdf5_path.exists():
        return
    refusal = ExportError(f"{hdf5_path} exists and is not an export of a campaign; choose another name")
    try:
        # Through a Python file, which takes no lock: a program that shows the older export does not hinder a new one.
        with hdf5_path.open("rb") as raw, h5py.File(raw, "r") as file:
            ours = file.attrs.get("creator") == nsid.CREATOR
    except OSError as error:
        raise refusal from error
    if not ours:
        raise refusal


def export_hdf5(journal_path: str | Path, hdf5_path: str | Path) -> Path:
    """Write the HDF5 campaign file of a journal; an earlier export of the same name is replaced at once and whole.

    The file is written under a temporary name, synced, read back and compared, and only then renamed: under its own
    name there is always either the old file or the new one. Raw arrays go through memory a few megabytes at a time.

    Args:
        journal_path: the journal; it may be open for writing elsewhere.
        hdf5_path: where to write.

    Returns:
        The path written.

    Raises:
        ExportError: another kind of file has that name, the journal has no campaign, or the file did not read back.
        DiskFull: no room (an OSError).
        OSError: the disk refused in another way; nothing is left behind.
    """
    journal_path, hdf5_path = Path(journal_path), Path(hdf5_path)
    _check_target(hdf5_path)
    items = nsid.layout(plan(read_slim(journal_path, states=False), journal_path.name))
    with files.replacing(hdf5_path) as temporary:
        nsid.write(temporary, items)
    return hdf5_path
