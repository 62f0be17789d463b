"""Commands and other work in forks of the test process, which has the libraries loaded.

A new process imports torch, transformers and Lightning for several CPU seconds; a fork starts at once. A fork may be
killed, and a rank of several is a fork as well.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

FORK = multiprocessing.get_context("fork")


class ForkedCommand:
    """`sparrow ARGUMENTS` in a fork.

    Args:
        arguments: What the user types after `sparrow`.
        folder: Where the command runs.
        environment: Further environment variables.
        prepare: Called in the fork before the command, for example to patch what it uses.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environment: Mapping[str, str],
        prepare: Callable[[], object] | None = None,
    ) -> None:
        import sparrow.app.jobs  # noqa: F401 - so that no fork has to import it

        self.arguments = arguments
        self._output = [Path(tempfile.mkstemp(dir=folder, prefix=f".{name}-")[1]) for name in ("stdout", "stderr")]
        self._process = FORK.Process(target=self._run, args=(folder, environment, prepare))
        self._process.start()

    def wait(self, timeout_s: float = 280) -> subprocess.CompletedProcess:
        """Wait for its end, which must come in time."""
        returncode = _exit_code(self._process, timeout_s)
        out, errors = (path.read_text() for path in self._output)
        return subprocess.CompletedProcess(self.arguments, returncode, out, errors)

    def _run(self, folder: Path, environment: Mapping[str, str], prepare: Callable[[], object] | None) -> NoReturn:
        from hydra.core.global_hydra import GlobalHydra

        from sparrow.cli import main

        os.chdir(folder)
        os.environ.update(environment)
        for number, (name, path) in enumerate(zip(("stdout", "stderr"), self._output, strict=True), start=1):
            stream = open(path, "w")  # noqa: SIM115
            os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        GlobalHydra.instance().clear()
        if prepare is not None:
            prepare()
        sys.argv = ["sparrow", *self.arguments]
        main()


def run_ranks(
    num_ranks: int,
    arguments: tuple[str, ...],
    folder: Path,
    environment: Mapping[str, str],
    prepare: Callable[[], object] | None = None,
) -> list[subprocess.CompletedProcess]:
    """Run `sparrow ARGUMENTS` on several ranks, as a launcher starts them; how each of them ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": str(num_ranks), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        ForkedCommand(arguments, folder, environment | together | {"RANK": str(n), "LOCAL_RANK": str(n)}, prepare)
        for n in range(num_ranks)
    ]
    return [rank.wait() for rank in ranks]


def exit_code_of_fork(work: Callable[[], object], timeout_s: float = 120) -> int:
    """Run `work` in a fork, which may be killed; its exit code."""
    process = FORK.Process(target=work)
    process.start()
    return _exit_code(process, timeout_s)


def _exit_code(process: multiprocessing.Process, timeout_s: float) -> int:
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"still running after {timeout_s} s")
    return process.exitcode
