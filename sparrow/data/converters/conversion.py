"""One pass over the records of a source: valid samples, ids that differ, and an account of what became of each."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sparrow.core.errors import DataError, SparrowError
from sparrow.core.hashing import hash_key
from sparrow.core.samples import LongText, Sample, Text, Video
from sparrow.data.converters import CONVERTERS, Converter
from sparrow.data.converters.raw_record import LeftOutError, Record, RecordError
from sparrow.data.row_writer import Row, rows_of
from sparrow.data.settings import Source

_GROUNDING = ("<bbox>", "<ref-object>")  # of ms-swift
_FILE = re.compile(r"^[^\n]*\.\w{2,5}$")  # rather than a folder or a list of frames
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be used: where it stands, its own id if it has one, and what is wrong."""

    where: str
    id: str | None
    reason: str
    remedy: str


@dataclass(frozen=True)
class SourceStats:
    """What became of the records of a source: `num_records` = used + left out + rejected.

    A record may give several samples (`num_samples`). Records left out are those that the source's published
    rules do not use, by reason. `unknown_fields` has by path the `num_records` that fill a field, and the `first` one.
    """

    num_records: int
    num_used_records: int
    num_samples: int
    left_out: dict[str, int]
    rejected: tuple[Rejected, ...]
    num_replaced_chars: int
    content_hash: str
    unknown_fields: dict[str, dict[str, Any]]


class Conversion:
    """Converts records and counts them: read = used + left out + rejected.

    `digests` holds 64 bits of each sample's content hash, in the order the samples were written.

    With `fail`, a record that cannot be used raises its error instead of being counted. `shows_long_texts` says whether
    one with a long text can be used, the source's `unknown_fields` whether one with a field that nothing reads can.
    """

    def __init__(
        self, name: str, source: Source, converter: Converter, *, fail: bool = True, shows_long_texts: bool = True
    ) -> None:
        self.name, self.source, self.converter, self.fail = name, source, converter, fail
        self.shows_long_texts = shows_long_texts
        self._unknown: dict[str, dict[str, Any]] = {}
        self._num_records = 0
        self._num_used = 0
        self._num_replaced_chars = 0
        self._left_out: Counter[str] = Counter()
        self._rejected: list[Rejected] = []
        self._own_ids: list[str | None] = []
        self._files: list[int] = []  # where the samples of each file begin
        self.digests = array("Q")

    def run(self, records: Iterable[Record], write: Callable[[list[Row]], None]) -> None:
        """Hand the rows of every sample of a file to `write`."""
        self._files.append(len(self._own_ids))
        for record in records:
            self._num_records += 1
            self._num_replaced_chars += record.num_replaced_chars
            try:
                samples = self._samples(record)
            except LeftOutError as reason:
                self._left_out[str(reason)] += 1
            except RecordError as error:
                self._reject(error, record.own_id())
            except (SparrowError, MemoryError):
                raise
            except Exception as error:
                what = CONVERTERS.failure(self.source.converter, error)
                self._reject(record.error(what, "correct its code, or the record"), record.own_id())
            else:
                self._num_used += 1
                for own_id, sample in samples:
                    rows = rows_of(sample)
                    self._own_ids.append(own_id)
                    self.digests.append(_digest(rows))
                    write(rows)

    def reject_unread(self, error: RecordError) -> None:
        """Count a record that the reader could not make out."""
        self._num_records += 1
        self._reject(error, None)

    def count_unknown(self, field: str, place: str | Callable[[], str]) -> None:
        """Count a field that nothing reads, at a place or at what gives it."""
        if field not in self._unknown:
            self._unknown[field] = {"num_records": 0, "first": place if isinstance(place, str) else place()}
        self._unknown[field]["num_records"] += 1

    def _count_unknown(self, record: Record, fields: list[str]) -> None:
        for field in fields:
            self.count_unknown(field, record.place)
            if self.source.unknown_fields == "refuse":
                remedy = f"remove it, or set source.{self.name}.unknown_fields=count"
                raise record.error(f"field '{field}' is not known to this converter", remedy)

    def ids(self) -> list[str]:
        """The ids of the samples, in the order they were written."""
        return sample_ids(self._own_ids, self.digests, self._files)

    def stats(self, ids: list[str]) -> SourceStats:
        """The account, given the ids of the samples."""
        # A sum, so that the order of the records does not count.
        total = sum(int.from_bytes(hash_key(digest, id)) for id, digest in zip(ids, self.digests, strict=True))
        return SourceStats(
            num_records=self._num_records,
            num_used_records=self._num_used,
            num_samples=len(ids),
            left_out=dict(self._left_out),
            rejected=tuple(self._rejected),
            num_replaced_chars=self._num_replaced_chars,
            content_hash=f"{total % 2**128:032x}"[:16],
            unknown_fields=dict(sorted(self._unknown.items())),
        )

    def _reject(self, error: RecordError, own_id: str | None) -> None:
        if self.fail:
            raise error
        self._rejected.append(Rejected(error.where, own_id, error.what, error.remedy))

    def _samples(self, record: Record) -> list[tuple[str | None, Sample]]:
        """All samples of a record with its own ids for them, or the error of the first that is not valid."""
        samples = []
        self._count_unknown(record, self.converter.unknown_fields(record))
        for chat in self.converter.read(record):
            try:
                sample = Sample(chat.id or "unnamed", self.name, chat.messages)
            except DataError as error:
                raise record.error(error.what, error.remedy or "fix or remove the record") from error
            if sample.is_prompt:
                raise record.error("the last question has no answer", "add the answer, or remove the question")
            if True not in [turn.supervised for turn in sample.messages if turn.role == "assistant"]:
                raise LeftOutError("every answer is marked as not to be learnt")
            parts = sample.parts()
            if any(isinstance(part, Video) and part.fps and _FILE.search(part.path) for part in parts):
                self._count_unknown(record, ["fps (of a file, which has a clock)"])
            tagged = [part.text for part in parts if isinstance(part, Text) and "<" in part.text]
            if mark := next((mark for mark in _GROUNDING for text in tagged if mark in text), None):
                raise record.error(f"a turn holds {mark}, which is not filled in", "write the coordinates themselves")
            contexts = [part.text for part in parts if isinstance(part, LongText)]
            if contexts and not self.shows_long_texts:
                remedy = f"set present_as of the component that draws from {self.name} to pages or text"
                raise record.error("it holds a long text, which present_as=video does not show", remedy)
            least = self.converter.min_context_words
            if contexts and sum(len(text.split()) for text in contexts) < least:
                raise LeftOutError(f"the long text has fewer than {least} words")
            samples.append((chat.id, sample))
        return samples


def _digest(rows: list[Row]) -> int:
    """64 bits of the hash of a sample's content; NUL separates the fields, for ingestion leaves none in them."""
    fields: list[str] = []
    for role, is_supervised, parts in rows:
        fields.append(role if is_supervised else f"{role}, not learnt")
        for values in parts:
            fields.extend(map(str, values))
    return int.from_bytes(hashlib.blake2b("\0".join(fields).encode(), digest_size=8).digest())


def sample_ids(own_ids: Sequence[str | None], digests: Sequence[int], files: Sequence[int] = (0,)) -> list[str]:
    """Ids that depend on the records of a sample's own file, not on their order nor on other files.

    A sample without an id of its own is named by its content. Samples of one file that differ and share an id get `~`
    and the start of their content hash; between files they keep the id that they share, so that a file more renames
    nothing. Further copies of one sample get `#2`, `#3` and so on.
    `files` says where the samples of each file begin.
    """
    names: list[str] = []
    bounds = [slice(begin, end) for begin, end in zip(files, [*files[1:], len(own_ids)], strict=True)]
    for part in bounds:
        ids, contents_of = own_ids[part], digests[part]
        shared = _repeated(ids)
        contents = Counter(id for id, _ in {pair for pair in zip(ids, contents_of, strict=True) if pair[0] in shared})
        names += [_name(own_id, digest, contents) for own_id, digest in zip(ids, contents_of, strict=True)]
    copied = _repeated(list(zip(names, digests, strict=True)))
    copies: Counter[tuple[str, int]] = Counter()
    for part in bounds if copied else ():
        taken = set(names[part])
        for i in range(*part.indices(len(names))):
            name, digest = names[i], digests[i]
            if (name, digest) in copied:
                copies[name, digest] += 1
                while copies[name, digest] > 1 and (unique := f"{name}#{copies[name, digest]}") in taken:
                    copies[name, digest] += 1
                if copies[name, digest] > 1:
                    taken.add(unique)
                    names[i] = unique
    return names


def _name(own_id: str | None, digest: int, contents: Counter[str | None]) -> str:
    if own_id is None:
        return f"{digest:016x}"
    return own_id if contents[own_id] <= 1 else f"{own_id}~{digest >> 32:08x}"


def _repeated(names: Sequence[T]) -> set[T]:
    seen: set[T] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]
