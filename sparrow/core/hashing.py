"""Content hashes, and the hash order that makes a selection of samples nested and independent of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def content_hash(value: Any, *, length: int = 16) -> str:
    """Hex digest of a JSON-like value; equal values give equal digests on every machine."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=32).hexdigest()[:length]


def file_hash(path: Path, *, length: int = 16) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return digest.hexdigest()[:length]


def hash_key(seed: int, *names: str) -> bytes:
    """A pseudo-random key of fixed length, a pure function of the seed and the names."""
    message = "\x1f".join((str(seed), *names)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, digest_size=16).digest()


def hash_order(ids: Sequence[str], seed: int, *, salt: str = "", ties: Sequence[int] = ()) -> list[int]:
    """Positions of `ids` in hash order.

    The order of two ids depends on nothing but `(seed, salt, id)`, so the first n of a selection are inside the
    first n + 1, and adding or re-ordering other ids changes nothing between them. `ties` has a number for each id,
    which orders equal ones.
    """
    if len(ties):
        return sorted(range(len(ids)), key=lambda i: (hash_key(seed, salt, ids[i]), ids[i], ties[i]))
    return sorted(range(len(ids)), key=lambda i: (hash_key(seed, salt, ids[i]), ids[i]))


def combined_hash(digests: Iterable[str]) -> str:
    """Digest of a sequence of digests, in order."""
    return content_hash(list(digests))
