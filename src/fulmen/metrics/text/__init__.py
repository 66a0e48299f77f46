"""Metrics of texts and of language models."""

from fulmen.metrics.text.bleu import BLEUScore, SacreBLEUScore
from fulmen.metrics.text.error_rate import CharErrorRate, WordErrorRate
from fulmen.metrics.text.perplexity import Perplexity
from fulmen.metrics.text.rouge import ROUGEScore

__all__ = ["BLEUScore", "CharErrorRate", "Perplexity", "ROUGEScore", "SacreBLEUScore", "WordErrorRate"]
