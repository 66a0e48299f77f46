"""What every environment tells: who starts the processes, how many there are, and where they meet."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod

from fulmen.base import environ
from fulmen.errors import ConfigError


class ClusterEnvironment(ABC):
    """Who starts the processes of a run, and how they find each other.

    Write one for a cluster that is not known here, and hand it to the Trainer in `plugins`.
    """

    @property
    @abstractmethod
    def creates_processes_externally(self) -> bool:
        """Whether all processes are there already; else the Trainer starts those of this node."""

    @property
    @abstractmethod
    def main_address(self) -> str:
        """The host of rank 0."""

    @property
    @abstractmethod
    def main_port(self) -> int:
        """The port on it at which processes meet."""

    @staticmethod
    @abstractmethod
    def detect() -> bool:
        """Whether this process was started so."""

    @abstractmethod
    def world_size(self) -> int:
        """The number of processes of the run."""

    @abstractmethod
    def set_world_size(self, size: int) -> None:
        """Take note of the number of processes, where that is for the Trainer to say."""

    @abstractmethod
    def global_rank(self) -> int:
        """The number of this process among all, from 0."""

    @abstractmethod
    def set_global_rank(self, rank: int) -> None:
        """Take note of this process's number, where that is for the Trainer to say."""

    @abstractmethod
    def local_rank(self) -> int:
        """The number of this process among those of its node, from 0."""

    @abstractmethod
    def node_rank(self) -> int:
        """The number of this node, from 0."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Raise `ConfigError` where the Trainer's arguments do not fit what was started."""
        if self.creates_processes_externally and num_devices * num_nodes != self.world_size():
            raise ConfigError(
                "The Trainer's arguments and the number of processes that were started disagree.",
                received=f"devices={num_devices}, num_nodes={num_nodes}, and {self.world_size()} processes",
                expected="devices x num_nodes processes",
            )

    def speaks_of(self, num_devices: int, num_nodes: int) -> bool:
        """Whether this process tells that these settings do not fit: once in each terminal."""
        return True

    def teardown(self) -> None:
        """Called when the processes part."""

    @property
    def hosts_store(self) -> bool:
        """Whether rank 0 opens `main_port`; False where something outlives the processes and has done so."""
        return True

    def meeting_file(self) -> str | None:
        """A file that all processes see, to meet at in place of the address; None where there is none."""
        return None

    # ------------------------------------------------------------------- jobs that end before they are done

    requeue_signal: signal.Signals | None = None
    """Says that the job ends soon: a fit is saved then, and `requeue` called."""

    def job(self) -> str | None:
        """The name of what runs here, which it has again when it is started again; None where nothing is."""
        return None

    def restart_count(self) -> int:
        """How many times it was started again."""
        return 0

    def requeue(self) -> None:
        """Have the job started again once it has ended; called in one process, when the others are saved too.

        Raises a `FulmenError` where that cannot be.
        """


class ManagedEnvironment(ClusterEnvironment):
    """Something else has started all processes, and the numbers are not for the Trainer to say."""

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return text("MASTER_ADDR")

    @property
    def main_port(self) -> int:
        return number("MASTER_PORT")

    def speaks_of(self, num_devices: int, num_nodes: int) -> bool:
        return self.local_rank() == 0  # another host may have been started otherwise

    def set_world_size(self, size: int) -> None:
        pass

    def set_global_rank(self, rank: int) -> None:
        pass


def text(*names: str) -> str:
    """The value of the first of these variables that is set; `ConfigError` where none is."""
    value = next((value for value in map(environ.read, names) if value), None)
    if value is None:
        raise ConfigError(
            f"The environment variable {names[0]} is not set.",
            expected="set by what started this process, to go by the other variables",
            fix=f"export {names[0]}=... for all processes",
        )
    return value


def number(*names: str) -> int:
    """The same as a whole number."""
    value = text(*names)
    try:
        return int(value)
    except ValueError:
        raise ConfigError(
            f"The environment variable {names[0]} is not a whole number.", received=repr(value)
        ) from None


def is_set(*names: str) -> bool:
    """Whether all these variables are there."""
    return all(environ.read(name) for name in names)
