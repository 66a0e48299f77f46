"""A file cannot make the process that reads it run anything, and says what is wrong with it."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.base import files
from fulmen.base.manifest import save_tensors
from fulmen.base.safe_load import Unrestored, demand_restored, load_tensors
from fulmen.errors import CheckpointError

Save = Callable[[Any, Path], None]


def save_zipped(content: Any, path: Path) -> None:
    """What `torch.save` writes since torch 1.6."""
    torch.save(content, path)


def save_as_of_old(content: Any, path: Path) -> None:
    """What it wrote before."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_pickled(content: Any, path: Path) -> None:
    """A pickle that torch has nothing to do with."""
    path.write_bytes(pickle.dumps(content, protocol=2))  # the one that torch expects


FORMATS = pytest.mark.parametrize("save", [save_zipped, save_as_of_old], ids=["zip", "legacy"])


# ----------------------------------------------------------------------------------------------- what is read


CONTENT = {
    "tensor": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "parameter": torch.nn.Parameter(torch.ones(1)),
    "numbers": [1, 2.5, True, None, -(2**70), 1j],
    "texts": ("a", b"b"),
    "set": {1, 2},
    "ordered": OrderedDict(a=1),
    "size": torch.Size([1, 2]),
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "counter": Counter("aab"),
}


@FORMATS
@pytest.mark.parametrize("weights_only", [True, False])
def test_plain_data_comes_back(save: Save, weights_only: bool, tmp_path: Path) -> None:
    save(CONTENT, tmp_path / "a.ckpt")
    loaded = load_tensors(tmp_path / "a.ckpt", weights_only=weights_only)
    assert loaded.keys() == CONTENT.keys()
    for name, value in CONTENT.items():
        assert type(loaded[name]) is type(value), name
        same = loaded[name].equal(value) if isinstance(value, Tensor) else loaded[name] == value
        assert same, name


def test_tensors_that_share_memory_still_do(tmp_path: Path) -> None:
    weight = torch.ones(2)
    torch.save({"a": weight, "b": weight}, tmp_path / "a.ckpt")
    loaded = load_tensors(tmp_path / "a.ckpt")
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()


def test_the_device_can_be_chosen(tmp_path: Path) -> None:
    torch.save(torch.ones(2), tmp_path / "a.ckpt")
    assert load_tensors(tmp_path / "a.ckpt", map_location="meta").device.type == "meta"


def test_urls_are_read_too(tmp_path: Path) -> None:
    save_tensors({"a": 1}, "memory://safe_load/a.ckpt")
    assert load_tensors("memory://safe_load/a.ckpt") == {"a": 1}
    files.remove("memory://safe_load")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_tensors("memory://safe_load/a.ckpt")


# --------------------------------------------------------------------------------------- what is not executed


class Kind(Enum):
    ONE = 1


class Custom:
    """A user's own class; notes when it is made."""

    made = 0

    def __init__(self, number: int = 0) -> None:
        Custom.made += 1
        self.number = number

    def __setstate__(self, state: Any) -> None:
        Custom.made += 1


class Calls:
    """Pickled as a call of any function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: Path) -> dict[str, Calls]:
    """Calls that leave the file `mark` behind, each by another door."""
    command, program = f"touch {mark}", f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, command),
        "os.popen": Calls(os.popen, command),
        "eval": Calls(eval, program.replace(".close()", "")),
        "exec": Calls(exec, program),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "open": Calls(open, str(mark), "w"),
        "nested": Calls(dict, [("a", Calls(os.system, command))]),
        "torch": Calls(torch.load, str(mark)),
        "import": Calls(__import__, "antigravity"),
    }


@pytest.mark.parametrize("save", [save_zipped, save_as_of_old, save_pickled], ids=["zip", "legacy", "pickle"])
@pytest.mark.parametrize("name", list(attacks(Path())))
def test_nothing_named_in_a_file_is_called(name: str, save: Save, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    save({"state_dict": {}, "callbacks": attacks(mark)[name]}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError):
        demand_restored(load_tensors(tmp_path / "evil.ckpt"), path="evil.ckpt", part="callbacks")
    assert not mark.exists()


@FORMATS
def test_the_error_names_the_class_and_how_to_allow_it(save: Save, tmp_path: Path) -> None:
    save({"callbacks": {"mine": Custom(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError) as raised:
        demand_restored(load_tensors(tmp_path / "a.ckpt"), path="a.ckpt", part="callbacks")
    for word in ("a.ckpt", f"{__name__}.Custom", "add_safe_globals", "weights_only=False"):
        assert word in str(raised.value)


@FORMATS
def test_the_error_names_what_is_never_allowed(save: Save, tmp_path: Path) -> None:
    """torch refuses whole modules, whatever a user allows."""
    save({"callbacks": {"mine": Calls(os.system, "true")}}, tmp_path / "evil.ckpt")
    with pytest.raises(CheckpointError) as raised:
        demand_restored(load_tensors(tmp_path / "evil.ckpt"), path="evil.ckpt", part="callbacks")
    for word in ("evil.ckpt", f"{os.system.__module__}.system", "weights_only=False"):
        assert word in str(raised.value)


HIDING_PLACES = {
    "an object": Custom(1),
    "a class": Custom,
    "an enumeration": Kind.ONE,
    "an object of the library": Namespace(a=1),
    "a list": [[Custom(1)]],
    "a tuple": (Custom(1),),
    "a dict": {"deep": {"er": Custom(1)}},
    "a key": {Kind.ONE: 1},
    "a key of a key": {(Kind.ONE, 1): 1},
    "a set": {"set": {Kind.ONE}},
    "a frozen set": frozenset([1]),
    "a factory": defaultdict(Custom),
    "a slice": slice(1, 2),
}


@FORMATS
@pytest.mark.parametrize("place", HIDING_PLACES)
def test_what_was_not_restored_is_found_wherever_it_is(place: str, save: Save, tmp_path: Path) -> None:
    save({"mine": HIDING_PLACES[place]}, tmp_path / "a.ckpt")
    made = Custom.made
    with pytest.raises(CheckpointError, match=r"add_safe_globals|weights_only=False"):
        demand_restored(load_tensors(tmp_path / "a.ckpt"), path="a.ckpt", part="mine")
    assert Custom.made == made


def test_the_rest_of_a_file_can_be_read(tmp_path: Path) -> None:
    """Which is what lets weights be loaded beside hyperparameters of a class that is not there any more."""
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "hparams": Custom(3), "kind": Kind.ONE}, tmp_path / "a.ckpt"
    )
    loaded = load_tensors(tmp_path / "a.ckpt")
    demand_restored(loaded["state_dict"], path="a.ckpt", part="state_dict")
    assert loaded["state_dict"]["a"].equal(torch.ones(1))
    assert isinstance(loaded["hparams"], Unrestored)
    assert loaded["hparams"].class_name == f"{__name__}.Custom"
    assert repr(loaded["kind"]) == f"<unrestored {__name__}.Kind>"


@FORMATS
def test_classes_that_a_user_allows_are_restored(save: Save, tmp_path: Path) -> None:
    save(Custom(3), tmp_path / "a.ckpt")
    made = Custom.made
    with torch.serialization.safe_globals([Custom]):
        assert type(load_tensors(tmp_path / "a.ckpt")) is Custom
    assert Custom.made == made + 1


class AllowedTensor(Custom):
    """Has a name as torch's classes have."""

    def __reduce__(self) -> Any:
        return AllowedTensor, (self.number,)


@FORMATS
def test_so_are_those_whose_names_look_like_torchs(save: Save, tmp_path: Path) -> None:
    save([AllowedTensor(3)], tmp_path / "a.ckpt")
    with torch.serialization.safe_globals([AllowedTensor]):
        assert type(load_tensors(tmp_path / "a.ckpt")[0]) is AllowedTensor


@FORMATS
def test_a_file_that_is_trusted_is_read_whole(save: Save, tmp_path: Path) -> None:
    save([Kind.ONE, Custom(3)], tmp_path / "a.ckpt")
    kind, custom = load_tensors(tmp_path / "a.ckpt", weights_only=False)
    assert kind is Kind.ONE
    assert type(custom) is Custom


def test_nothing_stays_allowed_afterwards(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save(Custom(3), tmp_path / "a.ckpt")
    load_tensors(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes((tmp_path / "a.ckpt").read_bytes()[:-100])
    with pytest.raises(CheckpointError):
        load_tensors(tmp_path / "b.ckpt")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="Custom"):
        torch.load(tmp_path / "a.ckpt", weights_only=True)


# -------------------------------------------------------------------------------------- what is no checkpoint


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document.xml", "<a/>")


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "one byte": lambda path: path.write_bytes(b"\x80"),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "text": lambda path: path.write_text("weights: none\n"),
    "json": lambda path: path.write_text("{}"),
    "html": lambda path: path.write_text("<!DOCTYPE html><html>404</html>"),
    "a foreign zip": zipped,
    "an empty zip": lambda path: zipfile.ZipFile(path, "w").close(),
    "a picture": lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256))),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("weights_only", [True, False])
def test_a_file_of_another_kind(name: str, weights_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    FOREIGN[name](path)
    with pytest.raises(
        CheckpointError, match=r"not a checkpoint, or is damaged(.|\n)*expected: a file written by"
    ) as e:
        load_tensors(path, weights_only=weights_only)
    assert str(path) in str(e.value)


def test_a_folder_and_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="folder"):
        load_tensors(tmp_path)
    with pytest.raises(CheckpointError, match=r"no such checkpoint(.|\n)*nowhere\.ckpt"):
        load_tensors(tmp_path / "nowhere.ckpt")


@FORMATS
def test_a_file_that_was_cut_off_anywhere(save: Save, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.ckpt", tmp_path / "cut.ckpt"
    save(CONTENT, whole)
    content = whole.read_bytes()
    for length in range(0, len(content) - 1, max(1, len(content) // 60)):
        cut.write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            load_tensors(cut)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@FORMATS
def test_damage_is_an_error_of_ours_or_goes_unnoticed(save: Save, tmp_path: Path) -> None:
    """Whatever bytes are changed: no other error than ours, and no class but plain ones."""
    path = tmp_path / "a.ckpt"
    save({"a": torch.ones(3), "b": [1, {"c": "text"}], "d": OrderedDict(e=1)}, path)
    content = path.read_bytes()
    draw = random.Random(0)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 4, 30])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            load_tensors(path)


# ----------------------------------------------------------------------------------------------- in a Trainer


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass


def test_with(path: Path) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.test(Module(), DataLoader(TensorDataset(torch.ones(1, 1))), ckpt_path=path)


test_with.__test__ = False


@FORMATS
def test_a_trainer_runs_nothing_either(save: Save, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    evil = Calls(os.system, f"touch {mark}")
    for checkpoint in (
        evil,
        {"state_dict": evil},
        {"state_dict": Module().state_dict(), "callbacks": {"a": evil}},
        {"state_dict": {**Module().state_dict(), "layer.weight": evil}},
        {"state_dict": Module().state_dict(), "loops": {"fit_loop": {"state_dict": evil}}},
    ):
        save(checkpoint, tmp_path / "evil.ckpt")
        with pytest.raises(CheckpointError):
            test_with(tmp_path / "evil.ckpt")
        with pytest.raises(CheckpointError):
            Module.load_from_checkpoint(tmp_path / "evil.ckpt")
    assert not mark.exists()


@pytest.mark.parametrize(
    "content", [[1, 2], torch.ones(2), "text", None, {}, {"weights": torch.ones(1)}], ids=repr
)
def test_a_file_without_weights(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match="state_dict"):
        test_with(tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"state_dict|not a checkpoint(.|\n)*a\.ckpt holds a \w+"):
        Module.load_from_checkpoint(tmp_path / "a.ckpt")
