"""The commands over standard input and output, by a client of the protocol that is not ours, against a real twin."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from gpax_lab.storage import read

pytest.importorskip("mcp", reason="the extra agents is not installed")
pytest.importorskip("typer", reason="the extra app is not installed")
pytestmark = pytest.mark.slow

SETTINGS = """
[campaign]
steps = 4
seeds = 3
[instrument]
kind = "twin"
points = 32
[sampler]
kind = "laplace"
num_samples = 8
starts = 2
iterations = 10
[acquisition.candidates]
kind = "grid"
shape = [9, 9]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "film.toml"
    path.write_text(SETTINGS)
    return path


def converse(arguments, calls):
    """Names of the tools, and the answers to these calls."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def talk():
        command = ["-m", "gpax_lab", *arguments]
        server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
        async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
            await session.initialize()
            listed = (await session.list_tools()).tools
            answers = []
            for name, given in calls:
                result = await session.call_tool(name, given)
                answer = json.loads(result.content[0].text)
                assert result.is_error == (answer.get("status") == "error")
                answers.append(answer)
            return listed, answers

    return asyncio.run(asyncio.wait_for(talk(), 240.0))


GOOD = {"x": 1e-6, "y": 5e-7}


def test_an_agent_drives_a_twin_and_is_refused_what_is_forbidden(config, tmp_path):
    out = tmp_path / "out"
    calls = [
        ("describe_instrument", {}),
        ("acquire", GOOD | {"token": "a", "reason": "first"}),
        ("acquire", GOOD | {"token": "a"}),
        ("acquire", {"x": 1.0, "y": 0.0}),
        ("acquire", {"x": float("nan"), "y": 0.0}),
        ("acquire", GOOD | {"token": "../../x"}),
        ("acquire", GOOD | {"reason": "r" * 100_000}),
        ("pause", {}),
        ("acquire", GOOD),
        ("resume", {}),
        ("acquire", GOOD),
        ("acquire", GOOD),
        ("set_budget", {"points": 100}),
    ]
    tools, answers = converse(["agent-instrument", str(config), "--out", str(out), "--points", "2"], calls)
    acquire = next(tool for tool in tools if tool.name == "acquire")
    assert acquire.input_schema["properties"]["x"]["maximum"] == 2e-6
    assert acquire.input_schema["properties"]["x"]["x-units"] == "m"
    assert acquire.annotations.destructive_hint is True
    good = [index for index, answer in enumerate(answers) if answer.get("status") != "error"]
    assert good == [0, 1, 2, 7, 9, 10]
    assert answers[1]["y"] == answers[2]["y"]
    assert len(answers[1]["x"]) == 32
    contents = read(out / "agent.gpxj")
    assert len(contents.of("reading")) == 2
    assert [one.header["action"] for one in contents.of("act")] == ["measure", "pause", "resume", "measure"]


def test_an_agent_asks_and_tells(config, tmp_path):
    path = tmp_path / "wells" / "a.gpxj"
    why = {"reason": "next"}
    command = ["agent-campaign", str(path), "--by-hand", str(config), "--policy", "free", "--points", "4"]
    _, answers = converse(command, [("suggest", {"count": 3} | why)])
    points = answers[0]["points"]
    calls = [("tell", {"id": p["id"], "y": 1e6 * p["x"][0]} | why) for p in points]
    tools, answers = converse(
        command,
        [*calls, ("show_posterior", {"side": 4}), ("suggest", why), ("suggest", why), ("tell", {"y": 1.0} | why),
         ("status", {})],
    )  # fmt: skip
    assert {tool.name for tool in tools if tool.annotations.read_only_hint} >= {"status", "show_posterior"}
    assert len(answers[3]["mean"]) == len(answers[3]["mean"][0]) <= 4
    assert answers[4]["outcome"] == "taken"
    assert "budget" in answers[5]["message"]
    assert answers[6]["status"] == "error"
    assert answers[7]["campaign"]["measured"] == 3


def test_a_campaign_is_looked_at_and_wished_of(config, tmp_path):
    out = tmp_path / "film"
    subprocess.run(
        [sys.executable, "-m", "gpax_lab", "run", str(config), "--out", str(out)], check=True, timeout=280,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    [path] = out.glob("*.gpxj")
    before = path.read_bytes()
    calls = [
        ("status", {}),
        ("show_posterior", {"at": [[1e-6, 1e-6]]}),
        ("explain_next", {}),
        ("propose_laws", {}),
        ("pin", {"x": [[1e-6, 1e-6]]}),
        ("pin", {"x": [[1e-6, 1e-6]], "reason": "a crack"}),
    ]
    _, answers = converse(["agent-campaign", str(path)], calls)
    assert [answer.get("status") == "error" for answer in answers] == [False, False, False, False, True, False]
    assert answers[0]["campaign"]["measured"] == 7
    assert answers[5]["waits_for"].startswith("a person")
    assert path.read_bytes() == before
    asked = subprocess.run(
        [sys.executable, "-m", "gpax_lab", "act", str(path), "approve"], check=True, timeout=120, capture_output=True,
        text=True,
    ).stdout  # fmt: skip
    assert answers[5]["wish"] in asked
    assert "a crack" in asked


def test_a_server_that_is_ended_leaves_the_instrument_safe(config, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gpax_lab", "agent-instrument", str(config), "--out", str(out)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }  # fmt: skip
    try:
        for line in (b"x" * 1_000_000, b"no message", json.dumps(hello).encode()):
            process.stdin.write(line + b"\n")
        process.stdin.flush()
        answer = b""
        while b'"id":1' not in answer:
            answer = process.stdout.readline()
            assert answer
            json.loads(answer)  # nothing but messages
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, complaints
    assert b"Traceback" not in complaints
