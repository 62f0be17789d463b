"""The released code's words, against tokens that NLTK 3.9.1 gave."""

import pytest

from sparrow.media.pages import TextStyle, layout_text
from sparrow.media.tokens import sentence_tokens, sentences, treebank_tokens


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("They don't say: it's \"fine\".", "They do n't say : it 's `` fine '' ."),
        ("I can't, she'll go; we cannot...", "I ca n't , she 'll go ; we can not ..."),
        ("'Tis (nearly) 3.5% of $1,000 -- gimme!", "'T is ( nearly ) 3.5 % of $ 1,000 -- gim me !"),
        ("U.S. forces left.", "U.S. forces left ."),
        ("“Quoted” text?", "“ Quoted ” text ?"),
    ],
)
def test_tokens_of_a_sentence(sentence: str, tokens: str) -> None:
    assert sentence_tokens(sentence) == tokens.split()


def test_sentences_end_at_stops_that_a_capital_follows() -> None:
    text = 'Mr. Fox met J. R. at 5 p.m. on a day. "Stop!" he said. No. 3 came. Then? 2 left.'
    assert sentences(text) == [
        "Mr. Fox met J. R. at 5 p.m. on a day.",
        '"Stop!"' + " he said.",
        "No. 3 came.",
        "Then?",
        "2 left.",
    ]
    assert treebank_tokens("He left. She stayed.") == ["He", "left", ".", "She", "stayed", "."]


def test_one_long_word_is_a_word_of_a_sentence() -> None:
    long = "x" * 3_000 + "?y" * 100
    assert sentences(f"He wrote {long}. Then he wrote {long}? Why?") == [
        f"He wrote {long}.",
        f"Then he wrote {long}?",
        "Why?",
    ]
    assert sentences(f"He wrote {long} etc. Then.") == [f"He wrote {long} etc. Then."]


def test_only_the_treebank_tokenizer_alters_a_page() -> None:
    text = 'He said "don\'t".'
    assert layout_text(text, TextStyle())[0].text == text
    style = TextStyle(tokenizer="treebank")
    assert layout_text(text, style)[0].text == "He said `` do n't '' ."
    assert TextStyle().alters_text is None
    assert style.alters_text is not None and "contractions are cut" in style.alters_text
