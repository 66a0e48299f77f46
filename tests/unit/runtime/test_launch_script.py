"""How the running script is run again, and when it cannot be."""

from __future__ import annotations

import subprocess
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from fulmen.errors import UsageError
from fulmen.runtime.launch import script
from fulmen.runtime.launch.launcher import fair_threads, how_ended, place_variables


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Pretend that the process was started by `python`, with these arguments, to run this main module."""

    def pretend(argv: list[str], **main: Any) -> list[str]:
        module = types.ModuleType("__main__")
        vars(module).update(main)
        monkeypatch.setitem(sys.modules, "__main__", module)
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(script, "STARTED_IN", str(tmp_path))
        monkeypatch.setattr(subprocess, "_args_from_interpreter_flags", lambda: ["-W", "error"])
        return script.this_script([1]).commands[1]

    (tmp_path / "train.py").touch()
    return pretend


def test_script(program: Any, tmp_path: Path) -> None:
    command = program(["train.py", "--lr", "0.1 0.2"], __file__=str(tmp_path / "train.py"))
    assert command == [sys.executable, "-W", "error", "train.py", "--lr", "0.1 0.2"]
    assert script.this_script([1]).folder == str(tmp_path)


def test_script_that_has_changed_its_name(program: Any, tmp_path: Path) -> None:
    command = program(["my program", "--lr"], __file__=str(tmp_path / "train.py"))
    assert command[3:] == [str(tmp_path / "train.py"), "--lr"]


@pytest.mark.parametrize("name", ["package.train", "package.train.__main__"])
def test_module(name: str, program: Any) -> None:
    command = program(
        ["/a/package/train.py", "x"], __file__="/a/package/train.py", __spec__=ModuleSpec(name, None)
    )
    assert command[3:] == ["-m", "package.train", "x"]


def test_folder_or_archive(program: Any) -> None:
    command = program(["app.zip", "x"], __file__="app.zip/__main__.py", __spec__=ModuleSpec("__main__", None))
    assert command[3:] == ["app.zip", "x"]


@pytest.mark.parametrize(("argv", "main"), [(["-c"], {}), ([""], {}), (["-"], {"__file__": "<stdin>"})])
def test_code_without_a_file(argv: list[str], main: dict[str, str], program: Any) -> None:
    with pytest.raises(UsageError, match="ddp_notebook"):
        program(argv, __spec__=None, **main)


def test_further_processes_have_commands_of_their_own(program: Any, tmp_path: Path) -> None:
    program(["train.py"], __file__=str(tmp_path / "train.py"))
    assert sorted(script.this_script(range(1, 4)).commands) == [1, 2, 3]


def test_cores_are_shared_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert fair_threads(1) >= fair_threads(2) >= 1
    assert fair_threads(10_000) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert fair_threads(10_000) == 7


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL"),
        (-50, "was ended by signal 50"),
        (None, "ended with exit code None"),
    ],
)
def test_exit_codes_in_words(code: int | None, text: str) -> None:
    assert how_ended(code) == text


def test_variables_of_a_place() -> None:
    assert place_variables("a", 7, node=1, local_rank=2, size=8) == {
        "MASTER_ADDR": "a", "MASTER_PORT": "7", "NODE_RANK": "1", "LOCAL_RANK": "2", "WORLD_SIZE": "8"
    }  # fmt: skip
