"""Event files, as TensorBoard's own reader sees them."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch import Tensor, nn

from fulmen.base import extras
from fulmen.base.report import FulmenWarning, rank_zero_only
from fulmen.core.module import LightningModule
from fulmen.errors import MissingExtra, UsageError
from fulmen.loggers import TensorBoardLogger

HParamsPluginData: Any = vars(plugin_data_pb2)["HParamsPluginData"]  # generated code, without types


def events(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return reader


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    reader = events(folder)
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def hparams_in(folder: Path) -> dict[str, Any]:
    """What the page of hyperparameters shows: their values, and the metrics that they are shown with."""
    content = events(folder).PluginTagToContent("hparams")
    started = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"])
    values = started.session_start_info.hparams
    return {
        "values": {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in values.items()},
        "metrics": [info.name.tag for info in experiment.experiment.metric_infos],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "version_0"


def logger_at(folder: Path, **arguments: Any) -> TensorBoardLogger:
    return TensorBoardLogger(folder.parent.parent, "run", version=0, **arguments)


def test_scalars(folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_metrics({"a": 1.5, "b": torch.tensor(2.0)}, step=3)
    logger.log_metrics({"a": 2}, step=4)
    logger.finalize("success")

    assert scalars(folder) == {"a": [(3, 1.5), (4, 2.0)], "b": [(3, 2.0)]}


def test_a_dict_becomes_the_curves_of_one_chart(folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_metrics({"loss": {"train": 1.0, "val": 2.0}}, step=1)
    logger.finalize("success")

    assert scalars(folder / "loss_train") == {"loss": [(1, 1.0)]}
    assert scalars(folder / "loss_val") == {"loss": [(1, 2.0)]}


def test_a_prefix_goes_before_every_name(folder: Path) -> None:
    logger = logger_at(folder, prefix="p")
    logger.log_metrics({"a": 1.0}, step=0)
    logger.log_hyperparams({"lr": 0.5})
    logger.finalize("success")

    assert scalars(folder) == {"p-a": [(0, 1.0)], "p-hp_metric": [(0, -1.0)]}
    assert hparams_in(folder)["metrics"] == ["p-hp_metric"]


@pytest.mark.parametrize("value", ["text", torch.ones(2), None, {"curve": "text"}])
def test_what_is_no_number_is_refused_by_name(value: Any, folder: Path) -> None:
    logger = logger_at(folder)
    with pytest.raises(UsageError, match="'loss"):
        logger.log_metrics({"loss": value}, step=0)
    logger.finalize("failed")


def test_saving_makes_values_readable_at_once(folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()

    assert scalars(folder) == {"a": [(0, 1.0)]}
    logger.finalize("success")


def test_writing_goes_on_after_the_end_of_a_run(folder: Path) -> None:
    logger = logger_at(folder)
    for step in range(2):
        logger.log_metrics({"a": float(step)}, step)
        logger.finalize("success")

    assert scalars(folder) == {"a": [(0, 0.0), (1, 1.0)]}


def test_rewinding_hides_what_will_be_written_again(folder: Path) -> None:
    first = logger_at(folder)
    for step in range(3):
        first.log_metrics({"a": float(step)}, step)
    position = first.position()
    for step in range(3, 5):
        first.log_metrics({"a": float(step)}, step)
    first.finalize("failed")

    again = logger_at(folder)
    again.rewind(position)
    assert again.position() == position
    again.log_metrics({"a": 30.0}, 3)
    again.finalize("success")
    again.log_metrics({"a": 10.0}, 1)  # a later file takes nothing back
    again.finalize("success")

    assert scalars(folder)["a"] == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 30.0), (1, 10.0)]


def test_rewinding_an_open_file(folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_metrics({"a": 0.0}, 0)
    position = logger.position()
    logger.log_metrics({"a": 1.0}, 1)
    logger.rewind(position)
    logger.log_metrics({"a": 10.0}, 1)
    logger.finalize("success")

    assert scalars(folder)["a"] == [(0, 0.0), (1, 10.0)]


@pytest.mark.parametrize("position", [{}, {"folder": "elsewhere", "step": 0}])
def test_rewinding_to_a_position_of_another_run_does_nothing(position: dict[str, Any], folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_metrics({"a": 0.0}, 5)
    logger.rewind(position)
    logger.log_metrics({"a": 1.0}, 6)
    logger.finalize("success")

    assert scalars(folder)["a"] == [(5, 0.0), (6, 1.0)]


PARAMS = {"lr": 0.5, "net": {"act": "relu", "sizes": [1, 2]}, "on": True, "none": None, "seed": 3}
SHOWN = {"lr": 0.5, "net/act": "relu", "net/sizes": "[1, 2]", "on": True, "none": "None", "seed": 3}


@pytest.mark.parametrize("params", [PARAMS, Namespace(**PARAMS)])
def test_hyperparameters_are_shown_next_to_a_metric(params: Any, folder: Path) -> None:
    logger = logger_at(folder)
    logger.log_hyperparams(params)
    logger.finalize("success")

    assert hparams_in(folder) == {"values": SHOWN, "metrics": ["hp_metric"]}
    assert scalars(folder) == {"hp_metric": [(0, -1.0)]}
    assert yaml.safe_load((folder / "hparams.yaml").read_text()) == PARAMS


@pytest.mark.parametrize(
    ("metrics", "step", "expected"),
    [
        (2.5, None, {"hp_metric": [(0, 2.5)]}),
        ({"acc": 0.5, "loss": 1.0}, None, {"acc": [(0, 0.5)], "loss": [(0, 1.0)]}),
        ({"acc": torch.tensor(0.5)}, 7, {"acc": [(7, 0.5)]}),
        (0.0, 2, {"hp_metric": [(2, 0.0)]}),
    ],
)
@pytest.mark.parametrize("default", [True, False])
def test_metrics_to_compare_runs_by(
    metrics: Any, step: int | None, expected: dict[str, Any], default: bool, folder: Path
) -> None:
    logger = logger_at(folder, default_hp_metric=default)
    logger.log_hyperparams({"lr": 0.5}, metrics, step=step)
    logger.finalize("success")

    assert scalars(folder) == expected
    assert sorted(hparams_in(folder)["metrics"]) == sorted(expected)


def test_without_any_metric_only_the_file_of_hyperparameters_is_written(folder: Path) -> None:
    logger = logger_at(folder, default_hp_metric=False)
    logger.log_hyperparams({"a": 1})
    logger.log_hyperparams({"b": 2})
    logger.finalize("success")

    assert [path.name for path in folder.iterdir()] == ["hparams.yaml"]
    assert yaml.safe_load((folder / "hparams.yaml").read_text()) == {"a": 1, "b": 2}


def test_arguments_of_the_summary_writer_are_passed_on(folder: Path) -> None:
    logger = logger_at(folder, filename_suffix=".mine", max_queue=3)
    logger.log_metrics({"a": 1.0}, step=0)
    logger.finalize("success")

    assert [path.suffix for path in folder.iterdir()] == [".mine"]


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.moved: list[torch.device] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[:, :2]  # without this, the layer would refuse the example

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        self.moved.append(device)
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def test_the_graph_is_drawn_from_the_example_through_the_transfer_hooks(folder: Path) -> None:
    model = Net()
    model.example_input_array = torch.ones(1, 3)
    model.trainer = cast(Any, SimpleNamespace())  # tracing looks at every attribute
    logger = logger_at(folder, log_graph=True)
    logger.log_graph(model)
    logger.finalize("success")

    assert "aten::linear" in str(events(folder).Graph())
    assert model.moved == [torch.device("cpu")]
    assert model.training


def test_the_graph_of_any_module_is_drawn_from_a_given_input(folder: Path) -> None:
    logger = logger_at(folder, log_graph=True)
    logger.log_graph(nn.Linear(2, 1), torch.ones(1, 2))
    logger.finalize("success")

    assert "aten::linear" in str(events(folder).Graph())


def test_no_graph_unless_asked_for(tmp_path: Path, folder: Path) -> None:
    logger_at(folder).log_graph(Net(), torch.ones(1, 3))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("example", [None, {"x": torch.ones(1, 2)}])
def test_a_graph_without_a_usable_example_is_a_warning(example: Any, folder: Path) -> None:
    model = Net()
    model.example_input_array = example
    with pytest.warns(FulmenWarning, match="example_input_array"):
        logger_at(folder, log_graph=True).log_graph(model)


def test_other_ranks_write_nothing(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = logger_at(folder, log_graph=True)
    logger.log_metrics({"a": 1.0, "b": {"c": 1.0}}, 0)
    logger.log_hyperparams({"a": 1})
    logger.log_graph(Net(), torch.ones(1, 3))
    logger.experiment.add_text("a", "b")
    logger.finalize("success")

    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "available", lambda package: False)

    with pytest.raises(MissingExtra, match=r"fulmen\[tensorboard\]"):
        TensorBoardLogger(tmp_path)
    assert "fulmen" in sys.modules
