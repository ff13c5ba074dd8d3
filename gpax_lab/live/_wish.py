"""What a person wishes of a running campaign, as data: checked when it comes in, kept in a file until it is taken."""

import json
import math
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gpax_lab.experiment.interventions import Adopt, Discard, Intervention, Pin, Reject, Rescale, Reweigh, Veto
from gpax_lab.storage import _files as files

LARGEST = 64 << 10
"""Bytes of a wish as JSON text."""
_ID = re.compile(r"[0-9a-f]{16}")
_POINTS, _AXES, _WORDS, _NAME = 64, 64, 1000, 80

CONTROLS = ("pause", "resume", "safe", "stop", "answer", "approve", "decline")
"""Acts on the loop itself: they are no interventions, and of an earlier program they mean nothing any more."""

_GIVEN: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pause": ((), ()),
    "resume": ((), ()),
    "safe": ((), ()),
    "stop": ((), ()),
    "answer": (("stop",), ()),
    "approve": (("asked",), ()),
    "decline": (("asked",), ()),
    "pin": (("x",), ()),
    "veto": ((), ("x", "box")),
    "reweigh": (("weights",), ()),
    "rescale": (("scalarizer",), ()),
    "adopt": (("name", "formula", "prior"), ("units", "inputs", "share", "noise")),
    "reject": (("name", "formula"), ()),
    "discard": (("token",), ()),
    "suggest": ((), ("count",)),
    "tell": (("y",), ("x", "id", "noise", "failed")),
}
"""What each act needs, and what it may be given beside."""
ACTIONS = tuple(_GIVEN)


class BadWish(ValueError):
    """It can not be understood, or asks for what is not allowed; the text says why."""


@dataclass(frozen=True)
class Wish:
    """A wish of a person or a program.

    Attributes:
        action: "pause", "resume", "safe", "stop", "answer", "pin", "veto", "reweigh", "rescale", "adopt", "reject"
            or "discard"; "approve" or "decline" what a program asks for; of campaigns without an instrument "suggest"
            or "tell".
        given: what it needs, as plain values: `x` (n, d) or `box` (d, 2) in the units of the axes, `weights`,
            `scalarizer`, `name`, `formula`, `prior`, `stop`, `token` of a measurement, `asked` (the `id` of another
            wish), `count`, `y`, `id`.
        by: who wishes it.
        why: for what reason.
        id: 16 hexadecimal digits.
        at: when, s since 1970.
        asks: whether a person has to approve it before it is taken.

    Raises:
        BadWish: an unknown act, something missing, unknown, too long, or a number that is not finite.

    Example:
        >>> Wish("pin", {"x": [[0.5]]}, by="Ana", why="a crack").action
        'pin'
        >>> Wish("pin", {"x": [[float("nan")]]})
        Traceback (most recent call last):
        gpax_lab.live._wish.BadWish: x: a finite number is needed; got nan
    """

    action: str
    given: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    why: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    at: float = field(default_factory=time.time)
    asks: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.action, str) or self.action not in _GIVEN:
            raise BadWish(f"there is no act {_short(self.action)}; there are {', '.join(ACTIONS)}")
        if not isinstance(self.given, Mapping):
            raise BadWish("what an act is given is a table of names and values")
        needed, more = _GIVEN[self.action]
        if missing := [name for name in needed if name not in self.given]:
            raise BadWish(f"{self.action} needs {', '.join(missing)}")
        if unknown := [name for name in self.given if name not in needed + more]:
            raise BadWish(f"{self.action} takes no {_short(unknown[0])}")
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise BadWish("the name of a wish is 16 hexadecimal digits")
        if not isinstance(self.asks, bool) or (self.asks and self.action in ("approve", "decline")):
            raise BadWish("asks is true or false; an answer to a wish needs no other one")
        object.__setattr__(self, "by", words(self.by, "by", _NAME))
        object.__setattr__(self, "why", words(self.why, "why", _WORDS))
        object.__setattr__(self, "at", _number(self.at, "at"))
        object.__setattr__(self, "given", _checked(self.action, self.given))

    @property
    def control(self) -> bool:
        """Whether it acts on the loop, and is no intervention."""
        return self.action in CONTROLS

    def intervention(self) -> Intervention:
        """What `run` does for it.

        Raises:
            BadWish: it is an act on the loop.
        """
        given = self.given
        asked: dict[str, Any] = {"by": self.by, "why": self.why, "wish": self.id}
        match self.action:
            case "pin":
                return Pin(np.array(given["x"], np.float64), **asked)
            case "veto" if "box" in given:
                return Veto(box=np.array(given["box"], np.float64), **asked)
            case "veto":
                return Veto(np.array(given["x"], np.float64), **asked)
            case "reweigh":
                return Reweigh(tuple(given["weights"]), **asked)
            case "rescale":
                return Rescale(given["scalarizer"], **asked)
            case "adopt":
                inputs = {"inputs": tuple(given["inputs"])} if "inputs" in given else {}
                more: dict[str, Any] = {**given, **inputs, "source": f"adopted by {self.by or 'a person'}", **asked}
                return Adopt(**more)
            case "reject":
                return Reject(given["name"], given["formula"], **asked)
            case "discard":
                return Discard(given["token"], **asked)
        raise BadWish(f"{self.action} is no intervention")

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "id": self.id,
            "action": self.action,
            "given": dict(self.given),
            "by": self.by,
            "why": self.why,
            "at": self.at,
        } | ({"asks": True} if self.asks else {})


def parse(text: bytes) -> Any:
    """JSON without NaN, infinities, duplicate names or depths without end.

    Raises:
        BadWish: it is none.
    """
    try:
        if len(text) > LARGEST:
            raise BadWish(f"a wish has at most {LARGEST} bytes")
        return json.loads(text.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadWish(f"this is no JSON text: {type(error).__name__}") from None
    except BadWish:
        raise
    except ValueError:  # an integer of too many digits
        raise BadWish("this is no JSON text: a number is too long") from None


def wish_of(text: bytes) -> Wish:
    """The wish that a file holds.

    Raises:
        BadWish: it holds none.
    """
    plain = parse(text)
    if not isinstance(plain, dict) or not set(plain) <= {"id", "action", "given", "by", "why", "at", "asks"}:
        raise BadWish("a wish is a table of id, action, given, by, why, at and asks")
    if "action" not in plain:
        raise BadWish("a wish names its action")
    return Wish(**plain)


def leave(folder: Path, wish: Wish) -> Path:
    """Put a wish into a folder, whole and on the disk when this returns.

    Raises:
        OSError: the folder can not be made or written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    place = folder / f"{wish.id}.json"
    with files.replacing(place) as temporary, temporary.open("xb") as file:
        file.write(json.dumps(wish.plain(), allow_nan=False).encode())
        file.flush()
        files.sync(file.fileno())
    return place


def folder_of(journal: Path) -> Path:
    """Where wishes for a campaign wait: beside its journal."""
    return journal.with_suffix(".inbox")


def words(value: Any, name: str, longest: int, empty: bool = True) -> str:
    """Text of a person, on one line.

    Raises:
        BadWish: no text, too long, or with control characters.
    """
    if not isinstance(value, str):
        raise BadWish(f"{name}: text is needed")
    value = value.strip()
    if len(value) > longest:
        raise BadWish(f"{name}: at most {longest} characters")
    if not value and not empty:
        raise BadWish(f"{name}: it is empty")
    if any(not character.isprintable() for character in value):
        raise BadWish(f"{name}: characters that can not be shown")
    return value


def _checked(action: str, given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        match name:
            case "x":
                found[name] = _table(value, name, _POINTS)
            case "box":
                found[name] = _table(value, name, _AXES)
                if not all(len(row) == 2 and row[0] < row[1] for row in found[name]):
                    raise BadWish("box: each axis needs [low, high] with low < high")
            case "weights":
                found[name] = [_number(one, name) for one in _list(value, name, _POINTS)]
            case "stop" | "failed":
                if not isinstance(value, bool):
                    raise BadWish(f"{name}: true or false")
                found[name] = value
            case "scalarizer" | "name" | "token":
                found[name] = words(value, name, _NAME, empty=False)
            case "formula":
                found[name] = words(value, name, _WORDS, empty=False)
            case "inputs":
                found[name] = [words(one, name, _NAME, empty=False) for one in _list(value, name, _AXES)]
            case "asked":
                found[name] = words(value, name, _NAME)
                if not _ID.fullmatch(found[name]):
                    raise BadWish("asked: the id of a wish, 16 hexadecimal digits")
            case "count" | "id":
                found[name] = _whole(value, name)
            case "y":
                found[name] = _number(value, name)
            case "share":
                found[name] = None if value is None else _number(value, name)
            case _:  # prior, units, noise
                found[name] = _plain(value, name)
    if action == "veto" and len(found) != 1:
        raise BadWish("veto needs either x or box")
    return found


def _plain(value: Any, name: str, depth: int = 3) -> Any:
    if isinstance(value, dict) and depth and len(value) <= _POINTS:
        return {words(key, name, _NAME, empty=False): _plain(one, name, depth - 1) for key, one in value.items()}
    if isinstance(value, list) and depth and len(value) <= _POINTS:
        return [_plain(one, name, depth - 1) for one in value]
    if isinstance(value, str):
        return words(value, name, _NAME)
    return None if value is None else _number(value, name)


def _table(value: Any, name: str, longest: int) -> list[list[float]]:
    rows = [[_number(one, name) for one in _list(row, name, _AXES)] for row in _list(value, name, longest)]
    if len({len(row) for row in rows}) != 1:
        raise BadWish(f"{name}: rows of one length are needed")
    return rows


def _list(value: Any, name: str, longest: int) -> list[Any]:
    if not isinstance(value, list | tuple | np.ndarray) or not 1 <= len(value) <= longest:
        raise BadWish(f"{name}: a list of 1 to {longest} is needed")
    return list(value)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise BadWish(f"{name}: a number is needed; got {_short(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise BadWish(f"{name}: a number beyond all bounds") from None
    if not math.isfinite(number):
        raise BadWish(f"{name}: a finite number is needed; got {number}")
    return number


def _whole(value: Any, name: str) -> int:
    number = _number(value, name)
    if number != int(number):
        raise BadWish(f"{name}: a whole number is needed; got {_short(value)}")
    return int(number)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _no_constant(text: str) -> float:
    raise BadWish(f"{text} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadWish("a name stands twice in one table")
    return found
