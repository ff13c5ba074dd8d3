"""What is compiled against what is written: every public pure function, in several contexts, against itself op by op.

The table is that of the tests (`tests/differential`). A jaxlib on which one comparison fails makes wrong numbers out of
right code, and this command says so by its exit status.
"""

import argparse
import sys
from itertools import groupby
from pathlib import Path

import jaxlib
from results import Report

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "differential"))

import contexts
import table


def room(row: table.Row) -> str:
    """The package in which the function lives."""
    return row.covers[0].split(".")[0]


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="every third row of the core (the suite runs all)")
    quick = parser.parse_args().quick
    import gpax_lab

    gpax_lab.setup(cache=False, verbose=False)
    report, version = Report(), f"jaxlib {jaxlib.__version__}"
    compared, failed = 0, []
    known = [row for row in table.rows() if row.core][::3] if quick else table.rows()
    for family, rows in groupby(sorted(known, key=room), key=room):
        found = [each for row in rows for each in contexts.findings(row, row.core if quick else row.contexts)]
        bad = [each for each in found if not each.agrees]
        compared, failed = compared + len(found), failed + bad
        largest = min(max((each.error for each in found), default=0.0), 1e300)  # JSON knows no infinity
        report.result(f"compiled: {family}, comparisons", len(found), version)
        report.result(f"compiled: {family}, failures", len(bad), version)
        report.result(f"compiled: {family}, largest relative error", largest, version)
    report.result("compiled: comparisons", compared, version)
    report.result("compiled: failures", len(failed), version)
    for each in failed:
        report.claim(f"{each.row}, {each.context}: compiled is written (relative error {each.error:.1g})", False)
    report.claim("something was compared", compared > 0)
    report.finish()


if __name__ == "__main__":
    main()
