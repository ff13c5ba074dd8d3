"""Tools as a server offers them: their arguments are checked, and their answers are small JSON objects."""

import json
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gpax_lab.agents._refused import Refused
from gpax_lab.agents._schema import checked
from gpax_lab.core import InstrumentError
from gpax_lab.live._digest import plain

LARGEST = 256 << 10
"""Characters of an answer as JSON."""
_WORDS = 2000


@dataclass(frozen=True)
class Tool:
    """One thing that an agent may ask for.

    Attributes:
        name: by which it is called.
        about: what it does, for the agent.
        call: the arguments by name -> what is answered.
        inputs: argument -> its JSON schema.
        needed: arguments without which it is not called.
        acts: whether it changes anything.
        destructive: whether what it does can not be taken back.
    """

    name: str
    about: str
    call: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    acts: bool = False
    destructive: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        schema: dict[str, Any] = {"type": "object", "properties": dict(self.inputs), "additionalProperties": False}
        return schema | ({"required": list(self.needed)} if self.needed else {})


class Tools:
    """The tools of a server by name. `call` never raises for what an agent sends."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self.all = tuple(tools)
        self._by_name = {tool.name: tool for tool in self.all}

    def call(self, name: str, arguments: Any = None) -> dict[str, Any]:
        """The answer to a call: what the tool says, or `{"status": "error", "message": ...}`."""
        tool = self._by_name.get(name) if isinstance(name, str) else None
        try:
            if tool is None:
                raise Refused(f"there is no such tool; there are {', '.join(self._by_name)}")
            answer = plain(tool.call(**checked(tool.schema, {} if arguments is None else arguments)))
            if len(json.dumps(answer, allow_nan=False)) > LARGEST:
                raise Refused("the answer would be too large: ask for less")
            return answer
        except (Refused, InstrumentError) as error:
            return failed(str(error))
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)  # for whoever runs the server
            return failed(f"the server failed ({type(error).__name__}); whoever runs it finds the details in its log")


def failed(message: str) -> dict[str, Any]:
    """The answer that something was not done."""
    return {"status": "error", "message": message[:_WORDS]}


def is_failed(answer: Mapping[str, Any]) -> bool:
    """Whether an answer says that something was not done."""
    return answer.get("status") == "error"


def text(about: str, longest: int, **more: Any) -> dict[str, Any]:
    """Schema of a text."""
    return {"type": "string", "description": about, "maxLength": longest} | more


REASON = text("Why, in a sentence; people read it in the record.", 500, minLength=3)
"""Schema of the reason that every act needs."""
