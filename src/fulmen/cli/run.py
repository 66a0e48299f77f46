"""`fulmen run`: a script that imports Lightning, on fulmen."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from fulmen.base import environ
from fulmen.compat import spelling
from fulmen.compat.lightning import versions
from fulmen.compat.lightning.run import prepare_processes
from fulmen.errors import ConfigError, UsageError

TAKES_VALUE = ("--as", "-m")


def add_commands(groups: Any) -> None:
    """Describe the command to argparse."""
    what = "run a script that imports pytorch_lightning or lightning, of any version, on fulmen"
    parser = groups.add_parser(
        "run", help=what, description=f"{what[0].upper()}{what[1:]}.",
        usage="%(prog)s [--as VERSION] [--quiet] (SCRIPT | -m MODULE) [ITS ARGUMENTS]",
    )  # fmt: skip
    parser.set_defaults(command=_run, takes_more=True)
    parser.add_argument(
        "--as", dest="version", metavar="VERSION", help="the one it was written for, as in 1.4"
    )
    parser.add_argument("--quiet", action="store_true", help="no warnings about old spellings")
    parser.add_argument("-m", dest="module", help="run a module instead of a file, as Python's -m does")
    parser.add_argument("script", nargs="?", help="a Python file; what follows is its own")


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of the script, which are everything after it."""
    end = 1
    while end < len(arguments) and arguments[end].startswith("-"):
        is_module = arguments[end].startswith("-m")
        end += 2 if arguments[end] in TAKES_VALUE else 1
        if is_module:
            return list(arguments[:end]), list(arguments[end:])
    return list(arguments[: end + 1]), list(arguments[end + 1 :])


def _run(options: argparse.Namespace) -> int:
    if (options.script is None) == (options.module is None):
        raise ConfigError("What is to be run?", expected="a script, or -m and a module")
    if sys.flags.ignore_environment or sys.flags.no_site:
        raise UsageError(
            "Python was started without what tells a program's processes that they run on fulmen.",
            received="python -E, -I or -S",
            fix="leave it out",
        )
    if options.version is not None:
        versions.declare(options.version)
    if options.quiet:
        spelling.be_quiet()
    prepare_processes()
    flags = subprocess._args_from_interpreter_flags()  # pyright: ignore[reportAttributeAccessIssue]
    target = [options.script] if options.module is None else ["-m", options.module]
    # Python itself runs it, from the beginning: nothing is imported yet, and it reads its environment.
    command = [sys.executable, *flags, *target, *options.more]
    variables = environ.read_prefixed("")
    if sys.platform != "win32":  # where exec returns to the shell at once
        os.execve(command[0], command, variables)
    return subprocess.call(command, env=variables)
