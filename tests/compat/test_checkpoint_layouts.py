"""What checkpoints of old hold in other places, under other names and as other classes than now."""

from __future__ import annotations

import functools
import os
import warnings
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import fulmen as pl
from fulmen.callbacks import EarlyStopping, ModelCheckpoint
from fulmen.compat import OldSpelling
from fulmen.compat.lightning.checkpoints import MIGRATIONS, migrate
from fulmen.core.hparams import AttributeDict
from fulmen.engine.checkpoint import OWN_KEY
from fulmen.engine.lightning_loops import from_progress
from fulmen.engine.progress import Progress
from fulmen.errors import CheckpointError
from fulmen.precision import MixedPrecision

from .old_files import ATTRIBUTE_DICT, CLASSES, EARLY_STOPPING, MODEL_CHECKPOINT, USERS, write


class Net(pl.LightningModule):
    """Keeps what it is given."""

    def __init__(self, width: int = 1, **more: Any) -> None:
        super().__init__()
        self.given = {"width": width, **more}
        self.layer = torch.nn.Linear(width, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 1)), batch_size=2)


class NetOfHparams(Net):
    """As modules were before `save_hyperparameters`: one argument holds all."""

    def __init__(self, hparams: Any) -> None:
        super().__init__(hparams.width)
        self.config = hparams


class NetOfConfig(Net):
    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg.width)
        self.config = cfg


WEIGHTS = {"layer.weight": torch.full((1, 2), 3.0), "layer.bias": torch.full((1,), 4.0)}


def checkpoint(version: str | None, **parts: Any) -> dict[str, Any]:
    """With all that a version before 1.6 wrote, after an epoch of two updates."""
    content = {
        "epoch": 1,
        "global_step": 2,
        "state_dict": {"layer.weight": torch.ones(1, 1), "layer.bias": torch.zeros(1)},
        "optimizer_states": [torch.optim.SGD([torch.ones(1, 1), torch.zeros(1)], lr=0.1).state_dict()],
        "lr_schedulers": [],
    }
    if version is not None:
        content["pytorch-lightning_version"] = version
    return content | parts


def fit(path: Path, model: Any, folder: Path, *callbacks: Any, **arguments: Any) -> Any:
    trainer = pl.Trainer(
        max_epochs=2, callbacks=list(callbacks), logger=False, default_root_dir=folder, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks), **arguments,
    )  # fmt: skip
    trainer.fit(model, ckpt_path=path)
    return trainer


# -------------------------------------------------------------------------------------------- hyperparameters


def test_weights_alone(tmp_path: Path) -> None:
    path = write({"state_dict": WEIGHTS}, tmp_path / "a.ckpt")
    assert Net.load_from_checkpoint(path, width=2).layer.weight.equal(WEIGHTS["layer.weight"])


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("1.0.0", {"hyper_parameters": {"width": 2, "name": "a"}, "hparams_name": "kwargs"}),
        ("1.0.0", {"hyper_parameters": CLASSES[ATTRIBUTE_DICT](width=2, name="a")}),
        ("0.8.5", {"module_arguments": {"width": 2, "name": "a"}}),
        (None, {"module_arguments": {"width": 2, "name": "a"}}),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_arguments_by_name(version: str | None, parts: dict[str, Any], zipped: bool, tmp_path: Path) -> None:
    content = checkpoint(version, state_dict=WEIGHTS, **parts)
    model = Net.load_from_checkpoint(write(content, tmp_path / "a.ckpt", zipped=zipped))
    assert model.given == {"width": 2, "name": "a"}
    assert model.layer.weight.equal(WEIGHTS["layer.weight"])


@pytest.mark.parametrize(
    "given",
    [Namespace(width=2, name="a"), {"width": 2, "name": "a"}, CLASSES[ATTRIBUTE_DICT](width=2, name="a")],
)
def test_one_argument_that_holds_all(given: Any, tmp_path: Path) -> None:
    content = checkpoint(None, state_dict=WEIGHTS, hparams=given, hparams_type="Namespace")
    model = NetOfHparams.load_from_checkpoint(write(content, tmp_path / "a.ckpt"))
    assert (model.config.width, model.config.name) == (2, "a")


def test_containers_inside_of_others(tmp_path: Path) -> None:
    shared = Namespace(rate=0.5)
    given = {
        "width": 2,
        "args": Namespace(inner=Namespace(depth=[1, shared]), same=shared),
        "attributes": CLASSES[ATTRIBUTE_DICT](a=CLASSES[ATTRIBUTE_DICT](b=1)),
        "pair": (1, {"x": Namespace(y=2)}),
    }
    content = checkpoint("1.2.0", state_dict=WEIGHTS, hyper_parameters=given)
    found = Net.load_from_checkpoint(write(content, tmp_path / "a.ckpt")).given
    assert found["args"] == given["args"]
    assert found["args"].inner.depth[1] is found["args"].same
    assert isinstance(found["attributes"], AttributeDict)
    assert found["attributes"].a.b == 1
    assert found["pair"] == given["pair"]


def test_omegaconf(tmp_path: Path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    text = "{width: 2, optim: {lr: 0.1, betas: [0.9, 0.99]}, same: '${optim.lr}', nothing: null}"
    config = omegaconf.OmegaConf.create(text)
    content = checkpoint(
        "1.3.0", state_dict=WEIGHTS, hyper_parameters=config, hparams_name="cfg", hparams_type=type(config)
    )
    found = NetOfConfig.load_from_checkpoint(write(content, tmp_path / "a.ckpt")).config
    assert type(found) is omegaconf.DictConfig
    assert found == config
    assert found.same == 0.1


def test_omegaconf_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create({"width": 2, "optim": {"betas": [0.9, {"a": 1}]}})
    content = checkpoint("1.3.0", state_dict=WEIGHTS, hyper_parameters=config, hparams_name="cfg")
    path = write(content, tmp_path / "a.ckpt")
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: False)
    found = NetOfConfig.load_from_checkpoint(path).config
    assert found.optim.betas[1].a == 1


def test_a_namespace_that_holds_itself(tmp_path: Path) -> None:
    endless = Namespace(width=2)
    endless.itself = endless
    content = checkpoint("1.2.0", state_dict=WEIGHTS, hyper_parameters={"args": endless})
    with pytest.raises(CheckpointError, match="nested"):
        Net.load_from_checkpoint(write(content, tmp_path / "a.ckpt"))


# -------------------------------------------------------------------------------------------------- callbacks


def old_states(folder: Path) -> dict[str, dict[str, Any]]:
    best = str(folder / "epoch=0.ckpt")
    return {
        MODEL_CHECKPOINT: {"best_model_score": torch.tensor(0.5), "best_model_path": best},
        EARLY_STOPPING: {
            "wait_count": 3, "stopped_epoch": 0, "best_score": torch.tensor(0.5), "patience": 9,
        },
    }  # fmt: skip


class WithMetric(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("loss", torch.tensor(0.7))
        return super().training_step(batch, batch_idx)


def check_taken_up(path: Path, folder: Path) -> None:
    saver = ModelCheckpoint(folder, monitor="loss", save_top_k=2)
    stopping = EarlyStopping("loss", patience=9)
    fit(path, WithMetric(), folder, saver, stopping)
    assert stopping.wait_count == 4  # three before, and 0.7 is no improvement
    assert stopping.best_score.item() == 0.5
    assert saver.best_model_path == str(folder / "epoch=0.ckpt")
    assert sorted(score.item() for score in saver.best_k_models.values()) == pytest.approx([0.5, 0.7])
    assert saver.kth_value.item() == pytest.approx(0.7)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.filterwarnings("ignore:The checkpoint folder is not empty")
def test_states_by_class(zipped: bool, tmp_path: Path) -> None:
    states = {CLASSES[name]: state for name, state in old_states(tmp_path).items()}
    content = checkpoint("1.0.0", callbacks={**states, CLASSES[USERS]: {"batches": 2}})
    check_taken_up(write(content, tmp_path / "a.pt", zipped=zipped), tmp_path)


def test_states_at_the_top(tmp_path: Path) -> None:
    states = old_states(tmp_path)
    for stopping in (
        {"early_stop_callback_state_dict": states[EARLY_STOPPING]},
        {"early_stop_callback_wait": 3, "early_stop_callback_patience": 9},
    ):
        content = checkpoint(
            "0.9.0",
            checkpoint_callback_best_model_path=str(tmp_path / "epoch=0.ckpt"),
            checkpoint_callback_best_model_score=torch.tensor(0.5),
            **stopping,
        )
        found = migrate(content, "a.ckpt")["callbacks"]
        assert found["ModelCheckpoint"]["best_model_path"] == str(tmp_path / "epoch=0.ckpt")
        assert found["EarlyStopping"]["wait_count"] == 3
        assert found["EarlyStopping"]["patience"] == 9
    content |= {"early_stop_callback_state_dict": states[EARLY_STOPPING]}
    check_taken_up(write(content, tmp_path / "a.pt"), tmp_path)


def test_a_state_of_another_metric_is_left_alone(tmp_path: Path) -> None:
    state = old_states(tmp_path)[MODEL_CHECKPOINT] | {"monitor": "accuracy"}
    path = write(checkpoint("1.4.0", callbacks={CLASSES[MODEL_CHECKPOINT]: state}), tmp_path / "a.pt")
    saver = ModelCheckpoint(tmp_path, monitor="loss")
    fit(path, WithMetric(), tmp_path, saver)
    assert saver.best_model_score is not None
    assert saver.best_model_score.item() == pytest.approx(0.7)


@pytest.mark.parametrize("end", ["True", "False", "None"])
def test_state_keys_of_1_5_to_1_8(end: str) -> None:
    key = ModelCheckpoint(monitor="loss").state_key
    old = key.removesuffix("}") + f", 'save_on_train_epoch_end': {end}}}"
    for version in ("1.5.0", "1.8.6"):
        content = checkpoint(version, callbacks={old: {"best_model_path": ""}, "Mine": {"a": 1}})
        assert set(migrate(content, "a.ckpt")["callbacks"]) == {key, "Mine"}


# ----------------------------------------------------------------------------------------------- loss scaling

SCALER = {
    "scale": 1024.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000,
    "_growth_tracker": 7,
}  # fmt: skip


@pytest.mark.parametrize(
    ("version", "key", "state"),
    [
        ("1.0.0", "native_amp_scaling_state", SCALER),
        ("1.5.0", "native_amp_scaling_state", SCALER),
        ("1.6.0", "NativeMixedPrecisionPlugin", SCALER),
        ("1.9.0", "MixedPrecisionPlugin", SCALER),
        ("2.1.0", "MixedPrecisionPlugin", SCALER),
        ("2.2.0", "MixedPrecision", SCALER),
        ("1.0.0", "amp_scaling_state", {"loss_scaler0": {"loss_scale": 1024.0, "unskipped": 7}}),
    ],
)
def test_loss_scaling_goes_on(
    version: str, key: str, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, Any]] = []
    monkeypatch.setattr(MixedPrecision, "load_state_dict", lambda self, state: taken.append(state))
    content = checkpoint(version, **{key: state})
    if version >= "1.6":
        place = Progress(epoch=1, total_batch=2, optimizer_step=2, window=2)
        content["loops"] = from_progress(place, automatic=True)
    fit(write(content, tmp_path / "a.ckpt"), Net(), tmp_path, precision="bf16-mixed")
    assert taken == [SCALER]


# ----------------------------------------------------------------------------------------- several optimizers


class Two(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = torch.nn.Linear(1, 1)
        self.steps: list[tuple[int, int, int]] = []

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if optimizer_idx == 0:
            self.steps.append((self.current_epoch, batch_idx, self.global_step))
        return (self.other if optimizer_idx else self.layer)(batch[0]).sum()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.layer, self.other)]


@pytest.mark.parametrize(("version", "each"), [("1.9", 2), ("1.5", 1)])
def test_updates_are_counted_as_the_version_of_the_run_does(version: str, each: int, tmp_path: Path) -> None:
    """Files before 1.6 note one for each batch."""
    model = Two()
    state = model.configure_optimizers()[0].state_dict()
    content = checkpoint(
        "1.4.0", epoch=2, global_step=3, state_dict=model.state_dict(), optimizer_states=[state, state]
    )
    path = write(content, tmp_path / "a.ckpt")
    with pytest.warns(OldSpelling):
        trainer = fit(path, model, tmp_path, compat=version)
    assert model.steps == [(1, 1, 3 * each)]
    assert trainer.global_step == 4 * each


# ----------------------------------------------------------------------------------------- what is not for us


def test_a_file_of_ours_is_not_touched() -> None:
    content = checkpoint("1.0.0") | {OWN_KEY: {}, "hparams": {}}
    assert migrate(content, "a.ckpt") is content


def test_neither_is_one_that_needs_nothing() -> None:
    for content in (checkpoint("2.6.0"), {"state_dict": {}}, {}):
        assert migrate(content, "a.ckpt") is content


def test_what_is_given_stays_as_it_is() -> None:
    content = checkpoint("1.0.0", callbacks={CLASSES[MODEL_CHECKPOINT]: {"best_model_path": ""}}, loops={})
    before = dict(content), dict(content["callbacks"])
    migrate(content, "a.ckpt")
    assert (content, content["callbacks"]) == before


def test_it_knows_by_whom_it_was_written_afterwards() -> None:
    once = migrate(checkpoint("1.3.8"), "a.ckpt")
    assert once["legacy_pytorch-lightning_version"] == "1.3.8"
    assert migrate(once, "a.ckpt") == once


def test_the_table_is_in_the_order_of_versions() -> None:
    assert [before for before, _, _ in MIGRATIONS] == sorted(before for before, _, _ in MIGRATIONS)


def test_a_version_of_the_future_is_read_with_one_warning(tmp_path: Path) -> None:
    path = write(checkpoint("2.9.1", state_dict=WEIGHTS, hyper_parameters={"width": 2}), tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match=r"Lightning 2\.9, which is newer") as caught:
        models = [Net.load_from_checkpoint(path) for _ in range(2)]
    assert models[0].given == {"width": 2}
    assert len(caught) == 1


MISSHAPEN = {
    "callbacks": [1, "a", {1: 2}, {"ModelCheckpoint": {"best_model_path": 3}}],
    "loops": [1, {"fit_loop": 1}, {"fit_loop": {}, "test_loop": 3}],
    "amp_scaling_state": [1, "a", {"loss_scaler0": {}}],
    "early_stop_callback_state_dict": [1],
    "checkpoint_callback_best": [torch.ones(2)],
}


@pytest.mark.parametrize("part", MISSHAPEN)
@pytest.mark.parametrize("version", ["0.9.0", "1.3.0", "1.8.0"])
def test_parts_of_another_shape(part: str, version: str, tmp_path: Path) -> None:
    for content in MISSHAPEN[part]:
        path = write(checkpoint(version, state_dict=WEIGHTS, **{part: content}), tmp_path / "a.ckpt")
        with suppress(CheckpointError):
            Net.load_from_checkpoint(path, width=2)


@pytest.mark.parametrize(("epoch", "global_step"), [(10**15, 3), (1, 10**15), (10**15, 2 * 10**15), (0, 0)])
def test_numbers_that_cannot_be(epoch: int, global_step: int, tmp_path: Path) -> None:
    path = write(checkpoint("1.3.0", epoch=epoch, global_step=global_step), tmp_path / "a.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(path, Net(), tmp_path)


@pytest.mark.parametrize("wrong", [{"epoch": "1"}, {"epoch": None}, {"global_step": -1}, {"global_step": []}])
def test_a_place_that_is_no_number(wrong: dict[str, Any], tmp_path: Path) -> None:
    path = write(checkpoint("1.3.0", **wrong), tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt"):
        fit(path, Net(), tmp_path)


# ----------------------------------------------------------------------------------------------------- safety


class Calls:
    """Pickled as a call of any function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: Path) -> dict[str, Any]:
    """What would leave the file `mark` behind if it were called."""
    program = f"open({str(mark)!r}, 'w')"
    false = Namespace()
    vars(false)["__class__"] = Calls(eval, program)
    return {
        "os.system": Calls(os.system, f"touch {mark}"),
        "eval": Calls(eval, program),
        "in a partial": Calls(functools.partial, Calls(eval, program)),
        "in another": Calls(eval, Calls(eval, program)),
        "in a method": Calls(getattr, Calls(eval, program), "write"),
        "in a class of old": CLASSES[ATTRIBUTE_DICT](a=Calls(eval, program)),
        "in a namespace": Namespace(a=[Namespace(b=Calls(eval, program))]),
        "as a class": false,
    }


zipped_or_not = pytest.mark.parametrize("zipped", [True, False])
every_attack = pytest.mark.parametrize("name", list(attacks(Path())))


@zipped_or_not
@every_attack
@pytest.mark.parametrize("part", ["callbacks", "hyper_parameters", "hparams", "optimizer_states"])
def test_what_an_old_file_calls_is_refused(name: str, part: str, zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    content = checkpoint("0.8.0", state_dict=WEIGHTS)
    content[part] = {"width": 2, "config": attacks(mark)[name]}
    path = write(content, tmp_path / "a.ckpt", zipped=zipped)
    refused = pytest.raises(CheckpointError)
    if name == "as a class" and part.startswith("h"):
        refused = nullcontext()  # such attributes are left out
    with refused:
        Net.load_from_checkpoint(path)
    assert not mark.exists()


@zipped_or_not
@every_attack
@pytest.mark.parametrize("part", ["lr_schedulers", "a key"])
def test_nor_is_it_where_it_is_left_out(name: str, part: str, zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    bad = attacks(mark)[name]
    content = checkpoint("1.0.0", state_dict=WEIGHTS, lr_schedulers=[{"anneal_func": bad}])
    if part == "a key" and isinstance(bad, Calls):
        content["callbacks"] = {bad: {"a": 1}}
    with suppress(CheckpointError):
        Net.load_from_checkpoint(write(content, tmp_path / "a.ckpt", zipped=zipped), width=2)
    assert not mark.exists()


def test_an_object_of_a_user_among_hyperparameters_is_named(tmp_path: Path) -> None:
    given = {"width": 2, "args": Namespace(mine=CLASSES[USERS]())}
    path = write(checkpoint("1.2.0", state_dict=WEIGHTS, hyper_parameters=given), tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=USERS):
        Net.load_from_checkpoint(path)
    assert NetOfArgs.load_from_checkpoint(path, args=None).given == {"width": 2}


class NetOfArgs(Net):
    def __init__(self, width: int, args: Any) -> None:
        super().__init__(width)
