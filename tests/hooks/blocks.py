"""The runs of hook calls that the expected lists are made of."""

from __future__ import annotations

from collections.abc import Sequence


def flat(*parts: str | Sequence[str]) -> list[str]:
    """One list of calls; `CM.hook` stands for the callback's hook and then the module's."""
    calls: list[str] = []
    for part in parts:
        for call in [part] if isinstance(part, str) else part:
            if call.startswith("CM."):
                calls += [f"C.{call[3:]}", f"M.{call[3:]}"]
            else:
                calls.append(call)
    return calls


def insert_after(call: str, inserted: Sequence[str], calls: Sequence[str]) -> list[str]:
    """`calls` with `inserted` right after the one `call`."""
    position = list(calls).index(call) + 1
    return [*calls[:position], *inserted, *calls[position:]]


def prepare(stage: str) -> list[str]:
    """Everything before the checkpoint is read, the optimizers are made and the loaders are asked for."""
    return flat(
        "M.configure_callbacks",
        "D.prepare_data",
        "M.prepare_data",
        f"D.setup {stage}",
        f"CM.setup {stage}",
        "M.configure_model",
    )


def teardown(stage: str) -> list[str]:
    """The last calls of every run."""
    return flat(f"D.teardown {stage}", f"CM.teardown {stage}")


TRANSFER = ["M.on_before_batch_transfer", "M.transfer_batch_to_device", "M.on_after_batch_transfer"]
ZERO_GRAD = flat("CM.on_before_zero_grad", "M.optimizer_zero_grad")
BACKWARD = flat("CM.on_before_backward", "M.backward", "CM.on_after_backward")
UPDATE = flat("CM.on_before_optimizer_step", "M.configure_gradient_clipping", "M.clip_gradients")

BATCH_START = flat(TRANSFER, "CM.on_train_batch_start")
BATCH_END = flat("CM.on_train_batch_end")
STEP = flat(BATCH_START, "M.optimizer_step", "M.training_step", ZERO_GRAD, BACKWARD, UPDATE)
BATCH = flat(STEP, BATCH_END)
LAST_BATCH = flat(STEP, "M.lr_scheduler_step", BATCH_END)

EVALUATED_BATCH = flat(
    TRANSFER, "CM.on_validation_batch_start", "M.validation_step", "CM.on_validation_batch_end"
)


def evaluated(n_batches: int) -> list[str]:
    """A validation, as it runs alone and in the sanity check."""
    return flat(
        "M.on_validation_model_eval",
        "CM.on_validation_start",
        "CM.on_validation_epoch_start",
        EVALUATED_BATCH * n_batches,
        "CM.on_validation_epoch_end",
        "CM.on_validation_end",
        "M.on_validation_model_train",
    )


VALIDATION = flat("M.on_validation_model_zero_grad", evaluated(1))

FIT_START = flat(prepare("fit"), "M.configure_optimizers", "CM.on_fit_start")
TRAIN_START = flat(FIT_START, "D.train_dataloader", "D.val_dataloader", "CM.on_train_start")
TRAIN_END = flat("CM.on_train_end", "CM.on_fit_end", teardown("fit"))

SAVE = flat("C.state_dict", "D.state_dict", "CM.on_save_checkpoint")
LOAD = ["M.on_load_checkpoint", "D.load_state_dict", "C.on_load_checkpoint", "C.load_state_dict"]
RESTORED_FIT_START = flat(prepare("fit"), LOAD, "M.configure_optimizers", "CM.on_fit_start")
