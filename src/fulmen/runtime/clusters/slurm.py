"""SLURM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

from fulmen.base import environ
from fulmen.base.report import warn_once
from fulmen.errors import ConfigError, DistributedError
from fulmen.runtime import ports
from fulmen.runtime.clusters.environment import ManagedEnvironment, is_set, number, text

INTERACTIVE = ("bash", "interactive", "sh", "tcsh", "zsh")
"""Names of jobs that are a shell, in which a user starts things by hand."""

ANSWER_S = 60.0
"""How long SLURM may take to answer."""

FIRST_STEP_OF_ITS_OWN_KIND = 0xFFFF_FFF0
"""From here on, numbers of steps mean the batch script, an interactive shell and the like."""


class SLURMEnvironment(ManagedEnvironment):
    """Processes of srun. `python` alone, in an sbatch script or in the shell of salloc, is none of them.

    With `auto_requeue`, a fit that gets `requeue_signal`, by default SIGUSR1, is saved and its job put back
    into the queue; when SLURM starts the job again, the fit goes on from there.
    """

    def __init__(self, auto_requeue: bool = True, requeue_signal: signal.Signals | None = None) -> None:
        self.auto_requeue = auto_requeue
        if requeue_signal is None and sys.platform != "win32":
            requeue_signal = signal.SIGUSR1
        self.requeue_signal = requeue_signal

    @staticmethod
    def detect() -> bool:
        if not is_set("SLURM_JOB_ID"):
            return False
        in_step = is_set("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID")
        if in_step and number("SLURM_STEP_ID") < FIRST_STEP_OF_ITS_OWN_KIND and not _is_shell():
            return True
        if is_set("SLURM_NTASKS") and number("SLURM_NTASKS") > 1 and not is_set("LOCAL_RANK"):
            warn_once(
                f"This job of SLURM has {number('SLURM_NTASKS')} tasks, but this process was not started by "
                "srun, so that it is on its own. Put `srun` in front of `python`."
            )
        return False

    @property
    def main_address(self) -> str:
        nodes = text("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
        return environ.read("MASTER_ADDR") or first_host(nodes)

    @property
    def main_port(self) -> int:
        if is_set("MASTER_PORT"):
            return number("MASTER_PORT")
        if is_set("SLURM_STEP_RESV_PORTS"):  # srun --resv-ports: nobody else has them
            return int(re.split("[-,]", text("SLURM_STEP_RESV_PORTS"))[0])
        step = f"{text('SLURM_JOB_ID')}.{text('SLURM_STEP_ID')}.{self.restart_count()}"
        return ports.guessed(step)

    def speaks_of(self, num_devices: int, num_nodes: int) -> bool:
        return self.global_rank() == 0  # srun has told all the same

    def world_size(self) -> int:
        return number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")

    def global_rank(self) -> int:
        return number("SLURM_PROCID")

    def local_rank(self) -> int:
        return number("SLURM_LOCALID")

    def node_rank(self) -> int:
        return number("SLURM_NODEID")

    @staticmethod
    def job_id() -> int | None:
        """The job's number, of each element of an array another one; None outside of srun."""
        return number("SLURM_JOB_ID") if SLURMEnvironment.detect() else None

    @staticmethod
    def job_name() -> str | None:
        """The job's name."""
        return environ.read("SLURM_JOB_NAME")

    @staticmethod
    def requeue_id() -> str:
        """What `scontrol requeue` takes: the job, or this element of an array."""
        if is_set("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
            return f"{number('SLURM_ARRAY_JOB_ID')}_{number('SLURM_ARRAY_TASK_ID')}"
        return text("SLURM_JOB_ID")

    def job(self) -> str | None:
        if not self.auto_requeue or not is_set("SLURM_JOB_ID"):
            return None
        return f"slurm-{self.requeue_id()}.{environ.read('SLURM_STEP_ID') or 'batch'}"

    def restart_count(self) -> int:
        return number("SLURM_RESTART_COUNT") if is_set("SLURM_RESTART_COUNT") else 0

    def requeue(self) -> None:
        try:
            done = subprocess.run(
                ["scontrol", "requeue", self.requeue_id()],
                capture_output=True, text=True, timeout=ANSWER_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DistributedError(
                "SLURM could not be asked to start this job again.", received=str(error)
            ) from error
        if done.returncode:
            raise DistributedError(
                "SLURM does not start this job again.",
                received=f"scontrol requeue {self.requeue_id()}: {done.stderr.strip()}",
                fix="#SBATCH --requeue, in a script for sbatch",
            )

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        size, nodes = self.world_size(), number("SLURM_STEP_NUM_NODES", "SLURM_NNODES")
        tasks = expand_counts(environ.read("SLURM_STEP_TASKS_PER_NODE") or f"{size // nodes}(x{nodes})")
        if nodes != num_nodes:
            raise ConfigError(
                "SLURM has started the job on another number of nodes than the Trainer is told.",
                received=f"num_nodes={num_nodes}; the job runs on {nodes}",
                fix=f"#SBATCH --nodes={num_nodes}, or Trainer(num_nodes={nodes})",
            )
        if size != num_devices * num_nodes or set(tasks) != {num_devices}:
            same = f", or Trainer(devices={tasks[0]})" if len(set(tasks)) == 1 else ""
            raise ConfigError(
                "SLURM has started another number of processes than the Trainer is told.",
                received=f"devices={num_devices}, num_nodes={num_nodes}; the job has "
                f"{', '.join(map(str, tasks))} tasks on its nodes",
                expected="one task per device",
                fix=f"#SBATCH --ntasks-per-node={num_devices}{same}",
            )


def _is_shell() -> bool:
    """Whether srun has started a shell, of which this process is a command.

    What it has told the shell is passed on to the tasks of an srun inside, and a job of salloc is called
    "interactive" whatever runs in it: names alone count where there is one task.
    """
    in_terminal = is_set("SLURM_PTY_PORT")
    if environ.read("SLURM_STEP_NUM_TASKS") in (None, "1"):
        return in_terminal or environ.read("SLURM_JOB_NAME") in INTERACTIVE
    return in_terminal and os.isatty(0)


def first_host(nodes: str) -> str:
    """The first host of a list in SLURM's notation: `rack[2-3,7]n1,login` begins with `rack2n1`."""
    found = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", found[0] if found else nodes)


def expand_counts(counts: str) -> list[int]:
    """Numbers in SLURM's notation: `2(x3),1` is 2, 2, 2, 1."""
    pairs = [re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in counts.split(",")]
    return [int(pair[1]) for pair in pairs if pair for _ in range(int(pair[2] or 1))]
