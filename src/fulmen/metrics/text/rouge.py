"""ROUGE: how much of a reference a summary repeats."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

from fulmen.base.extras import require
from fulmen.errors import ConfigError
from fulmen.metrics.arguments import check_among
from fulmen.metrics.metric import Metric
from fulmen.metrics.text.alignment import common_length, common_places
from fulmen.metrics.text.inputs import References, Texts, with_references

Triple = tuple[float, float, float]
"""F-measure, precision and recall."""

KEYS = (*(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum")
_DEFAULT_KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


def rouge_score(
    preds: Texts,
    target: References,
    accumulate: str = "best",
    use_stemmer: bool = False,
    normalizer: Callable[[str], str] | None = None,
    tokenizer: Callable[[str], Sequence[str]] | None = None,
    rouge_keys: str | tuple[str, ...] = _DEFAULT_KEYS,
) -> dict[str, Tensor]:
    """F-measure, precision and recall of each kind of ROUGE; see `ROUGEScore`."""
    scoring = _Scoring(_tupled(rouge_keys), accumulate, use_stemmer, normalizer, tokenizer)
    sums, count = scoring.sums(preds, target)
    means = torch.tensor(sums, dtype=torch.float64) / count
    return scoring.named(means.to(torch.get_default_dtype()))


class ROUGEScore(Metric):
    """Mean F-measure, precision and recall of what summaries share with references, each from 0 to 1.

    C.-Y. Lin, ACL 2004, as the package rouge_score has it. `rouge1` to `rouge9` count n-grams; `rougeL` is
    the longest common subsequence; `rougeLsum` the union of those of each sentence of a reference with all of
    the summary. Sentences are lines: where yours are not, join them, `"\\n".join(nltk.sent_tokenize(text))`,
    which torchmetrics does by itself. `compute` gives a dict of `<key>_fmeasure`, `<key>_precision` and
    `<key>_recall`; NaN where no text came.

    Args:
        use_stemmer: cut words of more than 3 letters down to their stem (Porter; needs nltk).
        normalizer: what a text goes through first; by default lower case, blanks for all but a-z and 0-9.
        tokenizer: cuts a text into words; by default at blanks.
        accumulate: of several references, "best", for each key the one with the highest F-measure; or "avg",
            their mean.
        rouge_keys: which of them to compute.
    """

    is_differentiable = False
    higher_is_better = True

    def __init__(
        self,
        use_stemmer: bool = False,
        normalizer: Callable[[str], str] | None = None,
        tokenizer: Callable[[str], Sequence[str]] | None = None,
        accumulate: str = "best",
        rouge_keys: str | tuple[str, ...] = _DEFAULT_KEYS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rouge_keys = _tupled(rouge_keys)
        self._scoring = _Scoring(self.rouge_keys, accumulate, use_stemmer, normalizer, tokenizer)
        sums = torch.zeros(len(self.rouge_keys), 3, dtype=torch.float64)
        self.add_state("sums", sums, dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, preds: Texts, target: References) -> None:
        """Add texts, one or a list, and for each the references: one or a list."""
        sums, count = self._scoring.sums(preds, target)
        self.sums = self.sums + torch.tensor(sums, dtype=self.sums.dtype, device=self.device)
        self.count = self.count + count

    def compute(self) -> dict[str, Tensor]:
        """The means over all texts."""
        return self._scoring.named((self.sums / self.count).to(self.dtype))


@dataclass(frozen=True)
class _Scoring:
    """What is computed of each text, and how."""

    keys: tuple[str, ...]
    accumulate: str
    use_stemmer: bool
    normalizer: Callable[[str], str] | None
    tokenizer: Callable[[str], Sequence[str]] | None

    def __post_init__(self) -> None:
        if unknown := [key for key in self.keys if key not in KEYS]:
            raise ConfigError(
                "There is no such ROUGE.", received=f"rouge_keys={unknown}", expected=f"of {', '.join(KEYS)}"
            )
        check_among("accumulate", self.accumulate, ("best", "avg"))
        if self.use_stemmer:
            _stemmer()  # one that is not installed is an error here

    def named(self, means: Tensor) -> dict[str, Tensor]:
        names = [f"{key}_{part}" for key in self.keys for part in ("fmeasure", "precision", "recall")]
        return dict(zip(names, means.flatten().unbind(), strict=True))

    def sums(self, preds: Texts, target: References) -> tuple[list[list[float]], int]:
        """The scores by key, summed over texts, and how many texts there are."""
        sums = [[0.0, 0.0, 0.0] for _ in self.keys]
        pairs = with_references(preds, target)
        for text, references in pairs:
            said, wanted = _Text(text, self), [_Text(reference, self) for reference in references]
            for total, key in zip(sums, self.keys, strict=True):
                scores = [_score(key, said, reference) for reference in wanted]
                for place, value in enumerate(self._one_of(scores)):
                    total[place] += value
        return sums, len(pairs)

    def _one_of(self, scores: list[Triple]) -> Sequence[float]:
        if self.accumulate == "best":
            return max(scores, key=lambda score: score[0])
        return [sum(parts) / len(scores) for parts in zip(*scores, strict=True)]

    def words(self, text: str) -> list[str]:
        text = self.normalizer(text) if self.normalizer else re.sub(r"[^a-z0-9]+", " ", text.lower())
        words = self.tokenizer(text) if self.tokenizer else text.split()
        if self.use_stemmer:
            stem = _stemmer().stem
            words = [stem(word) if len(word) > 3 else word for word in words]
        return [word for word in words if word]


class _Text:
    """A text, cut when it is needed."""

    def __init__(self, text: str, scoring: _Scoring) -> None:
        self._text = text
        self._cut = scoring.words

    @cached_property
    def words(self) -> list[str]:
        return self._cut(self._text)

    @cached_property
    def lines(self) -> list[list[str]]:
        return [self._cut(line) for line in self._text.split("\n")]


def _score(key: str, said: _Text, wanted: _Text) -> Triple:
    if key == "rougeLsum":
        sizes = sum(map(len, said.lines)), sum(map(len, wanted.lines))
        return _triple(_common_in_lines(said.lines, wanted.lines), *sizes)
    if key == "rougeL":
        return _triple(common_length(said.words, wanted.words), len(said.words), len(wanted.words))
    n = int(key.removeprefix("rouge"))
    of_said, of_wanted = _n_grams(said.words, n), _n_grams(wanted.words, n)
    return _triple((of_said & of_wanted).total(), of_said.total(), of_wanted.total())


def _triple(common: int, said: int, wanted: int) -> Triple:
    return (2 * common / (said + wanted), common / said, common / wanted) if common else (0.0, 0.0, 0.0)


def _n_grams(words: list[str], n: int) -> Counter[Any]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def _common_in_lines(said: list[list[str]], wanted: list[list[str]]) -> int:
    """Words of the union of common subsequences, each counted as often as both texts have it."""
    union = Counter(
        line[place] for line in wanted for place in set[int]().union(*(common_places(line, s) for s in said))
    )
    return (union & Counter(word for line in said for word in line)).total()


def _tupled(keys: str | Sequence[str]) -> tuple[str, ...]:
    return (keys,) if isinstance(keys, str) else tuple(keys)


@cache
def _stemmer() -> Any:
    return require("nltk.stem.porter", extra="text").PorterStemmer()
