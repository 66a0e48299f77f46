"""The words that sacrebleu finds."""
# ruff: noqa: RUF001  # signs that look like others are what this is about

from __future__ import annotations

import random
import sys
import types
import unicodedata
from typing import Any

import pytest
from sacrebleu.metrics.bleu import BLEU

from fulmen.errors import ConfigError, MissingExtra
from fulmen.metrics.functional.text import sacre_bleu_score
from fulmen.metrics.text import SacreBLEUScore
from fulmen.metrics.text.tokenisers import tokeniser

OWN = ("none", "13a", "zh", "intl", "char")
PARTS = [
    *"aB1 2.,-'\"&;<>()[]{}|~`!?/:@#$%^*+=_\\\n\t\r\v。,、中文字日本カㄱ한ßéİ½²٣€£™→…–—“”«»¿¶§",
    *(
        "&quot;",
        "&amp;",
        "&lt;",
        "&gt;",
        "&amp;lt;",
        "&apos;",
        "<skipped>",
        "-\n",
        "1,000.5",
        "U.S.A.",
        "don't",
    ),
    *(
        "10-20",
        "\u3000",
        "\u00a0",
        "\u2000",
        "\u2001",
        "\u2028",
        "\u2a6d",
        "\u2a6e",
        "\U00020000",
        "\U0001f600",
    ),
    *("\u200b", "\ufeff", "e\u0301", "\u4db5", "\u4db6", "\u9fbb", "\u9fbc", "\uffef", "\ufff0", "\ufa2e"),
]
ASSIGNED = [
    character for character in map(chr, range(0x20, 0xFFFF)) if unicodedata.category(character)[0] != "C"
]


def theirs(name: str, text: str) -> list[str]:
    return BLEU(tokenize=name)._preprocess_segment(text).split()


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        ".",
        "...",
        "a..b",
        "1.5",
        "1.",
        ".5 ",
        "1. ",
        "a.5,b,6.c",
        "3,141.59-2",
        "well-known 10-20 A-1",
        "He said: \"it's 5 o'clock\" (approx.)",
        "&lt;b&gt; &amp;quot; &quot; &unknown;",
        "a <skipped> b-\nc\nd",
        "trailing-\n",
        "¿Qué? «Sí»… 50 € → 40 £",
        "你好，世界！他有3.5个abc，100%。",
        "カタカナ ｶﾀｶﾅ ＡＢＣ 한국어",
        "tab\tnbsp\u00a0ideographic\u3000line\u2028end",
        "👍🏽 ok 👨‍👩‍👧",
        "½ ² Ⅷ ٣٤.٥",
    ],
)
def test_words_are_those_of_sacrebleu(name: str, text: str) -> None:
    assert tokeniser(name)(text) == theirs(name, text)


@pytest.mark.parametrize("name", OWN)
def test_words_of_random_texts_are_those_of_sacrebleu(name: str) -> None:
    draw = random.Random(3)
    bleu = BLEU(tokenize=name)
    for length in range(600):
        parts = draw.choices(PARTS if length % 3 else ASSIGNED, k=length % 30)
        text = "".join(parts)
        assert tokeniser(name)(text) == bleu._preprocess_segment(text).split(), repr(text)


def test_an_unknown_one_is_an_error_that_names_the_known() -> None:
    for use in (
        lambda: SacreBLEUScore(tokenize="14a"),
        lambda: sacre_bleu_score(["a"], [["a"]], tokenize="14a"),
    ):
        with pytest.raises(ConfigError, match=r"(?s)received: tokenize='14a'.*'13a', 'zh'.*'ja-mecab'"):
            use()


def test_those_with_a_dictionary_are_those_of_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mecab:
        def __call__(self, line: str) -> str:
            return " ".join(line.split("|"))

    module: Any = types.ModuleType("sacrebleu.tokenizers.tokenizer_ja_mecab")
    module.TokenizerJaMecab = Mecab
    monkeypatch.setitem(sys.modules, module.__name__, module)
    tokeniser.cache_clear()
    try:
        assert tokeniser("ja-mecab")("one|two|three\n") == ["one", "two", "three"]
    finally:
        tokeniser.cache_clear()


def test_without_sacrebleu_they_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fulmen.base.extras.available", lambda package: False)
    with pytest.raises(MissingExtra, match=r"(?s)sacrebleu.*fulmen\[text\]"):
        SacreBLEUScore(tokenize="flores200")
