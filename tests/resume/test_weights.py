"""Callbacks that change what is trained, or the weights themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fulmen.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    EMAWeightAveraging,
    ModelPruning,
    StochasticWeightAveraging,
    WeightAveraging,
)

from .law import Case, Moment, after, assert_law
from .nets import Net, adam_with_decay

MOMENTS = [after(3), after(7, survives=2), Moment("on_train_epoch_end", 5), Moment("on_validation_end", 10)]
FOUR_EPOCHS = {"max_epochs": 4}


def momentum_of_trained(net: Any) -> Any:
    return torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def with_names(net: Any) -> Any:
    return torch.optim.Adam([(n, p) for n, p in net.named_parameters() if p.requires_grad], lr=0.01)


class Backbone(Net):
    """A net whose body is called backbone."""

    def __init__(self, journal: Any, configure: Any = momentum_of_trained) -> None:
        super().__init__(journal, configure=configure)
        self.backbone = torch.nn.Sequential(self.body, self.norm)


class PartByPart(BaseFinetuning):
    """The head, then the body, then the norm, whose names the optimizer is told."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze([pl_module.body, pl_module.norm], train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        for number, part in enumerate((pl_module.body, pl_module.norm), start=1):
            if epoch == number:
                self.make_trainable(part)
                own = set(part.parameters())
                names = [(name, p) for name, p in pl_module.named_parameters() if p in own]
                optimizer.add_param_group({"params": names})


def decaying(net: Any) -> Any:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def pruning(*arguments: Any, **options: Any) -> dict[str, Any]:
    """A case's arguments; what is hidden by masks decays all the same."""
    return {
        "module": lambda journal: Net(journal, configure=decaying),
        "callbacks": lambda folder: [ModelPruning(*arguments, **options)],
        "options": lambda: FOUR_EPOCHS,
    }


CASES = [
    Case(
        "backbone finetuning",
        module=Backbone,
        callbacks=lambda folder: [BackboneFinetuning(1)],
        options=lambda: FOUR_EPOCHS,
    ),
    Case(
        "part by part, with names in the optimizer",
        module=lambda journal: Net(journal, configure=with_names),
        callbacks=lambda folder: [PartByPart()],
        options=lambda: FOUR_EPOCHS,
    ),
    Case("pruned by size", **pruning("l1_unstructured", amount=0.3)),
    Case(
        "pruned at random, masks stay, begins again at times",
        **pruning(
            "random_unstructured",
            amount=0.2,
            make_pruning_permanent=False,
            use_lottery_ticket_hypothesis=lambda epoch: epoch in (0, 2),
        ),
    ),
    Case(
        "drawn anew after each validation",
        **pruning(
            "l1_unstructured",
            amount=0.2,
            use_global_unstructured=False,
            resample_parameters=True,
            parameter_names=["weight"],
            prune_on_train_epoch_end=False,
        ),
    ),
    Case(
        "stochastic weight averaging in place of a scheduler",
        module=lambda journal: Net(journal, configure=adam_with_decay),
        callbacks=lambda folder: [StochasticWeightAveraging(0.1, swa_epoch_start=2, annealing_epochs=2)],
        options=lambda: FOUR_EPOCHS,
    ),
    Case(
        "stochastic weight averaging without one",
        callbacks=lambda folder: [StochasticWeightAveraging([0.1], swa_epoch_start=0.5)],
        options=lambda: FOUR_EPOCHS,
    ),
    Case(
        "averages of all steps",
        callbacks=lambda folder: [WeightAveraging()],
        options=lambda: FOUR_EPOCHS,
    ),
    Case(
        "moving averages",
        callbacks=lambda folder: [
            EMAWeightAveraging(decay=0.7, update_every_n_steps=2, update_starting_at_epoch=0)
        ],
        options=lambda: FOUR_EPOCHS,
    ),
    Case(
        "moving averages of weights alone, validated more often",
        callbacks=lambda folder: [EMAWeightAveraging(decay=0.7, use_buffers=False)],
        options=lambda: FOUR_EPOCHS | {"val_check_interval": 2},
    ),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_once(case: Case, moment: Moment) -> None:
    assert_law(case, moment)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_killed_again_and_again(case: Case) -> None:
    assert_law(case, after(2), after(4), after(6, survives=1))
