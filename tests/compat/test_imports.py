"""Imports of Lightning, by every path of every version, find fulmen."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import inspect
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import fulmen
from fulmen.compat.lightning import finder, install, uninstall, versions
from fulmen.compat.lightning.names import TABLE
from fulmen.core.model_summary import ModelSummary

from .lightning_paths import CANNOT_BE_MADE, OFFERED, REFUSED, listed


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


def run(statement: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(statement, names)
    return names


# ------------------------------------------------------------------------------------------------- every path


@pytest.mark.parametrize(("path", "name"), listed(OFFERED))
def test_what_is_offered_is_imported(path: str, name: str) -> None:
    imported = run(f"from {path} import {name}")[name]

    assert getattr(importlib.import_module(path), name) is imported
    assert name in dir(importlib.import_module(path)) or name.startswith("_")


@pytest.mark.parametrize(("path", "name"), listed(REFUSED))
def test_what_is_not_offered_says_so_and_what_to_use(path: str, name: str) -> None:
    with pytest.raises(ImportError, match=f"does not offer {path}.{name}") as caught:
        run(f"from {path} import {name}")
    assert "fix: " in str(caught.value)

    with pytest.raises(AttributeError, match=f"does not offer {path}.{name}"):
        getattr(importlib.import_module(path), name)


@pytest.mark.parametrize(("path", "name"), listed(CANNOT_BE_MADE))
def test_some_classes_can_be_mentioned_but_not_made(path: str, name: str) -> None:
    kind = run(f"from {path} import {name}")[name]

    assert not isinstance(fulmen.Trainer, kind)
    with pytest.raises(ImportError, match=f"no {name}.\n  fix: "):
        kind(1, a=2)


def test_a_name_is_one_object_by_every_path() -> None:
    found: dict[str, dict[Any, str]] = {}
    for path, names in TABLE.items():
        for name, entry in names.items():
            if entry.target or entry.stands_in:
                found.setdefault(name, {})[finder.look_up(name, entry)] = path
    several = {name: paths for name, paths in found.items() if len(paths) > 1}

    # One that iterates as it did once; a callback, and what it shows; a metric, and how models compute; the
    # bar of tqdm, and the base of all bars.
    assert set(several) == {"CombinedLoader", "ModelSummary", "Precision", "ProgressBar"}


def test_no_entry_leads_nowhere() -> None:
    for path, names in TABLE.items():
        parent = path.rpartition(".")[0]
        assert not parent or parent in TABLE, path
        for name, entry in names.items():
            assert bool(entry.target) != bool(entry.instead), f"{path}.{name}"
            if entry.target:
                assert finder.look_up(name, entry) is not None


# --------------------------------------------------------------------------------------------------- identity


def test_all_packages_have_the_same_classes() -> None:
    names = run(
        "import pytorch_lightning as pl, lightning as L, lightning.pytorch as lp\n"
        "from lightning import pytorch as also\n"
        "from pytorch_lightning.core.lightning import LightningModule as Old\n"
    )

    assert names["pl"].Trainer is names["L"].Trainer is names["lp"].Trainer is fulmen.Trainer
    assert names["also"] is names["lp"]
    assert names["Old"] is names["L"].pytorch.LightningModule is fulmen.LightningModule
    assert names["pl"].callbacks.ModelCheckpoint is fulmen.callbacks.ModelCheckpoint
    assert names["L"].fabric.utilities.rank_zero_only is names["pl"].utilities.rank_zero_only


def test_a_name_that_changed_its_meaning_has_the_one_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    modern, tqdm = fulmen.callbacks.ProgressBar, fulmen.callbacks.TQDMProgressBar
    assert run("from lightning.pytorch.callbacks import ProgressBar")["ProgressBar"] is modern
    assert issubclass(run("from pytorch_lightning.callbacks import ProgressBar")["ProgressBar"], tqdm)

    for version, is_old in (("1.6", True), ("2.0", False)):
        uninstall()
        monkeypatch.setenv(versions.VARIABLE, version)
        install()
        found = run("from pytorch_lightning.callbacks.progress import ProgressBar")["ProgressBar"]
        assert issubclass(found, tqdm) is is_old


def test_submodules_come_with_the_package() -> None:
    pl = run("import pytorch_lightning as pl")["pl"]

    assert pl.utilities.seed.seed_everything is fulmen.seed_everything
    assert pl.loggers.CSVLogger is fulmen.loggers.CSVLogger
    assert pl.trainer.trainer.Trainer is pl.Trainer


def test_a_star_gives_what_the_version_had(monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("from pytorch_lightning.callbacks.early_stopping import *")
    assert names["EarlyStopping"] is fulmen.callbacks.EarlyStopping

    everything = importlib.import_module("pytorch_lightning.utilities").__all__
    assert "rank_zero_only" in everything
    assert "AMPType" not in everything
    assert importlib.import_module("pytorch_lightning.core.lightning").__all__ == ["LightningModule"]

    uninstall()
    monkeypatch.setenv(versions.VARIABLE, "1.4")
    install()
    assert "AMPType" in importlib.import_module("pytorch_lightning.utilities").__all__


def test_modules_are_modules() -> None:
    module = importlib.import_module("pytorch_lightning.callbacks.timer")

    assert inspect.ismodule(module)
    assert module.__spec__ is not None
    assert module.__name__ == module.__spec__.name == "pytorch_lightning.callbacks.timer"
    assert module.__package__ == module.__name__
    assert list(module.__path__) == []
    assert "fulmen" in repr(module)
    assert importlib.reload(module) is module
    assert importlib.util.find_spec("lightning") is not None
    with pytest.raises(AttributeError, match="__file__"):
        _ = module.__file__


def test_modules_are_made_when_they_are_needed() -> None:
    run("import pytorch_lightning")

    assert "pytorch_lightning.callbacks" not in sys.modules


def test_names_can_be_replaced_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    pl = run("import pytorch_lightning as pl")["pl"]
    monkeypatch.setattr("pytorch_lightning.Trainer", int)

    assert pl.Trainer is int
    assert fulmen.Trainer is not int


def test_pickles_by_old_names_are_read() -> None:
    name = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n."
    assert pickle.loads(name) is fulmen.callbacks.ModelCheckpoint

    enum = b"cpytorch_lightning.utilities.enums\nAMPType\n(S'native'\ntR."
    assert pickle.loads(enum) == "native"


# ---------------------------------------------------------------------------------------------- what is wrong


def test_unknown_paths_and_names_say_so() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"fulmen does not offer pytorch_lightning\.nowhere"):
        run("import pytorch_lightning.nowhere.deep")
    with pytest.raises(ImportError, match="did you mean 'EarlyStopping'"):
        run("from pytorch_lightning.callbacks import EarlyStoping")
    pl = run("import pytorch_lightning as pl")["pl"]
    with pytest.raises(AttributeError, match="did you mean 'Trainer'"):
        _ = pl.Trianer
    assert not hasattr(pl, "LightningLite")


def test_errors_of_old_code_are_caught_by_their_old_name() -> None:
    exceptions = run("from pytorch_lightning.utilities import exceptions")["exceptions"]

    with pytest.raises(exceptions.MisconfigurationException):
        fulmen.Trainer(max_epochs=1, precision="none such", logger=False)
    with pytest.raises(exceptions.MisconfigurationException, match="mine"):
        raise exceptions.MisconfigurationException("mine")


# --------------------------------------------------------------------------------------------------- versions


def test_the_packages_have_the_newest_version_or_the_one_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("from lightning.pytorch import __version__")["__version__"] == "2.6.0"
    assert importlib.import_module("pytorch_lightning").__version__ == "2.6.0"
    for name in ("pytorch_lightning", "pytorch-lightning", "lightning", "lightning-fabric"):
        assert importlib.metadata.version(name) == "2.6.0"
    assert importlib.metadata.version("pytest") == pytest.__version__

    uninstall()
    monkeypatch.setenv(versions.VARIABLE, "1.4")
    install()
    assert importlib.import_module("pytorch_lightning").__version__ == "1.4.0"
    assert importlib.metadata.version("Pytorch.Lightning") == "1.4.0"


# ------------------------------------------------------------------------------- and another package is there


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another package of this name, installed."""
    (tmp_path / "pytorch_lightning" / "callbacks").mkdir(parents=True)
    (tmp_path / "pytorch_lightning" / "__init__.py").write_text("Trainer = 'theirs'\n")
    (tmp_path / "pytorch_lightning" / "callbacks" / "__init__.py").write_text("")
    (tmp_path / "pytorch_lightning" / "callbacks" / "special.py").write_text("Special = 'theirs'\n")
    folder = tmp_path / "pytorch_lightning-2.6.6.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: pytorch-lightning\nVersion: 2.6.6\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "pytorch_lightning"]:
        del sys.modules[name]


@pytest.mark.usefixtures("theirs")
def test_ours_goes_first_while_installed_and_theirs_is_untouched_otherwise() -> None:
    assert run("import pytorch_lightning as pl")["pl"].Trainer is fulmen.Trainer
    assert importlib.metadata.version("pytorch_lightning") == "2.6.0"
    with pytest.raises(ImportError, match=r"does not offer pytorch_lightning\.callbacks\.special"):
        run("from pytorch_lightning.callbacks.special import Special")

    uninstall()
    assert run("import pytorch_lightning as pl")["pl"].Trainer == "theirs"
    assert run("from pytorch_lightning.callbacks.special import Special")["Special"] == "theirs"
    assert importlib.metadata.version("pytorch_lightning") == "2.6.6"


@pytest.mark.usefixtures("theirs")
def test_it_must_be_installed_before_theirs_is_imported() -> None:
    uninstall()
    run("import pytorch_lightning")

    with pytest.raises(fulmen.errors.UsageError, match="'pytorch_lightning' has been imported already"):
        install()
    assert finder.FINDER not in sys.meta_path


def test_installing_twice_is_installing_once() -> None:
    install()
    uninstall()

    assert finder.FINDER not in sys.meta_path
    assert not [name for name in sys.modules if name.partition(".")[0] in ("lightning", "pytorch_lightning")]


def test_importing_fulmen_does_not_load_the_table() -> None:
    look = "import sys, fulmen; print([name for name in sys.modules if name.startswith('fulmen.compat')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=120)

    assert done.stdout.strip() == "[]", done.stderr


def test_what_scripts_import_besides_classes() -> None:
    assert run("from pytorch_lightning import _logger as log")["log"] is logging.getLogger("fulmen")
    summary_of = run("from pytorch_lightning.core.memory import ModelSummary as found")["found"]
    model = fulmen.LightningModule()
    model.layers = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    for mode, names in (("top", ["layers"]), ("full", ["layers", "layers.0", "layers.1"])):
        with pytest.warns(fulmen.compat.OldSpelling, match=f"mode='{mode}'"):
            summary = summary_of(model, mode=mode)
        assert summary.layer_names == names
        assert summary.total_parameters == 8
    assert summary_of(model, "top").layer_names == ["layers"]
    assert summary_of.MODE_FULL == "full"
    assert issubclass(summary_of, ModelSummary)
