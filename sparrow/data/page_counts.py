"""How many pages long texts have, counted once for each text and style and kept for the next draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sparrow.core.bars import Bar
from sparrow.core.errors import MediaError
from sparrow.core.hashing import content_hash
from sparrow.core.segment_store import SegmentStore, short_digest
from sparrow.data.supervised_loader import AtWork, Mapped, watched
from sparrow.media.pages import count_pages, layout_state
from sparrow.media.settings import TextStyle

COUNTING_VERSION = 2  # raised whenever the same text and style come to have other pages
PARALLEL_FROM = 64


class PageCounts:
    """Numbers of pages of whole texts, whatever part of them the style shows.

    The style's own `max_pages` does not count. `cache_root` keeps the counts; `num_workers` processes count ahead.
    `own_styles` are the styles of components that have their own.
    """

    def __init__(
        self,
        style: TextStyle,
        cache_root: Path | None = None,
        num_workers: int = 0,
        own_styles: Mapping[str, TextStyle] | None = None,
    ) -> None:
        self._style = replace(style, max_pages=None)
        self._own = {name: PageCounts(own, cache_root, num_workers) for name, own in (own_styles or {}).items()}
        self._num_workers = num_workers
        self._store: SegmentStore | None = None
        self._known: dict[bytes, int] = {}
        if cache_root is not None:
            name = content_hash([COUNTING_VERSION, layout_state(self._style)])
            self._store = SegmentStore(cache_root / "pages" / name)
            stored = self._store.read()
            self._known = dict(zip(stored["key"].to_pylist(), map(int, stored["value"].to_pylist()), strict=True))

    def of_component(self, name: str) -> PageCounts:
        """The counts in a component's style."""
        return self._own.get(name, self)

    def of(self, text: str) -> int:
        """The number of pages of a text.

        Raises:
            MediaError: If it cannot be laid out.
        """
        key = _key(text)
        if key not in self._known:
            self._keep(key, count_pages(text, self._style))
        return self._known[key]

    def count_ahead(self, texts: Iterable[str]) -> None:
        """Count many texts that will be asked for, in processes; few are left until they are."""
        unknown = {key: text for text in texts if (key := _key(text)) not in self._known}
        if self._num_workers < 2 or len(unknown) < PARALLEL_FROM:
            return
        counts = watched(
            Mapped(partial(_count, style=self._style), list(unknown.values())),
            AtWork(),
            str,
            num_workers=self._num_workers,
            timeout_s=0,
            batch_size=None,
        )
        for key, pages in zip(
            unknown, Bar(counts, total=len(unknown), desc="counting pages", unit="text"), strict=True
        ):
            if pages is not None:
                self._keep(key, pages)

    def close(self) -> None:
        """Write down what was counted since the last time it was."""
        for own in self._own.values():
            own.close()
        if self._store is not None:
            self._store.flush()

    def _keep(self, key: bytes, pages: int) -> None:
        self._known[key] = pages
        if self._store is not None:
            self._store.add(key, str(pages).encode())


def _key(text: str) -> bytes:
    return short_digest(text.encode("utf-8", "surrogatepass"))


def _count(text: str, style: TextStyle) -> int | None:
    try:
        return count_pages(text, style)
    except MediaError:
        return None  # raised where it is asked for
