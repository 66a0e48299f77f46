"""A script is started in many processes, or what starts it in SLURM is written and submitted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fulmen
from fulmen.cli.main import main

JOB = f"""\
#!/bin/bash
# Written by `fulmen launch`. To submit it again: sbatch train.sbatch
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=1-00:00:00
#SBATCH --partition=big
#SBATCH --output=%x-%j.out
# 120 s before its time is up, training is saved; the job starts again, and it goes on.
#SBATCH --requeue
#SBATCH --signal=USR1@120
#SBATCH --open-mode=append
#SBATCH --mem=64G
#SBATCH -A physics

export PL_TRAINER_DEVICES=4
export PL_TRAINER_NUM_NODES=2
srun --cpus-per-task=8 {sys.executable} train.py --lr 0.1 --name 'a b'
"""
WANTED = (
    "launch", "train.py", "--nodes", "2", "--devices", "4", "--on", "slurm", "--time", "1-00:00:00",
    "--partition", "big", "--cpus-per-device", "8", "--sbatch", "mem=64G", "--sbatch=-A physics",
    "--", "--lr", "0.1", "--name", "a b",
)  # fmt: skip


@pytest.fixture(autouse=True)
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script, in a folder that is the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.touch()
    return path


def put_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    """Have an sbatch that notes what it is given."""
    (folder / "bin").mkdir()
    (folder / "bin" / "sbatch").write_text(f'#!/bin/sh\ncp "$1" submitted\nexit {code}\n')
    (folder / "bin" / "sbatch").chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("code", [0, 3])
def test_job_is_shown_kept_and_submitted(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_sbatch(tmp_path, monkeypatch, code)
    assert main(WANTED) == code
    assert (tmp_path / "submitted").read_text() == JOB
    assert (tmp_path / "train.sbatch").read_text() == JOB
    assert JOB in capsys.readouterr().out


def test_small_job_has_few_lines(tmp_path: Path) -> None:
    wanted = ("train.py", "--on", "slurm", "--no-submit", "--accelerator", "cpu", "--file", "my job")
    assert main(("launch", *wanted)) == 0
    text = (tmp_path / "my job").read_text()
    for absent in ("gpus", "cpus", "time=", "partition"):
        assert absent not in text
    assert "sbatch 'my job'" in text
    assert "export PL_TRAINER_ACCELERATOR=cpu\n" in text
    assert text.endswith(f"\nsrun {sys.executable} train.py\n")


def test_names_with_spaces_are_quoted(script: Path, tmp_path: Path) -> None:
    script.rename(tmp_path / "my train.py")
    assert main(("launch", "my train.py", "--on", "slurm", "--no-submit")) == 0
    text = (tmp_path / "my train.sbatch").read_text()
    assert "#SBATCH --job-name='my train'\n" in text
    assert text.endswith(f"\nsrun {sys.executable} 'my train.py'\n")


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_counts_are_whole_numbers(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(("launch", "train.py", f"--devices={count}"))
    assert f"'{count}' is not a whole number of at least 1" in capsys.readouterr().err


def test_job_that_is_there_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_sbatch(tmp_path, monkeypatch)
    assert main(WANTED) == 0
    assert main(WANTED) == 0  # the same once more
    (tmp_path / "train.sbatch").write_text("mine")
    assert main(WANTED) == 1
    assert (tmp_path / "train.sbatch").read_text() == "mine"
    assert "`sbatch train.sbatch` submits that one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train.py", "--on", "slurm"), "there is no sbatch"),
        (("train.py", "--nodes", "2"), "fix: --on slurm"),
        (("train.py", "--time", "10", "--no-submit"), "--time, --no-submit"),
        (("tran.py",), "received: tran.py"),
    ],
)
def test_what_cannot_be(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(("launch", *arguments)) == 1
    assert said in capsys.readouterr().err
    assert sorted(os.listdir()) == ["train.py"]


def test_here_all_processes_run_the_script(script: Path) -> None:
    script.write_text(
        "import json, os, sys\n"
        "wanted = ('RANK', 'WORLD_SIZE', 'PL_TRAINER_')\n"
        "found = {name: value for name, value in os.environ.items() if name.startswith(wanted)}\n"
        "found['argv'] = sys.argv[1:]\n"
        "json.dump(found, open(f'rank-{found[\"RANK\"]}', 'w'))\n"
        "sys.exit(3 if sys.argv[-1] == 'fail' else 0)\n"
    )
    variables = os.environ | {"PYTHONPATH": str(Path(fulmen.__file__).parents[1])}
    command = (sys.executable, "-m", "fulmen", "launch", "--devices", "2", "train.py", "--accelerator", "cpu")
    for last, code in (("well", 0), ("fail", 1)):
        done = subprocess.run(
            [*command, "--", "--devices", last], env=variables, capture_output=True, timeout=100
        )
        assert done.returncode == code, done.stderr
        for rank in ("0", "1"):
            assert json.loads(Path(f"rank-{rank}").read_text()) == {
                "RANK": rank,
                "WORLD_SIZE": "2",
                "PL_TRAINER_DEVICES": "2",
                "PL_TRAINER_NUM_NODES": "1",
                "PL_TRAINER_ACCELERATOR": "cpu",
                "argv": ["--devices", last],
            }
