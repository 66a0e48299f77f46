"""Names of checkpoints, spelled as scripts expect them."""

from __future__ import annotations

import pytest
import torch

from fulmen.base.report import FulmenWarning
from fulmen.callbacks import ModelCheckpoint
from fulmen.errors import ConfigError

VALUES = {"epoch": 1, "step": 3, "loss": torch.tensor(0.125), "val/acc": torch.tensor(0.5), "a.b c": 2.0}


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (None, "epoch=1-step=3.ckpt"),
        ("{epoch}-{loss:.2f}", "epoch=1-loss=0.12.ckpt"),
        ("{epoch:03d}--{step}", "epoch=001--step=3.ckpt"),
        ("{loss}", "loss=0.125.ckpt"),
        ("{val/acc:.1f}", "val/acc=0.5.ckpt"),
        ("{a.b c:>5}", "a.b c=  2.0.ckpt"),
        ("constant", "constant.ckpt"),
        ("epoch={epoch}", "epoch=epoch=1.ckpt"),
    ],
)
def test_fields_are_preceded_by_their_names(filename: str | None, expected: str) -> None:
    assert ModelCheckpoint(filename=filename).format_checkpoint_name(VALUES) == expected


def test_names_can_be_left_out() -> None:
    checkpoint = ModelCheckpoint(filename="e{epoch:02d}-l{loss:.2f}", auto_insert_metric_name=False)
    assert checkpoint.format_checkpoint_name(VALUES) == "e01-l0.12.ckpt"
    assert ModelCheckpoint(auto_insert_metric_name=False).format_checkpoint_name(VALUES) == "1-3.ckpt"


def test_a_value_that_is_not_there_yet_is_0_and_the_user_is_told() -> None:
    with pytest.warns(FulmenWarning, match=r"'val_los'.*did you mean 'val_loss'"):
        name = ModelCheckpoint(filename="{val_los:.2f}").format_checkpoint_name({"val_loss": 1.0})
    assert name == "val_los=0.00.ckpt"


def test_arguments_go_before_the_template_of_the_callback() -> None:
    checkpoint = ModelCheckpoint(filename="{epoch}")
    assert checkpoint.format_checkpoint_name(VALUES, "{step}") == "step=3.ckpt"
    assert checkpoint.format_checkpoint_name(VALUES, ver=2) == "epoch=1-v2.ckpt"
    assert checkpoint.format_checkpoint_name(VALUES, prefix="pre", ver=2) == "pre-epoch=1-v2.ckpt"


def test_the_folder_stands_in_front(tmp_path) -> None:
    checkpoint = ModelCheckpoint(dirpath=tmp_path, filename="x")
    assert checkpoint.format_checkpoint_name({}) == str(tmp_path / "x.ckpt")
    assert (
        ModelCheckpoint(dirpath="memory://a/", filename="x").format_checkpoint_name({}) == "memory://a/x.ckpt"
    )


def test_a_subclass_spells_names_its_own_way() -> None:
    class Other(ModelCheckpoint):
        CHECKPOINT_EQUALS_CHAR = ":"
        CHECKPOINT_JOIN_CHAR = "_"
        FILE_EXTENSION = ".pt"

    assert Other().format_checkpoint_name(VALUES, prefix="p", ver=5) == "p_epoch:1_step:3_v5.pt"


@pytest.mark.parametrize("filename", ["{epoch", "epoch}", "{}", "{{epoch}}"])
def test_a_template_that_cannot_be_read_is_refused_at_once(filename: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ModelCheckpoint(filename=filename)


def test_a_format_that_does_not_fit_the_value_names_both() -> None:
    with pytest.raises(ConfigError, match=r"(?s)'loss'.*\{loss:d\}"):
        ModelCheckpoint(filename="{loss:d}").format_checkpoint_name(VALUES)
