"""Answering benchmarks with one process or several, which take units of work from one list.

A child imports this module and not the run around it, so that it starts soon.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import torch
from torch.multiprocessing import get_context, set_start_method
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from sparrow.core.config import CheckpointOptions, EvaluateConfig
from sparrow.core.errors import RunError
from sparrow.models.attention import choose_attention
from sparrow.models.backbone import Backbone
from sparrow.models.loading import load_backbone
from sparrow.runs.evaluating import Evaluator

Counters = Mapping[tuple[str, str], "Synchronized[int]"]


@dataclass(frozen=True)
class Answering:
    """What is asked of a checkpoint, and the run's folder that the answers go to."""

    config: EvaluateConfig
    checkpoint: str
    model_id: str
    folder: Path

    @property
    def phases(self) -> list[str]:
        """`after`, and `blind` and `one_frame` where they are asked for."""
        return ["after", *(phase for phase in ("blind", "one_frame") if getattr(self.config, phase))]

    def evaluator(self) -> Evaluator:
        """The evaluator of the benchmarks; every process has its own."""
        config = self.config
        return Evaluator(
            config.benchmark,
            config.frames,
            config.world,
            config.data_seed,
            Path(config.paths.cache_root),
            precision=config.trainer.precision,
            num_workers=config.num_workers,
        )


def answer_all(work: Answering, evaluator: Evaluator) -> None:
    """Answer what is unanswered, on `trainer.devices` processes.

    Raises:
        RunError: If a process fails; the others are stopped, the answers so far kept.
    """
    trainer = work.config.trainer
    if trainer.devices == 1:
        _answer(work, evaluator)
        return
    context = get_context("spawn")
    counters = {(phase, name): context.Value("q", 0) for phase in work.phases for name in work.config.benchmark}
    try:
        spawn(_rank_main, args=(work, counters), nprocs=trainer.devices)
    except (ProcessRaisedException, ProcessExitedException) as error:
        reason = str(error).strip().splitlines()[-1]
        raise RunError(
            f"process {error.error_index} of {trainer.devices} failed ({reason}); "
            f"the answers so far are kept: run the same command with hydra.run.dir={work.folder} to go on"
        ) from error


def open_checkpoint(checkpoint: str, options: CheckpointOptions, device: torch.device, precision: str) -> Backbone:
    """A checkpoint ready to be asked.

    Raises:
        BackboneError: If it cannot be loaded.
    """
    backbone = load_backbone(
        checkpoint,
        family=options.family,
        revision=options.revision,
        frame_size_px=options.frame_size_px,
        dtype=torch.bfloat16 if precision == "bf16-true" else torch.float32,
        attn_implementation=choose_attention(options.attn_implementation, precision, device.type),
        trust_remote_code=options.trust_remote_code,
        native_video=bool(options.native_video),
    )
    backbone.model.to(device)
    return backbone


def device_of(accelerator: str, rank: int = 0) -> torch.device:
    """The GPU of a rank, or the CPU where there is none or it is asked for."""
    return torch.device("cuda", rank) if torch.cuda.is_available() and accelerator != "cpu" else torch.device("cpu")


def _rank_main(rank: int, work: Answering, counters: Counters) -> None:
    # A child passes the way it was started on to its own: workers that read videos would import everything anew.
    set_start_method(None, force=True)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    if rank > 0:
        logging.getLogger("sparrow").setLevel(logging.ERROR)  # what is read is told once
    _answer(work, work.evaluator(), rank, counters)


def _answer(work: Answering, evaluator: Evaluator, rank: int = 0, counters: Counters | None = None) -> None:
    config = work.config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(config.trainer.num_threads or max(1, cores // config.trainer.devices))
    device = device_of(config.trainer.accelerator, rank)
    backbone = open_checkpoint(work.checkpoint, config.backbone, device, config.trainer.precision)
    for phase in work.phases:
        for name in config.benchmark:
            # There are at most as many units as questions.
            most = len(evaluator.questions(name)[0])
            take = None if counters is None else _drawn(counters[phase, name], most)
            evaluator.answer(name, backbone, work.model_id, work.folder, phase, rank=rank, take=take)


def _drawn(counter: Synchronized[int], most: int) -> Iterator[int]:
    """Numbers below `most` that no other process has drawn."""
    while True:
        with counter.get_lock():
            number = counter.value
            counter.value += 1
        if number >= most:
            return
        yield number
