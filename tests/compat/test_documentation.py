"""The page of old spellings says what the code's tables say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fulmen.compat.lightning.versions import HISTORY, VERSIONS, Spelling, era, newest_that_understands, parse

ROOT = Path(__file__).parents[2]


def test_tables_are_those_of_the_code() -> None:
    command = [sys.executable, str(ROOT / "tools" / "write_compat_tables.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": "src"}, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\npython tools/write_compat_tables.py"


def test_each_old_name_stands_once() -> None:
    from fulmen.compat.lightning import arguments, attributes, hooks

    for table in (arguments.OF_TRAINER, arguments.STRATEGIES, attributes.OF_TRAINER, attributes.OF_MODULE):
        names = [spelling.name for spelling in table]
        assert len(names) == len(set(names))
    assert len({(hook.name, hook.owners) for hook in hooks.GONE}) == len(hooks.GONE)


def test_the_newest_version_that_understands_everything() -> None:
    until_9, until_7, only_1_2 = (
        Spelling("a", "1.0", "1.9"),
        Spelling("b", "1.0", "1.7"),
        Spelling("c", "1.2", "1.2"),
    )
    assert newest_that_understands([]) == "2.6"
    assert newest_that_understands([until_9]) == "1.9"
    assert newest_that_understands([until_9, until_7]) == "1.7"
    assert newest_that_understands([until_9, until_7, only_1_2]) == "1.2"
    assert newest_that_understands([Spelling("d", "2.0"), only_1_2, Spelling("e", "2.1")]) == "2.6"


def test_versions() -> None:
    assert [parse(given) for given in ("1.4", "1.4.9", 1.4, "2.6.6")] == ["1.4", "1.4", "1.4", "2.6"]
    assert era("1.0").manual_optimization == "backward clips"
    assert era("1.1").manual_optimization == "step accumulates and clears"
    assert [era(version).counts_each_optimizer for version in ("1.5", "1.6")] == [False, True]
    for history in HISTORY.values():
        assert next(iter(history)) == VERSIONS[0]
        assert list(history) == sorted(history, key=VERSIONS.index)
