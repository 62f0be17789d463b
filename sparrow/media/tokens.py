"""The released code's words: the tokens of NLTK's `word_tokenize`, which spells text anew.

Punctuation becomes words of its own, contractions are cut (`do n't`, `it 's`), straight double quotes turn into
two backquotes and two apostrophes. The rules are those of the Penn Treebank (`tokenizer.sed`) with NLTK's additions
for Unicode quotes.
NLTK finds sentences with a trained model, of which only the full stops at their ends matter here; a short list of
abbreviations stands in for it.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_ABBREVIATIONS = (
    "mr mrs ms dr prof rev gen col capt lt sgt hon st jr sr inc ltd co corp vs etc e.g i.e fig no vol pp cf al"
    " jan feb mar apr jun jul aug sep sept oct nov dec u.s u.k a.m p.m ph.d"
).split()
_SENTENCE_END = re.compile(r"(?<=[.?!])(?P<closing>[\"'”’)\]}]*)\s+(?=[\"'“‘`(\[]*[A-Z0-9])")
_LAST_WORD = re.compile(r"(\S+)\.[\"'”’)\]}]*$")
_RULES = yaml.safe_load(Path(__file__).with_name("treebank.yaml").read_text(encoding="utf-8"))
_COMPILED = [(re.compile(pattern), to) for pattern, to in _RULES["opening"]]
_COMPILED_CLOSING = [(re.compile(pattern), to) for pattern, to in _RULES["closing"]]


def treebank_tokens(text: str) -> list[str]:
    """The tokens of a text, sentence by sentence."""
    return [token for sentence in sentences(text) for token in sentence_tokens(sentence)]


def sentence_tokens(sentence: str) -> list[str]:
    """The tokens of one sentence."""
    for pattern, replacement in _COMPILED:
        sentence = pattern.sub(replacement, sentence)
    sentence = f" {sentence} "
    for pattern, replacement in _COMPILED_CLOSING:
        sentence = pattern.sub(replacement, sentence)
    return sentence.split()


def sentences(text: str) -> list[str]:
    """A text cut after full stops, question and exclamation marks that a capital, digit or quote follows."""
    found = []
    start = 0
    for match in _SENTENCE_END.finditer(text):
        candidate = text[start : match.end("closing")]
        last = _LAST_WORD.match(candidate.rsplit(maxsplit=1)[-1])
        is_abbreviation = last is not None and (
            last[1].lower().lstrip("\"'([") in _ABBREVIATIONS or re.fullmatch(r"[\"'(]*[A-Z]", last[1]) is not None
        )
        if not is_abbreviation:
            found.append(candidate)
            start = match.end()
    return [*found, text[start:]]
