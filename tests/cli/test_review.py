"""What is said of a journal whose settings this version does not know."""

from pathlib import Path

import pytest

from gpax_lab.cli._review import plan_of
from gpax_lab.settings import SettingsError

FORMER = {
    "campaign": {"steps": 4, "seeds": 4},
    "instrument": {"kind": "twin"},
    "sampler": {"kind": "smc", "draws": 64},
}


def test_a_journal_with_settings_of_a_former_version_is_refused_in_words():
    with pytest.raises(
        SettingsError, match=r"a\.gpxj: sampler\.draws is unknown(.|\n)*former version(.|\n)*storage\.read"
    ):
        plan_of({"settings": FORMER}, Path("a.gpxj"))


def test_a_journal_of_a_users_own_program_is_sent_there():
    with pytest.raises(SettingsError, match="was not written by gpax-lab run"):
        plan_of({}, Path("a.gpxj"))
