"""The Model Context Protocol over standard input and output: tools in, answers out."""

import asyncio
import contextlib
import functools
import io
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

from gpax_lab.agents._tools import Tools, failed, is_failed

LONGEST_LINE = 256 << 10
"""Bytes of a message; a longer one is thrown away unread."""
AT_ONCE = 16
"""Calls that are under way at a time."""
_EXTRA = ("mcp", "mcp_types", "anyio", "pydantic")
_LOOK_S = 0.1


def require_extra() -> None:
    """Raise ModuleNotFoundError, in words, unless the extra `agents` is there."""
    try:
        import mcp.server.lowlevel  # noqa: F401
        import mcp_types  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        text = f'a server for agents needs {error.name}, which is not installed: pip install "gpax-lab[agents]"'
        raise ModuleNotFoundError(text, name=error.name) from None


class Wire:
    """Standard input and output, kept for messages alone: whatever else prints goes to standard error.

    Enter it before anything is started that may print, or may read standard input.
    """

    def __enter__(self) -> Self:
        sys.stdout.flush()
        self._in, self._out = os.dup(0), os.dup(1)  # a child inherits neither
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os.dup2(self._out, 1)
        os.close(self._out)
        # The descriptor of the input stays open: a thread may wait on it until the process ends.

    def serve(
        self, name: str, instructions: str, tools: Tools, version: str = "", stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Answer until the client closes its end, or `stop` says so; calls under way are waited for."""
        asyncio.run(_serve(self._in, self._out, name, instructions, tools, version, stop))


async def _serve(
    source: int, sink: int, name: str, instructions: str, tools: Tools, version: str, stop: Callable[[], bool]
) -> None:
    import anyio
    from mcp.server.stdio import stdio_server

    server = _server(name, instructions, tools, version)
    lines: Any = _Lines(source)  # what the SDK takes is a file of anyio's, of which it only reads lines
    written = io.TextIOWrapper(os.fdopen(sink, "wb", closefd=False), encoding="utf-8")
    async with (
        stdio_server(lines, anyio.wrap_file(written)) as (incoming, outgoing),
        anyio.create_task_group() as group,
    ):

        async def end_when_asked() -> None:
            while not stop():
                await anyio.sleep(_LOOK_S)
            group.cancel_scope.cancel()

        group.start_soon(end_when_asked)
        await server.run(incoming, outgoing, server.create_initialization_options())
        group.cancel_scope.cancel()


def _server(name: str, instructions: str, tools: Tools, version: str) -> Any:
    import anyio.to_thread
    import mcp_types as types
    from mcp.server.lowlevel import Server

    listed = [
        types.Tool(
            name=tool.name,
            description=tool.about,
            input_schema=tool.schema,
            annotations=types.ToolAnnotations(
                read_only_hint=not tool.acts, destructive_hint=tool.destructive, open_world_hint=tool.acts
            ),
        )
        for tool in tools.all
    ]
    under_way = 0

    async def list_tools(context: Any, params: Any) -> Any:
        return types.ListToolsResult(tools=listed)

    async def call_tool(context: Any, params: Any) -> Any:
        nonlocal under_way
        if under_way >= AT_ONCE:
            return _result(failed(f"{AT_ONCE} calls are under way: wait for their answers"))
        under_way += 1
        try:
            call = functools.partial(tools.call, params.name, params.arguments)
            return _result(await anyio.to_thread.run_sync(call))
        finally:
            under_way -= 1

    def _result(answer: dict[str, Any]) -> Any:
        block = types.TextContent(type="text", text=json.dumps(answer, allow_nan=False))
        return types.CallToolResult(content=[block], structured_content=answer, is_error=is_failed(answer))

    return Server(name, version=version, instructions=instructions, on_list_tools=list_tools, on_call_tool=call_tool)


class _Lines:
    """Lines of a descriptor, read by a thread of its own, which ends with the process and keeps nothing waiting."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, lines = asyncio.get_running_loop(), asyncio.Queue[bytes | None](8)

        def give(line: bytes | None) -> None:
            asyncio.run_coroutine_threadsafe(lines.put(line), loop).result()

        def read() -> None:
            with contextlib.suppress(Exception):  # the loop has ended
                for line in _bounded(os.fdopen(self._descriptor, "rb", closefd=False)):
                    give(line)
                give(None)

        threading.Thread(target=read, name="agents_read", daemon=True).start()
        while (line := await lines.get()) is not None:
            yield line.decode("utf-8", "replace")


def _bounded(file: io.BufferedReader) -> Iterator[bytes]:
    """Lines of at most `LONGEST_LINE` bytes; of a longer one nothing but what is no message."""
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) <= LONGEST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)
        yield b"a message of more bytes than are read\n"
