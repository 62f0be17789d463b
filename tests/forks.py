"""Commands and other work in processes forked from a server that has the libraries loaded.

A new process imports torch, transformers and Lightning for several CPU seconds; a fork starts at once. The server does
nothing but fork, so that no thread of a test holds a lock that a fork would wait for.
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
from typing import Any, NoReturn

import cloudpickle
import pytest

FORKS = multiprocessing.get_context("forkserver")
COMMANDS = [f"sparrow.commands.{name}" for name in ("train", "prepare", "preview", "evaluate", "diversity")]
LOADED = [*COMMANDS, "sparrow.app.jobs", "tensorboard.backend.event_processing.event_accumulator"]
FORKS.set_forkserver_preload(["pytest", *LOADED])
Patch = tuple[Any, str, Any]  # of an object, the name of an attribute, its new value


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
        self.arguments = arguments
        self._output = [tempfile.mkstemp(dir=folder, prefix=f".{name}-")[1] for name in ("stdout", "stderr")]
        output = self._output

        def command() -> NoReturn:
            from sparrow.cli import main

            os.chdir(folder)
            os.environ.update(environment)
            for number, (name, path) in enumerate(zip(("stdout", "stderr"), output, strict=True), start=1):
                stream = open(path, "w")  # noqa: SIM115
                os.dup2(stream.fileno(), number)
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            if prepare is not None:
                prepare()
            sys.argv = ["sparrow", *arguments]
            main()

        self._process = _start(command)

    def wait(self, timeout_s: float = 280) -> subprocess.CompletedProcess:
        """Wait for its end, which must come in time."""
        returncode = _exit_code(self._process, timeout_s)
        out, errors = (Path(path).read_text() for path in self._output)
        return subprocess.CompletedProcess(self.arguments, returncode, out, errors)


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
        ForkedCommand(arguments, folder, {**environment, **together, "RANK": str(n), "LOCAL_RANK": str(n)}, prepare)
        for n in range(num_ranks)
    ]
    return [rank.wait() for rank in ranks]


def exit_code_of_fork(work: Callable[[], object], *patches: Patch, timeout_s: float = 120) -> int:
    """Run `work` in a fork, which may be killed, with these patches; its exit code."""

    def patched() -> None:
        for target, name, value in patches:
            setattr(target, name, value)
        work()

    return _exit_code(_start(patched), timeout_s)


def _start(work: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    # Functions inside of tests are no module's attributes, which is all that pickle can send.
    process = FORKS.Process(target=_run, args=(cloudpickle.dumps(work), dict(os.environ)))
    process.start()
    return process


def _run(work: bytes, environment: Mapping[str, str]) -> None:
    import torch

    multiprocessing.set_start_method("fork", force=True)  # as in a process of its own
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    cloudpickle.loads(work)()


def _exit_code(process: multiprocessing.process.BaseProcess, timeout_s: float) -> int:
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        pytest.fail(f"still running after {timeout_s} s")
    return process.exitcode
