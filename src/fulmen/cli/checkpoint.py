"""`fulmen checkpoint inspect | verify | export | upgrade`."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any

from fulmen.base import files
from fulmen.base.manifest import manifest_path, verify
from fulmen.cli.checkpoint_export import export
from fulmen.cli.checkpoint_report import file_size, report
from fulmen.cli.checkpoint_text import readable, show, size_in_words
from fulmen.cli.checkpoint_upgrade import checkpoints_at, upgrade
from fulmen.errors import CheckpointError

SUFFIXES = (".ckpt", ".pt", ".pth")
"""Names by which a checkpoint is known; other files are checkpoints where a manifest says so."""


def add_commands(groups: Any) -> None:
    """Describe the commands to argparse."""
    group = groups.add_parser("checkpoint", help="look at, verify and convert checkpoints")
    commands = group.add_subparsers(title="commands", metavar="COMMAND", required=True)

    command = _add(commands, "inspect", _inspect, "say what a checkpoint holds and whether it is intact")
    command.add_argument("path", help="a file or an fsspec URL; nothing in it is executed")
    command.add_argument("--json", action="store_true", help="print JSON")

    command = _add(commands, "verify", _verify, "see whether checkpoints are what was written")
    command.add_argument("paths", nargs="+", metavar="PATH", help="a checkpoint, or a folder of them")

    command = _add(commands, "export", _export, "write the weights alone")
    command.add_argument("path", help="the checkpoint")
    command.add_argument("out", help="OUT.safetensors or OUT.pt")
    command.add_argument("--submodule", metavar="NAME", help="only this one, as if it were the whole")

    command = _add(
        commands, "upgrade", _upgrade, "write checkpoints of older versions as they are written now"
    )
    command.add_argument("path", help="a checkpoint, or a folder of them; each is kept beside, with .bak")
    command.add_argument(
        "--extension", "-e", metavar="EXT", default=".ckpt", help="of the files in a folder (default: .ckpt)"
    )


def _add(commands: Any, name: str, run: Any, what: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=what, description=f"{what.capitalize()}.")
    parser.set_defaults(command=run)
    return parser


def _inspect(options: argparse.Namespace) -> int:
    found = report(options.path)
    print(json.dumps(found, indent=2) if options.json else show(found))
    return 0 if found["intact"] else 1


def _export(options: argparse.Namespace) -> int:
    for line in export(options.path, options.out, submodule=options.submodule):
        print(readable(line))
    return 0


def _upgrade(options: argparse.Namespace) -> int:
    counts = {"upgraded": 0, "up to date": 0, "failed": 0}
    for place in checkpoints_at(options.path, options.extension):
        try:
            told = upgrade(place)
            outcome = "upgraded" if told else "up to date"
        except CheckpointError as error:
            outcome, told = "failed", str(error).splitlines()
        counts[outcome] += 1
        print(readable(f"{outcome:10} {place}"))
        print(*(readable(f"           {line}") for line in told), sep="\n", end="\n" * bool(told))
    if not any(counts.values()):
        print(readable(f"There is no file with the extension {options.extension} below {options.path}."))
        return 1
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count))
    return 1 if counts["failed"] else 0


def _verify(options: argparse.Namespace) -> int:
    counts = {"intact": 0, "damaged": 0, "unknown": 0}
    temporaries: list[str] = []
    for path in options.paths:
        for place in _checkpoints(path, temporaries):
            verdict = verify(place)
            known = "intact" if verdict.checked_by != "nothing" else "unknown"
            state = known if verdict.intact else "damaged"
            counts[state] += 1
            details = verdict.problem or f"{size_in_words(file_size(place))}, by its {verdict.checked_by}"
            print(readable(f"{state:8} {place}  ({details})"))
    if temporaries:
        print("Temporary files of saves that were killed or are under way, which are no checkpoints:")
        print(*(readable(f"         {place}") for place in temporaries), sep="\n")
    if not any(counts.values()):
        print(readable(f"There is no checkpoint below {', '.join(options.paths)}."))
        return 1
    print(", ".join(f"{count} {state}" for state, count in counts.items() if count))
    return 1 if counts["damaged"] else 0


def _checkpoints(path: str, temporaries: list[str]) -> Iterator[str]:
    """The checkpoint at `path`, or all below it; what killed saves left there goes to `temporaries`."""
    if not files.is_folder(path):
        yield path
        return
    names = files.list_names(path)
    for name in names:
        place = files.join(path, name)
        if name.startswith("."):
            if name.endswith(files.TEMPORARY):
                temporaries.append(place)
        elif files.is_folder(place):
            if not os.path.islink(place):  # it may lead back
                yield from _checkpoints(place, temporaries)
        elif name.endswith(SUFFIXES) or os.path.basename(manifest_path(place)) in names:
            yield place
