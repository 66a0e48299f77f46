"""`torch.compile(module)` is trained and scored as the module is, by compiled steps."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import fulmen
from fulmen.errors import UsageError
from fulmen.metrics import MulticlassAccuracy

BATCHES, EPOCHS = 12, 2

# Torch says so of itself where a graph breaks between tensors that have a gradient.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
Batch = tuple[Tensor, Tensor]


class Classifier(fulmen.LightningModule):
    """Logs a number and a metric in each of its steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(5, 3)
        self.accuracy = nn.ModuleDict({name: MulticlassAccuracy(3) for name in ("fit", "val", "test")})

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs)

    def scored(self, name: str, batch: Batch) -> Tensor:
        inputs, labels = batch
        logits = self(inputs)
        loss = cross_entropy(logits, labels)
        self.log(f"{name}_loss", loss, on_epoch=True)
        accuracy: Any = self.accuracy[name]
        accuracy.update(logits, labels)
        self.log_dict({f"{name}_accuracy": accuracy}, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        return self.scored("fit", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.scored("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.scored("test", batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self(batch[0]).argmax(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class ByHand(Classifier):
    """Updates in the middle of its step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        loss = self.scored("fit", batch)
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


def loader() -> DataLoader[Any]:
    draw = torch.Generator().manual_seed(1)
    inputs, labels = (
        torch.randn(4 * BATCHES, 5, generator=draw),
        torch.randint(3, (4 * BATCHES,), generator=draw),
    )
    return DataLoader(TensorDataset(inputs, labels), batch_size=4)


def trainer(**options: Any) -> fulmen.Trainer:
    return fulmen.Trainer(
        accelerator="cpu", max_epochs=EPOCHS, logger=False, enable_progress_bar=False,
        enable_model_summary=False, **({"enable_checkpointing": False} | options),
    )  # fmt: skip


def everything(model: Any, runner: fulmen.Trainer) -> dict[str, Any]:
    """What training, and whatever comes after it, gives."""
    runner.fit(model, loader(), loader())
    return {
        "trained": dict(runner.callback_metrics),
        "validated": runner.validate(model, loader(), verbose=False),
        "tested": runner.test(model, loader(), verbose=False),
        "predicted": torch.cat(runner.predict(model, loader())),
    }


def compiled(module: nn.Module, backend: Any) -> Any:
    return torch.compile(module, backend=backend)


@pytest.fixture
def counter() -> Iterator[CompileCounter]:
    torch._dynamo.reset()
    yield CompileCounter()
    torch._dynamo.reset()


@pytest.mark.parametrize("kind", [Classifier, ByHand])
def test_the_same_comes_of_it(kind: type[Classifier], counter: Any) -> None:
    module, plain = kind(), kind()
    found = everything(compiled(module, counter), trainer())
    expected = everything(plain, trainer())
    assert found.keys() == expected.keys()
    assert torch.equal(found.pop("predicted"), expected.pop("predicted"))
    assert found == expected
    for own, same in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(own, same)
    assert 0 < counter.frame_count < BATCHES  # a few, and not one for each batch


def test_weights_are_those_of_a_bare_loop(counter: Any) -> None:
    module, bare = Classifier(), Classifier()
    trainer().fit(compiled(module, counter), loader())
    optimizer: Any = bare.configure_optimizers()
    for _ in range(EPOCHS):
        for inputs, labels in loader():
            optimizer.zero_grad()
            cross_entropy(bare.net(inputs), labels).backward()
            optimizer.step()
    for own, same in zip(module.parameters(), bare.parameters(), strict=True):
        assert torch.equal(own, same)


@pytest.mark.parametrize("step", ["validate", "test", "predict"])
def test_steps_of_evaluation_are_compiled(step: str, counter: Any) -> None:
    getattr(trainer(), step)(compiled(Classifier(), counter), loader())
    assert 0 < counter.frame_count < BATCHES


def test_what_was_compiled_stays_so_for_the_trainer(counter: Any) -> None:
    runner, module = trainer(), Classifier()
    runner.fit(compiled(module, counter), loader())
    torch._dynamo.reset()
    before = counter.frame_count
    runner.test(module, loader(), verbose=False)
    assert counter.frame_count > before


def test_checkpoints_are_those_of_the_module(tmp_path: Any, counter: Any) -> None:
    runner, module = trainer(enable_checkpointing=True, default_root_dir=tmp_path), Classifier()
    runner.fit(compiled(module, counter), loader())
    loaded = Classifier.load_from_checkpoint(runner.checkpoint_callback.best_model_path)
    assert torch.equal(loaded.net.weight, module.net.weight)
    assert runner.lightning_module is module


class Failing(Classifier):
    """Ends in its first step."""

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        raise ValueError("no step")


@pytest.mark.parametrize("kind", [Classifier, Failing])
def test_nothing_is_left_in_the_module(kind: type[Classifier], counter: Any) -> None:
    module = kind()
    before = set(vars(module))
    runner = trainer()
    try:
        runner.fit(compiled(module, counter), loader())
    except ValueError:
        assert kind is Failing
    assert {name for name in set(vars(module)) - before if callable(vars(module)[name])} == set()
    assert module._compiled_call_impl is None
    module.compile(backend=counter)
    own = module._compiled_call_impl
    trainer().validate(compiled(module, counter), loader())
    assert module._compiled_call_impl is own
    copy.deepcopy(module)
    pickle.loads(pickle.dumps(module.net))


def test_other_things_that_are_compiled_are_no_models() -> None:
    with pytest.raises(UsageError, match="takes a LightningModule") as raised:
        trainer().fit(compiled(nn.Linear(1, 1), "eager"), loader())
    assert "received: Linear" in str(raised.value)


def test_a_module_that_is_not_compiled_is_not(counter: Any) -> None:
    trainer().fit(Classifier(), loader())
    assert counter.frame_count == 0
