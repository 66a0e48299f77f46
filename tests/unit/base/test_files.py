"""Files on disk and behind URLs: whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from fulmen.base import files


def write(path: str, text: str) -> None:
    files.write_whole(path, lambda file: file.write(text.encode()))


def read(path: str) -> str:
    with files.open_file(path) as file:
        return file.read()


# ------------------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://bucket/a", True),
        ("memory://a", True),
        ("file:///tmp/a", False),
        ("/tmp/a", False),
        ("a/b", False),
        (Path("a"), False),
        ("C:\\a", False),
    ],
)
def test_what_is_a_url(path: Any, expected: bool) -> None:
    assert files.is_url(path) is expected


def test_join_and_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert files.join("s3://bucket/a/", "b", "c.txt") == "s3://bucket/a/b/c.txt"
    assert files.join(Path("/a"), "b") == "/a/b"
    assert files.absolute("a") == str(tmp_path / "a")
    assert files.absolute("~/a") == "/home/somebody/a"
    assert files.absolute("s3://bucket/a") == "s3://bucket/a"


@pytest.mark.parametrize(
    "use",
    [
        files.exists,
        files.is_folder,
        files.list_names,
        files.open_file,
        files.modified_s,
        files.absolute,
        lambda path: files.join(path, "a"),
    ],
    ids=["exists", "is_folder", "list_names", "open_file", "modified_s", "absolute", "join"],
)
def test_a_file_url_names_what_is_on_disk(use: Any, tmp_path: Path) -> None:
    """`file://` is the disk, whichever function is asked."""
    (tmp_path / "kept.txt").touch()
    path = tmp_path / "kept.txt" if use in (files.open_file, files.modified_s) else tmp_path
    found, expected = use(f"file://{path}"), use(path)
    if use is files.open_file:
        found.close()
        expected.close()
    else:
        assert found == expected


# --------------------------------------------------------------------------------------------- looking around


def test_looking_around(folder: str) -> None:
    path = files.join(folder, "some", "file.txt")
    assert not files.exists(path)
    write(path, "text")
    assert files.exists(path)
    assert files.exists(files.join(folder, "some"))
    assert files.is_folder(files.join(folder, "some"))
    assert not files.is_folder(path)
    assert read(path) == "text"
    assert abs(files.modified_s(path) - time.time()) < 60


def test_names_are_sorted_and_a_folder_that_is_not_there_is_empty(folder: str) -> None:
    for name in ("b", "a", "c"):
        write(files.join(folder, name), name)
    files.make_folder(files.join(folder, "d"))
    write(files.join(folder, "d", "e"), "")
    assert files.list_names(folder) == ["a", "b", "c", "d"]
    assert files.list_names(files.join(folder, "nowhere")) == []
    assert files.list_names(files.join(folder, "a")) == []


def test_folders_may_be_made_twice_and_removed_twice(folder: str) -> None:
    path = files.join(folder, "a", "b")
    files.make_folder(path)
    files.make_folder(path)
    write(files.join(path, "c"), "text")
    files.remove(files.join(folder, "a"))
    files.remove(files.join(folder, "a"))
    assert not files.exists(files.join(folder, "a"))


def test_remove_a_file(folder: str) -> None:
    path = files.join(folder, "a")
    write(path, "text")
    files.remove(path)
    assert files.list_names(folder) == []


def test_removing_a_link_leaves_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    for target in ("folder", "folder/file", "nowhere"):
        (tmp_path / "link").symlink_to(tmp_path / target)
        files.remove(tmp_path / "link")
        assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").exists()


@pytest.mark.parametrize("mode", ["", "b"])
def test_open_file_reads_back_what_it_wrote(folder: str, mode: str) -> None:
    content: Any = "a\nb\r\nc" if not mode else b"a\nb\r\nc"
    with files.open_file(files.join(folder, "a"), "w" + mode) as file:
        file.write(content)
    with files.open_file(files.join(folder, "a"), "r" + mode) as file:
        assert file.read() == content


# ------------------------------------------------------------------------------------------------ write_whole


def test_the_new_content_replaces_the_old(folder: str) -> None:
    path = files.join(folder, "deep", "er", "file")
    write(path, "a long old text")
    write(path, "new")
    assert read(path) == "new"
    assert files.list_names(files.join(folder, "deep", "er")) == ["file"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("old", ["old", None], ids=["there was a file", "there was none"])
def test_an_error_while_writing_leaves_what_was_there(
    folder: str, old: str | None, error: type[BaseException]
) -> None:
    path = files.join(folder, "file")
    if old is not None:
        write(path, old)

    def half(file: Any) -> None:
        file.write(b"half of it")
        raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        files.write_whole(path, half)
    assert files.list_names(folder) == ([] if old is None else ["file"])
    if old is not None:
        assert read(path) == old


CRASHES = """
import os, signal, sys
from fulmen.base import files

def die(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def die_in(function):
    setattr(os, function, die)
    return lambda file: file.write(b"new")

def half(file):
    file.write(b"half")
    file.flush()
    die()

crashes = {"writing": lambda: half, "syncing": lambda: die_in("fsync"), "renaming": lambda: die_in("replace")}
for name, crash in crashes.items():
    path = os.path.join(sys.argv[1], name)
    files.write_whole(path, lambda file: file.write(b"old"))
    child = os.fork()
    if not child:
        files.write_whole(path, crash())
        os._exit(0)  # not reached
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), open(path).read())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill processes")
def test_a_process_that_dies_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    died = -signal.SIGKILL
    assert done.stdout.splitlines() == [
        f"{name} {died} old" for name in ("writing", "syncing", "renaming")
    ], done.stderr
    left = [name for name in files.list_names(tmp_path) if name not in ("writing", "syncing", "renaming")]
    assert all(name.startswith(".") and name.endswith(".tmp") for name in left)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        write(str(tmp_path / "file" / "below"), "text")


def test_a_folder_in_the_place_of_the_file(folder: str) -> None:
    path = files.join(folder, "file")
    write(files.join(path, "inside"), "text")
    with pytest.raises(IsADirectoryError, match="file"):
        write(path, "text")
    assert files.list_names(folder) == ["file"]
    assert files.list_names(path) == ["inside"]


def test_a_remote_file_is_never_there_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name; most stores publish what there is when a file is closed, whyever it is."""
    path = f"memory://{uuid.uuid4().hex}"
    write(path, "old")

    def look(file: Any) -> None:
        file.write(b"half")
        assert read(path) == "old"
        file.write(b" and half")

    files.write_whole(path, look)
    assert read(path) == "half and half"
    files.remove(path)


def test_what_is_called_before_the_file_shows(folder: str) -> None:
    path = files.join(folder, "file")
    write(path, "old")
    seen: list[str] = []
    with files.open_whole(path, before_it_shows=lambda: seen.append(read(path))) as file:
        file.write(b"new")
        assert not seen
    assert seen == ["old"]
    assert read(path) == "new"


# --------------------------------------------------------------------------------------------- left behind


def left_behind(path: Path) -> Path:
    """What a writer of `path` leaves that is killed."""
    left = path.with_name(f".{path.name}.0123abcd.tmp")
    left.write_text("half")
    return left


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    ours, others = left_behind(tmp_path / "file"), left_behind(tmp_path / "file2")
    write(str(tmp_path / "file"), "text")
    assert not ours.exists()
    assert others.exists()


def test_names_that_look_like_patterns(tmp_path: Path) -> None:
    ours, other = left_behind(tmp_path / "[ab]*"), left_behind(tmp_path / "a1")
    write(str(tmp_path / "[ab]*"), "text")
    assert not ours.exists()
    assert other.exists()
    assert read(str(tmp_path / "[ab]*")) == "text"


@pytest.mark.parametrize("name", ["a" * 255, "*" * 240])
def test_what_was_left_beside_a_long_name_goes_too(name: str, tmp_path: Path) -> None:
    with files.open_whole(tmp_path / name):
        left, other = (tmp_path / found for found in [*files.list_names(tmp_path), "a"])
    left.touch()
    other.touch()
    write(str(tmp_path / name), "text")
    assert files.list_names(tmp_path) == sorted([name, "a"])


def test_what_a_living_writer_has_open_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    with files.open_whole(path) as first:
        first.write(b"first")
        write(path, "second")
        assert read(path) == "second"
    assert read(path) == "first"
    assert files.list_names(tmp_path) == ["file"]


def test_what_is_left_but_cannot_be_removed_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_behind(tmp_path / "file")

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(Path, "unlink", refuse)
    write(str(tmp_path / "file"), "text")
    assert left.exists()
    assert read(str(tmp_path / "file")) == "text"


def test_file_systems_without_locks_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    left = left_behind(tmp_path / "file")

    def refuse(file: Any, operation: int) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(str(tmp_path / "file"), "text")
    assert read(str(tmp_path / "file")) == "text"
    assert left.exists()  # nobody knows whether its writer lives
