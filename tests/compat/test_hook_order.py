"""The order of hooks of old versions, written down by hand from what those versions did."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fulmen as pl
from fulmen.compat import OldSpelling

pytestmark = pytest.mark.filterwarnings("ignore::fulmen.compat.OldSpelling")


def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


M_1_0 = words(
    """
    on_fit_start on_fit_end on_pretrain_routine_start on_pretrain_routine_end on_train_start on_train_end
    on_epoch_start on_epoch_end on_train_epoch_start on_train_epoch_end on_train_batch_start
    on_train_batch_end on_validation_epoch_start on_validation_epoch_end on_validation_batch_start
    on_validation_batch_end on_test_epoch_start on_test_epoch_end on_test_batch_start on_test_batch_end
    on_validation_model_eval on_validation_model_train on_test_model_eval on_test_model_train
    on_before_zero_grad on_after_backward training_epoch_end validation_epoch_end test_epoch_end setup
    teardown prepare_data on_save_checkpoint on_load_checkpoint
    """
)
C_1_0 = words(
    """
    setup teardown on_init_start on_init_end on_fit_start on_fit_end on_sanity_check_start
    on_sanity_check_end on_train_batch_start on_train_batch_end on_train_epoch_start on_train_epoch_end
    on_validation_epoch_start on_validation_epoch_end on_test_epoch_start on_test_epoch_end on_epoch_start
    on_epoch_end on_batch_start on_validation_batch_start on_validation_batch_end on_test_batch_start
    on_test_batch_end on_batch_end on_train_start on_train_end on_pretrain_routine_start
    on_pretrain_routine_end on_validation_start on_validation_end on_test_start on_test_end
    on_save_checkpoint
    """
)
SINCE_1_2 = words("on_validation_start on_validation_end on_test_start on_test_end")
BATCH = words("on_before_batch_transfer transfer_batch_to_device on_after_batch_transfer")

Log = list[str]


def record(log: Log, owner: str, name: str, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A method that notes its name."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        log.append(f"{owner}.{name}")
        return then(self, *args, **kwargs) if then is not None else None

    method.__name__ = name
    return method


def classes(log: Log, module_hooks: list[str], callback_hooks: list[str]) -> tuple[Any, Any, Any]:
    """Module, callback and datamodule that note every hook; losses and updates are real."""
    loader = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)

    def loss(self: Any, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"loss": self.layer(batch[0]).sum()}

    def value(self: Any, batch: Any, batch_idx: int) -> dict[str, Any]:
        return {"x": self.layer(batch[0]).sum()}

    def optimizer_step(self: Any, *args: Any, **kwargs: Any) -> None:
        log.append("M.optimizer_step")
        args[2].step(closure=next((a for a in args[3:] if callable(a)), kwargs.get("optimizer_closure")))

    def optimizers(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    module: dict[str, Any] = {name: record(log, "M", name) for name in module_hooks}
    for name in ("on_validation_model_eval", "on_test_model_eval"):
        module[name] = record(log, "M", name, lambda self: self.eval())
    for name in ("on_validation_model_train", "on_test_model_train"):
        module[name] = record(log, "M", name, lambda self: self.train())
    for name in BATCH:
        if name in module:
            module[name] = record(log, "M", name, lambda self, batch, *rest: batch)
    for name in ("training_step_end", "validation_step_end", "test_step_end"):
        module[name] = record(log, "M", name, lambda self, output: output)
    module |= {
        "configure_optimizers": record(log, "M", "configure_optimizers", optimizers),
        "optimizer_zero_grad": record(
            log, "M", "optimizer_zero_grad", lambda self, epoch, idx, optimizer, *rest: optimizer.zero_grad()
        ),
        "backward": record(log, "M", "backward", lambda self, loss, *rest: loss.backward()),
        "optimizer_step": optimizer_step,
    }

    def step(name: str, then: Callable[..., Any]) -> Callable[..., Any]:
        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            log.append(f"M.{name}")
            return then(self, batch, batch_idx)

        return training_step

    module |= {"training_step": step("training_step", loss)}
    module |= {f"{name}_step": step(f"{name}_step", value) for name in ("validation", "test")}

    def init(self: Any) -> None:
        pl.LightningModule.__init__(self)
        self.layer = torch.nn.Linear(2, 1)

    made = type("Recorded", (pl.LightningModule,), {"__init__": init, **module})()
    callback = type("Noting", (pl.Callback,), {name: record(log, "C", name) for name in callback_hooks})()
    data_hooks = {"prepare_data": None, "setup": None}
    data = type(
        "Data", (pl.LightningDataModule,),
        {
            **{name: record(log, "D", name) for name in data_hooks},
            **{f"{kind}_dataloader": record(log, "D", f"{kind}_dataloader", lambda self: loader)
               for kind in ("train", "val", "test")},
        },
    )()  # fmt: skip
    return made, callback, data


def expand(text: str) -> Log:
    """Names from a list in which `CM.x` stands for `C.x, M.x`."""
    names: Log = []
    for word in text.replace(",", " ").split():
        owner, _, name = word.partition(".")
        names += [f"{one}.{name}" for one in owner]
    return names


TRAIN_BATCH_1_0 = """
    C.on_batch_start CM.on_train_batch_start
    M.training_step M.training_step_end M.backward M.on_after_backward
    M.optimizer_step M.on_before_zero_grad M.optimizer_zero_grad
    C.on_batch_end CM.on_train_batch_end
"""
VALIDATION_BATCH = (
    "CM.on_validation_batch_start M.validation_step M.validation_step_end CM.on_validation_batch_end"
)

FIT_1_0 = expand(f"""
    C.on_init_start C.on_init_end
    D.prepare_data M.prepare_data
    DCM.setup
    M.configure_optimizers
    CM.on_fit_start
    CM.on_pretrain_routine_start CM.on_pretrain_routine_end
    D.val_dataloader C.on_sanity_check_start
      M.on_validation_model_eval C.on_validation_start CM.on_validation_epoch_start
      {VALIDATION_BATCH}
      M.validation_epoch_end CM.on_validation_epoch_end M.on_validation_model_train C.on_validation_end
    C.on_sanity_check_end
    D.train_dataloader
    CM.on_train_start
    CM.on_epoch_start CM.on_train_epoch_start
    {TRAIN_BATCH_1_0} {TRAIN_BATCH_1_0}
    M.on_validation_model_eval C.on_validation_start CM.on_validation_epoch_start
      {VALIDATION_BATCH} {VALIDATION_BATCH}
    M.validation_epoch_end CM.on_validation_epoch_end M.on_validation_model_train C.on_validation_end
    M.training_epoch_end
    CM.on_epoch_end CM.on_train_epoch_end
    CM.on_train_end
    CM.on_fit_end
    C.teardown M.teardown
""")

TEST_BATCH = "CM.on_test_batch_start M.test_step M.test_step_end CM.on_test_batch_end"
# 1.0 tore down twice, as `test` went through `fit`; that is not repeated here.
TEST_1_0 = expand(f"""
    C.on_init_start C.on_init_end
    D.prepare_data M.prepare_data
    DCM.setup
    D.test_dataloader M.on_test_model_eval
    CM.on_fit_start CM.on_pretrain_routine_start CM.on_pretrain_routine_end
    C.on_test_start CM.on_test_epoch_start
    {TEST_BATCH} {TEST_BATCH}
    M.test_epoch_end CM.on_test_epoch_end M.on_test_model_train C.on_test_end
    CM.on_fit_end
    C.teardown M.teardown
""")


def trainer(version: str, callback: Any, tmp_path: Any) -> pl.Trainer:
    options: dict[str, Any] = {"compat": version}
    return pl.Trainer(
        callbacks=[callback], max_epochs=1, num_sanity_val_steps=1, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, logger=False, default_root_dir=tmp_path,
        **options,
    )  # fmt: skip


def test_fit_of_1_0(tmp_path: Any) -> None:
    log: Log = []
    module, callback, data = classes(log, M_1_0, C_1_0)
    trainer("1.0", callback, tmp_path).fit(module, datamodule=data)
    assert log == FIT_1_0


def test_test_of_1_0(tmp_path: Any) -> None:
    log: Log = []
    module, callback, data = classes(log, M_1_0, C_1_0)
    trainer("1.0", callback, tmp_path).test(module, datamodule=data, verbose=False)
    assert log == TEST_1_0


M_1_9 = [
    *(name for name in M_1_0 if "pretrain" not in name and name not in ("on_epoch_start", "on_epoch_end")),
    *SINCE_1_2, *BATCH, "on_before_backward", "on_before_optimizer_step", "configure_sharded_model",
    "configure_callbacks",
]  # fmt: skip
C_1_9 = [
    *(name for name in C_1_0
      if not name.startswith(("on_pretrain", "on_init", "on_batch", "on_epoch"))),
    "on_after_backward", "on_before_zero_grad", "on_before_backward", "on_before_optimizer_step",
]  # fmt: skip
M_1_5 = [*M_1_9, "on_pretrain_routine_start", "on_pretrain_routine_end", "on_epoch_start", "on_epoch_end"]
C_1_5 = [
    *C_1_9, "on_pretrain_routine_start", "on_pretrain_routine_end", "on_epoch_start", "on_epoch_end",
    "on_batch_start", "on_batch_end", "on_init_start", "on_init_end", "on_before_accelerator_backend_setup",
    "on_configure_sharded_model",
]  # fmt: skip

TRANSFER = "M.on_before_batch_transfer M.transfer_batch_to_device M.on_after_batch_transfer"
UPDATE = """
    M.optimizer_step
    M.training_step M.training_step_end
    CM.on_before_zero_grad M.optimizer_zero_grad
    CM.on_before_backward M.backward CM.on_after_backward
    CM.on_before_optimizer_step
"""


def fit_since_1_5(*, with_epochs: bool) -> Log:
    """The lists of 1.5 and 1.9: the former still has the hooks that stand for any epoch and any batch."""
    start = "CM.on_epoch_start" if with_epochs else ""
    end = "CM.on_epoch_end" if with_epochs else ""
    batch_start = "C.on_batch_start" if with_epochs else ""
    batch_end = "C.on_batch_end" if with_epochs else ""
    validation_batch = f"{TRANSFER} {VALIDATION_BATCH}"

    def validation(batches: int) -> str:
        return f"""
            M.on_validation_model_eval CM.on_validation_start {start} CM.on_validation_epoch_start
            {" ".join([validation_batch] * batches)}
            M.validation_epoch_end CM.on_validation_epoch_end {end} CM.on_validation_end
            M.on_validation_model_train
        """

    batch = f"{TRANSFER} {batch_start} CM.on_train_batch_start {UPDATE} CM.on_train_batch_end {batch_end}"
    before = "C.on_init_start C.on_init_end" if with_epochs else ""
    sharded = "C.on_configure_sharded_model" if with_epochs else ""
    backend = "C.on_before_accelerator_backend_setup" if with_epochs else ""
    pretrain = "CM.on_pretrain_routine_start CM.on_pretrain_routine_end" if with_epochs else ""
    return expand(f"""
        {before}
        M.configure_callbacks
        D.prepare_data M.prepare_data
        {backend} DCM.setup {sharded} M.configure_sharded_model
        M.configure_optimizers
        CM.on_fit_start {pretrain}
        C.on_sanity_check_start
          D.val_dataloader {validation(1)}
        C.on_sanity_check_end
        D.train_dataloader
        CM.on_train_start
        {start} CM.on_train_epoch_start
        {batch} {batch}
        {validation(2)}
        M.training_epoch_end CM.on_train_epoch_end {end}
        CM.on_train_end
        CM.on_fit_end
        CM.teardown
    """)


@pytest.mark.parametrize("version", ["1.5", "1.9"])
def test_fit_since_1_5(tmp_path: Any, version: str) -> None:
    log: Log = []
    hooks = (M_1_5, C_1_5) if version == "1.5" else (M_1_9, C_1_9)
    module, callback, data = classes(log, *hooks)
    trainer(version, callback, tmp_path).fit(module, datamodule=data)
    assert log == fit_since_1_5(with_epochs=version == "1.5")


def test_each_old_hook_is_named_once(tmp_path: Any) -> None:
    class Old(pl.LightningModule):
        def on_pretrain_routine_start(self) -> None: ...

        def training_step(self, batch: Any, batch_idx: int) -> None: ...

        def configure_optimizers(self) -> None: ...

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            pl.Trainer(barebones=True, max_epochs=1).fit(Old(), DataLoader([1]))
    said = [str(warning.message) for warning in caught if warning.category is OldSpelling]
    assert said == ["`Old.on_pretrain_routine_start` is an old spelling. Now: on_fit_start"]
