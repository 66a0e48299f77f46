"""What every path of Lightning offers, in one table: from 1.0's to the newest."""

from fulmen.compat.lightning.names.current import CURRENT
from fulmen.compat.lightning.names.entries import Name, Names
from fulmen.compat.lightning.names.fabric import FABRIC, LITE, TOP_LEVEL
from fulmen.compat.lightning.names.former import ALSO, FORMER
from fulmen.compat.lightning.names.tools import TOOLS

__all__ = ["PACKAGES", "TABLE", "Name", "Names"]

PACKAGES = {
    "pytorch_lightning": "lightning.pytorch",
    "lightning_fabric": "lightning.fabric",
    "lightning_lite": "lightning.lite",
    "lightning": "lightning",
}
"""Packages that are Lightning's, and the path that each of them has in the table."""


def _below(package: str, paths: dict[str, Names]) -> dict[str, Names]:
    return {f"{package}.{path}".removesuffix("."): names for path, names in paths.items()}


TABLE: dict[str, Names] = {
    **_below("lightning", TOP_LEVEL),
    **_below(
        "lightning.pytorch",
        {**CURRENT, **TOOLS, **FORMER, **{path: ALSO[path] | CURRENT[path] for path in ALSO}},
    ),
    **_below("lightning.fabric", FABRIC),
    **_below("lightning.lite", LITE),
}
"""By path, by name."""
