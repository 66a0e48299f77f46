"""What loggers that write into folders have in common: `save_dir/name/version_N`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from fulmen.base import files
from fulmen.core.logger import Logger


class FolderLogger(Logger):
    """Finds its folder when that is first asked for, and creates it when something is written."""

    def __init__(
        self,
        save_dir: files.AnyPath,
        name: str | None,
        version: int | str | None,
        *,
        prefix: str = "",
        sub_dir: files.AnyPath | None = None,
    ) -> None:
        self._save_dir = _expand(save_dir)
        self._name = name or ""
        self._version = version
        self._version_is_given = version is not None
        self._prefix = prefix
        self._sub_dir = None if sub_dir is None else _expand(sub_dir)
        self._experiment: Any = None

    @property
    def name(self) -> str:
        """Name of the experiment; empty where versions lie in `save_dir` itself."""
        return self._name

    @property
    def version(self) -> int | str:
        """The version given, or the number after the highest one that is there."""
        if self._version is None:
            self._version = max(self._versions_there(), default=-1) + 1
        return self._version

    def past_versions(self) -> list[int]:
        """The versions that it may go on in: all that are there, unless it was told which one to write."""
        return [] if self._version_is_given else self._versions_there()

    def _versions_there(self) -> list[int]:
        found = (re.fullmatch(r"version_(\d+)", name) for name in files.list_names(self.root_dir))
        return sorted(int(match[1]) for match in found if match)

    @property
    def save_dir(self) -> str:
        """The folder that was given, with `~` and variables replaced."""
        return self._save_dir

    @property
    def root_dir(self) -> str:
        """Folder of the experiment, with all its versions."""
        return files.join(self._save_dir, self._name) if self._name else self._save_dir

    @property
    def sub_dir(self) -> str | None:
        """The folder within that of the version, where there is one."""
        return self._sub_dir

    @property
    def log_dir(self) -> str:
        """Folder of this version: `version_N` for a number N; below it `sub_dir`, where there is one."""
        version = self.version if isinstance(self.version, str) else f"version_{self.version}"
        return files.join(self.root_dir, version, *([self._sub_dir] if self._sub_dir else []))

    def agree_on_version(self, broadcast: Callable[[Any], Any]) -> None:
        self._version = broadcast(self.version)

    def position(self) -> dict[str, Any]:
        """Where its records end; `rewind` takes back what follows, if that is in the same folder."""
        return {"folder": files.absolute(self.log_dir)}

    def go_on_at(self, position: Mapping[str, Any]) -> None:
        """Go on in the version that `position` lies in, where it may and has not begun to write."""
        own = self._version
        if self._experiment is None:
            for version in self.past_versions():
                self._version = version
                if self._is_here(position):
                    return
        self._version = own

    def mark_beginning(self) -> None:
        """Note where this run's records begin; where such a note was left, begin there again."""
        note = self._note_of_beginning
        if files.exists(note):
            with files.open_file(note) as file:
                self.rewind(json.load(file))
        else:
            content = json.dumps(self.position()).encode()
            files.write_whole(note, lambda file: file.write(content))

    def forget_beginning(self) -> None:
        """Remove the note."""
        files.remove(self._note_of_beginning)

    @property
    def _note_of_beginning(self) -> str:
        return files.join(self.log_dir, ".begun")

    def _is_here(self, position: Mapping[str, Any]) -> bool:
        return position.get("folder") == files.absolute(self.log_dir)

    def _prefixed(self, metrics: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._prefix:
            return metrics
        return {f"{self._prefix}-{name}": value for name, value in metrics.items()}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_experiment": None}  # open files stay with the one who opened them


def _expand(path: files.AnyPath) -> str:
    return os.path.expandvars(os.path.expanduser(os.fspath(path)))
