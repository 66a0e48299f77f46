"""What hooks are given of what `training_step` returned, beside what old versions gave."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import OldSpelling

from .output_cases import CASES, observe
from .small import Small

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "outputs.json").read_text())
VERSIONS = sorted({version for group in RECORDED for version in group["versions"]})


def recorded(case: str, version: str) -> dict[str, list[str]]:
    """By hook, what it was given."""
    groups = [group for group in RECORDED if group["case"] == case and version in group["versions"]]
    return {group["hook"]: group["seen"] for group in groups}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_what_hooks_of_each_version_are_given(case: str, version: str) -> None:
    expected = recorded(case, version)
    if version == "1.0":  # whose `training_epoch_end` takes the extras out of what comes after it
        expected["on_train_epoch_end"] = recorded(case, "1.1")["on_train_epoch_end"]
    seen = observe(pl, version, compat=version, **CASES[case])
    assert {hook: given for hook, given in seen.items() if given} == expected


@pytest.mark.parametrize("loaders", [1, 2])
def test_what_the_end_of_a_prediction_is_given(loaders: int) -> None:
    """As in 1.3.8 to 1.9.5 a list for each loader, also for one; `predict` itself gives a flat list then."""
    given: list[Any] = []

    class Predicting(Model):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            return (dataloader_idx, batch_idx)

        def on_predict_epoch_end(self, results: Any) -> None:
            given.append(results)

    class Callback(pl.Callback):
        def on_predict_epoch_end(self, trainer: Any, pl_module: Any, outputs: Any) -> None:
            given.append(outputs)

    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, callbacks=[Callback()]
    )
    data = [DataLoader(TensorDataset(torch.ones(4, 3)), 2) for _ in range(loaders)]
    predicted = trainer.predict(Predicting(), data if loaders > 1 else data[0])
    each = [[(loader, batch) for batch in range(2)] for loader in range(loaders)]
    assert given == [each, each]
    assert predicted == (each if loaders > 1 else each[0])


# ------------------------------------------------------------------------------------- without a version said


class Model(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"loss": self.line(batch[0]).sum(), "size": len(batch[0])}


def fit(module: pl.LightningModule, *callbacks: pl.Callback) -> None:
    loader = DataLoader(TensorDataset(torch.ones(5, 3)), 2)
    pl.Trainer(
        max_epochs=1, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    ).fit(module, loader)  # fmt: skip


def test_code_that_reads_extras_is_given_them() -> None:
    sizes: list[int] = []

    class Extras(pl.Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int
        ) -> None:
            sizes.append(outputs[0][0]["extra"]["size"])

    with pytest.warns(OldSpelling, match=r"Extras.on_train_batch_end\(trainer, pl_module, outputs, batch"):
        fit(Model(), Extras())
    assert sizes == [2, 2, 1]


def test_attributes_are_as_good_as_keys() -> None:
    losses: list[Any] = []

    class Losses(Model):
        def on_train_epoch_end(self, outputs: Any) -> None:
            losses.extend((part.minimize, part.extra["size"]) for (part,) in outputs[0])

    fit(Losses())
    assert [size for _, size in losses] == [2, 2, 1]
    assert all(isinstance(loss, torch.Tensor) and not loss.requires_grad for loss, _ in losses)


@pytest.mark.parametrize("name", ["outputs", "returned"])
def test_code_that_reads_a_flat_list_is_given_one(name: str) -> None:
    sizes: list[int] = []
    namespace: dict[str, Any] = {}
    exec(
        f"def on_train_epoch_end(self, {name}): self.sizes += [output['size'] for output in {name}]",
        namespace,
    )
    fit(type("Flat", (Model,), {**namespace, "sizes": sizes})())
    assert sizes == [2, 2, 1]


def test_a_key_of_the_users_own_is_not_taken_for_extras() -> None:
    seen: list[int] = []

    class Own(Model):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return {"loss": self.line(batch[0]).sum(), "extra": batch_idx}

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
            seen.append(outputs["extra"])

    fit(Own())
    assert seen == [0, 1, 2]


def test_outputs_that_nobody_reads_say_nothing_of_how_they_are_nested() -> None:
    """Handing them on to the base class is not reading them."""
    called: list[str] = []

    class Base(Model):
        def on_train_epoch_end(self, outputs: Any) -> None:
            called.append("base")

    class Unread(Base):
        def on_train_epoch_end(self, outputs: Any) -> None:
            super().on_train_epoch_end(outputs)
            called.append("own")

        def on_epoch_end(self) -> None:
            called.append("epoch")

        def training_epoch_end(self, outputs: Any) -> None:
            called.append("training")

    fit(Unread())
    assert called == ["base", "own", "epoch", "training"]  # the order of 1.2


def test_callbacks_of_ours_are_given_the_loss() -> None:
    """The search for a learning rate reads it, also where a batch is cut in time."""

    class Recurrent(Model):
        truncated_bptt_steps = 2

        def training_step(self, batch: Any, batch_idx: int, hiddens: Any) -> Any:
            loss = self.line(batch[0]).square().mean()
            return {"loss": loss, "hiddens": loss[None]}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldSpelling)
        trainer = pl.Trainer(
            max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, compat="1.4",
        )  # fmt: skip
        module = Recurrent()
        module.lr = 0.1
        loader = DataLoader(TensorDataset(torch.ones(8, 4, 3)), 2)
        finder = trainer.tuner.lr_find(module, loader, num_training=8, early_stop_threshold=None)
    assert finder is not None
    assert len(finder.results["loss"]) > 2
