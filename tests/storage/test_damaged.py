"""Damaged files of every format: one kind of error, in bounded memory."""

import random
import tracemalloc

import formats
import numpy as np
import pytest
from test_round_trip import needed

from gpax_lab.storage import UnreadableFile, load

SPARE = 8_000_000  # bytes that reading takes whatever the size of a file
STRICT = ("panta.prz", "empad.xml")  # a zip file, which has sums of all its parts; a few words of XML
HOSTILE = (b"\xff\xff\xff\x7f", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"9999")


def damaged(whole, rng):
    """The bytes cut, changed, overwritten with a hostile number, or with some of them missing."""
    raw = bytearray(whole)
    head = min(len(raw), rng.choice((64, 400, 2000, len(raw))))
    at = rng.randrange(head)
    how = rng.randrange(4)
    if how == 0:
        return raw[: rng.randrange(len(raw))]
    if how == 1:
        for _ in range(rng.randrange(1, 8)):
            raw[rng.randrange(head)] = rng.randrange(256)
    elif how == 2:
        hostile = rng.choice(HOSTILE)
        raw[at : at + len(hostile)] = hostile
    else:
        del raw[at : at + rng.randrange(1, 64)]
    return raw


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_damaged_file_is_read_or_refused(name, tmp_path):
    needed(name)
    path, _ = formats.make(name, tmp_path)
    whole = path.read_bytes()
    load(path)  # what is imported is not what a file takes
    rng, refused = random.Random(name), 0
    for trial in (whole[:1], whole[:-1] + bytes([whole[-1] ^ 1]), *(damaged(whole, rng) for _ in range(13))):
        path.write_bytes(trial)
        tracemalloc.start()
        try:
            found, refusal = load(path), name
        except UnreadableFile as error:
            found, refusal = {}, str(error)
            refused += 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert name in refusal
        assert all(one.values.dtype.isnative for one in found.values())
        assert peak < SPARE + 4 * len(whole)
    assert refused > 0
    assert refused < 15 or name in STRICT


def test_a_large_file_takes_less_than_four_times_its_size(tmp_path):
    rng = np.random.default_rng(0)
    image, table = rng.normal(size=(900, 900)), rng.normal(size=(20_000, 6))
    (tmp_path / "a.csv").write_text("a,b,c,d,e,f\n" + "\n".join(",".join(f"{v:.4g}" for v in row) for row in table))
    text = "\n".join("\t".join(f"{v:.4g}" for v in row) for row in table)
    (tmp_path / "a.dat").write_text("[DATA]\na\tb\tc\td\te\tf\n" + text)
    formats.vendors.sxm(tmp_path / "a.sxm", [image, image], [("Z", "m", "both")], angle=10.0)
    formats.vendors.ibw(tmp_path / "a.ibw", image.astype(np.float32), big=True)
    formats.vendors.gwy(tmp_path / "a.gwy", [("/0/data", "o", formats.vendors.field(image, (1, 1)))])
    data, parameters = image.astype(np.float32).reshape(90, 90, 1, 100), np.zeros((90, 90, 3), np.float32)
    formats.vendors.grid(tmp_path / "a.3ds", data, parameters, ["I (A)"], ["Z (m)"])
    for path in sorted(tmp_path.iterdir()):
        tracemalloc.start()
        load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * path.stat().st_size, path.name


def test_an_unknown_file_gets_the_list_of_what_can_be_read(tmp_path):
    for name in ("a.xyz", "a"):
        (tmp_path / name).write_bytes(b"1")
        with pytest.raises(UnreadableFile, match=r"there are .*\.3ds, .*\.bcf, .*\.csv, .*\.gwy, .*\.sxm"):
            load(tmp_path / name)
