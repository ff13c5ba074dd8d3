"""What is compiled equals what is written, for every public pure function: the core, and that the table is whole."""

import excluded
import public
import pytest
from contexts import findings
from table import Row, rows

CORE = [row for row in rows() if row.core]


@pytest.mark.parametrize("row", CORE, ids=[row.name for row in CORE])
def test_core(row: Row):
    found = findings(row, row.core)
    assert [each for each in found if not each.agrees] == []


def test_every_public_function_stands_in_the_table_or_has_a_reason_not_to():
    known, compared = public.names(), {name for row in rows() for name in row.covers}
    assert sorted(compared - known) == [], "rows for what is not there"
    forgotten = sorted(name for name in known - compared if not excluded.is_excluded(name))
    assert forgotten == [], "add a row (see table.py), or a reason (see excluded.py)"


def test_reasons_are_for_what_is_there_and_not_compared():
    known, compared = public.names(), {name for row in rows() for name in row.covers}
    assert [entry for entry in excluded.entries() if not any(excluded.matches(entry, name) for name in known)] == []
    assert sorted(name for name in compared if excluded.is_excluded(name)) == []
