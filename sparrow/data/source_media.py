"""The media files of a source: which its samples show, their sizes and times, and what is known of them unopened."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sparrow.core.errors import DataError
from sparrow.core.files import EMBEDDED, inside_root
from sparrow.core.samples import Image, Video
from sparrow.core.segment_store import KEY_BYTES, short_digest
from sparrow.media.frame_folders import file_states, find_video, is_frames

NUM_THREADS = 32  # they wait for a file system, which on a network takes about a millisecond a file
_CHUNK_FILES = 256
_NO_KEY = bytes(KEY_BYTES)


class MediaFacts:
    """What probing said of media files, so that none is opened twice, whichever samples show it and however.

    Args:
        known: What was found before: JSON by `name_of` a part.
    """

    def __init__(self, known: Mapping[str, bytes]) -> None:
        self._known = known
        self.found: dict[str, bytes] = {}

    def get(self, part: Image | Video) -> Any:
        """The JSON value of a part's file, None where it was not probed."""
        name = name_of(part)
        value = self._known.get(name) or self.found.get(name)
        return None if value is None else json.loads(value)

    def put(self, part: Image | Video, value: Any) -> None:
        """Note what probing said of a part's file."""
        self.found[name_of(part)] = json.dumps(value).encode()


def name_of(part: Image | Video) -> str:
    """Kind and path of a media part: a picture that moves is probed in another way where it is shown as a video."""
    return f"{'video' if isinstance(part, Video) else 'image'}:{part.path}"


class SourceMedia:
    """The media files of all samples of a source; the file system is asked once for each, by many threads.

    Args:
        batches: Rows of messages as `RowWriter` writes them, in order.
        roots: The folder that paths are relative to, and further ones that they may lead into.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], roots: Sequence[Path]) -> None:
        self._roots = roots
        rows, names, first = [np.empty(0, np.int64)], [pa.array([], pa.string())], 0
        for batch in batches:
            of_batch, of_parts = _media_parts(batch["messages"])
            rows.append(of_batch + first)
            names.append(of_parts)
            first += len(batch)
        self._rows = np.concatenate(rows)  # of each media part, ascending
        encoded = pa.chunked_array(names).combine_chunks().dictionary_encode()
        self._files = encoded.indices.to_numpy()  # of each media part: a place in the following
        self._names = encoded.dictionary
        self._looked_at = np.zeros(len(self._names), bool)
        self._states = np.zeros((len(self._names), KEY_BYTES), np.uint8)
        self._keys = np.zeros((len(self._names), KEY_BYTES), np.uint8)

    def first_file(self, rows: Sequence[int]) -> np.ndarray:
        """A number of the first media file of each sample, -1 where it has none."""
        begins, ends = self._spans(rows)
        padded = np.append(self._files, -1)
        return np.where(begins < ends, padded[begins], -1)

    def keys(self, rows: Sequence[int], digests: np.ndarray) -> list[bytes]:
        """A key of each sample's content (its digest, uint64) and the sizes and times of its files."""
        self._look_at(self._files_of(rows))
        states = self._states[self._files].tobytes()
        spans = zip(digests[rows].tolist(), *(KEY_BYTES * bound for bound in self._spans(rows)), strict=True)
        return [short_digest(digest.to_bytes(8, "little"), states[begin:end]) for digest, begin, end in spans]

    def file_keys(self, rows: Sequence[int]) -> dict[str, bytes]:
        """By `name_of` a part, a key of each file that some samples show: its path, size and time; no folders."""
        files = self._files_of(rows)
        self._look_at(files)
        keys = self._keys[files].tobytes()
        names = self._names.take(files).to_pylist()
        by_name = {name: keys[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i, name in enumerate(names)}
        return {name: key for name, key in by_name.items() if key != _NO_KEY}

    def _spans(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        return np.searchsorted(self._rows, rows, "left"), np.searchsorted(self._rows, rows, "right")

    def _files_of(self, rows: Sequence[int]) -> np.ndarray:
        wanted = np.zeros(max(self._rows.max(initial=-1), max(rows, default=-1)) + 1, bool)
        wanted[rows] = True
        return np.unique(self._files[wanted[self._rows]])

    def _look_at(self, files: np.ndarray) -> None:
        new = files[~self._looked_at[files]]
        chunks = [new[begin : begin + _CHUNK_FILES] for begin in range(0, len(new), _CHUNK_FILES)]
        look = partial(_look_at, roots=self._roots, folders={})
        with ThreadPoolExecutor(NUM_THREADS) as threads:
            found = threads.map(look, [self._names.take(chunk).to_pylist() for chunk in chunks])
            for chunk, (states, keys) in zip(chunks, found, strict=True):
                self._states[chunk], self._keys[chunk] = _as_rows(states), _as_rows(keys)
        self._looked_at[new] = True


def _as_rows(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, KEY_BYTES)


def _media_parts(messages: pa.ListArray) -> tuple[np.ndarray, pa.Array]:
    """Row and `name_of` each part with a path, without a look at the texts."""
    content = messages.flatten().field("content")
    parts = content.flatten()
    path = parts.field("path")
    has_path = path.is_valid()
    rows = pc.list_parent_indices(messages).take(pc.list_parent_indices(content).filter(has_path))
    names = pc.binary_join_element_wise(parts.field("type").filter(has_path), path.filter(has_path), ":")
    return rows.to_numpy(), names


def _look_at(names: list[str], roots: Sequence[Path], folders: dict[str, str]) -> tuple[list[bytes], list[bytes]]:
    """A digest of each file's state (size and time, of all pictures of a folder), and one that has its path too.

    The second is `_NO_KEY` for what is no file. What cannot be looked at has a state of its own.
    """
    states, keys = [], []
    for name in names:
        path: str | None = None
        state: Sequence[object]
        try:
            path, state = _file_state(name.partition(":")[2], roots, folders)
        except (DataError, OSError) as error:
            state = [str(error)]
        states.append(short_digest(repr(state).encode()))
        keys.append(_NO_KEY if path is None else short_digest(repr([name.partition(":")[0], path, state]).encode()))
    return states, keys


def _file_state(relative: str, roots: Sequence[Path], folders: dict[str, str]) -> tuple[str | None, Sequence[object]]:
    """Path (None of a folder or list of frames) and states of a media file: one call for most, `find_video` takes a
    dozen."""
    folder, _, file = relative.rpartition("/")
    if file and not relative.startswith(("/", EMBEDDED)) and not any(odd in relative for odd in ("..", "\0", "\n")):
        if folder not in folders:
            folders[folder] = str(inside_root(roots, folder))
        path = f"{folders[folder]}/{file}"
        seen = os.lstat(path)
        if stat.S_ISREG(seen.st_mode):
            return path, [(seen.st_size, seen.st_mtime_ns)]
    found = find_video(roots, relative)
    return (None if is_frames(found) else str(found)), file_states(found)
