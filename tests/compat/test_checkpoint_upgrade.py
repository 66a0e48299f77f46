"""`fulmen checkpoint upgrade` writes old checkpoints anew, and keeps them as they were."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fulmen.base.manifest import verify
from fulmen.base.safe_load import demand_restored, load_tensors
from fulmen.cli.main import main

from .old_files import ATTRIBUTE_DICT, CLASSES, USERS, write
from .test_checkpoints import FIXTURES, VERSIONS, WHERE, fit, record

OLD = tuple(version for version in VERSIONS if version < "2.3")


def upgrade(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[str, int]:
    """What is printed, and the exit code."""
    capsys.readouterr()
    code = main(["checkpoint", "upgrade", *map(str, arguments)])
    return capsys.readouterr().out, code


@pytest.mark.parametrize("version", OLD)
def test_a_file(version: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ckpt"
    shutil.copy(FIXTURES / version / "within_epoch.ckpt", path)
    told, code = upgrade(capsys, path)
    assert code == 0
    assert told.startswith(f"upgraded   {path}\n")
    assert f"Lightning {version}" in told
    assert ("by name, not by class" in told) == (version < "1.5")
    backup = tmp_path / "a.ckpt.bak"
    assert backup.read_bytes() == (FIXTURES / version / "within_epoch.ckpt").read_bytes()
    assert verify(path).checked_by == "manifest"
    content = torch.load(path, weights_only=False)  # by anybody, without any class of old
    assert content["pytorch-lightning_version"] == "2.6.0"
    assert content["legacy_pytorch-lightning_version"] == version
    assert content["hyper_parameters"]["options"] == Namespace(lr=0.1)
    assert all(isinstance(key, str) for key in content["callbacks"])
    for part, value in load_tensors(path).items():
        if part != "hyper_parameters":
            demand_restored(value, path=path, part=part)


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("name", WHERE)
def test_training_goes_on_from_it_as_before(
    version: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.ckpt"
    shutil.copy(FIXTURES / version / f"{name}.ckpt", path)
    upgrade(capsys, path)
    _, _, watch = fit(path, record.PLACES[name][0], tmp_path)
    assert watch.seen[0] == WHERE[name][:3]
    assert record.Tiny.load_from_checkpoint(path).lr == 0.1


def test_a_second_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.ckpt"
    shutil.copy(FIXTURES / "1.3.8" / "by_saver.ckpt", path)
    upgrade(capsys, path)
    before = path.read_bytes()
    assert upgrade(capsys, path) == (f"up to date {path}\n1 up to date\n", 0)
    assert path.read_bytes() == before


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(FIXTURES / "1.0.8", tmp_path / "a")
    shutil.copytree(FIXTURES / "2.6.6", tmp_path / "b")
    shutil.copy(FIXTURES / "1.3.8" / "by_saver.ckpt", tmp_path / "b" / "other.pt")
    (tmp_path / "a" / "last.ckpt").symlink_to(tmp_path / "a" / "by_saver.ckpt")
    told, code = upgrade(capsys, tmp_path)
    assert code == 0
    assert told.splitlines()[-1] == f"{len(WHERE)} upgraded, {len(WHERE)} up to date"
    assert "other.pt" not in told
    assert (tmp_path / "a" / "last.ckpt").is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*.bak")) == [
        f"{name}.ckpt.bak" for name in sorted(WHERE)
    ]
    told, code = upgrade(capsys, tmp_path, "--extension", ".pt")
    assert (told.splitlines()[-1], code) == ("1 upgraded", 0)


def test_files_that_cannot_be_upgraded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is left as it is, and the others are not held up by it."""
    old = {"state_dict": {}, "pytorch-lightning_version": "1.0.0", "epoch": 1, "global_step": 2}
    write(old | {"hyper_parameters": {"mine": CLASSES[USERS]()}}, tmp_path / "b.ckpt")
    (tmp_path / "c.ckpt").write_bytes(b"nothing")
    torch.save([1], tmp_path / "d.ckpt")
    write(old, tmp_path / "e.ckpt")
    (tmp_path / "e.ckpt.bak").write_bytes(b"mine")
    write(old | {"hyper_parameters": CLASSES[ATTRIBUTE_DICT](a=1)}, tmp_path / "f.ckpt")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told, code = upgrade(capsys, tmp_path)
    assert (told.splitlines()[-1], code) == ("1 upgraded, 4 failed", 1)
    assert USERS in told
    assert "there is a backup already" in told
    assert {name: (tmp_path / name).read_bytes() for name in before if name != "f.ckpt"} == {
        name: content for name, content in before.items() if name != "f.ckpt"
    }
    assert type(torch.load(tmp_path / "f.ckpt")["hyper_parameters"]) is dict


def test_a_folder_without_any(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, code = upgrade(capsys, tmp_path)
    assert code == 1
    assert "no file with the extension .ckpt" in told


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told, code = upgrade(capsys, tmp_path / "a.ckpt")
    assert code == 1
    assert "no such checkpoint" in told
