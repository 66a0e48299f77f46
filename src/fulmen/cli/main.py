"""`fulmen COMMAND ...`: finds the command, and turns its errors into exit codes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import fulmen
from fulmen.cli import checkpoint, launch, run
from fulmen.errors import FulmenError

GROUPS = (checkpoint, launch, run)
"""Each adds its commands to the parser; a command takes the arguments and returns an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 where all is well, 1 where something is not, 2 where it was not understood."""
    parser = argparse.ArgumentParser(prog="fulmen", description="Tools around training with fulmen.")
    parser.add_argument("--version", action="version", version=f"fulmen {fulmen.__version__}")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in GROUPS:
        group.add_commands(groups)
    given = list(sys.argv[1:] if arguments is None else arguments)
    own, more = run.split(given) if given[:1] == ["run"] else _split_at_dashes(given)
    options, unknown = parser.parse_known_args(own, argparse.Namespace(more=more, takes_more=False))
    if unknown and options.takes_more:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}; those of the script come after --")
    if unknown or (more and not options.takes_more):
        parser.error(f"unrecognized arguments: {' '.join(unknown or more)}")
    try:
        return options.command(options)
    except FulmenError as error:
        print(f"fulmen: {error}", file=sys.stderr)
        return 1


def _split_at_dashes(given: list[str]) -> tuple[list[str], list[str]]:
    own = given[: given.index("--")] if "--" in given else given
    return own, given[len(own) + 1 :]
