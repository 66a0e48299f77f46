"""Importing the package costs little and does nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

MOST_OF_TORCHS = 0.25
"""Share of torch's own import time; measured together, so that a slow machine is slow for both."""

IMPORTED = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")


def run(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *options, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


@dataclass(frozen=True)
class Imported:
    """A line of what `-X importtime` prints."""

    own_us: int
    whole_us: int
    module: str


def test_import_costs_a_small_share_of_torchs() -> None:
    report = run("import torch; import fulmen", "-X", "importtime").stderr
    found = [Imported(int(own), int(whole), name) for own, whole, _, name in IMPORTED.findall(report)]
    whole_us = {imported.module: imported.whole_us for imported in found}
    torch_at = next(index for index, imported in enumerate(found) if imported.module == "torch")
    ours = sorted(found[torch_at + 1 :], key=lambda imported: -imported.own_us)

    slowest = "\n".join(f"{imported.own_us / 1000:8.1f} ms  {imported.module}" for imported in ours[:15])
    assert whole_us["fulmen"] <= MOST_OF_TORCHS * whole_us["torch"], f"\n{slowest}"


LOOK = """
import json, logging, os, random, signal, sys, threading, warnings
import torch

def look():
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "open files": sorted(os.path.realpath(f"/dev/fd/{fd}") for fd in os.listdir("/dev/fd")),
        "environment": dict(os.environ),
        "packages": sorted({name.partition(".")[0] for name in sys.modules}),
        "signal handlers": str([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]),
        "warning filters": str(warnings.filters),
        "root logger": str([logging.root.handlers, logging.root.level]),
        "random state": str([random.getstate(), torch.get_rng_state().tolist()]),
        "torch settings": str([torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()]),
        "CUDA is initialized": torch.cuda.is_initialized(),
    }

before = look()
import fulmen
print(json.dumps([before, look()]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="open files are listed in /dev/fd")
def test_import_does_nothing_but_define() -> None:
    before, after = json.loads(run(LOOK).stdout)
    new_packages = set(after.pop("packages")) - set(before.pop("packages"))

    assert after == before
    assert new_packages - sys.stdlib_module_names == {"fulmen"}
