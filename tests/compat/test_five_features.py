"""The five features of the release 1.0, in its own spelling, against a loop without any framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

pytestmark = [
    pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling"),
    pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty"),
]
EPOCHS = 3


def bare_training() -> dict[str, Any]:
    """What the script has to come to."""
    torch.manual_seed(7)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    digits = load_digits()
    data = TensorDataset(torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target))
    train, val, test = random_split(data, [1400, 200, len(data) - 1600], torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    scores: list[tuple[float, float, list[torch.Tensor]]] = []
    losses: list[torch.Tensor] = []
    for _ in range(EPOCHS):
        losses = []
        for x, y in DataLoader(train, batch_size=64):
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        with torch.no_grad():
            x, y = next(iter(DataLoader(val, batch_size=200)))
            scores.append((
                float(F.cross_entropy(net(x), y)), float((net(x).argmax(1) == y).float().mean()),
                [p.clone() for p in net.parameters()],
            ))  # fmt: skip
    _, _, best = min(scores, key=lambda score: score[0])
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), best, strict=True):
            parameter.copy_(value)
        x, y = next(iter(DataLoader(test, batch_size=1000)))
        right = float((net(x).argmax(1) == y).float().mean())
        weights = float(sum(p.double().abs().sum() for p in net.parameters()))
    return {"weights": weights, "test_acc": right, "mean_of_losses": float(torch.stack(losses).mean())}


@pytest.mark.parametrize("version", [None, "1.0"])
def test_five_features(run_script: Callable[..., Any], version: str | None) -> None:
    results = run_script("v1_0/five_features.py", "--max_epochs", str(EPOCHS), version=version)
    expected = bare_training()
    for result in results.values():
        assert result["weights"] == pytest.approx(expected["weights"], rel=1e-6)
        assert result["tested"] == [{"test_acc": pytest.approx(expected["test_acc"])}]
        assert result["seen"]["val"] == 200
        assert result["steps"] == EPOCHS * 22
        assert result["lr"] == 0.5
        assert "val_loss=" in result["best"]
    seen = results["Classifier"]["seen"]
    assert seen["train"] == 1400
    assert seen["mean_of_losses"] == pytest.approx(expected["mean_of_losses"], rel=1e-5)
