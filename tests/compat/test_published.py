"""Pieces of published scripts that copied themselves into many others, against loops without a framework."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")
QUIET: dict[str, Any] = {
    "logger": False, "checkpoint_callback": False, "progress_bar_refresh_rate": 0, "weights_summary": None,
}  # fmt: skip


def loader() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    points, labels = torch.randn(20, 4, generator=generator), torch.randint(2, (20,), generator=generator)
    return DataLoader(TensorDataset(points, labels), 4)


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def train_dataloader(self) -> Any:
        return loader()


# ----------------------------------------------------- finetuning of transformers: how many steps there are


class Finetuned(Classifier):
    def schedule(self, optimizer: Optimizer, steps: int) -> Any:
        """Linearly up in two steps, and down to zero in those that are left."""
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: step / 2 if step < 2 else max(0.0, (steps - step) / max(1, steps - 2))
        )

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.1)
        return [optimizer], [{"scheduler": self.schedule(optimizer, self.num_steps), "interval": "step"}]

    @property
    def epoch_steps(self) -> int:
        limit, batches = self.trainer.limit_train_batches, len(self.train_dataloader())
        batches = min(batches, limit) if isinstance(limit, int) else int(limit * batches)
        devices = max(1, self.trainer.num_gpus, self.trainer.num_processes)
        if self.trainer.tpu_cores:
            devices = max(devices, self.trainer.tpu_cores)
        return batches // (self.trainer.accumulate_grad_batches * devices)


class Of1_1(Finetuned):
    @property
    def num_steps(self) -> int:
        if self.trainer.max_steps:
            return self.trainer.max_steps
        return self.epoch_steps * self.trainer.max_epochs


class Of1_4(Finetuned):
    @property
    def num_steps(self) -> int:
        steps = self.epoch_steps * self.trainer.max_epochs
        if self.trainer.max_steps and self.trainer.max_steps < steps:
            return self.trainer.max_steps
        return steps


class Of1_5(Finetuned):
    @property
    def num_steps(self) -> int:
        if self.trainer.max_steps != -1:
            return self.trainer.max_steps
        return self.epoch_steps * self.trainer.max_epochs


class Of1_6(Finetuned):
    @property
    def num_steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)


@pytest.mark.parametrize("kind", [Of1_1, Of1_4, Of1_5, Of1_6])
@pytest.mark.parametrize(
    ("limits", "steps"), [({"max_epochs": 3}, 15), ({"max_epochs": 3, "max_steps": 7}, 7)]
)
def test_a_schedule_over_all_steps(kind: type[Finetuned], limits: dict[str, int], steps: int) -> None:
    module = kind()
    trainer = pl.Trainer(gpus=0, **limits, **QUIET)
    trainer.fit(module)
    bare = Classifier()
    optimizer = torch.optim.AdamW(bare.parameters(), lr=0.1)
    schedule = module.schedule(optimizer, steps)
    for _, batch in zip(range(steps), [*loader()] * 3, strict=False):
        optimizer.zero_grad()
        bare.training_step(batch, 0).backward()
        optimizer.step()
        schedule.step()
    assert trainer.global_step == steps
    assert torch.equal(module.net.weight, bare.net.weight)


def test_no_limit_is_false_and_a_number() -> None:
    limit = pl.Trainer(**QUIET).max_steps
    assert limit == -1
    assert not limit
    assert limit is not None
    assert repr(limit) == "-1"
    assert pl.Trainer(max_steps=3, **QUIET).max_steps == 3


# ------------------------------------------------------------ contrastive learning: a wrapper of an optimizer


class Wrapper:
    """Halves gradients; by its `__class__` an optimizer, as those were that wrapped others for LARS."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optim = optimizer
        self.state_dict, self.load_state_dict = optimizer.state_dict, optimizer.load_state_dict
        self.zero_grad, self.add_param_group = optimizer.zero_grad, optimizer.add_param_group

    @property
    def __class__(self) -> Any:
        return Optimizer

    @property
    def defaults(self) -> Any:
        return self.optim.defaults

    @property
    def state(self) -> Any:
        return self.optim.state

    @property
    def param_groups(self) -> Any:
        return self.optim.param_groups

    def step(self, closure: Any = None) -> None:
        if closure is not None:
            closure()
        for group in self.optim.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 2
        self.optim.step()


@pytest.mark.parametrize("old_hook", [False, True])
def test_what_only_looks_like_an_optimizer(old_hook: bool) -> None:
    class Wrapped(Classifier):
        def configure_optimizers(self) -> Any:
            return Wrapper(torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9))

        if old_hook:

            def optimizer_step(
                self, epoch, batch_idx, optimizer, optimizer_idx, optimizer_closure=None, on_tpu=False,
                using_native_amp=False, using_lbfgs=False,
            ) -> None:  # fmt: skip
                optimizer.step(closure=optimizer_closure)

    module, bare = Wrapped(), Wrapped()
    pl.Trainer(max_epochs=1, **QUIET).fit(module)
    optimizer = bare.configure_optimizers()
    for batch in loader():
        optimizer.zero_grad()
        bare.training_step(batch, 0).backward()
        optimizer.step()
    assert torch.equal(module.net.weight, bare.net.weight)
