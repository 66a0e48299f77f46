"""`fulmen checkpoint verify` finds every damaged checkpoint below a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fulmen.base import files
from fulmen.base.manifest import save_tensors
from fulmen.cli.main import main

LAST_LINE = -1


def verify(capsys: pytest.CaptureFixture[str], *paths: object) -> tuple[list[str], int]:
    """The lines that are printed, and the exit code."""
    capsys.readouterr()
    code = main(["checkpoint", "verify", *map(str, paths)])
    return capsys.readouterr().out.splitlines(), code


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tensors({"a": torch.ones(100)}, tmp_path / "one" / "a.ckpt")
    save_tensors({"a": torch.ones(100)}, tmp_path / "one" / "two" / "odd.name")
    torch.save({"a": torch.ones(100)}, tmp_path / "plain.pt")
    torch.save({"a": torch.ones(100)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "notes.txt").write_text("not one")
    lines, code = verify(capsys, tmp_path)
    assert code == 0
    assert [line.split()[0] for line in lines[:LAST_LINE]] == ["unknown", *["intact"] * 3] or sorted(
        line.split()[0] for line in lines[:LAST_LINE]
    ) == ["intact", "intact", "intact", "unknown"]
    assert lines[LAST_LINE] == "3 intact, 1 unknown"

    for name in ("one/a.ckpt", "one/two/odd.name"):
        spoil(tmp_path / name)
        lines, code = verify(capsys, tmp_path)
        assert code == 1
        (bad,) = [line for line in lines if line.startswith("damaged") and name in line]
        assert "SHA-256" in bad
    assert lines[LAST_LINE] == "1 intact, 2 damaged, 1 unknown"


def test_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tensors({"a": 1}, tmp_path / "a.ckpt")
    save_tensors({"a": 1}, tmp_path / "b.ckpt")
    assert verify(capsys, tmp_path / "a.ckpt", tmp_path / "b.ckpt")[1] == 0
    lines, code = verify(capsys, tmp_path / "a.ckpt", tmp_path / "gone.ckpt")
    assert code == 1
    assert [line.split()[0] for line in lines[:LAST_LINE]] == ["intact", "damaged"]


def test_what_a_killed_save_left_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tensors({"a": 1}, tmp_path / "a.ckpt")
    (tmp_path / ".b.ckpt.0123abcd.tmp").write_bytes(b"PK")
    lines, code = verify(capsys, tmp_path)
    assert code == 0
    assert any(".b.ckpt.0123abcd.tmp" in line for line in lines)
    assert lines[LAST_LINE] == "1 intact"


def test_nothing_to_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines, code = verify(capsys, tmp_path)
    assert code == 1
    assert lines == [f"There is no checkpoint below {tmp_path}."]


def test_a_folder_that_links_lead_back_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tensors({"a": 1}, tmp_path / "a.ckpt")
    (tmp_path / "last.ckpt").symlink_to("a.ckpt")
    (tmp_path / "again").symlink_to(tmp_path)
    lines, code = verify(capsys, tmp_path)
    assert code == 0
    assert lines[LAST_LINE] == "2 intact"


def test_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        save_tensors({"a": 1}, "memory://verify/deep/a.ckpt")
        lines, code = verify(capsys, "memory://verify")
        assert code == 0
        assert lines[0].startswith("intact   memory://verify/deep/a.ckpt")
    finally:
        files.remove("memory://verify")
