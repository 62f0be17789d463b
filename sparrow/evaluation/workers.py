"""Answering benchmarks with one process or several, which take units of work from one list.

A child imports this module and not the run around it, so that it starts soon.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import active_children
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import get_context, set_start_method
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn
from transformers.utils import logging as transformers_logging

from sparrow.core.errors import ConfigError, RunError
from sparrow.core.files import user_path
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.settings import CheckpointEvaluation
from sparrow.models.attention import choose_attention
from sparrow.models.backbone import Backbone
from sparrow.models.checkpoint_files import Checkpoint, family_of
from sparrow.models.loading import LoadOptions, load_backbone
from sparrow.models.precision import weights_dtype
from sparrow.models.settings import CheckpointOptions
from sparrow.runs.settings import Trainer

Counters = Mapping[tuple[str, str], "Synchronized[int]"]


@dataclass(frozen=True)
class Answering:
    """What is asked of a checkpoint.

    `folders` say where the answers to each benchmark go; `phases` are those of `Evaluator.answer`.
    """

    config: CheckpointEvaluation
    checkpoint: str
    model_id: str
    folder: Path
    folders: Mapping[str, Path]
    phases: tuple[str, ...]


def answer_all(work: Answering, evaluator: Evaluator, backbone: Backbone | None = None) -> None:
    """Answer what is unanswered, on `trainer.devices` processes.

    `backbone` is the checkpoint where it is open already, used if there is one process.

    Raises:
        RunError: If a process fails; the others are stopped, as they are at a signal, the answers so far kept.
    """
    trainer = work.config.trainer
    asked = [(phase, name) for phase in work.phases for name in work.folders]
    if all(evaluator.is_answered(name, work.model_id, work.folders[name], phase) for phase, name in asked):
        return
    if trainer.devices == 1:
        _answer(work, evaluator, backbone or _opened(work))
        return
    context = get_context("spawn")
    counters = {key: context.Value("q", 0) for key in asked}
    others = active_children()
    try:
        spawn(_rank_main, args=(work, counters), nprocs=trainer.devices)
    except (ProcessRaisedException, ProcessExitedException) as error:
        reason = str(error).strip().splitlines()[-1]
        raise RunError(
            f"process {error.error_index} of {trainer.devices} failed ({reason}); "
            f"the answers so far are kept: run the same command with hydra.run.dir={work.folder} to go on"
        ) from error
    except BaseException:  # a signal, which leaves the processes at work
        started = [process for process in active_children() if process not in others]
        for process in started:
            process.terminate()
        for process in started:
            process.join()
        raise


def load_checkpoint(checkpoint: str, options: CheckpointOptions, **how: Any) -> Backbone:
    """A checkpoint with the options of an evaluation, or a BackboneError; `how` are other `LoadOptions`."""
    return load_backbone(checkpoint, LoadOptions.of(options, **how))


def open_checkpoint(checkpoint: str, options: CheckpointOptions, device: torch.device, precision: str) -> Backbone:
    """A checkpoint ready to be asked, or a BackboneError."""
    family = family_of(Checkpoint(user_path(checkpoint), options.revision), options.family)
    backbone = load_checkpoint(
        checkpoint,
        options,
        dtype=weights_dtype(precision),
        attn_implementation=choose_attention(options.attn_implementation, precision, device.type, family),
    )
    backbone.model.to(device)
    return backbone


def device_of(accelerator: str, rank: int = 0) -> torch.device:
    """The GPU of a rank, or the CPU where there is none or it is asked for."""
    return torch.device("cuda", rank) if torch.cuda.is_available() and accelerator != "cpu" else torch.device("cpu")


def require_devices(trainer: Trainer) -> None:
    """Refuse GPUs that this machine does not have; to be called where the work is done, not where it is submitted.

    Raises:
        ConfigError: If a GPU is asked for where none is visible, or more than there are.
    """
    cuda, mps = torch.cuda.device_count(), int(torch.backends.mps.is_available())
    asked, there = trainer.accelerator, {"gpu": cuda or mps, "cuda": cuda, "mps": mps, "auto": cuda, "cpu": 0}
    if there[asked] == 0 and asked in ("gpu", "cuda", "mps"):
        raise ConfigError(f"trainer.accelerator={asked}: no such GPU is visible here; use auto or cpu")
    if 0 < there[asked] < trainer.devices:
        count = "1 GPU is" if there[asked] == 1 else f"{there[asked]} GPUs are"
        raise ConfigError(f"trainer.devices={trainer.devices}: {count} visible here; ask for no more, or use cpu")


def _rank_main(rank: int, work: Answering, counters: Counters) -> None:
    # A child passes the way it was started on to its own: workers that read videos would import everything anew.
    set_start_method(None, force=True)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    transformers_logging.disable_progress_bar()
    if rank > 0:
        logging.getLogger("sparrow").setLevel(logging.ERROR)  # what is read is told once
    _answer(work, Evaluator(work.config), _opened(work, rank), rank, counters)


def _opened(work: Answering, rank: int = 0) -> Backbone:
    config = work.config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.trainer.num_threads or max(1, cores // config.trainer.devices))
    device = device_of(config.trainer.accelerator, rank)
    return open_checkpoint(work.checkpoint, config.backbone, device, config.trainer.precision)


def _answer(
    work: Answering, evaluator: Evaluator, backbone: Backbone, rank: int = 0, counters: Counters | None = None
) -> None:
    for phase in work.phases:
        for name, folder in work.folders.items():
            # There are at most as many units as questions.
            most = len(evaluator.questions(name)[0])
            take = None if counters is None else _drawn(counters[phase, name], most)
            evaluator.answer(name, backbone, work.model_id, folder, phase, rank=rank, take=take)


def _drawn(counter: Synchronized[int], most: int) -> Iterator[int]:
    """Numbers below `most` that no other process has drawn."""
    while True:
        with counter.get_lock():
            number = counter.value
            counter.value += 1
        if number >= most:
            return
        yield number
