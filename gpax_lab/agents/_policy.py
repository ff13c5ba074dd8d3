"""Whether what an agent asks for is done at once, waits for a person, or is not done at all."""

from typing import Any, Literal, get_args

from gpax_lab.agents._refused import Refused
from gpax_lab.agents._tools import Tool

Policy = Literal["never", "ask", "free"]
POLICIES: tuple[str, ...] = get_args(Policy)
SAFER = ("pause", "safe")
"""Acts that wait for nobody, where an agent may ask for anything: they only ever make an instrument safer."""


def check_policy(policy: str) -> None:
    """Raise ValueError unless it is one of `POLICIES`."""
    if policy not in POLICIES:
        raise ValueError(f"a policy is one of {', '.join(POLICIES)}; got {policy!r}.")


def needs_person(policy: str, action: str) -> bool:
    """Whether an act waits until a person approves it."""
    return policy == "ask" and action not in SAFER


def allowed(tool: Tool, policy: str) -> Tool:
    """The tool; where nobody may act, one that says so."""
    if policy != "never" or not tool.acts:
        return tool

    def refuse(**given: Any) -> dict[str, Any]:
        raise Refused("this server only looks: whoever started it allows no acts")

    return Tool(tool.name, tool.about, refuse, tool.inputs, tool.needed, tool.acts, tool.destructive)
