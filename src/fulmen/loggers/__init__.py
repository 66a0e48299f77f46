"""Where metrics and hyperparameters go."""

from fulmen.core.logger import DummyLogger, Logger
from fulmen.loggers.csv_logs import CSVLogger
from fulmen.loggers.tensorboard import TensorBoardLogger

__all__ = ["CSVLogger", "DummyLogger", "Logger", "TensorBoardLogger"]
