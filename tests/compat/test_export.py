"""Modules as programs of their own, without a Trainer: ONNX Runtime gives what the module gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fulmen as pl

NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Net(pl.LightningModule):
    """Computes otherwise while it trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9), nn.BatchNorm1d(4), nn.ReLU())
        self.example_input_array = torch.ones(2, 3)

    def forward(self, points: Tensor) -> Tensor:
        return self.layers(points)


def test_there_need_not_be_a_trainer() -> None:
    code = (
        "import fulmen, torch\n"
        "class Net(fulmen.LightningModule): pass\n"
        "net = Net()\n"
        "print(all(hasattr(net, name) for name in ('to_onnx', 'to_torchscript', 'summarize')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": "src"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.filterwarnings("ignore")  # of torch, which has several ways and speaks of all but one
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"export_params": True, "opset_version": 18},
        {
            "input_names": ["points"], "output_names": ["scores"], "dynamo": False,
            "dynamic_axes": {"points": {0: "batch"}, "scores": {0: "batch"}},
        },
    ],
)  # fmt: skip
def test_onnx_runtime_gives_what_the_module_gives(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in NEEDED:
        pytest.importorskip(package, reason=f"{package}, of fulmen[dev], is not there: ONNX is not tested")
    import onnxruntime

    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)  # else it leaves a thread
    generator = torch.Generator().manual_seed(0)
    net, path = Net(), tmp_path / "net.onnx"
    net(torch.randn(8, 3, generator=generator))  # the normalisation learns something
    net.to_onnx(path, **arguments)
    assert net.training
    session = onnxruntime.InferenceSession(path)
    points = torch.randn(5 if "dynamic_axes" in arguments else 2, 3, generator=generator)
    (scores,) = session.run(None, {session.get_inputs()[0].name: points.numpy()})
    torch.testing.assert_close(torch.from_numpy(scores), net.eval()(points).detach())
    assert [put.name for put in session.get_inputs()] == arguments.get("input_names", ["points"])
