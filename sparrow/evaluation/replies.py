"""Reading which option a free reply names: a pure function, the same for every benchmark and every model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Literal, NamedTuple

from sparrow.evaluation import reply_phrases as phrases

REPLY_RULES = 2  # raised whenever a reply comes to be read otherwise


class Choice(NamedTuple):
    """The option that a reply names, and the rule by which it was read or found to name none."""

    letter: str | None
    rule: str


FINAL, STATED, LEADING, HINTED, INSIDE = 4, 3, 2, 1, 0
_RULES = {FINAL: "final answer", STATED: "stated", LEADING: "leading", HINTED: "hinted", INSIDE: "option text inside"}
_EDGES = " \t\r\n.,;:!?\"'()[]{}<>“”‘’「」『』《》。、"
_NEAR = 120  # characters before a place that can bear on it
_MAX_WORDS = 60  # a longer text is a description, in which an option's words prove nothing behind its first sentence


@dataclass(frozen=True, slots=True)
class _Mention:
    """A place in a reply that names an option by letter or by text."""

    letter: str
    start: int
    end: int
    kind: Literal["letter", "letter and text", "text"]
    strength: int | None = None


def read_choice(
    reply: str,
    options: Sequence[str],
    *,
    lower_case: bool = False,
    labels: Sequence[str] | None = (),
    thinking_tags: Sequence[str] = (),
) -> Choice:
    """Read which of the options a reply names.

    The last `\\boxed{}` or `<answer>` decides alone. A reply that is one letter or the text of one option is that
    option. Otherwise every place that names an option is found; places that deny it ("not A", "B is wrong") are
    left out, and of the rest the strongest kind decides: a final answer, a stated one ("the answer is C", a letter
    alone on its line), a leading one ("B. Blue"), a hinted one ("... (B)"), an option's text inside a short reply.
    Two options of that kind are none. Where a reply takes back what it said ("A. Wait, it is B."), what follows decides
    if it names an option in one of these ways but the last.

    Args:
        reply: What the model wrote; thinking blocks are left out, Markdown and full-width forms undone.
        options: The texts to choose from, lettered A, B, C ... in their order.
        lower_case: Whether a small letter inside a reply names an option; one that is all of the reply does, and so
            does one with its option's text, as "d) red".
        labels: How the prompt called the options where not by letter: "Option 1", "Sentence B"; None where the
            question lists none, as one of yes or no, so that a letter says nothing.
        thinking_tags: Names of further tags around thoughts, beside those of `reply_phrases.THINKING_TAGS`.

    Returns:
        The letter, or None when no option, more than one, or one beyond the options is named; and the rule.
    """
    text = unicodedata.normalize("NFKC", reply)
    thought, end, start = phrases.thinking(tuple(thinking_tags))
    text = end.split(thought.sub(" ", text))[-1]
    if start.search(text):
        return Choice(None, "unfinished thinking")
    for rule, pattern in (("boxed", phrases.BOXED), ("tagged", phrases.TAGGED)):
        if found := pattern.findall(text):
            choice = _read(found[-1], options, lower_case, labels)
            return Choice(choice.letter, rule) if choice.letter else choice
    return _read(text, options, lower_case, labels)


def _read(text: str, options: Sequence[str], lower_case: bool, labels: Sequence[str] | None) -> Choice:
    text = phrases.MARKUP.sub("", phrases.LATEX_TEXT.sub(r"\1", text)).strip()
    text = _with_letters(text, labels or ())
    bare = text.strip(_EDGES)
    if not bare:
        return Choice(None, "empty")
    if labels is not None and re.fullmatch("[A-Za-z]", bare) and not (bare.islower() and bare in options):
        return _within(bare.upper(), options, "letter")
    if named := _options_that_read(text, options):
        return Choice(named[0], "option text") if len(named) == 1 else Choice(None, "two options with this text")
    labelled = phrases.LABELLED.fullmatch(text)
    if labels is not None and labelled:
        named = _options_that_read(labelled[2], options)
        if named and labelled[1][0].upper() not in named:
            return Choice(None, "letter and text disagree")
    for taken_back in reversed([*phrases.CORRECTION.finditer(text)]):
        choice = _named_in(text[taken_back.end() :], options, lower_case, labels)
        if choice.letter and choice.rule != _RULES[INSIDE]:
            return choice
    return _named_in(text, options, lower_case, labels)


def _named_in(text: str, options: Sequence[str], lower_case: bool, labels: Sequence[str] | None) -> Choice:
    return _decide(text, options, [] if labels is None else list(_letters_in(text, options, lower_case)))


def _decide(text: str, options: Sequence[str], letters: list[_Mention]) -> Choice:
    can_refuse = not any(phrases.REFUSAL.search(option) for option in options)
    texts = list(_texts_in(text, options))
    letters = [m for m in letters if not any(t.start <= m.start < t.end for t in texts)]
    texts = [t for t in texts if not any(m.start <= t.start < m.end for m in letters)]
    mentions = [
        replace(mention, strength=_strength(text, mention))
        for mention in _joined(text, [*letters, *texts])
        if not _denied(text, mention, can_refuse)
    ]
    strongest = max((m.strength for m in mentions if m.strength is not None), default=None)
    if can_refuse and not strongest and phrases.REFUSAL.search(text):
        return Choice(None, "refusal")
    if strongest is None:
        return Choice(None, "nothing named")
    chosen = {m.letter for m in mentions if m.strength == strongest}
    return Choice(None, "two options") if len(chosen) > 1 else _within(chosen.pop(), options, _RULES[strongest])


def _letters_in(text: str, options: Sequence[str], lower_case: bool) -> Iterator[_Mention]:
    """Places that hold a letter by itself, together with the option's text where that follows as in "B. Blue"."""
    taken = 0
    for match in phrases.LETTER.finditer(text):
        if match.start() >= taken:
            letter = match[0].upper()
            if not (lower_case or match[0].isupper() or _is_small_label(text, match, letter, options)):
                continue
            if letter == "I" and len(options) < 9:
                continue  # the pronoun
            end = _end_of_own_text(text, match.end(), letter, options)
            taken = end or match.end()  # the article in "B. A man" names nothing
            yield _Mention(letter, match.start(), end or match.end(), "letter and text" if end else "letter")


def _is_small_label(text: str, match: re.Match[str], letter: str, options: Sequence[str]) -> bool:
    """Whether a small letter stands before its option's text as a label does, "d) red"; "a red car" is an article."""
    is_label = text[match.end() : match.end() + 1] in tuple(").:")
    return is_label and _end_of_own_text(text, match.end(), letter, options) is not None


def _end_of_own_text(text: str, begin: int, letter: str, options: Sequence[str]) -> int | None:
    index = ascii_uppercase.index(letter)
    if index >= len(options) or not (core := _core(options[index])):
        return None
    separator = phrases.SEPARATOR.match(text, begin)
    assert separator is not None
    own = re.compile(_whole(core), re.IGNORECASE).match(text, separator.end())
    return own.end() if own else None


def _texts_in(text: str, options: Sequence[str]) -> Iterator[_Mention]:
    """Places that hold an option's text as whole words; of texts inside one another the longest is meant."""
    taken: list[range] = []
    by_text: dict[str, list[str]] = {}
    for letter, option in zip(ascii_uppercase, options, strict=False):
        by_text.setdefault(_core(option), []).append(letter)
    for core in sorted(by_text, key=len, reverse=True):
        if not core or (len(core) == 1 and core.isalpha() and core.isascii()):
            continue
        for match in re.finditer(_whole(core), text, re.IGNORECASE):
            if not any(match.start() in span for span in taken):
                taken.append(range(*match.span()))
                for letter in by_text[core]:
                    yield _Mention(letter, *match.span(), "text")


def _core(option: str) -> str:
    """An option's text without case, article and punctuation at its edges."""
    text = unicodedata.normalize("NFKC", option).lower().strip(_EDGES)
    return " ".join(re.sub(r"^(?:an?|the)\s+", "", text).split())


def _whole(core: str) -> str:
    """A pattern for words that are not part of longer words or numbers; Chinese has no spaces to tell by."""
    body = r"\s+".join(re.escape(word) for word in core.split())
    before = r"(?<![\w-])(?<!\d[.,])" if core[0].isascii() else ""
    after = r"(?!\w)(?![.,]\d)(?!-\w)" if core[-1].isascii() else ""
    return before + body + after


def _joined(text: str, mentions: list[_Mention]) -> list[_Mention]:
    """Options joined by "and", "or", commas or in a list share one span: they are stated or denied together."""
    groups: list[list[_Mention]] = []
    for mention in sorted(mentions, key=lambda m: (m.start, m.end)):
        last = groups[-1][-1] if groups else None
        if last and _belong_together(text, last, mention):
            groups[-1].append(mention)
        else:
            groups.append([mention])
    return [replace(m, start=group[0].start, end=group[-1].end) for group in groups for m in group]


def _belong_together(text: str, first: _Mention, second: _Mention) -> bool:
    gap = text[first.end : second.start]
    if first.kind != second.kind:
        return False
    if first.kind == "letter and text":
        in_order = ord(second.letter) == ord(first.letter) + 1
        return (in_order and phrases.LISTED.fullmatch(gap) is not None) or phrases.JOINT.fullmatch(gap) is not None
    # A line that begins with another letter is prose about that one, unless the letter is all of it.
    listed = "\n" not in gap or phrases.LINE_AFTER.match(text, second.end) is not None
    bare_letters = first.kind == "letter" and gap.isspace() and listed
    return not gap or bare_letters or phrases.JOINT.fullmatch(gap) is not None


def _strength(text: str, mention: _Mention) -> int | None:
    """How firmly the words around a place name the option; None where a letter is just part of the prose."""
    before, after = text[max(0, mention.start - _NEAR) : mention.start], text[mention.end :]
    at_start = mention.start <= _NEAR and phrases.LEADING_BEFORE.search(before)
    closed = phrases.CLOSED_AFTER.match(after)
    if mention.kind == "letter" and not closed and mention.letter in "AI":
        return HINTED if phrases.OPTION_BEFORE.search(before) else None
    if phrases.FINAL_BEFORE.search(before):
        return FINAL
    if phrases.STATED_BEFORE.search(before) or phrases.STATED_AFTER.match(after):
        return STATED
    if mention.kind == "text":
        if at_start and phrases.TEXT_LEADING_AFTER.match(after):
            return LEADING
        return INSIDE if len(text.split()) <= _MAX_WORDS or not phrases.NOT_SAID_BEFORE.search(before) else None
    if phrases.LINE_BEFORE.search(before) and phrases.LINE_AFTER.match(after) and mention.kind == "letter":
        return STATED
    if at_start:
        return LEADING
    bracketed = phrases.BRACKET_BEFORE.search(before) and phrases.BRACKET_AFTER.match(after)
    hinted = bracketed or phrases.OPTION_BEFORE.search(before) or (closed and phrases.HINTED_BEFORE.search(before))
    return HINTED if hinted or mention.kind == "letter and text" else None


def _denied(text: str, mention: _Mention, can_refuse: bool) -> bool:
    clause = phrases.CLAUSE.split(text[max(0, mention.start - _NEAR) : mention.start])[-1]
    if phrases.DENIED_BEFORE.search(clause) or phrases.DENIED_AFTER.match(text, mention.end):
        return True
    return can_refuse and phrases.REFUSAL.search(clause) is not None


def _options_that_read(text: str, options: Sequence[str]) -> list[str]:
    """Letters of the options whose text this is: to the letter, or else but for case, article and punctuation."""
    exact = [letter for letter, option in zip(ascii_uppercase, options, strict=False) if option.strip() == text.strip()]
    core = _core(text)
    return exact or [
        letter for letter, option in zip(ascii_uppercase, options, strict=False) if core and _core(option) == core
    ]


def _with_letters(text: str, labels: Sequence[str]) -> str:
    """The text with labels such as "Option 2" turned into the letters of their places."""
    for letter, label in zip(ascii_uppercase, labels, strict=False):
        name = label.strip(_EDGES)
        if len(name) > 1:
            text = re.sub(rf"\b{re.escape(name)}\b", letter, text, flags=re.IGNORECASE)
            if text.strip(_EDGES) == name.split()[-1]:
                return letter
    return text


def _within(letter: str, options: Sequence[str], rule: str) -> Choice:
    inside = letter in ascii_uppercase[: len(options)]
    return Choice(letter, rule) if inside else Choice(None, "beyond the options")
