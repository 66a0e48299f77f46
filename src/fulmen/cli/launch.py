"""`fulmen launch`: a script in many processes, on this machine or as a job of SLURM."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fulmen.base import environ
from fulmen.errors import ConfigError
from fulmen.runtime.launch.launcher import fair_threads

NOTICE_S = 120
"""How long before its time is up a job is told to save."""

FOR_SLURM = ("time", "partition", "cpus_per_device", "sbatch", "file", "no_submit")


def add_commands(groups: Any) -> None:
    """Describe the command to argparse."""
    what = "run a script on many devices, here or as a job of SLURM"
    parser = groups.add_parser(
        "launch", help=what, description=f"{what[0].upper()}{what[1:]}.",
        usage="%(prog)s SCRIPT [--nodes N] [--devices N] [--on local|slurm] [...] [-- SCRIPT'S ARGUMENTS]",
    )  # fmt: skip
    parser.set_defaults(command=_launch, takes_more=True)
    parser.add_argument("script", help="a Python file; what follows -- is handed on to it")
    parser.add_argument("--on", choices=("local", "slurm"), default="local", help="default: local")
    parser.add_argument("--nodes", type=_count, default=1, metavar="N", help="machines; default: 1")
    parser.add_argument("--devices", type=_count, default=1, metavar="N", help="of each machine; default: 1")
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), help="default: on slurm, gpu")

    slurm = parser.add_argument_group("with --on slurm")
    slurm.add_argument("--time", help="the limit: minutes, HH:MM:SS or D-HH:MM:SS")
    slurm.add_argument("--partition")
    slurm.add_argument("--cpus-per-device", type=_count, metavar="N", help="cores of each process")
    slurm.add_argument(
        "--sbatch", action="append", metavar="OPTION",
        help="a further line, as in --sbatch mem=64G; may be repeated",
    )  # fmt: skip
    slurm.add_argument("--file", type=Path, help="where the job is written; default: SCRIPT.sbatch, here")
    slurm.add_argument("--no-submit", action="store_true", default=None, help="only write it")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _launch(options: argparse.Namespace) -> int:
    if not os.path.isfile(options.script):
        raise ConfigError("There is no such script.", received=options.script)
    return _submit(options) if options.on == "slurm" else _run_here(options)


def _for_trainer(options: argparse.Namespace) -> dict[str, str]:
    """What the script's Trainer takes for arguments that the script does not give."""
    values = {"DEVICES": str(options.devices), "NUM_NODES": str(options.nodes)}
    if options.accelerator is not None:
        values["ACCELERATOR"] = options.accelerator
    return {f"PL_TRAINER_{name}": value for name, value in values.items()}


def _run_here(options: argparse.Namespace) -> int:
    if options.nodes > 1:
        raise ConfigError(
            "This is one machine.",
            received=f"--nodes {options.nodes} --on local",
            fix="--on slurm; or start torchrun on each of the machines",
        )
    vain = [name for name in FOR_SLURM if getattr(options, name) is not None]
    if vain:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in vain)
        raise ConfigError("Some options are for SLURM alone.", received=names, fix="--on slurm")
    # torchrun, which starts all processes at the script's beginning: a script that names another number of
    # devices learns of it, and what stands before `fit` is run by all at the same time.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={options.devices}", options.script, *options.more]
    variables = environ.read_prefixed("") | {"OMP_NUM_THREADS": str(fair_threads(options.devices))}
    variables |= _for_trainer(options)
    if sys.platform != "win32":  # where exec returns to the shell at once
        os.execve(command[0], command, variables)
    return subprocess.call(command, env=variables)


# ------------------------------------------------------------------------------------------------------ SLURM


def _submit(options: argparse.Namespace) -> int:
    if not options.no_submit and shutil.which("sbatch") is None:
        raise ConfigError(
            "SLURM is not on this machine: there is no sbatch.",
            fix="call it where jobs are submitted; --no-submit only writes the job; --on local runs it here",
        )
    path = options.file or Path(f"{Path(options.script).stem}.sbatch")
    text = "\n".join(_lines(options, path)) + "\n"
    if path.exists() and path.read_text() != text:
        raise ConfigError(
            "Another job is written there already.",
            received=str(path),
            fix=f"`sbatch {shlex.quote(str(path))}` submits that one; --file names another file for this one",
        )
    path.write_text(text)
    print(f"{path}:\n\n{text}", flush=True)
    if options.no_submit:
        return 0
    return subprocess.call(["sbatch", str(path)])


def _lines(options: argparse.Namespace, path: Path) -> Iterator[str]:
    wanted = {
        "job-name": Path(options.script).stem,
        "nodes": options.nodes,
        "ntasks-per-node": options.devices,
        "gpus-per-node": None if options.accelerator == "cpu" else options.devices,
        "cpus-per-task": options.cpus_per_device,
        "time": options.time,
        "partition": options.partition,
        "output": "%x-%j.out",
    }
    yield "#!/bin/bash"
    yield f"# Written by `fulmen launch`. To submit it again: sbatch {shlex.quote(str(path))}"
    for name, value in wanted.items():
        if value is not None:
            yield f"#SBATCH --{name}={shlex.quote(str(value))}"
    yield f"# {NOTICE_S} s before its time is up, training is saved; the job starts again, and it goes on."
    yield from ("#SBATCH --requeue", f"#SBATCH --signal=USR1@{NOTICE_S}", "#SBATCH --open-mode=append")
    for line in options.sbatch or ():
        yield f"#SBATCH {line if line.startswith('-') else f'--{line}'}"
    yield ""
    for name, value in _for_trainer(options).items():
        yield f"export {name}={value}"
    # srun does not take this over from sbatch.
    cores = [] if options.cpus_per_device is None else [f"--cpus-per-task={options.cpus_per_device}"]
    yield shlex.join(["srun", *cores, sys.executable, options.script, *options.more])
