"""Files of hyperparameters and checkpoints."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from fulmen.compat.lightning import saving
from fulmen.errors import CheckpointError


@pytest.mark.parametrize("kind", ["yaml", "tags_csv"])
def test_hyperparameters_come_back(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("file.csv" if kind == "tags_csv" else "file.yaml")
    save = {"yaml": saving.save_hparams_to_yaml, "tags_csv": saving.save_hparams_to_tags_csv}[kind]
    load = {"yaml": saving.load_hparams_from_yaml, "tags_csv": saving.load_hparams_from_tags_csv}[kind]
    hparams = {"a": 1, "b": "x", "c": [1, 2.5], "d": {"e": None}}

    assert load(path) == {}
    save(path, hparams)
    assert load(path) == hparams
    save(path, Namespace(a=2))
    assert load(path) == {"a": 2}


def test_texts_become_values() -> None:
    assert [saving.convert(text) for text in ("3", "a", "[1]", "None")] == [3, "a", [1], None]


def test_updates_go_into_dicts() -> None:
    hparams = {"a": {"b": 1, "c": 2}, "x": 1}
    saving.update_hparams(hparams, {"a": {"b": 5}, "d": 1, "x": {"y": 2}})

    assert hparams == {"a": {"b": 5, "c": 2}, "d": 1, "x": {"y": 2}}


def test_checkpoints_come_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.ckpt"
    saving.atomic_save({"state_dict": {"a": torch.ones(2)}}, path)

    assert torch.equal(saving.load(path)["state_dict"]["a"], torch.ones(2))
    assert saving.load(path, map_location="meta")["state_dict"]["a"].device.type == "meta"
    with pytest.raises(CheckpointError):
        saving.load(tmp_path / "missing.ckpt")
    assert saving.get_filesystem(str(path)).exists(str(path))


def test_checkpoints_of_other_versions_are_made_those_of_today() -> None:
    with saving.pl_legacy_patch():
        migrated, _ = saving.migrate_checkpoint({"state_dict": {}, "pytorch-lightning_version": "2.6.0"})

    assert migrated["state_dict"] == {}
