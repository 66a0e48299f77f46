"""Where the processes of a run meet, and part."""

from __future__ import annotations

import atexit
import ctypes
import os
import socket
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed

from fulmen.base import report
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import ports, watch
from fulmen.runtime.clusters import ClusterEnvironment
from fulmen.runtime.interfaces import address_towards, let_gloo_be_reached
from fulmen.runtime.parting import Parting
from fulmen.runtime.rollcall import Presence, RollCall, describe
from fulmen.runtime.world import World

distributed: Any = torch.distributed  # whose stores are public, but not marked so

FILE_URL = "file://"
WAIT_S = 60.0
TRY_AGAIN_S = 0.05


@dataclass
class _Meeting:
    """What this process has to put away when they part."""

    store: Any
    size: int
    file: str | None


_meeting: _Meeting | None = None
_parting: Parting | None = None
_stores: dict[tuple[str, int], Any] = {}
"""Kept as long as this process lives: others may still need rank 0's, and a next run meets there again."""
_times_met: Counter[str] = Counter()
"""At each file: the next meeting has one of its own, for the last of this one may still have to remove it."""
_given_up: str | None = None


def connect(
    environment: ClusterEnvironment,
    world: World,
    *,
    backend: str,
    timeout: timedelta,
    device: torch.device | None = None,
    wait_s: float = WAIT_S,
    url: str | None = None,
) -> None:
    """Set up torch.distributed's default group, over all processes of the run.

    `timeout` is how long a collective may take, and `wait_s` how long the processes wait for one another
    here; `url` asks for a meeting at a file (`file:///shared/path`). A group that is there already is used.
    Raises `DistributedError`, in each process that can hear it, with who is missing or there twice.
    """
    global _meeting, _parting
    report.rank_zero_only.rank = world.rank  # pyright: ignore[reportFunctionMemberAccess]
    if distributed.is_initialized():
        _check_group(world)
        return
    file = _file_of(url, environment)
    deadline_s = time.monotonic() + wait_s
    store = _store_at(environment, world, deadline_s) if file is None else _store_in(file)
    own = Presence(
        rank=world.rank, local_rank=world.local_rank, node=world.node, size=world.size,
        host=socket.gethostname(), pid=os.getpid(), mark=uuid.uuid4().hex,
        address=address_towards(environment.main_address) if world.rank and file is None else None,
    )  # fmt: skip
    try:
        name, present = RollCall(store, own, wait_s=wait_s, check=_check_not_given_up).hold()
    except distributed.DistError as error:
        raise DistributedError("Rank 0, or the way to it, was lost.", received=str(error)) from error
    _meeting = _Meeting(distributed.PrefixStore(name, store), world.size, file)
    let_gloo_be_reached(own, present)
    _make_group(_meeting.store, world, backend, timeout, device, wait_s)
    _parting = Parting()
    report.info(f"{describe(present)}; {backend}")


def disconnect() -> None:
    """Part: the group that `connect` has set up is no more, and the last to leave removes the file."""
    global _parting
    watch.stop()
    if _parting is not None:  # another's group is another's to end
        _parting.call_off()
        _parting = None
        if distributed.is_initialized():
            distributed.destroy_process_group()
    _leave_file()


@atexit.register
def _leave_file() -> None:
    global _meeting
    left, _meeting = _meeting, None
    if left is None or left.file is None:
        return
    if left.store.add("left", 1) == left.size and os.path.exists(left.file):
        os.remove(left.file)


def give_up(reason: str | None) -> None:
    """Have `connect`, also one that waits in another thread, raise this; None takes it back."""
    global _given_up
    _given_up = reason


def _make_group(
    store: Any, world: World, backend: str, timeout: timedelta, device: torch.device | None, wait_s: float
) -> None:
    with_gloo = "gloo" in backend
    # A process to which another one cannot connect is not told so: it waits, in gloo five times as long.
    limit = min(timeout, timedelta(seconds=wait_s / 2)) if with_gloo else timeout
    try:
        distributed.init_process_group(
            backend, store=store, rank=world.rank, world_size=world.size, timeout=limit,
            device_id=device if device is not None and device.type == "cuda" else None,
        )  # fmt: skip
    except RuntimeError as error:
        raise DistributedError(
            "The processes have met, but cannot connect with each other.",
            received=str(error).partition("\n")[0],
            expected="that each host lets in the others, at any port",
            fix="name the network interface at which they reach each other, such as eth0, for all processes: "
            "GLOO_SOCKET_IFNAME for CPUs, NCCL_SOCKET_IFNAME for GPUs",
        ) from error
    if with_gloo:
        distributed.distributed_c10d._set_pg_timeout(timeout)


def _check_not_given_up() -> None:
    if _given_up is not None:
        raise DistributedError(_given_up)


def _check_group(world: World) -> None:
    rank, size = distributed.get_rank(), distributed.get_world_size()
    if (rank, size) != (world.rank, world.size):
        raise DistributedError(
            "torch.distributed has a group already, which is not that of this run.",
            received=f"rank {rank} of {size}",
            expected=f"rank {world.rank} of {world.size}",
            fix="torch.distributed.destroy_process_group() first, or give the Trainer the group's numbers",
        )


def _file_of(url: str | None, environment: ClusterEnvironment) -> str | None:
    file = environment.meeting_file() if url is None else url.removeprefix(FILE_URL)
    if file is not None and (file == url or not os.path.isabs(file)):
        raise ConfigError(
            "Processes cannot meet there.", received=url, expected="file:///path/that/all/hosts/share"
        )
    if file is None:
        return None
    _times_met[file] += 1
    return file if _times_met[file] == 1 else f"{file}.{_times_met[file]}"


def _store_at(environment: ClusterEnvironment, world: World, deadline_s: float) -> Any:
    address, port = environment.main_address, environment.main_port
    if (address, port) not in _stores:
        hosts = world.rank == 0 and environment.hosts_store
        open_store = _host_store if hosts else _reach_store
        _stores[address, port] = open_store(address, port, deadline_s)
    return _stores[address, port]


def _store_in(file: str) -> Any:
    store = distributed.FileStore(file)
    # One that is destroyed writes to its file, and brings back what the last to leave has just removed.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(store))
    return store


def _host_store(address: str, port: int, deadline_s: float) -> Any:
    listener = ports.take(port)
    try:
        return distributed.TCPStore(
            address, port, None, True, _left(deadline_s), wait_for_workers=False,
            master_listen_fd=None if listener is None else listener.detach(),
        )  # fmt: skip
    except distributed.DistError as error:
        raise DistributedError(
            f"Rank 0 cannot open port {port} of {address}, where the processes are to meet.",
            received=str(error).partition("\n")[0],
            fix="set MASTER_PORT to a free port, the same for all processes",
        ) from error


def _reach_store(address: str, port: int, deadline_s: float) -> Any:
    while True:
        _check_not_given_up()
        try:  # first without torch, whose attempts cannot be interrupted and print what they think of it
            socket.create_connection(
                (address, port), timeout=max(1.0, _left(deadline_s).total_seconds())
            ).close()
            return distributed.TCPStore(address, port, None, False, _left(deadline_s), wait_for_workers=False)
        except (OSError, distributed.DistError) as error:
            if time.monotonic() > deadline_s:
                raise DistributedError(
                    f"Rank 0 is not to be reached at {address}, port {port}.",
                    received=str(error).partition("\n")[0],
                    fix="see that it runs, that its host lets this one in, and that both mean the same host "
                    "and port (MASTER_ADDR, MASTER_PORT)",
                ) from error
        time.sleep(TRY_AGAIN_S)


def _left(deadline_s: float) -> timedelta:
    return timedelta(seconds=max(1.0, deadline_s - time.monotonic()))
