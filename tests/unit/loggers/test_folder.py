"""Where loggers that write into folders write, and when they look."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from fulmen.loggers import CSVLogger, TensorBoardLogger

BOTH = pytest.mark.parametrize("make", [CSVLogger, TensorBoardLogger])
Make = Callable[..., "CSVLogger | TensorBoardLogger"]


@BOTH
def test_defaults_are_those_of_lightning(make: Make, tmp_path: Path) -> None:
    logger = make(tmp_path)

    assert (logger.name, logger.version, logger.save_dir) == ("lightning_logs", 0, str(tmp_path))
    assert logger.root_dir == str(tmp_path / "lightning_logs")
    assert logger.log_dir == str(tmp_path / "lightning_logs" / "version_0")


@BOTH
def test_asking_creates_nothing(make: Make, tmp_path: Path) -> None:
    logger = make(tmp_path / "logs")
    assert logger.log_dir
    logger.save()
    logger.finalize("success")

    assert list(tmp_path.iterdir()) == []


@BOTH
def test_the_version_follows_the_highest_one_there_is(make: Make, tmp_path: Path) -> None:
    for name in ("version_2", "version_10", "version_x", "version_11_old", "other"):
        (tmp_path / "run" / name).mkdir(parents=True)

    assert make(tmp_path, "run").version == 11


@BOTH
def test_the_version_is_found_at_first_use_and_then_kept(make: Make, tmp_path: Path) -> None:
    early = make(tmp_path, "run")
    (tmp_path / "run" / "version_0").mkdir(parents=True)

    assert early.version == 1
    (tmp_path / "run" / "version_7").mkdir()
    assert early.version == 1


@BOTH
def test_each_run_gets_a_folder_of_its_own(make: Make, tmp_path: Path) -> None:
    for expected in range(3):
        logger = make(tmp_path)
        logger.log_metrics({"a": 1.0}, step=0)
        logger.finalize("success")
        assert logger.version == expected


@BOTH
@pytest.mark.parametrize(
    ("version", "folder"), [(3, "version_3"), ("mine", "mine"), ("version_4", "version_4"), (0, "version_0")]
)
def test_a_given_version_is_used_as_it_is(
    make: Make, version: int | str, folder: str, tmp_path: Path
) -> None:
    logger = make(tmp_path, "run", version=version)

    assert logger.version == version
    assert logger.log_dir == str(tmp_path / "run" / folder)


@BOTH
@pytest.mark.parametrize("name", [None, ""])
def test_without_a_name_versions_lie_in_save_dir(make: Make, name: str | None, tmp_path: Path) -> None:
    logger = make(tmp_path, name)

    assert logger.name == ""
    assert logger.root_dir == str(tmp_path)
    assert logger.log_dir == str(tmp_path / "version_0")


def test_sub_dir_lies_below_the_version(tmp_path: Path) -> None:
    assert TensorBoardLogger(tmp_path, "run", sub_dir="a/b").log_dir == str(
        tmp_path / "run" / "version_0" / "a" / "b"
    )


@BOTH
def test_home_and_variables_are_replaced(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHERE", "there")

    assert make("~/logs/$WHERE").save_dir == str(tmp_path / "logs" / "there")


@BOTH
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_writes_to_the_same_folder_with_files_of_its_own(
    make: Make, duplicate: Callable, tmp_path: Path
) -> None:
    logger = make(tmp_path, prefix="p")
    logger.log_metrics({"a": 1.0}, step=0)

    other = duplicate(logger)
    other.log_metrics({"b": 1.0}, step=1)

    assert other.log_dir == logger.log_dir
    assert other.experiment is not logger.experiment
    other.finalize("success")
    logger.finalize("success")
