"""Which errors a user can fix, and what they are told of them."""

from __future__ import annotations

import errno

from sparrow.core.errors import SparrowError

_ELSEWHERE = "choose another folder (paths.output_root, paths.cache_root, hydra.run.dir, hydra.sweep.dir or --out)"
REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"get the right to it, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free space on the disk, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), f"a file stands where a folder is needed: {_ELSEWHERE}"),
    errno.EROFS: _ELSEWHERE,
    errno.EISDIR: "a folder stands where a file is needed: name another file",
    errno.ENOENT: "check the path",
    errno.ENAMETOOLONG: f"shorten it, or {_ELSEWHERE}",
}


def message_of(error: BaseException) -> str | None:
    """The message for a `SparrowError`, or for a file, folder or disk that refuses; None for any other error."""
    if isinstance(error, SparrowError):
        return f"{type(error).__name__}: {error}"
    fault = error.__cause__ if isinstance(error, ValueError) else error  # logging tells so of its file
    if not isinstance(fault, OSError) or fault.errno not in REMEDIES:
        return None
    where = f"{fault.filename}: " if fault.filename is not None else ""
    return f"{where}{fault.strerror}; {REMEDIES[fault.errno]}"
