"""What is said of a journal whose settings this version does not know."""

from dataclasses import replace
from pathlib import Path

import pytest

from gpax_lab.cli._review import _with_unit, plan_of
from gpax_lab.settings import SettingsError, build, parse
from gpax_lab.settings._quantity import UNKNOWN_UNIT
from gpax_lab.storage import Contents, JournalRecord

GOOD = {"campaign": {"steps": 30}, "instrument": {"kind": "twin"}}

FORMER = {
    "campaign": {"steps": 4, "seeds": 4},
    "instrument": {"kind": "twin"},
    "sampler": {"kind": "smc", "draws": 64},
}


@pytest.mark.parametrize(
    ("former", "words"),
    [
        (FORMER, r"sampler\.draws is unknown"),
        (GOOD | {"campaign": {"steps": 4, "failures": 2}}, r"campaign\.failures is unknown(.|\n)*\"max_failures\""),
        (
            GOOD | {"model": {"noise": {"kind": "student", "freedom": 4.0}}},
            r"model\.noise\.freedom is unknown(.|\n)*df",
        ),
    ],
)
def test_a_journal_with_settings_of_a_former_version_is_refused_in_words(former, words):
    with pytest.raises(SettingsError, match=rf"a\.gpxj: {words}(.|\n)*former version(.|\n)*storage\.read"):
        plan_of({"settings": former}, Path("a.gpxj"))


def test_a_journal_of_a_users_own_program_is_sent_there():
    with pytest.raises(SettingsError, match="was not written by gpax-lab run"):
        plan_of({}, Path("a.gpxj"))


def test_the_unit_of_a_quantity_is_that_of_the_measurements_where_nobody_knew_it_before():
    settings = {"quantity": {"scalarizer": "mean_of", "array": "response"}} | GOOD
    plan = build(parse(settings))
    plan = replace(plan, quantity=plan.quantity | {"unit": UNKNOWN_UNIT})
    reading = JournalRecord("reading", 0, {"units": {"response": "K"}}, {}, 0.0, 0.0)
    assert _with_unit(plan, Contents((reading,), 0)).quantity["unit"] == "K"
    assert _with_unit(plan, Contents((), 0)).quantity["unit"] == UNKNOWN_UNIT
    named = replace(plan, quantity={"name": "heat", "unit": "W"})
    assert _with_unit(named, Contents((reading,), 0)).quantity["unit"] == "W"
