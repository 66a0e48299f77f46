"""Starting the processes of a run."""

from fulmen.runtime.launch.launcher import InPlace, Launcher, runs_once_more
from fulmen.runtime.launch.spawned import Spawned
from fulmen.runtime.launch.subprocesses import Subprocesses

__all__ = ["InPlace", "Launcher", "Spawned", "Subprocesses", "runs_once_more"]
