"""Scores of texts: degenerate ones, bad input, and where references disagree."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from torchmetrics.functional.text import bleu_score as torchmetrics_bleu
from torchmetrics.functional.text.rouge import rouge_score as torchmetrics_rouge

from fulmen.errors import ConfigError, MissingExtra, UsageError
from fulmen.metrics import MetricCollection
from fulmen.metrics.functional.text import (
    bleu_score,
    char_error_rate,
    rouge_score,
    sacre_bleu_score,
    word_error_rate,
)
from fulmen.metrics.text import (
    BLEUScore,
    CharErrorRate,
    ROUGEScore,
    SacreBLEUScore,
    WordErrorRate,
)

METRICS = [BLEUScore, CharErrorRate, ROUGEScore, SacreBLEUScore, WordErrorRate]
FUNCTIONS = [bleu_score, char_error_rate, rouge_score, sacre_bleu_score, word_error_rate]
CAT, MAT = "the cat is on the mat", "there is a cat on the mat"

# ------------------------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_text_may_stand_alone(function: Any) -> None:
    assert function(CAT, MAT) == function([CAT], [MAT]) == function((CAT,), (MAT,))


@pytest.mark.parametrize("function", [bleu_score, rouge_score, sacre_bleu_score])
def test_references_of_a_text_may_stand_alone(function: Any) -> None:
    assert function(CAT, [MAT, CAT]) == function([CAT], [[MAT, CAT]])
    assert function([CAT, MAT], [CAT, CAT]) == function([CAT, MAT], [[CAT], [CAT]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        (["a", "b"], ["a"], "received: 2 in preds, 1 in target"),
        ("a", [], "received: (1 in preds, 0 in target|target.0. = ..)"),
        ([b"a"], ["a"], "received: bytes in preds"),
        ([["a"]], ["a"], "received: list in preds"),
        (["a"], [3], "(?s)received: int in target.*expected: str"),
    ],
)
def test_what_cannot_be_compared_is_an_error(metric: Any, preds: Any, target: Any, message: str) -> None:
    metric = metric()
    with pytest.raises(UsageError, match=message):
        metric.update(preds, target)
    assert not metric.update_called


@pytest.mark.parametrize("metric", [BLEUScore, ROUGEScore, SacreBLEUScore])
def test_a_text_without_references_is_an_error(metric: Any) -> None:
    with pytest.raises(UsageError, match=r"target\[1\] = \[\]"):
        metric().update(["a", "b"], [["a"], []])


def test_one_collection_for_all() -> None:
    values = MetricCollection([kind() for kind in METRICS])([CAT], [MAT])
    assert values["WordErrorRate"] == word_error_rate(CAT, MAT)
    assert values["BLEUScore"] == bleu_score(CAT, MAT)
    assert values["rouge1_recall"] == rouge_score(CAT, MAT)["rouge1_recall"]


# -------------------------------------------------------------------------------------------- error rates


@pytest.mark.parametrize("function", [word_error_rate, char_error_rate])
@pytest.mark.parametrize(
    ("preds", "target", "expected"),
    [
        ([], [], math.nan),
        ("", "", math.nan),
        ("a", "", math.inf),
        ("", "a", 1),
        ("a", "a", 0),
        ("", ["a"], 1),
    ],
)
def test_degenerate_error_rates(function: Any, preds: Any, target: Any, expected: float) -> None:
    torch.testing.assert_close(function(preds, target), torch.tensor(float(expected)), equal_nan=True)


def test_error_rates_count_over_all_texts() -> None:
    assert word_error_rate(["a b", "c"], ["a b c", "d"]) == 2 / 4
    assert word_error_rate(" a\t b\n", "a b") == 0
    assert char_error_rate("a  b", "a b") == torch.tensor(1 / 3)


# ---------------------------------------------------------------------------------------------------- BLEU


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("text", ["", "nothing shared here at all", "the", "the cat", "the cat is mat"])
def test_bleu_without_matches_of_an_order(text: str, smooth: bool) -> None:
    method: Any = {"smooth_method": "add-k", "smooth_value": 1} if smooth else {"smooth_method": "none"}
    expected = BLEU(tokenize="none", **method).corpus_score([text], [[CAT]]).score / 100
    assert float(bleu_score(text, CAT, smooth=smooth)) == pytest.approx(expected, abs=1e-7)


def test_bleu_of_nothing_is_0() -> None:
    assert bleu_score([], []) == 0
    assert bleu_score("", "") == 0


@pytest.mark.parametrize("references", [["a b c d", "a b c d e f g h"], ["a b c d e f g h", "a b c d"]])
def test_of_two_references_as_near_in_length_the_shorter_counts(references: list[str]) -> None:
    assert bleu_score("a b c d e f", references) == 1
    assert torchmetrics_bleu(["a b c d e f"], [["a b c d e f g h", "a b c d"]]) < 1  # depends on their order


def test_an_order_without_weight_does_not_count() -> None:
    assert bleu_score("the mat", CAT, weights=[1, 0, 0, 0]) == bleu_score("the mat", CAT, n_gram=1)


def test_a_word_counts_as_often_as_one_reference_has_it() -> None:
    value = bleu_score("the the the the the the", [CAT, "the"], n_gram=1)
    assert float(value) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [0.5, 0.5]}, "received: 2 weights, n_gram=4"),
        ({"n_gram": 0}, "(?s)`n_gram`.*received: 0"),
    ],
)
def test_options_of_bleu_that_do_not_fit(options: Any, message: str) -> None:
    for use in (BLEUScore, SacreBLEUScore):
        with pytest.raises(ConfigError, match=message):
            use(**options)
    with pytest.raises(ConfigError, match=message):
        bleu_score(CAT, MAT, **options)


# --------------------------------------------------------------------------------------------------- ROUGE


def test_rouge_has_the_order_and_options_of_torchmetrics() -> None:
    preds, target = [CAT, "A man, walking!"], [[MAT, "the dog"], ["a man walked", "men walk"]]
    keys = ("rouge2", "rouge1", "rougeL")
    each: list[dict[str, Any]] = [
        {"accumulate": "avg"},
        {"accumulate": "best", "use_stemmer": True},
        {"normalizer": str.upper},
        {"tokenizer": lambda text: text.split("a")},
    ]
    for options in each:
        actual = rouge_score(preds, target, rouge_keys=keys, **options)
        expected = torchmetrics_rouge(preds, target, rouge_keys=keys, **options)
        assert list(actual) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, msg=name)


def test_sentences_are_lines() -> None:
    said = "police killed the gunman\n\nthe gunman was here"
    wanted = "the gunman\nkilled police\nwas the gunman here"
    expected = RougeScorer(["rougeLsum"]).score(wanted, said)["rougeLsum"]
    actual = rouge_score(said, wanted, rouge_keys="rougeLsum")
    assert float(actual["rougeLsum_fmeasure"]) == pytest.approx(expected.fmeasure)
    assert float(actual["rougeLsum_recall"]) == pytest.approx(expected.recall)
    in_one_line = rouge_score(said.replace("\n", ". "), wanted.replace("\n", ". "), rouge_keys="rougeLsum")
    assert in_one_line["rougeLsum_fmeasure"] != actual["rougeLsum_fmeasure"]


def test_short_words_are_their_own_stem() -> None:
    for said, wanted, expected in (("running runs", "run run", 1), ("was", "wa", 0), ("cats", "cat", 1)):
        value = rouge_score(said, wanted, rouge_keys="rouge1", use_stemmer=True)["rouge1_fmeasure"]
        assert (
            value
            == expected
            == RougeScorer(["rouge1"], use_stemmer=True).score(wanted, said)["rouge1"].fmeasure
        )


def test_the_best_reference_is_that_of_each_key() -> None:
    values = rouge_score("a b c d", ["d c b a", "a b x y z"], rouge_keys=("rouge1", "rouge2"))
    assert values["rouge1_precision"] == 1
    assert values["rouge2_precision"] == torch.tensor(1 / 3)


@pytest.mark.parametrize(("preds", "target"), [("", CAT), (CAT, ""), ("", ""), ("。", "。"), ("a", "b")])
def test_rouge_of_texts_that_share_nothing_is_0(preds: str, target: str) -> None:
    keys = ("rouge1", "rouge9", "rougeL", "rougeLsum")
    assert not any(rouge_score(preds, target, rouge_keys=keys).values())


def test_rouge_of_no_text_is_nan() -> None:
    assert all(value.isnan() for value in rouge_score([], []).values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rouge_keys": ("rouge1", "rouge10")}, r"received: rouge_keys=\['rouge10'\]"),
        ({"accumulate": "mean"}, "(?s)`accumulate`.*received: 'mean'.*expected: one of 'best', 'avg'"),
    ],
)
def test_options_of_rouge_that_do_not_exist(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ROUGEScore(**options)


def test_the_stemmer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from fulmen.metrics.text import rouge

    rouge._stemmer.cache_clear()
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: False)
    with pytest.raises(MissingExtra, match=r"(?s)nltk.*fulmen\[text\]"):
        ROUGEScore(use_stemmer=True)
    ROUGEScore()


def test_rouge_with_own_functions_can_be_pickled() -> None:
    metric = pickle.loads(pickle.dumps(ROUGEScore(normalizer=str.lower, tokenizer=str.split)))
    assert metric(CAT, MAT)["rouge1_fmeasure"] > 0
