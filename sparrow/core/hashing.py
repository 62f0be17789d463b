"""Content hashes, and the hash order that makes a selection of samples nested and independent of the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

DIGITS = 16


def content_hash(value: Any, *, length: int = DIGITS) -> str:
    """Hex digest of a JSON-like value; equal values give equal digests on every machine."""
    return hashlib.blake2b(_as_json(value), digest_size=32).hexdigest()[:length]


def list_hash(chunks: Iterable[list[Any]]) -> str:
    """`content_hash` of one list, given a part at a time, so that its text need not fit into memory."""
    hasher, separator = hashlib.blake2b(b"[", digest_size=32), b""
    for chunk in chunks:
        if chunk:
            hasher.update(separator + _as_json(chunk)[1:-1])
            separator = b","
    hasher.update(b"]")
    return hasher.hexdigest()[:DIGITS]


def _as_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def file_hash(path: Path, *, length: int = DIGITS) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
    return digest.hexdigest()[:length]


def hash_key(seed: int, *names: str) -> bytes:
    """A pseudo-random key of fixed length, a pure function of the seed and the names."""
    message = "\x1f".join((str(seed), *names)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(message, digest_size=16).digest()


def hash_order(ids: Sequence[str], seed: int, *, salt: str = "") -> list[int]:
    """Positions of `ids` in hash order.

    The order of two ids depends on nothing but `(seed, salt, id)`, so the first n of a selection are inside the
    first n + 1, and adding or re-ordering other ids changes nothing between them.
    """
    keys = np.frombuffer(b"".join([hash_key(seed, salt, id) for id in ids]), ">u8").reshape(-1, 2)
    order: list[int] = np.lexsort((keys[:, 1], keys[:, 0])).tolist()
    return order


def combined_hash(digests: Iterable[str]) -> str:
    """Digest of a sequence of digests, in order."""
    return content_hash(list(digests))
