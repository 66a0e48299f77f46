"""What a path offers under a name: something of fulmen's, or a reason why not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from fulmen.compat.lightning.versions import NEWEST


@dataclass(frozen=True)
class Name:
    """One name at one path."""

    target: str | None = None
    """Where it really is, as in "fulmen.callbacks:Timer"; looked up when it is first used."""
    instead: str = ""
    """Of one that is not offered: why, and what to use."""
    stands_in: bool = False
    """Whether code may import and mention it all the same: a class that cannot be made."""
    last: str = NEWEST
    """The last version that had it at this path."""
    formerly: tuple[str, str] | None = None
    """The last version in which the name meant something else, and what that was, as a target."""


Names: TypeAlias = dict[str, Name]


def offer(module: str, names: str) -> Names:
    """These names, which `module` has under the same."""
    return {name: Name(f"{module}:{name}") for name in names.split()}


def rename(**targets: str) -> Names:
    """Names of what is called something else now."""
    return {name: Name(target) for name, target in targets.items()}


def refuse(instead: str, names: str) -> Names:
    """Names that cannot be imported."""
    return {name: Name(instead=instead) for name in names.split()}


def stand_in(instead: str, names: str) -> Names:
    """Names of classes that are known, so that libraries may mention them, and that cannot be made here."""
    return {name: Name(instead=instead, stands_in=True) for name in names.split()}


def until(last: str, *groups: Names) -> Names:
    """All these, which later versions did not have at this path."""
    return {name: replace(entry, last=last) for group in groups for name, entry in group.items()}


def pick(group: Names, names: str) -> Names:
    """Only these of a group."""
    return {name: group[name] for name in names.split()}
