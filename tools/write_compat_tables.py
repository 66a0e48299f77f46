"""Write the tables of docs/compat.md from those in the code: python tools/write_compat_tables.py [--check]"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fulmen.compat.lightning import arguments, attributes, hooks
from fulmen.compat.lightning.checkpoints import MIGRATIONS
from fulmen.compat.lightning.constructors import CONSTRUCTORS, OLD
from fulmen.compat.lightning.habits import COUNTS, HABITS
from fulmen.compat.lightning.names import TABLE, Name
from fulmen.compat.lightning.versions import NEWEST, Spelling

PAGE = Path(__file__).parents[1] / "docs" / "compat.md"
START, END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def table(title: str, spellings: Iterable[Spelling]) -> str:
    """A heading, and a row for each spelling."""
    rows = "\n".join(
        f"| `{spelling.name}` | {spelling.first} to {spelling.last} | {modern(spelling)} |"
        for spelling in spellings
    )
    return f"### {title}\n\n| old | versions | now |\n|---|---|---|\n{rows}\n"


def modern(spelling: Spelling) -> str:
    """What stands in the last column."""
    return spelling.modern.replace("|", "\\|") or "-"


def constructors() -> str:
    """What of the arguments of other classes is understood."""
    rows = "\n".join(
        f"| `{name}` | {(function.__doc__ or '').strip()} |"
        for name, function in CONSTRUCTORS.items()
        if name not in OLD
    )
    return f"### Arguments of other classes\n\n| class | understood |\n|---|---|\n{rows}\n"


def habits() -> str:
    """Ways of working that are read off the code of a module."""
    rows = "\n".join(f"| {h.name} | {h.first} to {h.last} | {modern(h)} |" for h in HABITS)
    return f"### Ways of working\n\n| old | versions | now |\n|---|---|---|\n{rows}\n"


def counts() -> str:
    """Numbers that hooks read, and that were others."""
    rows = "\n".join(
        f"| `{count.name}` | {', '.join(count.hooks)} | {count.last} | {modern(count)} |" for count in COUNTS
    )
    return f"### Numbers that were others\n\n| read | in | until | what it was |\n|---|---|---|---|\n{rows}\n"


def imports() -> str:
    """What is under the names that the newest version does not have, and what is not offered."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for path, names in TABLE.items():
        for name, entry in names.items():
            if entry.last != NEWEST or entry.target is None:
                place = path.replace("lightning.pytorch", "pytorch_lightning")
                groups.setdefault((place, entry.last, outcome(name, entry)), []).append(f"`{name}`")
    rows = "\n".join(
        f"| `{path}` | {', '.join(names)} | {'' if last == NEWEST else last} | {what} |"
        for (path, last, what), names in groups.items()
    )
    return f"### Imports\n\n| from | import | until | now |\n|---|---|---|---|\n{rows}\n"


def outcome(name: str, entry: Name) -> str:
    """Where something is now; else whether it can be imported, and what to use."""
    if entry.target is None:
        return f"{'cannot be made' if entry.stands_in else 'not offered'}: {entry.instead}"
    module, _, attribute = entry.target.partition(":")
    where = "understood" if module.startswith("fulmen.compat") else f"`{module}`"
    return where if attribute == name else f"{where}: `{attribute}`"


def migrations() -> str:
    """What is done with files of before a version."""
    rows = "\n".join(f"| {major}.{minor} | {what} |" for (major, minor), _, what in MIGRATIONS)
    return f"### Checkpoints\n\n| of before | what they are read as |\n|---|---|\n{rows}\n"


def tables() -> str:
    """All of them."""
    signatures = [
        Spelling(
            signature.spelling("").name, signature.first, signature.last,
            f"`{signature.hook}({', '.join(hooks.MODERN[signature.hook])})`",
        )
        for signature in hooks.CHANGED
    ]  # fmt: skip
    keywords = [
        Spelling(f"{method}({keyword.name}=)", keyword.first, keyword.last,
                 f"`{keyword.becomes}=`" if isinstance(keyword.becomes, str) else "-")
        for method, known in arguments.METHODS.items()
        for keyword in known
    ]  # fmt: skip
    callbacks = [
        Spelling(f"{name}({spelling.name})", spelling.first, spelling.last, spelling.modern)
        for name, known in OLD.items()
        for spelling in known
    ]
    return "\n".join((
        table("Arguments of the Trainer", [a for a in arguments.OF_TRAINER if a.modern]),
        table("Ways of distributing", arguments.STRATEGIES),
        table("Keywords of methods", keywords),
        table("Arguments of callbacks", callbacks),
        constructors(),
        habits(),
        counts(),
        table("Hooks that are gone", hooks.GONE),
        table("Hooks with other parameters (after `self`; of callbacks, after the module)", signatures),
        table("Attributes of the Trainer", attributes.OF_TRAINER),
        table("Attributes of `TrainerState`", attributes.OF_STATE),
        table("Attributes of modules", attributes.OF_MODULE),
        table("Attributes of `trainer.fit_loop`", attributes.OF_FIT_LOOP_BY_NAME.values()),
        table("Attributes of callbacks", attributes.OF_CALLBACK),
        table("Attributes of datamodules", attributes.OF_DATAMODULE),
        imports(),
        migrations(),
    ))  # fmt: skip


def page() -> str:
    """The page with its tables as they should be."""
    before, _, rest = PAGE.read_text().partition(START)
    return before + START + "\n" + tables() + "\n" + END + rest.partition(END)[2]


def main() -> int:
    """Write the page, or say whether it is up to date."""
    if "--check" in sys.argv[1:]:
        return int(page() != PAGE.read_text())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
