"""The score of translations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fulmen.compat.lightning.metrics.eras import SMOOTHED_WORDS
from fulmen.errors import ConfigError
from fulmen.metrics import BLEUScore


def bleu_score(
    translate_corpus: Sequence[Sequence[str]],
    reference_corpus: Sequence[Sequence[Sequence[str]]],
    n_gram: int = 4,
    smooth: bool = False,
) -> Tensor:
    """BLEU of translations, each a list of words; for each the references, of which the nearest in length
    counts, of several the first.
    """
    if len(translate_corpus) != len(reference_corpus):
        raise ConfigError(
            "There are references for each translation.",
            received=f"{len(translate_corpus)} translations, {len(reference_corpus)} lists of references",
        )
    numbers: Any = defaultdict(lambda: str(len(numbers)))  # words may have blanks in them
    texts = [_numbered(words, numbers) for words in translate_corpus]
    references = [[_numbered(words, numbers) for words in of_text] for of_text in reference_corpus]
    bleu = BLEUScore(n_gram)
    bleu.update(texts, references)
    bleu.lengths = torch.tensor(
        [sum(map(len, translate_corpus)), _wanted(translate_corpus, reference_corpus)]
    )
    if not smooth or int(bleu.matches.min()) == 0:
        return bleu.compute()
    added = torch.ones(n_gram, dtype=torch.int64)
    if not SMOOTHED_WORDS.is_undone():
        added[0] = 0
    bleu.matches, bleu.totals = bleu.matches + added, bleu.totals + added
    return bleu.compute()


def _numbered(words: Sequence[str], numbers: dict[str, str]) -> str:
    return " ".join(numbers[word] for word in words)


def _wanted(texts: Sequence[Any], references: Sequence[Any]) -> int:
    """The length of the references that are nearest in length."""
    return sum(
        min((len(words) for words in of_text), key=lambda length, text=text: abs(len(text) - length))
        for text, of_text in zip(texts, references, strict=True)
    )
