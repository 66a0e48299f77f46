"""BLEU: which short sequences of words a translation shares with references."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_at_least
from fulmen.metrics.metric import Metric
from fulmen.metrics.text.inputs import References, Texts, with_references
from fulmen.metrics.text.tokenisers import Tokeniser, tokeniser


def bleu_score(
    preds: Texts,
    target: References,
    n_gram: int = 4,
    smooth: bool = False,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """BLEU of texts whose words are separated by blanks; see `BLEUScore`."""
    checked = _checked_weights(n_gram, weights)
    matches, totals, lengths = map(torch.tensor, _counts(preds, target, n_gram, str.split))
    return _bleu(matches, totals, lengths, smooth, checked, torch.get_default_dtype())


def sacre_bleu_score(
    preds: Texts,
    target: References,
    n_gram: int = 4,
    smooth: bool = False,
    tokenize: str = "13a",
    lowercase: bool = False,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """BLEU with the words of sacrebleu; see `SacreBLEUScore`."""
    checked = _checked_weights(n_gram, weights)
    split = partial(_split, tokenize=tokenize, lowercase=lowercase)
    matches, totals, lengths = map(torch.tensor, _counts(preds, target, n_gram, split))
    return _bleu(matches, totals, lengths, smooth, checked, torch.get_default_dtype())


class _BLEU(Metric):
    """Base of BLEU: keeps how many n-grams there are and how many are right, and the lengths of texts."""

    is_differentiable = False
    higher_is_better = True

    def __init__(
        self, n_gram: int = 4, smooth: bool = False, weights: Sequence[float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_gram = n_gram
        self.smooth = smooth
        self.weights = _checked_weights(n_gram, weights)
        self.add_state("matches", torch.zeros(n_gram, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("totals", torch.zeros(n_gram, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("lengths", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")

    @abstractmethod
    def _words(self, text: str) -> list[str]:
        """The words of a text."""

    def update(self, preds: Texts, target: References) -> None:
        """Add texts, one or a list, and for each the references: one or a list."""
        matches, totals, lengths = _counts(preds, target, self.n_gram, self._words)
        self.matches = self.matches + torch.tensor(matches, device=self.device)
        self.totals = self.totals + torch.tensor(totals, device=self.device)
        self.lengths = self.lengths + torch.tensor(lengths, device=self.device)

    def compute(self) -> Tensor:
        """The score of all texts as one."""
        return _bleu(self.matches, self.totals, self.lengths, self.smooth, self.weights, self.dtype)


class BLEUScore(_BLEU):
    """BLEU of a corpus: brevity penalty times the weighted geometric mean of n-gram precisions, from 0 to 1.

    K. Papineni et al., ACL 2002. Words are separated by blanks. Of several references, the one nearest in
    length counts for the penalty; of two as near the shorter one, as in sacrebleu and nltk (torchmetrics: the
    first). The score is 0 where an order that has weight has no match, unless `smooth`.

    Args:
        smooth: add 1 to matches and totals of the orders above the first (C.-Y. Lin and F. J. Och, ACL 2004):
            what sacrebleu calls "add-k". As there, and not in torchmetrics, also where there is no match.
        weights: one for each order; by default equal, with sum 1.
    """

    def _words(self, text: str) -> list[str]:
        return text.split()


class SacreBLEUScore(_BLEU):
    """BLEU with the words that sacrebleu finds in plain texts, so that scores can be compared; from 0 to 1.

    What `BLEUScore` says holds here; a hundred times it is sacrebleu's with `smooth_method="none"`.

    Args:
        tokenize: "13a" (that of WMT), "intl", "zh", "char" or "none"; through the package sacrebleu, which
            needs dictionaries or models for them, "ja-mecab", "ko-mecab", "flores101" and "flores200".
        lowercase: whether case does not count.
    """

    def __init__(
        self,
        n_gram: int = 4,
        smooth: bool = False,
        tokenize: str = "13a",
        lowercase: bool = False,
        weights: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(n_gram, smooth, weights, **kwargs)
        tokeniser(tokenize)  # an unknown one, or one that is not installed, is an error here
        self.tokenize = tokenize
        self.lowercase = lowercase

    def _words(self, text: str) -> list[str]:
        return _split(text, self.tokenize, self.lowercase)


def _split(text: str, tokenize: str, lowercase: bool) -> list[str]:
    return tokeniser(tokenize)(text.lower() if lowercase else text)


def _checked_weights(n_gram: int, weights: Sequence[float] | None) -> list[float]:
    check_at_least("n_gram", n_gram, 1)
    if weights is not None and len(weights) != n_gram:
        raise ConfigError(
            "There must be a weight for each order of n-grams.",
            received=f"{len(weights)} weights, n_gram={n_gram}",
            expected=f"{n_gram} weights",
        )
    return [1 / n_gram] * n_gram if weights is None else list(weights)


def _counts(
    preds: Texts, target: References, n_gram: int, split: Tokeniser
) -> tuple[list[int], list[int], list[int]]:
    """By order, the n-grams that a reference has too and all of them; the lengths of texts and references."""
    matches, totals, lengths = [0] * n_gram, [0] * n_gram, [0, 0]
    for text, references in with_references(preds, target):
        words = split(text)
        wanted = [split(reference) for reference in references]
        lengths[0] += len(words)
        lengths[1] += min((abs(len(other) - len(words)), len(other)) for other in wanted)[1]
        for order in range(min(n_gram, len(words))):
            allowed = _n_grams(wanted[0], order + 1)
            for other in wanted[1:]:
                allowed |= _n_grams(other, order + 1)
            counted = _n_grams(words, order + 1)
            matches[order] += sum(
                min(count, allowed[gram]) for gram, count in counted.items() if gram in allowed
            )
            totals[order] += len(words) - order
    return matches, totals, lengths


def _n_grams(words: list[str], n: int) -> Counter[Any]:
    return Counter(words if n == 1 else zip(*(words[start:] for start in range(n)), strict=False))


def _bleu(
    matches: Tensor, totals: Tensor, lengths: Tensor, smooth: bool, weights: list[float], dtype: torch.dtype
) -> Tensor:
    if smooth:
        above_first = (torch.arange(len(weights), device=matches.device) > 0).long()
        matches, totals = matches + above_first, totals + above_first
    precisions = matches.to(dtype) / totals.clamp(min=1)
    length, wanted = lengths.to(dtype)
    penalty = (1 - wanted / length.clamp(min=1)).clamp(max=0).exp()
    # An order without weight does not count, whatever its precision.
    return penalty * torch.special.xlogy(precisions.new_tensor(weights), precisions).sum().exp()
