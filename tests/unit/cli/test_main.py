"""The command line is understood, or says what is not."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fulmen
from fulmen.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, f"fulmen {fulmen.__version__}"),
        (["--help"], 0, "checkpoint"),
        (["checkpoint", "--help"], 0, "inspect"),
        (["checkpoint", "verify", "--help"], 0, "a folder of them"),
        ([], 2, "required: COMMAND"),
        (["checkpoint"], 2, "required: COMMAND"),
        (["checkpiont"], 2, "checkpiont"),
        (["checkpoint", "inspect"], 2, "required: path"),
        (["checkpoint", "inspect", "a.ckpt", "--jsno"], 2, "--jsno"),
        (["checkpoint", "export", "a.ckpt"], 2, "required: out"),
        (["checkpoint", "inspect", "a.ckpt", "--", "b.ckpt"], 2, "unrecognized arguments: b.ckpt"),
        (["launch", "--help"], 0, "[-- SCRIPT'S ARGUMENTS]"),
        (["launch"], 2, "required: script"),
        (["launch", "a.py", "--lr", "0.1"], 2, "--lr 0.1; those of the script come after --"),
        (["launch", "a.py", "--nodes", "0"], 2, "--nodes"),
    ],
)
def test_what_is_asked(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    out, err = capsys.readouterr()
    assert said in (err if code else out)
    assert not (out if code else err)


def test_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fulmen", "checkpoint", "inspect", "nowhere.ckpt"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "nowhere.ckpt" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
