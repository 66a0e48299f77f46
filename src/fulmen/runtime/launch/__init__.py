"""Starting the processes of a run."""

from fulmen.runtime.launch.launcher import InPlace, Launcher

__all__ = ["InPlace", "Launcher"]
