"""Steps that runs of several sizes share: those at the constant rate, before each size decays by itself."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparrow.core.files import write_json
from sparrow.runs.status import wait_for_rank_0
from sparrow.training.trouble import read_failed, read_skipped_steps

log = logging.getLogger(__name__)
MARK = "trunk"  # key of a checkpoint
DECISION = "trunk.json"


@dataclass(frozen=True)
class Trunk:
    """The shared steps of one study, seen from a run of one size.

    Args:
        folder: Where checkpoints for other sizes are kept, as `step=0000500-MARK.ckpt`.
        decay_step: The last step of the run at the constant rate.
        mark: Hash of all that determines the model after some number of steps: settings but the size, first model, and
            samples in their order. Runs of equal marks have the same weights and optimizer states there.
    """

    folder: Path
    decay_step: int
    mark: Callable[[int], str]

    def join(self, run_folder: Path, checkpoint_folder: Path, *, is_main: bool) -> int:
        """Steps that a run takes over, decided once per run folder by the main process; the other ranks wait for it."""
        decision = run_folder / DECISION
        if is_main and not decision.is_file():
            write_json(decision, {"step": self._take_over(checkpoint_folder)})
        if not is_main:
            wait_for_rank_0(run_folder, decision.is_file)
        return int(json.loads(decision.read_text())["step"])

    def share(self, checkpoint: Path) -> None:
        """Keep the checkpoint of `decay_step` for larger sizes, unless its steps were not those of the plan."""
        run = checkpoint.parent.parent
        if read_failed(run) or read_skipped_steps(run):
            log.warning("%s is not kept for larger sizes: some samples were not read, or steps left out", checkpoint)
            return
        target = self.folder / f"{checkpoint.stem}-{self.mark(self.decay_step)}{checkpoint.suffix}"
        if not target.exists():
            _link(checkpoint, target)

    def owns(self, checkpoint: dict[str, Any]) -> bool:
        """Whether a loaded checkpoint is one of these shared steps."""
        return MARK in checkpoint and checkpoint[MARK] == self.mark(checkpoint["global_step"])

    def _take_over(self, checkpoint_folder: Path) -> int:
        own = max((path.stem for path in checkpoint_folder.glob("step=*.ckpt")), default="")
        for path in sorted(self.folder.glob("step=*-*.ckpt"), reverse=True):
            name, _, mark = path.stem.partition("-")
            step = int(name.removeprefix("step="))
            if name >= own and step <= self.decay_step and mark == self.mark(step):
                _link(path, checkpoint_folder / f"{name}{path.suffix}")
                log.info("the first %d steps are those of a smaller size: %s", step, path)
                return step
        log.info("no smaller size has left steps to go on from in %s; all are trained", self.folder)
        return 0


def _link(source: Path, target: Path) -> None:
    """Let `target` be the same file or folder as `source`, in full or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        made = Path(folder) / target.name
        if source.is_dir():
            shutil.copytree(source, made, copy_function=_link_file)
        else:
            _link_file(source, made)
        try:
            made.rename(target)
        except OSError:
            if not target.exists():  # else another run has left the same
                raise


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
