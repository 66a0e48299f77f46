"""How to run the running script once more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from fulmen.errors import UsageError
from fulmen.runtime.launch import hydra


def _working_folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return os.path.sep


STARTED_IN = _working_folder()
"""Before the script has gone elsewhere."""


@dataclass(frozen=True)
class Script:
    """The command of each process, where they begin, and a folder to remove when they have ended."""

    commands: dict[int, list[str]]
    folder: str
    temporary: str | None = None


def this_script(local_ranks: Iterable[int]) -> Script:
    """The running script, for further processes; raises `UsageError` where there is none.

    Under Hydra, they are told the configuration of this run.
    """
    flags = subprocess._args_from_interpreter_flags()  # pyright: ignore[reportAttributeAccessIssue]
    program = [sys.executable, *flags, *_target()]
    settings = hydra.current()
    if settings is None:
        return Script({rank: [*program, *sys.argv[1:]] for rank in local_ranks}, STARTED_IN)
    names = {rank: f"rank{rank}" for rank in local_ranks}
    folder = hydra.write_resolved(settings, names.values())
    commands = {
        rank: [*program, "--config-path", folder, "--config-name", name] for rank, name in names.items()
    }
    return Script(commands, settings.runtime.cwd, folder)


def _target() -> list[str]:
    main = vars(sys.modules["__main__"])
    spec, path = main.get("__spec__"), main.get("__file__")
    if spec is not None and spec.name != "__main__":
        return ["-m", spec.name.removesuffix(".__main__")]
    as_called = os.path.join(STARTED_IN, sys.argv[0])
    if spec is not None or (path is not None and as_called == os.path.join(STARTED_IN, path)):
        return [sys.argv[0]]  # with a spec, it is a folder or an archive
    if path is None or not os.path.exists(os.path.join(STARTED_IN, path)):
        raise UsageError(
            'strategy="ddp" starts the running script again, and here is none.',
            received="a notebook, a prompt, `python -c`, or a script from standard input",
            fix='strategy="ddp_notebook" in a notebook; "ddp_spawn" elsewhere, or save the code to a file',
        )
    return [os.path.join(STARTED_IN, path)]
