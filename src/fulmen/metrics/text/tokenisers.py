"""How sacreBLEU cuts a text into words, so that scores of different papers can be compared.

Each gives what sacrebleu's of the same name gives. The rules of "13a" and "intl" are those of mteval-v13a.pl
and mteval-v14.pl, the scripts of the machine translation evaluations of NIST.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

from fulmen.base.extras import require
from fulmen.errors import ConfigError

Tokeniser = Callable[[str], list[str]]


@cache
def tokeniser(name: str) -> Tokeniser:
    """The tokeniser that sacrebleu calls so; its own, if that needs a model or a dictionary."""
    if name in _OWN:
        return _OWN[name]
    if name not in _SACREBLEU:
        raise ConfigError(
            "There is no such tokeniser.",
            received=f"tokenize={name!r}",
            expected=f"one of {', '.join(map(repr, (*_OWN, *_SACREBLEU)))}",
        )
    module, kind = _SACREBLEU[name]
    theirs: Any = getattr(require(f"sacrebleu.tokenizers.{module}", extra="text"), kind)()
    return lambda text: theirs(text.rstrip()).split()


_MARKS = re.compile(r"([ -&(-+/:-@\[-`{-~])")
_POINT_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")


def _western(text: str) -> list[str]:
    """Words and marks, but for points and commas inside numbers, apostrophes, and dashes inside words."""
    text = _MARKS.sub(r" \1 ", text)
    text = _POINT_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _POINT_BEFORE_OTHER.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()


def _13a(text: str) -> list[str]:
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
        text = text.replace(entity, mark)
    return _western(f" {text} ")


# Signs of Chinese, each a word. The first range comes of sacrebleu's table, which means Extension B (U+20000
# to U+2A6D6) and says it in escapes of four digits; published scores have it so.
_CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u33ff\u3400-\u4db5"
    "\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)


def _zh(text: str) -> list[str]:
    return _western(_CHINESE.sub(r" \1 ", text.strip()))


class _Kinds(dict[int, str]):
    """The general category of characters: P for punctuation, S for symbols, N for numbers ..."""

    def __missing__(self, code: int) -> str:
        kind = self[code] = unicodedata.category(chr(code))[0]
        return kind


_KINDS = _Kinds()


def _intl(text: str) -> list[str]:
    """Words, symbols, and punctuation that does not stand between numbers."""
    text = text.rstrip()
    kinds = text.translate(_KINDS)  # a letter for each character; a blank is where the text is cut
    kinds = re.sub("([^N])P", r"\1 P ", kinds)
    kinds = re.sub("P([^N])", r" P \1", kinds)
    words: list[str] = []
    start = 0
    for run in kinds.replace("S", " S ").split():
        end = start + len(run)
        words += text[start:end].split()
        start = end
    return words


def _char(text: str) -> list[str]:
    return [character for character in text if not character.isspace()]


_OWN: dict[str, Tokeniser] = {
    "none": str.split, "13a": _13a, "zh": _zh, "intl": _intl, "char": _char
}  # fmt: skip
_SACREBLEU = {
    "ja-mecab": ("tokenizer_ja_mecab", "TokenizerJaMecab"),
    "ko-mecab": ("tokenizer_ko_mecab", "TokenizerKoMecab"),
    "flores101": ("tokenizer_spm", "Flores101Tokenizer"),
    "flores200": ("tokenizer_spm", "Flores200Tokenizer"),
}
