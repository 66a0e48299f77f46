"""The watch of this process: begun once, when its peers are known, and asked to look at each run."""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from fulmen.base import report
from fulmen.runtime.collectives import Collectives
from fulmen.runtime.ports import LOOPBACK
from fulmen.runtime.watch.ends import Centre, Member
from fulmen.runtime.watch.verdicts import Limits, Process
from fulmen.runtime.watch.watcher import Tell, Watcher
from fulmen.runtime.watch.wire import Wire
from fulmen.runtime.world import World

REACH_S = 10.0

_watcher: Watcher | None = None
_begun = False
"""Whether the processes have agreed on who listens to whom; one that reaches nobody has no watcher."""


_tell_parent: Tell | None = None


def tell_parent(tell: Tell) -> None:
    """Have what happens to a run told to the process that has started this one, which raises it as an error.

    Any thread may call `tell`.
    """
    global _tell_parent
    _tell_parent = tell


def begin(world: World, talk: Collectives, *, address: str, hang_timeout_s: float | None) -> None:
    """Have the processes look after each other from now on; called by all of them, at each run.

    `address` is rank 0's, as other hosts know it, and its `hang_timeout_s` is that of all; None is for no
    watch.
    """
    global _watcher, _begun
    if _begun or world.size == 1:
        return
    _begun = True
    own = Process(world.rank, os.getpid(), socket.gethostname(), _realm())
    everybody: list[Process] = talk.gather_objects(own)
    listener = None
    if world.rank == 0 and hang_timeout_s is not None:
        listener = _listen(alone={process.realm for process in everybody} == {own.realm})
    door = None
    if listener is not None:
        door = (listener.getsockname()[1], secrets.token_hex(), hang_timeout_s or 0.0)
    door = talk.broadcast(door)
    if door is None:
        return
    port, token, limit_s = door
    if listener is not None:
        _watcher = Centre(everybody, Limits(limit_s), listener, token, tell_parent=_tell_parent)
    else:
        host = LOOPBACK if own.realm == everybody[0].realm else address
        try:
            connection = socket.create_connection((host, port), REACH_S)
        except OSError as error:
            report.log.warning("%s cannot reach rank 0 (%s): if it hangs, nobody will know.", own, error)
            return
        wire = Wire(connection)
        wire.send({"token": token, "rank": own.rank})
        _watcher = Member(everybody, own, Limits(limit_s), wire, tell_parent=_tell_parent)
    _watcher.start()
    atexit.register(stop)


def stop() -> None:
    """Look after nobody any more."""
    global _watcher, _begun
    ended, _watcher, _begun = _watcher, None, False
    if ended is not None:
        atexit.unregister(stop)
        ended.stop()


@contextmanager
def watched(at: Callable[[], str], hooks: Iterable[str]) -> Iterator[None]:
    """Around a run in which all processes take part; `at` says how far it has come, whenever it is asked."""
    watcher = _watcher
    if watcher is None:
        yield
        return
    watcher.enter(at, hooks, sum(1 for _ in traceback.walk_stack(sys._getframe(2))))
    try:
        yield
    except BaseException as error:
        watcher.fail(error)
        raise
    finally:
        watcher.leave()


def note(error: BaseException) -> None:
    """The run under way has failed; what it still does before it raises may take long, or hang."""
    if _watcher is not None and isinstance(error, Exception):  # else the user may have ended it
        _watcher.fail(error)


def _realm() -> str:
    """The same for processes that know each other by their pids and reach each other by loopback."""
    spaces = [socket.gethostname()]
    for kind in ("pid", "net"):
        with suppress(OSError):
            spaces.append(os.readlink(f"/proc/self/ns/{kind}"))
    return " ".join(spaces)


def _listen(*, alone: bool) -> socket.socket:
    if alone:
        return socket.create_server((LOOPBACK, 0))
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _forget() -> None:
    """In a fork of this process, such as a worker of a loader: its connections must end with it."""
    global _watcher, _begun
    left, _watcher, _begun = _watcher, None, False
    if left is not None:
        left.forget()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
