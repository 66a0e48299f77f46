"""Which packages are here, and which features torch has: flags that code asks before it uses them."""

from __future__ import annotations

import importlib
import operator
import re
import sys
from collections.abc import Callable
from typing import Any

from fulmen.base.extras import available

_FLAGS = {
    "_COMET_AVAILABLE": "comet_ml",
    "_HYDRA_AVAILABLE": "hydra",
    "_JSONARGPARSE_AVAILABLE": "jsonargparse",
    "_MATPLOTLIB_AVAILABLE": "matplotlib",
    "_MLFLOW_AVAILABLE": "mlflow",
    "_OMEGACONF_AVAILABLE": "omegaconf",
    "_PSUTIL_AVAILABLE": "psutil",
    "_RICH_AVAILABLE": "rich",
    "_TENSORBOARD_AVAILABLE": "tensorboard",
    "_TORCHTEXT_AVAILABLE": "torchtext",
    "_TORCHVISION_AVAILABLE": "torchvision",
    "_WANDB_AVAILABLE": "wandb",
}

_IS_INTERACTIVE = hasattr(sys, "ps1")  # as Python's own documentation says how to find out
NATIVE_AMP_AVAILABLE = _NATIVE_AMP_AVAILABLE = True
APEX_AVAILABLE = _APEX_AVAILABLE = False
XLA_AVAILABLE = _XLA_AVAILABLE = _TPU_AVAILABLE = _IPU_AVAILABLE = _HPU_AVAILABLE = False
_DEEPSPEED_AVAILABLE = _FAIRSCALE_AVAILABLE = _FAIRSCALE_FULLY_SHARDED_AVAILABLE = False
_HIVEMIND_AVAILABLE = _HOROVOD_AVAILABLE = _TORCH_QUANTIZE_AVAILABLE = False
"""Integrations that there are not here, whether or not the package is installed."""


def __getattr__(name: str) -> Any:
    """`_TORCH_GREATER_EQUAL_1_8` and its like, of versions up to the oldest one supported."""
    if name in _FLAGS:
        return available(_FLAGS[name])
    if re.fullmatch(r"_TORCH_GREATER_EQUAL_(1_\d+|2_[0-6])(_\d+)?", name):
        return True
    if re.fullmatch(r"_TORCHMETRICS_GREATER_EQUAL_(0_\d+|1_0)(_\d+)?", name):
        return available("torchmetrics")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _module_available(module_path: str) -> bool:
    return available(module_path)


def _package_available(package_name: str) -> bool:
    return available(package_name)


def _compare_version(package: str, op: Callable[[Any, Any], bool], version: str) -> bool:
    """Whether `package` is here and `op` holds for its version, as in `operator.ge`."""
    if not available(package):
        return False
    found = getattr(importlib.import_module(package), "__version__", "0")
    return op(_numbers(found), _numbers(version))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


class _RequirementAvailable:
    """True where a package is here, in a version as in "torch>=2.0"."""

    def __init__(self, requirement: str) -> None:
        found = re.fullmatch(r"\s*([\w.-]+)\s*(?:(>=|<=|==|!=|>|<)\s*([\w.]+))?.*", requirement)
        assert found is not None
        package, sign, version = found[1].replace("-", "_"), found[2], found[3]
        signs = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
                 ">": operator.gt, "<": operator.lt}  # fmt: skip
        self._holds = available(package) if sign is None else _compare_version(package, signs[sign], version)

    def __bool__(self) -> bool:
        return self._holds
