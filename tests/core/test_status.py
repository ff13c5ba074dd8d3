"""The worst of many results, and what is refused in words."""

import numpy as np
import pytest

from gpax_lab.core import Status


def test_the_worst_of_one_array_is_one_code():
    codes = np.array([[Status.OK, Status.SINGULAR], [Status.POOR_FIT, Status.OK]], np.int8)
    assert Status.of(Status.worst_of(codes)) == Status.SINGULAR
    assert Status.of(Status.worst_of(np.zeros(0, np.int8))) == Status.OK
    assert Status.of(Status.worst_of(Status.POOR_FIT)) == Status.POOR_FIT


def test_the_worst_of_several_is_taken_place_by_place():
    worst = Status.worst_of(np.array([0, 5]), np.array([4, 4]))
    assert [Status.of(code) for code in worst] == [Status.FACTORISATION_FAILED, Status.NOT_FINITE]


@pytest.mark.parametrize("cases", [(Status.OK,), (0, 5), (np.array([0, 5]),), ((True, 5),)])
def test_codes_without_conditions_are_refused(cases):
    with pytest.raises(TypeError, match="worst_of"):
        Status.worst(*cases)


def test_nothing_has_no_worst():
    with pytest.raises(TypeError, match="one or more"):
        Status.worst_of()


def test_numbers_in_journals_keep_their_meaning():
    samplers = {0: "OK", 1: "NOT_MIXED", 2: "DIVERGENT", 3: "SATURATED", 4: "FACTORISATION_FAILED", 5: "NOT_FINITE",
                6: "NOT_A_MAXIMUM", 7: "NOT_GAUSSIAN", 8: "MOVES_NOT_MIXED", 9: "TEMPERING_INCOMPLETE",
                10: "NOT_SOLVED", 11: "STILL_CLIMBING", 12: "MORE_MODES", 13: "CONTRADICTION",
                14: "NOT_POSITIVE_DEFINITE"}  # fmt: skip
    assert {number: Status(number).name for number in samplers} == samplers
