"""Finds a learning rate and a batch size by trying."""

from fulmen.tuner.lr_finder import LRFinder
from fulmen.tuner.tuner import Tuner

__all__ = ["LRFinder", "Tuner"]
