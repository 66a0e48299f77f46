"""Parts of a run that are neither science nor engine."""

from fulmen.callbacks.batch_size_finder import BatchSizeFinder
from fulmen.callbacks.checkpoint import Checkpoint
from fulmen.callbacks.device_stats_monitor import DeviceStatsMonitor
from fulmen.callbacks.early_stopping import EarlyStopping
from fulmen.callbacks.finetuning import BackboneFinetuning, BaseFinetuning
from fulmen.callbacks.gradient_accumulation_scheduler import GradientAccumulationScheduler
from fulmen.callbacks.lambda_function import LambdaCallback
from fulmen.callbacks.lr_finder import LearningRateFinder
from fulmen.callbacks.lr_monitor import LearningRateMonitor
from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.callbacks.model_summary import ModelSummary
from fulmen.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from fulmen.callbacks.prediction_writer import BasePredictionWriter
from fulmen.callbacks.progress import (
    PlainProgressBar,
    ProgressBar,
    RichProgressBar,
    RichProgressBarTheme,
    TQDMProgressBar,
)
from fulmen.callbacks.pruning import ModelPruning
from fulmen.callbacks.rich_model_summary import RichModelSummary
from fulmen.callbacks.stochastic_weight_averaging import StochasticWeightAveraging
from fulmen.callbacks.timer import Timer
from fulmen.callbacks.weight_averaging import EMAWeightAveraging, WeightAveraging
from fulmen.core.callback import Callback

__all__ = [
    "BackboneFinetuning",
    "BaseFinetuning",
    "BasePredictionWriter",
    "BatchSizeFinder",
    "Callback",
    "Checkpoint",
    "DeviceStatsMonitor",
    "EMAWeightAveraging",
    "EarlyStopping",
    "GradientAccumulationScheduler",
    "LambdaCallback",
    "LearningRateFinder",
    "LearningRateMonitor",
    "ModelCheckpoint",
    "ModelPruning",
    "ModelSummary",
    "OnExceptionCheckpoint",
    "PlainProgressBar",
    "ProgressBar",
    "RichModelSummary",
    "RichProgressBar",
    "RichProgressBarTheme",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "Timer",
    "WeightAveraging",
]
