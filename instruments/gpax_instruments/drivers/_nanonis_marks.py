"""The memory of pulses: a mark in the comment of the scan, which the controller keeps and tells.

A pulse leaves no file. So before it the comment says that it is begun, and afterwards that it is done; whoever comes
back after a crash reads it there. The rest of the comment stays as the person wrote it.
"""

import re
from typing import NamedTuple

from gpax_instruments.errors import DeviceError
from gpax_instruments.links._nanonis import NanonisClient

BEGUN, DONE = "begun", "done"
_MARK = re.compile(rf" ?\[gpax ({BEGUN}|{DONE}) ([A-Za-z0-9_.:-]{{1,64}})\]")


class Mark(NamedTuple):
    """What the comment says: BEGUN or DONE, and the token; both empty where it says nothing."""

    state: str = ""
    token: str = ""


def read_mark(client: NanonisClient, again: bool = True) -> Mark:
    """The mark in the comment of the scan."""
    comment = (client.again if again else client.call)("Scan.PropsGet")[4]
    found = _MARK.search(comment)
    return Mark(found[1], found[2]) if found else Mark()


def write_mark(client: NanonisClient, mark: Mark) -> None:
    """Put the mark into the comment, and see it there. Raises DeviceError where the controller does not keep it."""
    _, _, _, series, comment, modules, *_ = client.again("Scan.PropsGet")
    text = f"{_MARK.sub('', comment)} [gpax {mark.state} {mark.token}]".strip()
    client.again("Scan.PropsSet", 0, 0, 0, series, text, modules, 0)
    if read_mark(client) != mark:
        raise DeviceError(
            f"{client.link.address} does not keep the comment of the scan, in which a pulse is noted before it is "
            "given; open the module of the scan. Nothing was pulsed"
        )
