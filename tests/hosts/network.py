"""Hosts on this machine: each has an address, a name, and processes that only it sees; a switch joins them.

A host is a set of Linux namespaces (net, uts, pid, mount) around a process that sleeps. What hosts share are
the processors, the clock and all folders but /proc. With its first process end all others of a host, and its
card and its name are no more: nothing of a network is seen outside of it, and nothing is left of it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from fulmen.runtime import lifeline

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
TIED = (sys.executable, "-I", "-S", lifeline.__file__)
"""What ends a program when the one that has started it ends, in whatever way."""
NEW_HOST = ("unshare", "--net", "--uts", "--pid", "--mount-proc", "--kill-child")
PROBE = "ip link add bridge type bridge && ip link add port type veth"
BEGIN = """
set -e
echo {name} >/proc/sys/kernel/hostname
echo {pids} >/proc/sys/kernel/ns_last_pid
mount --bind {names} /etc/hosts
echo hosts: files >{names}.only
mount --bind {names}.only /etc/nsswitch.conf
ip link set lo up
echo ready
exec sleep infinity
"""
STOP_S = 10.0
THEIRS = ("MASTER_", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_", "GLOO_", "TORCHELASTIC_", "SLURM_")
"""Variables by which others tell where a process stands."""


@functools.cache
def missing() -> str | None:
    """Why there can be no hosts here; None where there can."""
    absent = [program for program in ("unshare", "nsenter", "ip") if shutil.which(program, path=PATH) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install util-linux iproute2"
    if os.geteuid() != 0:
        return "only root can make hosts"
    done = subprocess.run(
        [*NEW_HOST, "sh", "-c", PROBE], env={"PATH": PATH}, capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else f"hosts cannot be made: {done.stderr.strip()}"


class Job:
    """A program on a host."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._output.read_text(errors="replace")

    def finish(self, limit_s: float) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"It has not ended within {limit_s:g} s:\n{self.said}") from None


class Host:
    """A host that is switched on."""

    def __init__(self, name: str, folder: Path, number: int) -> None:
        # Numbers of processes are others on each host, as they mostly are elsewhere.
        begin = BEGIN.format(name=name, names=folder / f"{name}.hosts", pids=1000 * number)
        self.name = name
        self._folder = folder
        self.first = subprocess.Popen(
            [*TIED, str(os.getpid()), *_found(*NEW_HOST), "sh", "-c", begin],
            env={"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        """The process with which it ends."""
        with self.first.stdout or contextlib.nullcontext() as said:
            heard = said.readline() if said is not None else b""
        if heard != b"ready\n":
            self.first.kill()
            self.first.wait()
            raise RuntimeError(f"{name} does not start: {heard.decode()}")
        self._jobs: list[Job] = []
        self._pids = os.readlink(f"/proc/{self.first.pid}/ns/pid_for_children")

    def start(self, *command: str, folder: Path, variables: dict[str, str]) -> Job:
        """Start a program in a folder."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(THEIRS)}
        output = self._folder / f"{self.first.pid}-{len(self._jobs)}.out"
        with open(output, "wb") as file:
            process = subprocess.Popen(
                [*self._inside("net", "uts", "mnt", "pid_for_children"), f"--wd={folder}", *command],
                env=others | variables,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self._jobs.append(Job(process, output))
        return self._jobs[-1]

    def run(self, *command: str) -> str:
        """What a short program prints, which sees the processes of all hosts; raises if it fails."""
        done = subprocess.run(
            [*self._inside("net", "uts", "mnt"), *command],
            env={"PATH": PATH}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} on {self.name}: {done.stderr.strip()}")
        return done.stdout

    def processes(self) -> list[str]:
        """The commands that run there, beside the first process."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and os.readlink(entry / "ns" / "pid") == self._pids:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found += [command] if command else []  # what has ended has none
        return [command for command in found if command != "sleep infinity "]

    def kill(self) -> None:
        """End it and all its processes, none of which hears of it before."""
        self.first.kill()
        self.first.wait()
        for job in self._jobs:
            job.process.wait(STOP_S)

    def _inside(self, *spaces: str) -> list[str]:
        options = {"net": "net", "uts": "uts", "mnt": "mount", "pid_for_children": "pid"}
        own = f"/proc/{self.first.pid}/ns"
        return [*_found("nsenter"), *(f"--{options[space]}={own}/{space}" for space in spaces)]


class Network:
    """A switch, and what it takes to have hosts at it that know each other by name."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.addresses = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}
        self._folder = folder
        self._all: list[Host] = []
        self.hosts: dict[str, Host] = {}
        """Those that were switched on last under each name."""
        self._ports: dict[str, str] = {}
        """Where the hosts' cables are."""
        self._switch: Host

    def start(self) -> None:
        """Switch the switch on."""
        self._switch = self._new("switch", self.addresses)
        self._switch.run("ip", "link", "add", "bridge", "type", "bridge")
        self._switch.run("ip", "link", "set", "bridge", "up")

    def switch_on(self, name: str, *, own_address: str | None = None) -> Host:
        """A new host of this name; `own_address` is what it takes for its own, where that is another one."""
        known = self.addresses if own_address is None else self.addresses | {name: own_address}
        host = self._new(name, known)
        port = self._ports[name] = f"port{len(self._all)}"
        self._switch.run(*f"ip link add {port} type veth peer name eth0 netns {host.first.pid}".split())
        self._switch.run("ip", "link", "set", port, "master", "bridge", "up")
        host.run("ip", "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        self.hosts[name] = host
        return host

    def cut_off(self, name: str) -> None:
        """Pull out a host's cable, at the switch."""
        self._switch.run("ip", "link", "set", self._ports[name], "down")

    def join(self, name: str) -> None:
        """Put the cable back."""
        self._switch.run("ip", "link", "set", self._ports[name], "up")

    def stop(self) -> None:
        """End all hosts."""
        for host in self._all:
            host.kill()

    def _new(self, name: str, known: dict[str, str]) -> Host:
        lines = ["127.0.0.1 localhost", *(f"{address} {other}" for other, address in known.items())]
        (self._folder / f"{name}.hosts").write_text("\n".join([*lines, ""]))
        self._all.append(Host(name, self._folder, 1 + len(self._all)))
        return self._all[-1]


@contextlib.contextmanager
def running(folder: Path, names: Sequence[str]) -> Iterator[Network]:
    """A switch that is there inside, and all hosts that are switched on meanwhile."""
    network = Network(folder, names)
    try:
        network.start()
        yield network
    finally:
        network.stop()


def _found(program: str, *arguments: str) -> list[str]:
    return [shutil.which(program, path=PATH) or program, *arguments]
