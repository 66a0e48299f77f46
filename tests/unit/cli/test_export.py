"""`fulmen checkpoint export` writes weights that plain torch loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fulmen.base import extras, files
from fulmen.cli.main import main

from .saved import LIGHTNINGS, Module, save


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def weights(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def export(*arguments: object) -> None:
    assert main(["checkpoint", "export", *map(str, arguments)]) == 0


def test_safetensors(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    out = checkpoint.with_name("out.safetensors")
    export(checkpoint, out)
    plain = torch.nn.Module()
    plain.first = torch.nn.Linear(3, 3, bias=False)
    plain.net = torch.nn.ModuleDict({"second": torch.nn.Linear(3, 3)})
    plain.net["second"].weight = plain.first.weight
    assert safetensors.load_model(plain, out) == (set(), [])
    torch.testing.assert_close(plain.state_dict(), weights(checkpoint), rtol=0, atol=0)
    assert "tied: net.second.weight is first.weight" in capsys.readouterr().out

    with safetensors.safe_open(out, "pt") as file:
        assert file.metadata() == {
            "format": "pt",
            "source": "a.ckpt",
            "epoch": "1",
            "global_step": "5",
            "net.second.weight": "first.weight",
        }


def test_a_submodule(checkpoint: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    out = checkpoint.with_name("out.safetensors")
    export(checkpoint, out, "--submodule", "net.second")
    plain = torch.nn.Linear(3, 3)
    plain.load_state_dict(safetensors.load_file(out))
    assert plain.bias.equal(weights(checkpoint)["net.second.bias"])


def test_memory_of_every_kind(tmp_path: Path) -> None:
    """Slices of one storage, transposed, repeated, empty, of other dtypes; what is no tensor is left out."""
    safetensors = pytest.importorskip("safetensors.torch")
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "whole": base,
        "row": base[1],
        "transposed": base.t(),
        "repeated": torch.ones(1).expand(4),
        "empty": torch.empty(0),
        "empty too": torch.empty(0),
        "scalar": torch.tensor(7),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "flags": torch.tensor([True, False]),
        "twice": base,
    }
    torch.save({"state_dict": {**tensors, "extra": {"a": 1}}}, tmp_path / "a.ckpt")
    export(tmp_path / "a.ckpt", tmp_path / "out.safetensors")
    loaded = safetensors.load_file(tmp_path / "out.safetensors")
    assert loaded.keys() == tensors.keys() - {"whole"}  # which is "twice", the first of the two names
    for name, value in loaded.items():
        assert value.dtype == tensors[name].dtype
        assert value.equal(tensors[name])


def test_plain_torch(checkpoint: Path) -> None:
    out = checkpoint.with_name("out.pt")
    export(checkpoint, out)
    model = Module()
    model.load_state_dict(torch.load(out, weights_only=True))
    torch.testing.assert_close(model.state_dict(), weights(checkpoint), rtol=0, atol=0)
    assert out.stat().st_size < checkpoint.stat().st_size


def test_of_lightning_and_of_plain_weights(tmp_path: Path) -> None:
    export(LIGHTNINGS / "epoch_end.ckpt", tmp_path / "out.pt")
    export(tmp_path / "out.pt", tmp_path / "again.pt")
    once, again = (torch.load(tmp_path / name, weights_only=True) for name in ("out.pt", "again.pt"))
    assert once.keys() == again.keys() == {"layer.weight", "layer.bias"}


def test_urls(checkpoint: Path) -> None:
    try:
        export(checkpoint, "memory://export/out.pt")
        with files.open_file("memory://export/out.pt", "rb") as file:
            assert torch.load(file, weights_only=True).keys() == weights(checkpoint).keys()
    finally:
        files.remove("memory://export")


@pytest.mark.parametrize(
    ("source", "out", "more", "said"),
    [
        ("a.ckpt", "out.onnx", [], ".safetensors"),
        ("a.ckpt", "out.pt", ["--submodule", "net.secnd"], "did you mean 'net.second'?"),
        ("gone.ckpt", "out.pt", [], "no such checkpoint"),
        ("empty.ckpt", "out.pt", [], "no weights"),
        ("same.pt", "same.pt", [], "take the place"),
    ],
)
def test_what_cannot_be(
    source: str, out: str, more: list[str], said: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint.parent
    torch.save({"state_dict": {}}, folder / "empty.ckpt")
    torch.save(Module().state_dict(), folder / "same.pt")
    before = sorted(path.name for path in folder.iterdir())
    assert main(["checkpoint", "export", str(folder / source), str(folder / out), *more]) == 1
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_sparse_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("safetensors")
    torch.save({"a": torch.ones(2).to_sparse()}, tmp_path / "a.pt")
    assert main(["checkpoint", "export", str(tmp_path / "a.pt"), str(tmp_path / "out.safetensors")]) == 1
    assert "export to .pt" in capsys.readouterr().err


def test_without_safetensors(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "available", lambda package: package != "safetensors")
    assert main(["checkpoint", "export", str(checkpoint), str(checkpoint.with_name("out.safetensors"))]) == 1
    assert "pip install 'fulmen[safetensors]'" in capsys.readouterr().err
    assert not checkpoint.with_name("out.safetensors").exists()
