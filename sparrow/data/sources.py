"""Sources: the files of a publisher read, converted and kept as memory-mapped Arrow rows, once for each content."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from filelock import FileLock

from sparrow.core import samples
from sparrow.core.errors import ConfigError, DataError
from sparrow.core.files import EMBEDDED, drafted, remove_drafts, user_path, write_atomically, write_json
from sparrow.core.hashing import combined_hash, content_hash, file_hash
from sparrow.core.samples import Sample
from sparrow.data import converters, json_stream, readers, row_writer
from sparrow.data.converters import CONVERTERS, Converter, conversion
from sparrow.data.converters import placeholders as chat
from sparrow.data.converters import raw_record as record
from sparrow.data.converters.conversion import Conversion, Rejected, SourceStats
from sparrow.data.converters.raw_record import Record
from sparrow.data.settings import Source
from sparrow.data.source_media import SourceMedia


@dataclass(frozen=True)
class SourceData:
    """The samples of a source, read from memory-mapped Arrow rows.

    `ids` are in the order of the records; media paths are relative to the first of `media_roots` and may lead into any;
    `folder` keeps the rows.
    """

    name: str
    ids: list[str]
    media_roots: tuple[Path, ...]
    stats: SourceStats
    folder: Path

    @property
    def content_hash(self) -> str:
        """Hash of the set of samples: the same for every folder and order of the records."""
        return self.stats.content_hash

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """The records that could not be used."""
        return self.stats.rejected

    @cached_property
    def digests(self) -> np.ndarray:
        """64 bits of the content hash of every sample: uint64 [n]."""
        return np.fromfile(self.folder / "digests.bin", np.uint64)

    @cached_property
    def _batches(self) -> list[pyarrow.RecordBatch]:
        with pyarrow.ipc.open_stream(pyarrow.memory_map(str(self.folder / "rows.arrow"))) as stream:
            return list(stream)

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([len(batch) for batch in self._batches])

    @cached_property
    def media(self) -> SourceMedia:
        """The media files of the samples, each looked at once."""
        return SourceMedia(self._batches, self.media_roots)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, "right"))
        batch = self._batches[number]
        return self._sample(index, batch["messages"][index - int(self._ends[number])].as_py())

    def __iter__(self) -> Iterator[Sample]:
        rows = (row for batch in self._batches for row in batch["messages"].to_pylist())
        return (self._sample(index, row) for index, row in enumerate(rows))

    def samples(self, indices: Iterable[int]) -> Iterator[Sample]:
        """Some of the samples."""
        return map(self.__getitem__, indices)

    def _sample(self, index: int, messages: list[dict[str, Any]]) -> Sample:
        return Sample.from_row({"id": self.ids[index], "source": self.name, "messages": messages})


class Input(NamedTuple):
    """Something to read: the name that errors call it, the hash of its content, and what reads its records."""

    label: str
    content_hash: str
    read: Callable[..., Iterator[Record]]


def load_source(
    name: str,
    source: Source,
    *,
    cache_root: str | Path,
    on_bad_sample: str = "fail",
    max_bad_fraction: float = 1.0,
    min_context_words: int | None = None,
    shows_long_texts: bool = True,
) -> SourceData:
    """The samples of a source, from the cache where the same content was converted before.

    Ids are the publisher's where a record has its own, else a hash of the sample's content; see `sample_ids`. They do
    not depend on the order of the records, nor on the names and the order of the files.

    Args:
        name: The source's name.
        source: Its settings; `world` and `use_world` are the caller's to resolve.
        cache_root: Where converted sources are kept.
        on_bad_sample: `fail` raises the error of the first record that cannot be used, `skip` counts such records.
        max_bad_fraction: With `skip`, the largest share of the records that may be such.
        min_context_words: Leaves out records with a shorter long text; the converter's own rule unless given.
        shows_long_texts: Whether some component shows them; if not, a record that has one cannot be used.

    Raises:
        ConfigError: If the converter is not known, or two entries of the source's files give the same one.
        DataError: If files are missing or cannot be read, a record cannot be used (`fail`), too many cannot (`skip`),
            or no sample is left.
    """
    converter = CONVERTERS[source.converter]
    if min_context_words is not None:
        converter = replace(converter, min_context_words=min_context_words)
    inputs = _inputs(name, source, Path(cache_root))
    key = content_hash(
        {
            "inputs": [(each.label, each.content_hash) for each in inputs],
            "converter": source.converter,
            "min_context_words": converter.min_context_words,
            "unknown_fields": source.unknown_fields,
            "shows_long_texts": shows_long_texts,
            "code": _code_hash(converter),
        }
    )
    folder = Path(cache_root) / "sources" / key
    if not _is_whole(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not _is_whole(folder):
                fail = on_bad_sample == "fail"
                work = Conversion(name, source, converter, fail=fail, shows_long_texts=shows_long_texts)
                _ingest(work, inputs, folder)
    stats = _read_stats(folder / "stats.json")
    if on_bad_sample == "fail" and stats.rejected:
        first = stats.rejected[0]
        raise DataError(first.reason, source=name, where=first.where, remedy=first.remedy)
    if not stats.num_samples:
        reasons = Counter(stats.left_out) + Counter(rejected.reason for rejected in stats.rejected)
        told = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3)) or "the files are empty"
        raise DataError(
            f"none of its {stats.num_records} records became a sample: {told}",
            source=name,
            remedy=f"check the files and that '{source.converter}' is the converter of their schema",
        )
    if len(stats.rejected) > max_bad_fraction * stats.num_records:
        first_ones = ", ".join(f"{bad.where} ({bad.reason})" for bad in stats.rejected[:5])
        raise DataError(
            f"{len(stats.rejected)} of its {stats.num_records} records cannot be used, more than "
            f"max_bad_fraction={max_bad_fraction}: {first_ones}",
            source=name,
            remedy="fix or remove them, or raise max_bad_fraction",
        )
    return SourceData(
        name=name,
        ids=json.loads((folder / "ids.json").read_text()),
        media_roots=(
            Path(source.root) / source.media_root,
            *(Path(source.root) / user_path(folder) for folder in source.media_roots),
            *filter(Path.is_dir, [folder / "media"]),
        ),
        stats=stats,
        folder=folder,
    )


def missing_files(source: Source) -> list[str]:
    """The entries of `source.files` for which nothing lies under `source.root`."""
    return [entry for entry in source.files if not entry.startswith(readers.HUB_PREFIX) and not _found(source, entry)]


def _found(source: Source, entry: str) -> dict[str, Path]:
    """The files that an entry of `source.files` stands for, by the names that errors call them."""
    root = Path(source.root)
    if any(mark in entry for mark in "*?["):
        try:
            return {str(path.relative_to(root)): path for path in sorted(root.glob(entry)) if path.is_file()}
        except (ValueError, NotImplementedError) as error:
            raise ConfigError(f"source files: the pattern {entry!r} cannot be used ({error})") from error
    return {entry: root / entry} if (root / entry).is_file() else {}


def _inputs(name: str, source: Source, cache_root: Path) -> list[Input]:
    """Everything that `files` names."""
    if not source.files:
        raise ConfigError(f"source.{name}.files: it is empty; list the files that hold the records")
    missing = missing_files(source)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(source.files)} files are missing: {', '.join(missing)}; looked in {source.root}",
            source=name,
            remedy=f"put them there (docs/get-the-data.md says where they come from) or set source.{name}.root",
        )
    given = [key for key in ("config_name", "split", "revision") if getattr(source, key) is not None]
    if given and not any(entry.startswith(readers.HUB_PREFIX) for entry in source.files):
        raise ConfigError(
            f"source.{name}.{given[0]}: none of its files is a `datasets` data set; leave it out, or name the data "
            f"set as {readers.HUB_PREFIX}NAME"
        )
    _refuse_twice(name, source)
    inputs: list[Input] = []
    for entry in source.files:
        if entry.startswith(readers.HUB_PREFIX):
            fingerprint, records = readers.read_hub_records(entry, source, cache_root=cache_root, source=name)
            inputs.append(Input(entry, fingerprint, records))
        else:
            for label, path in _found(source, entry).items():
                read = partial(readers.read_records, path, name=label, source=name)
                inputs.append(Input(label, _remembered_hash(path, cache_root), read))
    return inputs


def _refuse_twice(name: str, source: Source) -> None:
    """Check that no two entries give the same file, whose records would be read twice."""
    givers: dict[Path, int] = {}
    for i, entry in enumerate(source.files):
        found = {entry: Path(entry)} if entry.startswith(readers.HUB_PREFIX) else _found(source, entry)
        for label, path in found.items():
            first = givers.setdefault(path.resolve(), i)
            if first != i:
                raise ConfigError(
                    f"source.{name}.files: '{label}' is given by two entries, '{source.files[first]}' and '{entry}', "
                    "so that its records would be read twice; remove one of them, or narrow the pattern"
                )


def _remembered_hash(path: Path, cache_root: Path) -> str:
    """The hash of a file's bytes, computed again only when its size or time of change differs."""
    stat = path.stat()
    seen = [stat.st_size, stat.st_mtime_ns]
    note = cache_root / "sources" / "digests" / f"{content_hash(str(path.resolve()))}.json"
    if note.is_file():
        size, mtime_ns, digest = json.loads(note.read_text())
        if [size, mtime_ns] == seen:
            return str(digest)
    with open(path, "rb") as file:  # twice as fast as BLAKE2 on present processors
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(note, [*seen, digest])
    return digest


def _code_hash(converter: Converter) -> str:
    """Hash of the code that turns records into rows, so that a changed converter never meets an old cache."""
    modules = [inspect.getmodule(converter.read), converters, readers, json_stream, chat, conversion, record, samples]
    modules += [row_writer, inspect.getmodule(Converter)]
    files = {inspect.getsourcefile(module) for module in modules if module} | {__file__}
    return combined_hash(sorted(file_hash(Path(file)) for file in files if file))


def _is_whole(folder: Path) -> bool:
    return all((folder / file).is_file() for file in ("rows.arrow", "ids.json", "digests.bin", "stats.json"))


def _ingest(work: Conversion, inputs: list[Input], folder: Path) -> None:
    """Convert everything into a folder, which is there when it is whole."""
    shutil.rmtree(folder, ignore_errors=True)
    remove_drafts(folder)
    with drafted(folder) as draft:
        with row_writer.RowWriter(draft / "rows.arrow") as writer:
            store = partial(_store, draft / "media")
            for each in inputs:
                records = each.read(on_bad=work.reject_unread, on_unknown=work.count_unknown, store=store)
                work.run(records, writer.write)
        ids = work.ids()
        write_atomically(draft / "ids.json", json.dumps(ids))
        write_atomically(draft / "digests.bin", work.digests.tobytes())
        write_json(draft / "stats.json", asdict(work.stats(ids)))


def _store(folder: Path, content: bytes, name: str) -> str:
    """Write the bytes of a media file, once; the path by which samples name it."""
    digest, suffix = hashlib.blake2b(content, digest_size=16).hexdigest(), Path(name).suffix.lower()
    file = Path(digest[:2]) / f"{digest}{suffix if suffix[1:].isalnum() else ''}"
    if not (folder / file).exists():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return f"{EMBEDDED}{file}"


def _read_stats(path: Path) -> SourceStats:
    stored = json.loads(path.read_text())
    return SourceStats(**{**stored, "rejected": tuple(Rejected(**entry) for entry in stored["rejected"])})
