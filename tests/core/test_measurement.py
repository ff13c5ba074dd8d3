"""A measurement keeps its promises, and an instrument has defaults."""

import numpy as np
import pytest

from gpax_lab.core import Axis, Instrument, Measurement


def test_an_array_needs_a_unit_and_a_failure_a_reason():
    with pytest.raises(ValueError, match="every array needs a unit"):
        Measurement({"y": np.zeros(2)}, {}, None)
    with pytest.raises(ValueError, match="must say why"):
        Measurement({}, {}, None, ok=False)


def test_an_instrument_needs_two_methods_and_has_the_cautious_defaults():
    class Bench(Instrument):
        def measure(self, x, token):
            return Measurement({"y": np.sum(x)}, {"y": "1"}, x)

        def make_safe(self):
            pass

    bench = Bench()
    assert isinstance(bench, Instrument)
    assert (bench.repeatable, bench.remembers_token, bench.axes, bench.identity()) == (False, False, None, "")
    assert bench.limits == {}
    bench.repeatable, bench.axes = True, (Axis("x", "m", 0.0, 1.0),)  # as a constructor does
    assert bench.repeatable
    assert bench.axes[0].name == "x"
    assert not Bench().repeatable
    assert bench.measure(np.ones(2), "t").position.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (Instrument,), {"make_safe": Bench.make_safe})()
