"""The range test against one done by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib import pyplot
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base.report import FulmenWarning
from fulmen.errors import ConfigError, UsageError
from fulmen.tuner import LRFinder, Tuner

from .models import Regression, make_trainer


class Line(pl.LightningModule):
    """A linear layer, SGD and data in order: nothing that a plain loop could get wrong."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        self.learning_rate = lr
        torch.manual_seed(2)
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return (self.layer(batch[0]) - 1).square().mean()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.learning_rate)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]


def points() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(35, 3, generator=generator)), batch_size=5)


def search_by_hand(rates: list[float], window: int = 1) -> list[float]:
    """The smoothed losses of a plain loop at these learning rates."""
    module = Line()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.0)
    average, smooth, batches = 0.0, [], iter(())
    for step, rate in enumerate(rates):
        optimizer.zero_grad()
        for _ in range(window):
            batch = next(batches, None)
            if batch is None:
                batches = iter(points())
                batch = next(batches)
            loss = module.training_step(batch, 0)
            (loss / window).backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        average = 0.98 * average + 0.02 * loss.item()
        smooth.append(average / (1 - 0.98 ** (step + 1)))
    return smooth


def geometric(least: float, greatest: float, steps: int) -> list[float]:
    return [least] + [least * (greatest / least) ** (n / steps) for n in range(2, steps + 1)]


def arithmetic(least: float, greatest: float, steps: int) -> list[float]:
    return [least] + [least + (greatest - least) * n / steps for n in range(2, steps + 1)]


def test_losses_and_learning_rates_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    found = Tuner(make_trainer(tmp_path)).lr_find(Line(), points(), min_lr=1e-5, max_lr=0.5, num_training=30)
    assert found is not None
    rates = geometric(1e-5, 0.5, 30)
    assert found.results["lr"] == pytest.approx(rates)
    assert found.results["loss"] == pytest.approx(search_by_hand(rates))


def test_the_learning_rate_may_rise_in_a_line(tmp_path: Path) -> None:
    found = Tuner(make_trainer(tmp_path)).lr_find(
        Line(), points(), min_lr=1e-3, max_lr=0.3, num_training=20, mode="linear"
    )
    assert found is not None
    rates = arithmetic(1e-3, 0.3, 20)
    assert found.results["lr"] == pytest.approx(rates)
    assert found.results["loss"] == pytest.approx(search_by_hand(rates))


def test_a_step_of_several_batches_is_one_point(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, accumulate_grad_batches=7)
    found = Tuner(trainer).lr_find(Line(), points(), num_training=14, min_lr=1e-3, max_lr=0.2)
    assert found is not None
    assert found.results["loss"] == pytest.approx(search_by_hand(geometric(1e-3, 0.2, 14), window=7))


def test_it_ends_where_the_loss_explodes(tmp_path: Path) -> None:
    found = Tuner(make_trainer(tmp_path)).lr_find(Line(), points(), min_lr=1e-3, max_lr=1e3, num_training=60)
    assert found is not None
    losses = found.results["loss"]
    assert 2 < len(losses) < 60
    assert losses[-1] > 4 * min(losses)
    assert all(loss <= 4 * min(losses[: n + 1]) for n, loss in enumerate(losses[:-1]))
    endless = Tuner(make_trainer(tmp_path)).lr_find(
        Line(), points(), min_lr=1e-3, max_lr=1e3, num_training=60, early_stop_threshold=None
    )
    assert endless is not None
    assert len(endless.results["loss"]) == 60


def test_the_suggestion_is_set(tmp_path: Path) -> None:
    module = Line()
    found = Tuner(make_trainer(tmp_path)).lr_find(module, points(), min_lr=1e-4)
    assert found is not None
    assert module.learning_rate == found.suggestion() != 0.1


def test_it_is_set_among_the_hyperparameters_too(tmp_path: Path) -> None:
    module = Regression()
    found = Tuner(make_trainer(tmp_path)).lr_find(module, min_lr=1e-4)
    assert found is not None
    assert module.lr == module.hparams["lr"] == found.suggestion()


def test_it_is_not_set_unless_wanted(tmp_path: Path) -> None:
    module = Line()
    Tuner(make_trainer(tmp_path)).lr_find(module, points(), update_attr=False)
    assert module.learning_rate == 0.1


def test_it_is_set_under_the_name_that_is_given(tmp_path: Path) -> None:
    class Named(Line):
        own_rate = 1.0

    module = Named()
    found = Tuner(make_trainer(tmp_path)).lr_find(module, points(), attr_name="own_rate")
    assert found is not None
    assert (module.own_rate, module.learning_rate) == (found.suggestion(), 0.1)


def test_manual_optimization(tmp_path: Path) -> None:
    class Manual(Line):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
            optimizer: Any = self.optimizers()
            loss = super().training_step(batch, batch_idx)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.lr_schedulers()  # there, if a module asks for it
            return loss

    found = Tuner(make_trainer(tmp_path)).lr_find(
        Manual(), points(), num_training=15, min_lr=1e-3, max_lr=0.1
    )
    assert found is not None
    assert found.results["loss"] == pytest.approx(search_by_hand(geometric(1e-3, 0.1, 15)))


def result_of(losses: list[float], rates: list[float] | None = None) -> LRFinder:
    finder = LRFinder("exponential", 1e-4, 1.0, len(losses))
    finder.results = {"lr": rates or [10.0 ** (n - 4) for n in range(len(losses))], "loss": losses}
    return finder


def test_the_suggestion_is_where_the_loss_falls_most_steeply() -> None:
    finder = result_of([9, 5, 4.9, 4, 1, 0.9, 2], rates=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert finder.suggestion(0, 0) == 0.1
    assert finder.suggestion(1, 1) == 0.4
    assert finder.suggestion(4, 0) == 0.5


def test_the_slope_is_that_over_the_learning_rate() -> None:
    """Between unevenly spaced points; second order inside, as in Fornberg (1988)."""
    rates, losses = [0.1, 0.2, 0.5, 1.1, 2.0], [5.0, 4.9, 4.0, 1.0, 0.9]
    slopes = [(losses[1] - losses[0]) / (rates[1] - rates[0])]
    for left, here, right in zip(range(3), range(1, 4), range(2, 5), strict=True):
        before, after = rates[here] - rates[left], rates[right] - rates[here]
        down, up = (losses[here] - losses[left]) / before, (losses[right] - losses[here]) / after
        slopes.append((after * down + before * up) / (before + after))
    slopes.append((losses[4] - losses[3]) / (rates[4] - rates[3]))
    assert result_of(losses, rates).suggestion(0, 0) == rates[slopes.index(min(slopes))]


def test_losses_that_are_not_finite_do_not_count() -> None:
    losses = [9, 8, math.nan, 7, 1, 0.9, math.inf, math.nan]
    assert result_of(losses).suggestion(0, 0) == result_of(
        [9, 8, 7, 1, 0.9], [1e-4, 1e-3, 0.1, 1, 10]
    ).suggestion(0, 0)


def test_too_few_points_suggest_nothing() -> None:
    with pytest.warns(FulmenWarning, match="of 5 points, 0 can be used"):
        assert result_of([5, 4, 3, 2, 1]).suggestion() is None
    with pytest.warns(FulmenWarning, match="of 3 points, 1 can be used"):
        assert result_of([5, math.nan, math.inf]).suggestion(0, 0) is None


def test_without_a_suggestion_the_learning_rate_stays(tmp_path: Path) -> None:
    module = Line()
    with pytest.warns(FulmenWarning, match="No learning rate is suggested"):
        Tuner(make_trainer(tmp_path)).lr_find(module, points(), num_training=5)
    assert module.learning_rate == 0.1


def test_a_plot_shows_the_losses_and_the_suggestion() -> None:
    finder = result_of([float(n) for n in range(20, 0, -1)])
    figure = finder.plot(suggest=True)
    [axes] = figure.axes
    curve, point = axes.lines
    assert list(curve.get_xdata()) == finder.results["lr"]
    assert list(curve.get_ydata()) == finder.results["loss"]
    assert point.get_xdata() == [finder.suggestion()]
    assert axes.get_xscale() == "log"
    pyplot.close(figure)
    own, axes = pyplot.subplots()
    assert finder.plot(ax=axes) is own
    assert len(axes.lines) == 1
    pyplot.close(own)


def test_fast_dev_run_searches_for_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, fast_dev_run=True)
    assert Tuner(trainer).lr_find(Line(), points()) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"mode": "exponentially"}, "Did you mean|exponential"),
        ({"method": "validate"}, "for `fit`"),
        ({"num_training": 0}, "in 0 steps"),
        ({"min_lr": 1.0, "max_lr": 0.1}, "from 1.0 to 0.1"),
        ({"attr_name": "rate"}, "`rate`"),
        ({"dataloaders": []}, "`dataloaders`"),
    ],
)
def test_what_makes_no_sense_is_told(arguments: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        Tuner(make_trainer(tmp_path)).lr_find(Line(), points(), **arguments)


def test_a_learning_rate_that_is_nowhere_is_told_before_the_search(tmp_path: Path) -> None:
    module = Line()
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)
    del module.learning_rate
    with pytest.raises(ConfigError, match="`lr` or `learning_rate`"):
        Tuner(make_trainer(tmp_path)).lr_find(module, points())


def test_several_optimizers_are_refused(tmp_path: Path) -> None:
    module = Line()
    module.automatic_optimization = False
    module.configure_optimizers = lambda: [torch.optim.SGD(module.parameters(), lr=0.1) for _ in range(2)]
    with pytest.raises(UsageError, match="2 optimizers"):
        Tuner(make_trainer(tmp_path)).lr_find(module, points())


def test_without_a_loss_there_is_nothing_to_see(tmp_path: Path) -> None:
    module = Line()
    module.automatic_optimization = False
    module.training_step = lambda batch, batch_idx: module.optimizers().step()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(UsageError, match="returned no loss"):
        Tuner(make_trainer(tmp_path)).lr_find(module, points())


def test_processes_that_would_end_are_not_asked(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, strategy="ddp_spawn", devices=2)
    with pytest.raises(UsageError, match="does not come back"):
        Tuner(trainer).lr_find(Line(), points())
