"""Texts and language models: references of sacrebleu, nltk, rouge_score and jiwer."""

from __future__ import annotations

from functools import partial
from typing import Any

import jiwer
import numpy as np
import torch
from nltk.translate.bleu_score import corpus_bleu
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import BLEU
from torch import Generator, Tensor

from fulmen.metrics.functional.text import (
    bleu_score,
    char_error_rate,
    perplexity,
    rouge_score,
    sacre_bleu_score,
    word_error_rate,
)
from fulmen.metrics.text import (
    BLEUScore,
    CharErrorRate,
    Perplexity,
    ROUGEScore,
    SacreBLEUScore,
    WordErrorRate,
)

from .case import Batch, Case

SIZES = (4, 1, 3)
TEXT = (
    "the quick fox, jumping over U.S. dogs ran 1,000 times; don't (ever) say “so” &amp; pay €3.50 — 中文。 "
    "Größe\nrunning mat cat was on a wall"
)
WORDS = TEXT.split(" ")


def drawn(generator: Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=generator))


def sentence(generator: Generator) -> list[str]:
    return [WORDS[drawn(generator, 0, len(WORDS))] for _ in range(drawn(generator, 8, 20))]


def varied(words: list[str], generator: Generator) -> list[str]:
    """The words with one of them replaced, one said again, and perhaps one left out."""
    words = list(words)
    words[drawn(generator, 0, len(words))] = WORDS[drawn(generator, 0, len(WORDS))]
    words.insert(0, words[drawn(generator, 0, len(words))])
    return words[: len(words) - drawn(generator, 0, 2)]


def pairs(generator: Generator) -> list[Batch]:
    """Texts, and what was wanted."""
    batches: list[Batch] = []
    for size in SIZES:
        wanted = [sentence(generator) for _ in range(size)]
        preds = [" ".join(varied(words, generator)) for words in wanted]
        batches.append((preds, [" ".join(words) for words in wanted]))
    return batches


def in_one_line(texts: list[str]) -> list[str]:
    """For jiwer, which separates words by blanks only."""
    return [text.replace("\n", " ") for text in texts]


def with_references(generator: Generator) -> list[Batch]:
    """Texts, and two references of each."""
    return [
        (preds, [[text, " ".join(varied(text.split(" "), generator))] for text in target])
        for preds, target in pairs(generator)
    ]


def sacrebleu(preds: list[str], target: list[list[str]], smooth: bool = False, **options: Any) -> float:
    """Of sacrebleu, whose references are listed the other way round."""
    smoothing: dict[str, Any] = {"smooth_method": "none"}
    if smooth:
        smoothing = {"smooth_method": "add-k", "smooth_value": 1}
    columns = [list(column) for column in zip(*target, strict=True)]
    return BLEU(**smoothing, **options).corpus_score(preds, columns).score / 100


def nltk_bleu(preds: list[str], target: list[list[str]], weights: tuple[float, ...]) -> Any:
    references = [[text.split() for text in texts] for texts in target]
    return corpus_bleu(references, [text.split() for text in preds], weights)


def rouge(
    preds: list[str], target: list[list[str]], keys: tuple[str, ...], *, best: bool = True, stem: bool = False
) -> dict[str, float]:
    """Of rouge_score; the mean over references by hand, which it does not have."""
    scorer = RougeScorer(list(keys), use_stemmer=stem)
    values: dict[str, float] = {}
    for key in keys:
        scores = [
            [scorer.score_multi(texts, text)[key]] if best else [scorer.score(t, text)[key] for t in texts]
            for text, texts in zip(preds, target, strict=True)
        ]
        for part in ("fmeasure", "precision", "recall"):
            of_texts = [np.mean([getattr(score, part) for score in of_text]) for of_text in scores]
            values[f"{key}_{part}"] = float(np.mean(of_texts))
    return values


def logits(generator: Generator) -> list[Batch]:
    """Logits and tokens; half of them numbered 3 or less."""
    return [
        (
            torch.randn(size, 5, 7, generator=generator),
            torch.randint(0, drawn(generator, 4, 8), (size, 5), generator=generator),
        )
        for size in SIZES
    ]


def perplexity_of(preds: Tensor, target: Tensor, ignore_index: int | None = None) -> float:
    """The formula written out."""
    numbers = preds.double().numpy()
    chances = np.exp(numbers) / np.exp(numbers).sum(-1, keepdims=True)
    chosen = np.take_along_axis(chances, target.numpy()[..., None], -1)[..., 0]
    return float(np.exp(-np.log(chosen[target.numpy() != ignore_index]).mean()))


FUNCTIONS: dict[Any, Any] = {
    BLEUScore: bleu_score,
    CharErrorRate: char_error_rate,
    Perplexity: perplexity,
    ROUGEScore: rouge_score,
    SacreBLEUScore: sacre_bleu_score,
    WordErrorRate: word_error_rate,
}


def _case(name: str, kind: Any, reference: Any, batches: Any = with_references, **options: Any) -> Case:
    return Case(
        f"{kind.__name__}, {name}" if name else kind.__name__,
        partial(kind, **options),
        batches,
        reference,
        partial(FUNCTIONS[kind], **options),
        half=kind is Perplexity,
        reads_values=kind is not Perplexity,
    )


KEYS = ("rouge1", "rouge2", "rouge5", "rougeL", "rougeLsum")
CASES = [
    _case("", WordErrorRate, lambda preds, target: jiwer.wer(in_one_line(target), in_one_line(preds)), pairs),
    _case("", CharErrorRate, lambda preds, target: jiwer.cer(target, preds), pairs),
    _case("", BLEUScore, partial(nltk_bleu, weights=(0.25,) * 4)),
    _case(
        "weighted", BLEUScore, partial(nltk_bleu, weights=(0.5, 0.3, 0.2)), n_gram=3, weights=[0.5, 0.3, 0.2]
    ),
    _case("smooth", BLEUScore, partial(sacrebleu, smooth=True, tokenize="none"), smooth=True),
    *(
        _case(tokenize, SacreBLEUScore, partial(sacrebleu, tokenize=tokenize), tokenize=tokenize)
        for tokenize in ("none", "13a", "zh", "intl", "char")
    ),
    _case(
        "lower case, of 2 words, smooth",
        SacreBLEUScore,
        partial(sacrebleu, lowercase=True, smooth=True, max_ngram_order=2),
        lowercase=True,
        smooth=True,
        n_gram=2,
    ),
    _case("best", ROUGEScore, partial(rouge, keys=KEYS), rouge_keys=KEYS),
    _case("mean", ROUGEScore, partial(rouge, keys=KEYS, best=False), rouge_keys=KEYS, accumulate="avg"),
    _case("stems", ROUGEScore, partial(rouge, keys=KEYS, stem=True), rouge_keys=KEYS, use_stemmer=True),
    _case("", Perplexity, perplexity_of, logits),
    _case("without a token", Perplexity, partial(perplexity_of, ignore_index=2), logits, ignore_index=2),
]
