"""What a mixture shows twice, and what it shares with benchmarks: reported by id, never fixed.

Texts are the same when they agree up to case, white space and ASCII punctuation. Media files are the same when they
are of one size and agree at their beginning, middle and end. Only hashes are kept.
"""

from __future__ import annotations

import hashlib
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import punctuation, whitespace
from typing import Any

import numpy as np
import pandas as pd

from sparrow.data.sources import SourceData

SHOWN = 20
CHUNK_BYTES = 1 << 16
MIN_NAME_CHARACTERS = 6  # shorter names, such as 0001.mp4, are alike by chance
_IGNORED = (punctuation + whitespace).encode()


@dataclass(frozen=True)
class BenchmarkItem:
    """A question of a benchmark: its wordings, and its video."""

    id: str
    wordings: tuple[str, ...]
    video: Path | None = None


@dataclass
class Finding:
    """How often something was found, and the first few: each a thing and what it is the same as."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, this: str, other: str) -> None:
        """Count one more."""
        self.count += 1
        if self.count <= SHOWN:
            self.first.append((this, other))


@dataclass
class BenchmarkOverlap:
    """Questions of one benchmark that a sample asks, whose video a sample shows, and both in one sample.

    `same_video_name` counts questions about a video that is another file but named alike, as one in another encoding
    would be.
    """

    num_questions: int = 0
    same_question_and_video: Finding = field(default_factory=Finding)
    same_video: Finding = field(default_factory=Finding)
    same_video_name: Finding = field(default_factory=Finding)
    same_question: Finding = field(default_factory=Finding)


@dataclass
class Overlap:
    """What was found among the samples of a mixture, and between them and benchmarks.

    Args:
        repeated_within_components: Samples whose words and media another sample of their component has.
        repeated_across_components: The same, of another component.
        contexts_across_components: Media files and long texts that several components show.
        media_copies: Media files with the content of another one.
        not_checked: Benchmarks that could not be read, and why.
    """

    num_samples: int = 0
    repeated_within_components: Finding = field(default_factory=Finding)
    repeated_across_components: Finding = field(default_factory=Finding)
    contexts_across_components: Finding = field(default_factory=Finding)
    media_copies: Finding = field(default_factory=Finding)
    benchmarks: dict[str, BenchmarkOverlap] = field(default_factory=dict)
    not_checked: dict[str, str] = field(default_factory=dict)


def find_overlap(
    ledger: pd.DataFrame,
    sources: Mapping[str, SourceData],
    benchmarks: Mapping[str, Sequence[BenchmarkItem]] | None = None,
) -> Overlap:
    """Look through the used samples of a plan.

    `benchmarks` has the questions by benchmark.
    """
    benchmarks = benchmarks or {}
    used = ledger[(ledger["status"] == "used") & (ledger["showing"] == 0)]  # a repetition is meant
    samples = _HashedSamples({text_key(words) for items in benchmarks.values() for i in items for words in i.wordings})
    for (component, source), rows in used.groupby(["component", "source"], sort=False):
        samples.read(str(component), sources[str(source)], rows["row"].to_numpy())
    num_shown = len(samples.files)
    videos = {item.video for items in benchmarks.values() for item in items if item.video is not None}
    numbers = {video: samples.file_number(str(video)) for video in sorted(videos)}
    contents = _contents(list(samples.files))
    overlap = Overlap(len(used))
    _among_samples(samples, contents, overlap)
    names = list(samples.files)[:num_shown]
    for number, name in enumerate(names):
        if contents[number] != number:
            overlap.media_copies.add(name, names[contents[number]])
    shown = _FirstSamples(samples, contents)
    for name, items in benchmarks.items():
        overlap.benchmarks[name] = _with_benchmark(items, numbers, shown)
    return overlap


def text_key(text: str) -> int:
    """64 bits of the hash of a text without what does not count."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    letters = text.casefold().encode("utf-8", "surrogatepass").translate(None, _IGNORED)
    return int.from_bytes(hashlib.blake2b(letters, digest_size=8).digest())


class _HashedSamples:
    """What is kept of every sample: hashes of its words and long texts, and numbers of its files.

    Args:
        wordings: Keys of the benchmarks' questions; which samples ask them is kept too.
    """

    def __init__(self, wordings: set[int]) -> None:
        self.files: dict[str, int] = {}
        self.components: list[str] = []
        self.component_of = array("I")
        self.ids: list[str] = []
        self.words = array("Q")
        self.media: list[tuple[int, ...]] = []
        self.long_texts: list[tuple[int, ...]] = []
        self.asking: defaultdict[int, list[int]] = defaultdict(list)
        self._wordings = wordings

    def name(self, sample: int) -> str:
        """`component/id` of a sample."""
        return f"{self.components[self.component_of[sample]]}/{self.ids[sample]}"

    def file_number(self, path: str) -> int:
        """The number of a file, a new one where it was not seen before."""
        return self.files.setdefault(path, len(self.files))

    def read(self, component: str, data: SourceData, rows: np.ndarray) -> None:
        """Add the samples of some rows of a source, in the order of the source."""
        self.components.append(component)
        for row, messages in stored_messages(data, np.sort(rows)):
            self._add(messages, data.media_roots[0])
            self.ids.append(data.ids[row])
            self.component_of.append(len(self.components) - 1)

    def _add(self, messages: list[dict[str, Any]], media_root: Path) -> None:
        digest = hashlib.blake2b(digest_size=8)
        media: list[int] = []
        long_texts: list[int] = []
        for message in messages:
            said = []
            for part in message["content"]:
                if part["type"] == "text":
                    said.append(part["text"])
                elif part["type"] == "long_text":
                    long_texts.append(text_key(part["text"]))
                else:
                    media.append(self.file_number(str(media_root / part["path"])))
                    digest.update(f"{part['start_s']} {part['end_s']}".encode())
            wording = text_key("".join(said))
            digest.update(message["role"].encode() + wording.to_bytes(8))
            if message["role"] == "user" and wording in self._wordings:
                self.asking[wording].append(len(self.ids))
        for key in long_texts:
            digest.update(key.to_bytes(8))
        self.words.append(int.from_bytes(digest.digest()))
        self.media.append(tuple(media))
        self.long_texts.append(tuple(long_texts))


class _FirstSamples:
    """The first sample that shows a content, has a file of a name, or asks a question about a content."""

    def __init__(self, samples: _HashedSamples, contents: Sequence[int]) -> None:
        self.name, self.contents, self.asking = samples.name, contents, samples.asking
        self.by_content: dict[int, int] = {}
        self.by_file_name: dict[str, int] = {}
        names = [_file_name(Path(path)) for path in samples.files]
        for sample, files in enumerate(samples.media):
            for file in files:
                self.by_content.setdefault(contents[file], sample)
                self.by_file_name.setdefault(names[file], sample)
        self.asking_about = {
            (wording, contents[file]): sample
            for wording, asking in samples.asking.items()
            for sample in reversed(asking)
            for file in samples.media[sample]
        }


def stored_messages(data: SourceData, rows: np.ndarray) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Messages of some rows, ascending; a batch at a time, which is seven times faster than a sample at a time."""
    import pyarrow

    first = 0
    with pyarrow.memory_map(str(data.folder / "rows.arrow")) as file:
        for batch in pyarrow.ipc.open_stream(file):
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + batch.num_rows)]
            taken = batch.column("messages").take(pyarrow.array(wanted - first)).to_pylist()
            yield from zip(wanted.tolist(), taken, strict=True)
            first += batch.num_rows


def _contents(files: Sequence[str]) -> list[int]:
    """For every file the number of the first one with its content.

    A folder of frames, or a file that is missing, has only its name. Files that no other has the size of are not read.
    """
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for number, name in enumerate(files):
        path = Path(name)
        if path.is_file():
            by_size[path.stat().st_size].append(number)
    contents = list(range(len(files)))
    for size, numbers in by_size.items():
        if len(numbers) > 1:
            first: dict[bytes, int] = {}
            for number in numbers:
                contents[number] = first.setdefault(_sampled_hash(files[number], size), number)
    return contents


def _sampled_hash(name: str, size: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with open(name, "rb") as file:
        for begin in sorted({max(0, place) for place in (0, (size - CHUNK_BYTES) // 2, size - CHUNK_BYTES)}):
            file.seek(begin)
            digest.update(file.read(CHUNK_BYTES))
    return digest.digest()


def _among_samples(samples: _HashedSamples, contents: Sequence[int], overlap: Overlap) -> None:
    wholes: dict[tuple[int, ...], int] = {}
    contexts: dict[tuple[str, int], int] = {}
    told: set[tuple[str, int]] = set()
    components = samples.component_of
    for sample in range(len(samples.ids)):
        media = [contents[file] for file in samples.media[sample]]
        first = wholes.setdefault((samples.words[sample], *media), sample)
        if first != sample:
            alike = components[first] == components[sample]
            finding = overlap.repeated_within_components if alike else overlap.repeated_across_components
            finding.add(samples.name(sample), samples.name(first))
        for context in [("media", key) for key in media] + [("text", key) for key in samples.long_texts[sample]]:
            first = contexts.setdefault(context, sample)
            if components[first] != components[sample] and context not in told:
                told.add(context)
                overlap.contexts_across_components.add(samples.name(sample), samples.name(first))


def _with_benchmark(
    items: Sequence[BenchmarkItem], numbers: Mapping[Path, int], shown: _FirstSamples
) -> BenchmarkOverlap:
    found = BenchmarkOverlap(len(items))

    def note(finding: Finding, item: BenchmarkItem, sample: int | None) -> None:
        if sample is not None:
            finding.add(item.id, shown.name(sample))

    for item in items:
        wordings = [text_key(wording) for wording in item.wordings]
        note(found.same_question, item, next((shown.asking[w][0] for w in wordings if w in shown.asking), None))
        if item.video is None:
            continue
        content = shown.contents[numbers[item.video]]
        both = (shown.asking_about.get((wording, content)) for wording in wordings)
        note(found.same_question_and_video, item, next((sample for sample in both if sample is not None), None))
        note(found.same_video, item, shown.by_content.get(content))
        name = _file_name(item.video)
        if content not in shown.by_content and len(name) >= MIN_NAME_CHARACTERS:
            note(found.same_video_name, item, shown.by_file_name.get(name))
    return found


def _file_name(path: Path) -> str:
    return path.stem.casefold()
