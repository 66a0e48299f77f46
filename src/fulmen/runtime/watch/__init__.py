"""The processes of a job look after each other: none of them waits for ever."""

from fulmen.runtime.watch.start import begin, note, stop, watched, where_failed

__all__ = ["begin", "note", "stop", "watched", "where_failed"]
