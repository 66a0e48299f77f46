"""Modules that are known by Lightning's names, and hold what is fulmen's."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from types import ModuleType
from typing import Any

from fulmen.compat.lightning.names import PACKAGES, TABLE, Name
from fulmen.compat.lightning.versions import NEWEST, VERSIONS, declared
from fulmen.errors import FulmenError, UsageError, did_you_mean

_order = VERSIONS.index


class NotOffered(FulmenError, ModuleNotFoundError):
    """A name or a path of Lightning's that there is nothing for here."""


def canonical(path: str) -> str | None:
    """The path in the table, of a module's name; None for a module of another package."""
    root, _, below = path.partition(".")
    if root not in PACKAGES:
        return None
    return f"{PACKAGES[root]}.{below}".removesuffix(".")


def lightning_version() -> str:
    """The version that the packages say they have."""
    return f"{declared() or NEWEST}.0"


class LightningModuleAlias(ModuleType):
    """One path; its names are looked up when they are used."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        vars(self).update(
            _path=path,
            __all__=sorted(_names_in(path, declared() or NEWEST)),
            __doc__="What fulmen has under this name.",
        )
        if path in PACKAGES.values():
            self.__version__ = lightning_version()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself looks for
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        entry = TABLE[self._path].get(name)
        if entry is None and f"{self._path}.{name}" in TABLE:
            return importlib.import_module(f"{self.__name__}.{name}")
        if entry is None or (entry.target is None and not entry.stands_in):
            raise AttributeError(str(_not_offered(f"{self.__name__}.{name}", self._path, name)))
        value = vars(self)[name] = look_up(name, entry, old=self._means_the_old(entry))
        return value

    def _means_the_old(self, entry: Name) -> bool:
        """Where a name has changed its meaning: by the declared version, else by the older package."""
        if entry.formerly is None:
            return False
        version = declared()
        if version is None:
            return self.__name__.startswith("pytorch_lightning.")
        return _order(version) <= _order(entry.formerly[0])

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system gives a package its submodules, also where a name of its own is the same.
        if not (isinstance(value, LightningModuleAlias) and name in TABLE[self._path]):
            super().__setattr__(name, value)

    def __dir__(self) -> Iterable[str]:
        return sorted({*vars(self), *self.__all__, *_submodules(self._path)})


def look_up(name: str, entry: Name, *, old: bool = False) -> Any:
    """What stands behind a name of the table; the `old` one where its meaning has changed."""
    target = entry.formerly[1] if old and entry.formerly else entry.target
    if target is None:
        return _stand_in(name, entry.instead)
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def _stand_in(name: str, instead: str) -> type:
    def refuse(cls: type, *args: Any, **kwargs: Any) -> Any:
        raise NotOffered(f"fulmen has no {name}.", fix=instead)

    return type(name, (), {"__new__": refuse, "__doc__": f"Not offered: {instead}", "__module__": __name__})


def _last_version_with(path: str) -> str:
    return max((entry.last for entry in TABLE[path].values()), key=_order, default=NEWEST)


def _names_in(path: str, version: str) -> Iterator[str]:
    """What `from ... import *` gives: the names that this version had, or the last one that had this path."""
    version = min(version, _last_version_with(path), key=_order)
    for name, entry in TABLE[path].items():
        if entry.target and not name.startswith("_") and _order(entry.last) >= _order(version):
            yield name


def _submodules(path: str) -> Iterator[str]:
    for known in TABLE:
        parent, _, name = known.rpartition(".")
        if parent == path:
            yield name


def _not_offered(asked: str, path: str, name: str) -> NotOffered:
    """The error for `name` at `path`, which code has asked for as `asked`."""
    entry = TABLE.get(path, {}).get(name)
    known = [*TABLE.get(path, {}), *_submodules(path)]
    fix = entry.instead if entry is not None else did_you_mean(name, known)
    return NotOffered(f"fulmen does not offer {asked}.", fix=fix)


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the paths of the table, and the packages' versions; goes before all other finders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of this name, where the table has it; `NotOffered` for others of Lightning's."""
        place = canonical(fullname)
        if place is None:
            return None
        if place not in TABLE:
            raise _not_offered(fullname, *place.rpartition(".")[::2])
        # All are packages: only for one does `from ... import ...` ask this finder, whose error says more.
        return importlib.machinery.ModuleSpec(fullname, self, origin="fulmen", is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """An empty one, but for what it can look up."""
        place = canonical(spec.name)
        assert place is not None
        return LightningModuleAlias(spec.name, place)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        """What `importlib.metadata.version` asks."""
        asked = None if context is None else context.name
        for package in PACKAGES:
            if asked is None or _normalized(asked) == _normalized(package):
                yield _AliasDistribution(package)


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class _AliasDistribution(importlib.metadata.Distribution):
    """One of Lightning's packages, as if it were installed."""

    def __init__(self, package: str) -> None:
        self._package = package

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: {_normalized(self._package)}\nVersion: {lightning_version()}\n"

    def locate_file(self, path: Any) -> Any:
        raise FileNotFoundError(path)


FINDER = AliasFinder()


def install() -> None:
    """Let imports of Lightning find fulmen, in this process."""
    if FINDER in sys.meta_path:
        return
    for package in PACKAGES:
        module = sys.modules.get(package)
        if module is not None and not isinstance(module, LightningModuleAlias):
            raise UsageError(
                f"{package!r} has been imported already, and it is another package than fulmen.",
                received=getattr(module, "__file__", None),
                fix="call install() before any import of it, on the first line of the script",
            )
    sys.meta_path.insert(0, FINDER)


def uninstall() -> None:
    """Let imports find what is installed, as before; what was imported meanwhile stays what it is."""
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)
    for name, module in list(sys.modules.items()):
        if isinstance(module, LightningModuleAlias):
            del sys.modules[name]
