"""What Hydra, where it runs the script, has made of its configuration."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def current() -> Any:
    """Hydra's own settings in this run; None without Hydra."""
    module = sys.modules.get("hydra.core.hydra_config")
    return module.HydraConfig.get() if module is not None and module.HydraConfig.initialized() else None


def output_folder() -> str | None:
    """Where the job that runs writes to, another one than all others; None without Hydra."""
    settings = current()
    return None if settings is None else settings.runtime.output_dir


def write_resolved(settings: Any, names: Iterable[str]) -> str:
    """A new folder with the configuration of this run, under each of these names, for further processes.

    Nothing in it is left to compute. They share the output folder of this run, and each keeps its own log.
    """
    omegaconf: Any = sys.modules["omegaconf"]
    compose: Any = sys.modules["hydra"].compose
    config = compose(settings.job.config_name, overrides=list(settings.overrides.task))
    # What refers to a value that is missing is no error until somebody reads it.
    with suppress(omegaconf.errors.OmegaConfBaseException):
        omegaconf.OmegaConf.resolve(config)
    omegaconf.OmegaConf.set_struct(config, False)
    folder = tempfile.mkdtemp(prefix="fulmen-hydra-")
    for name in names:
        config["hydra"] = {
            "run": {"dir": settings.runtime.output_dir},
            "output_subdir": None,
            "job": {"name": f"{settings.job.name}_{name}", "chdir": settings.job.chdir},
        }
        omegaconf.OmegaConf.save(config, os.path.join(folder, f"{name}.yaml"))
    return folder
