"""Metrics of texts and of language models, as functions."""

from fulmen.metrics.text.bleu import bleu_score, sacre_bleu_score
from fulmen.metrics.text.error_rate import char_error_rate, word_error_rate
from fulmen.metrics.text.perplexity import perplexity
from fulmen.metrics.text.rouge import rouge_score

__all__ = [
    "bleu_score",
    "char_error_rate",
    "perplexity",
    "rouge_score",
    "sacre_bleu_score",
    "word_error_rate",
]
