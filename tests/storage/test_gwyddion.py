"""Gwyddion files, written part by part."""

import struct

import numpy as np
import pytest
import vendors

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage._dataset import SPATIAL, SPECTRAL

IMAGE = np.random.default_rng(6).normal(size=(3, 4))


def line(values, real, offset=0.0):
    parts = [("res", "i", len(values)), ("real", "d", real), ("off", "d", offset)]
    parts += [("si_unit_x", "o", vendors.unit("V")), ("si_unit_y", "o", vendors.unit("A")), ("data", "D", values)]
    return ("GwyDataLine", parts)


def test_an_image_a_mask_and_what_is_said_of_them(tmp_path):
    meta = ("GwyContainer", [("Bias", "s", "0.5 V"), ("type", "s", "kept out")])
    place = vendors.gwy(
        tmp_path / "a.gwy",
        [
            ("/filename", "s", "a.gwy"),
            ("/0/data", "o", vendors.field(IMAGE, (4e-8, 6e-8), (1e-8, -2e-8))),
            ("/0/data/title", "s", "Höhe"),
            ("/0/mask", "o", vendors.field(IMAGE > 0, (4e-8, 6e-8), z="")),
            ("/0/base/range-type", "i", 2),
            ("/0/data/visible", "b", 1),
            ("/0/select/point", "o", ("GwySelectionPoint", [("max", "i", 1), ("data", "D", [1.0, 2.0])])),
            ("/0/meta", "o", meta),
            ("/1/data", "o", vendors.field(2 * IMAGE, (4e-8, 6e-8), z="V")),
            ("/1/data/title", "s", "Höhe"),
            ("/long", "q", 2**40),
            ("/names", "S", ["a", "b"]),
            ("/list", "I", [1, 2, 3]),
        ],
    )
    found = load(place)
    assert list(found) == ["Höhe", "Höhe mask", "Höhe_2"]
    height = found["Höhe"]
    np.testing.assert_array_equal(height.values, IMAGE)
    np.testing.assert_allclose(height.axis("x").values, 1e-8 + 1e-8 * np.array([0.5, 1.5, 2.5, 3.5]))
    np.testing.assert_allclose(height.axis("y").values, -2e-8 + 2e-8 * np.array([0.5, 1.5, 2.5]))
    assert (height.unit, height.axis("x").unit, height.data_type) == ("m", "m", "IMAGE")
    assert height.metadata == {"Bias": "0.5 V", "place": "/0/data"}
    assert found["Höhe_2"].unit == "V"
    np.testing.assert_array_equal(found["Höhe mask"].values, IMAGE > 0)


def test_volumes_curves_surfaces_and_spectra(tmp_path):
    cube = np.random.default_rng(7).normal(size=(2, 3, 4))
    sizes = [(f"{name}res", "i", n) for name, n in zip("zyx", cube.shape, strict=True)]
    brick = [*sizes, *((f"{name}real", "d", 1e-9 * n) for name, n in zip("yx", (3, 4), strict=True)), ("zreal", "d", 4)]
    brick += [("si_unit_x", "o", vendors.unit("m")), ("si_unit_y", "o", vendors.unit("m"))]
    brick += [("si_unit_z", "o", vendors.unit("V")), ("si_unit_w", "o", vendors.unit("A")), ("data", "D", cube)]
    curve = ("GwyGraphCurveModel", [("description", "s", "up"), ("xdata", "D", [0, 1]), ("ydata", "D", [5, 6])])
    graph = [("title", "s", "Loop"), ("bottom_label", "s", "Bias"), ("left_label", "s", "Current")]
    graph += [("x_unit", "o", vendors.unit("V")), ("y_unit", "o", vendors.unit("A")), ("curves", "O", [curve, curve])]
    surface = [("si_unit_xy", "o", vendors.unit("m")), ("si_unit_z", "o", vendors.unit("m")), ("data", "D", range(6))]
    spectra = [("title", "s", "IV"), ("si_unit_xy", "o", vendors.unit("m")), ("coords", "D", [1, 2, 3, 4])]
    spectra += [("data", "O", [line([1, 2, 3], 3.0), line([4, 5, 6], 3.0)]), ("spec_xlabel", "s", "Bias")]
    found = load(
        vendors.gwy(
            tmp_path / "a.gwy",
            [
                ("/brick/0", "o", ("GwyBrick", brick)),
                ("/brick/0/title", "s", "Volume"),
                ("/0/graph/graph/1", "o", ("GwyGraphModel", graph)),
                ("/surface/0", "o", ("GwySurface", surface)),
                ("/sps/0", "o", ("GwySpectra", spectra)),
            ],
        )
    )
    assert list(found) == ["Volume", "Loop up", "Loop up_2", "surface_0", "IV"]
    np.testing.assert_array_equal(found["Volume"].values, cube)
    assert [one.kind for one in found["Volume"].axes] == [SPECTRAL, SPATIAL, SPATIAL]
    np.testing.assert_allclose(found["Volume"].axis("z").values, [1.0, 3.0])
    assert (found["Loop up"].axis("Bias").unit, found["Loop up"].unit) == ("V", "A")
    assert found["Loop up_2"].values.tolist() == [5, 6]
    assert found["surface_0"].values.tolist() == [2, 5]
    assert found["surface_0"].metadata["X"].tolist() == [0, 3]
    assert found["IV"].values.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert found["IV"].axis("Bias").values.tolist() == [0.5, 1.5, 2.5]
    assert found["IV"].metadata["Y"].tolist() == [2, 4]


def test_damage_is_told(tmp_path):
    place = vendors.gwy(tmp_path / "a.gwy", [("/0/data", "o", vendors.field(IMAGE, (1, 1)))])
    whole = place.read_bytes()
    for changed, text in (
        (b"GWYO" + whole[4:], "GWYP"),
        (whole[:-4], "longer than what holds it"),
        (whole.replace(b"xres\0i\x04", b"xres\0i\x05"), "do not fill 3 x 5"),
        (whole.replace(b"xres\0i", b"xres\0w"), "unknown type 'w'"),
        (whole.replace(b"data\0D\x0c\0\0\0", b"data\0D\xff\xff\xff\xff"), "4294967295 numbers"),
        (whole.replace(b"GwyContainer", b"GwyContainex"), "instead of a container"),
        (whole[:10], "no end"),
    ):
        place.write_bytes(changed)
        with pytest.raises(UnreadableFile, match=text):
            load(place)
    deep = b""
    for _ in range(200):
        deep = b"a\0o" + b"GwyContainer\0" + struct.pack("<I", len(deep)) + deep
    place.write_bytes(b"GWYPGwyContainer\0" + struct.pack("<I", len(deep)) + deep)
    with pytest.raises(UnreadableFile, match="deep in one another"):
        load(place)
    with pytest.raises(UnreadableFile, match="holds no data set"):
        load(vendors.gwy(place, [("/filename", "s", "a")]))
