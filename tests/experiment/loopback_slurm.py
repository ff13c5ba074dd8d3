"""A Slurm of one node on this machine's loopback, for tests: the real daemons of Debian, with nothing kept afterwards.

Settings as measured to work without systemd, cgroups or a database: processes are followed by Linux' own tree
(`proctrack/linuxproc`), no task plugin, no accounting, ports of our own, addresses on 127.0.0.1 alone.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "srun", "sbatch", "munged")


def missing() -> str:
    """Why there can be no Slurm here; empty where there can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here: apt-get install slurmctld slurmd slurm-client munge"
    return "" if os.geteuid() == 0 else "its daemons are started as root"


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start it; yields the variables with which clients find it, and ends it."""
    name, state = socket.gethostname().split(".")[0], folder / "state"
    for path in (state, folder / "spool"):
        path.mkdir()
    lines = {
        "ClusterName": "loopback",
        "SlurmctldHost": f"{name}(127.0.0.1)",
        "SlurmctldPort": _port(),
        "SlurmdPort": _port(),
        "SlurmUser": "root",
        "AuthType": "auth/munge",
        "StateSaveLocation": state,
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "SlurmctldLogFile": folder / "slurmctld.log",
        "SlurmdLogFile": folder / "slurmd.log",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/none",
        "MpiDefault": "none",
        "ReturnToService": 2,
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
    }
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    text += f"NodeName={name} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} State=UNKNOWN\n"
    text += f"PartitionName=all Nodes={name} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4\n"
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = _munge()
    daemons = [
        subprocess.Popen(
            [program, "-D", "-f", environment["SLURM_CONF"], *more],
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for program, more in (("slurmctld", ()), ("slurmd", ("-N", name)))
    ]
    try:
        _wait_for_a_node(environment)
        yield environment
    finally:
        for process in reversed(daemons):
            process.terminate()
        for process in daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
        if munge is not None:
            munge.terminate()
            munge.wait(10)


def _munge() -> subprocess.Popen | None:
    """Start munge, which signs what daemons and clients tell each other; None where it runs already."""
    if (
        subprocess.run(["munge", "-n"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    ):
        return None
    home = Path("/run/munge")
    home.mkdir(exist_ok=True)
    shutil.chown(home, "munge", "munge")
    user = {"user": "munge", "group": "munge"}
    process = subprocess.Popen(["munged", "--foreground"], **user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while not (home / "munge.socket.2").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return process


def _wait_for_a_node(environment: dict[str, str]) -> None:
    deadline, text = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        told = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], env=os.environ | environment, capture_output=True, text=True, check=False
        )
        text = told.stdout.strip() or told.stderr.strip()
        if text in ("idle", "mixed"):
            return
        time.sleep(0.5)
    raise TimeoutError(f"no node of Slurm became idle in a minute: {text!r}")
