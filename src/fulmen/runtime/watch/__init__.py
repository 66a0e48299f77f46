"""The processes of a job look after each other: none of them waits for ever."""

from fulmen.runtime.watch.start import begin, note, stop, tell_parent, watched

__all__ = ["begin", "note", "stop", "tell_parent", "watched"]
