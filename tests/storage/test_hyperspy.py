"""Axes and units of HyperSpy's files, and the formulas in them."""

import numpy as np
import pytest
from formats import along, signal

from gpax_lab.storage import UnreadableFile, load
from gpax_lab.storage._dataset import SPATIAL, SPECTRAL, axis
from gpax_lab.storage.readers import _expression as expression


def written(path, data, axes, quantity=""):
    hspy = pytest.importorskip("rsciio.hspy", reason="the extra `files` is not installed")
    about = signal(data, axes)
    about["metadata"]["Signal"]["quantity"] = quantity
    hspy.file_writer(str(path), about)
    return next(iter(load(path).values()))


def test_a_functional_axis_is_its_expression(tmp_path):
    x = {"_type": "UniformDataAxis", "scale": 2.0, "offset": 400.0, "size": 5}
    energy = {"_type": "FunctionalDataAxis", "expression": "a / x + b", "a": 1239.8, "b": 0.5, "name": "Energy"}
    energy |= {"units": "eV", "navigate": False, "is_binned": False, "x": x}
    found = written(tmp_path / "a.hspy", np.arange(5.0), [energy])
    np.testing.assert_allclose(found.axes[0].values, 1239.8 / (400.0 + 2.0 * np.arange(5)) + 0.5)
    assert (found.axes[0].name, found.axes[0].unit, found.axes[0].kind) == ("Energy", "eV", SPECTRAL)


def test_a_unit_is_never_invented(tmp_path):
    line = [along("x", "nm", 1.0, 0.0, 3)]
    assert written(tmp_path / "a.hspy", np.ones(3), line).unit == "a.u."
    assert written(tmp_path / "b.hspy", np.ones(3), line, "Height (nm)").unit == "nm"


@pytest.mark.parametrize(
    ("name", "unit", "kind"),
    [
        ("x", "nm", SPATIAL),
        ("x", "keV", SPECTRAL),
        ("Wavelength", "nm", SPECTRAL),
        ("Current", "A", SPECTRAL),
        ("x", "A", SPATIAL),
        ("y", "", SPATIAL),
        ("distance", "µm", SPATIAL),
        ("height", "\u212b", SPATIAL),
        ("z", "V", SPECTRAL),
    ],
)
def test_kinds_of_axes_follow_from_unit_and_name(tmp_path, name, unit, kind):
    found = written(tmp_path / "a.hspy", np.ones(3), [along(name, unit, 1.0, 0.0, 3)])
    assert found.axes[0].kind == kind
    if unit:
        assert axis(name, np.arange(3.0), unit).kind == kind


@pytest.mark.parametrize(
    "text", ["__import__('os')", "x.real", "(lambda: 1)()", "x[0]", "1 +", "unknown", "'a'", "True", "1+" * 600 + "1"]
)
def test_formulas_are_arithmetic_and_nothing_else(text):
    with pytest.raises(UnreadableFile, match="formula"):
        expression.evaluate(text, {"x": np.arange(3.0)})


def test_formulas_have_the_value_of_their_arithmetic():
    np.testing.assert_allclose(expression.evaluate("sin(pi*x)+x**2", {"x": 0.5}), 1.25)
    assert np.isinf(expression.evaluate("9**9**9**9", {}))  # in floating point: at once
