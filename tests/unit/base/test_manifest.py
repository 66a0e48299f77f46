"""Manifests, and what becomes of damaged files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.base import files
from fulmen.base.manifest import (
    Manifest,
    link_checkpoint,
    manifest_path,
    read_manifest,
    remove_checkpoint,
    save_tensors,
    verify,
    write_manifest,
    write_with_manifest,
)
from fulmen.errors import CheckpointError

CONTENT = {"weight": torch.arange(5000.0), "bias": torch.ones(3), "epoch": 2}


def content_of(path: str) -> bytes:
    with files.open_file(path, "rb") as file:
        return file.read()


def overwrite(path: str, content: bytes) -> None:
    """As no program of ours does."""
    with files.open_file(path, "wb") as file:
        file.write(content)


def with_flipped_bit(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


# -------------------------------------------------------------------------------------------- what is written


def test_the_manifest_says_what_was_written(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    content = content_of(path)
    assert files.list_names(folder) == [".a.ckpt.manifest", "a.ckpt"]
    assert json.loads(content_of(manifest_path(path))) == {
        "format": 1,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert read_manifest(path) == Manifest(len(content), hashlib.sha256(content).hexdigest())


LONG_NAMES = ["a" * 231, "a" * 240, "a" * 255, "ä" * 127, "[" * 255]


@pytest.mark.parametrize("name", LONG_NAMES, ids=lambda name: f"{len(name)}_of_{name[0]}")
def test_names_may_be_as_long_as_the_file_system_lets_them(name: str, tmp_path: Path) -> None:
    """Those of hidden files beside them would be longer."""
    path, alike = str(tmp_path / name), str(tmp_path / f"{name[:-1]}b")
    for epoch in range(2):
        save_tensors({"epoch": epoch}, path)
        save_tensors({"epoch": epoch, "alike": True}, alike)
    assert len(files.list_names(tmp_path)) == 4
    for one in (path, alike):
        assert (verify(one).intact, verify(one).checked_by) == (True, "manifest")
    overwrite(path, with_flipped_bit(content_of(path), 100))
    assert not verify(path).intact
    assert link_checkpoint(alike, path)
    assert verify(path).checked_by == "manifest"
    remove_checkpoint(path)
    assert verify(alike).checked_by == "manifest"
    remove_checkpoint(alike)
    assert files.list_names(tmp_path) == []


def test_the_file_is_that_of_torch(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    with files.open_file(path, "rb") as file:
        loaded = torch.load(file, weights_only=True)
    assert loaded["weight"].equal(CONTENT["weight"])
    assert loaded["epoch"] == 2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b.ckpt", "/a/.b.ckpt.manifest"),
        ("b.ckpt", ".b.ckpt.manifest"),
        (Path("/a/b"), "/a/.b.manifest"),
        ("file:///a/b.ckpt", "/a/.b.ckpt.manifest"),
        ("s3://bucket/a/b.ckpt", "s3://bucket/a/.b.ckpt.manifest"),
        ("memory://b.ckpt", "memory://.b.ckpt.manifest"),
    ],
)
def test_where_it_lies(path: Any, expected: str) -> None:
    assert manifest_path(path) == expected


def test_there_may_be_none(folder: str) -> None:
    assert read_manifest(files.join(folder, "a.ckpt")) is None


def test_it_can_be_written_alone(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    write_manifest(path, Manifest(7, "ab"))
    assert read_manifest(path) == Manifest(7, "ab")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"format": 2, "size": 1, "sha256": "a"}', '{"format": 1, "size": 1}', "\xff"],
)
def test_a_damaged_manifest_is_an_error_that_names_it(folder: str, text: str) -> None:
    path = files.join(folder, "a.ckpt")
    overwrite(manifest_path(path), text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"\.a\.ckpt\.manifest"):
        read_manifest(path)


def test_no_manifest_ever_speaks_of_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is gone by the time at which the new file is there; its own comes after it."""
    path = tmp_path / "a.ckpt"
    write_with_manifest(path, lambda file: file.write(b"old"))
    seen: list[tuple[bytes, bytes | None]] = []

    def look() -> None:
        manifest = read_manifest(path)
        named = {hashlib.sha256(content).hexdigest(): content for content in (b"old", b"new")}
        seen.append((path.read_bytes(), named[manifest.sha256] if manifest else None))

    def looking_around(call: Any) -> Any:
        def watched(*arguments: Any) -> None:
            look()
            call(*arguments)
            look()

        return watched

    for name in ("replace", "remove", "fsync"):
        monkeypatch.setattr(os, name, looking_around(getattr(os, name)))
    write_with_manifest(path, lambda file: file.write(b"new"))
    moments = [(b"old", b"old"), (b"old", None), (b"new", None), (b"new", b"new")]
    assert list(dict.fromkeys(seen)) == moments


def test_saving_takes_no_copy_of_the_content(tmp_path: Path) -> None:
    content = {"weight": torch.zeros(4_000_000)}
    save_tensors({"weight": torch.zeros(1)}, tmp_path / "first.ckpt")  # what is imported and cached
    tracemalloc.start()
    try:
        save_tensors(content, tmp_path / "a.ckpt")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 0.1 * content["weight"].nbytes


# -------------------------------------------------------------------------------------------- failing to save


def test_what_cannot_be_pickled_is_named_and_leaves_the_old_checkpoint(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors({"epoch": 1}, path)
    bad = {"epoch": 2, "state_dict": {"w": torch.ones(9)}, "callbacks": {"Mine": [0, {"fn": lambda: None}]}}
    with pytest.raises(CheckpointError, match=r"(?s)a\.ckpt: in callbacks > Mine > 1 > fn: .*lambda"):
        save_tensors(bad, path)
    with files.open_file(path, "rb") as file:
        assert torch.load(file, weights_only=True) == {"epoch": 1}
    assert verify(path).checked_by == "manifest"
    assert verify(path).intact
    assert files.list_names(folder) == [".a.ckpt.manifest", "a.ckpt"]


def test_what_cannot_be_pickled_and_contains_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"lock": threading.Lock()}
    content["self"] = content
    with pytest.raises(CheckpointError, match=r"lock: TypeError"):
        save_tensors({"a": content}, tmp_path / "a.ckpt")


def test_what_only_fails_together_has_no_part_to_blame(tmp_path: Path) -> None:
    """torch refuses two views of one memory with different types."""
    one = torch.zeros(4)
    storage = one.untyped_storage()
    other = torch.empty(0, dtype=torch.int32).set_(storage, 0, (4,), (1,))  # pyright: ignore[reportCallIssue, reportArgumentType]
    with pytest.raises(CheckpointError, match=r"a\.ckpt: RuntimeError: .*different types"):
        save_tensors({"one": one, "other": other}, tmp_path / "a.ckpt")


def test_a_checkpoint_that_cannot_be_written_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match=r"could not be written(.|\n)*file/a.ckpt: \w+"):
        save_tensors({}, tmp_path / "file" / "a.ckpt")


def test_a_folder_where_the_file_should_be(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors({}, files.join(path, "inside.ckpt"))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: Is a directory"):
        save_tensors(CONTENT, path)
    assert files.list_names(path) == [".inside.ckpt.manifest", "inside.ckpt"]
    assert files.list_names(folder) == ["a.ckpt"]


# ---------------------------------------------------------------------------------------------------- removal


def test_a_checkpoint_goes_with_its_manifest(folder: str) -> None:
    for name in ("a.ckpt", "b.ckpt"):
        save_tensors({}, files.join(folder, name))
    remove_checkpoint(files.join(folder, "a.ckpt"))
    remove_checkpoint(files.join(folder, "a.ckpt"))
    assert files.list_names(folder) == [".b.ckpt.manifest", "b.ckpt"]


def test_a_link_has_no_manifest_of_its_own(tmp_path: Path) -> None:
    for name in ("a.ckpt", "last.ckpt"):
        save_tensors({"name": name}, tmp_path / name)
    assert link_checkpoint(tmp_path / "a.ckpt", tmp_path / "last.ckpt")
    assert files.list_names(tmp_path) == [".a.ckpt.manifest", "a.ckpt", "last.ckpt"]
    assert verify(tmp_path / "last.ckpt").checked_by == "manifest"
    assert verify(tmp_path / "last.ckpt").intact
    overwrite(str(tmp_path / "a.ckpt"), b"other")
    assert not verify(tmp_path / "last.ckpt").intact


def test_a_link_that_cannot_be_made_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    save_tensors({}, tmp_path / "last.ckpt")
    assert not link_checkpoint(tmp_path / "none.ckpt", tmp_path / "last.ckpt")
    assert verify(tmp_path / "last.ckpt").checked_by == "manifest"


# ----------------------------------------------------------------------------------------------- verification


def test_an_intact_file(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    verdict = verify(path)
    assert (verdict.intact, verdict.checked_by, verdict.problem) == (True, "manifest", None)


def test_an_intact_file_without_manifest(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    files.remove(manifest_path(path))
    verdict = verify(path)
    assert (verdict.intact, verdict.checked_by, verdict.problem) == (True, "records", None)


@pytest.mark.parametrize("share", [0, 0.0001, 0.3, 0.9, 0.9999])
@pytest.mark.parametrize("manifest", [True, False], ids=["with manifest", "without"])
def test_a_truncated_file(folder: str, share: float, manifest: bool) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    if not manifest:
        files.remove(manifest_path(path))
    content = content_of(path)
    overwrite(path, content[: int(share * len(content))])
    verdict = verify(path)
    assert not verdict.intact
    assert verdict.checked_by == ("manifest" if manifest else "records")
    assert verdict.problem


def test_any_flipped_bit_is_seen_by_the_manifest(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    content = content_of(path)
    for at in [*range(0, len(content), 997), 0, len(content) - 1]:
        overwrite(path, with_flipped_bit(content, at))
        assert not verify(path).intact, at


def test_any_flipped_bit_in_what_is_loaded_is_seen_without_a_manifest(folder: str) -> None:
    """torch.load itself looks at no checksum, and gives other weights without a word."""
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    files.remove(manifest_path(path))
    content = content_of(path)
    with files.open_file(path, "rb") as file, zipfile.ZipFile(file) as archive:
        records = [(record, archive.read(record)) for record in archive.infolist()]
    checked = 0
    for _, data in records:
        start = content.find(data) if len(data) > 8 else -1
        if start >= 0:
            overwrite(path, with_flipped_bit(content, start + len(data) // 2))
            assert not verify(path).intact
            checked += 1
    assert checked >= 3


def test_a_flipped_bit_in_the_directory_or_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save_tensors(CONTENT, path)
    files.remove(manifest_path(path))
    content = path.read_bytes()
    entry, table, end = (content.rindex(b"PK" + kind) for kind in (b"\x01\x02", b"\x06\x06", b"\x05\x06"))
    for at in (1, entry, entry + 16, table + 48, end):
        path.write_bytes(with_flipped_bit(content, at))
        assert not verify(path).intact, at


def test_a_damaged_manifest_makes_the_file_doubtful(folder: str) -> None:
    path = files.join(folder, "a.ckpt")
    save_tensors(CONTENT, path)
    text = content_of(manifest_path(path))
    for at in range(len(text)):
        overwrite(manifest_path(path), with_flipped_bit(text, at))
        verdict = verify(path)
        assert not verdict.intact, text[at:]
        assert verdict.checked_by == "manifest"
        assert verdict.problem
        assert "\n" not in verdict.problem
    assert verify(path, by_manifest=False).intact  # what is in it is as it was


def test_a_file_of_torch_itself(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "new.pt")
    torch.save(CONTENT, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert verify(tmp_path / "new.pt").checked_by == "records"
    assert verify(tmp_path / "new.pt").intact
    old = verify(tmp_path / "old.pt")
    assert (old.intact, old.checked_by) == (True, "nothing")
    assert "cannot be verified" in str(old.problem)


def test_a_copy_is_verified_wherever_it_is(tmp_path: Path) -> None:
    save_tensors(CONTENT, tmp_path / "a.ckpt")
    shutil.copy(tmp_path / "a.ckpt", tmp_path / "moved.ckpt")
    assert verify(tmp_path / "moved.ckpt").checked_by == "records"


def test_what_is_not_there_or_no_file(folder: str) -> None:
    missing = verify(files.join(folder, "none.ckpt"))
    assert (missing.intact, missing.problem) == (False, "there is no such file")
    save_tensors({}, files.join(folder, "deep", "a.ckpt"))
    assert verify(files.join(folder, "deep")).checked_by == "nothing"


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").symlink_to("gone.ckpt")
    assert not verify(tmp_path / "last.ckpt").intact


@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_that_claims_more_than_it_holds_is_not_unpacked(compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000) if compressed else b"honest")
    assert verify(path).intact is not compressed


def test_memory_stays_small_whatever_the_size_of_the_file(tmp_path: Path) -> None:
    save_tensors({"weight": torch.zeros(5_000_000)}, tmp_path / "a.ckpt")
    for manifest in (True, False):
        tracemalloc.start()
        try:
            assert verify(tmp_path / "a.ckpt").checked_by == ("manifest" if manifest else "records")
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 4_000_000
        Path(manifest_path(tmp_path / "a.ckpt")).unlink(missing_ok=True)
