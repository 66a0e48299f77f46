"""What holds for every test: it leaves the process as it found it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator

import pytest
import torch
import torch.distributed

from fulmen.base import report

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Whatever is started in the background ignores Ctrl-C, and so would the programs that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE_S = 1.0  # for threads and processes that were told to end
SET_BY_SEEDING = ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")  # in the open: seed_everything promises it
Look = Callable[[], "set[Hashable]"]


def environment_variables() -> set[Hashable]:
    # torch sets the cache folder of its compiler when a process steps an optimizer for the first time.
    free_to_change = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", *SET_BY_SEEDING)
    return {item for item in os.environ.items() if item[0] not in free_to_change}


def process_group() -> set[Hashable]:
    return {"a process group"} if torch.distributed.is_initialized() else set()


def signal_handlers() -> set[Hashable]:
    return {(number.name, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)}


def torch_settings() -> set[Hashable]:
    return {
        ("default dtype", torch.get_default_dtype()),
        ("gradients enabled", torch.is_grad_enabled()),
        ("anomaly detection", torch.is_anomaly_enabled()),
        ("deterministic algorithms", torch.are_deterministic_algorithms_enabled()),
        ("cudnn.benchmark", torch.backends.cudnn.benchmark),
        ("float32 matmul precision", torch.get_float32_matmul_precision()),
    }


def files_in_the_working_folder() -> set[Hashable]:
    return {name for name in os.listdir() if not name.startswith((".", "__"))}


def threads() -> set[Hashable]:
    return set(threading.enumerate())


def child_processes() -> set[Hashable]:
    return set(multiprocessing.active_children())


MUST_NOT_CHANGE: tuple[Look, ...] = (environment_variables, process_group, signal_handlers, torch_settings)
MUST_NOT_GROW: tuple[Look, ...] = (files_in_the_working_folder, threads, child_processes)


@pytest.fixture(autouse=True)
def leave_no_trace() -> Iterator[None]:
    """Fail a test that leaves something behind, and clean up what would get the next ones blamed."""
    torch.set_num_threads(1)
    report.forget_warnings()
    variables = dict(os.environ)
    same = {look: look() for look in MUST_NOT_CHANGE}
    no_more = {look: look() for look in MUST_NOT_GROW}

    yield

    changed = [trace for look, before in same.items() for trace in before ^ look()]
    give_up_s = time.monotonic() + PATIENCE_S
    while added := [trace for look, before in no_more.items() for trace in look() - before]:
        if time.monotonic() > give_up_s:
            break
        gc.collect()  # what only a reference cycle keeps alive is no leak
        time.sleep(0.02)

    os.environ.clear()
    os.environ.update(variables)
    if process_group():
        torch.distributed.destroy_process_group()
    if changed or added:
        pytest.fail("The test leaves behind: " + ", ".join(map(str, changed + added)), pytrace=False)
