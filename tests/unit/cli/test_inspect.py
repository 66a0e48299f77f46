"""`fulmen checkpoint inspect` says what a checkpoint holds, and runs nothing that is in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.base import files
from fulmen.base.manifest import manifest_path
from fulmen.cli.main import main

from .saved import LIGHTNINGS, Module, save


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str]) -> Any:
    """What is printed, and the exit code."""

    def run(path: Path | str, *options: str) -> tuple[str, int]:
        capsys.readouterr()
        code = main(["checkpoint", "inspect", str(path), *options])
        out, err = capsys.readouterr()
        assert not err
        return out, code

    return run


def line(out: str, name: str) -> str:
    """The rest of the line that begins with `name`."""
    (found,) = [line for line in out.splitlines() if line.split("  ")[1:2] == [name]]
    return found.split(name, 1)[1].strip()


def test_a_checkpoint_of_ours(inspect: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    out, code = inspect(tmp_path / "a.ckpt")
    assert code == 0
    assert line(out, "intact") == "yes, by its manifest"
    assert line(out, "epoch") == "1"
    assert line(out, "global step") == "5"
    assert line(out, "saved").startswith("in epoch 1, after 2 batches")
    assert line(out, "resumes") == "exactly, bit for bit"
    for name, version in (("fulmen", pl.__version__), ("torch", torch.__version__)):
        assert f"{name} {version}" in line(out, "versions")
    assert line(out, "weights").split(None, 2) == ["48", "B", "21 values in 3 tensors, float32"]
    assert line(out, "optimizers").split(None, 2)[:2] == [
        "104",
        "B",
    ]  # two moments and a step of 2 parameters
    assert line(out, "width") == "3"
    assert line(out, "title") == "a b"
    assert "ModelCheckpoint{'monitor': 'loss'" in out
    assert "best_model_score" in out
    assert max(map(len, out.splitlines())) <= 110


def test_the_same_for_machines(inspect: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    out, code = inspect(tmp_path / "a.ckpt", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["intact"], found["checked_by"], found["problem"]) == (True, "manifest", None)
    assert (found["epoch"], found["global_step"]) == (1, 5)
    assert (found["resumable"], found["reasons"]) == (True, [])
    assert found["bytes"] == (tmp_path / "a.ckpt").stat().st_size
    weights = {"bytes": 48, "tensors": 3, "elements": 21, "dtypes": ["float32"]}
    assert found["parts"]["weights"] == weights
    assert found["hyperparameters"] == {"width": 3, "title": "a b"}
    (state,) = found["callbacks"].values()
    assert isinstance(state["best_model_score"], float)


def test_why_a_run_is_not_resumed_exactly(inspect: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    content["fulmen"]["exact"] = {
        "resumable": False,
        "reasons": ["the loader cannot be replayed", "so it is"],
    }
    torch.save(content, tmp_path / "b.ckpt")
    out, code = inspect(tmp_path / "b.ckpt")
    assert code == 0
    assert line(out, "intact") == "yes, by the checksums of its records"
    assert line(out, "resumes") == "NOT exactly: the loader cannot be replayed; so it is"
    del content["fulmen"]["exact"]
    torch.save(content, tmp_path / "c.ckpt")
    out, _ = inspect(tmp_path / "c.ckpt")
    assert line(out, "resumes").startswith("whether exactly is not recorded")


def test_weights_only(inspect: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt", weights_only=True)
    out, code = inspect(tmp_path / "a.ckpt")
    assert code == 0
    assert line(out, "resumes") == "NOT exactly: it holds weights only"
    assert line(out, "global step") == "5"


@pytest.mark.parametrize(
    ("name", "saved"), [("epoch_end", "before epoch 2"), ("mid_epoch", "in epoch 1, after 3 batches")]
)
def test_a_checkpoint_of_lightning(name: str, saved: str, inspect: Any) -> None:
    out, code = inspect(LIGHTNINGS / f"{name}.ckpt")
    assert code == 0
    assert line(out, "saved") == saved
    assert line(out, "resumes") == "whether exactly is not recorded: saved by Lightning 2.6.6"
    assert line(out, "data.slope") == "2.0"


def test_plain_weights(inspect: Any, tmp_path: Path) -> None:
    torch.save(Module().state_dict(), tmp_path / "a.pt")
    out, code = inspect(tmp_path / "a.pt")
    assert code == 0
    assert line(out, "weights").endswith("21 values in 3 tensors, float32")
    assert line(out, "saved") == "where in a run is not recorded"


@pytest.mark.parametrize(
    "content", [None, [1], {"a": {"b": 1}}, {1: 2}, {"loops": 1, "callbacks": 2}, {"fulmen": 3}]
)
def test_anything_else(content: Any, inspect: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    for options in ((), ("--json",)):
        _, code = inspect(tmp_path / "a.pt", *options)
        assert code == 0


def test_a_url(inspect: Any) -> None:
    try:
        save("memory://inspect/a.ckpt")
        out, code = inspect("memory://inspect/a.ckpt")
        assert code == 0
        assert line(out, "intact") == "yes, by its manifest"
    finally:
        files.remove("memory://inspect")


def test_a_file_that_cannot_be_verified(inspect: Any, tmp_path: Path) -> None:
    torch.save(
        {"state_dict": {"a": torch.ones(2)}}, tmp_path / "a.ckpt", _use_new_zipfile_serialization=False
    )
    out, code = inspect(tmp_path / "a.ckpt")
    assert code == 0
    assert "cannot be verified" in line(out, "intact")
    assert line(out, "weights").endswith("2 values in 1 tensor, float32")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_damage(options: list[str], inspect: Any, tmp_path: Path) -> None:
    save(tmp_path / "a.ckpt")
    content = (tmp_path / "a.ckpt").read_bytes()
    harm = {
        "flipped": content[:900] + bytes([content[900] ^ 1]) + content[901:],
        "torn": content[:-300],
        "empty": b"",
    }
    for harmed in harm.values():
        (tmp_path / "a.ckpt").write_bytes(harmed)
        out, code = inspect(tmp_path / "a.ckpt", *options)
        assert code == 1
        assert ('"intact": false' if options else "NO: ") in out
    os.remove(manifest_path(tmp_path / "a.ckpt"))
    for name in ("torn", "empty"):
        (tmp_path / "a.ckpt").write_bytes(harm[name])
        assert inspect(tmp_path / "a.ckpt", *options)[1] == 1
    assert inspect(tmp_path / "gone.ckpt", *options)[1] == 1


def test_what_is_no_checkpoint_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("hello")
    assert main(["checkpoint", "inspect", str(tmp_path / "a.txt")]) == 1
    assert "not a checkpoint" in capsys.readouterr().err


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was_here",)


def test_nothing_is_executed(inspect: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "hyper_parameters": {"kind": Module}}, "class.ckpt")
    out, code = inspect("class.ckpt")
    assert code == 0
    assert line(out, "kind") == f"<unrestored {Module.__module__}.Module>"
    torch.save({"state_dict": {"a": torch.ones(1)}, "callbacks": Evil()}, "evil.ckpt")
    assert main(["checkpoint", "inspect", "evil.ckpt"]) == 1
    assert not (tmp_path / "was_here").exists()


def test_what_is_shared_takes_no_time(inspect: Any, tmp_path: Path) -> None:
    """Printed in full, it would be of 2**60 lines."""
    tangle: Any = []
    for _ in range(60):
        tangle = [tangle, tangle]
    own = {"progress": {"epoch": tangle}, "exact": {"reasons": tangle}, "versions": {"torch": tangle}}
    given = {"hyper_parameters": {"a": tangle}, "callbacks": {"c": {"d": tangle}}, "epoch": tangle}
    torch.save({"state_dict": {}, "fulmen": own, "optimizer_states": tangle, **given}, tmp_path / "a.ckpt")
    out, code = inspect(tmp_path / "a.ckpt")
    assert code == 0
    assert len(out) < 10_000


def test_a_file_cannot_steer_the_terminal(inspect: Any, tmp_path: Path) -> None:
    nasty = "\x1b[2J\x07\u202e"
    torch.save(
        {
            "state_dict": {},
            "hyper_parameters": {nasty: nasty},
            nasty: 1,
            "callbacks": {nasty: {nasty: nasty}},
        },
        tmp_path / "a.ckpt",
    )
    out, _ = inspect(tmp_path / "a.ckpt")
    assert all(character.isprintable() or character == "\n" for character in out)


def test_nothing_is_copied_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors stay on disk until somebody looks at them; the report does not."""
    from fulmen.cli import checkpoint_report

    loaded: dict[str, Any] = {}
    real = checkpoint_report.load_tensors

    def load(path: str, **options: Any) -> Any:
        loaded["options"] = options
        return real(path, **options)

    monkeypatch.setattr(checkpoint_report, "load_tensors", load)
    save(tmp_path / "a.ckpt")
    assert main(["checkpoint", "inspect", str(tmp_path / "a.ckpt")]) == 0
    assert loaded["options"]["mmap"]
