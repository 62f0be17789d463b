"""Questions about long texts: the text and the question are taken apart at the schema's own marks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sparrow.data.converters.converter import Converter
from sparrow.data.converters.placeholders import Chat, about_context
from sparrow.data.converters.raw_record import LeftOutError, Record

# The head of a wrapper and the mark after the text. The text may quote the mark, so its last occurrence counts.
_LONGALPACA_WRAPPERS = [
    (re.compile(rf"\s*{head}"), f"Now the {what} ends.")
    for what, head in (
        (
            "paper",
            r"Below is a paper\. Memorize the paper and answer my question after the paper\.\s*The paper begins\.",
        ),
        ("material", r"Below is a paper\. Memorize the material and answer my question after the paper\."),
        (
            "material",
            r"Below is some paragraphs in the book, [^\n]*?\. "
            r"Memorize the content and answer my question after the book\.",
        ),
        (
            "second paper",
            r"There are two papers\. Memorize them and answer my question after the paper\.\s*The first paper begins\.",
        ),
    )
]


def context_qa(record: Record) -> Iterator[Chat]:
    """`context`, `question`, `answer`: the canonical form of a question about a long text."""
    yield about_context(record.text("context"), record.text("question"), record.text("answer"), record.own_id())


def longalpaca(record: Record) -> Iterator[Chat]:
    """`instruction`, `output`, the long text between one of LongAlpaca's wrappers.

    The short instructions of LongAlpaca-12k have no wrapper and are left out.
    """
    chat = _wrapped(record, record.text("instruction"), record.text("output"))
    if chat is None:
        raise LeftOutError("an instruction without a known long-text wrapper")
    yield chat


def long_nq(record: Record) -> Iterator[Chat]:
    """`prompt`, `completion`: Together's Natural Questions over 10 to 200 documents."""
    chat = _natural_question(record, record.text("prompt"), record.text("completion"))
    if chat is None:
        raise record.error("field 'prompt' has no line that starts with 'Question: '", "end the prompt with one")
    yield chat


def booksum(record: Record) -> Iterator[Chat]:
    """`prompt`, `completion`: Together's BookSum, a text followed by `Q:` and `A:`."""
    chat = _book_summary(record, record.text("prompt"), record.text("completion"))
    if chat is None:
        raise record.error(
            "field 'prompt' does not end with 'Q: ...' and 'A:'", "end it with the two, each on its own line"
        )
    yield chat


def longqlora(record: Record) -> Iterator[Chat]:
    """`input`, `output`: natural questions, book summaries and LongQA in their publishers' forms.

    The short Evol-Instruct records among them have no long text and are left out.
    """
    prompt, answer = record.text("input"), record.text("output")
    chat = _natural_question(record, prompt, answer) if "Gold Document ID: " in answer else None
    chat = chat or _wrapped(record, prompt, answer) or _book_summary(record, prompt, answer)
    if chat is None:
        raise LeftOutError("an instruction without a long text")
    yield chat


def qmsum(record: Record) -> Iterator[Chat]:
    """QMSum meetings: a sample for every general and specific query about the whole transcript."""
    lines = []
    for turn in record.items("meeting_transcripts"):
        if not isinstance(turn, Mapping) or not all(isinstance(turn.get(key), str) for key in ("speaker", "content")):
            raise record.error(
                "a turn of 'meeting_transcripts' lacks 'speaker' or 'content'",
                "write turns as {'speaker', 'content'}, both text",
            )
        lines.append(f"{turn['speaker']}: {turn['content']}")
    lists = [name for name in _QUERIES if record.has(name)]
    if not lists:
        raise record.error("field 'specific_query_list' is missing", "add queries, or remove the meeting")
    for name in lists:
        for query in record.items(name):
            if not isinstance(query, Mapping):
                raise record.error(f"an entry of '{name}' is not an object", "write entries as {'query', 'answer'}")
            entry = Record(query, record.place, record.source)
            yield about_context("\n".join(lines), entry.text("query"), entry.text("answer"))


def _wrapped(record: Record, instruction: str, answer: str) -> Chat | None:
    for head, mark in _LONGALPACA_WRAPPERS:
        if start := head.match(instruction):
            end = instruction.rfind(mark, start.end())
            if end < 0:
                raise record.error(f"the wrapper's closing mark {mark!r} is missing", "end the long text with it")
            question = instruction[end + len(mark) :]
            context = instruction[start.end() : end]
            _require(record, context, "long text between the wrapper's marks")
            _require(record, question, f"question after {mark!r}")
            return about_context(context, question, answer, record.own_id())
    return None


def _book_summary(record: Record, prompt: str, answer: str) -> Chat | None:
    asked, mark, end = _cut_at_last_line(prompt, "A:")
    context, found, question = _cut_at_last_line(asked, "Q:")
    if not mark or end.strip() or not found:
        return None
    _require(record, context, "text before 'Q:'")
    _require(record, question, "question after 'Q:'")
    return about_context(context, question, answer, record.own_id())


def _natural_question(record: Record, prompt: str, completion: str) -> Chat | None:
    context, found, question = _cut_at_last_line(prompt, "Question: ")
    if not found:
        return None
    question = question.rstrip().removesuffix("\nAnswer:").strip()
    answered, gold, document = _cut_at_last_line(completion.lstrip(), "Gold Document ID: ")
    short, long, _ = answered.partition("\nLong Answer: ")
    if not gold or not long or not short.startswith("Answer: "):
        raise record.error(
            "the completion lacks 'Answer: ', 'Long Answer: ' or 'Gold Document ID: '",
            "write the three on lines of their own, in this order",
        )
    _require(record, context, "text before 'Question: '")
    _require(record, question, "question after 'Question: '")
    short = short.removeprefix("Answer: ")
    _require(record, short, "short answer after 'Answer: '")
    _require(record, document, "number after 'Gold Document ID: '")
    question = question[0].upper() + question[1:] + ("" if question.endswith(("?", "？")) else "?")
    return about_context(
        context,
        f"{question}\nAnswer the question in short and give the corresponding document ID.",
        f"{short.strip()}\nDocument ID: {document.strip()}",
        record.own_id(),
    )


def _cut_at_last_line(text: str, mark: str) -> tuple[str, str, str]:
    """What stands before the last line that begins with a mark, the mark, and what stands after it; as `rpartition`."""
    before, found, after = f"\n{text}".rpartition(f"\n{mark}")
    return before.removeprefix("\n"), found, after


def _require(record: Record, text: str, what: str) -> None:
    if not text.strip():
        raise record.error(f"there is no {what}", "fill it in, or remove the record")


_QUERIES = ("general_query_list", "specific_query_list")
BOOKSUM = Converter(booksum, min_context_words=3_000, fields=("prompt", "completion"), has_long_text=True)
CONTEXT_QA = Converter(context_qa, fields=("context", "question", "answer"), has_long_text=True)
LONG_NQ = Converter(long_nq, min_context_words=3_000, fields=("prompt", "completion"), has_long_text=True)
LONGALPACA = Converter(longalpaca, fields=("instruction", "output"), has_long_text=True)
LONGQLORA = Converter(longqlora, fields=("input", "output"), has_long_text=True)
QMSUM = Converter(
    qmsum,
    fields=(
        *(f"{name}[].{field}" for name in _QUERIES for field in ("query", "answer", "relevant_text_span")),
        *("meeting_transcripts[].speaker", "meeting_transcripts[].content", "topic_list"),
    ),
    has_long_text=True,
)
