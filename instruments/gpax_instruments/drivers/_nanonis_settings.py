"""Settings of a Nanonis controller that a driver sends, reads back, and that nobody else may change."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gpax_instruments._nanonis_commands import CODES
from gpax_instruments.errors import DeviceError, Interference
from gpax_instruments.links._nanonis import NanonisClient

SAME = 1e-5  # relative: numbers travel in single precision


class Setting(NamedTuple):
    """Something that is set by one command and told by another.

    Attributes:
        name: in messages.
        setter, values: what is sent.
        getter: what is asked.
        wanted: by its place in the answer, what must be told.
        arguments: of the getter.
    """

    name: str
    setter: str
    values: tuple[Any, ...]
    getter: str
    wanted: Mapping[int, Any]
    arguments: tuple[Any, ...] = ()

    def send(self, client: NanonisClient) -> None:
        """Set it, and see that it is so. Raises DeviceError where it was refused, or became something else."""
        client.call(self.setter, *self.values)
        found = self._found(client.call(self.getter, *self.arguments))
        if found is not None:
            raise DeviceError(
                f"{client.link.address}: {self.name}: {list(self.wanted.values())} was asked for, and the controller "
                f"made {found} of it; ask for what it can do"
            )

    def check(self, client: NanonisClient) -> None:
        """Raise Interference where it is not as it was sent."""
        found = self._found(client.again(self.getter, *self.arguments))
        if found is not None:
            raise Interference(
                f"{client.link.address}: {self.name} is {found}, {list(self.wanted.values())} was asked for: does "
                "somebody else use the instrument?"
            )

    def _found(self, answer: list[Any]) -> list[Any] | None:
        """What is told, where it is not what is wanted."""
        told = [answer[place] if place < len(answer) else None for place in self.wanted]
        pairs = zip(told, self.wanted.values(), strict=True)
        return None if all(_same(one, other) for one, other in pairs) else [np.asarray(one).tolist() for one in told]


def _same(told: Any, wanted: Any) -> bool:
    if told is None:
        return False
    told, wanted = np.asarray(told), np.asarray(wanted)
    return told.shape == wanted.shape and bool(np.allclose(told, wanted, rtol=SAME, atol=1e-30))


def code(field: str, word: str) -> int:
    """The code that is sent for a word."""
    return CODES[field].sent[word]


def switch(field: str, on: bool) -> tuple[int, int]:
    """The code that is sent for on or off, and the one by which it is told."""
    word = "on" if on else "off"
    return CODES[field].sent[word], CODES[field].told[word]


def signals(client: NanonisClient, names: tuple[str, ...]) -> dict[int, str]:
    """Index and full name of signals, named with or without the unit.

    Raises:
        DeviceError: one that the controller does not have, with those whose name is like it.
    """
    known = client.call("Signals.NamesGet")[0]
    bare = {name.rpartition(" (")[0] or name: index for index, name in reversed(list(enumerate(known)))}
    full = {name: index for index, name in reversed(list(enumerate(known)))}
    found: dict[int, str] = {}
    for name in names:
        index = full.get(name, bare.get(name))
        if index is None:
            word = name.split(" ")[0].lower()
            like = [one for one in known if word in one.lower()][:8]
            raise DeviceError(
                f"{client.link.address} has no signal {name!r}"
                + (f"; there are {', '.join(like)}" if like else ", nor one like it")
            )
        found[index] = known[index]
    return found


def split_name(label: str) -> tuple[str, str]:
    """Name of an array and its unit, of a label such as "LI Demod 1 X [bwd] (A)"."""
    head, _, unit = label.rpartition(" (")
    if not head or not unit.endswith(")"):
        head, unit = label, "1)"
    words = head.replace("[bwd]", "backward").lower()
    return "_".join("".join(c if c.isalnum() else " " for c in words).split()), unit[:-1] or "1"
