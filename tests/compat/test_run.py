"""A program that imports Lightning runs on fulmen: `fulmen run`, `install()` on its first line, pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fulmen.cli.main import main
from fulmen.cli.run import split
from fulmen.compat.lightning.run import PATH_VARIABLE, STARTUP

LIMIT_S = 280


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python there; further folders of its path go before ours."""
    path = os.pathsep.join(filter(None, [variables.pop(PATH_VARIABLE, None), os.environ.get(PATH_VARIABLE)]))
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables | ({PATH_VARIABLE: path} if path else {})
    command = [sys.executable, "-B", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )


def fulmen_run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "-m", "fulmen", "run", *arguments, **variables)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


SCRIPT = """
import json, sys
before = "torch" in sys.modules or "fulmen" in sys.modules

import argparse, multiprocessing, subprocess, warnings
import pytorch_lightning as pl
from torch.utils.data import DataLoader
from data import Numbers, where_trainer_is_from

def tell():
    import fulmen
    from fulmen.compat.lightning.versions import declared
    from fulmen.compat.spelling import say_modern
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        say_modern("old", "new")
    return {
        "ours": pl.Trainer is fulmen.Trainer, "version": pl.__version__, "declared": declared(),
        "warned": len(said), "argv": sys.argv, "first folder": sys.path[0], "name": __name__,
        "file": __file__, "imported before": before, "set by their own startup": getattr(sys, "their_own", 0),
        "startup is hidden": not any(folder.endswith("startup") for folder in sys.path),
    }

if __name__ == "__main__":
    told = tell()
    told["subprocess"] = subprocess.check_output([sys.executable, "other.py"], text=True).strip()
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        told["spawned"] = pool.apply(where_trainer_is_from)
    loader = DataLoader(Numbers(), num_workers=1, multiprocessing_context=context)
    told["worker"] = [batch[0] for batch in loader]
    print(json.dumps(told))
    sys.exit(7)
"""
DATA = """
def where_trainer_is_from():
    from pytorch_lightning import Trainer
    return Trainer.__module__

class Numbers:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return where_trainer_is_from()
"""


def test_a_script_and_all_it_starts_run_on_fulmen(tmp_path: Path) -> None:
    write(tmp_path, script=SCRIPT, data=DATA, other="import data\nprint(data.where_trainer_is_from())\n")
    (tmp_path / "theirs").mkdir()
    write(tmp_path / "theirs", sitecustomize="import sys\nsys.their_own = 1\n")
    arguments = ("--as", "1.4", "--quiet", "script.py", "--lr", "0.1", "-m", "x", "--", "--quiet")

    done = fulmen_run(tmp_path, *arguments, PYTHONPATH=str(tmp_path / "theirs"))

    assert done.returncode == 7, done.stderr
    ours = "fulmen.trainer.trainer"
    assert json.loads(done.stdout) == {
        "ours": True, "version": "1.4.0", "declared": "1.4", "warned": 0,
        "argv": ["script.py", "--lr", "0.1", "-m", "x", "--", "--quiet"], "first folder": str(tmp_path),
        "name": "__main__", "file": str(tmp_path / "script.py"), "imported before": False,
        "set by their own startup": 1, "startup is hidden": True,
        "subprocess": ours, "spawned": ours, "worker": [ours],
    }  # fmt: skip


def test_a_module_and_its_error_are_pythons_own(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    folder.mkdir()
    write(folder, __init__="", job="import sys, lightning\nprint(__spec__.name, sys.argv[1:])\n1 / 0\n")

    done = fulmen_run(tmp_path, "-m", "package.job", "-m", "a")

    assert (done.returncode, done.stdout) == (1, "package.job ['-m', 'a']\n")
    trace = [line for line in done.stderr.splitlines() if line.startswith("  File")]
    assert trace[-1] == f'  File "{folder / "job.py"}", line 3, in <module>'
    assert "fulmen" not in done.stderr


TRAIN = """
import sys
import pytorch_lightning as pl
from pytorch_lightning.core.lightning import LightningModule
from pytorch_lightning.demos.boring_classes import BoringModel

class Net(BoringModel):
    def on_train_end(self):
        trainer = self.trainer
        line = f"rank {self.global_rank} of {trainer.world_size} {type(trainer).__module__}\\n"
        sys.stdout.write(line)  # at once, as two processes write to one pipe
        sys.stdout.flush()

if __name__ == "__main__":
    assert issubclass(Net, LightningModule)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy=sys.argv[1], max_epochs=1, limit_train_batches=2,
        limit_val_batches=0, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Net())
"""


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_ranks_that_a_strategy_starts_run_on_fulmen(tmp_path: Path, strategy: str) -> None:
    done = fulmen_run(write(tmp_path, train=TRAIN), "train.py", strategy)

    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} of 2 fulmen.trainer.trainer" for rank in (0, 1)]


FIRST_LINE = """
from fulmen.compat.lightning import install; install()
import subprocess, sys
import pytorch_lightning as pl
print(pl.Trainer.__module__, flush=True)
print(subprocess.check_output([sys.executable, "other.py"], text=True).strip())
from fulmen.compat.lightning import uninstall; uninstall()
print(subprocess.run([sys.executable, "other.py"], capture_output=True, text=True).stdout.strip())
"""
THEIRS = "Trainer = int\n"


def test_install_reaches_what_the_script_starts_until_it_is_taken_back(tmp_path: Path) -> None:
    write(tmp_path, script=FIRST_LINE, other=f"{DATA}\nprint(where_trainer_is_from())\n")
    write(tmp_path, pytorch_lightning=THEIRS)

    done = python(tmp_path, "script.py")

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["fulmen.trainer.trainer", "fulmen.trainer.trainer", "builtins"]


def test_a_python_without_fulmen_goes_on_with_what_it_has(tmp_path: Path) -> None:
    write(tmp_path, pytorch_lightning=THEIRS, fulmen="raise ModuleNotFoundError(name='torch')\n")
    look = "import importlib.metadata, pytorch_lightning; print(pytorch_lightning.Trainer)"

    done = python(tmp_path, "-c", look, PYTHONPATH=os.pathsep.join([STARTUP, str(tmp_path)]))

    assert done.stdout == "<class 'int'>\n", done.stderr


def test_metadata_alone_is_answered_as_well(tmp_path: Path) -> None:
    look = "import importlib.metadata as m, sys; print(m.version('pytest'), 'torch' in sys.modules); "
    look += "print(m.version('pytorch-lightning'))"

    done = python(tmp_path, "-c", look, PYTHONPATH=STARTUP)

    assert done.stdout == f"{pytest.__version__} False\n2.6.0\n", done.stderr


def test_in_pytest(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from pytorch_lightning import Trainer")
    pytester.makepyfile("""
        import subprocess, sys, fulmen
        from conftest import Trainer
        from pytorch_lightning.callbacks import Callback

        def test_it():
            assert Trainer is fulmen.Trainer and Callback is fulmen.Callback
            subprocess.run([sys.executable, "-c", "import pytorch_lightning"], check=True)
    """)

    done = pytester.runpytest_subprocess(
        "-p", "fulmen.compat.pytest_plugin", "-p", "no:cacheprovider", timeout=LIMIT_S
    )

    done.assert_outcomes(passed=1)


# ------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("given", "own", "of_the_script"),
    [
        ("run a.py", "run a.py", ""),
        ("run a.py --as 1 -m b", "run a.py", "--as 1 -m b"),
        ("run --as 1.4 --quiet a.py --quiet", "run --as 1.4 --quiet a.py", "--quiet"),
        ("run --as=1.4 a.py -- c", "run --as=1.4 a.py", "-- c"),
        ("run -m a.b c.py", "run -m a.b", "c.py"),
        ("run -ma.b -h", "run -ma.b", "-h"),
        ("run --quiet -m a -m b", "run --quiet -m a", "-m b"),
        ("run -h", "run -h", ""),
        ("run", "run", ""),
    ],
)
def test_what_follows_the_script_is_its_own(given: str, own: str, of_the_script: str) -> None:
    assert split(given.split()) == (own.split(), of_the_script.split())


def test_without_a_script_there_is_nothing_to_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--quiet"]) == 1
    assert "What is to be run?" in capsys.readouterr().err


def test_an_unknown_version_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "execve", lambda *arguments: pytest.fail("it was started"))

    assert main(["run", "--as", "0.3", "a.py"]) == 1
    assert "1.0 to 2.6" in capsys.readouterr().err


def test_a_python_that_ignores_its_environment_is_told_off(tmp_path: Path) -> None:
    look = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from fulmen.cli.main import main; sys.exit(main())"
    )
    source = str(Path(STARTUP).parents[3])

    done = python(tmp_path, "-E", "-c", look, source, "run", "a.py")

    assert done.returncode == 1
    assert "python -E, -I or -S" in done.stderr
