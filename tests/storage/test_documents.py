"""Journals as documents of bluesky's event model, checked by its own schemas and readers."""

import io
import itertools
import json
import math
import re
import tracemalloc

import campaigns
import numpy as np
import pytest

from gpax_lab.storage import ExportError, documents
from gpax_lab.storage._documents import write_documents
from gpax_lab.storage._errors import JournalCorrupt, JournalMissing
from gpax_lab.storage._journal import Journal
from gpax_lab.storage._records import OLD_HEADER, JournalRecord, Stamp, encode

NAN = float("nan")


def _streams(found):
    """Events by name of stream, as one row of data each, and the descriptors."""
    names, rows, descriptors = {}, {}, {}
    for name, document in found:
        if name == "descriptor":
            names[document["uid"]] = document["name"]
            descriptors[document["name"]] = document
        elif name == "event":
            rows.setdefault(names[document["descriptor"]], []).append(document["data"])
    return rows, descriptors


def _told(tmp_path, rows, header=campaigns.HEADER, name="a.gpxj", stop=True):
    with Journal.create(tmp_path / name, header) as journal:
        for step, (head, arrays) in enumerate(rows):
            journal.append(("reading", step, {"token": str(step), **head}, arrays))
        if stop:
            journal.append(("stop", len(rows), {"reason": "all steps are done", "finished": True}, {}))
    return tmp_path / name


def test_a_campaign_is_told_in_streams_with_units_limits_and_failures(tmp_path):
    journal = campaigns.write(tmp_path / "film.gpxj", 5, failed=(1,))
    found = list(documents(journal))
    assert found[0][0] == "start"
    rows, descriptors = _streams(found)
    start, stop = found[0][1], found[-1][1]
    assert start["motors"] == ["x", "y"]
    assert start["hints"]["dimensions"] == [[["x"], "primary"], [["y"], "primary"]]
    assert start["campaign"]["settings"]["stop"] == {"target": 1.5, "patience": None}
    assert stop["exit_status"] == "success"
    assert stop["num_events"] == {"proposals": 5, "primary": 5, "posterior": 5, "interventions": 1, "log": 1}
    keys = descriptors["primary"]["data_keys"]
    assert (keys["x"]["units"], keys["x"]["limits"]) == ("m", {"control": {"low": 0.0, "high": 1e-6}})
    assert keys["x"]["precision"] == 9  # a nanometre in metres
    assert descriptors["primary"]["hints"] == {name: {"fields": [name]} for name in ("x", "y", "loop_area")}
    assert descriptors["proposals"]["hints"] == {"gpax_lab": {"fields": ["acquisition"]}}
    assert (keys["loop_area"]["units"], keys["response"]["units"], keys["response"]["shape"]) == ("V", "pm", [16])
    primary = rows["primary"]
    known = [NAN if step == 1 else value for step, value in enumerate(campaigns.values(5))]
    np.testing.assert_array_equal([row["loop_area"] for row in primary], known)
    np.testing.assert_array_equal([[row["x"], row["y"]] for row in primary], campaigns.positions(5))
    assert [row["reason"] for row in primary] == ["", "saturated", "", "", ""]
    assert [row["ok"] for row in primary] == [True, False, True, True, True]
    responses = campaigns.responses(5)
    responses[1] = np.nan
    np.testing.assert_array_equal([row["response"] for row in primary], responses)
    np.testing.assert_array_equal(rows["posterior"][3]["lengthscale_0_mean"], 0.1 * 3)
    assert rows["posterior"][0]["rhat_noise"] == 1.01
    np.testing.assert_array_equal([row["asked"] for row in rows["proposals"]], campaigns.positions(5) * 1e6)
    assert json.loads(rows["interventions"][0]["details"])["what"] == "veto"


def test_times_are_those_of_the_records_and_twice_gives_the_same(tmp_path):
    journal = campaigns.write(tmp_path / "film.gpxj", 3, failed=(2,))
    first, second = io.BytesIO(), io.BytesIO()
    assert write_documents(journal, first) == write_documents(journal, second) == len(first.getvalue().splitlines())
    assert first.getvalue() == second.getvalue()
    with Journal.open(journal) as file:
        file.append(("reading", 4, {"value": 1.0, "token": "4"}, {"position": np.zeros(2)}))
    uids = [{document["uid"] for _, document in found} for found in (documents(journal), _lines(first))]
    assert len(uids[1] - uids[0]) == 1  # all stay but that of the stop document
    other = {document["uid"] for _, document in documents(campaigns.write(tmp_path / "other.gpxj", 3))}
    assert not other & uids[0]


def _lines(file):
    return [(line["name"], line["doc"]) for line in map(json.loads, file.getvalue().splitlines())]


def test_a_later_word_counts(tmp_path):
    rows = [({"value": 1.0}, {"x": np.ones(1), "noise": np.asarray(0.25), "y": np.asarray(1.0)}) for _ in range(2)]
    blind = {"value": NAN, "ok": False, "reason": "the scalarizer raised"}
    rows.append((blind, {"x": np.ones(1), "noise": np.asarray(0.0), "y": np.asarray(NAN)}))
    journal = _told(tmp_path, rows, stop=False)
    with Journal.open(journal) as file:
        number = {"y": np.asarray(7.5), "noise": np.asarray(0.09)}
        file.append(("reread", 3, {"token": "2", "value": 7.5, "scalarizer": "mended"}, number))
        file.append(("intervention", 3, {"action": "discard", "token": "0", "why": "drift"}, {}))
    rows, _ = _streams(documents(journal))
    np.testing.assert_array_equal([row["loop_area"] for row in rows["primary"]], [NAN, 1.0, 7.5])
    np.testing.assert_allclose([row["loop_area_sd"] for row in rows["primary"]], [NAN, 0.5, 0.3])
    assert [row["reason"] for row in rows["primary"]] == ["discarded: drift", "", ""]
    assert [row["ok"] for row in rows["primary"]] == [False, True, True]
    assert rows["log"][0]["kind"] == "reread"


def test_axes_that_only_the_instrument_told(tmp_path):
    with Journal.create(tmp_path / "a.gpxj", {}) as file:
        file.append(("instrument", 0, {"axes": [["angle", "rad", -1.0, 1.0]], "identity": "a", "limits": {}}, {}))
        file.append(("reading", 0, {"value": 1.0, "token": "0"}, {"x": np.full(1, 0.5)}))
    rows, descriptors = _streams(documents(tmp_path / "a.gpxj"))
    assert rows["primary"][0]["angle"] == 0.5
    angle = descriptors["primary"]["data_keys"]["angle"]
    assert (angle["units"], angle["limits"]["control"]) == ("rad", {"low": -1.0, "high": 1.0})
    assert descriptors["primary"]["configuration"]["value"]["data"] == {"identity": "a"}


def test_arrays_of_another_shape_integers_and_complex_numbers(tmp_path):
    rows = [({"value": 1.0}, {"x": np.zeros(1), "raw/y": np.arange(3.0 + (step == 2))}) for step in range(4)]
    rows[0][1]["raw/image"] = np.ones((2, 3), np.uint8)
    for _, arrays in rows:
        arrays["raw/z"] = np.arange(2) + 1j
        arrays["raw/count"] = np.asarray(7, np.uint16)
    rows, descriptors = _streams(documents(_told(tmp_path, rows, {"axes": []})))
    primary = rows["primary"]
    np.testing.assert_array_equal(primary[0]["y"], np.arange(3.0))
    assert np.isnan(primary[2]["y"]).all()
    np.testing.assert_array_equal(primary[0]["z_real"], [0.0, 1.0])
    np.testing.assert_array_equal(primary[3]["z_imag"], [1.0, 1.0])
    assert primary[1]["count"] == 7
    assert descriptors["primary"]["data_keys"]["count"]["dtype"] == "integer"
    assert [(row["measurement"], row["image"]) for row in rows["raw"]] == [(1, [[1, 1, 1], [1, 1, 1]])]
    assert descriptors["raw"]["data_keys"]["image"]["dtype_numpy"] == "|u1"
    assert [(row["measurement"], row["y"].tolist()) for row in rows["raw_2"]] == [(3, [0.0, 1.0, 2.0, 3.0])]
    assert descriptors["raw_2"]["data_keys"]["y"]["shape"] == [4]


def test_how_a_campaign_ended(tmp_path):
    measured = ({"value": 1.0}, {"x": np.zeros(1)})
    journal = _told(tmp_path, [measured])
    *_, (_, stop) = documents(journal)
    assert (stop["exit_status"], stop["reason"]) == ("success", "all steps are done")
    with Journal.open(journal) as file:
        file.append(("resume", 1, {}, {}), ("reading", 1, {"value": 2.0, "token": "1"}, {"x": np.zeros(1)}))
    with journal.open("ab") as file:
        file.write(b"torn")
    *_, (_, stop) = documents(journal)
    assert stop["exit_status"] == "abort"
    assert "cut off" in stop["reason"]
    assert "4 bytes" in stop["reason"]
    with Journal.open(journal) as file:
        file.append(("stop", 2, {"reason": "a person asked", "finished": False}, {}), ("timing", 2, {}, {}))
    *_, (_, stop) = documents(journal)
    assert (stop["exit_status"], stop["reason"]) == ("abort", "a person asked")


def test_a_journal_of_the_first_version_has_uids_of_its_own(tmp_path):
    """It has no random name: what its first record says stands for it."""
    uids = []
    for wall in (2.0, 2.0, 3.0):
        data = OLD_HEADER
        for step, kind in enumerate(["campaign", "reading"]):
            record = JournalRecord(kind, step, {"token": str(step)}, {"x": np.arange(3.0)}, 1.0, wall)
            data += encode(record, Stamp(b"", 0, len(data), len(data)))
        (tmp_path / "old.gpxj").write_bytes(data)
        uids.append([document["uid"] for _, document in documents(tmp_path / "old.gpxj")])
    assert len(uids[0]) == 4
    assert uids[0] == uids[1]
    assert not set(uids[0]) & set(uids[2])


def test_what_can_not_be_told_is_an_error_at_once(tmp_path):
    with pytest.raises(JournalMissing):
        documents(tmp_path / "none.gpxj")
    with pytest.raises(ExportError, match="coordinates"):
        documents(_told(tmp_path, [({}, {"x": np.zeros(1)}), ({}, {"x": np.zeros(2)})]))
    journal = campaigns.write(tmp_path / "film.gpxj", 4)
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 0xFF
    journal.write_bytes(data)
    with pytest.raises(JournalCorrupt):
        documents(journal)


def test_arrays_are_read_when_their_event_is_asked_for(tmp_path):
    """Of 60 images of half a megabyte, a reader that keeps none holds never more than a few."""
    image = np.random.default_rng(3).random((256, 256))
    journal = _told(tmp_path, [({"value": 1.0}, {"x": np.zeros(1), "raw/image": image + i}) for i in range(60)], {})
    tracemalloc.start()
    count = sum(name == "event" for name, _ in documents(journal))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 61
    assert peak < 6 * image.nbytes


def _journals(tmp_path):
    """Journals with all that documents have to tell."""
    yield campaigns.write(tmp_path / "film.gpxj", 4, failed=(0, 2))
    yield campaigns.write(tmp_path / "empty.gpxj", 0, header={**campaigns.HEADER, "a.b/c": {"d.e": NAN}})
    with Journal.create(tmp_path / "odd.gpxj", {"quantity": [{"name": "time", "unit": "s"}, {"name": "b/µ"}]}) as file:
        file.append(("instrument", 0, {"identity": "a,b,1,2", "limits": {"max.bias": 3.0}}, {}))
        for step in range(3):
            arrays = {"x": np.zeros(3), "raw/a b": np.arange(2 + step % 2), "raw/one": np.asarray(1.5)}
            file.append(("reading", step, {"value": [1.0, step], "token": str(step)}, arrays))
        file.append(("intervention", 3, {"action": "discard", "token": "1", "why": "drift"}, {}))
    yield tmp_path / "odd.gpxj"


def test_the_schemas_of_event_model_are_kept(tmp_path):
    event_model = pytest.importorskip("event_model")
    for journal in _journals(tmp_path):
        for name, document in documents(journal):
            event_model.schema_validators[event_model.DocumentNames[name]].validate(document)
        kept = io.BytesIO()
        write_documents(journal, kept)
        for name, document in _lines(kept):
            event_model.schema_validators[event_model.DocumentNames[name]].validate(document)


def test_event_models_own_readers_take_them(tmp_path):
    event_model = pytest.importorskip("event_model")
    journal = campaigns.write(tmp_path / "film.gpxj", 6, failed=(1,))
    taken = []

    class Reader(event_model.DocumentRouter):
        def start(self, doc):
            taken.append(doc["uid"])

        def event(self, doc):
            taken.append(float(doc["data"].get("loop_area", math.inf)))

        def stop(self, doc):
            taken.append(doc["run_start"])

    router = event_model.RunRouter([lambda name, doc: ([Reader()], [])])
    found = list(documents(journal))
    for name, document in found:
        router(name, document)
    assert taken[0] == taken[-1] == found[0][1]["uid"]
    known = [NAN if step == 1 else value for step, value in enumerate(campaigns.values(6))]
    np.testing.assert_array_equal([one for one in taken[1:-1] if one != math.inf], known)
    primary = found_primary(found)
    page = event_model.pack_event_page(*primary)
    assert [event["uid"] for event in event_model.unpack_event_page(page)] == [event["uid"] for event in primary]
    assert event_model.verify_filled(page) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_bluesky_shows_a_campaign_as_a_table(tmp_path):
    callbacks = pytest.importorskip("bluesky.callbacks")
    lines = []
    table = callbacks.LiveTable(["x", "y", "loop_area"], out=lines.append)
    for name, document in documents(campaigns.write(tmp_path / "film.gpxj", 3, failed=(1,))):
        table(name, document)
    rows = [line.strip("|").split("|") for line in lines if re.match(r"\|\s+\d", line)]
    shown = np.array([[float(row[i]) for i in (2, 3, 4)] for row in rows])
    known = [NAN if step == 1 else value for step, value in enumerate(campaigns.values(3))]
    np.testing.assert_allclose(shown[:, :2], campaigns.positions(3), atol=6e-10, rtol=0)
    np.testing.assert_allclose(shown[:, 2], known, atol=6e-4, rtol=0)
    assert any("journal gpax_lab campaign" in line for line in lines)


def found_primary(found):
    uid = next(document["uid"] for name, document in found if name == "descriptor" and document["name"] == "primary")
    return [document for name, document in found if name == "event" and document["descriptor"] == uid]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of packages that only this test imports
def test_tiled_keeps_a_campaign_and_gives_it_back(tmp_path):
    plugins = pytest.importorskip("bluesky_tiled_plugins")
    catalog = pytest.importorskip("tiled.catalog")
    from tiled.client import from_context
    from tiled.client.context import Context
    from tiled.server.app import build_app

    tree = catalog.in_memory(writable_storage=[f"file://localhost{tmp_path}/kept", f"duckdb:///{tmp_path}/kept.duckdb"])
    rows = [({"value": 1.0 + i}, {"x": np.full(2, 0.1 * i), "raw/image": np.ones((8, 9)) * i}) for i in range(3)]
    rows[1][1]["raw/image"] = np.ones((2, 3))
    rows[0][1]["raw/few"] = np.ones((2, 2))
    journals = [campaigns.write(tmp_path / "film.gpxj", 6, failed=(1,)), _told(tmp_path, rows)]
    with Context.from_app(build_app(tree)) as context:
        client = from_context(context)
        writer = plugins.TiledWriter(client, max_array_size=0)  # else small images are kept as text
        for name, document in itertools.chain.from_iterable(map(documents, journals)):
            writer(name, document)
        uids = [next(documents(journal))[1]["uid"] for journal in journals]
        run = client[uids[0]]
        assert run.metadata["stop"]["exit_status"] == "success"
        assert set(run) == {"primary", "proposals", "posterior", "interventions", "log"}
        primary = run["primary"]
        known = [NAN if step == 1 else value for step, value in enumerate(campaigns.values(6))]
        np.testing.assert_array_equal(primary["loop_area"].read(), known)
        responses = campaigns.responses(6)
        responses[1] = np.nan
        np.testing.assert_array_equal(primary["response"].read(), responses)
        images = client[uids[1]]["primary"]["image"].read()
        np.testing.assert_array_equal(images[:, 0, 0], [0.0, NAN, 2.0])
        np.testing.assert_array_equal(client[uids[1]]["raw"]["image"].read(), np.ones((1, 2, 3)))
