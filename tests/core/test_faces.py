"""A face whose names are imported when they are used: all are there, and no subpackage hides one of them."""

import subprocess
import sys

import pytest

CODE = """
import sys, {first}, gpax_lab
assert callable(gpax_lab.hypotheses), gpax_lab.hypotheses
from gpax_lab import hypotheses
assert hypotheses is gpax_lab.hypotheses and callable(hypotheses)
assert not [name for name in gpax_lab.__all__ if not hasattr(gpax_lab, name)]
assert set(gpax_lab.__all__) <= set(dir(gpax_lab))
"""


@pytest.mark.parametrize("first", ["gpax_lab", "gpax_lab.hypotheses", "gpax_lab.experiment"])
def test_every_name_is_there_whatever_was_imported_before(first):
    subprocess.run([sys.executable, "-c", CODE.format(first=first)], timeout=120, check=True)


def test_a_name_that_is_not_there_is_refused():
    import gpax_lab

    with pytest.raises(AttributeError, match="module 'gpax_lab' has no attribute 'nonsense'"):
        _ = gpax_lab.nonsense
