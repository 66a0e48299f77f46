"""Several optimizers in automatic optimization, against a loop without any framework."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")
EPOCHS, BATCHES = 2, 10


def bare_gan(every: int, accumulate: int) -> list[float]:
    """The sums of the parameters that the script has to come to."""
    torch.manual_seed(3)
    generator = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64))
    discriminator = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizers = [
        torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.5, 0.999)) for m in (generator, discriminator)
    ]
    batches = (torch.tensor(load_digits().data, dtype=torch.float32) / 16)[:640].split(64)
    turns = cycle([[0], *[[1]] * every] if every > 1 else [[0, 1]])
    for _ in range(EPOCHS):
        for batch_idx, real in enumerate(batches):
            for turn in next(turns):
                noise = torch.randn(len(real), 8, generator=torch.Generator().manual_seed(batch_idx))
                fake = generator(noise)
                if turn == 0:
                    loss = F.softplus(-discriminator(fake)).mean()
                else:
                    loss = (
                        F.softplus(discriminator(fake.detach())).mean()
                        + F.softplus(-discriminator(real)).mean()
                    )
                if batch_idx % accumulate == 0:
                    optimizers[turn].zero_grad()
                parameters = [p for group in optimizers[turn].param_groups for p in group["params"]]
                for parameter, gradient in zip(
                    parameters, torch.autograd.grad(loss / accumulate, parameters), strict=True
                ):
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
                if (batch_idx + 1) % accumulate == 0:
                    optimizers[turn].step()
    return [float(p.detach().double().sum()) for m in (generator, discriminator) for p in m.parameters()]


@pytest.mark.parametrize(
    ("version", "steps"), [("1.0", 20), ("1.1", 20), ("1.3", 20), ("1.5", 20), ("1.6", 40), (None, 40)]
)
def test_gan(run_script: Callable[..., Any], version: str | None, steps: int) -> None:
    result = run_script("v1_0/gan.py", version=version)
    assert result["weights"] == pytest.approx(bare_gan(1, 1), rel=1e-5, abs=1e-6)
    assert result["order"] == [0, 1] * (EPOCHS * BATCHES)
    assert result["steps"] == steps
    assert result["metrics"].keys() == {"loss_0", "loss_1"}


@pytest.mark.parametrize("version", ["1.0", "1.9"])
def test_by_frequency(run_script: Callable[..., Any], version: str) -> None:
    result = run_script("v1_0/gan.py", "--every", "2", version=version)
    assert result["weights"] == pytest.approx(bare_gan(2, 1), rel=1e-5, abs=1e-6)
    assert result["order"] == [0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1]
    assert result["steps"] == 20


@pytest.mark.parametrize("version", ["1.3", "1.9"])
def test_accumulation(run_script: Callable[..., Any], version: str) -> None:
    result = run_script("v1_0/gan.py", "--accumulate", "2", version=version)
    assert result["weights"] == pytest.approx(bare_gan(1, 2), rel=1e-5, abs=1e-6)
    assert result["steps"] == (10 if version == "1.3" else 20)
