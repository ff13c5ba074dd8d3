"""The rest of the table: all that is no model. Minutes long."""

import pytest
from contexts import findings
from table import Row, rows

REST = [row for row in rows("others") if set(row.contexts) - set(row.core)]


@pytest.mark.slow
@pytest.mark.parametrize("row", REST, ids=[row.name for row in REST])
def test_rest(row: Row):
    found = findings(row, tuple(context for context in row.contexts if context not in row.core))
    assert [each for each in found if not each.agrees] == []
