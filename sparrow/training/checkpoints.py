"""Checkpoints: written whole or not at all, the last few kept, each looked over before a run goes on from it.

A checkpoint is the file `step=0000500.ckpt`, or, where the weights are sharded, a folder of that name.
"""

from __future__ import annotations

import logging
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning.callbacks import Callback

from sparrow.core.errors import RunError
from sparrow.core.files import TEMPORARY, atomic_file
from sparrow.training import sharded_checkpoints
from sparrow.training.settings import Checkpointing
from sparrow.training.trunk import MARK, Trunk

log = logging.getLogger(__name__)
PATTERN = "step=*.ckpt"
BEST_CHECKPOINT = "best.ckpt"  # of the least validation loss
RUN_ID = "run_id"  # key of a checkpoint


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of an optimizer step is kept."""
    return folder / f"step={step:07d}.ckpt"


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob(PATTERN), reverse=True)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, every byte read; None if it is whole."""
    if checkpoint.is_dir():
        return sharded_checkpoints.damage(checkpoint)
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        return f"it is cut off or no checkpoint ({error})"
    return f"its part {broken} does not have the checksum that it was written with" if broken else None


def refuse_other_checkpoints(folder: Path, run_id: str, *, accept_unmarked: bool = False) -> None:
    """Refuse the checkpoints in a folder if they are not those of a run; damaged ones are left to `Chooser`.

    Raises:
        RunError: If the `run_id` that one carries differs, or it carries none and `accept_unmarked` is false.
    """
    for checkpoint in checkpoints_in(folder):
        if damage(checkpoint) is None:
            file = checkpoint / sharded_checkpoints.TRAINER_FILE if checkpoint.is_dir() else checkpoint
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            require_own(content, checkpoint, run_id, accept_unmarked=accept_unmarked)


def require_own(content: Mapping[str, Any], checkpoint: Path, run_id: str, *, accept_unmarked: bool) -> None:
    """As `refuse_other_checkpoints`, for a checkpoint that is loaded."""
    found = content.get(RUN_ID)
    if found != run_id and not (found is None and accept_unmarked):
        raise RunError(
            f"{checkpoint} is a checkpoint of {f'run {found}' if found else 'an unknown run'}, and this run is "
            f"{run_id}; restore the folder's run.json, name another folder (hydra.run.dir), or archive what is there "
            "with restart=true"
        )


class Chooser:
    """Finds the newest whole checkpoint, once the ranks are connected; rank 0 reads, all take its choice.

    Rank 0 calls `tell` with the reason for each checkpoint that is not taken.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell

    def choose(self, folder: Path) -> Path:
        """The newest whole checkpoint of a folder. Newer ones are set aside under another name.

        Raises:
            RunError: On all ranks, if there is none.
        """
        chosen = [self._newest_whole(folder) if not dist.is_initialized() or dist.get_rank() == 0 else None]
        if dist.is_initialized():
            dist.broadcast_object_list(chosen, src=0)
        if chosen[0] is None:
            raise RunError(
                f"no checkpoint in {folder} can be read; they are kept there as unreadable-*: "
                "fix one, or run the same command again to begin at the first step"
            )
        log.info("resuming from %s", chosen[0])
        return chosen[0]

    def _newest_whole(self, folder: Path) -> Path | None:
        for checkpoint in checkpoints_in(folder):
            wrong = damage(checkpoint)
            if wrong is None:
                return checkpoint
            message = f"checkpoint {checkpoint.name} cannot be read: {wrong}; the one before it is taken"
            log.warning("%s", message)
            self.tell(message)
            with suppress(OSError):
                checkpoint.rename(checkpoint.with_name(f"unreadable-{checkpoint.name}"))
        return None


class CheckpointFiles(CheckpointIO):
    """Reads and writes a checkpoint of one file; reads a sharded one as well, for one process or DDP."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write the file atomically.

        Raises:
            RunError: If the disk is full or cannot be written to.
        """
        path = Path(path)
        if path.is_dir():
            remove(path)
        try:
            with atomic_file(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            raise not_written(path, error) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The newest whole checkpoint of the folder `path`."""
        chosen = self.chooser.choose(Path(path))
        if chosen.is_dir():
            return sharded_checkpoints.read_whole(chosen)
        checkpoint: dict[str, Any] = torch.load(chosen, map_location="cpu", weights_only=True, mmap=True)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        remove(Path(path))


class SaveCheckpoints(Callback):
    """Saves every so many steps and, if set, minutes, and keeps the last few checkpoints.

    Each checkpoint carries `run_id`. One without it was written before checkpoints did; it is taken where
    `accept_unmarked`, that is where the run's record shows whose it is. The last step that a `trunk` shares with
    larger sizes is saved for them as well.
    """

    def __init__(
        self, folder: Path, settings: Checkpointing, run_id: str, *, accept_unmarked: bool, trunk: Trunk | None = None
    ) -> None:
        self.folder, self.settings, self.trunk = folder, settings, trunk
        self.run_id, self.accept_unmarked = run_id, accept_unmarked
        self._saved_step: int | None = None
        self._saved_at = 0.0

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark the checkpoint as this run's."""
        checkpoint[RUN_ID] = self.run_id
        if self.trunk is not None and trainer.global_step == self.trunk.decay_step:
            checkpoint[MARK] = self.trunk.mark(trainer.global_step)

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another run; see `require_own`."""
        if self.trunk is None or not self.trunk.owns(checkpoint):
            require_own(checkpoint, self.folder, self.run_id, accept_unmarked=self.accept_unmarked)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and sweep up what a killed process left half written."""
        self._saved_at = time.monotonic()
        if trainer.is_global_zero:
            for leftover in self.folder.glob(f".*{TEMPORARY}"):
                remove(leftover)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Save if it is time."""
        if trainer.global_step % self.settings.every_n_steps == 0 or self._minutes_passed(trainer):
            self.save(trainer)
        if self.trunk is not None and trainer.global_step == self.trunk.decay_step:
            self.save(trainer)
            if trainer.is_global_zero:
                self.trunk.share(checkpoint_path(self.folder, trainer.global_step))

    def save(self, trainer: pl.Trainer) -> None:
        """Save now; to be called on all ranks."""
        if self._saved_step == trainer.global_step:
            return
        trainer.save_checkpoint(checkpoint_path(self.folder, trainer.global_step))
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if trainer.is_global_zero:
            for old in checkpoints_in(self.folder)[self.settings.keep_last :]:
                remove(old)

    def _minutes_passed(self, trainer: pl.Trainer) -> bool:
        if self.settings.every_n_minutes is None:
            return False
        passed = time.monotonic() - self._saved_at >= 60 * self.settings.every_n_minutes
        return bool(trainer.strategy.broadcast(passed))  # clocks differ, the ranks must not


def remove(path: Path) -> None:
    """Delete a checkpoint; a folder is renamed first, so that no reader takes half of it."""
    if path.is_dir():
        hidden = path.with_name(f".{path.name.lstrip('.').removesuffix(TEMPORARY)}{TEMPORARY}")
        path.rename(hidden)
        shutil.rmtree(hidden)
    else:
        path.unlink(missing_ok=True)


def not_written(path: Path, error: BaseException) -> RunError:
    """The error of a checkpoint that could not be written; those before it are untouched."""
    if failures := getattr(error, "failures", None):  # of torch's sharded writing: each rank's error and traceback
        error = next(iter(failures.values()))[0]
    cause = error.__context__ if isinstance(error.__context__, OSError) else error
    return RunError(
        f"checkpoint {path} could not be written: {cause}; those before it are whole: free space or fix the "
        f"permissions, then run the same command with hydra.run.dir={path.parent.parent} to go on"
    )
