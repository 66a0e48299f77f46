"""The running script once more for each further device: how `strategy="ddp"` starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import torch

from fulmen.base import environ
from fulmen.base.report import RANK_VARIABLE
from fulmen.errors import ConfigError
from fulmen.runtime import lifeline, rendezvous
from fulmen.runtime.clusters import ClusterEnvironment
from fulmen.runtime.launch import hydra
from fulmen.runtime.launch.launcher import Launcher, Way, fair_threads, place_variables, settle_on
from fulmen.runtime.launch.peers import Peers
from fulmen.runtime.launch.script import this_script


class Subprocesses(Launcher):
    """This process goes on as the first of its node; the others run the script from its beginning.

    When they come to where this process is now, they find everybody there and start nobody. They stay until
    the script's end, so that what it launches later finds them as well.
    """

    def __init__(self, environment: ClusterEnvironment, num_processes: int) -> None:
        self._environment = environment
        self._num_processes = num_processes

    def launch(self, function: Callable[..., Any], *args: Any) -> Any:
        settle_on(Way.SCRIPT)
        peers = _peers_of_this_script(self._environment, self._num_processes)
        own_threads = torch.get_num_threads()
        torch.set_num_threads(fair_threads(self._num_processes))
        try:
            with peers.at_work():
                return function(*args)
        finally:
            torch.set_num_threads(own_threads)


_peers: Peers | None = None
_started_for: tuple[int, str | None] | None = None


def _peers_of_this_script(environment: ClusterEnvironment, num_processes: int) -> Peers:
    global _peers, _started_for
    wanted = (num_processes, hydra.output_folder())
    if _peers is not None and _started_for is not None and _started_for != wanted:
        if _started_for[1] == wanted[1]:
            raise ConfigError(
                "The processes of this script were started for another number of devices.",
                received=f"devices={num_processes}",
                expected=f"devices={_started_for[0]}, as in the first run, in all that use this strategy",
                fix="the same number of devices, or a script for each",
            )
        _peers.end()  # another job of Hydra's, whose processes have a configuration of their own
        _peers = None
        rendezvous.give_up(None)
    if _peers is None:
        _peers, _started_for = _start(environment, num_processes), wanted
    return _peers


def _start(environment: ClusterEnvironment, num_processes: int) -> Peers:
    node = environment.node_rank()
    script = this_script(range(1, num_processes))
    variables = environ.read_prefixed("") | {"OMP_NUM_THREADS": str(fair_threads(num_processes))}
    children = {}
    for local_rank, command in script.commands.items():
        place = place_variables(
            environment.main_address, environment.main_port,
            node=node, local_rank=local_rank, size=environment.world_size(),
        )  # fmt: skip
        rank = node * num_processes + local_rank
        children[rank] = subprocess.Popen(
            [*_tie(), *command],
            cwd=script.folder,
            env=variables | place | {RANK_VARIABLE: str(rank)},
            stdin=subprocess.DEVNULL,  # there is one terminal, and it is rank 0's
        )
    return Peers(children, script.temporary)


def _tie() -> list[str]:
    """What to put before a command so that it ends with this process."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return []  # there, a process is tied to the thread that has started it
    return [sys.executable, "-I", "-S", lifeline.__file__, str(os.getpid())]
