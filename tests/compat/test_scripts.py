"""A script in the style of each version, on real data, against loops without any framework."""

from __future__ import annotations

import this
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

pytestmark = [
    pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling"),
    pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty"),
]
Run = Callable[..., Any]


def sums(parameters: Iterable[Tensor]) -> Any:
    """What a script writes of its weights."""
    return pytest.approx([float(p.detach().double().sum()) for p in parameters], rel=1e-5, abs=1e-6)


def standardised(values: Any) -> Tensor:
    x = torch.tensor(values, dtype=torch.float32)
    return (x - x.mean(0)) / x.std(0)


# ------------------------------------------------------------------------------------------- 1.1: autoencoder


def bare_autoencoder(epochs: int) -> tuple[list[Tensor], float]:
    torch.manual_seed(11)
    net = nn.ModuleDict(
        {"encoder": nn.Sequential(nn.Linear(64, 16), nn.ReLU()), "decoder": nn.Linear(16, 64)}
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    x = torch.tensor(load_digits().data, dtype=torch.float32) / 16
    for _ in range(epochs):
        for batch in x[:1280].split(64):
            loss = F.mse_loss(net["decoder"](net["encoder"](batch)), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        return list(net.parameters()), float(F.mse_loss(net["decoder"](net["encoder"](x[1280:])), x[1280:]))


@pytest.mark.parametrize("stop_at", [0, 1])
def test_autoencoder_of_1_1(run_script: Run, stop_at: int) -> None:
    result = run_script("v1_1/autoencoder.py", "--stop_at", str(stop_at))
    parameters, loss = bare_autoencoder(3)
    assert result["weights"] == sums(parameters)
    assert result["test_loss"] == pytest.approx(loss, rel=1e-5)
    assert result["epochs"] == [20, 20, 20]
    assert result["batches"] == 60 - 20 * stop_at
    assert result["hparams"] == {"width": 16, "lr": 0.2}
    assert {"train_loss_step", "train_loss_epoch", "val_loss", "test_loss", "epoch"} <= set(result["names"])
    assert result["steps"] == 60


# ---------------------------------------------------------------------------------------- 1.3: language model


def bare_language() -> tuple[list[Tensor], dict[str, float]]:
    text = "".join(this.d.get(letter, letter) for letter in this.s) * 4
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(letter) for letter in text])
    rows = codes[: (len(codes) - 1) // 24 * 24].view(-1, 24)
    after = codes[1 : rows.numel() + 1].view(-1, 24)
    torch.manual_seed(5)
    embedding, rnn = nn.Embedding(len(letters), 16), nn.GRU(16, 16, batch_first=True)
    out = nn.Linear(16, len(letters))
    net = nn.ModuleList([embedding, rnn, out])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(2):
        for x, y in zip(rows[:96].split(8), after[:96].split(8), strict=True):
            hiddens = None
            for start in (0, 8, 16):
                states, hiddens = rnn(embedding(x[:, start : start + 8]), hiddens)
                loss = F.cross_entropy(out(states).flatten(0, 1), y[:, start : start + 8].flatten())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                hiddens = hiddens.detach()
    with torch.no_grad():
        logits = out(rnn(embedding(rows[96:128]))[0]).flatten(0, 1)
        y = after[96:128].flatten()
        right = float((logits.argmax(1) == y).float().mean())
        return list(net.parameters()), {"val_loss": float(F.cross_entropy(logits, y)), "val_acc": right}


@pytest.mark.parametrize("version", [None, "1.3", "1.9"])
def test_language_model_of_1_3(run_script: Run, version: str | None) -> None:
    result = run_script("v1_3/language.py", version=version)
    parameters, metrics = bare_language()
    assert result["weights"] == sums(parameters)
    assert result["validated"] == {name: pytest.approx(value, rel=1e-5) for name, value in metrics.items()}
    assert result["hparams"] == {"size": 16, "lr": 0.5}
    assert result["ended"] >= 4  # of training and of validation


# ------------------------------------------------------------------------------------- 1.5: transfer learning


def bare_transfer() -> tuple[list[Tensor], float]:
    torch.manual_seed(9)
    backbone, head = nn.Linear(64, 32), nn.Linear(32, 10)
    digits = load_digits()
    x, y = torch.tensor(digits.data, dtype=torch.float32)[:1280] / 16, torch.tensor(digits.target)[:1280]
    optimizer = torch.optim.SGD(head.parameters(), lr=0.2)
    losses: list[Tensor] = []
    for epoch in range(3):
        if epoch == 1:
            optimizer.add_param_group({"params": [*backbone.parameters()], "lr": 0.05})
        losses = []
        for batch, target in zip(x.split(64), y.split(64), strict=True):
            loss = F.cross_entropy(head(torch.relu(backbone(batch))), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return [*backbone.parameters(), *head.parameters()], float(torch.stack(losses).mean())


@pytest.mark.parametrize("stop_at", [0, 1, 2])
def test_transfer_learning_of_1_5(run_script: Run, stop_at: int) -> None:
    result = run_script("v1_5/transfer.py", "--stop_at", str(stop_at))
    parameters, loss = bare_transfer()
    assert result["weights"] == sums(parameters)
    assert result["metrics"]["epoch_loss"] == pytest.approx(loss, rel=1e-5)
    assert result["seen"] == 60
    assert result["groups"] == [0.2, 0.05]


# ------------------------------------------------------------------------------ 1.9, 2.0, 2.6: classification


def bare_wine() -> tuple[list[Tensor], float, float]:
    wine = load_wine()
    x, y = standardised(wine.data), torch.tensor(wine.target)
    torch.manual_seed(13)
    net = nn.Sequential(nn.Linear(13, 16), nn.Tanh(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    for _ in range(4):
        for batch, target in DataLoader(TensorDataset(x, y), batch_size=32):
            loss = F.cross_entropy(net(batch), target)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
        scheduler.step()
    with torch.no_grad():
        return (
            list(net.parameters()),
            float(F.cross_entropy(net(x), y)),
            float((net(x).argmax(1) == y).float().mean()),
        )


@pytest.mark.parametrize("stop_at", [0, 2])
def test_classification_of_1_9(run_script: Run, stop_at: int) -> None:
    result = run_script("v1_9/classification.py", "--stop_at", str(stop_at))
    parameters, loss, accuracy = bare_wine()
    assert result["weights"] == sums(parameters)
    assert result["metrics"]["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert result["metrics"]["val_acc"] == pytest.approx(accuracy)
    assert result["metrics"]["count"] == 178
    assert (result["calls"], result["steps"]) == ([0], 24)


def bare_cancer() -> tuple[list[Tensor], float]:
    cancer = load_breast_cancer()
    x, y = standardised(cancer.data), torch.tensor(cancer.target)
    torch.manual_seed(17)
    net = nn.Linear(30, 2)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(3):
        for batch, target in DataLoader(TensorDataset(x, y), batch_size=64):
            optimizer.zero_grad()
            F.cross_entropy(net(batch), target).backward()
            optimizer.step()
    with torch.no_grad():
        return list(net.parameters()), float((net(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("stop_at", [0, 2])
@pytest.mark.parametrize("script", ["v2_0/classification.py", "v2_6/classification.py"])
def test_classification_since_2_0(run_script: Run, script: str, stop_at: int) -> None:
    result = run_script(script, "--stop_at", str(stop_at))
    parameters, accuracy = bare_cancer()
    assert result["weights"] == sums(parameters)
    assert result["val_acc"] == result["right"] == pytest.approx(accuracy)
    assert result["precision"] == "32-true"
