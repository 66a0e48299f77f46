"""The Trainer's arguments are frozen: one that is added, lost or has another default is a decision."""

from __future__ import annotations

import inspect

import fulmen as pl

ARGUMENTS = {
    "accelerator": "auto",
    "strategy": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "precision": None,
    "logger": None,
    "callbacks": None,
    "fast_dev_run": False,
    "max_epochs": None,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "limit_test_batches": None,
    "limit_predict_batches": None,
    "overfit_batches": 0.0,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": None,
    "log_every_n_steps": None,
    "enable_checkpointing": None,
    "enable_progress_bar": None,
    "enable_model_summary": None,
    "enable_autolog_hparams": True,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
    "gradient_clip_algorithm": None,
    "deterministic": None,
    "benchmark": None,
    "inference_mode": True,
    "use_distributed_sampler": True,
    "profiler": None,
    "detect_anomaly": False,
    "barebones": False,
    "plugins": None,
    "sync_batchnorm": False,
    "reload_dataloaders_every_n_epochs": 0,
    "default_root_dir": None,
    "model_registry": None,
}
OWN_ARGUMENTS = {"exact_data": True}


def test_arguments_and_defaults_are_frozen() -> None:
    parameters = [*inspect.signature(pl.Trainer).parameters.values()]
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]

    assert {parameter.name: parameter.default for parameter in named} == ARGUMENTS | OWN_ARGUMENTS
    assert len(ARGUMENTS) == 41
    assert {parameter.kind for parameter in named} == {inspect.Parameter.KEYWORD_ONLY}


def test_a_false_default_is_not_a_zero() -> None:
    parameters = inspect.signature(pl.Trainer).parameters
    assert {name: type(parameters[name].default) for name in ARGUMENTS} == {
        name: type(default) for name, default in ARGUMENTS.items()
    }
